//! The parts of an instruction's line: its name, its flags, and what follows in the form that the
//! instruction has: words, pairs, a JSON array, or the text as it is.

use crate::problem::Problem;

/// White space that separates arguments. A line has no other, but a form feed may be in it.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// A line, taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Parts<'a> {
    /// The instruction's name as it is written.
    pub name: &'a str,
    /// `--…`, without quotes and escapes.
    pub flags: Vec<String>,
    /// What follows.
    pub rest: &'a str,
}

pub(crate) fn parts(line: &str, escape: char) -> Parts<'_> {
    let line = line.trim();
    let Some(at) = line.find(is_blank) else {
        return Parts { name: line, flags: Vec::new(), rest: "" };
    };
    let (name, rest) = line.split_at(at);
    let (flags, rest) = flags(rest, escape);
    Parts { name, flags, rest: rest.trim() }
}

/// Words that begin with `--`, up to the first one that does not, or to `--` itself.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, was_quoted, after) = flag(rest, escape);
        if word == "--" {
            return (flags, after);
        }
        if was_quoted || !word.is_empty() {
            flags.push(word);
        }
        rest = after.trim_start();
    }
    (flags, rest)
}

/// One word, its quotes and escapes resolved; whether it had quotes; and what follows.
fn flag(text: &str, escape: char) -> (String, bool, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut was_quoted = false;
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        match quote {
            None if c.is_whitespace() => return (word, was_quoted, &text[at..]),
            None if matches!(c, '\'' | '"') => (quote, was_quoted) = (Some(c), true),
            Some(open) if c == open => quote = None,
            // The last character of a line escapes nothing.
            _ if c == escape => word.extend(rest.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, was_quoted, "")
}

/// Words between blanks. A blank at the end would give an empty one; a line has been trimmed.
pub(crate) fn blank_separated(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_blank) {
        words.push(rest[..at].into());
        rest = rest[at..].trim_start_matches(is_blank);
    }
    words.push(rest.into());
    words
}

/// Words with their quotes and escapes, which say where a word ends and are resolved later.
pub(crate) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars();
    let mut word = String::new();
    let mut quote = None;
    while let Some(c) = rest.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c != escape || quote == Some('\'') {
            word.push(c);
            continue;
        }
        match rest.next() {
            Some(next) => word.extend([c, next]),
            // At the end of a line it escapes nothing.
            None => quote = None,
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A name and its value, as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// `ENV NAME VALUE`, the old form without `=`, of which there is one in a line.
    pub legacy: bool,
}

/// `NAME=VALUE …`, or the old `NAME VALUE`.
pub(crate) fn pairs(
    text: &str,
    instruction: &'static str,
    escape: char,
) -> Result<Vec<Pair>, Problem> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let parts = text.split_once(is_blank);
        let (key, value) = parts.ok_or(Problem::TwoArguments(instruction))?;
        let value = value.trim_start_matches(is_blank).into();
        return Ok(vec![Pair { key: key.into(), value, legacy: true }]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((key, value)) => Ok(Pair { key: key.into(), value: value.into(), legacy: false }),
        None => Err(Problem::NoEquals(word)),
    };
    words.into_iter().map(pair).collect()
}

/// The strings of a JSON array; `None` where it is none, and the text means itself.
pub(crate) fn json(text: &str) -> Result<Option<Vec<String>>, Problem> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let string = |value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(Problem::NotStrings),
    };
    values.into_iter().map(string).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(line: &str) -> (String, Vec<String>, String) {
        let parts = parts(line, '\\');
        (parts.name.into(), parts.flags, parts.rest.into())
    }

    #[test]
    fn names_flags_and_the_rest() {
        for (line, name, flags, rest) in [
            ("FROM x", "FROM", vec![], "x"),
            ("  run\t--a=b  --c d --e ", "run", vec!["--a=b", "--c"], "d --e"),
            (r#"COPY --a="b c"d --e=\ f x"#, "COPY", vec!["--a=b cd", "--e= f"], "x"),
            ("RUN -- --x", "RUN", vec![], "--x"),
            ("RUN -x --y", "RUN", vec![], "-x --y"),
            ("RUN --x", "RUN", vec!["--x"], ""),
            (r"RUN --x\", "RUN", vec!["--x"], ""),
            ("RUN --x=é é", "RUN", vec!["--x=é"], "é"),
            ("RUN", "RUN", vec![], ""),
            ("", "", vec![], ""),
        ] {
            let want =
                (name.to_owned(), flags.into_iter().map(str::to_owned).collect(), rest.into());
            assert_eq!(taken_apart(line), want, "{line}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        for (text, want) in [
            ("a=b c=d", vec!["a=b", "c=d"]),
            ("a=\"b c\" d='e \"f'", vec!["a=\"b c\"", "d='e \"f'"]),
            (r#"a=b\ c d="e\" f""#, vec![r"a=b\ c", r#"d="e\" f""#]),
            (r"a='b\' c", vec![r"a='b\'", "c"]),
            (r"a=b\", vec!["a=b"]),
            ("  ", vec![]),
            ("\"\"", vec!["\"\""]),
        ] {
            assert_eq!(quoted_words(text, '\\'), want, "{text}");
        }
        assert_eq!(quoted_words(r"a=c:\ b=`` `d", '`'), [r"a=c:\", "b=``", "`d"]);
        assert_eq!(blank_separated("a  b\tc\u{a0}d"), ["a", "b", "c\u{a0}d"]);
    }

    #[test]
    fn pairs_in_both_forms() {
        let pairs = |text| pairs(text, "ENV", '\\').map_err(|problem| problem.to_string());
        let pair =
            |key: &str, value: &str, legacy| Pair { key: key.into(), value: value.into(), legacy };
        assert_eq!(pairs("a=b c=").unwrap(), [pair("a", "b", false), pair("c", "", false)]);
        assert_eq!(pairs("a b=c  d ").unwrap(), [pair("a", "b=c  d ", true)]);
        assert_eq!(pairs("a"), Err("ENV must have two arguments".into()));
        assert_eq!(pairs(""), Ok(vec![]));
        assert_eq!(pairs("=b").unwrap(), [pair("", "b", false)]);
        let error = "Syntax error - can't find = in \"c\". Must be of the form: name=value";
        assert_eq!(pairs("a=b c"), Err(error.into()));
    }

    #[test]
    fn arrays() {
        let strings = |words: &[&str]| Ok(Some(words.iter().map(|&w| w.to_owned()).collect()));
        assert_eq!(json(r#" ["a", "b\"c"] "#), strings(&["a", "b\"c"]));
        assert_eq!(json("[]"), strings(&[]));
        for text in ["", "a", "['a']", r#"["a"] b"#, r#"["a""#, r#"["a\x"]"#] {
            assert_eq!(json(text), Ok(None), "{text}");
        }
        assert_eq!(json(r#"["a", 1]"#), Err(Problem::NotStrings));
        assert_eq!(json(r#"[["a"]]"#), Err(Problem::NotStrings));
    }
}
