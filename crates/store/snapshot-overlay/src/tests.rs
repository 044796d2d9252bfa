use oci::Digest;

use super::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-overlay-{}-{name}", std::process::id()));
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
        trial(&|| Box::new(Overlay::open(&dir.0).unwrap()));
    }
}

#[test]
fn what_the_dead_left_is_swept() {
    let dir = Dir::new("dead");
    let store = Overlay::open(&dir.0).unwrap();
    fs::create_dir_all(dir.0.join("new/4194305-0/fs/a")).unwrap();
    fs::create_dir_all(dir.0.join("trash/4194305-1/upper/a")).unwrap();
    let left = ["new/4194305-0", "trash/4194305-1"].map(|path| dir.0.join(path));
    assert_eq!(store.left_over().unwrap(), left);
    assert_eq!(store.sweep().unwrap(), 2);
    for folder in ["new", "trash"] {
        assert_eq!(snapshot::folders::names(&dir.0.join(folder)).unwrap(), [""; 0]);
    }
}

#[test]
fn more_layers_than_the_kernel_stacks_are_refused() {
    let dir = Dir::new("many");
    let store = Overlay::open(&dir.0).unwrap();
    let chain = vec![ChainId(Digest::sha256(b"x")); 501];
    let error = store.prepare(&"a".parse().unwrap(), &chain).unwrap_err();
    assert_eq!(error.to_string(), "501 layers, more than the 500 that can be stacked");
}
