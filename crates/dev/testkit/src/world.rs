//! What is there, outside the processes of a test: what an engine could leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::output::capture;
use crate::sandbox::Sandbox;

/// The names of all links. Flags and states follow those of other links, and come late.
const LINKS: &str = "ip -o link | sed 's/^[0-9]*: //; s/[@:].*//'";

/// What is there at one moment, as lines by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World(BTreeMap<&'static str, BTreeSet<String>>);

impl World {
    /// Looks around, for what belongs to `sandbox`.
    pub fn see(sandbox: &Sandbox) -> Self {
        let processes = processes_of(sandbox);
        Self(BTreeMap::from([
            ("mounts", mounts(sandbox)),
            ("links", links(sandbox)),
            ("rules", lines(sandbox, "! command -v nft >/dev/null || nft list ruleset")),
            ("cgroups", cgroups(sandbox)),
            ("processes", processes.into_values().collect()),
            ("files", files(sandbox)),
            ("records", records(&sandbox.root().join("dhow.db"))),
        ]))
    }

    /// What is here and not in `before`, and the other way round.
    pub fn difference(&self, before: &Self) -> String {
        let none = BTreeSet::new();
        let mut text = String::new();
        for (kind, now) in &self.0 {
            let then = before.0.get(kind).unwrap_or(&none);
            for line in now.difference(then) {
                let _ = writeln!(text, "{kind}: + {line}");
            }
            // The machine's other engines unmount: what they had mounted when the sandbox was made
            // goes from it as well.
            let gone = if *kind == "mounts" { &none } else { then };
            for line in gone.difference(now) {
                let _ = writeln!(text, "{kind}: - {line}");
            }
        }
        text
    }
}

/// The names of all links of the sandbox.
pub(crate) fn links(sandbox: &Sandbox) -> BTreeSet<String> {
    lines(sandbox, LINKS)
}

fn lines(sandbox: &Sandbox, script: &str) -> BTreeSet<String> {
    let output = capture(sandbox.command("sh").args(["-c", script])).success();
    output.lines().map(str::to_owned).collect()
}

/// The numbers in /proc.
fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("read /proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A namespace of a process, as text; empty when the process is gone.
fn namespace(pid: u32, kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap_or_default();
    link.to_string_lossy().into_owned()
}

/// All mounts of the sandbox's host, and those of any other mount namespace that name its directory.
fn mounts(sandbox: &Sandbox) -> BTreeSet<String> {
    let directory = sandbox.directory().to_string_lossy().into_owned();
    let host = namespace(sandbox.host_pid(), "mnt");
    let mut seen = BTreeSet::new();
    let mut lines = BTreeSet::new();
    for pid in pids() {
        let here = namespace(pid.cast_unsigned(), "mnt");
        if !seen.insert(here.clone()) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")) else { continue };
        let ours = text.lines().filter(|line| here == host || line.contains(&directory));
        // Without the numbers, which differ from one namespace to the next.
        lines.extend(ours.map(|line| line.splitn(4, ' ').last().unwrap_or_default().to_owned()));
    }
    lines
}

/// The directories that bear the engine's name, in all trees.
fn cgroups(sandbox: &Sandbox) -> BTreeSet<String> {
    let name = sandbox.engine_name();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let trees = mountinfo.lines().filter(|line| line.contains(" - cgroup"));
    let mut found = BTreeSet::new();
    for tree in trees.filter_map(|line| line.split(' ').nth(4)) {
        walk(&Path::new(tree).join(&name), &mut found);
    }
    found
}

/// `directory` and all directories below it.
fn walk(directory: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    found.insert(directory.display().to_string());
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        walk(&entry.path(), found);
    }
}

/// The processes that are the engine's: in its cgroup, in the sandbox's network namespace, or with
/// its directory in their command line. Those that only wait for their parent are left out.
pub(crate) fn processes_of(sandbox: &Sandbox) -> BTreeMap<i32, String> {
    let directory = sandbox.directory().to_string_lossy().into_owned();
    let cgroup = format!("/{}/", sandbox.engine_name());
    let network = namespace(sandbox.host_pid(), "net");
    let mut found = BTreeMap::new();
    for pid in pids() {
        let own = [std::process::id(), sandbox.host_pid()].contains(&pid.cast_unsigned());
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let ours = command.contains(&directory)
            || namespace(pid.cast_unsigned(), "net") == network
            || String::from_utf8_lossy(&read("cgroup")).contains(&cgroup);
        // A zombie has no command line any more.
        if ours && !own && !command.is_empty() {
            found.insert(pid, format!("{pid} {}", command.trim_end()));
        }
    }
    found
}

/// The same with all that they started: an ordinary user's container has no cgroup, and nothing in its
/// command line says whose it is.
pub(crate) fn processes_and_children_of(sandbox: &Sandbox) -> BTreeSet<i32> {
    let mut all: BTreeSet<i32> = processes_of(sandbox).into_keys().collect();
    let parents: Vec<(i32, i32)> =
        pids().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    loop {
        let is_new = |(pid, parent): &&(i32, i32)| all.contains(parent) && !all.contains(pid);
        let more: Vec<i32> = parents.iter().filter(is_new).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// What a builder makes once and for all.
const BUILDER: [&str; 6] = [
    "root/build",
    "root/build/collected",
    "root/build/empty",
    "root/build/known_hosts",
    "root/build/steps",
    "state/build",
];

/// What is beneath root and state, by path; not the database's journal, which comes and goes, nor
/// the content of layers.
fn files(sandbox: &Sandbox) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, depth) in [("root", 5), ("state", 8)] {
        let top = sandbox.directory().join(name);
        list(sandbox.directory(), &top, depth, &mut found);
    }
    let journal = |path: &String| path.ends_with(".db-wal") || path.ends_with(".db-shm");
    // What is remembered of steps, for `build --explain`, is bounded by itself.
    let is_builders =
        |path: &String| BUILDER.contains(&path.as_str()) || path.starts_with("root/build/made");
    found.retain(|path| !journal(path) && !is_builders(path));
    found
}

fn list(base: &Path, directory: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let relative = path.strip_prefix(base).unwrap_or(&path);
        found.insert(relative.display().to_string());
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(base, &path, depth - 1, found);
        }
    }
}

/// Every row of the database but of addresses that are given back: those are kept for a while, so
/// that they are not given out before the kernel has taken the link down; and but for when images were
/// used, which they are by looking, when they last got a name, which may be gone again, and what selections of files come to, which is forgotten after a month.
fn records(database: &Path) -> BTreeSet<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(db) = rusqlite::Connection::open_with_flags(database, flags) else {
        return BTreeSet::new();
    };
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    let mut found = BTreeSet::new();
    for table in rows(&db, tables) {
        let of = match table.as_str() {
            "leases" => "leases WHERE released IS NULL",
            "image_uses" | "image_tagged" | "build_digests" => continue,
            other => other,
        };
        let all = rows(&db, &format!("SELECT * FROM {of}"));
        found.extend(all.iter().map(|row| format!("{table}: {}", without_last_address(row))));
    }
    found
}

/// A network's record without the address that was last given out: it only ever moves on.
fn without_last_address(row: &str) -> String {
    let Some((before, after)) = row.split_once("\"last\":") else { return row.to_owned() };
    let end = after.find('}').unwrap_or(after.len());
    format!("{before}\"last\":…{}", without_last_address(&after[end..]))
}

/// The rows of a query, each as one line.
fn rows(db: &rusqlite::Connection, query: &str) -> Vec<String> {
    let mut statement = db.prepare(query).expect("prepare a query");
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let value = |nth| row.get_ref(nth).map(|value| text(&value));
        (0..columns).map(value).collect::<Result<Vec<_>, _>>().map(|values| values.join(" "))
    };
    statement.query_map([], row).expect("query").flatten().collect()
}

fn text(value: &rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}
