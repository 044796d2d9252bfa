//! Random changes in a mounted overlay, and in a copy of a tree: what was written becomes a layer, and
//! that layer on the same parent elsewhere is the same tree again.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use diff::{Limits, Options, Origin, Whiteouts};
use snapshot::{Mounts, Snapshotter as _};
use testkit::{Catalogue, Disk, catalogue, differences};

use crate::actor::Actor;
use crate::generate::{self, Dice, Format};
use crate::{Scratch, unpack};

pub(crate) fn options(below: &[PathBuf], whiteouts: Whiteouts) -> Options<'_> {
    Options { origin: Origin::Layer, below, whiteouts, limits: Limits::default() }
}

/// What an overlay of these shows, lowest last.
pub(crate) fn shown(stack: &[PathBuf]) -> Catalogue {
    let mounted = mount::overlay(stack, None, &[]).unwrap();
    sorted_out(catalogue(&PathBuf::from(format!(
        "/proc/{}/fd/{}/.",
        std::process::id(),
        mounted.as_raw_fd()
    ))))
}

/// Without what a layer does not hold: sockets, holes, and the root, which the snapshot makes.
pub(crate) fn sorted_out(mut all: Catalogue) -> Catalogue {
    all.retain(|path, one| one.kind != 's' && !path.as_os_str().is_empty());
    for one in all.values_mut() {
        one.data.clear();
    }
    all
}

pub(crate) fn count() -> u64 {
    std::env::var("DHOW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A tree to begin with, and another layer that hides some of it.
fn parent(dice: &mut Dice, root: &Path) {
    let mut nodes = generate::nodes(dice, Format::Pax, 60);
    // Holes are zeros in a layer that is written.
    for (map, size) in nodes.iter_mut().filter_map(|node| node.sparse.as_mut()) {
        *size = map.last().map_or(0, |(at, len)| at + len) + 10_000;
    }
    let archive = generate::archive(dice, Format::Pax, &nodes);
    unpack(&archive, root).unwrap();
}

#[test]
fn what_was_changed_in_an_overlay_is_the_same_elsewhere() {
    testkit::needs!(Root, Overlay);
    for seed in 0..count() {
        let home = Scratch::new(&format!("overlay-{seed}"));
        let mut dice = Dice::new(seed + 5000);
        let (lower, upper, work) = (home.dir("lower"), home.dir("upper"), home.dir("work"));
        parent(&mut dice, &lower);
        let mounted =
            mount::overlay(std::slice::from_ref(&lower), Some((&upper, &work)), &[]).unwrap();
        let root =
            PathBuf::from(format!("/proc/{}/fd/{}/.", std::process::id(), mounted.as_raw_fd()));
        let mut actor = Actor { dice: &mut dice, root: root.clone(), log: Vec::new() };
        for _ in 0..60 {
            actor.act();
        }
        let log = actor.log.join("\n");
        let wanted = sorted_out(catalogue(&root));
        drop(mounted);

        let mut packed = Vec::new();
        diff::pack(&upper, std::slice::from_ref(&lower), &mut packed)
            .unwrap_or_else(|error| panic!("{seed}: {error}\n{log}"));
        assert!(!contains(&packed, b"overlay."), "{seed}: an attribute of overlayfs\n{log}");
        let mut again = Vec::new();
        diff::pack(&upper, std::slice::from_ref(&lower), &mut again).unwrap();
        assert_eq!(packed, again, "{seed}: the same tree gives the same bytes");

        // As a layer of an overlay.
        let layer = home.dir("layer");
        let below = [lower.clone()];
        diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
        let found = differences(&wanted, &shown(&[layer.clone(), lower.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}\n{log}", found.join("\n"));
        // What it is packed to is what it came from.
        let mut once_more = Vec::new();
        diff::pack(&layer, std::slice::from_ref(&lower), &mut once_more).unwrap();
        assert!(once_more == packed, "{seed}: packed again it is another layer\n{log}");
        // In a whole tree.
        let found = differences(&wanted, &laid_over(&home, &lower, &packed));
        assert!(found.is_empty(), "whole {seed}:\n{}\n{log}", found.join("\n"));
    }
}

/// A layer on a whole tree.
pub(crate) fn laid_over(home: &Scratch, below: &Path, packed: &[u8]) -> Catalogue {
    let (changes, whole) = (home.dir("changes"), home.dir("whole"));
    let paths = [below.to_path_buf()];
    diff::apply(&mut { packed }, &changes, &options(&paths, Whiteouts::Files)).unwrap();
    tree::copy(below, &whole, tree::Files::Copy).unwrap();
    tree::merge(&changes, &whole).unwrap();
    sorted_out(catalogue(&whole))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn what_was_changed_in_a_copy_is_the_same_elsewhere() {
    testkit::needs!(Root, Overlay);
    for seed in 0..count() {
        let home = Scratch::new(&format!("copy-{seed}"));
        let mut dice = Dice::new(seed + 9000);
        let (before, now) = (home.dir("before"), home.dir("now"));
        parent(&mut dice, &before);
        tree::copy(&before, &now, tree::Files::Copy).unwrap();
        let mut actor = Actor { dice: &mut dice, root: now.clone(), log: Vec::new() };
        for _ in 0..60 {
            actor.act();
        }
        let log = actor.log.join("\n");
        let wanted = sorted_out(catalogue(&now));
        let what = tree::Compare { before: Some(&before), now: &now, since: None, ignored: None };
        let changes = tree::compare(&what).unwrap();
        let mut packed = Vec::new();
        diff::pack_changes(&now, &changes, &mut packed).unwrap();

        let layer = home.dir("layer");
        let below = [before.clone()];
        diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
        let found = differences(&wanted, &shown(&[layer, before.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}\n{log}", found.join("\n"));
        let found = differences(&wanted, &laid_over(&home, &before, &packed));
        assert!(found.is_empty(), "whole {seed}:\n{}\n{log}", found.join("\n"));
    }
}

/// What the engine does on btrfs: a snapshot of a layer, changed, and compared by what was touched since.
#[test]
fn what_was_changed_on_btrfs_is_the_same_elsewhere() {
    testkit::needs!(Root, Overlay, Btrfs);
    let disk = Disk { kind: "btrfs", mkfs: &[], options: "noatime", size: 512 };
    if disk.again("changes::what_was_changed_on_btrfs_is_the_same_elsewhere").is_none() {
        return;
    }
    for seed in 0..count() {
        let home = Scratch::new(&format!("btrfs-{seed}"));
        let mut dice = Dice::new(seed + 13_000);
        let store = snapshot_btrfs::open(&home.dir("store")).unwrap();
        let unpacking = store.begin(&[]).unwrap();
        parent(&mut dice, &unpacking.path());
        let chain = oci::ChainId(oci::Digest::sha256(b"layer"));
        store.commit(unpacking, &chain).unwrap();
        let key = "a".parse().unwrap();
        let mounts = store.prepare(&key, std::slice::from_ref(&chain)).unwrap();
        let Mounts::Directory { root: now, before: Some(before), since } = mounts else {
            panic!("{mounts:?}");
        };
        let mut actor = Actor { dice: &mut dice, root: now.clone(), log: Vec::new() };
        for _ in 0..60 {
            actor.act();
        }
        let log = actor.log.join("\n");
        let wanted = sorted_out(catalogue(&now));
        let what =
            tree::Compare { before: Some(&before), now: &now, since: Some(since), ignored: None };
        let changes = tree::compare(&what).unwrap();
        let mut packed = Vec::new();
        diff::pack_changes(&now, &changes, &mut packed).unwrap();

        let layer = home.dir("layer");
        let below = [before.clone()];
        diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
        let found = differences(&wanted, &shown(&[layer, before.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}\n{log}", found.join("\n"));
        let found = differences(&wanted, &laid_over(&home, &before, &packed));
        assert!(found.is_empty(), "whole {seed}:\n{}\n{log}", found.join("\n"));
        assert!(store.remove(&key).unwrap());
        store.remove_layer(&chain).unwrap();
    }
}

/// Every name is a name.
#[test]
fn odd_names_are_hidden_too() {
    testkit::needs!(Root, Overlay);
    let home = Scratch::new("odd-names");
    let (lower, upper, work) = (home.dir("lower"), home.dir("upper"), home.dir("work"));
    let names: [&[u8]; 5] = [b"\xff\xfe", b"a\nb", &[b'n'; 255], &[b'm'; 252], b"wh"];
    for name in names {
        let dir = lower.join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("inside"), "x").unwrap();
    }
    let mounted = mount::overlay(std::slice::from_ref(&lower), Some((&upper, &work)), &[]).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
    for name in names {
        fs::remove_dir_all(root.join(OsStr::from_bytes(name))).unwrap();
    }
    drop(mounted);
    let mut packed = Vec::new();
    assert_eq!(diff::pack(&upper, std::slice::from_ref(&lower), &mut packed).unwrap().n_entries, 5);
    assert_eq!(laid_over(&home, &lower, &packed).len(), 0);
    let layer = home.dir("layer");
    let below = [lower.clone()];
    diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
    assert_eq!(shown(&[layer, lower]).len(), 0);
}
