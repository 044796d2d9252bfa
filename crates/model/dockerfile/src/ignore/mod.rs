//! Patterns of files: `.dockerignore`, `COPY --exclude`, what a build wants of a directory, and
//! wildcards in the sources of COPY and ADD.
//!
//! The rules are Docker's (`moby/patternmatcher`): those of Go's `filepath.Match`, and `**` for any
//! number of directories. A pattern that matches a directory matches all that is in it; `!` before a
//! pattern takes back what those before it matched, and the last one that matches counts. So it is
//! documented, and here it is so for every path; Docker's matcher for walks forgets in some cases
//! that a later pattern matched a directory.
//!
//! Known differences: in brackets nothing but `^`, `-` and `\` is special, and `\` before a letter is
//! that letter.

mod compile;
mod filter;
mod links;
mod states;

pub use compile::BadPattern;
pub use filter::{Filter, FilterDir, Found};
pub use links::{Links, follow};

use compile::Compiled;
use states::States;

use crate::path;

/// Patterns of a file like `.dockerignore`: comments and empty lines are left out, and each pattern
/// is brought into its shortest form.
pub fn read(file: &[u8]) -> Vec<String> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let text = String::from_utf8_lossy(file);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pattern).collect()
}

fn pattern(line: &str) -> Option<String> {
    let line = line.trim();
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if line.is_empty() {
        return None;
    }
    let mut pattern = if pattern.is_empty() { String::new() } else { path::clean(pattern) };
    if pattern.len() > 1 && pattern.starts_with('/') {
        pattern.remove(0);
    }
    Some(format!("{mark}{pattern}"))
}

/// One pattern of several.
#[derive(Clone, Debug)]
struct Pattern {
    compiled: Compiled,
    /// It takes back what others matched.
    exception: bool,
    text: String,
}

/// Patterns, in order.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Takes patterns; empty ones count for nothing.
    pub fn new<T: AsRef<str>>(patterns: &[T]) -> Result<Self, BadPattern> {
        let mut compiled = Vec::new();
        for written in patterns {
            let trimmed = written.as_ref().trim();
            if trimmed.is_empty() {
                continue;
            }
            let cleaned = path::clean(trimmed);
            let (exception, text) = match cleaned.strip_prefix('!') {
                Some("") => return Err(BadPattern::new("!")),
                Some(rest) => (true, rest),
                None => (false, cleaned.as_str()),
            };
            let text = text.to_owned();
            compiled.push(Pattern { compiled: Compiled::double_star(&text)?, exception, text });
        }
        Ok(Self(compiled))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some take back what others match.
    pub fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.exception)
    }

    /// The patterns without their `!`, and whether they had one.
    pub fn each(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|pattern| (pattern.text.as_str(), pattern.exception))
    }

    /// Whether a path, or a directory that it is in, is matched by the last pattern that has
    /// anything to say about it. The path is relative and has no `.` and `..`.
    pub fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/').map(str::as_bytes).peekable();
        let mut dir = self.root();
        while let Some(part) = parts.next() {
            let (matched, below) = dir.child(part, parts.peek().is_some());
            match below {
                Some(below) => dir = below,
                None => return matched,
            }
        }
        false
    }

    /// The beginning of a walk.
    pub fn root(&self) -> Dir<'_> {
        let state =
            |(at, pattern): (usize, &Pattern)| (at, Progress::Open(pattern.compiled.start()));
        Dir { patterns: self, open: self.0.iter().enumerate().map(state).collect() }
    }
}

/// How far one pattern has come on the way to a directory.
#[derive(Clone, Debug)]
enum Progress {
    /// It matched the directory, or one above it.
    Matched,
    /// It may match something below.
    Open(States),
}

/// A directory on a walk, with what is known of it. Patterns that can match nothing below it have
/// been left behind, so that going down gets faster.
#[derive(Clone, Debug)]
pub struct Dir<'a> {
    patterns: &'a Patterns,
    open: Vec<(usize, Progress)>,
}

impl<'a> Dir<'a> {
    /// Whether what has this name in it is matched, and, if it is a directory, the walk goes on in it
    /// with that.
    pub fn child(&self, name: &[u8], is_dir: bool) -> (bool, Option<Dir<'a>>) {
        let mut matched = false;
        let mut open = Vec::new();
        for (at, progress) in &self.open {
            let pattern = &self.patterns.0[*at];
            let Progress::Open(states) = progress else {
                matched = !pattern.exception;
                open.push((*at, Progress::Matched));
                continue;
            };
            let mut states = states.clone();
            pattern.compiled.feed(&mut states, name);
            if pattern.compiled.is_match(&states) {
                matched = !pattern.exception;
                open.push((*at, Progress::Matched));
                continue;
            }
            if is_dir {
                pattern.compiled.feed(&mut states, b"/");
                if !states.is_dead() {
                    open.push((*at, Progress::Open(states)));
                }
            }
        }
        (matched, is_dir.then_some(Dir { patterns: self.patterns, open }))
    }

    /// Whether what is below could have another answer than the directory, which is `matched`.
    pub fn may_differ(&self, matched: bool) -> bool {
        let is_open = |(at, progress): &(usize, Progress)| {
            matches!(progress, Progress::Open(_)) && self.patterns.0[*at].exception == matched
        };
        self.open.iter().any(is_open)
    }
}

/// A source of COPY or ADD that has wildcards: a directory without any, and a pattern for what is in
/// it, in which `*` and `?` stand for no `/`.
#[derive(Clone, Debug)]
pub struct Wildcard {
    /// The directory; `/` where there is none.
    pub base: String,
    compiled: Compiled,
    start: States,
}

impl Wildcard {
    /// Takes a source apart; `None` where it has no wildcards.
    pub fn new(source: &str) -> Result<Option<Self>, BadPattern> {
        let source = path::join(&["/", source]);
        let parts: Vec<&str> = source.split('/').skip(1).collect();
        let Some(first) = parts.iter().position(|part| has_wildcards(part)) else {
            return Ok(None);
        };
        let (base, pattern) = parts.split_at(first);
        let compiled = Compiled::plain(&pattern.join("/"))?;
        let start = compiled.start();
        Ok(Some(Self { base: format!("/{}", base.join("/")), compiled, start }))
    }

    /// Whether it matches a path, seen from its directory.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut states = self.start.clone();
        self.compiled.feed(&mut states, path);
        self.compiled.is_match(&states)
    }

    /// Whether it may match something below a directory, seen from its own.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let mut states = self.start.clone();
        self.compiled.feed(&mut states, directory);
        self.compiled.feed(&mut states, b"/");
        !states.is_dead()
    }
}

/// Whether a text is a pattern rather than a path.
pub fn has_wildcards(text: &str) -> bool {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                rest.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
