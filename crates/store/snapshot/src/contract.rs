//! What every snapshotter must hold, executable.
//!
//! An implementation's own tests call [`TRIALS`], each on a root of its own:
//!
//! ```ignore
//! for (name, trial) in snapshot::contract::TRIALS {
//!     let dir = TempDir::new(name);
//!     trial(&|| Box::new(Overlay::open(dir.path()).unwrap()));
//! }
//! ```
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a trial fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use oci::{ChainId, Digest};

use crate::{Error, Form, Key, Mounts, Snapshotter};

/// Opens the store under trial; every call is the same store, as another process would see it.
pub type Open<'a> = &'a dyn Fn() -> Box<dyn Snapshotter>;

/// One trial, which panics when the contract is broken.
pub type Trial = fn(Open<'_>);

/// All of them, with their names.
pub const TRIALS: &[(&str, Trial)] = &[
    ("a_layer_is_seen_whole_or_not_at_all", a_layer_is_seen_whole_or_not_at_all),
    ("layers_of_few_and_of_many_files", layers_of_few_and_of_many_files),
    ("what_is_dropped_leaves_nothing", what_is_dropped_leaves_nothing),
    ("committing_twice_is_fine", committing_twice_is_fine),
    ("snapshots_of_one_chain_share_their_layers", snapshots_of_one_chain_share_their_layers),
    ("a_root_keeps_mode_and_owner", a_root_keeps_mode_and_owner),
    ("a_missing_layer_is_named", a_missing_layer_is_named),
    ("a_key_is_given_once", a_key_is_given_once),
    ("removing_is_idempotent", removing_is_idempotent),
    ("sweeping_spares_the_living", sweeping_spares_the_living),
    ("usage_counts_what_was_written", usage_counts_what_was_written),
    ("layers_of_whole_trees_are_whole", layers_of_whole_trees_are_whole),
    ("a_directory_is_what_its_layers_make", a_directory_is_what_its_layers_make),
    ("a_sealed_snapshot_is_a_layer", a_sealed_snapshot_is_a_layer),
];

fn chain(name: &str) -> ChainId {
    ChainId(Digest::sha256(name.as_bytes()))
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

/// Makes a layer with one file.
fn layer(store: &dyn Snapshotter, below: &[ChainId], name: &str) -> ChainId {
    let unpacking = store.begin(below).unwrap();
    fs::write(unpacking.path().join(name), name).unwrap();
    store.commit(unpacking, &chain(name)).unwrap();
    chain(name)
}

fn a_layer_is_seen_whole_or_not_at_all(open: Open<'_>) {
    let store = open();
    let unpacking = store.begin(&[]).unwrap();
    fs::write(unpacking.path().join("file"), "x").unwrap();
    assert!(!store.has_layer(&chain("a")).unwrap());
    assert!(store.layers().unwrap().is_empty());
    store.commit(unpacking, &chain("a")).unwrap();
    let other = open();
    assert!(other.has_layer(&chain("a")).unwrap());
    assert_eq!(other.layers().unwrap(), [chain("a")]);
    let path = &other.layer_paths(&[chain("a")])[0];
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "x");
}

fn layers_of_few_and_of_many_files(open: Open<'_>) {
    let store = open();
    for n_files in [0, 3, 200] {
        let unpacking = store.begin(&[]).unwrap();
        std::os::unix::fs::symlink("/nowhere", unpacking.path().join("link")).unwrap();
        for n in 0..n_files {
            let dir = unpacking.path().join((n % 3).to_string());
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(n.to_string()), "x").unwrap();
        }
        let name = chain(&n_files.to_string());
        store.commit(unpacking, &name).unwrap();
        let path = &store.layer_paths(&[name])[0];
        assert_eq!(fs::read_dir(path).unwrap().count(), 1 + n_files.min(3));
    }
}

fn what_is_dropped_leaves_nothing(open: Open<'_>) {
    let store = open();
    let unpacking = store.begin(&[]).unwrap();
    let path = unpacking.path();
    fs::create_dir(path.join("dir")).unwrap();
    drop(unpacking);
    assert!(!path.exists());
    assert_eq!(store.sweep().unwrap(), 0);
}

fn committing_twice_is_fine(open: Open<'_>) {
    let store = open();
    let first = store.begin(&[]).unwrap();
    let second = store.begin(&[]).unwrap();
    fs::write(first.path().join("file"), "first").unwrap();
    store.commit(first, &chain("a")).unwrap();
    store.commit(second, &chain("a")).unwrap();
    let path = &store.layer_paths(&[chain("a")])[0];
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "first");
    assert_eq!(store.sweep().unwrap(), 0);
}

fn snapshots_of_one_chain_share_their_layers(open: Open<'_>) {
    let store = open();
    let low = layer(&*store, &[], "low");
    let high = layer(&*store, std::slice::from_ref(&low), "high");
    let layers = [low, high];
    let one = store.prepare(&key("one"), &layers).unwrap();
    let two = store.prepare(&key("two"), &layers).unwrap();
    assert_ne!(one.writable(), two.writable());
    match (&one, &two) {
        (Mounts::Overlay { lower, upper, work }, Mounts::Overlay { lower: other, .. }) => {
            assert_eq!(store.form(), Form::Own);
            assert_eq!(lower, other);
            assert!(lower[0].join("high").exists(), "topmost first");
            assert!(lower[1].join("low").exists());
            assert_eq!(fs::read_dir(upper).unwrap().count(), 0);
            let device = |path| fs::metadata(path).unwrap().dev();
            assert_eq!(device(upper), device(work));
        }
        (Mounts::Directory { root, before, .. }, Mounts::Directory { before: other, .. }) => {
            assert_eq!(store.form(), Form::Whole);
            assert_eq!(before, other);
            assert_eq!(before.as_ref(), store.layer_paths(&layers).last());
            // What is written to one is in no other, and in no layer.
            fs::write(root.join("low"), "mine").unwrap();
            for path in [before.as_deref().unwrap(), two.writable()] {
                assert_eq!(fs::read_to_string(path.join("low")).unwrap(), "low");
                assert!(path.join("high").exists());
            }
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(open().mounts(&key("one"), &layers).unwrap(), one);
    let mut keys = store.keys().unwrap();
    keys.sort();
    assert_eq!(keys, [key("one"), key("two")]);
}

fn a_root_keeps_mode_and_owner(open: Open<'_>) {
    let store = open();
    let unpacking = store.begin(&[]).unwrap();
    fs::set_permissions(unpacking.path(), fs::Permissions::from_mode(0o1711)).unwrap();
    std::os::unix::fs::chown(unpacking.path(), Some(7), Some(8)).unwrap();
    store.commit(unpacking, &chain("low")).unwrap();
    let high = layer(&*store, &[chain("low")], "high");
    let mounts = store.prepare(&key("a"), &[chain("low"), high]).unwrap();
    let top = store.layer_paths(&[chain("high")]);
    for path in [mounts.writable(), &top[0]] {
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o1711, 7, 8));
    }
}

fn a_missing_layer_is_named(open: Open<'_>) {
    let store = open();
    let low = layer(&*store, &[], "low");
    match store.prepare(&key("a"), &[low, chain("missing")]) {
        Err(Error::NoLayer { chain: missing }) => assert_eq!(missing, chain("missing")),
        other => panic!("{other:?}"),
    }
    assert!(store.keys().unwrap().is_empty());
}

fn a_key_is_given_once(open: Open<'_>) {
    let store = open();
    store.prepare(&key("a"), &[]).unwrap();
    assert!(matches!(store.prepare(&key("a"), &[]), Err(Error::Exists { .. })));
    assert!(matches!(store.mounts(&key("b"), &[]), Err(Error::NoSnapshot { .. })));
    assert!(matches!(store.usage(&key("b")), Err(Error::NoSnapshot { .. })));
}

fn removing_is_idempotent(open: Open<'_>) {
    let store = open();
    let low = layer(&*store, &[], "low");
    let mounts = store.prepare(&key("a"), std::slice::from_ref(&low)).unwrap();
    fs::create_dir_all(mounts.writable().join("a/b/c")).unwrap();
    assert!(store.remove(&key("a")).unwrap());
    assert!(!store.remove(&key("a")).unwrap());
    assert!(!mounts.writable().exists());
    assert!(store.remove_layer(&low).unwrap());
    assert!(!store.remove_layer(&low).unwrap());
    assert!(!store.has_layer(&low).unwrap());
    assert_eq!(store.sweep().unwrap(), 0);
    store.prepare(&key("a"), &[]).unwrap();
}

fn sweeping_spares_the_living(open: Open<'_>) {
    let store = open();
    let unpacking = store.begin(&[]).unwrap();
    store.prepare(&key("a"), &[]).unwrap();
    let low = layer(&*store, &[], "low");
    assert_eq!(open().left_over().unwrap(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(open().sweep().unwrap(), 0);
    assert!(unpacking.path().exists());
    assert!(store.has_layer(&low).unwrap());
    assert_eq!(store.keys().unwrap().len(), 1);
}

fn usage_counts_what_was_written(open: Open<'_>) {
    let store = open();
    let mounts = store.prepare(&key("a"), &[]).unwrap();
    let before = store.usage(&key("a")).unwrap();
    let root = mounts.writable();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/file"), vec![1; 100_000]).unwrap();
    fs::hard_link(root.join("d/file"), root.join("link")).unwrap();
    // Where blocks are given out late.
    fs::File::open(root.join("d/file")).unwrap().sync_all().unwrap();
    let after = store.usage(&key("a")).unwrap();
    assert_eq!(after.inodes - before.inodes, 2, "a second name is no second file");
    assert!((100_000..200_000).contains(&(after.bytes - before.bytes)), "{after:?}");
}

/// Two layers, of which the upper changes, replaces and hides what the lower has.
fn two_layers(store: &dyn Snapshotter) -> Vec<ChainId> {
    let low = store.begin(&[]).unwrap();
    let path = low.path();
    for dir in ["keep", "gone", "opaque"] {
        fs::create_dir(path.join(dir)).unwrap();
        fs::write(path.join(dir).join("file"), "low").unwrap();
    }
    fs::hard_link(path.join("keep/file"), path.join("keep/name")).unwrap();
    fs::write(path.join("file"), "low").unwrap();
    store.commit(low, &chain("two-low")).unwrap();
    let high = store.begin(&[chain("two-low")]).unwrap();
    let path = high.path();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "a layer begins empty");
    fs::create_dir(path.join("keep")).unwrap();
    fs::write(path.join("keep/new"), "high").unwrap();
    fs::write(path.join(".wh.gone"), "").unwrap();
    fs::create_dir(path.join("opaque")).unwrap();
    fs::write(path.join("opaque/.wh..wh..opq"), "").unwrap();
    fs::write(path.join("file"), "high").unwrap();
    store.commit(high, &chain("two-high")).unwrap();
    vec![chain("two-low"), chain("two-high")]
}

fn layers_of_whole_trees_are_whole(open: Open<'_>) {
    let store = open();
    if store.form() != Form::Whole {
        return;
    }
    let layers = two_layers(&*store);
    let paths = store.layer_paths(&layers);
    let read = |layer: &std::path::Path, name: &str| fs::read_to_string(layer.join(name)).ok();
    assert_eq!(read(&paths[0], "file").as_deref(), Some("low"));
    assert_eq!(read(&paths[1], "file").as_deref(), Some("high"));
    assert_eq!(read(&paths[1], "keep/file").as_deref(), Some("low"));
    assert_eq!(read(&paths[1], "keep/new").as_deref(), Some("high"));
    assert!(paths[0].join("gone/file").exists() && !paths[1].join("gone").exists());
    assert_eq!(fs::read_dir(paths[1].join("opaque")).unwrap().count(), 0);
    assert!(store.remove_layer(&layers[0]).unwrap());
    assert_eq!(read(&paths[1], "keep/file").as_deref(), Some("low"), "it needs no other");
}

fn a_directory_is_what_its_layers_make(open: Open<'_>) {
    let store = open();
    if store.form() != Form::Whole {
        return;
    }
    let layers = two_layers(&*store);
    let mounts = store.prepare(&key("a"), &layers).unwrap();
    let Mounts::Directory { root, before, since } = &mounts else { panic!("{mounts:?}") };
    let compare = || -> Vec<String> {
        let before = before.as_deref();
        let what = tree::Compare { before, now: root, since: Some(*since), ignored: None };
        let found = tree::compare(&what).unwrap();
        found.into_iter().map(|change| change.path.to_string_lossy().into_owned()).collect()
    };
    assert!(compare().is_empty());
    let number = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(number("keep/file"), number("keep/name"), "names of one file stay so");
    // In place, with nothing else to be seen of it.
    let path = root.join("keep/file");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, b"LOW").unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(compare(), ["keep", "keep/file", "keep/name"]);
    assert_eq!(fs::read_to_string(store.layer_paths(&layers)[1].join("keep/name")).unwrap(), "low");
    assert_eq!(open().mounts(&key("a"), &layers).unwrap(), mounts);
}

fn a_sealed_snapshot_is_a_layer(open: Open<'_>) {
    let store = open();
    let below = layer(&*store, &[], "below");
    let mounts = store.prepare(&key("a"), std::slice::from_ref(&below)).unwrap();
    fs::write(mounts.writable().join("new"), "new").unwrap();
    store.seal(&key("a"), &chain("sealed")).unwrap();
    assert!(store.keys().unwrap().is_empty());
    assert!(store.has_layer(&chain("sealed")).unwrap());
    let both = [below.clone(), chain("sealed")];
    let path = &store.layer_paths(&both)[1];
    assert_eq!(fs::read_to_string(path.join("new")).unwrap(), "new");
    assert_eq!(path.join("below").exists(), store.form() == Form::Whole);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is kept");
    // Something can be made on it, as on any layer.
    store.prepare(&key("b"), &both).unwrap();
    // One that is there stays, and the snapshot goes all the same.
    store.seal(&key("b"), &chain("sealed")).unwrap();
    assert!(path.join("new").exists() && store.keys().unwrap().is_empty());
    let missing = store.seal(&key("b"), &chain("other"));
    assert!(matches!(missing, Err(Error::NoSnapshot { .. })), "{missing:?}");
    assert_eq!(store.left_over().unwrap(), Vec::<std::path::PathBuf>::new());
}
