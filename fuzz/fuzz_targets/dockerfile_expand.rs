//! Variables in words: any word is refused in words or expanded, never to more than the limit; what names
//! no variable stays what it is; and what is taken from a value by `#`, `%` and `/` is what a slow and
//! plain reading of the pattern takes.
#![no_main]

use std::collections::BTreeMap;

use dockerfile::expand::{Expander, NoVariables, Variables};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// The longest result, in bytes: with the last piece that was added.
const LONGEST: usize = 9 << 20;
/// Values for a plain reading, which is slow, in characters.
const SHORT: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    word: &'a str,
    backtick: bool,
    how: u8,
    variables: Vec<(u8, &'a str)>,
    pattern: &'a str,
    value: &'a str,
}

struct Given(BTreeMap<String, String>);

impl Variables for Given {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// `?`, `*` and `\` as the shell has them; neither crosses a line.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, _) => text.is_empty(),
        (Some(('*', rest)), _) => {
            let end = text.iter().position(|c| *c == '\n').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        (Some(('?', rest)), Some((c, more))) => *c != '\n' && matches(rest, more),
        (Some(('\\', rest)), Some((c, more))) => rest[0] == *c && matches(&rest[1..], more),
        (Some((own, rest)), Some((c, more))) => own == c && matches(rest, more),
        (Some(_), None) => false,
    }
}

fn trimmed(pattern: &[char], value: &[char], at_end: bool, longest: bool) -> String {
    let mut lengths: Vec<usize> = (0..=value.len()).collect();
    if longest {
        lengths.reverse();
    }
    let part = |length: usize| match at_end {
        true => value.split_at(value.len() - length),
        false => value.split_at(length),
    };
    for length in lengths {
        let (before, after) = part(length);
        let (taken, left) = if at_end { (after, before) } else { (before, after) };
        if matches(pattern, taken) {
            return left.iter().collect();
        }
    }
    value.iter().collect()
}

/// The leftmost and longest match, once.
fn replaced(pattern: &[char], value: &[char], with: &str) -> String {
    for from in 0..=value.len() {
        for to in (from..=value.len()).rev() {
            if matches(pattern, &value[from..to]) {
                let (before, after) = (&value[..from], &value[to..]);
                return format!("{}{with}{}", String::from_iter(before), String::from_iter(after));
            }
        }
    }
    value.iter().collect()
}

fn patterns(pattern: &str, value: &str) {
    let chars: Vec<char> = pattern.chars().take(12).collect();
    // What has another meaning to what is around it is not tried here.
    let is_plain =
        |c: &char| !matches!(c, '}' | '/' | '$' | '\'' | '"' | '<' | '\\' | '#' | '%' | '`');
    // Each star multiplies what a plain reading tries.
    let n_stars = chars.iter().filter(|c| **c == '*').count();
    if chars.is_empty() || n_stars > 3 || !chars.iter().all(is_plain) {
        return;
    }
    let pattern: String = chars.iter().collect();
    let value: Vec<char> = value.chars().take(SHORT).collect();
    let given = Given([("v".to_owned(), value.iter().collect())].into());
    let expand = |word: &str| {
        Expander::new('`').expand(word, &given).unwrap_or_else(|e| panic!("{word:?}: {e}")).text
    };
    for (operator, at_end, longest) in
        [("#", false, false), ("##", false, true), ("%", true, false), ("%%", true, true)]
    {
        let word = format!("${{v{operator}{pattern}}}");
        let want = trimmed(&chars, &value, at_end, longest);
        assert_eq!(expand(&word), want, "{word:?} of {value:?}");
    }
    let word = format!("${{v/{pattern}/<>}}");
    assert_eq!(expand(&word), replaced(&chars, &value, "<>"), "{word:?} of {value:?}");
}

fuzz_target!(|input: Input| {
    let names = ["a", "b", "PATH", "x_1", "1", "ä"];
    let variables = input.variables.iter().take(8).map(|(name, value)| {
        (names[usize::from(*name) % names.len()].to_owned(), (*value).to_owned())
    });
    let variables = Given(variables.collect());
    let escape = if input.backtick { '`' } else { '\\' };
    let how = Expander {
        escape,
        raw_quotes: input.how & 1 != 0,
        raw_escapes: input.how & 2 != 0,
        plain_quotes: input.how & 4 != 0,
        keep_unset: input.how & 8 != 0,
    };
    let expanded = how.expand(input.word, &variables);
    assert_eq!(expanded, how.expand(input.word, &variables));
    match &expanded {
        Ok(expansion) => {
            assert!(expansion.text.len() <= LONGEST, "{}", expansion.text.len());
            assert!(expansion.matched.iter().all(|name| variables.get(name).is_some()));
            assert!(expansion.unmatched.iter().all(|name| variables.get(name).is_none()));
            assert!(input.word.contains('$') || expansion.matched.is_empty());
            let special = ['$', '\'', '"', '<', escape];
            if !input.word.contains(special) {
                assert_eq!(expansion.text, input.word);
                let words: Vec<&str> = input.word.split_whitespace().collect();
                assert_eq!(expansion.words, words);
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
    }
    let _ = how.expand(input.word, &NoVariables);
    patterns(input.pattern, input.value);
});
