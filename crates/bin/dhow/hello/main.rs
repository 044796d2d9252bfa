//! The program in the image `hello`: looks at itself from inside its container, and reports.
//!
//! It is compiled by `build.rs`, alone and with nothing but the standard library. What it cannot
//! know from inside, the engine puts into its environment; where another client or engine started
//! it, it says that it was not told.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// The eight namespaces, by their names in `/proc/self/ns`.
const NAMESPACES: [&str; 8] = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"];
/// A v1 limit at or above this is none: the kernel rounds "no limit" down to a page.
const NO_LIMIT_BYTES: u64 = 1 << 62;

fn main() {
    // Before anything else: it is the time until here that is reported.
    let now = SystemTime::now();
    let bold = io::stdout().is_terminal();
    let report = [
        ("process", process()),
        ("namespaces", namespaces()),
        ("cgroup", cgroup()),
        ("limits", limits()),
        ("root", root()),
        ("mounts", mounts()),
        ("address", address()),
        ("privileges", privileges()),
        ("ran after", ran_after(now)),
    ];
    let mut out = String::from("Hello from inside a container.\n\n");
    for (what, lines) in report {
        for (at, line) in lines.lines().enumerate() {
            let label = if at == 0 { what } else { "" };
            let label = format!("{label:<12}");
            let label = if bold { format!("\x1b[1m{label}\x1b[0m") } else { label };
            out.push_str(&format!("  {label}{line}\n"));
        }
    }
    out.push_str("\nNext: dhow run --rm -it host sh    (this machine's own files, safe to destroy)\n");
    // Where this cannot be printed, nothing can.
    let _ = io::stdout().write_all(out.as_bytes());
}

fn process() -> String {
    let status = read("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or("?").to_owned()
    };
    let others = fs::read_dir("/proc").map_or(0, |entries| {
        let is_pid = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_pid)).count()
    });
    let count = if others == 1 { "the only one here".to_owned() } else { format!("one of {others} here") };
    let host = read("/proc/sys/kernel/hostname");
    format!("PID {}, {count}, uid {}, on {}", field("Pid:"), field("Uid:"), host.trim())
}

/// Which namespaces differ from the host's, as the engine told them.
fn namespaces() -> String {
    let told = env::var("DHOW_HOST_NAMESPACES").unwrap_or_default();
    let host: BTreeMap<&str, &str> =
        told.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let (mut own, mut shared, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for name in NAMESPACES {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let link = link.to_string_lossy();
        let inode = link.trim_start_matches(|c: char| c != '[').trim_matches(['[', ']']);
        let list = match host.get(name) {
            None => &mut unknown,
            Some(host) if *host == inode => &mut shared,
            Some(_) => &mut own,
        };
        list.push(name);
    }
    let mut lines = Vec::new();
    for (names, what) in [(own, "its own"), (shared, "the host's"), (unknown, "not told whose")] {
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(" ")));
        }
    }
    lines.join("\n")
}

fn cgroup() -> String {
    let text = read("/proc/self/cgroup");
    let mut paths: Vec<&str> = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    paths.sort_unstable();
    paths.dedup();
    let version = if fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok() { "v2" } else { "v1" };
    format!("{} ({version})", paths.join(" "))
}

fn limits() -> String {
    let number = |paths: &[&str]| {
        paths.iter().find_map(|path| fs::read_to_string(path).ok()).map(|text| text.trim().to_owned())
    };
    let memory = number(&["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    let memory = match memory.as_deref().map(str::parse::<u64>) {
        Some(Ok(bytes)) if bytes < NO_LIMIT_BYTES => format!("{} MiB", bytes >> 20),
        Some(_) => "unlimited".to_owned(),
        None => "not visible".to_owned(),
    };
    let pids = number(&["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]);
    let pids = match pids.as_deref() {
        Some("max") => "unlimited".to_owned(),
        Some(pids) => pids.to_owned(),
        None => "not visible".to_owned(),
    };
    format!("memory {memory}, CPUs {}, processes {pids}", cpus(&number))
}

fn cpus(number: &impl Fn(&[&str]) -> Option<String>) -> String {
    let (quota, period) = match number(&["/sys/fs/cgroup/cpu.max"]) {
        Some(both) => match both.split_once(' ') {
            Some((quota, period)) => (quota.to_owned(), period.to_owned()),
            None => return "not visible".to_owned(),
        },
        None => match (
            number(&["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"]),
            number(&["/sys/fs/cgroup/cpu/cpu.cfs_period_us"]),
        ) {
            (Some(quota), Some(period)) => (quota, period),
            _ => return "not visible".to_owned(),
        },
    };
    match (quota.parse::<f64>(), period.parse::<f64>()) {
        (Ok(quota), Ok(period)) if quota > 0.0 && period > 0.0 => format!("{}", quota / period),
        _ => "unlimited".to_owned(),
    }
}

/// The root's own line of the mount table, taken apart.
fn root() -> String {
    let table = read("/proc/self/mountinfo");
    let Some(line) = table.lines().find(|line| line.split(' ').nth(4) == Some("/")) else {
        return "not visible".to_owned();
    };
    let Some((_, after)) = line.split_once(" - ") else { return "not visible".to_owned() };
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next().unwrap_or("?"), fields.nth(1).unwrap_or_default());
    let lowers: usize = options
        .split(',')
        .filter_map(|option| option.strip_prefix("lowerdir"))
        .map(|value| value.split(':').count())
        .sum();
    let layers = env::var("DHOW_LAYERS").ok().and_then(|layers| layers.parse().ok()).unwrap_or(lowers);
    if kind != "overlay" || layers == 0 {
        return kind.to_owned();
    }
    let layers = if layers == 1 { "one read-only layer".to_owned() } else { format!("{layers} read-only layers") };
    format!("{kind}: {layers} under a writable one")
}

fn mounts() -> String {
    let table = read("/proc/self/mountinfo");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for line in table.lines() {
        let kind = line.split_once(" - ").and_then(|(_, after)| after.split(' ').next());
        *kinds.entry(kind.unwrap_or("?")).or_default() += 1;
    }
    let list: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| if *count == 1 { (*kind).to_owned() } else { format!("{count} {kind}") })
        .collect();
    format!("{} ({})", table.lines().count(), list.join(", "))
}

/// The local IPv4 addresses, from the routing table: no call of the C library is needed.
fn address() -> String {
    let trie = read("/proc/net/fib_trie");
    let mut found: Vec<&str> = Vec::new();
    let mut last = "";
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line.contains("host LOCAL") && !last.starts_with("127.") && !found.contains(&last) {
            found.push(last);
        }
    }
    if found.is_empty() { "none but loopback".to_owned() } else { found.join(", ") }
}

fn privileges() -> String {
    let status = read("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or("0").to_owned()
    };
    let capabilities = u64::from_str_radix(&field("CapEff:"), 16).unwrap_or(0).count_ones();
    let seccomp = match field("Seccomp:").as_str() {
        "2" => "system calls filtered",
        _ => "system calls not filtered",
    };
    format!("{capabilities} capabilities, {seccomp}")
}

fn ran_after(now: SystemTime) -> String {
    let entered = env::var("DHOW_ENTERED_NS").ok().and_then(|text| text.parse::<u128>().ok());
    let now = now.duration_since(UNIX_EPOCH).map(|since| since.as_nanos());
    match (entered, now) {
        (Some(entered), Ok(now)) if now > entered => {
            format!("{:.1} ms, from the command's entry to this program's", (now - entered) as f64 / 1e6)
        }
        _ => "not told when the command was entered".to_owned(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
