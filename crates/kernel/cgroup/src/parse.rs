//! What the kernel's files say. Pure: text in, values out.
//!
//! Every one of these takes any text at all. What is not of the form that the kernel documents is
//! left out, so that a line of a newer kernel costs itself and nothing else; none of them panics,
//! and none takes more memory than a small multiple of what it is given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::resources::Limit;
use crate::stats::{BlockEntry, Pressure, PressureLine};
use crate::tree::Version;

/// A line of mountinfo that is a cgroup tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Whether it is v2's.
    pub v2: bool,
    /// Major and minor number of its superblock.
    pub device: (u32, u32),
    /// What of the tree is mounted there: `/` unless it is a part.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// v1: its controllers, and `name=NAME` of a named tree; from the superblock's options.
    pub controllers: Vec<String>,
}

impl Mounted {
    pub(crate) fn version(&self) -> Version {
        if self.v2 { Version::V2 } else { Version::V1 }
    }
}

/// The cgroup trees in a mountinfo: `proc_pid_mountinfo(5)`.
pub fn mountinfo(text: &[u8]) -> Vec<Mounted> {
    mount::mountinfo::mounts(text).filter_map(|line| mounted(&line)).collect()
}

fn mounted(line: &mount::mountinfo::Mounted<'_>) -> Option<Mounted> {
    let v2 = match line.kind {
        b"cgroup" => false,
        b"cgroup2" => true,
        _ => return None,
    };
    let controllers = if v2 {
        Vec::new()
    } else {
        let options = String::from_utf8_lossy(line.super_options);
        options.split(',').filter(|option| is_controller(option)).map(str::to_owned).collect()
    };
    Some(Mounted { v2, device: line.device, root: line.root(), point: line.point(), controllers })
}

/// Whether an option of a v1 superblock names a controller or a tree, rather than a behaviour.
fn is_controller(option: &str) -> bool {
    let behaviour =
        ["", "rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "seclabel"];
    !behaviour.contains(&option)
        && !option.starts_with("release_agent=")
        && !option.starts_with("favordynmods")
        && !option.starts_with("nofavordynmods")
}

/// A line of `/proc/PID/cgroup`: cgroups(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// v1: the tree's controllers. Empty: the v2 tree.
    pub controllers: Vec<String>,
    /// The process's cgroup, from the root of its cgroup namespace: absolute, and with `..` where
    /// it is outside.
    pub path: String,
    /// Whether the cgroup was removed and the process is a zombie or on its way out.
    pub deleted: bool,
}

/// The places of a process, from its `/proc/PID/cgroup`.
pub fn membership(text: &str) -> Vec<Membership> {
    let line = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if !path.starts_with('/') {
            return None;
        }
        let (path, deleted) = match path.strip_suffix(" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let controllers =
            controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Membership { controllers, path: path.to_owned(), deleted })
    };
    // A name may end in `\r`, which `lines` would take for a part of the line's end.
    text.split('\n').filter_map(line).collect()
}

/// The process ids in `cgroup.procs`. 0 stands for a process that this PID namespace does not see,
/// and is left out.
pub fn pids(text: &str) -> Vec<i32> {
    let pid = |line: &str| line.trim().parse::<i32>().ok().filter(|pid| *pid > 0);
    text.lines().filter_map(pid).collect()
}

/// A file of words: `cgroup.controllers`, `cgroup.subtree_control`.
pub fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A file with one number.
pub fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file with one limit: a number, or `max`; v1 writes -1 in some.
pub fn limit(text: &str) -> Option<Limit> {
    match text.trim() {
        "max" | "-1" => Some(Limit::Max),
        other => other.parse().ok().map(Limit::At),
    }
}

/// A size of v1's memory controller, where unlimited is the largest signed number, rounded down to
/// a page (which is at most 64 KiB).
pub fn size_v1(text: &str) -> Option<Limit> {
    match limit(text)? {
        Limit::At(bytes) if bytes >= i64::MAX as u64 - 0xffff => Some(Limit::Max),
        other => Some(other),
    }
}

/// `cpu.max`: the quota, and the period in microseconds.
pub fn cpu_max(text: &str) -> Option<(Limit, u64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some((limit(quota)?, number(period)?))
}

/// Flat keyed files: lines `KEY NUMBER`. Of a key that is there twice, the last counts.
pub fn flat(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), number(value)?))
    };
    text.lines().filter_map(pair).collect()
}

/// Nested keyed files: lines `KEY SUB=LIMIT SUB=LIMIT...`, in their order.
pub fn nested(text: &str) -> Vec<(String, BTreeMap<String, Limit>)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let key = words.next()?.to_owned();
        let pair = |word: &str| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), limit(value)?))
        };
        Some((key, words.filter_map(pair).collect()))
    };
    text.lines().filter_map(line).collect()
}

/// A device number, `MAJOR:MINOR`.
pub fn device(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// v1's blkio: lines `MAJOR:MINOR OPERATION NUMBER` or `MAJOR:MINOR NUMBER` (no operation then). A
/// total over all devices is left out.
pub fn blkio(text: &str) -> Vec<BlockEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let second = words.next()?;
        let (operation, value) = match words.next() {
            Some(value) => (second.to_owned(), value),
            None => (String::new(), second),
        };
        Some(BlockEntry { major, minor, operation, value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// v2's `io.stat`: lines `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...`, as bytes and as
/// operations.
pub fn io_stat(text: &str) -> (Vec<BlockEntry>, Vec<BlockEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlockEntry { major, minor, operation: operation.to_owned(), value });
        }
    }
    (bytes, operations)
}

/// v1's `cpuacct.usage_all`: a line `cpu user system`, then the processors in order. User and
/// system, in nanoseconds; a gap in the processors' numbers is filled with zeros.
pub fn usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    /// More than any kernel can have (`NR_CPUS` is at most 8192).
    const MOST: usize = 1 << 14;
    let (mut user, mut system) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(cpu)), Some(Ok(in_user)), Some(Ok(in_system))) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(cpu) = usize::try_from(cpu) else { continue };
        if cpu >= MOST {
            continue;
        }
        let longest = user.len().max(cpu + 1);
        user.resize(longest, 0);
        system.resize(longest, 0);
        (user[cpu], system[cpu]) = (in_user, in_system);
    }
    (user, system)
}

/// A pressure file: lines `some avg10=P avg60=P avg300=P total=MICROSECONDS`, and `full`. `None`
/// where not even `some` is there.
pub fn pressure(text: &str) -> Option<Pressure> {
    let (mut some, mut full) = (None, None);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let place = match words.next() {
            Some("some") => &mut some,
            Some("full") => &mut full,
            _ => continue,
        };
        let mut found = PressureLine::default();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let percent = || value.parse::<f64>().ok().filter(|p| p.is_finite()).unwrap_or(0.0);
            match key {
                "avg10" => found.avg10 = percent(),
                "avg60" => found.avg60 = percent(),
                "avg300" => found.avg300 = percent(),
                "total" => found.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        *place = Some(found);
    }
    Some(Pressure { some: some?, full: full.unwrap_or_default() })
}

/// A list of processors or memory nodes: `0-3,7`, also with spaces and empty parts, as the kernel
/// takes them. `None` for what is no list, has a range that runs backwards, or a number above 65535.
pub fn list(text: &str) -> Option<Vec<u16>> {
    let mut all = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (plain(first)?, plain(last)?);
        if first > last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all.into_iter().collect())
}

/// Decimal digits and nothing else.
fn plain(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The page size in the name of a directory of `/sys/kernel/mm/hugepages`, as the files of a
/// cgroup have it: `2MB` of `hugepages-2048kB`.
pub fn hugepage_size(name: &str) -> Option<String> {
    let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0x10_0000.. => format!("{}GB", kib >> 20),
        0x400.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
