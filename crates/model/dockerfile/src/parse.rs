//! From statements to instructions.
//!
//! In two steps, as in BuildKit: first all lines are taken apart, then each is looked at by itself.
//! An error of the first kind is told before any of the second, wherever it is.

use crate::error::Error;
use crate::instruction::{Body, Dockerfile, Instruction, Stage};
use crate::problem::Problem;
use crate::scan::{self, Statement};
use crate::split::{self, Pair};
use crate::suggest;

mod body;
mod health;

/// All instructions.
pub(crate) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// So many stages at most.
const MAX_STAGES: usize = 10_000;

/// A statement, taken apart.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name as it is written.
    keyword: String,
    /// Its name.
    name: Option<&'static str>,
    flags: Vec<String>,
    arguments: Arguments,
}

/// What follows the flags.
#[derive(Debug)]
enum Arguments {
    /// Between blanks, or the strings of an array.
    Words(Vec<String>),
    /// The strings of an array.
    Array(Vec<String>),
    /// The text as it is; none: nothing.
    Text(Option<String>),
    Pairs(Vec<Pair>),
    /// The kind of a health check, and what follows.
    Health(String, Box<Arguments>),
    Trigger(Option<Box<Shape>>),
}

fn shape(text: &str, escape: char) -> Result<Shape, Problem> {
    let parts = split::parts(text, escape);
    let upper = parts.name.to_uppercase();
    let name = NAMES.iter().find(|name| **name == upper).copied();
    let rest = parts.rest;
    let arguments = match name {
        Some("ADD" | "COPY" | "VOLUME") => match split::json(rest)? {
            Some(words) => Arguments::Words(words),
            None => Arguments::Words(split::blank_separated(rest)),
        },
        Some("EXPOSE" | "FROM") => Arguments::Words(split::blank_separated(rest)),
        Some("ARG") => Arguments::Words(split::quoted_words(rest, escape)),
        Some("CMD" | "ENTRYPOINT" | "RUN" | "SHELL") => array_or_text(rest)?,
        Some("ENV") => Arguments::Pairs(split::pairs(rest, "ENV", escape)?),
        Some("LABEL") => Arguments::Pairs(split::pairs(rest, "LABEL", escape)?),
        Some("HEALTHCHECK") => health(rest)?,
        Some("ONBUILD") if rest.is_empty() => Arguments::Trigger(None),
        // Chains of them are refused later, without going down each.
        Some("ONBUILD") if is_onbuild(rest) => {
            let keyword = split::parts(rest, escape).name.to_owned();
            let inner = Shape {
                keyword,
                name: Some("ONBUILD"),
                flags: Vec::new(),
                arguments: Arguments::Trigger(None),
            };
            Arguments::Trigger(Some(Box::new(inner)))
        }
        Some("ONBUILD") => Arguments::Trigger(Some(Box::new(shape(rest, escape)?))),
        _ => Arguments::Text((!rest.is_empty()).then(|| rest.to_owned())),
    };
    Ok(Shape { keyword: parts.name.into(), name, flags: parts.flags, arguments })
}

fn is_onbuild(text: &str) -> bool {
    let name = text.split(split::is_blank).next().unwrap_or_default();
    name.eq_ignore_ascii_case("onbuild")
}

fn array_or_text(text: &str) -> Result<Arguments, Problem> {
    Ok(match split::json(text)? {
        Some(words) => Arguments::Array(words),
        None => Arguments::Text((!text.is_empty()).then(|| text.to_owned())),
    })
}

fn health(text: &str) -> Result<Arguments, Problem> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (kind, rest) = text.split_at(end);
    Ok(Arguments::Health(kind.into(), Box::new(array_or_text(rest.trim_start())?)))
}

/// What was understood of a text before something was not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// So far.
    pub dockerfile: Dockerfile,
    /// What was not.
    pub error: Option<Error>,
}

/// Reads a Dockerfile.
pub fn parse(source: &[u8]) -> Result<Dockerfile, Error> {
    let parsed = parse_some(source);
    match parsed.error {
        Some(error) => Err(error),
        None => Ok(parsed.dockerfile),
    }
}

/// Reads a Dockerfile up to the first error: what was read can be checked all the same.
pub fn parse_some(source: &[u8]) -> Parsed {
    let mut dockerfile = Dockerfile { escape: '\\', ..Dockerfile::default() };
    let error = fill(source, &mut dockerfile).err();
    Parsed { dockerfile, error }
}

fn fill(source: &[u8], dockerfile: &mut Dockerfile) -> Result<(), Error> {
    if source.is_empty() {
        return Err(Error::nowhere(Problem::Empty));
    }
    let scan = scan::scan(source)?;
    let shape = |statement: Statement| match shape(&statement.text, scan.escape) {
        Ok(shape) => Ok((statement, shape)),
        Err(problem) => Err(Error::at(statement.lines, problem)),
    };
    let statements: Vec<_> = scan.statements.into_iter().map(shape).collect::<Result<_, _>>()?;
    dockerfile.directives = scan.directives;
    dockerfile.escape = scan.escape;
    dockerfile.empty_continuations = scan.empty_continuations;
    for (statement, shape) in statements {
        let lines = statement.lines;
        if shape.name == Some("FROM") {
            let stage = stage(statement, shape);
            let stage = stage.map_err(|problem| Error::instruction(lines, problem))?;
            if dockerfile.stages.len() == MAX_STAGES {
                return Err(Error::at(lines, Problem::TooManyStages(MAX_STAGES)));
            }
            dockerfile.stages.push(stage);
            continue;
        }
        let instruction = instruction(statement, shape);
        let instruction = instruction.map_err(|problem| Error::instruction(lines, problem))?;
        match (dockerfile.stages.last_mut(), &instruction.body) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Body::Arg(_)) => dockerfile.globals.push(instruction),
            (None, _) => return Err(Error::at(lines, Problem::NoStage)),
        }
    }
    Ok(())
}

/// Reads one instruction that an image has as a trigger. Its lines are its own.
pub(crate) fn parse_trigger(source: &str) -> Result<Instruction, Error> {
    let scan = scan::scan(source.as_bytes())?;
    let mut statements = scan.statements.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Error::nowhere(Problem::OnbuildSeveral));
    };
    let lines = statement.lines;
    let shape = shape(&statement.text, scan.escape).map_err(|problem| Error::at(lines, problem))?;
    if shape.name == Some("FROM") {
        return Err(Error::at(lines, Problem::OnbuildTrigger("FROM".into())));
    }
    instruction(statement, shape).map_err(|problem| Error::at(lines, problem))
}

fn unknown(keyword: &str) -> Problem {
    Problem::UnknownInstruction(keyword.into(), suggest::nearest_any_case(keyword, NAMES))
}

fn instruction(statement: Statement, shape: Shape) -> Result<Instruction, Problem> {
    let Some(name) = shape.name else { return Err(unknown(&shape.keyword)) };
    let keyword = shape.keyword.clone();
    let body = body::body(name, shape, &statement)?;
    Ok(Instruction {
        keyword,
        text: statement.text.trim().into(),
        lines: statement.lines,
        comments: statement.comments,
        body,
    })
}

fn stage(statement: Statement, shape: Shape) -> Result<Stage, Problem> {
    let Arguments::Words(words) = shape.arguments else { return Err(Problem::FromArguments) };
    let mut words = words.into_iter();
    let base = words.next().ok_or(Problem::FromArguments)?;
    let named = match (words.next(), words.next(), words.next()) {
        (None, ..) => None,
        (Some(keyword), Some(name), None) if keyword.eq_ignore_ascii_case("as") => {
            if !is_stage_name(&name.to_lowercase()) {
                return Err(Problem::StageName(name));
            }
            Some((keyword, name))
        }
        _ => return Err(Problem::FromArguments),
    };
    let known = [("platform", crate::flags::Kind::Text)];
    let flags = crate::flags::Flags::parse(&shape.flags, &known)?;
    let platform = flags.text("platform").filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Stage {
        keyword: shape.keyword,
        base,
        platform,
        named,
        text: statement.text.trim().into(),
        lines: statement.lines,
        comments: statement.comments,
        instructions: Vec::new(),
    })
}

/// `[a-z][a-z0-9-_.]*`
fn is_stage_name(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(is_part)
}

#[cfg(test)]
mod tests;
