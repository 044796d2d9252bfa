//! What `docker build --call` asks of a Dockerfile: its targets, what a build of one takes, and what
//! checks find (BuildKit's `frontend/subrequests`, versions 1.0.0 each). The types print as their JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::check::Warning;
use crate::error::Error;
use crate::instruction::Dockerfile;
use crate::position::Lines;

/// `frontend.targets`, `frontend.outline`, `frontend.lint`: each is of this version.
pub const VERSION: &str = "1.0.0";

/// A point in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// From 1.
    pub line: u32,
}

/// A line of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// Lines of a source. There is one source only, so it is not said which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    /// One for each line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

impl Location {
    fn of(lines: impl IntoIterator<Item = Lines>) -> Self {
        let line = |line| Range { start: Position { line }, end: Position { line } };
        let all: BTreeSet<u32> = lines.into_iter().flat_map(Lines::each).collect();
        Self { ranges: all.into_iter().map(line).collect() }
    }
}

/// What is known of an argument.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) value: String,
    pub(crate) description: Option<String>,
    /// Others that its value is made of.
    pub(crate) uses: BTreeSet<String>,
    pub(crate) lines: Lines,
}

/// What a stage takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) defined: BTreeMap<String, Definition>,
    pub(crate) used: BTreeSet<String>,
    pub(crate) secrets: BTreeMap<String, (bool, Lines)>,
    pub(crate) agents: BTreeMap<String, (bool, Lines)>,
}

impl Taken {
    /// Those that are used, and those that they are made of.
    fn all_used(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<String> = self.used.iter().cloned().collect();
        while let Some(name) = open.pop() {
            if let Some(definition) = self.defined.get(&name) {
                open.extend(definition.uses.iter().filter(|one| !all.contains(*one)).cloned());
            }
            all.insert(name);
        }
        all
    }
}

/// What a build of a target takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The target.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What a comment says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArg>,
    /// Its secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineNamed>,
    /// Its agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineNamed>,
    /// The Dockerfile, in base64.
    #[serde(serialize_with = "base64_list")]
    pub sources: Vec<Vec<u8>>,
}

/// An argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What a comment says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where it is.
    pub location: Location,
}

/// A secret or an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutlineNamed {
    /// Its id.
    pub name: String,
    /// The build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is.
    pub location: Location,
}

impl Outline {
    /// Of a target and all that it takes from, the nearest first.
    pub(crate) fn new<'a>(
        name: Option<&str>,
        description: Option<&str>,
        stages: impl Iterator<Item = &'a Taken>,
        source: &str,
    ) -> Self {
        let mut args: Vec<OutlineArg> = Vec::new();
        let (mut secrets, mut ssh): (Vec<OutlineNamed>, Vec<OutlineNamed>) = Default::default();
        for taken in stages {
            for key in taken.all_used() {
                let Some(found) = taken.defined.get(&key) else { continue };
                if args.iter().all(|known| known.name != key) {
                    args.push(OutlineArg {
                        name: key,
                        description: found.description.clone().unwrap_or_default(),
                        value: found.value.clone(),
                        location: Location::of([found.lines]),
                    });
                }
            }
            named(&mut secrets, &taken.secrets);
            named(&mut ssh, &taken.agents);
        }
        let line = |location: &Location| location.ranges.first().map(|range| range.start.line);
        args.sort_by_key(|one| line(&one.location));
        secrets.sort_by_key(|one| line(&one.location));
        ssh.sort_by_key(|one| line(&one.location));
        Self {
            name: name.unwrap_or_default().into(),
            description: description.unwrap_or_default().into(),
            args,
            secrets,
            ssh,
            sources: vec![source.as_bytes().to_vec()],
        }
    }

    /// For people, as buildx prints it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![vec!["TARGET:".into(), name.to_owned()]];
            if !self.description.is_empty() {
                rows.push(vec!["DESCRIPTION:".into(), self.description.clone()]);
            }
            out += &table(&rows, 1);
            out.push('\n');
        }
        let args = self
            .args
            .iter()
            .map(|one| vec![one.name.clone(), one.value.clone(), one.description.clone()]);
        out += &titled(&["BUILD ARG", "VALUE", "DESCRIPTION"], args.collect());
        for (title, named) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            let required = |required| if required { "true".to_owned() } else { String::new() };
            let rows = named.iter().map(|one| vec![one.name.clone(), required(one.required)]);
            out += &titled(&[title, "REQUIRED"], rows.collect());
        }
        out
    }
}

fn named(all: &mut Vec<OutlineNamed>, more: &BTreeMap<String, (bool, Lines)>) {
    for (name, (required, lines)) in more {
        if all.iter().all(|known| known.name != *name) {
            let location = Location::of([*lines]);
            all.push(OutlineNamed { name: name.clone(), required: *required, location });
        }
    }
}

fn titled(titles: &[&str], mut rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    rows.insert(0, titles.iter().map(|&title| title.to_owned()).collect());
    table(&rows, 3) + "\n"
}

/// Columns as wide as their widest cell, but for the last one.
fn table(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0) + gap).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == columns {
                out += cell;
            } else {
                out += &format!("{cell:width$}", width = widths[column]);
            }
        }
        out.push('\n');
    }
    out
}

/// The targets of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// Its stages.
    pub targets: Vec<Target>,
    /// The Dockerfile, in base64.
    #[serde(serialize_with = "base64_list")]
    pub sources: Vec<Vec<u8>>,
}

/// A target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// It is built where none is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What a comment says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it starts from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// Its platform.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Where it is.
    pub location: Location,
}

impl Targets {
    /// Of a Dockerfile and its text.
    pub fn of(file: &Dockerfile, source: &[u8]) -> Self {
        let target = |(at, stage): (usize, &crate::instruction::Stage)| Target {
            name: stage.name().unwrap_or_default(),
            default: at + 1 == file.stages.len(),
            description: stage.description().unwrap_or_default(),
            base: stage.base.clone(),
            platform: stage.platform.clone().unwrap_or_default(),
            location: Location::of([stage.lines]),
        };
        let targets = file.stages.iter().enumerate().map(target).collect();
        Self { targets, sources: vec![source.to_vec()] }
    }

    /// For people, as buildx prints it.
    pub fn text(&self) -> String {
        let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
        for one in &self.targets {
            let name = match (one.name.as_str(), one.default) {
                ("", true) => "(default)".into(),
                (name, true) => format!("{name} (default)"),
                (name, false) => name.to_owned(),
            };
            rows.push(vec![name, one.description.clone()]);
        }
        table(&rows, 1)
    }
}

/// What checks find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// What they find; nothing is `null`.
    #[serde(serialize_with = "null_if_empty")]
    pub warnings: Vec<LintWarning>,
    /// The Dockerfile.
    pub sources: Vec<LintSource>,
    /// Why it makes no sense.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    pub error: Option<LintError>,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LintWarning {
    /// By which rule.
    pub rule_name: String,
    /// What the rule says.
    pub description: String,
    /// Where the rule is described.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// What is wrong.
    pub detail: String,
    /// Where.
    pub location: Location,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintSource {
    /// The file's name.
    pub filename: String,
    /// `Dockerfile`.
    pub language: String,
    /// What is in it, in base64.
    #[serde(serialize_with = "base64")]
    pub data: Vec<u8>,
}

/// Why a Dockerfile makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintError {
    /// In words.
    pub message: String,
    /// Where.
    pub location: Location,
}

impl Lint {
    /// Of what checks found in a file, and why it makes no sense, if it makes none.
    pub fn new(name: &str, source: &[u8], warnings: &[Warning], error: Option<&Error>) -> Self {
        let warning = |one: &Warning| LintWarning {
            rule_name: one.rule.name().into(),
            description: one.rule.description().into(),
            url: one.rule.url(),
            detail: one.text.clone(),
            location: Location::of([one.lines]),
        };
        let error = error.map(|error| LintError {
            message: error.to_string(),
            location: Location::of(error.lines.iter().copied()),
        });
        let source = LintSource {
            filename: name.into(),
            language: "Dockerfile".into(),
            data: source.to_vec(),
        };
        Self { warnings: warnings.iter().map(warning).collect(), sources: vec![source], error }
    }

    /// 1 where something was found.
    pub fn status(&self) -> i32 {
        i32::from(!self.warnings.is_empty() || self.error.is_some())
    }

    /// For people, as buildx prints it.
    pub fn text(&self) -> String {
        let Some(source) = self.sources.first() else { return String::new() };
        let text = String::from_utf8_lossy(&source.data);
        let lines = |location: &Location| -> Vec<Lines> {
            location.ranges.iter().map(|range| Lines::one(range.start.line)).collect()
        };
        let mut sorted: Vec<&LintWarning> = self.warnings.iter().collect();
        sorted.sort_by_key(|one| one.location.ranges.first().map(|range| range.start.line));
        let mut out = String::new();
        for one in sorted {
            out += &format!("\nWARNING: {}", one.rule_name);
            if !one.url.is_empty() {
                out += &format!(" - {}", one.url);
            }
            out += &format!("\n{}\n", one.detail);
            out += &crate::error::snippet(&source.filename, &text, &lines(&one.location));
        }
        out
    }
}

#[allow(clippy::ptr_arg, reason = "serde passes a reference to the field")]
fn null_if_empty<S: serde::Serializer, T: Serialize>(
    list: &Vec<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

#[allow(clippy::ptr_arg, reason = "serde passes a reference to the field")]
fn base64<S: serde::Serializer>(bytes: &Vec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&data_encoding::BASE64.encode(bytes))
}

#[allow(clippy::ptr_arg, reason = "serde passes a reference to the field")]
fn base64_list<S: serde::Serializer>(
    list: &Vec<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|bytes| data_encoding::BASE64.encode(bytes)))
}
