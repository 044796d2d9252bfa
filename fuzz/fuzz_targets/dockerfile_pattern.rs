//! Patterns of files (`.dockerignore`, `--exclude`, wildcards): whatever the patterns, they say of a path
//! what a slow and plain reading of the rules says, a walk says what a look at the path says, and it leaves
//! out nothing that is wanted.
#![no_main]

use dockerfile::ignore::{Filter, Patterns, Wildcard, read};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// A plain reading goes back and forth: more steps than this, and the input is left alone.
const FUEL: u32 = 200_000;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// One in each line.
    patterns: &'a str,
    exclude: &'a str,
    path: &'a str,
}

/// Go's `path.Clean`.
fn clean(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, out.last()) {
            ("..", None | Some(&"..")) if path.starts_with('/') => {}
            ("..", None | Some(&"..")) => out.push(part),
            ("..", _) => drop(out.pop()),
            _ => out.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    let text = format!("{root}{}", out.join("/"));
    if text.is_empty() { ".".to_owned() } else { text }
}

/// Carries one pattern out, character by character, with every way that there is.
struct Plain {
    fuel: u32,
    stars: bool,
}

/// It took too long.
#[derive(Debug)]
struct Spent;

impl Plain {
    fn matches(&mut self, pattern: &[char], text: &[char]) -> Result<bool, Spent> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Spent)?;
        let Some((&first, rest)) = pattern.split_first() else { return Ok(text.is_empty()) };
        match first {
            '*' if self.stars && rest.first() == Some(&'*') => {
                let rest = &rest[1..];
                let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
                if rest.is_empty() {
                    return Ok(true);
                }
                // Nothing, or anything up to a slash.
                let mut ways = vec![0];
                ways.extend(
                    text.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at + 1),
                );
                self.any(rest, text, &ways)
            }
            '*' => {
                let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
                let ways: Vec<usize> = (0..=end).collect();
                self.any(rest, text, &ways)
            }
            '?' => match text.split_first() {
                Some((c, more)) if *c != '/' => self.matches(rest, more),
                _ => Ok(false),
            },
            '[' => {
                let Some((c, more)) = text.split_first() else { return Ok(false) };
                let (is_in, rest) = class(rest, *c).expect("it was taken as a pattern");
                if is_in { self.matches(rest, more) } else { Ok(false) }
            }
            '\\' => match (rest.split_first(), text.split_first()) {
                (Some((own, rest)), Some((c, more))) if own == c => self.matches(rest, more),
                _ => Ok(false),
            },
            own => match text.split_first() {
                Some((c, more)) if *c == own => self.matches(rest, more),
                _ => Ok(false),
            },
        }
    }

    fn any(&mut self, pattern: &[char], text: &[char], ways: &[usize]) -> Result<bool, Spent> {
        for way in ways {
            if self.matches(pattern, &text[*way..])? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `^a-z]` and what follows it.
fn class(mut pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let not = pattern.first() == Some(&'^');
    if not {
        pattern = &pattern[1..];
    }
    let (mut is_in, mut is_first) = (false, true);
    loop {
        if !is_first && pattern.first() == Some(&']') {
            return Some((is_in != not, &pattern[1..]));
        }
        let bound = |pattern: &mut &[char]| -> Option<char> {
            let first = *pattern.first()?;
            let length = if first == '\\' { 2 } else { 1 };
            let c = *pattern.get(length - 1)?;
            *pattern = &pattern[length..];
            (length == 2 || !matches!(c, '-' | ']')).then_some(c)
        };
        let low = bound(&mut pattern)?;
        let mut high = low;
        if pattern.first() == Some(&'-') {
            pattern = &pattern[1..];
            high = bound(&mut pattern)?;
        }
        is_in |= (low..=high).contains(&c);
        is_first = false;
    }
}

/// `**text` is all that ends so.
fn is_suffix(pattern: &str) -> Option<&str> {
    let rest = pattern.strip_prefix("**")?;
    let plain =
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['*', '?', '[', ']', '\\']);
    plain.then_some(rest)
}

fn one(pattern: &str, path: &str, stars: bool) -> Result<bool, Spent> {
    if let Some(suffix) = is_suffix(pattern).filter(|_| stars) {
        return Ok(path.ends_with(suffix));
    }
    let (pattern, path): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), path.chars().collect());
    Plain { fuel: FUEL, stars }.matches(&pattern, &path)
}

/// The last pattern counts that matches the path or a directory that it is in.
fn last_of_all(patterns: &[&str], path: &str) -> Result<bool, Spent> {
    let mut matched = false;
    for pattern in patterns.iter().map(|one| one.trim()).filter(|one| !one.is_empty()) {
        let cleaned = clean(pattern);
        let (text, exception) = match cleaned.strip_prefix('!') {
            Some(rest) => (rest, true),
            None => (cleaned.as_str(), false),
        };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            if one(text, &path[..end], true)? {
                matched = !exception;
            }
        }
    }
    Ok(matched)
}

fuzz_target!(|input: Input| {
    let parts: Vec<&str> =
        input.path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let path = parts.join("/");
    // What a file of them holds is taken as it stands, once more.
    for line in read(input.patterns.as_bytes()) {
        assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
    }
    let (include, exclude): (Vec<&str>, Vec<&str>) =
        (input.patterns.lines().collect(), input.exclude.lines().collect());
    if parts.is_empty() {
        return;
    }
    if let Ok(patterns) = Patterns::new(&include) {
        let fast = patterns.matches(&path);
        if let Ok(slow) = last_of_all(&include, &path) {
            assert_eq!(fast, slow, "{include:?} of {path:?}");
        }
        // A directory below which nothing differs has one answer for all of it.
        let mut dir = patterns.root();
        for (at, part) in parts.iter().enumerate() {
            let (matched, below) = dir.child(part.as_bytes(), at + 1 < parts.len());
            assert_eq!(matched, patterns.matches(&parts[..=at].join("/")), "{include:?} {path:?}");
            let Some(below) = below else { break };
            if !below.may_differ(matched) {
                assert_eq!(fast, matched, "{include:?} of {path:?} below {at}");
            }
            dir = below;
        }
    }
    if let Ok(filter) = Filter::new(&include, &exclude) {
        let wanted = filter.wants(&path);
        let mut dir = Some(filter.root());
        let mut walked = None;
        for (at, part) in parts.iter().enumerate() {
            let Some(here) = dir else { break };
            let found = here.child(part.as_bytes(), at + 1 < parts.len());
            walked = (at + 1 == parts.len()).then_some(found.wanted);
            dir = found.enter;
        }
        // Where a walk does not come to, nothing is wanted.
        assert_eq!(walked.unwrap_or(false), wanted, "{include:?} {exclude:?} of {path:?}");
    }
    if let Ok(Some(wildcard)) = Wildcard::new(input.exclude) {
        let source = clean(&format!("/{}", input.exclude));
        let pattern = source.strip_prefix(&wildcard.base).expect("its own directory");
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        let fast = wildcard.matches(path.as_bytes());
        if let Ok(slow) = one(pattern, &path, false) {
            assert_eq!(fast, slow, "{pattern:?} of {path:?}");
        }
        for (end, _) in path.match_indices('/').filter(|_| fast) {
            assert!(wildcard.may_match_below(path[..end].as_bytes()), "{pattern:?} of {path:?}");
        }
    }
});
