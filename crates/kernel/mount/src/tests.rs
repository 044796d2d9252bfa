//! Mounts in the kernel that runs the tests, in a mount namespace of each test's own.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sys::CloneFlags;

use super::*;

/// Runs `test` on a thread with a mount namespace of its own, with an empty tmpfs to work in. All of
/// it ends with the thread.
#[track_caller]
pub(crate) fn in_namespace(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    let name = name.to_owned();
    let ran = std::thread::spawn(move || {
        match sys::unshare(CloneFlags::FS | CloneFlags::NEWNS) {
            Err(err) if err.errno() == Errno::PERM => {
                println!("skipped: {name}: no CAP_SYS_ADMIN");
                return;
            }
            other => other.unwrap(),
        }
        set_propagation(Path::new("/"), Propagation::Private, true).unwrap();
        let place = Path::new("/tmp");
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", place, "tmpfs", none, c"mode=755").unwrap();
        test(place);
    });
    ran.join().unwrap();
}

/// The same with all of the mount API.
#[track_caller]
pub(crate) fn with_the_mount_api(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    if sys::has_mount_setattr() {
        in_namespace(name, test);
    } else {
        println!("skipped: {name}: no mount_setattr(2) (Linux 5.12)");
    }
}

/// Makes a directory with one file.
pub(crate) fn dir(path: PathBuf, file: &str, text: &str) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(file), text).unwrap();
    path
}

fn put(mnt: &OwnedFd, place: PathBuf) -> PathBuf {
    fs::create_dir_all(&place).unwrap();
    move_to_path(mnt.as_fd(), &place).unwrap();
    place
}

pub(crate) fn errno(result: std::io::Result<()>) -> Option<Errno> {
    result.err().and_then(|err| Errno::from_io_error(&err))
}

/// What an overlay of `lower` must be like, whose topmost directory is `top` with `file` in it.
fn check_overlay(mnt: &OwnedFd, scratch: &Path, n_lower: usize) {
    let root = put(mnt, scratch.join("merged"));
    assert_eq!(fs::read_to_string(root.join("same")).unwrap(), "0", "the topmost wins");
    for i in 0..n_lower {
        assert_eq!(fs::read_to_string(root.join(format!("only-{i}"))).unwrap(), "x");
    }
    fs::write(root.join("new"), "new").unwrap();
    fs::write(root.join("same"), "changed").unwrap();
    fs::remove_file(root.join("only-1")).unwrap();
    let upper = scratch.join("upper");
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new");
    assert_eq!(fs::read_to_string(upper.join("same")).unwrap(), "changed");
    let whiteout = fs::symlink_metadata(upper.join("only-1")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(fs::read_to_string(scratch.join("lower-0/same")).unwrap(), "0");
    umount_detach(&root).unwrap();
}

fn lowers(scratch: &Path, n: usize) -> Vec<PathBuf> {
    (0..n)
        .map(|i| {
            let path = scratch.join(format!("lower-{i}"));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("same"), i.to_string()).unwrap();
            dir(path, &format!("only-{i}"), "x")
        })
        .collect()
}

fn upper(scratch: &Path) -> (PathBuf, PathBuf) {
    let dirs = (scratch.join("upper"), scratch.join("work"));
    for dir in [&dirs.0, &dirs.1] {
        // The second overlay of a test starts anew.
        let _missing = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).unwrap();
    }
    dirs
}

#[test]
fn an_overlay_of_any_number_of_layers() {
    with_the_mount_api("an_overlay_of_any_number_of_layers", |scratch| {
        for n in [2, 130] {
            let lower = lowers(scratch, n);
            for make in [overlay, overlay::by_option_string] {
                let (upper, work) = upper(scratch);
                let mnt = make(&lower, Some((&upper, &work)), &[("xino", "off")]).unwrap();
                check_overlay(&mnt, scratch, n);
            }
        }
    });
}

#[test]
fn an_overlay_takes_any_path() {
    with_the_mount_api("an_overlay_takes_any_path", |scratch| {
        let strange = scratch.join(r"a,b:c\d").join("long".repeat(40)).join("long".repeat(40));
        fs::create_dir_all(&strange).unwrap();
        let lower = lowers(&strange, 2);
        for make in [overlay, overlay::by_option_string] {
            let (upper, work) = upper(&strange);
            let mnt = make(&lower, Some((&upper, &work)), &[]).unwrap();
            check_overlay(&mnt, &strange, 2);
        }
    });
}

#[test]
fn an_overlay_without_an_upper_is_read_only() {
    with_the_mount_api("an_overlay_without_an_upper_is_read_only", |scratch| {
        let mnt = overlay(&lowers(scratch, 2), None, &[]).unwrap();
        let root = put(&mnt, scratch.join("merged"));
        assert_eq!(errno(fs::write(root.join("new"), "")), Some(Errno::ROFS));
    });
}

#[test]
fn an_overlay_names_what_is_wrong() {
    with_the_mount_api("an_overlay_names_what_is_wrong", |scratch| {
        let missing = [scratch.join("nowhere"), scratch.join("lower-0")];
        let err = overlay(&missing, None, &[]).unwrap_err();
        assert_eq!(err.errno(), Errno::NOENT);
        assert!(err.to_string().contains("/tmp/nowhere"), "{err}");
        let err = overlay(&lowers(scratch, 2), None, &[("color", "red")]).unwrap_err();
        // Before Linux 6.5 the options are checked when all of them are there.
        let wanted = if crate::overlay::takes_lowers_singly() {
            "fsconfig(overlay, \"color=red\") (overlay: Unknown parameter 'color')"
        } else {
            "mount(overlay, \"/tmp/lower-0\", 2 lower directories)"
        };
        assert_eq!((err.to_string().as_str(), err.errno()), (wanted, Errno::INVAL));
    });
}

#[test]
fn a_bind_can_be_made_read_only_with_all_below() {
    with_the_mount_api("a_bind_can_be_made_read_only_with_all_below", |scratch| {
        let source = dir(scratch.join("source"), "file", "x");
        let tmpfs = fs_mount("tmpfs", None, &[], MountAttr::NOEXEC).unwrap();
        put(&tmpfs, source.join("sub"));
        let flat = bind(&source, false).unwrap();
        let deep = bind(&source, true).unwrap();
        mount_setattr(deep.as_fd(), true, MountAttr::RDONLY, MountAttr::empty(), None, None)
            .unwrap();
        let flat = put(&flat, scratch.join("flat"));
        let deep = put(&deep, scratch.join("deep"));
        fs::write(flat.join("file"), "y").unwrap();
        assert!(!is_mountpoint(&flat.join("sub")).unwrap());
        assert!(is_mountpoint(&deep.join("sub")).unwrap());
        for file in ["file", "new", "sub/new"] {
            assert_eq!(errno(fs::write(deep.join(file), "")), Some(Errno::ROFS), "{file}");
        }
        fs::write(source.join("sub/new"), "").unwrap();
    });
}

#[test]
fn a_file_is_mounted_on_exactly_the_descriptor() {
    with_the_mount_api("a_file_is_mounted_on_exactly_the_descriptor", |scratch| {
        dir(scratch.to_owned(), "source", "source");
        dir(scratch.to_owned(), "target", "target");
        let root = rustix::fs::open(scratch, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        let target = rustix::fs::openat(
            root.unwrap(),
            "target",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        // What is at the path now is another file: the mount still goes where the descriptor says.
        fs::rename(scratch.join("target"), scratch.join("renamed")).unwrap();
        dir(scratch.to_owned(), "target", "another");
        let mnt = bind(&scratch.join("source"), false).unwrap();
        move_to_fd(mnt.as_fd(), target.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("renamed")).unwrap(), "source");
        assert_eq!(fs::read_to_string(scratch.join("target")).unwrap(), "another");
        assert!(is_mountpoint_fd(mnt.as_fd()).unwrap());
        assert!(!is_mountpoint_fd(target.as_fd()).unwrap(), "it is what lies below");
        umount_detach(&scratch.join("renamed")).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("renamed")).unwrap(), "target");
    });
}

#[test]
fn file_systems_are_made_with_options_and_attributes() {
    with_the_mount_api("file_systems_are_made_with_options_and_attributes", |scratch| {
        let attrs = MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
        let options = [("size", Some("64k")), ("mode", Some("1777"))];
        let tmpfs = fs_mount("tmpfs", Some("shm"), &options, attrs).unwrap();
        let place = put(&tmpfs, scratch.join("shm"));
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(errno(fs::write(place.join("big"), vec![0; 100_000])), Some(Errno::NOSPC));
        let info = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = info.lines().find(|line| line.contains("/tmp/shm")).unwrap();
        assert!(line.contains("nosuid,nodev,noexec,relatime - tmpfs shm"), "{line}");

        let proc = fs_mount("proc", Some("proc"), &[("hidepid", Some("2"))], attrs).unwrap();
        let place = put(&proc, scratch.join("proc"));
        assert!(place.join("uptime").exists());

        let err = fs_mount("tmpfs", None, &[("size", Some("much"))], attrs).unwrap_err();
        let wanted = "fsconfig(tmpfs, \"size=much\") (tmpfs: Bad value for 'size')";
        assert_eq!(err.to_string(), wanted);
        let err = fs_mount("nofs", None, &[], attrs).unwrap_err();
        assert_eq!((err.to_string().as_str(), err.errno()), ("fsopen(\"nofs\")", Errno::NODEV));
    });
}

#[test]
fn propagation_is_what_was_set() {
    with_the_mount_api("propagation_is_what_was_set", |scratch| {
        let tmpfs = fs_mount("tmpfs", None, &[], MountAttr::empty()).unwrap();
        let place = put(&tmpfs, scratch.join("p"));
        let words = || {
            let info = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let line = info.lines().find(|line| line.contains(" /tmp/p ")).unwrap();
            let words = line.split(' ').skip(6).take_while(|word| *word != "-");
            words.map(|word| word.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (propagation, wanted) in [
            (Propagation::Shared, "shared"),
            (Propagation::Private, ""),
            (Propagation::Unbindable, "unbindable"),
        ] {
            set_propagation(&place, propagation, false).unwrap();
            assert_eq!(words().join(" "), wanted);
        }
        let err = bind(&place, false).unwrap_err();
        assert_eq!(err.errno(), Errno::INVAL);
    });
}

#[test]
fn after_pivot_root_nothing_of_the_old_root_is_left() {
    with_the_mount_api("after_pivot_root_nothing_of_the_old_root_is_left", |scratch| {
        // The new root is seen by others until then, and the old one propagates nothing.
        set_propagation(Path::new("/"), Propagation::Shared, true).unwrap();
        set_propagation(Path::new("/"), Propagation::Slave, true).unwrap();
        let new = dir(scratch.join("new"), "marker", "here");
        fs::create_dir(new.join("proc")).unwrap();
        let root = bind(&new, false).unwrap();
        put(&root, new);
        let proc = fs_mount("proc", None, &[], MountAttr::empty()).unwrap();
        put(&proc, scratch.join("new/proc"));
        pivot_root_into(root.as_fd()).unwrap();
        assert_eq!(fs::read_to_string("/marker").unwrap(), "here");
        assert_eq!(fs::read_to_string("marker").unwrap(), "here", "the working directory");
        let mut names: Vec<_> =
            fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["marker", "proc"]);
        // The thread's own, for the process's other threads are elsewhere.
        let info = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let places: Vec<_> = info.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
        assert_eq!(places, ["/", "/proc"]);
    });
}

#[test]
fn until_it_is_detached_the_old_root_is_above_the_new_one() {
    with_the_mount_api("until_it_is_detached_the_old_root_is_above_the_new_one", |scratch| {
        let new = dir(scratch.join("new"), "marker", "here");
        let root = bind(&new, false).unwrap();
        put(&root, new);
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let old_root = rustix::fs::open("/", flags, rustix::fs::Mode::empty()).unwrap();
        pivot_root_beneath(root.as_fd(), old_root.as_fd()).unwrap();
        assert_eq!(fs::read_to_string("/marker").unwrap(), "here");
        assert_eq!(fs::read_to_string("marker").unwrap(), "here", "the working directory");
        assert_eq!(fs::read_to_string("/../tmp/new/marker").unwrap(), "here", "the old root");
        detach_old_root(old_root.as_fd()).unwrap();
        assert_eq!(fs::read_to_string("/../marker").unwrap(), "here");
        assert!(!fs::exists("/../tmp").unwrap());
    });
}
