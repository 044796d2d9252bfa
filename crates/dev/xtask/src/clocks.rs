//! What waits, or measures how long something took, does not look at the wall clock, which people and
//! NTP set: restart back-off, health checks, timeouts of stop, patience with other processes.
//!
//! A time namespace moves no wall clock, so no test can set one for a container's supervisor alone;
//! this holds that the code has none to be misled by.

use crate::Findings;
use crate::source::code;
use crate::workspace::Workspace;

/// Ways to read the wall clock.
const READS: [&str; 3] = ["SystemTime::now", "clock::now(", "Timestamp::now("];

/// Where nothing reads it but these files, and what they do with it.
const SUPERVISOR: (&str, &[(&str, &str)]) = (
    "crates/runtime/shim/src/",
    &[
        ("clock.rs", "how the time is read"),
        ("error.rs", "the time of a line of shim.log"),
        ("events.rs", "when an event was"),
        ("health.rs", "when a check began and ended, for people"),
        ("log.rs", "the time of a line of the log"),
        ("teardown.rs", "when the program was started and ended, for people"),
    ],
);

/// Files in which somebody waits.
const WAITING: [&str; 13] = [
    "crates/engine/containers/src/attachment.rs",
    "crates/engine/containers/src/control.rs",
    "crates/engine/containers/src/exec.rs",
    "crates/engine/containers/src/launch.rs",
    "crates/engine/containers/src/lock.rs",
    "crates/engine/containers/src/shim.rs",
    "crates/engine/containers/src/start.rs",
    "crates/engine/containers/src/stray.rs",
    "crates/engine/containers/src/wait.rs",
    "crates/engine/containers/src/watch.rs",
    "crates/runtime/rootless/src/hold.rs",
    "crates/runtime/shim-protocol/src/health.rs",
    "crates/runtime/shim-protocol/src/restart.rs",
];

pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    let mut seen = 0;
    for file in workspace.sources() {
        let shown = workspace.shown(&file).to_string();
        let waits = WAITING.contains(&shown.as_str());
        seen += usize::from(waits);
        if !waits && !is_supervisors(&shown) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for (nth, line) in text.lines().enumerate().filter(|(_, line)| reads(line)) {
            findings.push(format!("{shown}:{}: reads the wall clock: {}", nth + 1, line.trim()));
        }
    }
    if seen != WAITING.len() {
        findings.push(format!("{} files of WAITING are not there", WAITING.len() - seen));
    }
    findings
}

/// Whether a file is one of the supervisor's that may not read it.
fn is_supervisors(shown: &str) -> bool {
    let (directory, allowed) = SUPERVISOR;
    shown.strip_prefix(directory).is_some_and(|name| {
        let is_test = name.ends_with("tests.rs");
        !is_test && !allowed.iter().any(|(file, _)| *file == name)
    })
}

fn reads(line: &str) -> bool {
    READS.iter().any(|read| code(line).contains(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_duration_is_of_the_wall_clock() {
        assert_eq!(check(&Workspace::load().unwrap()), Findings::new());
    }

    #[test]
    fn what_reads_it() {
        assert!(reads("let now = SystemTime::now();") && reads("until - clock::now()"));
        assert!(!reads("// SystemTime::now()") && !reads("let now = Instant::now();"));
        assert!(is_supervisors("crates/runtime/shim/src/restart.rs"));
        assert!(!is_supervisors("crates/runtime/shim/src/log.rs"));
        assert!(!is_supervisors("crates/engine/images/src/lib.rs"));
    }
}
