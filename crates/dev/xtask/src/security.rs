//! The tables of attacks (`docs/security*.md`) and their tests agree.

use std::collections::BTreeSet;

use crate::Findings;
use crate::workspace::Workspace;

/// A table of attacks.
struct Table {
    path: &'static str,
    /// Where every test must be named in the table.
    attacks: &'static str,
    /// Where the table's tests may be.
    tests: &'static str,
    /// A program that attacks, or is attacked: a test by its form only.
    program: &'static str,
}

const TABLES: [Table; 4] = [
    Table {
        path: "docs/security.md",
        attacks: "crates/bin/dhow-runtime/tests/security/",
        tests: "crates/bin/dhow-runtime/tests/",
        program: "attack",
    },
    Table {
        path: "docs/security-images.md",
        attacks: "crates/engine/images/src/tests/security.rs",
        tests: "crates/",
        program: "child_that_loads_a_bomb",
    },
    Table {
        path: "docs/security-build.md",
        attacks: "crates/dev/e2e/tests/e2e/build/security.rs",
        tests: "crates/",
        program: "",
    },
    Table {
        path: "docs/security-containers.md",
        attacks: "crates/dev/e2e/tests/e2e/security.rs",
        tests: "crates/",
        program: "",
    },
];

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for table in &TABLES {
        let text = std::fs::read_to_string(workspace.root.join(table.path)).unwrap_or_default();
        let (mut attacks, mut all) = (BTreeSet::new(), BTreeSet::new());
        for file in workspace.sources() {
            let shown = workspace.shown(&file).to_string();
            if !shown.starts_with(table.tests) {
                continue;
            }
            let found = tests(&std::fs::read_to_string(&file).unwrap_or_default());
            if shown.starts_with(table.attacks) {
                attacks.extend(found.iter().cloned());
            }
            all.extend(found);
        }
        attacks.remove(table.program);
        findings.extend(differences(table.path, &rows(&text), &attacks, &all));
    }
    findings
}

/// The names of the functions that are tests.
fn tests(source: &str) -> Vec<String> {
    let mut after_test = false;
    let mut names = Vec::new();
    for line in source.lines().map(str::trim) {
        let line = line.strip_prefix("async ").unwrap_or(line);
        if line == "#[test]" || line == "#[tokio::test]" {
            after_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| after_test) {
            names.extend(rest.split('(').next().map(str::to_owned));
            after_test = false;
        }
    }
    names
}

/// The rows of the table: the number, and the tests.
fn rows(table: &str) -> Vec<(String, Vec<String>)> {
    table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let number = cells.get(1)?;
            let digits = number.get(1..)?;
            let is_row = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            is_row.then(|| (number.to_string(), quoted(cells.get(4).unwrap_or(&""))))
        })
        .collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn differences(
    table: &str,
    rows: &[(String, Vec<String>)],
    attacks: &BTreeSet<String>,
    all: &BTreeSet<String>,
) -> Findings {
    let mut findings = Findings::new();
    let mut named = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (number, tests) in rows {
        if !numbers.insert(number) {
            findings.push(format!("{table}: {number} is there twice"));
        }
        if tests.is_empty() {
            findings.push(format!("{table}: {number} names no test"));
        }
        for test in tests {
            named.insert(test.clone());
            if !all.contains(test) {
                findings.push(format!("{table}: {number}: there is no test `{test}`"));
            }
        }
    }
    for test in attacks.difference(&named) {
        findings.push(format!("{table}: `{test}` is in no row"));
    }
    if rows.is_empty() {
        findings.push(format!("{table}: has no rows"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_test_and_every_test_its_row() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn what_differs_is_found() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let table = "| row | as | attack | test |\n|---|---|---|---|\n| A01 | x | y | `a01_x` |\n\
            | A02 | | | `gone` |\n| A03 | | | |\n| A01 | | | `a01_x` |\n";
        let findings =
            differences("t", &rows(table), &set(&["a01_x", "b01_y"]), &set(&["a01_x", "b01_y"]));
        let want = [
            "A02: there is no test `gone`",
            "A03 names no test",
            "A01 is there twice",
            "`b01_y` is in no row",
        ];
        assert_eq!(findings, want.map(|text| format!("t: {text}")));
        let source = "#[test]\nfn one() {\n}\nfn two() {\n#[test]\n#[ignore]\nfn three() {";
        assert_eq!(tests(source), ["one", "three"]);
    }
}
