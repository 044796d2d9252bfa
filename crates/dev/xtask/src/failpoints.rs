//! The failpoints in the sources and those in `failpoint::ALL` are the same.

use std::collections::BTreeSet;

use crate::Findings;
use crate::source::{code, strings};
use crate::workspace::Workspace;

/// How a failpoint is passed: directly, or through the error of the crate.
const CALLS: [&str; 3] = ["failpoint::hit(\"", "failpoint(\"", "pass(\""];

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut passed = BTreeSet::new();
    let mut mentioned = BTreeSet::new();
    for file in workspace.sources() {
        let shown = workspace.shown(&file).to_string();
        if shown.starts_with("crates/kernel/failpoint/") || shown.starts_with("crates/dev/") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for line in text.lines().map(code) {
            mentioned.extend(strings(line).into_iter().map(str::to_owned));
            for call in CALLS {
                let rest = line.split(call).skip(1);
                passed.extend(rest.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    differences(
        &failpoint::ALL.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        &passed,
        &mentioned,
    )
}

fn differences(
    listed: &[String],
    passed: &BTreeSet<String>,
    mentioned: &BTreeSet<String>,
) -> Findings {
    let mut findings = Findings::new();
    let mut seen = BTreeSet::new();
    for name in listed {
        if !seen.insert(name) {
            findings.push(format!("failpoint {name} is listed twice"));
        }
        if !mentioned.contains(name) {
            findings.push(format!("failpoint {name} is listed, and passed nowhere"));
        }
    }
    for name in passed.iter().filter(|name| !seen.contains(name)) {
        findings.push(format!("failpoint {name} is passed, and not listed"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn what_differs_is_named() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let listed = ["a.b", "a.b", "a.c"].map(str::to_owned);
        assert_eq!(
            differences(&listed, &set(&["a.b", "a.d"]), &set(&["a.b", "a.d"])),
            [
                "failpoint a.b is listed twice",
                "failpoint a.c is listed, and passed nowhere",
                "failpoint a.d is passed, and not listed",
            ]
        );
    }
}
