//! From the text of a template to its pieces: text, and actions as words.

use serde_json::Value;

use super::Error;

/// An action's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Literal(Value),
    Open,
    /// With the fields after it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
}

/// Text and actions, in turn.
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Takes a template apart.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        if trim_next {
            before = before.trim_start();
        }
        let mut inner = &rest[start + 2..];
        if inner.starts_with("- ") || inner.starts_with("-\n") {
            before = before.trim_end();
            inner = &inner[1..];
        }
        let close = closing(inner).ok_or_else(|| Error::new("unclosed action"))?;
        let mut action = &inner[..close];
        rest = &inner[close + 2..];
        trim_next = action.ends_with(" -");
        if trim_next {
            action = &action[..action.len() - 1];
        }
        if !before.is_empty() {
            out.push(Piece::Text(before.to_owned()));
        }
        if !action.trim_start().starts_with("/*") {
            out.push(Piece::Action(tokens(action)?));
        }
    }
    let rest = if trim_next { rest.trim_start() } else { rest };
    if !rest.is_empty() {
        out.push(Piece::Text(rest.to_owned()));
    }
    Ok(out)
}

/// Where `}}` stands that is not inside a string.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            Some(_) | None => {}
        }
    }
    None
}

fn tokens(action: &str) -> Result<Vec<Token>, Error> {
    let mut out = Vec::new();
    let mut chars = action.char_indices().peekable();
    while let Some(&(at, c)) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '"' | '`' => {
                let (value, length) = string(&action[at..])?;
                out.push(Token::Literal(Value::String(value)));
                while chars.next_if(|&(next, _)| next < at + length).is_some() {}
            }
            '(' => {
                chars.next();
                out.push(Token::Open);
            }
            ')' => {
                chars.next();
                let start = at + 1;
                let mut end = start;
                while let Some((next, c)) = chars.next_if(|&(_, c)| is_word(c)) {
                    end = next + c.len_utf8();
                }
                out.push(Token::Close(fields(&action[start..end])));
            }
            '|' => {
                chars.next();
                out.push(Token::Pipe);
            }
            ',' => {
                chars.next();
                out.push(Token::Comma);
            }
            ':' | '=' => {
                while chars.next_if(|&(_, c)| c == ':' || c == '=').is_some() {}
                out.push(Token::Declare);
            }
            c if is_word(c) => {
                let mut end = at;
                while let Some((next, c)) = chars.next_if(|&(_, c)| is_word(c)) {
                    end = next + c.len_utf8();
                }
                out.push(Token::Word(action[at..end].to_owned()));
            }
            other => return Err(Error::new(format!("unexpected {other:?} in {action:?}"))),
        }
    }
    Ok(out)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '-' | '+')
}

/// The names in a path.
pub(super) fn fields(path: &str) -> Vec<String> {
    path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The string that `text` begins with, and its length in the template, quotes included.
fn string(text: &str) -> Result<(String, usize), Error> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or_else(|| Error::new("unterminated raw string"))?;
        return Ok((raw[..end].to_owned(), end + 2));
    }
    let mut out = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                escaped = false;
                out.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
            }
            '\\' => escaped = true,
            '"' => return Ok((out, at + 1)),
            c => out.push(c),
        }
    }
    Err(Error::new("unterminated string"))
}
