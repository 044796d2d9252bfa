//! The medians as bars, in SVG.

use std::fmt::Write;

use super::measure::Samples;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 110.0;
const BAR: f64 = 14.0;
const GAP: f64 = 4.0;
const HEAD: f64 = 30.0;

/// One group of bars for each thing that was measured, each to its own scale, since they differ by
/// orders of magnitude and only those of one group compare.
pub(crate) fn svg(groups: &[(String, &[(String, Samples)])]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for (title, samples) in groups.iter().filter(|(_, samples)| !samples.is_empty()) {
        y = group(&mut body, title, samples, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Draws one group below `y`. Answers where it ends.
fn group(body: &mut String, title: &str, all: &[(String, Samples)], mut y: f64) -> f64 {
    let longest = all.iter().map(|(_, samples)| samples.median()).fold(0.0, f64::max);
    let _ = writeln!(body, "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>", y + 16.0);
    y += HEAD;
    for (name, samples) in all {
        let median = samples.median();
        let width = (median / longest * (WIDTH - LABELS - 90.0)).max(1.0);
        let middle = y + BAR - 3.0;
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{middle}\">{median:.1} ms</text>",
            LABELS - 8.0,
            colour(name),
            LABELS + width + 6.0
        );
        y += BAR + GAP;
    }
    y + 10.0
}

fn colour(name: &str) -> &'static str {
    match name {
        "floor" => "#9a9a9a",
        name if name.starts_with("dhow") => "#1f77b4",
        _ => "#e0a458",
    }
}
