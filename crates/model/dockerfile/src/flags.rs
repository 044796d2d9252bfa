//! Flags of instructions.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::suggest;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--link`, `--link=true`, `--link=false`.
    Boolean,
    /// One value.
    Text,
    /// A value each time it is given.
    Texts,
}

/// The flags of one instruction that were given.
#[derive(Debug)]
pub(crate) struct Flags(BTreeMap<&'static str, Vec<String>>);

impl Flags {
    /// Takes flags as they are written, of which these are known.
    pub(crate) fn parse(given: &[String], known: &[(&'static str, Kind)]) -> Result<Self, Problem> {
        let mut flags: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for text in given {
            let Some(rest) = text.strip_prefix("--") else {
                return Err(Problem::NoFlag(text.clone()));
            };
            let (name, value) = match rest.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (rest, None),
            };
            let written = || format!("--{name}");
            let Some((known, kind)) = known.iter().find(|(known, _)| *known == name) else {
                let hint = suggest::nearest(name, known.iter().map(|(known, _)| *known));
                return Err(Problem::UnknownFlag(written(), hint));
            };
            let values = flags.entry(known).or_default();
            if !values.is_empty() && *kind != Kind::Texts {
                return Err(Problem::FlagTwice(written()));
            }
            values.push(match (kind, value) {
                (Kind::Boolean, value) => boolean(&written(), value)?.to_string(),
                (_, Some(value)) => value.into(),
                (_, None) => return Err(Problem::FlagValue(written())),
            });
        }
        Ok(Self(flags))
    }

    /// The value of one that is given once at most.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// The same, or nothing.
    pub(crate) fn text_or_empty(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().into()
    }

    /// All values of one.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether one was given as true or false.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }
}

fn boolean(flag: &str, value: Option<&str>) -> Result<bool, Problem> {
    let Some(value) = value else { return Ok(true) };
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        "" => Err(Problem::FlagValue(flag.into())),
        _ => Err(Problem::FlagBoolean(flag.into(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[&str]) -> Result<Flags, String> {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        let known = [("link", Kind::Boolean), ("chown", Kind::Text), ("exclude", Kind::Texts)];
        Flags::parse(&given, &known).map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_was_given() {
        let flags = parse(&["--link", "--chown=a=b", "--exclude=x", "--exclude=y"]).unwrap();
        assert_eq!((flags.boolean("link"), flags.text("chown")), (Some(true), Some("a=b")));
        assert_eq!(flags.texts("exclude"), ["x", "y"]);
        let flags = parse(&["--link=False", "--chown="]).unwrap();
        assert_eq!((flags.boolean("link"), flags.text("chown")), (Some(false), Some("")));
        assert_eq!(parse(&[]).unwrap().boolean("link"), None);
    }

    #[test]
    fn what_is_refused() {
        for (given, want) in [
            (vec!["--lnk"], "unknown flag: --lnk (did you mean link?)"),
            (vec!["--recursive"], "unknown flag: --recursive"),
            (vec!["--link", "--link"], "duplicate flag specified: --link"),
            (vec!["--chown"], "missing a value on flag: --chown"),
            (vec!["--link="], "missing a value on flag: --link"),
            (vec!["--link=2"], "expecting boolean value for flag --link, not: 2"),
            (vec!["x"], "arg should start with -- : x"),
        ] {
            assert_eq!(parse(&given).unwrap_err(), want);
        }
    }
}
