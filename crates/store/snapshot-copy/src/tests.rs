use std::path::PathBuf;

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

#[test]
fn layers_share_files_and_snapshots_do_not() {
    use snapshot::Snapshotter as _;
    use std::os::unix::fs::MetadataExt as _;

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
