use std::os::fd::AsFd as _;

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
fn what_is_put_away_is_left_to_who_lives() {
    let dir = Dir::new("away");
    let store = Overlay::open(&dir.0).unwrap();
    let trash = store.trash().unwrap();
    let names = || snapshot::folders::names(&trash).unwrap();
    // It has ended, and nobody has waited for it.
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", ended.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    for heir in [1, 4_194_305, ended.id()] {
        let key: Key = format!("of-{heir}").parse().unwrap();
        store.prepare(&key, &[]).unwrap();
        assert!(store.put_away(&key, heir).unwrap());
        assert!(!store.put_away(&key, heir).unwrap());
        let other = dir.0.join("other");
        fs::create_dir_all(other.join("a")).unwrap();
        assert!(store.put_away_tree(&other, heir).unwrap());
        assert!(!store.put_away_tree(&other, heir).unwrap());
    }
    assert_eq!((store.keys().unwrap(), names().len()), (vec![], 6));
    assert_eq!(store.sweep().unwrap(), 4);
    ended.wait().unwrap();
    let left = names();
    assert!(left.len() == 2 && left.iter().all(|name| name.starts_with("1-")), "{left:?}");
}

#[test]
fn more_layers_than_the_kernel_stacks_are_refused() {
    let dir = Dir::new("many");
    let store = Overlay::open(&dir.0).unwrap();
    let chain = vec![ChainId(Digest::sha256(b"x")); 501];
    let error = store.prepare(&"a".parse().unwrap(), &chain).unwrap_err();
    assert_eq!(error.to_string(), "501 layers, more than the 500 that can be stacked");
}

#[test]
fn what_a_container_writes_can_be_limited() {
    testkit::needs!(Root, Overlay, ProjectQuota);
    let disk = testkit::Disk {
        kind: "ext4",
        mkfs: &["-O", "quota,project", "-E", "quotatype=prjquota"],
        options: "prjquota",
        size: 64,
    };
    let Some(disk) = disk.again("tests::what_a_container_writes_can_be_limited") else { return };
    let store = Overlay::open(&disk.join("store")).unwrap();
    let chain = ChainId(Digest::sha256(b"layer"));
    let unpacking = store.begin(&[]).unwrap();
    fs::write(unpacking.path().join("large"), vec![7; 8 << 20]).unwrap();
    fs::write(unpacking.path().join("small"), "x").unwrap();
    store.commit(unpacking, &chain).unwrap();
    let layers = std::slice::from_ref(&chain);
    let keys = ["a", "b"].map(|key| key.parse::<Key>().unwrap());
    let all: Vec<_> = keys.iter().map(|key| store.prepare(key, layers).unwrap()).collect();
    for key in &keys {
        store.limit(key, 4 << 20).unwrap();
    }
    let mut full = 0;
    for mounts in &all {
        let Mounts::Overlay { lower, upper, work } = mounts else { panic!("{mounts:?}") };
        let root = mount::overlay(lower, Some((upper, work)), &[]).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&root);
        let root = PathBuf::from(format!("/proc/self/fd/{number}"));
        // Renaming, linking and copying up go on within the project.
        fs::write(root.join("small"), "changed").unwrap();
        fs::rename(root.join("small"), root.join("renamed")).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        fs::hard_link(root.join("renamed"), root.join("dir/link")).unwrap();
        fs::write(root.join("written"), vec![1; 3 << 20]).unwrap();
        let error = fs::write(root.join("more"), vec![1; 2 << 20]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        fs::remove_file(root.join("written")).unwrap();
        fs::write(root.join("more"), vec![1; 2 << 20]).unwrap();
        full += 1;
    }
    assert_eq!(full, 2, "each for itself");
    let project = {
        let folder = fs::File::open(store.folders.snapshot_dir(&keys[0])).unwrap();
        sys::project_of(folder.as_fd()).unwrap()
    };
    let on = fs::File::open(&disk).unwrap();
    let quota = || sys::project_quota(on.as_fd(), project).unwrap();
    assert_eq!(quota().limit, 4 << 20);
    store.remove(&keys[0]).unwrap();
    assert_eq!((quota().limit, quota().bytes), (0, 0), "nothing is left of it");
}

#[test]
fn where_there_are_no_quotas_a_limit_is_refused() {
    let dir = Dir::new("no-quota");
    let store = Overlay::open(&dir.0).unwrap();
    let key = "a".parse().unwrap();
    store.prepare(&key, &[]).unwrap();
    match store.limit(&key, 1 << 20) {
        Err(Error::NoLimit { why }) => assert!(why.contains("prjquota"), "{why}"),
        // Not by others than root.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
        Ok(()) => println!("skipped: temporary files have project quotas here"),
        other => panic!("{other:?}"),
    }
}

/// Set where a test runs in a user namespace.
const INSIDE: &str = "DHOW_TEST_INSIDE";

#[test]
fn an_overlay_works_in_a_user_namespace() {
    testkit::needs!(Overlay, UserNamespace);
    if std::env::var_os(INSIDE).is_some() {
        let dir = Dir::new("inside");
        assert_eq!(mount::overlay_attribute("opaque"), "user.overlay.opaque");
        works(&dir.0).unwrap();
        assert_eq!(snapshot::folders::names(&dir.0).unwrap(), [""; 0]);
        return;
    }
    let status = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::an_overlay_works_in_a_user_namespace"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}
