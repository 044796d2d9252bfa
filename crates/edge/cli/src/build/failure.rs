//! What a person is told of a build that failed: the lines of the Dockerfile, and what was wrong.

use buildkit::errdefs::Source;
use buildkit::rpc;
use dockerfile::snippet;
use prost::Message as _;
use serde::Deserialize;
use tonic::{Code, Status};

use crate::format::human;

/// The end of the name of the type that says where in a Dockerfile something is.
const SOURCE: &str = "errdefs.Source";
/// More of a Dockerfile than anybody writes, in bytes: what is longer is not shown.
const MAX_BYTES: usize = 4 << 20;

/// A part of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) text: String,
    /// First and last lines, from 1, with the columns where they are known.
    pub(crate) ranges: Vec<Range>,
}

/// Lines of a file, from 1; columns from 0, and 0 and 0 where none are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: i32,
    pub(crate) last: i32,
    pub(crate) from: i32,
    pub(crate) to: i32,
}

/// Go's JSON of `errdefs.Source`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SourceJson {
    info: InfoJson,
    ranges: Vec<RangeJson>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InfoJson {
    filename: String,
    /// In base64.
    data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RangeJson {
    start: PositionJson,
    end: PositionJson,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PositionJson {
    line: i32,
    character: i32,
}

/// The places that an error names, outermost last.
pub(crate) fn places(status: &Status) -> Vec<Place> {
    let Ok(all) = rpc::Status::decode(status.details()) else { return Vec::new() };
    let named = all.details.iter().filter(|one| one.type_url.contains(SOURCE));
    named
        .filter_map(|one| {
            if one.type_url.ends_with("+json") {
                from_json(&one.value)
            } else {
                Source::decode(&one.value[..]).ok().map(|source| from_message(&source))
            }
        })
        .filter(|place| place.text.len() <= MAX_BYTES)
        .collect()
}

fn from_json(json: &[u8]) -> Option<Place> {
    let source: SourceJson = serde_json::from_slice(json).ok()?;
    let data = data_encoding::BASE64.decode(source.info.data.as_bytes()).ok()?;
    let ranges = source.ranges.iter().map(|range| Range {
        first: range.start.line,
        last: range.end.line,
        from: range.start.character,
        to: range.end.character,
    });
    Some(Place {
        file: source.info.filename,
        text: String::from_utf8_lossy(&data).into_owned(),
        ranges: ranges.collect(),
    })
}

fn from_message(source: &Source) -> Place {
    let info = source.info.clone().unwrap_or_default();
    place(&info, &source.ranges)
}

/// The same of messages.
pub(crate) fn place(info: &buildkit::pb::SourceInfo, ranges: &[buildkit::pb::Range]) -> Place {
    let ranges = ranges.iter().map(|range| {
        let (start, end) = (range.start.unwrap_or_default(), range.end.unwrap_or_default());
        Range { first: start.line, last: end.line, from: start.character, to: end.character }
    });
    Place {
        file: info.filename.clone(),
        text: String::from_utf8_lossy(&info.data).into_owned(),
        ranges: ranges.collect(),
    }
}

impl Place {
    /// The lines as Docker shows them, with `^` below the columns where those are known.
    pub(crate) fn shown(&self) -> String {
        let count = |line: i32| u32::try_from(line).ok().filter(|line| *line > 0);
        let lines = self.ranges.iter().filter_map(|range| {
            let first = count(range.first)?;
            Some(dockerfile::Lines { first, last: count(range.last).unwrap_or(first).max(first) })
        });
        let lines: Vec<dockerfile::Lines> = lines.collect();
        let text: String = self
            .text
            .chars()
            .map(|c| if c == '\n' || c == '\t' { c } else { printable(c) })
            .collect();
        let shown = snippet(&human::printable(&self.file), &text, &lines);
        self.with_caret(&shown)
    }

    fn with_caret(&self, shown: &str) -> String {
        let Some(range) = self.ranges.first() else { return shown.to_owned() };
        if range.first != range.last || range.to <= range.from || range.from < 0 {
            return shown.to_owned();
        }
        let mut out = String::new();
        for line in shown.split_inclusive('\n') {
            out.push_str(line);
            if let Some((before, text)) = line.split_once("| >>> ") {
                let pad = before.chars().count() + "| >>> ".len();
                let width = text.trim_end().chars().count();
                let (from, to) = (range.from as usize, (range.to as usize).min(width));
                if from < to {
                    out.push_str(&" ".repeat(pad + from));
                    out.push_str(&"^".repeat(to - from));
                    out.push('\n');
                }
            }
        }
        out
    }
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The last line that is printed, in Docker's words.
pub(crate) fn message(status: &Status) -> String {
    let text = human::printable(&status.message().replace('\n', "; "));
    match status.code() {
        Code::Unknown | Code::Ok => text,
        Code::Cancelled => format!("Canceled: {text}"),
        code => format!("{code:?}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn status(value: &str) -> Status {
        let detail = buildkit::prost_types::Any {
            type_url: "github.com/moby/buildkit/errdefs.Source+json".into(),
            value: value.as_bytes().to_vec(),
        };
        let all = rpc::Status { code: 2, message: "x".into(), details: vec![detail] };
        Status::with_details(Code::Unknown, "x", all.encode_to_vec().into())
    }

    #[test]
    fn the_line_is_shown_with_what_is_around_it() {
        let data = data_encoding::BASE64.encode(b"FROM scratch\nRUN fal\x1bse\n");
        let json = format!(
            "{{\"info\":{{\"filename\":\"Dockerfile\",\"data\":\"{data}\"}},\"ranges\":[{{\"start\":{{\"line\":2,\"character\":4}},\"end\":{{\"line\":2,\"character\":7}}}}]}}"
        );
        let places = places(&status(&json));
        expect![[r"
            Dockerfile:2
            --------------------
               1 |     FROM scratch
               2 | >>> RUN fal se
                           ^^^
               3 |     
            --------------------
        "]]
        .assert_eq(&places[0].shown());
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        assert!(places(&status("[1]")).is_empty());
        assert!(places(&Status::unknown("x")).is_empty());
        let far = "{\"info\":{\"filename\":\"D\",\"data\":\"\"},\"ranges\":[{\"start\":{\"line\":2147483647},\"end\":{\"line\":-5}}]}";
        assert_eq!(places(&status(far))[0].shown(), "");
    }
}
