//! The graph as a picture (SVG 1.1 with a style sheet): stages are boxes in columns, each after those that it needs.
//! Lines between them go through the gaps between columns and above all boxes, never through a box.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Node, Picture, Stage, text};
use crate::format::human;

/// The width of a character, which is one of a font in which all are as wide (0.6 of 12), with a little room.
const CHAR: usize = 74;
const CHAR_UNIT: usize = 10;
const ROW: usize = 26;
const HEAD: usize = 46;
const PAD: usize = 12;
/// Between boxes of a column.
const GAP: usize = 22;
/// Beside the lines of a gap between columns, and between two of them.
const MARGIN: usize = 18;
const LANE: usize = 9;
/// Around all of it, and for the title.
const FRAME: usize = 24;
const TITLE: usize = 44;
/// As much of a step as is shown, in characters; a box is as wide as its widest.
const NAME_CHARS: usize = 52;
/// How round a corner is.
const ROUND: usize = 6;
/// Colours of lines, that are seen on light and on dark ground.
const COLOURS: [&str; 7] =
    ["#3b82c4", "#c2702c", "#3f9b5f", "#a35cc0", "#b8902a", "#c24d6a", "#4a9aa5"];

const STYLE: &str = "\
svg { color-scheme: light dark; font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 12px }
.ground { fill: #ffffff }
text { fill: #1f2328 }
.soft { fill: #59636e }
.box { fill: #f6f8fa; stroke: #8c959f }
.target { stroke: #1f6feb; stroke-width: 2 }
.source { fill: #eef6ff; stroke: #8c959f }
.rule { stroke: #d1d9e0 }
.time { fill: #f0b866; opacity: 0.55 }
.line { fill: none; stroke-width: 1.5 }
.bold { font-weight: bold; font-size: 13px }
.unneeded { opacity: 0.45 }
.unneeded .box { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 }
text { fill: #e6edf3 }
.soft { fill: #9198a1 }
.box { fill: #161b22; stroke: #656c76 }
.target { stroke: #58a6ff }
.source { fill: #10233c; stroke: #656c76 }
.rule { stroke: #2f353d }
.time { fill: #9e6a03 }
}
";

/// A source, or a stage with its steps, where it is drawn.
struct Placed<'a> {
    nodes: Vec<&'a Node>,
    stage: Option<&'a Stage>,
    column: usize,
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Placed<'_> {
    fn is_needed(&self) -> bool {
        self.stage.is_none_or(|stage| stage.needed)
    }
}

/// Where a node is: its place, and the height of its middle.
type Spots = BTreeMap<usize, (usize, usize)>;

pub(super) fn render(picture: &Picture) -> String {
    let mut places = placed(picture);
    let edges = edges(&places);
    let lanes = Lanes::new(&places, &edges);
    let (width, height) = arrange(&mut places, &lanes);
    let spots = spots(&places);
    let title = title(picture);
    let width = width.max(2 * FRAME + chars(title.chars().count()));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"bold\" x=\"{FRAME}\" y=\"{}\">{}</text>\n",
        FRAME + 8,
        escape(&title)
    );
    for (from, to) in &edges {
        line(&mut out, &places, &spots, &lanes, *from, *to);
    }
    let longest = picture.nodes().filter_map(|node| node.took).fold(0.0, f64::max);
    for place in &places {
        draw(&mut out, place, longest);
    }
    out + "</svg>\n"
}

fn chars(n: usize) -> usize {
    (n * CHAR).div_ceil(CHAR_UNIT)
}

fn title(picture: &Picture) -> String {
    let needed = || picture.stages.iter().filter(|stage| stage.needed);
    let target = picture.stages.iter().find(|stage| stage.target);
    let target = target.map(|stage| format!(", target {}", stage.name)).unwrap_or_default();
    let took: Vec<f64> =
        needed().flat_map(|stage| &stage.steps).filter_map(|step| step.took).collect();
    let size: u64 = needed()
        .flat_map(|stage| &stage.steps)
        .filter_map(|step| step.size)
        .fold(0, u64::saturating_add);
    let last = if took.is_empty() {
        String::new()
    } else {
        format!(", last built in {} ({})", super::seconds(took.iter().sum()), super::size(size))
    };
    format!("{}{target}{last}", picture.dockerfile)
}

/// Everything in its column: a stage is right of all that it takes from.
fn placed(picture: &Picture) -> Vec<Placed<'_>> {
    let mut columns: BTreeMap<usize, usize> =
        picture.sources.iter().map(|source| (source.id, 0)).collect();
    let source = |node| Placed {
        nodes: vec![node],
        stage: None,
        column: 0,
        x: 0,
        y: 0,
        width: 2 * PAD + chars(shown(node, NAME_CHARS).chars().count()),
        height: ROW + 4,
    };
    let mut places: Vec<Placed<'_>> = picture.sources.iter().map(source).collect();
    for stage in &picture.stages {
        let own: BTreeSet<usize> = stage.steps.iter().map(|step| step.id).collect();
        let before = stage.steps.iter().flat_map(|step| &step.after);
        let before = before.filter(|id| !own.contains(*id)).filter_map(|id| columns.get(id));
        let column = before.max().map_or(1, |column| column + 1);
        columns.extend(own.iter().map(|id| (*id, column)));
        let rows = stage.steps.iter().map(|step| {
            let cost = step.cost().chars().count();
            let gap = if cost > 0 { 3 } else { 0 };
            shown(step, NAME_CHARS).chars().count() + gap + cost
        });
        let head = stage.name.chars().count() + text::note(stage).chars().count() + 2;
        let base = human::ellipsis(&stage.base, NAME_CHARS).chars().count() + 5;
        let widest = rows.chain([head, base]).max().unwrap_or(0);
        places.push(Placed {
            nodes: stage.steps.iter().collect(),
            stage: Some(stage),
            column,
            x: 0,
            y: 0,
            width: 2 * PAD + chars(widest),
            height: HEAD + ROW * stage.steps.len() + 6,
        });
    }
    places
}

fn shown(node: &Node, n: usize) -> String {
    human::ellipsis(&node.name, n)
}

/// From which node to which, between boxes.
fn edges(places: &[Placed<'_>]) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for place in places {
        let own: BTreeSet<usize> = place.nodes.iter().map(|node| node.id).collect();
        for node in &place.nodes {
            edges
                .extend(node.after.iter().filter(|id| !own.contains(*id)).map(|id| (*id, node.id)));
        }
    }
    edges
}

fn spots(places: &[Placed<'_>]) -> Spots {
    let mut spots = Spots::new();
    for (at, place) in places.iter().enumerate() {
        for (row, node) in place.nodes.iter().enumerate() {
            let y = match place.stage {
                Some(_) => place.y + HEAD + ROW * row + ROW / 2,
                None => place.y + place.height / 2,
            };
            spots.insert(node.id, (at, y));
        }
    }
    spots
}

/// Which lines go where: all of one node share theirs.
struct Lanes {
    /// By gap (behind which column) and node, which of its lanes.
    gaps: BTreeMap<usize, Vec<usize>>,
    /// Nodes whose lines go above the boxes.
    above: Vec<usize>,
}

impl Lanes {
    fn new(places: &[Placed<'_>], edges: &[(usize, usize)]) -> Self {
        let mut column: BTreeMap<usize, usize> = BTreeMap::new();
        for place in places {
            column.extend(place.nodes.iter().map(|node| (node.id, place.column)));
        }
        let mut lanes = Self { gaps: BTreeMap::new(), above: Vec::new() };
        for (from, to) in edges {
            let (left, right) = (column[from], column[to]);
            let mut take = |gap: usize| {
                let nodes = lanes.gaps.entry(gap).or_default();
                if !nodes.contains(from) {
                    nodes.push(*from);
                }
            };
            take(left);
            if right > left + 1 {
                take(right - 1);
                if !lanes.above.contains(from) {
                    lanes.above.push(*from);
                }
            }
        }
        lanes
    }

    fn width(&self, gap: usize) -> usize {
        2 * MARGIN + LANE * self.gaps.get(&gap).map_or(0, Vec::len)
    }

    fn in_gap(&self, gap: usize, node: usize) -> usize {
        let found = self.gaps.get(&gap).and_then(|all| all.iter().position(|one| *one == node));
        MARGIN + LANE * found.unwrap_or(0)
    }

    fn height(&self) -> usize {
        LANE * self.above.len() + if self.above.is_empty() { 0 } else { MARGIN }
    }

    fn above(&self, node: usize) -> usize {
        FRAME + TITLE + LANE * self.above.iter().position(|one| *one == node).unwrap_or(0)
    }
}

/// Gives everything its place. The size of the whole.
fn arrange(places: &mut [Placed<'_>], lanes: &Lanes) -> (usize, usize) {
    let last = places.iter().map(|place| place.column).max().unwrap_or(0);
    let (mut x, mut bottom) = (FRAME, FRAME + TITLE);
    for column in 0..=last {
        let here = || places.iter().filter(move |place| place.column == column);
        let width = here().map(|place| place.width).max().unwrap_or(0);
        let mut y = FRAME + TITLE + lanes.height();
        for place in places.iter_mut().filter(|place| place.column == column) {
            (place.x, place.y, place.width) = (x, y, width);
            y += place.height + GAP;
        }
        bottom = bottom.max(y.saturating_sub(GAP));
        x += width + if column < last { lanes.width(column) } else { 0 };
    }
    (x + FRAME, bottom + FRAME)
}

/// A line from the right of a node to the left of another one.
fn line(
    out: &mut String,
    places: &[Placed<'_>],
    spots: &Spots,
    lanes: &Lanes,
    from: usize,
    to: usize,
) {
    let (Some(&(source, y1)), Some(&(target, y2))) = (spots.get(&from), spots.get(&to)) else {
        return;
    };
    let (source, target) = (&places[source], &places[target]);
    let right = |column: usize| {
        let place = places.iter().find(|place| place.column == column);
        place.map_or(FRAME, |place| place.x + place.width)
    };
    let x1 = source.x + source.width;
    let lane = right(source.column) + lanes.in_gap(source.column, from);
    let mut points = vec![(x1, y1), (lane, y1)];
    if target.column > source.column + 1 {
        let top = lanes.above(from);
        let gap = target.column - 1;
        let down = right(gap) + lanes.in_gap(gap, from);
        points.extend([(lane, top), (down, top), (down, y2)]);
    } else {
        points.push((lane, y2));
    }
    points.push((target.x, y2));
    let colour = COLOURS[from % COLOURS.len()];
    let faint = if target.is_needed() { "" } else { " unneeded" };
    let (x, y) = (target.x, y2);
    _ = writeln!(
        out,
        "<g class=\"edge{faint}\"><path class=\"line\" stroke=\"{colour}\" d=\"{}\"/>\
         <path fill=\"{colour}\" d=\"M{},{} L{x},{y} L{},{} Z\"/></g>",
        rounded(&points),
        x - 7,
        y - 4,
        x - 7,
        y + 4
    );
}

/// A way along points, with round corners.
fn rounded(points: &[(usize, usize)]) -> String {
    let mut out = String::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let (Some(before), Some(after)) =
            (at.checked_sub(1).map(|i| points[i]), points.get(at + 1))
        else {
            _ = write!(out, "{}{x},{y} ", if at == 0 { 'M' } else { 'L' });
            continue;
        };
        let near = |other: (usize, usize)| {
            let step = |own: usize, other: usize| {
                let far = own.abs_diff(other) / 2;
                let by = far.min(ROUND);
                if other > own { own + by } else { own - by }
            };
            (step(x, other.0), step(y, other.1))
        };
        let (from, to) = (near(before), near(*after));
        _ = write!(out, "L{},{} Q{x},{y} {},{} ", from.0, from.1, to.0, to.1);
    }
    out.trim_end().to_owned()
}

fn draw(out: &mut String, place: &Placed<'_>, longest: f64) {
    let Placed { x, y, width, height, .. } = *place;
    let tx = x + PAD;
    let Some(stage) = place.stage else {
        for node in &place.nodes {
            _ = writeln!(
                out,
                "<g class=\"from\"><title>{}</title><rect class=\"source\" x=\"{x}\" y=\"{y}\" \
                 width=\"{width}\" height=\"{height}\" rx=\"{}\"/><text x=\"{tx}\" y=\"{}\">{}</text></g>",
                escape(&node.name),
                height / 2,
                y + height / 2 + 4,
                escape(&shown(node, NAME_CHARS))
            );
        }
        return;
    };
    let faint = if stage.needed { "" } else { " unneeded" };
    let target = if stage.target { " target" } else { "" };
    _ = writeln!(
        out,
        "<g class=\"stage{faint}\"><rect class=\"box{target}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
         height=\"{height}\" rx=\"6\"/><text class=\"bold\" x=\"{tx}\" y=\"{}\">{}<tspan class=\"soft\" \
         font-weight=\"normal\" font-size=\"12\">{}</tspan></text>\
         <text class=\"soft\" x=\"{tx}\" y=\"{}\">FROM {}</text>",
        y + 20,
        escape(&stage.name),
        text::note(stage),
        y + 37,
        escape(&human::ellipsis(&stage.base, NAME_CHARS))
    );
    for (row, node) in place.nodes.iter().enumerate() {
        step(out, node, (x, y + HEAD + ROW * row), width, longest);
    }
    out.push_str("</g>\n");
}

fn step(out: &mut String, node: &Node, (x, y): (usize, usize), width: usize, longest: f64) {
    let (tx, base) = (x + PAD, y + ROW / 2 + 4);
    _ = write!(
        out,
        "<g class=\"step\"><title>{}</title><path class=\"rule\" d=\"M{x},{y} h{width}\"/>",
        escape(&node.name)
    );
    // How much of the time it took, beside the step that took longest.
    if let Some(took) = node.took.filter(|took| longest > 0.0 && *took > 0.0) {
        let part = (took / longest * (width - 2) as f64) as usize;
        _ = write!(
            out,
            "<rect class=\"time\" x=\"{}\" y=\"{}\" width=\"{part}\" height=\"3\"/>",
            x + 1,
            y + ROW - 3
        );
    }
    _ = write!(out, "<text x=\"{tx}\" y=\"{base}\">{}</text>", escape(&shown(node, NAME_CHARS)));
    let cost = node.cost();
    if !cost.is_empty() {
        _ = write!(
            out,
            "<text class=\"soft\" x=\"{}\" y=\"{base}\" text-anchor=\"end\" xml:space=\"preserve\">{}</text>",
            x + width - PAD,
            escape(&cost)
        );
    }
    out.push_str("</g>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
