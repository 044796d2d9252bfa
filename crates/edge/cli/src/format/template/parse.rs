//! From the text of a template to its nodes.

use serde_json::Value;

use super::Error;
use super::functions;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    Assign(String, Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    Range { vars: Vec<String>, over: Pipeline, body: Vec<Node>, empty: Vec<Node> },
    With(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A function and its arguments, or a lone operand.
#[derive(Debug)]
pub(super) struct Command(pub(super) Vec<Operand>);

/// What a command is made of.
#[derive(Debug)]
pub(super) enum Operand {
    /// `.` with the fields after it.
    Dot(Vec<String>),
    /// `$name` with the fields after it; the empty name is the root.
    Variable(String, Vec<String>),
    Literal(Value),
    Function(String),
    /// A parenthesised pipeline with the fields after it.
    Nested(Pipeline, Vec<String>),
}

/// An action's words.
#[derive(Clone, Debug, PartialEq)]
enum Token {
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
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let mut parser = Parser { pieces: pieces(text)?.into_iter().peekable() };
    let (nodes, end) = parser.block()?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::End => Err(Error::new("unexpected {{end}}")),
        Stop::Else(_) => Err(Error::new("unexpected {{else}}")),
    }
}

pub(super) fn top_level_fields(nodes: &[Node]) -> Vec<String> {
    let field = |node: &Node| match node {
        Node::Print(Pipeline(commands)) => {
            commands.iter().flat_map(|c| &c.0).find_map(|operand| match operand {
                Operand::Dot(path) if !path.is_empty() => Some(path.join(".")),
                _ => None,
            })
        }
        _ => None,
    };
    nodes.iter().filter_map(field).collect()
}

/// Whether any path in a template begins with this field.
pub(super) fn mentions(nodes: &[Node], field: &str) -> bool {
    fn operand(operand: &Operand, field: &str) -> bool {
        match operand {
            Operand::Dot(path) => path.first().is_some_and(|first| first == field),
            Operand::Variable(name, path) => {
                name.is_empty() && path.first().is_some_and(|first| first == field)
            }
            Operand::Nested(nested, _) => pipeline(nested, field),
            Operand::Literal(_) | Operand::Function(_) => false,
        }
    }
    fn pipeline(Pipeline(commands): &Pipeline, field: &str) -> bool {
        commands.iter().flat_map(|command| &command.0).any(|one| operand(one, field))
    }
    nodes.iter().any(|node| match node {
        Node::Text(_) => false,
        Node::Print(value) | Node::Assign(_, value) => pipeline(value, field),
        Node::If(arms, other) => {
            mentions(other, field)
                || arms.iter().any(|(value, body)| pipeline(value, field) || mentions(body, field))
        }
        Node::Range { over: value, body, empty: other, .. } | Node::With(value, body, other) => {
            pipeline(value, field) || mentions(body, field) || mentions(other, field)
        }
    })
}

fn pieces(text: &str) -> Result<Vec<Piece>, Error> {
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

fn fields(path: &str) -> Vec<String> {
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

/// What ended a block.
enum Stop {
    /// The template.
    Text,
    /// `{{end}}`.
    End,
    /// The words after `else`.
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            match tokens.first() {
                Some(Token::Word(word)) if word == "end" => return Ok((nodes, Stop::End)),
                Some(Token::Word(word)) if word == "else" => {
                    return Ok((nodes, Stop::Else(tokens[1..].to_vec())));
                }
                Some(Token::Word(word)) if word == "if" => {
                    nodes.push(self.conditional(&tokens[1..])?);
                }
                Some(Token::Word(word)) if word == "range" => nodes.push(self.range(&tokens[1..])?),
                Some(Token::Word(word)) if word == "with" => {
                    let value = pipeline(&tokens[1..])?;
                    let (body, other) = self.two_blocks("with")?;
                    nodes.push(Node::With(value, body, other));
                }
                Some(Token::Word(word))
                    if word.starts_with('$') && tokens.get(1) == Some(&Token::Declare) =>
                {
                    nodes.push(Node::Assign(word[1..].to_owned(), pipeline(&tokens[2..])?));
                }
                Some(_) => nodes.push(Node::Print(pipeline(&tokens)?)),
                None => return Err(Error::new("missing value for command")),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn conditional(&mut self, condition: &[Token]) -> Result<Node, Error> {
        let mut arms = Vec::new();
        let mut condition = pipeline(condition)?;
        loop {
            let (body, end) = self.block()?;
            arms.push((condition, body));
            match end {
                Stop::Text => return Err(no_end("if")),
                Stop::End => return Ok(Node::If(arms, Vec::new())),
                Stop::Else(words) if words.is_empty() => match self.block()? {
                    (other, Stop::End) => return Ok(Node::If(arms, other)),
                    _ => return Err(no_end("if")),
                },
                Stop::Else(words) => condition = pipeline(&words[1..])?,
            }
        }
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node, Error> {
        let declare = tokens.iter().position(|token| *token == Token::Declare);
        let vars = tokens[..declare.unwrap_or(0)]
            .iter()
            .filter_map(|token| match token {
                Token::Word(word) => word.strip_prefix('$').map(str::to_owned),
                _ => None,
            })
            .collect();
        let over = pipeline(&tokens[declare.map_or(0, |at| at + 1)..])?;
        let (body, empty) = self.two_blocks("range")?;
        Ok(Node::Range { vars, over, body, empty })
    }

    fn two_blocks(&mut self, what: &str) -> Result<(Vec<Node>, Vec<Node>), Error> {
        let (body, end) = self.block()?;
        match end {
            Stop::Text => Err(no_end(what)),
            Stop::End => Ok((body, Vec::new())),
            Stop::Else(_) => match self.block()? {
                (other, Stop::End) => Ok((body, other)),
                _ => Err(no_end(what)),
            },
        }
    }
}

fn no_end(what: &str) -> Error {
    Error::new(format!("unexpected end of template: {what:?} has no {{{{end}}}}"))
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, Error> {
    let mut at = 0;
    let parsed = nested_pipeline(tokens, &mut at)?;
    if at < tokens.len() {
        return Err(Error::new("unexpected right paren"));
    }
    Ok(parsed)
}

/// Reads commands up to the end or to a closing parenthesis, which stays.
fn nested_pipeline(tokens: &[Token], at: &mut usize) -> Result<Pipeline, Error> {
    let mut commands = vec![Command(Vec::new())];
    while let Some(token) = tokens.get(*at) {
        let operand = match token {
            Token::Close(_) => break,
            Token::Pipe => {
                commands.push(Command(Vec::new()));
                *at += 1;
                continue;
            }
            Token::Open => {
                *at += 1;
                let inner = nested_pipeline(tokens, at)?;
                let Some(Token::Close(fields)) = tokens.get(*at) else {
                    return Err(Error::new("unclosed left paren"));
                };
                Operand::Nested(inner, fields.clone())
            }
            Token::Literal(value) => Operand::Literal(value.clone()),
            Token::Word(word) => operand(word)?,
            Token::Comma | Token::Declare => return Err(Error::new("unexpected \",\" or \":=\"")),
        };
        *at += 1;
        if let Some(command) = commands.last_mut() {
            command.0.push(operand);
        }
    }
    if commands.iter().any(|command| command.0.is_empty()) {
        return Err(Error::new("missing value for command"));
    }
    Ok(Pipeline(commands))
}

fn operand(word: &str) -> Result<Operand, Error> {
    if let Some(path) = word.strip_prefix('.') {
        return Ok(Operand::Dot(fields(path)));
    }
    if let Some(variable) = word.strip_prefix('$') {
        let mut parts = variable.split('.');
        let name = parts.next().unwrap_or_default().to_owned();
        return Ok(Operand::Variable(name, parts.map(str::to_owned).collect()));
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Operand::Literal(number.into()));
    }
    if let Ok(number) = word.parse::<f64>() {
        return Ok(Operand::Literal(number.into()));
    }
    match word {
        "true" => Ok(Operand::Literal(true.into())),
        "false" => Ok(Operand::Literal(false.into())),
        "nil" => Ok(Operand::Literal(Value::Null)),
        name if functions::exists(name) => Ok(Operand::Function(name.to_owned())),
        name => Err(Error::new(format!("function {name:?} not defined"))),
    }
}
