//! Unsafe code is in `kernel/sys` only; every other crate forbids it.

use crate::Findings;
use crate::source::{code, has_word};
use crate::workspace::Workspace;

const HOME: &str = "crates/kernel/sys/";

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    let is_home = |path: &std::path::Path| workspace.shown(path).to_string().starts_with(HOME);
    for (file, kind) in workspace.packages.iter().flat_map(|package| &package.targets) {
        let is_ours = ["lib", "bin"].contains(&kind.as_str()) && !is_home(file);
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if is_ours && !text.contains("#![forbid(unsafe_code)]") {
            findings.push(format!("{}: lacks #![forbid(unsafe_code)]", workspace.shown(file)));
        }
    }
    for file in workspace.sources().iter().filter(|file| !is_home(file)) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for (nth, line) in text.lines().enumerate() {
            if is_unsafe(line) {
                findings.push(format!("{}:{}: unsafe code", workspace.shown(file), nth + 1));
            }
        }
    }
    findings
}

fn is_unsafe(line: &str) -> bool {
    let code = code(line);
    let after = code.split_once("unsafe").map_or("", |(_, after)| after.trim_start());
    has_word(code, "unsafe")
        && ["{", "fn ", "impl ", "extern ", "trait ", "("].iter().any(|w| after.starts_with(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_stays_at_home() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn what_is_unsafe() {
        let block = ["let x = un", "safe { 1 };"].concat();
        assert!(is_unsafe(&block));
        assert!(!is_unsafe(&format!("// {block}")));
        assert!(!is_unsafe("#![forbid(unsafe_code)]"));
    }
}
