use std::fs;
use std::path::Path;

use rustix::io::Errno;

use super::*;
use crate::tests::{dir, errno, in_namespace};
use crate::{
    bind, fs_mount, mount_setattr, move_to_fd, move_to_path, open_tree_fd, reconfigure,
    set_propagation_fd, umount_detach,
};

fn in_a_yard(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    in_namespace(name, |place| {
        let _yard = Yard::open().unwrap();
        test(place);
    });
}

/// The options of the mount at `path`, the topmost, and of its file system.
fn shown(path: &Path) -> String {
    let text = crate::mountinfo::read("thread-self").unwrap();
    let text = String::from_utf8(text).unwrap();
    let at = format!(" {} ", path.display());
    let line = text.lines().rfind(|line| line.contains(&at));
    line.unwrap_or_else(|| panic!("nothing at {path:?}: {text}")).to_owned()
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

const NONE: MountAttr = MountAttr::empty();

#[test]
fn a_bind_is_changed_with_all_below_before_it_is_seen() {
    in_a_yard("a_bind_is_changed_with_all_below_before_it_is_seen", |place| {
        let source = dir(place.join("source"), "file", "x");
        let below = fs_mount("tmpfs", None, &[], NONE).unwrap();
        fs::create_dir_all(source.join("a/b")).unwrap();
        move_to_path(below.as_fd(), &source.join("a/b")).unwrap();
        let target = dir(place.join("target"), "covered", "y");
        let flat = bind(&source, false).unwrap();
        let deep = bind(&source, true).unwrap();
        let set = MountAttr::RDONLY | MountAttr::NOEXEC | MountAttr::NOATIME;
        mount_setattr(deep.as_fd(), true, set, MountAttr::ATIME_FIELD, None, None).unwrap();
        move_to_fd(deep.as_fd(), open(&target).as_fd()).unwrap();
        for mounted in [target.clone(), target.join("a/b")] {
            let line = shown(&mounted);
            assert!(line.contains(" ro,noexec,noatime "), "{line}");
            assert_eq!(errno(fs::write(mounted.join("new"), "")), Some(Errno::ROFS));
        }
        // What was bound stays as it was, and so does another bind of it.
        fs::write(source.join("a/b/new"), "").unwrap();
        fs::create_dir(place.join("flat")).unwrap();
        move_to_path(flat.as_fd(), &place.join("flat")).unwrap();
        assert!(!place.join("flat/a/b/new").exists());
        // Back, also where it is by now.
        let clear = MountAttr::RDONLY | MountAttr::ATIME_FIELD;
        mount_setattr(deep.as_fd(), true, MountAttr::STRICTATIME, clear, None, None).unwrap();
        let line = shown(&target.join("a/b"));
        assert!(line.contains(" rw,noexec "), "{line}");
    });
}

#[test]
fn what_is_covered_is_not_left_as_it_is() {
    in_a_yard("what_is_covered_is_not_left_as_it_is", |place| {
        let source = dir(place.join("source"), "file", "x");
        fs::create_dir_all(source.join("a/b")).unwrap();
        for at in ["a/b", "a"] {
            let below = fs_mount("tmpfs", None, &[], NONE).unwrap();
            move_to_path(below.as_fd(), &source.join(at)).unwrap();
        }
        let deep = bind(&source, true).unwrap();
        let changed = mount_setattr(deep.as_fd(), true, MountAttr::RDONLY, NONE, None, None);
        let error = changed.unwrap_err();
        assert!(matches!(error.errno(), Errno::BUSY | Errno::NOENT), "{error}");
    });
}

#[test]
fn file_systems_take_flags_and_options() {
    in_a_yard("file_systems_take_flags_and_options", |place| {
        let options = [("size", Some("64k")), ("sync", None), ("mode", Some("0711"))];
        let set = MountAttr::RDONLY | MountAttr::NOSUID;
        let tree = fs_mount("tmpfs", Some("here"), &options, set).unwrap();
        let target = dir(place.join("target"), "covered", "");
        move_to_path(tree.as_fd(), &target).unwrap();
        let line = shown(&target);
        assert!(line.contains(" ro,nosuid,relatime "), "{line}");
        assert!(line.contains(" - tmpfs here rw,sync,size=64k,mode=711"), "{line}");
        reconfigure(tree.as_fd(), &[("size", Some("128k"))]).unwrap();
        let line = shown(&target);
        assert!(line.contains(" ro,nosuid,relatime ") && line.contains("size=128k"), "{line}");
        let empty = [("size", Some("0")), ("nr_inodes", Some("2")), ("mode", Some("0555"))];
        fs_mount("tmpfs", Some("tmpfs"), &empty, set).unwrap();
        assert!(fs_mount("tmpfs", None, &[("rubbish", None)], NONE).is_err());
        assert_eq!(fs_mount("nofs", None, &[], NONE).unwrap_err().errno(), Errno::NODEV);
    });
}

#[test]
fn a_file_and_a_link_are_covered_by_descriptor() {
    in_a_yard("a_file_and_a_link_are_covered_by_descriptor", |place| {
        fs::write(place.join("file"), "file").unwrap();
        fs::write(place.join("over"), "over").unwrap();
        std::os::unix::fs::symlink("over", place.join("link")).unwrap();
        let file = open(&place.join("file"));
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::open(place.join("link"), flags, Mode::empty()).unwrap();
        let tree = open_tree_fd(file.as_fd(), true, false).unwrap();
        set_propagation_fd(tree.as_fd(), Propagation::Private, false).unwrap();
        move_to_fd(tree.as_fd(), link.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(place.join("link")).unwrap(), "file");
        assert_eq!(fs::read_to_string(place.join("over")).unwrap(), "over");
    });
}

#[test]
fn what_was_not_moved_goes_with_the_yard() {
    in_namespace("what_was_not_moved_goes_with_the_yard", |place| {
        let yard = Yard::open().unwrap();
        assert_eq!(Yard::open().unwrap_err().errno(), Errno::BUSY);
        let moved = fs_mount("tmpfs", None, &[], NONE).unwrap();
        let _stays = fs_mount("tmpfs", None, &[], NONE).unwrap();
        let target = dir(place.join("target"), "covered", "");
        move_to_path(moved.as_fd(), &target).unwrap();
        drop(yard);
        let text = crate::mountinfo::read("thread-self").unwrap();
        assert!(!crate::mountinfo::mounts(&text).any(|one| one.point().starts_with(PLACE)));
        assert!(!target.join("covered").exists());
        umount_detach(&target).unwrap();
        assert!(target.join("covered").exists());
    });
}
