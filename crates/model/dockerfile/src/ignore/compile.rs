//! From a pattern to what is carried out.

use super::states::States;

/// A pattern that follows no rule (Go's `filepath.ErrBadPattern`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern \"{0}\"")]
pub struct BadPattern(String);

impl BadPattern {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }
}

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// This character.
    Character(char),
    /// `?`: one that is no `/`.
    One,
    /// `*`: any number of those.
    Any,
    /// `[a-z]`, `[^a-z]`: one of these, or one that is not.
    Class { not: bool, ranges: Vec<(char, char)> },
    /// `**` before something: nothing, or what is inside it up to a `/`.
    Directories,
    /// The inside of that.
    Inside,
    /// `**` at the end, or before a text at the beginning: anything.
    All,
}

/// A pattern that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compiled(Vec<Piece>);

impl Compiled {
    /// With `**`.
    pub(super) fn double_star(pattern: &str) -> Result<Self, BadPattern> {
        let compiled = compile(pattern, true).ok_or_else(|| BadPattern::new(pattern))?;
        Ok(Self(suffix_after_stars(pattern, compiled)))
    }

    /// Without: two stars are as good as one.
    pub(super) fn plain(pattern: &str) -> Result<Self, BadPattern> {
        compile(pattern, false).map(Self).ok_or_else(|| BadPattern::new(pattern))
    }

    pub(super) fn start(&self) -> States {
        let mut states = States::new(self.0.len() + 1);
        self.enter(&mut states, 0);
        states
    }

    /// Goes on with these bytes. What is not UTF-8 in them is one character for each byte.
    pub(super) fn feed(&self, states: &mut States, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !states.is_dead() {
            let (c, length) = decode(rest);
            self.step(states, c);
            rest = &rest[length..];
        }
    }

    pub(super) fn is_match(&self, states: &States) -> bool {
        states.has(self.0.len())
    }

    fn step(&self, states: &mut States, c: char) {
        let before = states.take();
        for at in before.iter() {
            match self.0.get(at) {
                Some(Piece::Character(own)) if *own == c => self.enter(states, at + 1),
                Some(Piece::One) if c != '/' => self.enter(states, at + 1),
                Some(Piece::Class { not, ranges }) => {
                    let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    if is_in != *not {
                        self.enter(states, at + 1);
                    }
                }
                Some(Piece::Any) if c != '/' => self.enter(states, at),
                Some(Piece::All) => self.enter(states, at),
                Some(Piece::Inside) => {
                    states.put(at);
                    if c == '/' {
                        self.enter(states, at + 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// What may be nothing is passed at once.
    fn enter(&self, states: &mut States, mut at: usize) {
        while !states.has(at) {
            states.put(at);
            match self.0.get(at) {
                Some(Piece::Any | Piece::All) => at += 1,
                Some(Piece::Directories) => {
                    states.put(at + 1);
                    at += 2;
                }
                _ => break,
            }
        }
    }
}

/// The first character, and how many bytes it takes.
fn decode(bytes: &[u8]) -> (char, usize) {
    let first = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or(('\u{fffd}', 1), |c| (c, c.len_utf8()))
}

fn compile(pattern: &str, double_star: bool) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if double_star && rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_none() {
                    pieces.push(Piece::All);
                } else {
                    pieces.extend([Piece::Directories, Piece::Inside]);
                }
            }
            '*' => pieces.push(Piece::Any),
            '?' => pieces.push(Piece::One),
            '[' => pieces.push(class(&mut rest)?),
            '\\' => pieces.push(Piece::Character(rest.next()?)),
            c => pieces.push(Piece::Character(c)),
        }
    }
    Some(pieces)
}

/// `**foo`, with nothing special in what follows, matches all that ends in `foo`, and not only names
/// that are `foo`.
fn suffix_after_stars(pattern: &str, mut pieces: Vec<Piece>) -> Vec<Piece> {
    let Some(suffix) = pattern.strip_prefix("**") else { return pieces };
    if !suffix.is_empty()
        && !suffix.starts_with('/')
        && !suffix.contains(['*', '?', '[', ']', '\\'])
    {
        pieces.splice(..2, [Piece::All]);
    }
    pieces
}

/// What follows `[`, with its end.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Piece> {
    let not = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Some(Piece::Class { not, ranges });
        }
        let low = bound(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { bound(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn bound(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}
