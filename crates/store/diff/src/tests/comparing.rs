//! Two directories that should hold the same.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Dir, compare, fs};

type Change = fn(&Path);

fn fill(root: &Path) {
    fs::create_dir_all(root.join("dir/deep")).unwrap();
    fs::write(root.join("dir/file"), vec![7; 300_000]).unwrap();
    fs::write(root.join("dir/deep/other"), "x").unwrap();
    symlink("file", root.join("dir/link")).unwrap();
    hide(root);
    let old = std::time::SystemTime::UNIX_EPOCH;
    for name in ["dir/file", "dir/deep/other"] {
        let file = fs::File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let time = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, root.join("dir/link"), &times, flags).unwrap();
}

fn hide(root: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let path = root.join("dir/hidden");
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

#[test]
fn every_change_is_seen() {
    let dir = Dir::new("compare");
    let (wanted, found) = (dir.0.join("wanted"), dir.0.join("found"));
    let changes: [(Change, &str, &str); 11] = [
        (|root| fs::remove_file(root.join("dir/file")).unwrap(), "dir/file", "is missing"),
        (|root| fs::write(root.join("dir/new"), "").unwrap(), "dir/new", "is not in the archive"),
        (
            |root| {
                let file = fs::File::options().write(true).open(root.join("dir/file")).unwrap();
                std::os::unix::fs::FileExt::write_at(&file, b"\x08", 290_000).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            },
            "dir/file",
            "has another content",
        ),
        (
            |root| {
                let mode = fs::Permissions::from_mode(0o4755);
                fs::set_permissions(root.join("dir/file"), mode).unwrap();
            },
            "dir/file",
            "has another mode",
        ),
        (
            |root| std::os::unix::fs::lchown(root.join("dir/link"), Some(7), None).unwrap(),
            "dir/link",
            "has another owner",
        ),
        (
            |root| {
                fs::remove_file(root.join("dir/link")).unwrap();
                symlink("elsewhere", root.join("dir/link")).unwrap();
            },
            "dir/link",
            "has another time",
        ),
        (
            |root| {
                fs::remove_dir_all(root.join("dir/deep")).unwrap();
                fs::write(root.join("dir/deep"), "").unwrap();
            },
            "dir/deep",
            "is of another kind",
        ),
        (
            |root| {
                let (path, flags) = (root.join("dir/deep"), rustix::fs::XattrFlags::empty());
                rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", flags).unwrap();
            },
            "dir/deep",
            "has other extended attributes",
        ),
        (
            |root| {
                fs::remove_file(root.join("dir/hidden")).unwrap();
                fs::write(root.join("dir/hidden"), "").unwrap();
            },
            "dir/hidden",
            "is of another kind",
        ),
        // One whiteout is like the other, whenever they were made.
        (
            |root| {
                fs::remove_file(root.join("dir/hidden")).unwrap();
                hide(root);
            },
            "",
            "",
        ),
        (|_| (), "", ""),
    ];
    for (change, path, what) in changes {
        for root in [&wanted, &found] {
            let _ = fs::remove_dir_all(root);
            fill(root);
        }
        change(&found);
        let differences = compare(&wanted, &found, 10).unwrap();
        let shown: Vec<_> =
            differences.iter().map(|one| (one.path.to_str().unwrap(), one.what)).collect();
        let expected = if what.is_empty() { vec![] } else { vec![(path, what)] };
        assert_eq!(shown, expected, "{path} {what}");
    }
    assert!(compare(&wanted, &dir.0.join("none"), 1).is_err());
}
