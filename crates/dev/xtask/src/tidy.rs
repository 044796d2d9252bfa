//! Sizes of files and names of modules.

use std::path::Path;

use crate::Findings;
use crate::workspace::Workspace;

/// A file longer than this is told of.
const LONG: usize = 500;
/// A file longer than this is refused.
const TOO_LONG: usize = 800;
/// A program's main file.
const MAIN: usize = 150;
/// Where files are that no person reads: what a generator has written.
const GENERATED: &str = "/src/generated/";
/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for file in workspace.sources() {
        let shown = workspace.shown(&file).to_string();
        let lines = std::fs::read_to_string(&file).unwrap_or_default().lines().count();
        let limit = if shown.starts_with("crates/bin/") && shown.ends_with("src/main.rs") {
            MAIN
        } else {
            TOO_LONG
        };
        if shown.contains(GENERATED) {
            continue;
        }
        if lines > limit {
            findings.push(format!("{shown}: {lines} lines, at most {limit}"));
        } else if lines > LONG {
            println!("{shown}: {lines} lines, aim for at most {LONG}");
        }
        if let Some(name) = empty_name(Path::new(&shown)) {
            findings.push(format!("{shown}: `{name}` does not say what is inside"));
        }
    }
    for package in &workspace.packages {
        let directory = package.directory.file_name().unwrap_or_default().to_string_lossy();
        if package.name != directory && package.name != format!("dhow-{directory}") {
            findings.push(format!("{} is in the folder {directory}", package.name));
        }
    }
    findings
}

/// The part of a path that is one of the empty names.
fn empty_name(path: &Path) -> Option<&str> {
    let stem = |part: std::path::Component<'_>| {
        let part = part.as_os_str().to_str().unwrap_or_default();
        let part = part.strip_suffix(".rs").unwrap_or(part);
        EMPTY_NAMES.into_iter().find(|name| *name == part)
    };
    path.components().find_map(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(empty_name(Path::new("crates/kernel/x/src/utils.rs")), Some("utils"));
        assert_eq!(empty_name(Path::new("crates/model/common/src/lib.rs")), Some("common"));
        assert_eq!(empty_name(Path::new("crates/kernel/x/src/mount.rs")), None);
    }
}
