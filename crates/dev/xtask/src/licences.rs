//! The licence of every dependency is one of those in `deny.toml`, which `cargo deny` reads too.

use serde_json::Value;

use crate::Findings;
use crate::source::strings;
use crate::workspace::{Workspace, list, metadata, text};

pub(crate) fn check(workspace: &Workspace) -> Result<Findings, String> {
    let path = workspace.root.join("deny.toml");
    let config = std::fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
    let allowed = allow_list(&config);
    let banned = ban_list(&config);
    // What only other systems need is not downloaded, and not linked.
    let linux = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&["--filter-platform", &linux])?;
    let mut findings = Findings::new();
    for package in list(&metadata, "packages") {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !is_allowed(&licence, &allowed) {
            findings.push(format!("{name}: the licence `{licence}` is not in deny.toml"));
        }
        let ban = banned.iter().find(|ban| ban.name == name);
        let users = ban.map(|_| users(&metadata, &text(package, "id"))).unwrap_or_default();
        for user in users.iter().filter(|user| !ban.is_some_and(|ban| ban.allows(user))) {
            findings.push(format!("{name}: deny.toml bans it, and {user} uses it"));
        }
    }
    Ok(findings)
}

/// The strings of `allow = [...]`.
fn allow_list(config: &str) -> Vec<&str> {
    let list = config.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    strings(list.map_or("", |(list, _)| list))
}

/// A crate that is not to be used, but by some.
#[derive(Debug, PartialEq, Eq)]
struct Ban<'a> {
    name: &'a str,
    /// Those who may.
    wrappers: Vec<&'a str>,
}

impl Ban<'_> {
    fn allows(&self, user: &str) -> bool {
        self.wrappers.contains(&user)
    }
}

/// The entries of `deny = [...]`, one in a line.
fn ban_list(config: &str) -> Vec<Ban<'_>> {
    let list = config.split_once("\ndeny = [").and_then(|(_, rest)| rest.split_once("\n]"));
    let lines = list.map_or("", |(list, _)| list).lines();
    let ban = |line| {
        let name = strings(line).into_iter().next()?;
        let wrappers = line.split_once("wrappers = [").and_then(|(_, rest)| rest.split_once(']'));
        Some(Ban { name, wrappers: strings(wrappers.map_or("", |(list, _)| list)) })
    };
    lines.filter_map(ban).collect()
}

/// The names of the packages that depend on one.
fn users(metadata: &Value, id: &str) -> Vec<String> {
    let depends = |node: &&Value| list(node, "dependencies").any(|other| other == id);
    let nodes = list(&metadata["resolve"], "nodes").filter(depends).map(|node| text(node, "id"));
    let name = |user: String| {
        let package = list(metadata, "packages").find(|package| package["id"] == user.as_str());
        package.map_or(user, |package| text(package, "name"))
    };
    nodes.map(name).collect()
}

/// Whether an SPDX expression (or the older `A/B`) can be met with the licences allowed.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, allowed);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut licence = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        licence = format!("{licence} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&licence.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_licences_are_allowed() {
        assert_eq!(check(&Workspace::load().unwrap()).unwrap(), Findings::new());
    }

    #[test]
    fn a_ban_has_exceptions() {
        let config = "\ndeny = [\n    { crate = \"a\", reason = \"b\" },\n    \
            { crate = \"c\", wrappers = [\"d\", \"e\"], reason = \"f\" },\n]\n";
        let bans = ban_list(config);
        assert_eq!(bans[0], Ban { name: "a", wrappers: Vec::new() });
        assert_eq!(bans[1], Ban { name: "c", wrappers: vec!["d", "e"] });
        assert!(!bans[0].allows("d") && bans[1].allows("d") && !bans[1].allows("f"));
        let metadata = serde_json::json!({
            "packages": [{ "id": "path#d", "name": "d" }, { "id": "path#f", "name": "f" }],
            "resolve": { "nodes": [
                { "id": "path#d", "dependencies": ["index#c"] },
                { "id": "path#f", "dependencies": ["index#a", "index#c"] },
            ] },
        });
        assert_eq!(users(&metadata, "index#c"), ["d", "f"]);
        assert_eq!(users(&metadata, "index#b"), Vec::<String>::new());
    }

    #[test]
    fn expressions_are_understood() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
        for met in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(met, &allowed), "{met}");
        }
        for unmet in ["", "GPL-3.0-or-later", "MIT AND GPL-2.0", "MIT WITH GCC-exception", "MIT)"] {
            assert!(!is_allowed(unmet, &allowed), "{unmet}");
        }
    }
}
