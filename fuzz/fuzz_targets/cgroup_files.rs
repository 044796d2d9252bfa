//! The kernel's files about cgroups: any text is read without a panic, and what the kernel writes is
//! read as what it means.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use cgroup::{Limit, parse};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Device {
    major: u32,
    minor: u32,
    values: [u64; 4],
}

#[derive(Arbitrary, Debug)]
struct Tree {
    is_v2: bool,
    device: (u32, u32),
    root: Vec<u8>,
    point: Vec<u8>,
    optional: Vec<u8>,
    controllers: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// A file, whatever it says.
    Text(&'a str),
    /// A mountinfo as the kernel writes it.
    Mounts(Vec<Tree>),
    /// Counts as the kernel writes them.
    Counts { devices: Vec<Device>, cpu: [u64; 6], pids: Vec<i32> },
    /// `/proc/PID/cgroup` as the kernel writes it.
    Membership(Vec<(Vec<u8>, Vec<u8>, bool)>),
    /// A list of processors.
    List(Vec<(u16, u8)>),
}

const CONTROLLERS: [&str; 8] =
    ["cpu", "cpuacct", "memory", "devices", "blkio", "name=systemd", "pids", "net_cls"];

/// As `seq_path` of the kernel writes paths: white space and backslashes as three octal digits.
fn escaped(path: &[u8]) -> String {
    let mut out = String::new();
    for byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out += &format!("\\{byte:03o}"),
            other => out.push(char::from(*other & 0x7f)),
        }
    }
    out
}

fn path(bytes: &[u8]) -> Vec<u8> {
    // The rest of a text is UTF-8 here; no name has a NUL, and \r is no white space to the kernel.
    let plain = |byte: &u8| (byte & 0x7f).max(1);
    [b"/".as_slice(), &bytes.iter().map(plain).collect::<Vec<u8>>()].concat()
}

fn mounts(trees: &[Tree]) {
    let (mut text, mut wanted) = (String::new(), Vec::new());
    for (nth, tree) in trees.iter().enumerate() {
        let (root, point) = (path(&tree.root), path(&tree.point));
        let optional: String =
            tree.optional.iter().take(3).map(|n| format!("shared:{n} ")).collect();
        let controllers = if tree.is_v2 { Vec::new() } else { named(&tree.controllers) };
        let kind = if tree.is_v2 { "cgroup2" } else { "cgroup" };
        let (major, minor) = tree.device;
        let options: String = controllers.iter().map(|name| format!(",{name}")).collect();
        text += &format!(
            "{nth} 1 {major}:{minor} {} {} rw,relatime {optional}- {kind} {kind} rw{options}\n",
            escaped(&root),
            escaped(&point),
        );
        wanted.push(parse::Mounted {
            v2: tree.is_v2,
            device: tree.device,
            root: PathBuf::from(OsString::from_vec(root)),
            point: PathBuf::from(OsString::from_vec(point)),
            controllers,
        });
    }
    assert_eq!(parse::mountinfo(text.as_bytes()), wanted, "{text}");
}

fn named(picks: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for one in picks {
        let name = CONTROLLERS[usize::from(*one) % CONTROLLERS.len()].to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn membership(places: &[(Vec<u8>, Vec<u8>, bool)]) {
    let (mut text, mut wanted) = (String::new(), Vec::new());
    for (nth, (picks, bytes, deleted)) in places.iter().enumerate() {
        // A cgroup's name has no line break; one that ends as a removed one does cannot be told.
        let name: String = path(bytes).iter().map(|byte| char::from(*byte)).collect();
        let path = name.replace('\n', "x");
        if path.ends_with(" (deleted)") {
            return;
        }
        let controllers = named(picks);
        let mark = if *deleted { " (deleted)" } else { "" };
        text += &format!("{nth}:{}:{path}{mark}\n", controllers.join(","));
        wanted.push(parse::Membership { controllers, path, deleted: *deleted });
    }
    assert_eq!(parse::membership(&text), wanted, "{text:?}");
}

fn list(ranges: &[(u16, u8)]) {
    let mut wanted = std::collections::BTreeSet::new();
    let mut words = Vec::new();
    for (first, more) in ranges {
        let last = first.saturating_add(u16::from(*more));
        wanted.extend(*first..=last);
        words.push(if *more == 0 { first.to_string() } else { format!("{first}-{last}") });
    }
    let wanted: Vec<u16> = wanted.into_iter().collect();
    assert_eq!(parse::list(&words.join(",")), Some(wanted), "{words:?}");
}

fn counts(devices: &[Device], cpu: [u64; 6], pids: &[i32]) {
    let mut v1 = String::new();
    let mut v2 = String::new();
    for Device { major, minor, values: [read, write, reads, writes] } in devices {
        v1 += &format!("{major}:{minor} Read {read}\n{major}:{minor} Write {write}\n");
        v2 += &format!("{major}:{minor} rbytes={read} wbytes={write} rios={reads} wios={writes}\n");
    }
    v1 += "Total 7\n";
    let v1 = parse::blkio(&v1);
    let (bytes, operations) = parse::io_stat(&v2);
    assert_eq!(v1, bytes);
    assert_eq!(operations.len(), 2 * devices.len());
    for (pair, device) in bytes.chunks(2).zip(devices) {
        assert_eq!((pair[0].value, pair[1].value), (device.values[0], device.values[1]));
        assert_eq!((pair[1].major, pair[1].minor), (device.major, device.minor));
    }
    let [usage, user, system, periods, throttled, time] = cpu;
    let text = format!(
        "usage_usec {usage}\nuser_usec {user}\nsystem_usec {system}\nnr_periods {periods}\n\
         nr_throttled {throttled}\nthrottled_usec {time}\n"
    );
    let read = parse::flat(&text);
    for (key, value) in [("usage_usec", usage), ("nr_periods", periods), ("throttled_usec", time)] {
        assert_eq!(read.get(key), Some(&value), "{text}");
    }
    let text: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
    let wanted: Vec<i32> = pids.iter().copied().filter(|pid| *pid > 0).collect();
    assert_eq!(parse::pids(&text), wanted);
    assert_eq!(parse::cpu_max(&format!("{user} {system}\n")), Some((Limit::At(user), system)));
    assert_eq!(parse::cpu_max(&format!("max {system}\n")), Some((Limit::Max, system)));
}

/// The fifth words of the lines, with `\\` and three octal digits as the byte that they mean.
fn points(text: &str) -> Vec<PathBuf> {
    let unescaped = |word: &str| {
        let mut out = Vec::new();
        let bytes = word.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let value = match bytes[at..] {
                [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                    at += 4;
                    (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
                }
                _ => {
                    at += 1;
                    bytes[at - 1]
                }
            };
            out.push(value);
        }
        PathBuf::from(OsString::from_vec(out))
    };
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect()
}

fn any(text: &str) {
    for one in parse::mountinfo(text.as_bytes()) {
        assert!(points(text).contains(&one.point), "{:?}", one.point);
        assert!(one.controllers.iter().all(|name| text.contains(name.as_str())));
    }
    for (key, value) in parse::flat(text) {
        assert!(text.contains(&format!("{key} ")), "{key} {value}");
    }
    assert!(parse::membership(text).iter().all(|one| one.path.starts_with('/')));
    assert!(parse::pids(text).iter().all(|pid| *pid > 0));
    parse::blkio(text);
    let (bytes, operations) = parse::io_stat(text);
    assert!(bytes.len() + operations.len() <= text.len());
    let nested = parse::nested(text);
    assert!(nested.iter().map(|(_, pairs)| pairs.len()).sum::<usize>() <= text.len());
    let (user, system) = parse::usage_all(text);
    assert!(user.len() == system.len() && user.len() <= 1 << 14);
    if let Some(pressure) = parse::pressure(text) {
        assert!(pressure.some.avg10.is_finite() && pressure.full.avg300.is_finite());
    }
    if let Some(list) = parse::list(text) {
        assert!(list.is_sorted());
    }
    for line in text.lines() {
        parse::words(line);
        parse::number(line);
        parse::limit(line);
        parse::size_v1(line);
        parse::cpu_max(line);
        parse::device(line);
        parse::hugepage_size(line);
    }
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Text(text) => any(text),
    Input::Mounts(trees) => mounts(&trees),
    Input::Counts { devices, cpu, pids } => counts(&devices, cpu, &pids),
    Input::Membership(places) => membership(&places),
    Input::List(ranges) => list(&ranges),
});
