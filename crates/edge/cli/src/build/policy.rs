//! `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`: a file of rules for sources, as Buildx and buildctl read it (JSON of
//! BuildKit's `sourcepolicy/pb`).

use std::collections::BTreeMap;
use std::path::Path;

use buildkit::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};
use serde::Deserialize;

use crate::error::{Error, Result};

const VARIABLE: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    #[serde(default)]
    action: Named,
    selector: Option<FileSelector>,
    updates: Option<FileUpdate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSelector {
    #[serde(default)]
    identifier: String,
    #[serde(default, alias = "match_type", rename = "matchType")]
    match_type: Named,
    #[serde(default)]
    constraints: Vec<FileConstraint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConstraint {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Named,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUpdate {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A value of an enumeration: its name, or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Name(String),
    Number(i32),
}

impl Default for Named {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Named {
    fn number(
        &self,
        what: &str,
        find: impl Fn(&str) -> Option<i32>,
    ) -> std::result::Result<i32, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => find(name).ok_or_else(|| format!("unknown {what} {name:?}")),
        }
    }
}

/// The rules of the file that the environment names; `None`: it names none.
pub(super) fn of_environment() -> Result<Option<Policy>> {
    match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => read(Path::new(&path)).map(Some),
        None => Ok(None),
    }
}

fn read(path: &Path) -> Result<Policy> {
    let text = std::fs::read(path).map_err(Error::io(format!("read {}", path.display())))?;
    parse(&text).map_err(|why| Error::Usage(format!("{VARIABLE}: {}: {why}", path.display())))
}

fn parse(text: &[u8]) -> std::result::Result<Policy, String> {
    // serde would also take an array of the fields' values for an object.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is no JSON object".to_owned());
    }
    let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let rules = file.rules.into_iter().map(rule).collect::<std::result::Result<_, _>>()?;
    Ok(Policy { version: file.version, rules })
}

fn rule(from: FileRule) -> std::result::Result<Rule, String> {
    let action = |name: &str| PolicyAction::from_str_name(name).map(i32::from);
    let kind = |name: &str| MatchType::from_str_name(name).map(i32::from);
    let condition = |name: &str| AttrMatch::from_str_name(name).map(i32::from);
    let constraint = |one: FileConstraint| {
        let condition = one.condition.number("condition", condition)?;
        Ok::<_, String>(AttrConstraint { key: one.key, value: one.value, condition })
    };
    let selector = |one: FileSelector| {
        let constraints = one.constraints.into_iter().map(constraint);
        Ok::<_, String>(Selector {
            match_type: one.match_type.number("match type", kind)?,
            constraints: constraints.collect::<std::result::Result<_, _>>()?,
            identifier: one.identifier,
        })
    };
    Ok(Rule {
        action: from.action.number("action", action)?,
        selector: from.selector.map(selector).transpose()?,
        updates: from.updates.map(|one| Update { identifier: one.identifier, attrs: one.attrs }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_buildkit_has_it() {
        let text = br#"{"version": 1, "rules": [
            {"action": "DENY", "selector": {"identifier": "docker-image://*"}},
            {"action": "CONVERT", "selector": {"identifier": "https://a", "matchType": "EXACT",
                "constraints": [{"key": "k", "value": "v", "condition": "NOTEQUAL"}]},
             "updates": {"attrs": {"http.checksum": "sha256:0"}}}]}"#;
        let policy = parse(text).unwrap();
        assert_eq!(policy.rules[0].action, i32::from(PolicyAction::Deny));
        let selector = policy.rules[1].selector.as_ref().unwrap();
        assert_eq!(selector.match_type, i32::from(MatchType::Exact));
        assert_eq!(selector.constraints[0].condition, i32::from(AttrMatch::Notequal));
        assert_eq!(policy.rules[1].updates.as_ref().unwrap().attrs["http.checksum"], "sha256:0");
        for wrong in [&br#"{"rules": [{"action": "PERHAPS"}]}"#[..], b"[]", br#"{"rule": []}"#] {
            assert!(parse(wrong).is_err());
        }
    }
}
