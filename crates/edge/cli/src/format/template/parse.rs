//! From the text of a template to its nodes.

use std::collections::HashMap;

use serde_json::Value;

use super::Error;
use super::functions;
use super::lex::{Piece, Token, fields, pieces};

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    Assign(String, Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    Range {
        vars: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        empty: Vec<Node>,
    },
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// A template that is defined, with what is `.` in it.
    Template(String, Option<Pipeline>),
    Break,
    Continue,
}

/// A whole text: what it prints, and the templates that it defines, by their names.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    pub(super) defined: HashMap<String, Vec<Node>>,
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

pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    let pieces = pieces(text)?.into_iter().peekable();
    let mut parser = Parser { pieces, defined: HashMap::new(), n_open: 0, n_ranges: 0 };
    let (nodes, end) = parser.block()?;
    match end {
        Stop::Text => Ok(Parsed { nodes, defined: parser.defined }),
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
    has_operand(nodes, &|operand| match operand {
        Operand::Dot(path) => path.first().is_some_and(|first| first == field),
        Operand::Variable(name, path) => {
            name.is_empty() && path.first().is_some_and(|first| first == field)
        }
        Operand::Nested(..) | Operand::Literal(_) | Operand::Function(_) => false,
    })
}

/// Whether a template calls this function.
pub(super) fn calls(nodes: &[Node], function: &str) -> bool {
    has_operand(nodes, &|operand| matches!(operand, Operand::Function(name) if name == function))
}

/// Whether `test` holds for any operand of a template.
fn has_operand(nodes: &[Node], test: &dyn Fn(&Operand) -> bool) -> bool {
    fn pipeline(Pipeline(commands): &Pipeline, test: &dyn Fn(&Operand) -> bool) -> bool {
        commands.iter().flat_map(|command| &command.0).any(|operand| match operand {
            Operand::Nested(nested, _) => pipeline(nested, test),
            operand => test(operand),
        })
    }
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Template(_, None) | Node::Break | Node::Continue => false,
        Node::Print(value) | Node::Assign(_, value) | Node::Template(_, Some(value)) => {
            pipeline(value, test)
        }
        Node::If(arms, other) => {
            has_operand(other, test)
                || arms.iter().any(|(value, body)| pipeline(value, test) || has_operand(body, test))
        }
        Node::Range { over: value, body, empty: other, .. } | Node::With(value, body, other) => {
            pipeline(value, test) || has_operand(body, test) || has_operand(other, test)
        }
    })
}

/// How many blocks, or parentheses, may be within each other: each takes of the stack.
const MOST_OPEN: usize = 150;

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
    defined: HashMap<String, Vec<Node>>,
    /// Blocks that are open, and how many of them `break` could end.
    n_open: usize,
    n_ranges: usize,
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
                    let condition = declared(&tokens[1..], &mut nodes)?;
                    nodes.push(self.conditional(condition)?);
                }
                Some(Token::Word(word)) if word == "range" => nodes.push(self.range(&tokens[1..])?),
                Some(Token::Word(word)) if word == "with" => {
                    let value = declared(&tokens[1..], &mut nodes)?;
                    nodes.push(self.with(value)?);
                }
                Some(Token::Word(word)) if word == "define" => self.define(&tokens[1..])?,
                Some(Token::Word(word)) if word == "template" => {
                    nodes.push(template(&tokens[1..])?);
                }
                Some(Token::Word(word)) if word == "block" => {
                    nodes.push(self.named_block(&tokens[1..])?);
                }
                Some(Token::Word(word)) if word == "break" || word == "continue" => {
                    if self.n_ranges == 0 {
                        return Err(Error::new(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
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

    /// A block that is within another.
    fn inner(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        self.within(Self::block)
    }

    /// Reads what is within a block.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.n_open >= MOST_OPEN {
            return Err(Error::new(format!("more than {MOST_OPEN} blocks are within each other")));
        }
        self.n_open += 1;
        let found = read(self);
        self.n_open -= 1;
        found
    }

    /// A block that ends with `{{end}}`.
    fn last(&mut self, what: &str) -> Result<Vec<Node>, Error> {
        match self.inner()? {
            (nodes, Stop::End) => Ok(nodes),
            (_, Stop::Text) => Err(no_end(what)),
            (_, Stop::Else(_)) => Err(Error::new(format!("unexpected {{{{else}}}} in {what:?}"))),
        }
    }

    fn conditional(&mut self, mut condition: Pipeline) -> Result<Node, Error> {
        let mut arms = Vec::new();
        loop {
            let (body, end) = self.inner()?;
            arms.push((condition, body));
            match end {
                Stop::Text => return Err(no_end("if")),
                Stop::End => return Ok(Node::If(arms, Vec::new())),
                Stop::Else(words) => match after_else(&words, "if")? {
                    None => return Ok(Node::If(arms, self.last("if")?)),
                    Some(next) => condition = next,
                },
            }
        }
    }

    fn with(&mut self, value: Pipeline) -> Result<Node, Error> {
        let (body, end) = self.inner()?;
        match end {
            Stop::Text => Err(no_end("with")),
            Stop::End => Ok(Node::With(value, body, Vec::new())),
            Stop::Else(words) => {
                let other = match after_else(&words, "with")? {
                    None => self.last("with")?,
                    // Both end with the same `{{end}}`.
                    Some(next) => vec![self.within(|parser| parser.with(next))?],
                };
                Ok(Node::With(value, body, other))
            }
        }
    }

    /// `{{define "NAME"}}`: a template that is printed where `{{template "NAME"}}` says so.
    fn define(&mut self, tokens: &[Token]) -> Result<(), Error> {
        if self.n_open > 0 {
            return Err(Error::new("unexpected {{define}}"));
        }
        let (name, []) = named(tokens, "define")? else {
            return Err(Error::new("unexpected words in define clause"));
        };
        let body = self.body("define")?;
        self.keep(name, body)
    }

    /// `{{block "NAME" VALUE}}`: one that is defined and printed in the same place.
    fn named_block(&mut self, tokens: &[Token]) -> Result<Node, Error> {
        let (name, value) = named(tokens, "block")?;
        let value = pipeline(value)?;
        let body = self.body("block")?;
        self.keep(name.clone(), body)?;
        Ok(Node::Template(name, Some(value)))
    }

    /// The body of a template of its own: loops around it are not its.
    fn body(&mut self, what: &str) -> Result<Vec<Node>, Error> {
        let n_ranges = std::mem::take(&mut self.n_ranges);
        let body = self.last(what);
        self.n_ranges = n_ranges;
        body
    }

    fn keep(&mut self, name: String, body: Vec<Node>) -> Result<(), Error> {
        // One that prints nothing gives way, as in Go.
        let is_taken = self.defined.get(&name).is_some_and(|other| !is_blank(other));
        if is_taken && !is_blank(&body) {
            return Err(Error::new(format!("multiple definition of template {name:?}")));
        }
        if !is_taken {
            self.defined.insert(name, body);
        }
        Ok(())
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
        self.n_ranges += 1;
        let block = self.inner();
        self.n_ranges -= 1;
        let (body, end) = block?;
        let empty = match end {
            Stop::Text => return Err(no_end("range")),
            Stop::End => Vec::new(),
            Stop::Else(words) if words.is_empty() => self.last("range")?,
            Stop::Else(_) => return Err(Error::new("unexpected words after {{else}} of range")),
        };
        Ok(Node::Range { vars, over, body, empty })
    }
}

/// Whether nodes are nothing but space.
fn is_blank(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

/// What comes after `else`, where it goes on as it began: `{{else if VALUE}}`, `{{else with VALUE}}`.
fn after_else(words: &[Token], what: &str) -> Result<Option<Pipeline>, Error> {
    match words.split_first() {
        None => Ok(None),
        Some((Token::Word(word), rest)) if word == what => pipeline(rest).map(Some),
        Some(_) => Err(Error::new(format!("unexpected words after {{{{else}}}} of {what}"))),
    }
}

/// The value of an `if` or a `with`. One that is given a name, `$x := VALUE`, is a node before it.
fn declared(tokens: &[Token], nodes: &mut Vec<Node>) -> Result<Pipeline, Error> {
    let [Token::Word(word), Token::Declare, rest @ ..] = tokens else { return pipeline(tokens) };
    let Some(name) = word.strip_prefix('$') else { return pipeline(tokens) };
    nodes.push(Node::Assign(name.to_owned(), pipeline(rest)?));
    Ok(Pipeline(vec![Command(vec![Operand::Variable(name.to_owned(), Vec::new())])]))
}

/// `{{template "NAME" VALUE}}`, of which the value may be left out.
fn template(tokens: &[Token]) -> Result<Node, Error> {
    let (name, value) = named(tokens, "template")?;
    let value = if value.is_empty() { None } else { Some(pipeline(value)?) };
    Ok(Node::Template(name, value))
}

/// The name that an action begins with, and what comes after it.
fn named<'t>(tokens: &'t [Token], what: &str) -> Result<(String, &'t [Token]), Error> {
    match tokens.split_first() {
        Some((Token::Literal(Value::String(name)), rest)) => Ok((name.clone(), rest)),
        _ => Err(Error::new(format!("missing name in {what} clause"))),
    }
}

fn no_end(what: &str) -> Error {
    Error::new(format!("unexpected end of template: {what:?} has no {{{{end}}}}"))
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, Error> {
    let mut n_open = 0_usize;
    for token in tokens {
        match token {
            Token::Open => n_open += 1,
            Token::Close(_) => n_open = n_open.saturating_sub(1),
            _ => {}
        }
        if n_open > MOST_OPEN {
            return Err(Error::new(format!("more than {MOST_OPEN} open parens")));
        }
    }
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
