//! The policy of the guest in which programs and files have labels: compiled on this machine, and loaded by
//! the guest before its tests.

use std::path::Path;
use std::process::Command;

use crate::shell::{find, run};

/// What the policy's text has in the place of its categories, of which there are as many as in Fedora's.
const PLACE: &str = "@CATEGORIES@";

/// The version of compiled policies that kernels from 4.13 on read.
const VERSION: &str = "31";

/// What the guest does with it. The kernel takes all of it at once.
pub(crate) const LOAD: &str = r"#!/bin/busybox sh
mount -t selinuxfs selinuxfs /sys/fs/selinux
dd if=/guest/policy of=/sys/fs/selinux/load bs=16M 2>/dev/null
echo 1 >/sys/fs/selinux/enforce
";

/// The compiled policy. `root` is the workspace's, `place` a directory for what comes in between.
pub(crate) fn policy(root: &Path, place: &Path) -> Result<Vec<u8>, String> {
    if find("checkpolicy").is_none() {
        crate::test::install_packages(&["checkpolicy"])?;
    }
    let wrong = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let source = root.join("tests/selinux/policy.conf");
    let text = std::fs::read_to_string(&source).map_err(|error| wrong(&source, error))?;
    let (whole, compiled) = (place.join("policy.conf"), place.join("policy"));
    std::fs::write(&whole, with_categories(&text)).map_err(|error| wrong(&whole, error))?;
    let mut command = Command::new("checkpolicy");
    command.args(["-M", "-U", "allow", "-c", VERSION, "-o"]).arg(&compiled).arg(&whole);
    run(&mut command)?;
    std::fs::read(&compiled).map_err(|error| wrong(&compiled, error))
}

fn with_categories(text: &str) -> String {
    let all: Vec<String> = (0..1024).map(|number| format!("category c{number};")).collect();
    text.replace(PLACE, &all.join("\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn categories_are_filled_in() {
        let text = super::with_categories("a\n@CATEGORIES@\nb\n");
        assert!(text.starts_with("a\ncategory c0;\n") && text.ends_with("\ncategory c1023;\nb\n"));
        assert_eq!(text.lines().count(), 1026);
    }
}
