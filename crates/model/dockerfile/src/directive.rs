//! The first lines of a Dockerfile: `# syntax=…`, `# escape=…`, `# check=…` (reference, "Parser
//! directives").

use std::collections::BTreeSet;

use crate::position::Lines;
use crate::problem::Problem;

/// One line that says something to the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// `syntax`, `escape` or `check`.
    pub name: String,
    /// What stands behind `=`.
    pub value: String,
    /// Where it is.
    pub lines: Lines,
}

/// Reads directives line by line, for as long as there are any.
pub(crate) struct Reader {
    comment: &'static str,
    seen: BTreeSet<String>,
    done: bool,
}

impl Reader {
    /// After this mark.
    pub(crate) fn new(comment: &'static str) -> Self {
        Self { comment, seen: BTreeSet::new(), done: false }
    }

    /// The directive in this line, if it is one and all lines before were.
    pub(crate) fn read(&mut self, line: &str, number: u32) -> Result<Option<Directive>, Problem> {
        if self.done {
            return Ok(None);
        }
        let Some((name, value)) = line.strip_prefix(self.comment).and_then(assignment) else {
            self.done = true;
            return Ok(None);
        };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            self.done = true;
            return Ok(None);
        }
        if !self.seen.insert(name.clone()) {
            return Err(Problem::DirectiveTwice(name));
        }
        Ok(Some(Directive { name, value: value.into(), lines: Lines::one(number) }))
    }
}

/// `NAME = VALUE`, the name of letters and digits.
fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim_start(), value.trim_matches(char::is_whitespace));
    let name = name.trim_end_matches(|c: char| c.is_ascii_whitespace());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then_some((name, value))
}

/// The frontend that a source asks for: its name, and the whole value. Also after `//`, in a JSON
/// object's `syntax`, and below a line that begins with `#!`, for other languages than Dockerfiles.
pub fn syntax(source: &str) -> Option<Directive> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let (skipped, text) = match source.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (1, rest),
        _ => (0, source),
    };
    find("syntax", text, "#", skipped).or_else(|| find("syntax", text, "//", skipped)).or_else(
        || {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(text).ok()?;
            let value = object.get("syntax")?.as_str()?.to_owned();
            Some(Directive { name: "syntax".into(), value, lines: Lines::one(skipped + 1) })
        },
    )
}

/// The directive `# check=…`, up to the first space.
pub(crate) fn check(source: &str) -> Option<String> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let found = find("check", source, "#", 0)?;
    found.value.split(' ').next().map(str::to_owned)
}

fn find(name: &str, text: &str, comment: &'static str, skipped: u32) -> Option<Directive> {
    let mut reader = Reader::new(comment);
    for (number, line) in (skipped + 1..).zip(text.lines()) {
        let directive = reader.read(line, number).ok()??;
        if directive.name == name {
            return Some(directive);
        }
    }
    None
}

/// The directive in a comment that stands before an instruction: `check=skip=…`.
pub(crate) fn check_in_comment(comment: &str) -> Option<String> {
    let found = Reader::new("").read(comment, 1).ok()??;
    (found.name == "check").then(|| found.value.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        syntax(text).map(|directive| directive.value)
    }

    /// The reference's examples ("Parser directives").
    #[test]
    fn where_directives_are_seen() {
        for (text, want) in [
            ("#syntax=value", Some("value")),
            ("# syntax =value", Some("value")),
            ("#\tsyntax= value  \n", Some("value")),
            ("# syntax = value", Some("value")),
            ("#\t  sYnTaX=value\r\n", Some("value")),
            ("# escape=`\n# syntax=a b\nFROM x", Some("a b")),
            ("# unknown=value\n# syntax=value", None),
            ("# About my dockerfile\n# syntax=value", None),
            ("FROM x\n# syntax=value", None),
            ("\n# syntax=value", None),
            ("# synt \\\nax=value", None),
            ("# syntax=", None),
            ("#!/usr/bin/env docker\n# syntax=a", Some("a")),
            ("\u{feff}# syntax=a", Some("a")),
            ("// syntax=a\n", Some("a")),
            ("{\"syntax\": \"a\"}", Some("a")),
            ("{\"syntax\": 1}", None),
        ] {
            assert_eq!(value(text).as_deref(), want, "{text:?}");
        }
        assert_eq!(syntax("#!x\n# syntax=a").unwrap().lines, Lines::one(2));
    }

    #[test]
    fn checks() {
        assert_eq!(
            check("# syntax=a\n# check=skip=all;error=true # why\n").unwrap(),
            "skip=all;error=true"
        );
        assert_eq!(check_in_comment("check=skip=A,B // why").unwrap(), "skip=A,B");
        assert_eq!(check_in_comment("checks are good"), None);
        assert_eq!(check_in_comment("syntax=x"), None);
    }
}
