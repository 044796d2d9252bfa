//! Variables, quotes and escapes in the words of an instruction.
//!
//! The rules are BuildKit's (`frontend/dockerfile/shell`), which resemble those of a POSIX shell
//! ("2.6 Word Expansions") without being them: a word is not split after it was expanded, unless
//! that is asked for; a quote is taken away wherever it stands; `\` before any other character than
//! `"`, `$` and itself stays in double quotes and goes outside of them.
//!
//! Known differences: `$1` in the replacement of `${x//p/r}` is text, not a group of a regular
//! expression, and words before a `${x:-y}` are kept when words are split.

use std::collections::BTreeSet;

use crate::quote::Quoted;

mod pattern;

pub use pattern::PatternError;

/// How deep `${x:-${y:-…}}` may go.
const MAX_DEPTH: u32 = 100;
/// The longest result, in bytes: each line of a Dockerfile could double a variable.
const MAX_RESULT: usize = 4 << 20;

/// Variables by their names.
pub trait Variables {
    /// The value of one.
    fn get(&self, name: &str) -> Option<&str>;
    /// All names, in an order.
    fn names(&self) -> Vec<&str>;
}

/// No variables.
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {q}: {why}", q = Quoted(.word), why = one_line(.why))]
pub struct ExpandError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong, in one line: it quotes what is in the word, which may be anything.
fn one_line(why: &Why) -> String {
    let mut out = String::new();
    for c in why.to_string().chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// What is wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Why {
    #[error("unexpected end of statement while looking for matching {0}")]
    End(char),
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    #[error("syntax error: missing '}}'")]
    Brace,
    #[error("syntax error: missing '/' in ${{}}")]
    Slash,
    #[error("syntax error: bad substitution")]
    Bad,
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    #[error("{0}: {1}")]
    Unset(String, String),
    #[error("invalid pattern ({0}) in substitution: {1}")]
    Pattern(String, PatternError),
    #[error("substitutions nested more than {MAX_DEPTH} deep")]
    Deep,
    #[error("the result is longer than {MAX_RESULT} bytes")]
    Long,
}

/// What came of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The word.
    pub text: String,
    /// Its parts: it is split at white space that is not quoted, also such that came with a variable.
    pub words: Vec<String>,
    /// Variables that it named and that were there.
    pub matched: BTreeSet<String>,
    /// Variables that it named and that were not.
    pub unmatched: BTreeSet<String>,
}

/// How words are expanded.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// What takes away the meaning of the next character: `\` or a backtick.
    pub escape: char,
    /// Quotes stay.
    pub raw_quotes: bool,
    /// Escapes stay.
    pub raw_escapes: bool,
    /// Quotes are characters like others.
    pub plain_quotes: bool,
    /// Variables that are not set stay as they are written.
    pub keep_unset: bool,
}

impl Expander {
    /// The usual way.
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// Expands a word.
    pub fn expand(&self, word: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
        let mut run = Run {
            rest: word.chars().peekable(),
            how: *self,
            raw_escapes: self.raw_escapes,
            variables,
            expansion: Expansion::default(),
            depth: 0,
        };
        match run.until(None, self.raw_escapes) {
            Ok(Parts { text, words, .. }) => Ok(Expansion { text, words, ..run.expansion }),
            Err(why) => Err(ExpandError { word: word.into(), why }),
        }
    }
}

/// The result as it grows, whole and split.
#[derive(Default)]
struct Parts {
    text: String,
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Parts {
    /// A character that ends a word where it is white space.
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.split(c);
    }

    fn split(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
            self.in_word = true;
        } else if self.in_word && !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
    }

    /// A character that is part of a word, whatever it is.
    fn push_quoted(&mut self, c: char) {
        self.text.push(c);
        self.word.push(c);
        self.in_word = true;
    }

    fn finish(mut self) -> Self {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
        self
    }
}

struct Run<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    how: Expander,
    raw_escapes: bool,
    variables: &'a dyn Variables,
    expansion: Expansion,
    depth: u32,
}

impl Run<'_> {
    /// Up to this character, which is taken, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Parts, Why> {
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH { Err(Why::Deep) } else { self.parts(stop) };
        self.depth -= 1;
        self.raw_escapes = before;
        result
    }

    fn parts(&mut self, stop: Option<char>) -> Result<Parts, Why> {
        let mut parts = Parts::default();
        while let Some(&c) = self.rest.peek() {
            if Some(c) == stop {
                self.rest.next();
                return Ok(parts.finish());
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| parts.push(c));
                }
                '\'' if !self.how.plain_quotes => {
                    self.single_quoted()?.chars().for_each(|c| parts.push_quoted(c));
                }
                '"' if !self.how.plain_quotes => {
                    self.double_quoted()?.chars().for_each(|c| parts.push_quoted(c));
                }
                '<' => self.perhaps_heredoc().chars().for_each(|c| parts.push_quoted(c)),
                _ => self.plain(&mut parts),
            }
            if parts.text.len() > MAX_RESULT {
                return Err(Why::Long);
            }
        }
        match stop {
            Some(stop) => Err(Why::End(stop)),
            None => Ok(parts.finish()),
        }
    }

    fn plain(&mut self, parts: &mut Parts) {
        let Some(c) = self.rest.next() else { return };
        if c != self.how.escape {
            return parts.push(c);
        }
        if self.raw_escapes {
            parts.push_quoted(c);
        }
        if let Some(c) = self.rest.next() {
            parts.push_quoted(c);
        }
    }

    fn single_quoted(&mut self) -> Result<String, Why> {
        let mut text = String::new();
        let open = self.rest.next();
        text.extend(open.filter(|_| self.how.raw_quotes));
        loop {
            match self.rest.next() {
                None => return Err(Why::SingleQuote),
                Some('\'') => {
                    text.extend(Some('\'').filter(|_| self.how.raw_quotes));
                    return Ok(text);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, Why> {
        let mut text = String::new();
        let open = self.rest.next();
        text.extend(open.filter(|_| self.how.raw_quotes));
        loop {
            match self.rest.peek() {
                None => return Err(Why::DoubleQuote),
                Some('"') => {
                    self.rest.next();
                    text.extend(Some('"').filter(|_| self.how.raw_quotes));
                    return Ok(text);
                }
                Some('$') => text += &self.dollar()?,
                Some(_) => self.quoted_character(&mut text),
            }
            if text.len() > MAX_RESULT {
                return Err(Why::Long);
            }
        }
    }

    fn quoted_character(&mut self, text: &mut String) {
        let Some(c) = self.rest.next() else { return };
        if c != self.how.escape {
            return text.push(c);
        }
        if self.raw_escapes {
            text.push(c);
        }
        match self.rest.peek() {
            None => {}
            Some(&next) if matches!(next, '"' | '$') || next == self.how.escape => {
                self.rest.next();
                text.push(next);
            }
            Some(_) => text.push(c),
        }
    }

    /// `<<` and the white space behind it belong to the word that follows.
    fn perhaps_heredoc(&mut self) -> String {
        self.rest.next();
        if self.rest.next_if_eq(&'<').is_none() {
            return "<".into();
        }
        let mut text = String::from("<<");
        while let Some(c) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
            text.push(c);
        }
        text
    }

    fn dollar(&mut self) -> Result<String, Why> {
        self.rest.next();
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".into());
        }
        match self.value(&name) {
            None if self.how.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    fn braced(&mut self) -> Result<String, Why> {
        match self.rest.peek() {
            None => return Err(Why::Brace),
            Some('{' | '}' | ':') => return Err(Why::Bad),
            Some(_) => {}
        }
        let name = self.name();
        match self.rest.next() {
            None => Err(Why::Brace),
            Some('}') => match self.value(&name) {
                None if self.how.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => {
                let operator = self.rest.next().ok_or(Why::Brace)?;
                self.operator(&name, operator, true)
            }
            Some('/') => self.replaced(&name),
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.operator(&name, operator, false),
            Some(other) => Err(Why::Modifier(other.into())),
        }
    }

    /// What stands up to the closing brace.
    fn operand(&mut self, stop: char, raw: bool, missing: Why) -> Result<String, Why> {
        match self.until(Some(stop), raw) {
            Ok(parts) => Ok(parts.text),
            Err(Why::Deep) => Err(Why::Deep),
            Err(_) if self.rest.peek().is_none() => Err(missing),
            Err(why) => Err(why),
        }
    }

    /// `with_empty`: after a colon, an empty value is as good as none.
    fn operator(&mut self, name: &str, operator: char, with_empty: bool) -> Result<String, Why> {
        let written = if with_empty { format!(":{operator}") } else { operator.into() };
        let is_pattern = matches!(operator, '#' | '%');
        if with_empty && is_pattern {
            return Err(Why::Modifier(written));
        }
        let word = self.operand('}', is_pattern, Why::Brace)?;
        let value = self.value(name);
        if self.how.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let is_set = value.as_deref().is_some_and(|value| !(with_empty && value.is_empty()));
        match operator {
            '-' if is_set => Ok(value.unwrap_or_default()),
            '-' => Ok(word),
            '+' if is_set => Ok(word),
            '+' => Ok(String::new()),
            '?' => required(name, value, &word, with_empty),
            '#' | '%' => trimmed(&value.unwrap_or_default(), operator, &word),
            _ => Err(Why::Modifier(written)),
        }
    }

    fn replaced(&mut self, name: &str) -> Result<String, Why> {
        let everywhere = self.rest.next_if_eq(&'/').is_some();
        let pattern = self.operand('/', true, Why::Slash)?;
        let replacement = self.operand('}', true, Why::Brace)?;
        let Some(value) = self.value(name).or((!self.how.keep_unset).then(String::new)) else {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        };
        let compiled = pattern::compile(&pattern).map_err(|error| Why::Pattern(pattern, error))?;
        pattern::replace(&compiled, &value, &replacement, everywhere, MAX_RESULT).ok_or(Why::Long)
    }

    /// A number, one of the special parameters (which a Dockerfile never has), or a name.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.rest.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        let names = match value {
            Some(_) => &mut self.expansion.matched,
            None => &mut self.expansion.unmatched,
        };
        names.insert(name.into());
        value
    }
}

/// The value, or why there has to be one.
fn required(
    name: &str,
    value: Option<String>,
    word: &str,
    with_empty: bool,
) -> Result<String, Why> {
    let usual = match value {
        None => "is not allowed to be unset",
        Some(value) if with_empty && value.is_empty() => "is not allowed to be empty",
        Some(value) => return Ok(value),
    };
    let message = if word.is_empty() { usual } else { word };
    Err(Why::Unset(name.into(), message.into()))
}

/// Takes the pattern's match from the value's beginning (`#`) or its end (`%`): the shortest, or the
/// longest where the operator stands twice.
fn trimmed(value: &str, operator: char, word: &str) -> Result<String, Why> {
    let (pattern, longest) = match word.strip_prefix(operator) {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let compiled =
        pattern::compile(pattern).map_err(|error| Why::Pattern(pattern.into(), error))?;
    Ok(pattern::trim(&compiled, value, operator == '%', longest))
}

#[cfg(test)]
mod tests;
