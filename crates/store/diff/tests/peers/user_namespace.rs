//! As an ordinary user, in a user namespace: with the ids of `/etc/subuid`, and with one's own alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::{Catalogue, catalogue, differences};

use crate::generate::{self, CAPABILITY, Dice, Format, Node};
use crate::{Scratch, unpack};

/// Where the child finds what it has to do.
const WORK: &str = "DHOW_TEST_WORK";
/// The first of the ids outside.
const FIRST: u32 = 400_000;
const COUNT: u32 = 70_001;

/// The child half of the tests below: unpacks, and says what went wrong.
#[test]
fn child_that_unpacks() {
    let Some(work) = std::env::var_os(WORK) else { return };
    let work = Path::new(&work);
    let said = match unpack(&std::fs::read(work.join("archive")).unwrap(), &work.join("root")) {
        Ok(_) => "done".to_owned(),
        Err(error) => {
            let source = std::error::Error::source(&error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    };
    std::fs::write(work.join("said"), said).unwrap();
}

/// Unpacks in a user namespace of `count` ids. What it said.
fn in_a_namespace(work: &Path, archive: &[u8], count: u32) -> String {
    std::fs::write(work.join("archive"), archive).unwrap();
    let _ = std::fs::remove_dir_all(work.join("root"));
    std::fs::create_dir(work.join("root")).unwrap();
    for name in ["", "root"] {
        std::os::unix::fs::chown(work.join(name), Some(FIRST), Some(FIRST)).unwrap();
    }
    // It holds the namespace, until its standard input ends.
    let mut holder = Command::new("unshare")
        .args(["--user", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let proc = format!("/proc/{}", holder.id());
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    testkit::wait_until("the holder has its user namespace", || {
        std::fs::read_link(format!("{proc}/ns/user")).is_ok_and(|namespace| namespace != own)
    });
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("{proc}/{map}"), format!("0 {FIRST} {count}")).unwrap();
    }
    let ran = Command::new("nsenter")
        .args(["--user", "--target", &holder.id().to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "user_namespace::child_that_unpacks"])
        .env(WORK, work)
        .output()
        .unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    std::fs::read_to_string(work.join("said")).unwrap()
}

/// What there is outside of a tree that root would make, as the namespace has it.
fn as_seen_outside(mut all: Catalogue) -> Catalogue {
    all.retain(|_, one| !matches!(one.kind, 'c' | 'b'));
    let shift = |bytes: &mut [u8]| {
        let id = u32::from_le_bytes(bytes.try_into().unwrap()) + FIRST;
        bytes.copy_from_slice(&id.to_le_bytes());
    };
    for one in all.values_mut() {
        one.owner = (one.owner.0 + FIRST, one.owner.1 + FIRST);
        one.xattrs.retain(|name, _| !name.starts_with("trusted."));
        for (name, value) in &mut one.xattrs {
            if name == "security.capability" {
                // Version 3: whose root it is that has it.
                value[3] = 3;
                value.extend_from_slice(&FIRST.to_le_bytes());
            }
            if name.starts_with("system.posix_acl_") {
                for entry in value[4..].chunks_mut(8).filter(|entry| entry[4..] != [0xff; 4]) {
                    shift(&mut entry[4..]);
                }
            }
        }
    }
    all
}

#[test]
fn with_subordinate_ids_all_is_as_root_makes_it() {
    testkit::needs!(Root, UserNamespace);
    let home = Scratch::new("subordinate");
    let mut dice = Dice::new(7);
    let mut nodes = generate::nodes(&mut dice, Format::Pax, 150);
    for node in &mut nodes {
        node.owner = (node.owner.0 % 65_536, node.owner.1 % 65_536);
    }
    let archive = generate::archive(&mut dice, Format::Pax, &nodes);
    let said = in_a_namespace(&home.0, &archive, COUNT);
    assert_eq!(said, "done");
    let ours = home.dir("ours");
    unpack(&archive, &ours).unwrap();
    let whole = catalogue(&ours);
    let kinds: BTreeMap<char, usize> = whole.values().fold(BTreeMap::new(), |mut all, one| {
        *all.entry(one.kind).or_default() += 1;
        all
    });
    assert!(kinds.len() >= 5, "{kinds:?}");
    assert!(whole.values().any(|one| one.xattrs.contains_key("security.capability")));
    assert!(whole.values().any(|one| one.xattrs.contains_key("trusted.t")));
    let found = differences(&as_seen_outside(whole), &catalogue(&home.0.join("root")));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn one(path: &str, owner: u32) -> Node {
    let (path, data) = (path.into(), b"x".to_vec());
    Node { path, kind: b'0', mode: 0o4755, owner: (owner, owner), data, ..Node::default() }
}

#[test]
fn with_one_id_the_archive_is_ones_own_or_refused() {
    testkit::needs!(Root, UserNamespace);
    let home = Scratch::new("single");
    let mut dice = Dice::new(1);
    let mut own = one("own", 0);
    own.xattrs.insert("trusted.t", b"t".to_vec());
    own.xattrs.insert("security.other", b"s".to_vec());
    let device = Node { kind: b'3', device: (1, 3), data: Vec::new(), ..one("dev", 0) };
    let mut capable = one("capable", 0);
    capable.xattrs.insert("security.capability", CAPABILITY.to_vec());
    let archive = generate::archive(&mut dice, Format::Pax, &[own, device, capable]);
    assert_eq!(in_a_namespace(&home.0, &archive, 1), "done");
    let all = catalogue(&home.0.join("root"));
    let of = |name: &str| all.get(Path::new(name));
    let own = of("own").unwrap();
    assert_eq!((own.mode, own.owner, own.xattrs.len()), (0o4755, (FIRST, FIRST), 0));
    assert!(of("dev").is_none());
    assert_eq!(of("capable").unwrap().xattrs["security.capability"][3], 3);

    let archive = generate::archive(&mut dice, Format::Pax, &[one("theirs", 33)]);
    let said = in_a_namespace(&home.0, &archive, 1);
    assert!(
        said.contains("entry \"theirs\" has the owner 33:33, whom this user namespace"),
        "{said}"
    );
    assert!(said.contains("/etc/subuid"), "{said}");

    // A capability of version 3 for another root than there is here.
    let mut foreign = one("foreign", 0);
    let mut value = CAPABILITY.to_vec();
    value[3] = 3;
    value.extend_from_slice(&7u32.to_le_bytes());
    foreign.xattrs.insert("security.capability", value);
    let archive = generate::archive(&mut dice, Format::Pax, &[foreign]);
    let said = in_a_namespace(&home.0, &archive, 1);
    assert!(said.starts_with("entry \"foreign\": setxattr"), "{said}");
}

#[test]
fn a_capability_of_a_namespace_is_kept_by_root() {
    testkit::needs!(Root);
    let home = Scratch::new("version-3");
    let mut node = one("file", 0);
    let mut value = CAPABILITY.to_vec();
    value[3] = 3;
    value.extend_from_slice(&FIRST.to_le_bytes());
    node.xattrs.insert("security.capability", value.clone());
    let archive = generate::archive(&mut Dice::new(1), Format::Pax, &[node]);
    let ours = home.dir("ours");
    unpack(&archive, &ours).unwrap();
    let all = catalogue(&ours);
    assert_eq!(all[Path::new("file")].xattrs["security.capability"], value);
}
