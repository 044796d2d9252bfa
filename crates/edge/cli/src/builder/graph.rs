//! A build's steps as a graph: text, or a picture (SVG 1.1).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::build::{Step, Trace};
use crate::error::{Error, Result};
use crate::format::{human, table};

/// Larger graphs are no pictures any more.
const MAX_STEPS: usize = 2_000;
/// Of the picture, in its own units: a step, and what is between two.
const WIDTH: usize = 260;
const HEIGHT: usize = 44;
const GAP_X: usize = 60;
const GAP_Y: usize = 18;
/// As much of a name as fits into a step.
const NAME_CHARS: usize = 36;

/// Writes the graph: `-` is text on standard output, `FILE.svg` a picture, any other file text.
pub(crate) fn write(trace: &Trace, path: &Path) -> Result<()> {
    let graph = Graph::new(trace);
    if path == Path::new("-") {
        print!("{}", graph.text());
        return Ok(());
    }
    let is_picture = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("svg"));
    let content = if is_picture { graph.svg() } else { graph.text() };
    std::fs::write(path, content).map_err(Error::io(format!("write {path:?}")))
}

struct Node<'a> {
    step: &'a Step,
    /// Those that it needs, all before it.
    inputs: Vec<usize>,
    /// Steps on the longest way to it.
    depth: usize,
    /// Seconds on the longest way through it, and its step before it.
    longest: f64,
    before: Option<usize>,
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    fn new(trace: &'a Trace) -> Self {
        let mut steps: Vec<&Step> =
            trace.steps.iter().filter(|step| step.started.is_some()).take(MAX_STEPS).collect();
        steps.sort_by(|a, b| a.started.unwrap_or(0.0).total_cmp(&b.started.unwrap_or(0.0)));
        let by_digest: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.digest.as_str(), at)).collect();
        let all_inputs: Vec<Vec<usize>> = steps
            .iter()
            .map(|step| {
                step.inputs.iter().filter_map(|one| by_digest.get(one.as_str()).copied()).collect()
            })
            .collect();
        let order = sorted(&all_inputs);
        let mut place = vec![0; steps.len()];
        order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
        let mut nodes: Vec<Node<'_>> = Vec::new();
        for (at, old) in order.iter().enumerate() {
            // A circle, which no builder makes, is cut.
            let inputs: Vec<usize> = all_inputs[*old]
                .iter()
                .map(|input| place[*input])
                .filter(|input| *input < at)
                .collect();
            let depth = inputs.iter().map(|input| nodes[*input].depth + 1).max().unwrap_or(0);
            let before = inputs
                .iter()
                .copied()
                .max_by(|a, b| nodes[*a].longest.total_cmp(&nodes[*b].longest));
            let longest = before.map_or(0.0, |before| nodes[before].longest) + seconds(steps[*old]);
            nodes.push(Node { step: steps[*old], inputs, depth, longest, before });
        }
        Self { nodes }
    }

    /// The steps on the longest way, the first first.
    fn critical(&self) -> Vec<usize> {
        let last = (0..self.nodes.len())
            .max_by(|a, b| self.nodes[*a].longest.total_cmp(&self.nodes[*b].longest));
        let mut way: Vec<usize> =
            std::iter::successors(last, |at| self.nodes[*at].before).collect();
        way.reverse();
        way
    }

    fn text(&self) -> String {
        let mut cells = vec![["#", "STEP", "TIME", "SIZE", "AFTER"].map(str::to_owned).to_vec()];
        for (at, node) in self.nodes.iter().enumerate() {
            let after: Vec<String> =
                node.inputs.iter().map(|input| (input + 1).to_string()).collect();
            cells.push(vec![
                (at + 1).to_string(),
                human::ellipsis(&node.step.name, 60),
                state(node.step),
                size(node.step),
                after.join(" "),
            ]);
        }
        let mut out = table::render(&cells);
        let way = self.critical();
        if let Some(last) = way.last() {
            let names: Vec<String> = way.iter().map(|at| (at + 1).to_string()).collect();
            _ = writeln!(
                out,
                "Longest way: {} ({:.1}s)",
                names.join(" > "),
                self.nodes[*last].longest
            );
        }
        out
    }

    fn svg(&self) -> String {
        let mut rows: HashMap<usize, usize> = HashMap::new();
        let places: Vec<(usize, usize)> = self
            .nodes
            .iter()
            .map(|node| {
                let row = rows.entry(node.depth).or_default();
                *row += 1;
                (GAP_Y + node.depth * (WIDTH + GAP_X), GAP_Y + (*row - 1) * (HEIGHT + GAP_Y))
            })
            .collect();
        let width = places.iter().map(|place| place.0).max().unwrap_or(0) + WIDTH + GAP_Y;
        let height = places.iter().map(|place| place.1).max().unwrap_or(0) + HEIGHT + GAP_Y;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let way = self.critical();
        for (at, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                let on_way = way.windows(2).any(|pair| pair == [*input, at]);
                let (colour, thick) = if on_way { ("#c40", 2) } else { ("#888", 1) };
                let (x1, y1) = (places[*input].0 + WIDTH, places[*input].1 + HEIGHT / 2);
                let (x2, y2) = (places[at].0, places[at].1 + HEIGHT / 2);
                let (c1, c2) = (x1 + GAP_X / 2, x2.saturating_sub(GAP_X / 2));
                _ = writeln!(
                    out,
                    "<path d=\"M{x1},{y1} C{c1},{y1} {c2},{y2} {x2},{y2}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thick}\"/>"
                );
            }
        }
        for (node, (x, y)) in self.nodes.iter().zip(&places) {
            let fill = match node.step {
                step if step.is_failed() => "#fbb",
                step if step.cached => "#cde",
                step if step.completed.is_none() || step.is_cancelled() => "#fec",
                _ => "#efe",
            };
            let name = escape(&human::ellipsis(&node.step.name, NAME_CHARS));
            let below = escape(format!("{}  {}", state(node.step), size(node.step)).trim_end());
            let (tx, ty) = (x + 8, y + 18);
            _ = writeln!(
                out,
                "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
                 rx=\"4\" fill=\"{fill}\" stroke=\"#444\"/><text x=\"{tx}\" y=\"{ty}\">{name}</text>\
                 <text x=\"{tx}\" y=\"{}\" fill=\"#555\">{below}</text></g>",
                escape(&node.step.name),
                ty + 17
            );
        }
        out + "</svg>\n"
    }
}

/// An order in which each comes after those that it needs.
fn sorted(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut state = vec![0_u8; inputs.len()];
    for start in 0..inputs.len() {
        let mut open = vec![(start, 0)];
        while let Some((at, next)) = open.pop() {
            if next == 0 {
                if state[at] != 0 {
                    continue;
                }
                state[at] = 1;
            }
            match inputs[at].get(next) {
                Some(input) => {
                    open.push((at, next + 1));
                    if state[*input] == 0 {
                        open.push((*input, 0));
                    }
                }
                None if state[at] == 1 => {
                    state[at] = 2;
                    order.push(at);
                }
                None => {}
            }
        }
    }
    order
}

fn seconds(step: &Step) -> f64 {
    if step.cached { 0.0 } else { step.took(step.started.unwrap_or(0.0)) }
}

fn state(step: &Step) -> String {
    if step.cached {
        return "CACHED".to_owned();
    }
    let took = format!("{:.1}s", seconds(step));
    match step {
        step if step.is_failed() => format!("ERROR {took}"),
        step if step.is_cancelled() => "CANCELED".to_owned(),
        _ => took,
    }
}

/// The bytes that were moved for it, where that was told.
fn size(step: &Step) -> String {
    let bytes = step.parts.iter().map(|part| part.total.max(part.current).max(0));
    match bytes.fold(0, i64::saturating_add) {
        0 => String::new(),
        bytes => human::size(bytes),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use buildkit::control::{StatusResponse, Vertex};
    use buildkit::prost_types::Timestamp;
    use expect_test::expect;

    fn trace(steps: &[(&str, &str, &[&str], i64, i64)]) -> Trace {
        let vertexes = steps.iter().map(|(digest, name, inputs, from, to)| Vertex {
            digest: (*digest).into(),
            name: (*name).into(),
            inputs: inputs.iter().map(|one| (*one).to_owned()).collect(),
            started: Some(Timestamp { seconds: *from, nanos: 0 }),
            completed: Some(Timestamp { seconds: *to, nanos: 0 }),
            ..Vertex::default()
        });
        let mut trace = Trace::default();
        trace.update(&StatusResponse { vertexes: vertexes.collect(), ..StatusResponse::default() });
        trace
    }

    #[test]
    fn the_longest_way_is_named() {
        let trace = trace(&[
            ("a", "FROM", &[], 0, 1),
            ("b", "[x] RUN <slow>", &["a"], 1, 9),
            ("c", "[y] RUN fast", &["a"], 1, 2),
            ("d", "COPY", &["b", "c"], 9, 10),
        ]);
        let graph = Graph::new(&trace);
        expect![[r"
            #         STEP             TIME      SIZE      AFTER
            1         FROM             1.0s                
            2         [x] RUN <slow>   8.0s                1
            3         [y] RUN fast     1.0s                1
            4         COPY             1.0s                2 3
            Longest way: 1 > 2 > 4 (10.0s)
        "]]
        .assert_eq(&graph.text());
        let svg = graph.svg();
        assert!(svg.contains("RUN &lt;slow&gt;") && !svg.contains("<slow>"), "{svg}");
        assert_eq!(svg.matches("<path ").count(), 4);
    }

    #[test]
    fn circles_end() {
        let trace = trace(&[("a", "x", &["b"], 0, 1), ("b", "y", &["a", "b"], 0, 1)]);
        assert_eq!(Graph::new(&trace).nodes.len(), 2);
    }
}
