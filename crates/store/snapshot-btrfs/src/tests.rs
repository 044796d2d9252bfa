use std::path::PathBuf;

use snapshot::Snapshotter as _;
use testkit::{Disk, needs};

use super::*;

const DISK: Disk<'_> = Disk { kind: "btrfs", mkfs: &[], options: "noatime", size: 256 };

/// A new folder on the disk of the test.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn the_contract_holds() {
    needs!(Root, Btrfs);
    if DISK.again("tests::the_contract_holds").is_none() {
        return;
    }
    for (name, trial) in snapshot::contract::TRIALS {
        println!("{name}");
        let dir = folder(name);
        works(&dir).unwrap();
        trial(&|| Box::new(open(&dir).unwrap()));
        // Subvolumes are gone with what they were for.
        let store = open(&dir).unwrap();
        for key in store.keys().unwrap() {
            store.remove(&key).unwrap();
        }
        for layer in store.layers().unwrap() {
            store.remove_layer(&layer).unwrap();
        }
        for place in ["new", "trash", "active", "layers"] {
            assert_eq!(folders::names(&dir.join(place)).unwrap(), [""; 0], "{name}: {place}");
        }
    }
}

#[test]
fn a_snapshot_with_subvolumes_of_its_own_is_removed() {
    needs!(Root, Btrfs);
    if DISK.again("tests::a_snapshot_with_subvolumes_of_its_own_is_removed").is_none() {
        return;
    }
    let store = open(&folder("store")).unwrap();
    let key = "a".parse().unwrap();
    let mounts = store.prepare(&key, &[]).unwrap();
    let root = mounts.writable();
    // As a container would, with one in the other, and so that nothing in it can be removed.
    let script = "mkdir dir; btrfs subvolume create dir/one; btrfs subvolume create dir/one/two
        echo x >dir/one/two/file; btrfs property set dir/one ro true";
    let mut command = std::process::Command::new("sh");
    let made = command.args(["-ec", script]).current_dir(root).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(store.remove(&key).unwrap());
    assert!(!root.exists());
    assert_eq!(store.sweep().unwrap(), 0);
}

#[test]
fn it_works_on_btrfs_alone() {
    needs!(Root);
    let why = works(Path::new("/proc")).unwrap_err();
    assert!(why.starts_with("the file system is 0x9fa0"), "{why}");
}

#[test]
fn what_a_container_may_have_for_itself_can_be_limited() {
    needs!(Root, Btrfs);
    let Some(disk) = DISK.again("tests::what_a_container_may_have_for_itself_can_be_limited")
    else {
        return;
    };
    let store = open(&folder("store")).unwrap();
    let chain = oci::ChainId(oci::Digest::sha256(b"layer"));
    let unpacking = store.begin(&[]).unwrap();
    fs::write(unpacking.path().join("large"), vec![7; 8 << 20]).unwrap();
    store.commit(unpacking, &chain).unwrap();
    let layers = std::slice::from_ref(&chain);
    let key = "a".parse().unwrap();
    let mounts = store.prepare(&key, layers).unwrap();
    match store.limit(&key, 4 << 20) {
        Err(Error::NoLimit { why }) => assert!(why.contains("btrfs quota enable"), "{why}"),
        other => panic!("{other:?}"),
    }
    let mut enable = std::process::Command::new("btrfs");
    assert!(enable.args(["quota", "enable"]).arg(disk).status().unwrap().success());
    store.remove(&key).unwrap();
    let mounts = store.prepare(&key, layers).unwrap_or(mounts);
    store.limit(&key, 4 << 20).unwrap();
    let write = |name: &str, n_bytes: usize| {
        let file = File::create(mounts.writable().join(name)).unwrap();
        let bytes: Vec<u8> = (0..n_bytes).map(|n| ((n * n) >> 7) as u8).collect();
        io::Write::write_all(&mut &file, &bytes).and_then(|()| file.sync_all())
    };
    write("small", 1 << 20).unwrap();
    let error = write("more", 6 << 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{error}");
}
