//! Build arguments whose names say that their values are secret: those are in no statement.
//!
//! Secrets belong in `RUN --mount=type=secret`, and the build's checks say so; but a statement goes further than
//! an image that nobody looks into, and is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use data_encoding::BASE64;
use serde_json::Value;

use crate::Error;
use crate::build::Shared;

/// What stands for a value.
const MASK: &str = "xxxxx";
/// What is shorter is hidden where it is the value of its variable alone: it would be found everywhere.
const LONG: usize = 6;
/// As much as front ends may be given of it in one build, in bytes: it is held until the build ends.
const HELD: usize = 1 << 20;

/// Arguments that are not to be told.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Names and values.
    all: Vec<(String, String)>,
}

/// What front ends that are images were given of it in a build, each once.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    all: BTreeSet<(String, String)>,
    n_bytes: usize,
}

impl Secrets {
    /// Takes note of what is secret among the options of one.
    pub(crate) fn note(&mut self, options: &BTreeMap<String, String>) -> Result<(), Error> {
        for secret in Hidden::of([options]).all {
            let n_bytes = secret.0.len() + secret.1.len();
            if self.all.contains(&secret) {
                continue;
            }
            if self.n_bytes + n_bytes > HELD {
                let why = "front ends are given more secrets as build arguments than are held";
                return Err(Error::Invalid(why.into()));
            }
            self.n_bytes += n_bytes;
            self.all.insert(secret);
        }
        Ok(())
    }
}

impl Hidden {
    /// Of what has made a result: the options of its front end, or, of one that is no front end's here, those of all that
    /// there were.
    pub(super) fn in_build(build: &Shared, asked: Option<&BTreeMap<String, String>>) -> Self {
        if asked.is_some() {
            return Self::of(asked);
        }
        let guests = build.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let root = Self::of(build.root.get().map(|root| &root.options));
        Self { all: guests.all.iter().cloned().chain(root.all).collect() }
    }

    /// Of options of front ends.
    pub(super) fn of<'a>(asked: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> Self {
        let arguments = asked.into_iter().flatten().filter_map(|(key, value)| {
            let name = key.strip_prefix("build-arg:")?;
            let is_told = value.is_empty() || !dockerfile::check::is_secret_name(name);
            (!is_told).then(|| (name.to_owned(), value.clone()))
        });
        Self { all: arguments.collect() }
    }

    /// Whether this option is among them.
    pub(super) fn has(&self, key: &str) -> bool {
        let is_it = |name: &str| self.all.iter().any(|(known, _)| known == name);
        key.strip_prefix("build-arg:").is_some_and(is_it)
    }

    /// Takes their values out of all that is said.
    pub(super) fn clean(&self, said: &mut Value) {
        if self.all.is_empty() {
            return;
        }
        match said {
            Value::String(text) => self.clean_text(text),
            Value::Array(all) => all.iter_mut().for_each(|one| self.clean(one)),
            Value::Object(all) => {
                if let Some(Value::String(data)) = all.get_mut("data")
                    && BASE64.decode(data.as_bytes()).is_ok_and(|bytes| self.is_within(&bytes))
                {
                    *data = BASE64.encode(MASK.as_bytes());
                }
                all.values_mut().for_each(|one| self.clean(one));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn clean_text(&self, text: &mut String) {
        for (name, value) in &self.all {
            if text.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('='))
                == Some(value)
            {
                *text = format!("{name}={MASK}");
            } else if value.len() >= LONG && text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), MASK);
            }
        }
    }

    fn is_within(&self, bytes: &[u8]) -> bool {
        let is_in = |value: &str| {
            value.len() >= LONG && bytes.windows(value.len()).any(|part| part == value.as_bytes())
        };
        self.all.iter().any(|(_, value)| is_in(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_name_says_is_secret_is_said_nowhere() {
        let asked = [
            ("build-arg:API_TOKEN", "correct-horse"),
            ("build-arg:MY_PASSWORD", "x1"),
            ("build-arg:VERSION", "1.2.3"),
            ("label:TOKEN", "label"),
        ];
        let asked: BTreeMap<String, String> =
            asked.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let hidden = Hidden::of(Some(&asked));
        assert!(hidden.has("build-arg:API_TOKEN") && hidden.has("build-arg:MY_PASSWORD"));
        assert!(!hidden.has("build-arg:VERSION") && !hidden.has("label:TOKEN"));
        let mut said = json!({
            "env": ["API_TOKEN=correct-horse", "MY_PASSWORD=x1", "OTHER=x1", "VERSION=1.2.3"],
            "cwd": "/of/correct-horse/s",
            "data": BASE64.encode(b"it is correct-horse\n"),
            "more": [{ "data": BASE64.encode(b"nothing") }, 1, null, true],
        });
        hidden.clean(&mut said);
        assert_eq!(
            said["env"],
            json!(["API_TOKEN=xxxxx", "MY_PASSWORD=xxxxx", "OTHER=x1", "VERSION=1.2.3"])
        );
        assert_eq!(said["cwd"], "/of/xxxxx/s");
        assert_eq!(said["data"], BASE64.encode(b"xxxxx"));
        assert_eq!(said["more"][0]["data"], BASE64.encode(b"nothing"));
        let other: BTreeMap<_, _> =
            [("build-arg:API_TOKEN".to_owned(), "battery-staple".to_owned())].into();
        let mut said = json!(["API_TOKEN=correct-horse", "with battery-staple"]);
        Hidden::of([&asked, &other]).clean(&mut said);
        assert_eq!(said, json!(["API_TOKEN=xxxxx", "with xxxxx"]));
    }

    #[test]
    fn what_front_ends_are_given_is_held_once_and_not_without_end() {
        let options = |value: &str| -> BTreeMap<String, String> {
            let all = [("build-arg:API_TOKEN", value), ("build-arg:VERSION", "1.2.3")];
            all.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let mut secrets = Secrets::default();
        for _ in 0..2 {
            secrets.note(&options("correct-horse")).unwrap();
        }
        assert_eq!(secrets.all.len(), 1);
        assert!(secrets.note(&options(&"x".repeat(HELD))).is_err());
        assert_eq!(secrets.all.len(), 1);
    }
}
