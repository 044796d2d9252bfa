use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use snapshot::Snapshotter as _;

use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-copy-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_contract_holds() {
    for (name, trial) in snapshot::contract::TRIALS {
        println!("{name}");
        let dir = Dir::new(name);
        trial(&|| Box::new(open(&dir.0).unwrap()));
    }
}

/// On a file system whose files can share blocks.
#[test]
fn the_contract_holds_with_reflinks() {
    testkit::needs!(Root, Btrfs);
    let disk = testkit::Disk { kind: "btrfs", mkfs: &[], options: "noatime", size: 256 };
    if disk.again("tests::the_contract_holds_with_reflinks").is_none() {
        return;
    }
    the_contract_holds();

    let dir = Dir::new("shares");
    let store = open(&dir.0).unwrap();
    assert!(store.status().contains(&("Reflinks", "true".into())), "{:?}", store.status());
    let chain = oci::ChainId(oci::Digest::sha256(b"layer"));
    let unpacking = store.begin(&[]).unwrap();
    fs::write(unpacking.path().join("large"), vec![7; 64 << 20]).unwrap();
    store.commit(unpacking, &chain).unwrap();
    // Four copies of it would not fit.
    for n in 0..6 {
        let key = format!("a{n}").parse().unwrap();
        let mounts = store.prepare(&key, std::slice::from_ref(&chain)).unwrap();
        assert_eq!(fs::read(mounts.writable().join("large")).unwrap().len(), 64 << 20);
    }
}

#[test]
fn layers_share_files_and_snapshots_do_not() {
    let dir = Dir::new("share");
    let store = open(&dir.0).unwrap();
    let chain = |name: &str| oci::ChainId(oci::Digest::sha256(name.as_bytes()));
    let low = store.begin(&[]).unwrap();
    fs::write(low.path().join("file"), "low").unwrap();
    store.commit(low, &chain("low")).unwrap();
    let high = store.begin(&[chain("low")]).unwrap();
    store.commit(high, &chain("high")).unwrap();
    let layers = [chain("low"), chain("high")];
    let snapshot = store.prepare(&"a".parse().unwrap(), &layers).unwrap();
    let number = |dir: &Path| fs::metadata(dir.join("file")).unwrap().ino();
    let paths = store.layer_paths(&layers);
    assert_eq!(number(&paths[0]), number(&paths[1]));
    assert_ne!(number(snapshot.writable()), number(&paths[1]));
    for path in &paths {
        assert_eq!(fs::read_dir(path).unwrap().count(), 1, "nothing is left of unpacking");
    }
}
