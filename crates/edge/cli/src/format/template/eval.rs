//! From a template's nodes and a value to text.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::parse::{Command, Node, Operand, Parsed, Pipeline};
use super::{Error, LABEL};
use super::{functions, types};

/// What a template makes of `root`. `is_header`: of the headers of columns, which functions leave as
/// they are.
pub(super) fn render(parsed: &Parsed, root: &Value, is_header: bool) -> Result<String, Error> {
    let mut out = String::new();
    let defined = &parsed.defined;
    let mut scope = Scope { root, variables: HashMap::new(), is_header, defined, depth: 0 };
    scope.run(&parsed.nodes, Dot { value: root, name: "" }, &mut out)?;
    Ok(out)
}

/// How deep blocks and templates may be within each other, or themselves: each takes of the stack.
const MOST_DEPTH: usize = 200;

/// How it goes on after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Where fields are looked for.
#[derive(Clone, Copy)]
struct Dot<'a> {
    value: &'a Value,
    /// The field that it was; empty where it was none.
    name: &'a str,
}

/// What a pipeline came to.
#[derive(Clone)]
struct Found {
    value: Value,
    /// The field that it was; empty where it was none.
    name: String,
    /// How Go prints it where it is null.
    nil: &'static str,
}

impl Found {
    fn new(value: Value) -> Self {
        Self { value, name: String::new(), nil: "<no value>" }
    }

    fn dot(&self) -> Dot<'_> {
        Dot { value: &self.value, name: &self.name }
    }

    fn text(&self) -> Cow<'_, str> {
        if self.value.is_null() { self.nil.into() } else { functions::print(&self.value).into() }
    }
}

struct Scope<'v> {
    root: &'v Value,
    variables: HashMap<String, Found>,
    is_header: bool,
    defined: &'v HashMap<String, Vec<Node>>,
    /// How many blocks and templates this one is within.
    depth: usize,
}

impl Scope<'_> {
    fn run(&mut self, nodes: &[Node], dot: Dot<'_>, out: &mut String) -> Result<Flow, Error> {
        if self.depth >= MOST_DEPTH {
            let why = format!("exceeded maximum template depth ({MOST_DEPTH})");
            return Err(Error::new(why));
        }
        self.depth += 1;
        let flow = self.each(nodes, dot, out);
        self.depth -= 1;
        flow
    }

    fn each(&mut self, nodes: &[Node], dot: Dot<'_>, out: &mut String) -> Result<Flow, Error> {
        for node in nodes {
            let flow = match node {
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
                Node::If(arms, other) => {
                    let mut taken = other;
                    for (condition, body) in arms {
                        if functions::truth(&self.pipeline(condition, dot)?.value) {
                            taken = body;
                            break;
                        }
                    }
                    self.run(taken, dot, out)?
                }
                Node::With(value, body, other) => {
                    let found = self.pipeline(value, dot)?;
                    if functions::truth(&found.value) {
                        self.run(body, found.dot(), out)?
                    } else {
                        self.run(other, dot, out)?
                    }
                }
                Node::Range { vars, over, body, empty } => {
                    let over = self.pipeline(over, dot)?.value;
                    self.range(vars, &over, (body, empty), dot, out)?
                }
                simple => {
                    self.print(simple, dot, out)?;
                    Flow::Next
                }
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// A node that has no others within it.
    fn print(&mut self, node: &Node, dot: Dot<'_>, out: &mut String) -> Result<(), Error> {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => out.push_str(&self.pipeline(pipeline, dot)?.text()),
            Node::Assign(name, pipeline) => {
                let found = self.pipeline(pipeline, dot)?;
                self.variables.insert(name.clone(), found);
            }
            Node::Template(name, value) => {
                let found = match value {
                    Some(value) => self.pipeline(value, dot)?,
                    None => Found::new(Value::Null),
                };
                self.template(name, &found, out)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A template that is defined: to it, what it is given is all there is.
    fn template(&self, name: &str, found: &Found, out: &mut String) -> Result<(), Error> {
        let nodes = self.defined.get(name);
        let nodes = nodes.ok_or_else(|| Error::new(format!("template {name:?} not defined")))?;
        let mut scope = Scope {
            root: &found.value,
            variables: HashMap::new(),
            is_header: self.is_header,
            defined: self.defined,
            depth: self.depth,
        };
        scope.run(nodes, found.dot(), out).map(drop)
    }

    fn range(
        &mut self,
        vars: &[String],
        over: &Value,
        (body, empty): (&[Node], &[Node]),
        dot: Dot<'_>,
        out: &mut String,
    ) -> Result<Flow, Error> {
        let items: Vec<(Value, &Value)> = match over {
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => {
                let mut items: Vec<_> = map.iter().collect();
                // Go ranges over a map in the order of its keys.
                items.sort_by_key(|(key, _)| *key);
                items.into_iter().map(|(key, item)| (key.as_str().into(), item)).collect()
            }
            Value::Null => Vec::new(),
            Value::String(text) if text.is_empty() => Vec::new(),
            other => return Err(Error::new(format!("range cannot iterate over {other}"))),
        };
        if items.is_empty() {
            return self.run(empty, dot, out);
        }
        for (key, item) in items {
            match vars {
                [] => {}
                [value] => {
                    self.variables.insert(value.clone(), Found::new(item.clone()));
                }
                [name, value, ..] => {
                    self.variables.insert(name.clone(), Found::new(key));
                    self.variables.insert(value.clone(), Found::new(item.clone()));
                }
            }
            if self.run(body, Dot { value: item, name: "" }, out)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&self, Pipeline(commands): &Pipeline, dot: Dot<'_>) -> Result<Found, Error> {
        let mut piped = None;
        for command in commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        piped.ok_or_else(|| Error::new("missing value for command"))
    }

    fn command(
        &self,
        Command(operands): &Command,
        dot: Dot<'_>,
        piped: Option<Found>,
    ) -> Result<Found, Error> {
        let Some((first, rest)) = operands.split_first() else {
            return Err(Error::new("missing value for command"));
        };
        let piped = piped.map(|found| found.value);
        match first {
            Operand::Function(name) if name == "and" || name == "or" => {
                self.either(name == "or", rest, dot, piped)
            }
            Operand::Function(name) => {
                let arguments = self.arguments(rest, dot, piped)?;
                if self.is_header && functions::leaves_headers(name) {
                    return Ok(Found::new(arguments.into_iter().next().unwrap_or_default()));
                }
                self.call(name, &arguments)
            }
            Operand::Dot(path) if *path == [LABEL] => {
                let arguments = self.arguments(rest, dot, piped)?;
                self.label(dot, &arguments).map(Found::new)
            }
            _ if !rest.is_empty() || piped.is_some() => {
                Err(Error::new("can't give argument to non-function"))
            }
            operand => self.operand(operand, dot),
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Found, Error> {
        let value = if functions::is_of_hints(name) {
            functions::of_hint(name, arguments, self.root)
        } else {
            functions::call(name, arguments)
        };
        value.map(Found::new)
    }

    fn arguments(
        &self,
        operands: &[Operand],
        dot: Dot<'_>,
        piped: Option<Value>,
    ) -> Result<Vec<Value>, Error> {
        let given = operands.iter().map(|one| self.operand(one, dot).map(|found| found.value));
        let mut arguments = given.collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        Ok(arguments)
    }

    /// `and` and `or`: what comes after the one that decides is not looked at.
    fn either(
        &self,
        stops_at: bool,
        operands: &[Operand],
        dot: Dot<'_>,
        piped: Option<Value>,
    ) -> Result<Found, Error> {
        let mut last = None;
        for operand in operands {
            let found = self.operand(operand, dot)?;
            if functions::truth(&found.value) == stops_at {
                return Ok(found);
            }
            last = Some(found);
        }
        let last = piped.map(Found::new).or(last);
        last.ok_or_else(|| Error::new("wrong number of args for and, or: 0"))
    }

    /// `.Label "NAME"` of a row: the value of one label, which is empty where there is none.
    fn label(&self, dot: Dot<'_>, arguments: &[Value]) -> Result<Value, Error> {
        let [Value::String(name)] = arguments else {
            return Err(Error::new("wrong number of args for Label: give the label's name"));
        };
        if self.is_header {
            let last = name.rsplit('.').next().unwrap_or(name);
            return Ok(last.replace(['-', '_'], " ").into());
        }
        match dot.value.get(LABEL) {
            Some(labels) => Ok(labels.get(name).cloned().unwrap_or_else(|| "".into())),
            None => Err(Error::new("<.Label>: can't evaluate field Label")),
        }
    }

    fn operand(&self, operand: &Operand, dot: Dot<'_>) -> Result<Found, Error> {
        match operand {
            Operand::Dot(path) => walk(dot, path),
            Operand::Variable(name, path) if name.is_empty() => {
                walk(Dot { value: self.root, name: "" }, path)
            }
            Operand::Variable(name, path) => match self.variables.get(name) {
                Some(found) => walk(found.dot(), path),
                None => Err(Error::new(format!("undefined variable \"${name}\""))),
            },
            Operand::Literal(value) => Ok(Found::new(value.clone())),
            Operand::Function(name) => self.call(name, &[]),
            Operand::Nested(pipeline, path) => walk(self.pipeline(pipeline, dot)?.dot(), path),
        }
    }
}

/// Goes from field to field.
fn walk(dot: Dot<'_>, path: &[String]) -> Result<Found, Error> {
    let wrong = |why: String| Error::new(format!("<.{}>: {why}", path.join(".")));
    let mut value = Cow::Borrowed(dot.value);
    let mut name = Cow::Borrowed(dot.name);
    let mut nil = if dot.name.is_empty() { "<no value>" } else { types::nil(dot.name) };
    let mut is_absent = false;
    for field in path {
        let is_map = types::is_map(&name);
        let next = match &*value {
            Value::Object(map) if is_map => {
                nil = "<no value>";
                map.get(field).cloned().unwrap_or_default()
            }
            // What is asked of a key that a map does not have is not there either.
            Value::Null if is_map || is_absent => {
                nil = "<no value>";
                Value::Null
            }
            Value::Object(map) => {
                nil = types::nil(field);
                let found = types::field(map, field);
                found.ok_or_else(|| wrong(format!("no field or key {field:?}")))?.into_owned()
            }
            Value::Null => return Err(wrong(format!("nil pointer evaluating .{field}"))),
            _ => return Err(wrong(format!("can't evaluate field {field}"))),
        };
        is_absent = (is_absent || is_map) && next.is_null();
        name = match (&*name, field.as_str()) {
            _ if is_map => Cow::Borrowed(""),
            ("LogConfig", "Config") => Cow::Borrowed("LogConfig.Config"),
            _ => Cow::Borrowed(field.as_str()),
        };
        value = Cow::Owned(next);
    }
    Ok(Found { value: value.into_owned(), name: name.into_owned(), nil })
}
