//! `dhow build graph`: the steps of a build that is not made, as text, a picture, or for other programs.

mod svg;
mod text;

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::format::human;

/// Larger graphs are no pictures any more.
const MAX_NODES: usize = 5_000;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Svg,
    Dot,
    Json,
}

impl Format {
    pub(super) fn parse(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("text" | "") => Ok(Self::Text),
            Some("svg") => Ok(Self::Svg),
            Some("dot") => Ok(Self::Dot),
            Some("json") => Ok(Self::Json),
            Some(other) => {
                Err(Error::Usage(format!("--format {other}: a graph is text, svg, dot or json")))
            }
        }
    }
}

/// What the builder says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Picture {
    dockerfile: String,
    sources: Vec<Node>,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Stage {
    name: String,
    base: String,
    needed: bool,
    target: bool,
    steps: Vec<Node>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    id: usize,
    name: String,
    after: Vec<usize>,
    took: Option<f64>,
    size: Option<u64>,
}

impl Node {
    /// `1.2s  35MB`, as far as it is known.
    fn cost(&self) -> String {
        let time = self.took.map(seconds);
        let size = self.size.map(size);
        time.into_iter().chain(size).collect::<Vec<_>>().join("  ")
    }
}

fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = seconds.min(1e9) as u64;
    format!("{}m{:02}s", whole / 60, whole % 60)
}

fn size(bytes: u64) -> String {
    human::size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Shows what the builder says.
pub(super) fn render(json: &[u8], format: Format) -> Result<String> {
    let odd = |err: serde_json::Error| Error::Usage(format!("the builder's graph: {err}"));
    if format == Format::Json {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(odd)?;
        return Ok(format!("{value:#}\n"));
    }
    let mut picture: Picture = serde_json::from_slice(json).map_err(odd)?;
    picture.clean()?;
    Ok(match format {
        Format::Svg => svg::render(&picture),
        Format::Dot => text::dot(&picture),
        Format::Text | Format::Json => text::render(&picture),
    })
}

impl Picture {
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.sources.iter().chain(self.stages.iter().flat_map(|stage| &stage.steps))
    }

    /// Leaves out what a builder should not have said, and what drives a terminal.
    fn clean(&mut self) -> Result<()> {
        if self.nodes().count() + self.stages.len() > MAX_NODES {
            let why = format!("the graph has more than {MAX_NODES} steps");
            return Err(Error::Usage(why));
        }
        let mut known: HashMap<usize, usize> = HashMap::new();
        let stages = self.stages.iter_mut();
        let nodes = self.sources.iter_mut().chain(stages.flat_map(|stage| &mut stage.steps));
        // Each is called by its place, and works on others before it or beside it.
        let mut all: Vec<&mut Node> = nodes.collect();
        for (at, node) in all.iter().enumerate() {
            known.insert(node.id, at);
        }
        for (at, node) in all.iter_mut().enumerate() {
            node.id = at;
            node.name = human::printable(&node.name.replace('\n', " "));
            node.after = node.after.iter().filter_map(|id| known.get(id).copied()).collect();
            node.after.retain(|id| *id != at);
        }
        for stage in &mut self.stages {
            stage.name = human::printable(&stage.name);
            stage.base = human::printable(&stage.base);
        }
        self.dockerfile = human::printable(&self.dockerfile);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
