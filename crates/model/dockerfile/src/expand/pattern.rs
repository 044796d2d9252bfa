//! Patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `?` is one character, `*` any number, and `\` takes
//! their meaning away (XCU 2.13 without brackets). Neither crosses the end of a line.
//!
//! All of it takes time in proportion to the value's length times the pattern's.

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid escape '\\{0}'")]
pub struct PatternError(char);

/// One piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Piece {
    Character(char),
    One,
    Any,
}

pub(super) fn compile(pattern: &str) -> Result<Vec<Piece>, PatternError> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => match rest.next() {
                // These two are escaped since they would end the pattern.
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Piece::Character(c),
                other => return Err(PatternError(other.unwrap_or('\u{fffd}'))),
            },
            c => Piece::Character(c),
        });
    }
    Ok(pieces)
}

/// Where in a pattern one may be: bit N is before piece N, the last one is behind the pattern.
#[derive(Clone)]
struct States(Vec<bool>);

impl States {
    fn none(pattern: &[Piece]) -> Self {
        Self(vec![false; pattern.len() + 1])
    }

    /// A match may begin here.
    fn begin(&mut self, pattern: &[Piece]) {
        self.enter(pattern, 0);
    }

    /// `*` may stand for nothing.
    fn enter(&mut self, pattern: &[Piece], mut state: usize) {
        self.0[state] = true;
        while pattern.get(state) == Some(&Piece::Any) {
            state += 1;
            self.0[state] = true;
        }
    }

    fn is_match(&self) -> bool {
        self.0.last() == Some(&true)
    }

    fn is_dead(&self) -> bool {
        !self.0.contains(&true)
    }

    fn step(&mut self, pattern: &[Piece], c: char) {
        let before = std::mem::replace(self, Self::none(pattern));
        for (state, piece) in pattern.iter().enumerate().filter(|(state, _)| before.0[*state]) {
            match piece {
                Piece::Character(own) if *own == c => self.enter(pattern, state + 1),
                Piece::One if c != '\n' => self.enter(pattern, state + 1),
                Piece::Any if c != '\n' => self.enter(pattern, state),
                _ => {}
            }
        }
    }
}

/// How many characters from the beginning match.
fn prefix(pattern: &[Piece], text: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
    let mut states = States::none(pattern);
    states.begin(pattern);
    let mut found = states.is_match().then_some(0);
    for (at, c) in text.enumerate() {
        if states.is_dead() || (found.is_some() && !longest) {
            break;
        }
        states.step(pattern, c);
        if states.is_match() {
            found = Some(at + 1);
        }
    }
    found
}

pub(super) fn trim(pattern: &[Piece], value: &str, at_end: bool, longest: bool) -> String {
    if !at_end {
        let matched = prefix(pattern, value.chars(), longest).unwrap_or(0);
        return value.chars().skip(matched).collect();
    }
    let reversed: Vec<Piece> = pattern.iter().rev().copied().collect();
    let matched = prefix(&reversed, value.chars().rev(), longest).unwrap_or(0);
    let kept = value.chars().count() - matched;
    value.chars().take(kept).collect()
}

/// `None` where the result is longer than `max` bytes.
pub(super) fn replace(
    pattern: &[Piece],
    value: &str,
    replacement: &str,
    everywhere: bool,
    max: usize,
) -> Option<String> {
    let characters: Vec<char> = value.chars().collect();
    let begins = begins(pattern, &characters);
    let mut out = String::new();
    let (mut at, mut previous, mut done) = (0, None, false);
    while at <= characters.len() {
        let found = (begins[at] && !done)
            .then(|| prefix(pattern, characters[at..].iter().copied(), true))
            .flatten()
            // An empty match right behind another one is part of that.
            .filter(|length| *length > 0 || previous != Some(at));
        if let Some(length) = found {
            out += replacement;
            done = !everywhere;
            at += length;
            previous = Some(at);
        }
        if found.is_none_or(|length| length == 0) {
            out.extend(characters.get(at));
            at += 1;
        }
        if out.len() > max {
            return None;
        }
    }
    Some(out)
}

/// Where a match begins. Seen from the end: the reversed pattern is at its end there.
fn begins(pattern: &[Piece], text: &[char]) -> Vec<bool> {
    let reversed: Vec<Piece> = pattern.iter().rev().copied().collect();
    let mut states = States::none(&reversed);
    let mut begins = vec![false; text.len() + 1];
    for at in (0..=text.len()).rev() {
        states.begin(&reversed);
        begins[at] = states.is_match();
        if at > 0 {
            states.step(&reversed, text[at - 1]);
        }
    }
    begins
}
