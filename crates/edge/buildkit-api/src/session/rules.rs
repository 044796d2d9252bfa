//! Rules for sources that come with a build (BuildKit's `sourcepolicy`): what may not be used, and what is used in
//! its place. Of several that mean a source the last counts; one that puts another in its place does so at once,
//! and what is there then is looked at anew.

use std::collections::BTreeMap;

use buildkit::pb::SourceOp;
use buildkit::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};
use regex_lite::{Regex, RegexBuilder};

/// So often one source may be put in the place of another, as in BuildKit.
const MAX_CHANGES: usize = 20;
/// No build has more rules.
const MAX_RULES: usize = 10_000;
/// The longest text of a rule, in bytes.
const MAX_TEXT: usize = 16 << 10;
/// The size of what a pattern becomes, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// Rules that make sense.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Checked>);

#[derive(Clone, Debug)]
struct Checked {
    action: PolicyAction,
    identifier: String,
    /// `None`: only the identifier itself.
    pattern: Option<Regex>,
    is_regex: bool,
    constraints: Vec<Constraint>,
    update: Update,
}

#[derive(Clone, Debug)]
struct Constraint {
    key: String,
    value: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Is(String),
    IsNot(String),
    Matches(Regex),
}

impl Rules {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// One makes no sense: which, in one line.
    pub(crate) fn of(policy: &Policy) -> Result<Self, String> {
        if policy.rules.len() > MAX_RULES {
            return Err(format!("source policy: more than {MAX_RULES} rules"));
        }
        policy.rules.iter().map(Checked::of).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts in the place of a source what the rules say. Whether that is another one.
    ///
    /// # Errors
    ///
    /// It may not be used.
    pub(crate) fn apply(&self, source: &mut SourceOp) -> Result<bool, String> {
        for n_changes in 0..=MAX_CHANGES {
            if !self.apply_once(source)? {
                return Ok(n_changes > 0);
            }
        }
        Err("too many mutations on a single source: too many operations".to_owned())
    }

    fn apply_once(&self, source: &mut SourceOp) -> Result<bool, String> {
        let mut is_denied = false;
        for rule in &self.0 {
            if !rule.means(source) {
                continue;
            }
            match rule.action {
                PolicyAction::Allow => is_denied = false,
                PolicyAction::Deny => is_denied = true,
                PolicyAction::Convert => {
                    if rule.convert(source) {
                        return Ok(true);
                    }
                }
            }
        }
        if is_denied {
            let name = llb::shown(&source.identifier);
            return Err(format!("source {name:?} denied by policy: source denied by policy"));
        }
        Ok(false)
    }
}

impl Checked {
    fn of(rule: &Rule) -> Result<Self, String> {
        let selector = rule.selector.as_ref().ok_or("invalid nil selector in policy")?;
        let Selector { identifier, match_type, constraints } = selector;
        let texts = constraints.iter().flat_map(|one| [&one.key, &one.value]).chain([identifier]);
        if texts.map(String::len).any(|len| len > MAX_TEXT) {
            return Err(format!("source policy: a text of more than {MAX_TEXT} bytes"));
        }
        let action = PolicyAction::try_from(rule.action).map_err(|_| {
            format!("source policy: rule {} {identifier}: unknown type {identifier:?}", rule.action)
        })?;
        let (pattern, is_regex) = match MatchType::try_from(*match_type) {
            Ok(MatchType::Exact) => (None, false),
            Ok(MatchType::Wildcard) => (Some(wildcard(identifier)?), false),
            Ok(MatchType::Regex) => (Some(regex(identifier)?), true),
            Err(_) => return Err(format!("unknown match type: {match_type}")),
        };
        let update = match (&rule.updates, action) {
            (None, PolicyAction::Convert) => {
                return Err("missing destination for convert rule".to_owned());
            }
            (update, _) => update.clone().unwrap_or_default(),
        };
        let constraints = constraints.iter().map(Constraint::of).collect::<Result<_, _>>()?;
        Ok(Self { action, identifier: identifier.clone(), pattern, is_regex, constraints, update })
    }

    fn means(&self, source: &SourceOp) -> bool {
        let name = &source.identifier;
        self.constraints.iter().all(|one| one.holds(&source.attrs))
            && (self.identifier == *name
                || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name)))
    }

    /// Whether anything is another one now.
    fn convert(&self, source: &mut SourceOp) -> bool {
        let into = match self.update.identifier.as_str() {
            "" => &self.identifier,
            into => into,
        };
        let name = &source.identifier;
        let into = match &self.pattern {
            None => into.to_owned(),
            Some(pattern) if self.is_regex => pattern.replace_all(name, into).into_owned(),
            Some(pattern) => match pattern.captures(name) {
                Some(found) => {
                    let mut text = String::new();
                    found.expand(into, &mut text);
                    text
                }
                None => name.clone(),
            },
        };
        let mut has_changed = false;
        if !into.is_empty() && into != source.identifier {
            source.identifier = into;
            has_changed = true;
        }
        for (key, value) in &self.update.attrs {
            if source.attrs.get(key) != Some(value) {
                source.attrs.insert(key.clone(), value.clone());
                has_changed = true;
            }
        }
        has_changed
    }
}

impl Constraint {
    fn of(from: &AttrConstraint) -> Result<Self, String> {
        let AttrConstraint { key, value, condition } = from;
        let test = match AttrMatch::try_from(*condition) {
            Ok(AttrMatch::Equal) => Test::Is(value.clone()),
            Ok(AttrMatch::Notequal) => Test::IsNot(value.clone()),
            Ok(AttrMatch::Matches) => Test::Matches(regex(value)?),
            Err(_) => return Err(format!("unknown attr condition: {condition}")),
        };
        Ok(Self { key: key.clone(), value: test })
    }

    fn holds(&self, attrs: &BTreeMap<String, String>) -> bool {
        let found = attrs.get(&self.key).map_or("", String::as_str);
        match &self.value {
            Test::Is(value) => found == value,
            Test::IsNot(value) => found != value,
            Test::Matches(pattern) => pattern.is_match(found),
        }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
    built.map_err(|error| format!("source policy: invalid regex {text:?}: {error}"))
}

/// Every `*` stands for any text, and is a part by itself (`$1`).
fn wildcard(text: &str) -> Result<Regex, String> {
    if text.contains("**") {
        return Err(format!(
            "failed to translate wildcard {text:?} to regexp: invalid wildcard: \"**\""
        ));
    }
    let parts: Vec<String> = text.split('*').map(regex_lite::escape).collect();
    regex(&format!("^{}$", parts.join("(.*)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: PolicyAction, kind: MatchType, name: &str, into: Option<&str>) -> Rule {
        let selector =
            Selector { identifier: name.into(), match_type: kind.into(), constraints: Vec::new() };
        let updates = into.map(|into| Update { identifier: into.into(), attrs: BTreeMap::new() });
        Rule { action: action.into(), selector: Some(selector), updates }
    }

    fn apply(rules: Vec<Rule>, name: &str) -> Result<String, String> {
        let rules = Rules::of(&Policy { version: 1, rules })?;
        assert!(!rules.is_empty() && Rules::default().is_empty());
        let mut source = SourceOp { identifier: name.into(), attrs: BTreeMap::new() };
        rules.apply(&mut source).map(|_| source.identifier)
    }

    #[test]
    fn the_last_that_means_it_counts() {
        use MatchType::{Exact, Regex, Wildcard};
        use PolicyAction::{Allow, Deny};
        let image = "docker-image://docker.io/library/busybox:latest";
        let all = || rule(Deny, Wildcard, "docker-image://*", None);
        let denied = apply(vec![all()], image).unwrap_err();
        assert!(denied.ends_with("source denied by policy"), "{denied}");
        assert!(apply(vec![all(), rule(Allow, Exact, image, None)], image).is_ok());
        assert!(apply(vec![rule(Allow, Exact, image, None), all()], image).is_err());
        assert!(apply(vec![all()], "local://context").is_ok());
        assert!(apply(vec![rule(Deny, Regex, "busy(box)?:", None)], image).is_err());
        assert!(apply(vec![rule(Deny, Exact, "docker-image://*", None)], image).is_ok());
    }

    #[test]
    fn another_takes_its_place() {
        use MatchType::{Exact, Regex, Wildcard};
        use PolicyAction::{Convert, Deny};
        let convert = |kind, name, into| rule(Convert, kind, name, Some(into));
        let rules = vec![convert(Wildcard, "docker-image://a/*:*", "docker-image://b/$1:${2}-x")];
        assert_eq!(apply(rules, "docker-image://a/go:1").unwrap(), "docker-image://b/go:1-x");
        let rules = vec![convert(Regex, "^https://(.*)\\.old/", "https://$1.new/")];
        assert_eq!(apply(rules.clone(), "https://h.old/f").unwrap(), "https://h.new/f");
        // What is there then is looked at anew.
        let rules = [rules, vec![rule(Deny, Wildcard, "https://h.new/*", None)]].concat();
        assert!(apply(rules, "https://h.old/f").is_err());
        let loops = vec![convert(Exact, "a://", "b://"), convert(Exact, "b://", "a://")];
        assert!(apply(loops, "a://").unwrap_err().contains("too many"));
    }

    #[test]
    fn attributes_count_and_are_set() {
        let constraint = AttrConstraint {
            key: "http.checksum".into(),
            value: "^sha256:".into(),
            condition: AttrMatch::Matches.into(),
        };
        let mut deny = rule(PolicyAction::Deny, MatchType::Wildcard, "https://*", None);
        deny.selector.as_mut().unwrap().constraints.push(constraint);
        let mut set = rule(PolicyAction::Convert, MatchType::Exact, "https://a/b", Some(""));
        let sum = ("http.checksum".to_owned(), "sha256:0".to_owned());
        set.updates.as_mut().unwrap().attrs = [sum].into();
        let run = |rules: Vec<Rule>| {
            let rules = Rules::of(&Policy { version: 1, rules }).unwrap();
            let mut source = SourceOp { identifier: "https://a/b".into(), attrs: BTreeMap::new() };
            rules.apply(&mut source).map(|changed| (changed, source.attrs))
        };
        assert_eq!(run(vec![deny.clone()]), Ok((false, BTreeMap::new())));
        assert!(run(vec![set, deny]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused =
            |rule: Rule| Rules::of(&Policy { version: 1, rules: vec![rule] }).unwrap_err();
        let fine = || rule(PolicyAction::Convert, MatchType::Wildcard, "a", Some("b"));
        assert!(refused(Rule { selector: None, ..fine() }).contains("nil selector"));
        assert!(refused(Rule { action: 9000, ..fine() }).contains("unknown type"));
        assert!(refused(Rule { updates: None, ..fine() }).contains("missing destination"));
        let with =
            |kind: MatchType, name: &str| refused(rule(PolicyAction::Deny, kind, name, None));
        assert!(with(MatchType::Wildcard, "a**").contains("invalid wildcard"));
        assert!(with(MatchType::Regex, "(").contains("invalid regex"));
        assert!(with(MatchType::Regex, &"a".repeat(MAX_TEXT + 1)).contains("bytes"));
    }
}
