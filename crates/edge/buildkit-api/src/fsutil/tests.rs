//! Transfers between the two sides, and senders that are up to no good.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use docker::mode::{DIRECTORY, FIFO, LINK};
use dockerfile::ignore::Patterns;
use prost::Message as _;

use super::told::{METADATA, Receiving};
use super::{Error, Received, Receiver, Sender, packet};

/// A folder that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-fsutil-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("in/state")).unwrap();
        fs::create_dir_all(path.join("out")).unwrap();
        fs::write(path.join("canary"), "alive").unwrap();
        Self(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn told(path: &str, mode: u32, link: &str, size: i64) -> Packet {
    let (path, linkname) = (path.into(), link.into());
    let stat =
        Stat { path, mode, linkname, size, mod_time: 1_700_000_000_123_456_789, ..Stat::default() };
    Packet { stat: Some(stat), ..packet(PacketType::PacketStat, 0) }
}

fn file(path: &str, size: i64) -> Packet {
    told(path, 0o644, "", size)
}

fn data(id: u32, bytes: &str) -> Packet {
    Packet { data: bytes.to_owned().into(), ..packet(PacketType::PacketData, id) }
}

fn end() -> Packet {
    packet(PacketType::PacketStat, 0)
}

fn take_all(into: &Path, packets: Vec<Packet>) -> Result<Option<Received>, Error> {
    let mut receiver = Receiver::new(into)?;
    for packet in packets {
        receiver.take(packet)?;
    }
    Ok(receiver.received())
}

/// Sends one folder to the other, as the two sides of a connection do.
fn transfer(from: &Path, to: &Path, subdir: &str) -> Received {
    let tree = build::SentTree { root: from.into(), subdir: subdir.into() };
    let mut sender = Sender::new(&[tree]).unwrap();
    let mut receiver = Receiver::new(to).unwrap();
    let mut packets = Vec::new();
    sender
        .walk(&mut |packet| {
            packets.push(packet);
            true
        })
        .unwrap();
    loop {
        let mut asked = Vec::new();
        for packet in std::mem::take(&mut packets) {
            asked.extend(receiver.take(packet).unwrap());
        }
        for question in asked {
            if question.r#type == i32::from(PacketType::PacketFin) {
                return receiver.received().unwrap();
            }
            sender
                .send(question.id, &mut |packet| {
                    packets.push(packet);
                    true
                })
                .unwrap();
        }
    }
}

fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, dir: &Path, out: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let what = if stat.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if stat.is_dir() {
                walk(root, &path, out);
                format!("{:o} {}", stat.mode(), stat.mtime_nsec())
            } else if stat.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                format!("{:o} {} {} {text}", stat.mode(), stat.mtime_nsec(), stat.nlink())
            } else {
                format!("{:o}", stat.mode())
            };
            out.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

/// Several trees arrive as one, in the order that receivers want.
#[test]
fn trees_arrive_as_one() {
    let folder = Folder::new("trees");
    let (one, other) = (folder.at("out/one"), folder.at("out/other"));
    for (tree, files) in [(&one, ["a/x", "c"]), (&other, ["a/b/y", "a-"])] {
        for file in files {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }
    let sent = |subdirs: [&str; 2]| {
        let trees = [&one, &other].into_iter().zip(subdirs);
        let trees: Vec<_> = trees
            .map(|(root, subdir)| build::SentTree { root: root.clone(), subdir: subdir.into() })
            .collect();
        let into = folder.at(&format!("in/{}", subdirs.join("-")));
        fs::create_dir_all(&into).unwrap();
        let mut sender = Sender::new(&trees).unwrap();
        let mut receiver = Receiver::new(&into).unwrap();
        let (mut asked, mut packets) = (Vec::new(), Vec::new());
        let told = sender.walk(&mut |packet| {
            asked.extend(receiver.take(packet).unwrap());
            true
        });
        told.unwrap();
        for question in asked.iter().filter(|one| one.r#type == i32::from(PacketType::PacketReq)) {
            let answered = sender.send(question.id, &mut |packet| {
                packets.push(packet);
                true
            });
            answered.unwrap();
        }
        for packet in packets {
            receiver.take(packet).unwrap();
        }
        assert!(receiver.received().is_some());
        let all = tree(&into);
        let files = all.into_iter().filter(|(_, what)| !what.starts_with('4'));
        files.map(|(path, what)| format!("{path}={}", what.rsplit(' ').next().unwrap())).collect()
    };
    let files: Vec<String> = sent(["", ""]);
    assert_eq!(files, ["a-=a-", "a/b/y=a/b/y", "a/x=a/x", "c=c"]);
    let files: Vec<String> = sent(["p", "o"]);
    assert_eq!(files, ["o/a-=a-", "o/a/b/y=a/b/y", "p/a/x=a/x", "p/c=c"]);
}

#[test]
fn a_tree_arrives_as_it_is_and_then_only_what_changed() {
    let folder = Folder::new("tree");
    let (from, to) = (folder.at("out"), folder.at("in"));
    for dir in ["a/b", "a.b", "empty", "z"] {
        fs::create_dir_all(from.join(dir)).unwrap();
    }
    fs::write(from.join("a/b/file"), "one").unwrap();
    fs::write(from.join("a.b/file"), "two").unwrap();
    fs::write(from.join("a/none"), "").unwrap();
    fs::write(from.join("z/big"), "x".repeat(100_000)).unwrap();
    fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(from.join("a/b/file"), from.join("z/link")).unwrap();
    symlink("../../canary", from.join("z/out")).unwrap();
    let first = transfer(&from, &to, "");
    assert_eq!(tree(&to), tree(&from));
    assert_eq!((first.n_files, first.n_bytes_sent), (5, 100_006));

    fs::write(from.join("a.b/file"), "three").unwrap();
    fs::remove_dir_all(from.join("empty")).unwrap();
    fs::write(from.join("empty"), "a file now").unwrap();
    fs::remove_file(from.join("a/none")).unwrap();
    fs::create_dir(from.join("a/none")).unwrap();
    let second = transfer(&from, &to, "");
    assert_eq!(tree(&to), tree(&from));
    // One of the names of a file comes anew: the other could have changed it.
    assert_eq!(second.n_bytes_sent, 5 + 10 + 3);
    fs::remove_file(from.join("z/link")).unwrap();
    transfer(&from, &to, "");
    assert_eq!(transfer(&from, &to, "").n_bytes_sent, 0);
}

#[test]
fn a_tree_can_go_in_a_directory() {
    let folder = Folder::new("subdir");
    fs::write(folder.at("out/file"), "x").unwrap();
    transfer(&folder.at("out"), &folder.at("in"), "linux_amd64");
    assert_eq!(fs::read_to_string(folder.at("in/linux_amd64/file")).unwrap(), "x");
}

/// What was broken off is not taken for whole the next time.
#[test]
fn half_a_file_is_none() {
    let folder = Folder::new("half");
    let into = folder.at("in");
    take_all(&into, vec![file("a", 6), data(0, "abc")]).unwrap();
    let mut receiver = Receiver::new(&into).unwrap();
    let asked = receiver.take(file("a", 6)).unwrap().unwrap();
    assert_eq!(asked.r#type, i32::from(PacketType::PacketReq));
    receiver.take(end()).unwrap();
    receiver.take(data(0, "abcdef")).unwrap();
    receiver.take(data(0, "")).unwrap();
    assert_eq!(fs::read_to_string(into.join("a")).unwrap(), "abcdef");
}

/// Security row H11: whatever a sender says, nothing outside changes, and nothing panics.
#[test]
fn a_hostile_sender_gets_nowhere() {
    let dir = |path: &str| told(path, DIRECTORY | 0o755, "", 0);
    let link = |path: &str, target: &str| told(path, LINK | 0o777, target, 0);
    let deep: Vec<_> = (1..300).map(|n| dir(&"d/".repeat(n)[..n * 2 - 1])).collect();
    let crowd = (0..40).map(|n| file(&format!("f{n:02}"), 5));
    let crowd: Vec<_> = crowd.chain((0..40).map(|n| data(n, "x"))).collect();
    for (what, packets) in [
        ("an absolute path", vec![file("/canary", 1)]),
        ("a path that leads out", vec![file("../canary", 1)]),
        ("a path that leads out later", vec![dir("a"), file("a/../../canary", 1)]),
        ("an unclean path", vec![dir("a"), file("a//b", 1)]),
        ("a zero byte", vec![file("a\0b", 1)]),
        ("an empty path", vec![file("", 1)]),
        ("no directory", vec![file("a/b", 1)]),
        ("through a link", vec![link("a", ".."), file("a/canary", 1)]),
        (
            "a link in the place of a directory",
            vec![dir("a"), link("a", ".."), file("a/canary", 1)],
        ),
        ("the same twice", vec![file("a", 1), file("a", 1)]),
        ("out of order", vec![file("b", 1), file("a", 1)]),
        ("back again", vec![dir("a"), file("b", 1), file("a/c", 1)]),
        ("less than nothing", vec![file("a", -1)]),
        ("bytes for nobody", vec![data(7, "x")]),
        ("bytes for a directory", vec![dir("a"), data(0, "x")]),
        ("bytes after the end", vec![file("a", 1), data(0, "x"), data(0, ""), data(0, "x")]),
        ("a device", vec![told("a", 1 << 26, "", 0)]),
        ("two kinds at once", vec![told("a", DIRECTORY | LINK, "", 0)]),
        ("a link to nothing", vec![link("a", "")]),
        ("a name of what is outside", vec![told("a", 0o644, "../canary", 0)]),
        ("a name of an absolute path", vec![told("a", 0o644, "/etc/passwd", 0)]),
        ("a name of what comes later", vec![told("a", 0o644, "b", 0), end()]),
        ("a name of a directory", vec![dir("a"), told("b", 0o644, "a", 0), end()]),
        ("a name through a link", vec![link("a", ".."), told("b", 0o644, "a/canary", 0), end()]),
        ("a name of nothing", vec![told("b", 0o644, "a", 0), end()]),
        ("an unknown packet", vec![Packet { r#type: 99, ..Packet::default() }]),
        ("a question", vec![packet(PacketType::PacketReq, 0)]),
        ("more after the end", vec![end(), file("a", 1)]),
        ("its own error", vec![packet(PacketType::PacketErr, 0)]),
        ("too deep", deep),
        ("too many at once", crowd),
    ] {
        let folder = Folder::new("hostile");
        let result = take_all(&folder.at("in"), packets);
        assert!(result.is_err(), "{what}: {result:?}");
        assert_eq!(fs::read_to_string(folder.at("canary")).unwrap(), "alive", "{what}");
        let names = fs::read_dir(&folder.0).unwrap().count();
        assert_eq!(names, 3, "{what}: something is beside the directory");
    }
}

#[test]
fn links_are_links_whereto_they_lead() {
    let folder = Folder::new("links");
    let into = folder.at("in");
    let packets = vec![
        told("a", LINK | 0o777, "../canary", 0),
        told("b", LINK | 0o777, "/etc/passwd", 0),
        told("c", FIFO | 0o600, "", 0),
        end(),
    ];
    assert!(take_all(&into, packets).unwrap().is_some());
    // What was a link is a file now, and what it led to is as it was.
    let packets = vec![file("a", 4), end(), data(0, "evil"), data(0, "")];
    assert!(take_all(&into, packets).unwrap().is_some());
    assert_eq!(fs::read_to_string(folder.at("canary")).unwrap(), "alive");
    assert_eq!(fs::read_to_string(into.join("a")).unwrap(), "evil");
    assert!(!into.join("b").is_symlink() && !into.join("state").exists());
}

/// A file that grows while it is sent is what was told of.
#[test]
fn more_bytes_than_told_are_none() {
    let folder = Folder::new("more");
    let packets = vec![file("a", 3), end(), data(0, "abcdef"), data(0, "ghi"), data(0, "")];
    take_all(&folder.at("in"), packets).unwrap();
    assert_eq!(fs::read_to_string(folder.at("in/a")).unwrap(), "abc");
}

/// Attributes that would mean something to the file system below are not taken.
#[test]
fn attributes_of_overlays_are_left_out() {
    let folder = Folder::new("xattrs");
    let mut packet = file("a", 0);
    let keys = ["trusted.overlay.opaque", "user.overlay.opaque", "user.mine", "security.evm"];
    let all = keys.map(|key| (key.to_owned(), b"y".to_vec()));
    packet.stat.as_mut().unwrap().xattrs = all.into();
    take_all(&folder.at("in"), vec![packet, end()]).unwrap();
    let path = folder.at("in/a");
    let mut list = [0_u8; 256];
    let n = rustix::fs::listxattr(&path, &mut list[..]).unwrap();
    let list = String::from_utf8_lossy(&list[..n]).into_owned();
    assert!(!list.contains("overlay") && !list.contains("evm"), "{list:?}");
}

#[test]
fn of_what_is_not_wanted_no_more_comes_than_what_is_told() {
    let folder = Folder::new("told");
    let into = folder.at("in");
    fs::write(into.join(METADATA), "old").unwrap();
    let files = Patterns::new(&["d/**/*1", "foo"]).unwrap();
    let mut receiver = Receiving::new(&into, Some(files)).unwrap();
    let directory = |path: &str| told(path, DIRECTORY | 0o755, "", 0);
    let all = [
        file(METADATA, 9),
        directory("d"),
        file("d/a1", 2),
        directory("d/e"),
        file("d/e/b2", 2),
        directory("d/f"),
        file("d/f/c1", 2),
        file("data", 4),
        file("foo", 3),
        end(),
    ];
    let mut asked = Vec::new();
    for packet in all {
        asked.extend(receiver.take(packet).unwrap().map(|one| one.id));
    }
    assert_eq!(asked, [2, 6, 8]);
    for (id, text) in [(2, "a1"), (6, "c1"), (8, "foo")] {
        receiver.take(data(id, text)).unwrap();
        receiver.take(data(id, "")).unwrap();
    }
    assert!(receiver.take(data(7, "x")).is_err(), "nobody has asked for it");
    assert_eq!(receiver.received().unwrap().n_files, 3);
    assert_eq!(fs::read_to_string(into.join("d/f/c1")).unwrap(), "c1");
    assert!(!into.join("data").exists() && !into.join("d/e").exists());
    let told = fs::read(into.join(METADATA)).unwrap();
    let (mut rest, mut paths) = (told.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (one, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        paths.push(String::from_utf8(Stat::decode(one).unwrap().path).unwrap());
        rest = after;
    }
    assert_eq!(paths, ["d", "d/a1", "d/e", "d/e/b2", "d/f", "d/f/c1", "data", "foo"]);
}
