use std::fs;
use std::os::fd::AsFd;

use super::*;
use crate::Root;

#[test]
fn the_hosts_procfs_is_one() {
    let proc = open_host().unwrap();
    check_root(proc.as_fd()).unwrap();
    assert!(open(proc.as_fd(), "self/status", OFlags::RDONLY).is_ok());
    // Neither its links to elsewhere nor the mounts in it.
    for path in ["self/root", "self/cwd", "../etc", "/etc"] {
        assert!(open(proc.as_fd(), path, OFlags::PATH).is_err(), "{path}");
    }
    let sys = Root::from_fd(proc).open_path("sys").unwrap();
    assert_eq!(check_root(sys.as_fd()).unwrap_err().errno(), Errno::NOTSUP);
}

#[test]
fn a_value_is_written_in_a_namespace_of_its_own() {
    std::thread::spawn(|| {
        if let Err(err) = sys::unshare(sys::CloneFlags::NEWNET | sys::CloneFlags::NEWUTS) {
            println!("skipped: a_value_is_written_in_a_namespace_of_its_own: {err}");
            return;
        }
        let proc = open_host().unwrap();
        write_checked(proc.as_fd(), "sys/kernel/hostname", b"dhow-test\n").unwrap();
        let name = rustix::system::uname();
        assert_eq!(name.nodename(), c"dhow-test");
        let err = write_checked(proc.as_fd(), "sys/kernel/none", b"1").unwrap_err();
        assert_eq!(err.errno(), Errno::NOENT);
    })
    .join()
    .unwrap();
}

#[test]
fn what_only_looks_like_procfs_is_not_written() {
    let dir = std::env::temp_dir().join(format!("dhow-fakeproc-{}", std::process::id()));
    fs::create_dir_all(dir.join("sys/kernel")).unwrap();
    fs::write(dir.join("sys/kernel/hostname"), "untouched").unwrap();
    let root = Root::open(&dir).unwrap();
    let err = write_checked(root.as_fd(), "sys/kernel/hostname", b"x").unwrap_err();
    assert_eq!(err.errno(), Errno::NOTSUP);
    assert!(check_root(root.as_fd()).is_err());
    assert_eq!(fs::read(dir.join("sys/kernel/hostname")).unwrap(), b"untouched");
    fs::remove_dir_all(&dir).unwrap();
}
