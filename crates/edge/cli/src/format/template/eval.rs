//! From a template's nodes and a value to text.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Error;
use super::functions;
use super::parse::{Command, Node, Operand, Pipeline};

pub(super) fn render(nodes: &[Node], root: &Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut scope = Scope { root, variables: HashMap::new() };
    scope.run(nodes, root, &mut out)?;
    Ok(out)
}

struct Scope<'v> {
    root: &'v Value,
    variables: HashMap<String, Value>,
}

impl Scope<'_> {
    fn run(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), Error> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    write!(out, "{}", functions::print(&value))
                        .map_err(|err| Error::new(err.to_string()))?;
                }
                Node::Assign(name, pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    self.variables.insert(name.clone(), value);
                }
                Node::If(arms, other) => {
                    let mut taken = other;
                    for (condition, body) in arms {
                        if functions::truth(&self.pipeline(condition, dot)?) {
                            taken = body;
                            break;
                        }
                    }
                    self.run(taken, dot, out)?;
                }
                Node::With(value, body, other) => {
                    let value = self.pipeline(value, dot)?;
                    if functions::truth(&value) {
                        self.run(body, &value, out)?;
                    } else {
                        self.run(other, dot, out)?;
                    }
                }
                Node::Range { vars, over, body, empty } => {
                    let over = self.pipeline(over, dot)?;
                    self.range(vars, &over, (body, empty), dot, out)?;
                }
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        vars: &[String],
        over: &Value,
        (body, empty): (&[Node], &[Node]),
        dot: &Value,
        out: &mut String,
    ) -> Result<(), Error> {
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
                    self.variables.insert(value.clone(), item.clone());
                }
                [name, value, ..] => {
                    self.variables.insert(name.clone(), key);
                    self.variables.insert(value.clone(), item.clone());
                }
            }
            self.run(body, item, out)?;
        }
        Ok(())
    }

    fn pipeline(&self, Pipeline(commands): &Pipeline, dot: &Value) -> Result<Value, Error> {
        let mut piped = None;
        for command in commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        piped.ok_or_else(|| Error::new("missing value for command"))
    }

    fn command(
        &self,
        Command(operands): &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Error> {
        let Some((first, rest)) = operands.split_first() else {
            return Err(Error::new("missing value for command"));
        };
        if let Operand::Function(name) = first {
            let mut arguments =
                rest.iter().map(|one| self.operand(one, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            return functions::call(name, &arguments);
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(Error::new("can't give argument to non-function"));
        }
        self.operand(first, dot)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, Error> {
        Ok(match operand {
            Operand::Dot(path) => walk(dot, path),
            Operand::Variable(name, path) if name.is_empty() => walk(self.root, path),
            Operand::Variable(name, path) => match self.variables.get(name) {
                Some(value) => walk(value, path),
                None => return Err(Error::new(format!("undefined variable \"${name}\""))),
            },
            Operand::Literal(value) => value.clone(),
            Operand::Function(name) => functions::call(name, &[])?,
            Operand::Nested(pipeline, path) => walk(&self.pipeline(pipeline, dot)?, path),
        })
    }
}

fn walk(value: &Value, path: &[String]) -> Value {
    path.iter().try_fold(value, |value, field| get(value, field)).cloned().unwrap_or(Value::Null)
}

/// A field; of OCI's descriptors and platforms, whose keys begin with a small letter, also by its
/// name in Go: `.Descriptor.Digest`.
fn get<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    let has = |key: &str| value.get(key).is_some();
    value.get(field).or_else(|| {
        let is_ocis = has("mediaType") || (has("os") && has("architecture"));
        let mut letters = field.chars();
        let first = letters.next().filter(|_| is_ocis)?.to_ascii_lowercase();
        value.get(format!("{first}{}", letters.as_str()))
    })
}
