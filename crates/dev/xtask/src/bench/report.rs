//! The results as a page of Markdown.

use std::fmt::Write;

use super::measure::{BURST, Samples};
use super::{Results, Row};

/// The page.
pub(crate) fn markdown(results: &Results, burst: usize, paused: usize) -> String {
    let mut page = format!(
        "# Latency and memory\n\n\
         Written by `cargo xtask bench`. Milliseconds, medians of {burst} (in a burst) and {paused} \
         (after a second of pause) times, all in turns and in one run. A burst is a second of pause, one time \
         that does not count, and {BURST} of the same program at once after each other.\n\
         Ratios are what counts: two runs, or two machines, do not compare.\n\n\
         `floor` is what the kernel takes for the steps that no engine can leave out: clone into new \
         namespaces, one overlay mount, one veth pair (where there is a network), exec; for `exec`, \
         `nsenter` into a running container.\n\n\
         ![Medians](latency.svg)\n\n"
    );
    let _ = writeln!(page, "{}\n", machine());
    for (name, version) in results.versions.iter().filter(|(name, _)| name != "floor") {
        let _ = writeln!(page, "- {name}: {version}");
    }
    for row in &results.rows {
        table(&mut page, row);
    }
    if !results.memory.is_empty() {
        page.push_str("\n## Memory of a running container's supervisor\n\n");
        page.push_str("Proportional set size.\n\n| | KiB | times dhow's |\n|---|---:|---:|\n");
        let own = results.memory.iter().find(|(name, _)| name == "dhow").map(|(_, kib)| *kib);
        for (name, kib) in &results.memory {
            let ratio = own.map_or(f64::NAN, |own| *kib as f64 / own as f64);
            let _ = writeln!(page, "| {name} | {kib} | {ratio:.1} |");
        }
    }
    if !results.left_out.is_empty() {
        page.push_str("\n## Left out\n\n");
        for why in &results.left_out {
            let _ = writeln!(page, "- {why}");
        }
    }
    page
}

fn table(page: &mut String, row: &Row) {
    if row.samples.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n## `{}`, {}\n", row.scenario.title(), row.pace.words());
    let own =
        if row.samples.iter().any(|(name, _)| name == "dhow") { "dhow" } else { "dhow-runtime" };
    page.push_str(&rows(&row.samples, own));
}

/// A table of who took how long, `own` being the one of us.
pub(crate) fn rows(all: &[(String, Samples)], own: &str) -> String {
    let mut page = "| | median | 10 % | 90 % | times the floor | times dhow's |\n".to_owned();
    page.push_str("|---|---:|---:|---:|---:|---:|\n");
    let median = |name: &str| {
        let found = all.iter().find(|(one, _)| one == name);
        found.map(|(_, samples)| samples.median())
    };
    let (floor, own) = (median("floor"), median(own));
    for (name, samples) in all {
        let ratio = |to: Option<f64>| {
            to.map_or(String::new(), |to| format!("{:.1}", samples.median() / to))
        };
        let (low, high) = (samples.quantile(0.1), samples.quantile(0.9));
        let _ = writeln!(
            page,
            "| {name} | {:.1} | {low:.1} | {high:.1} | {} | {} |",
            samples.median(),
            ratio(floor),
            ratio(own)
        );
    }
    page
}

/// The kernel and the size of the machine, without its name.
pub(crate) fn machine() -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = release.split('-').next().unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    format!("Linux {kernel}, {cores} cores, {} GiB of memory.", kib >> 20)
}
