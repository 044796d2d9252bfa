//! The `filters` parameter: which things of a list are wanted.
//!
//! On the wire it is a JSON map of either lists (`{"label":["a=b"]}`) or, from Docker's own
//! clients, sets (`{"label":{"a=b":true}}`). Values of one key are alternatives, except labels, of
//! which all must be there; keys are all required.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A filter that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not a map.
    #[error("invalid filter")]
    Syntax,
    /// A key that the list does not know.
    #[error("invalid filter '{0}'")]
    Key(String),
    /// A value that the key does not know.
    #[error("invalid filter '{key}={value}'")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// Which things of a list are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Parses the parameter; empty: no filter.
    pub fn parse(json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if json.is_empty() {
            return Ok(Self::default());
        }
        let map: Option<BTreeMap<String, Values>> =
            serde_json::from_str(json).map_err(|_| Error::Syntax)?;
        let values = |values| match values {
            Values::Set(set) => set.into_keys().collect(),
            Values::List(list) => list.into_iter().collect(),
        };
        Ok(Self(
            map.unwrap_or_default().into_iter().map(|(key, value)| (key, values(value))).collect(),
        ))
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// Puts one value in the place of all of a key.
    pub fn replace(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), BTreeSet::from([value.into()]));
    }

    /// As Docker's own clients write it. Empty when there is no filter.
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let map: BTreeMap<&String, BTreeMap<&String, bool>> = self
            .0
            .iter()
            .map(|(key, values)| (key, values.iter().map(|value| (value, true)).collect()))
            .collect();
        // A map of strings to booleans cannot fail to be written.
        serde_json::to_string(&map).unwrap_or_default()
    }

    /// Whether there is no filter at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses keys that the list does not know.
    pub fn only(self, accepted: &[&str]) -> Result<Self, Error> {
        match self.0.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(key) => Err(Error::Key(key.clone())),
            None => Ok(self),
        }
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether no value is asked for, or one for which `matches` holds.
    pub fn any(&self, key: &str, matches: impl FnMut(&str) -> bool) -> bool {
        self.0
            .get(key)
            .is_none_or(|set| set.is_empty() || set.iter().map(String::as_str).any(matches))
    }

    /// Whether no value is asked for, or exactly this one.
    pub fn exact(&self, key: &str, value: &str) -> bool {
        self.any(key, |wanted| wanted == value)
    }

    /// Whether no value is asked for, or one that as a regular expression matches in this one.
    pub fn matches(&self, key: &str, value: &str) -> bool {
        self.any(key, |wanted| crate::pattern::matches(wanted, value))
    }

    /// A truth value (`true`, `1`, `false`, `0`), if the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        // As Go prints a list.
        let refused = || {
            let shown: Vec<&str> = values.iter().map(String::as_str).collect();
            Error::Value { key: key.to_owned(), value: format!("[{}]", shown.join(" ")) }
        };
        let all: BTreeSet<bool> = values
            .iter()
            .map(|value| match value.as_str() {
                "true" | "1" | "True" | "TRUE" | "t" | "T" => Ok(true),
                "false" | "0" | "False" | "FALSE" | "f" | "F" => Ok(false),
                _ => Err(refused()),
            })
            .collect::<Result<_, _>>()?;
        match (all.len(), all.first()) {
            (1, Some(value)) => Ok(Some(*value)),
            _ => Err(refused()),
        }
    }

    /// Whether all labels that `key` asks for (`NAME` or `NAME=VALUE`) are there.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Whether none of the labels of `label!` are there (`prune`).
    pub fn not_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.get("label!").all(|unwanted| match unwanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_none_or(|have| have != value),
            None => !labels.contains_key(unwanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let set = Filters::parse(r#"{"label":{"a=b":true,"c":true}}"#).unwrap();
        let list = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        assert_eq!(set, list);
        assert_eq!(set.to_json(), r#"{"label":{"a=b":true,"c":true}}"#);
        assert!(Filters::parse("").unwrap().is_empty());
        assert!(Filters::parse("{}").unwrap().is_empty());
        assert_eq!(Filters::parse("[1]"), Err(Error::Syntax));
        assert_eq!(Filters::parse(r#"{"a":1}"#), Err(Error::Syntax));
    }

    #[test]
    fn keys_and_values_are_checked() {
        let filters = Filters::parse(r#"{"dangling":["true"],"x":["y"]}"#).unwrap();
        assert_eq!(filters.bool("dangling"), Ok(Some(true)));
        assert_eq!(filters.bool("none"), Ok(None));
        assert_eq!(filters.bool("x").unwrap_err().to_string(), "invalid filter 'x=[y]'");
        let both = Filters::parse(r#"{"x":["true","false"]}"#).unwrap();
        assert_eq!(both.bool("x").unwrap_err().to_string(), "invalid filter 'x=[false true]'");
        let err = filters.only(&["dangling"]).unwrap_err();
        assert_eq!(err.to_string(), "invalid filter 'x'");
    }

    #[test]
    fn labels_must_all_be_there() {
        let have = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        for (json, want) in [
            (r#"{"label":["a"]}"#, true),
            (r#"{"label":["a=b"]}"#, true),
            (r#"{"label":["a=c"]}"#, false),
            (r#"{"label":["a","d"]}"#, false),
        ] {
            assert_eq!(Filters::parse(json).unwrap().labels("label", &have), want, "{json}");
        }
        assert!(!Filters::parse(r#"{"label!":["a"]}"#).unwrap().not_labels(&have));
    }
}
