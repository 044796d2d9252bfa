//! The graph as text, and in the language of Graphviz.

use std::fmt::Write as _;

use super::{Node, Picture, Stage};
use crate::format::{human, table};

/// A step in a table is cut here.
const NAME_CHARS: usize = 60;

/// A table, with a line for each stage.
pub(super) fn render(picture: &Picture) -> String {
    let mut cells = vec![["#", "STEP", "TIME", "SIZE", "AFTER"].map(str::to_owned).to_vec()];
    let row = |node: &Node, indent: &str| {
        let after: Vec<String> = node.after.iter().map(|id| (id + 1).to_string()).collect();
        vec![
            (node.id + 1).to_string(),
            format!("{indent}{}", human::ellipsis(&node.name, NAME_CHARS)),
            node.took.map(super::seconds).unwrap_or_default(),
            node.size.map(super::size).unwrap_or_default(),
            after.join(" "),
        ]
    };
    cells.extend(picture.sources.iter().map(|node| row(node, "")));
    for stage in &picture.stages {
        let head = format!("{}: FROM {}{}", stage.name, stage.base, note(stage));
        cells.push(vec![String::new(), head, String::new(), String::new(), String::new()]);
        cells.extend(stage.steps.iter().map(|node| row(node, "  ")));
    }
    let table = table::render(&cells);
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What is special about a stage.
pub(super) fn note(stage: &Stage) -> &'static str {
    match (stage.target, stage.needed) {
        (true, _) => " (target)",
        (false, true) => "",
        (false, false) => " (not needed)",
    }
}

/// The language of Graphviz: stages are clusters.
pub(super) fn dot(picture: &Picture) -> String {
    let mut out = String::from(
        "digraph build {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n",
    );
    let node = |node: &Node, indent: &str, style: &str| {
        let label = match node.cost() {
            cost if cost.is_empty() => node.name.clone(),
            cost => format!("{}\n{cost}", node.name),
        };
        format!("{indent}n{} [label={}{style}];\n", node.id, quoted(&label))
    };
    for source in &picture.sources {
        out += &node(source, "  ", ", shape=ellipse");
    }
    for (at, stage) in picture.stages.iter().enumerate() {
        let label = format!("{}: FROM {}{}", stage.name, stage.base, note(stage));
        let (colour, style) =
            if stage.needed { ("black", "") } else { ("gray", ", color=gray, fontcolor=gray") };
        _ = writeln!(
            out,
            "  subgraph cluster_{at} {{\n    label={}; color={colour}; fontcolor={colour};",
            quoted(&label)
        );
        for step in &stage.steps {
            out += &node(step, "    ", style);
        }
        out += "  }\n";
    }
    for node in picture.nodes() {
        for from in &node.after {
            _ = writeln!(out, "  n{from} -> n{};", node.id);
        }
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
