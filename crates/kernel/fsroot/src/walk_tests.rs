use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, ResolveFlags};

use super::*;

/// A directory that is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-walk-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root/dir/deep")).unwrap();
        fs::write(path.join("secret"), "").unwrap();
        fs::write(path.join("root/dir/file"), "").unwrap();
        let links = [
            ("dir", "to-dir"),
            ("dir/", "to-dir-slash"),
            ("/dir/file", "to-file"),
            ("../../../secret", "out"),
            ("/../secret", "out-absolute"),
            ("nothing/here", "dangling"),
            ("loop", "loop"),
            ("to-dir/../to-file", "through"),
            (".", "itself"),
            ("/", "top"),
        ];
        for (target, link) in links {
            symlink(target, path.join("root").join(link)).unwrap();
        }
        symlink("../../to-dir", path.join("root/dir/deep/up")).unwrap();
        for n in 1..=41 {
            let target = if n == 1 { "dir".to_owned() } else { format!("chain{}", n - 1) };
            symlink(target, path.join(format!("root/chain{n}"))).unwrap();
        }
        Self(path)
    }

    fn root(&self) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open(self.0.join("root"), flags, Mode::empty()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What was opened: device, inode and kind; or why not.
fn what(opened: Result<OwnedFd, Errno>) -> Result<(u64, u64, u32), Errno> {
    let stat = rustix::fs::fstat(opened?).unwrap();
    Ok((stat.st_dev, stat.st_ino, stat.st_mode))
}

#[track_caller]
fn same_as_kernel(root: &OwnedFd, path: &str, flags: OFlags) {
    for (links, how) in
        [(Links::Follow, ResolveFlags::NO_MAGICLINKS), (Links::Refuse, ResolveFlags::NO_SYMLINKS)]
    {
        let how = how | ResolveFlags::IN_ROOT;
        let flags = flags | OFlags::CLOEXEC;
        // Any rename on the machine makes it say EAGAIN where `..` is on the way.
        let mut tries =
            std::iter::repeat_with(|| rustix::fs::openat2(root, path, flags, Mode::empty(), how));
        let theirs = tries.find(|one| !matches!(one, Err(Errno::AGAIN))).unwrap();
        let ours = open(root.as_fd(), Path::new(path), flags, Mode::empty(), links);
        assert_eq!(what(ours), what(theirs), "{path} {flags:?} {links:?}");
    }
}

#[test]
fn it_says_what_openat2_says() {
    let place = Place::new("same");
    let root = place.root();
    let names = [
        "",
        ".",
        "..",
        "dir",
        "file",
        "deep",
        "up",
        "to-dir",
        "to-dir-slash",
        "to-file",
        "out",
        "out-absolute",
        "dangling",
        "loop",
        "through",
        "itself",
        "top",
        "chain19",
        "chain41",
        "missing",
    ];
    let flags = [
        OFlags::PATH,
        OFlags::PATH | OFlags::NOFOLLOW,
        OFlags::PATH | OFlags::DIRECTORY,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        OFlags::RDONLY,
        OFlags::RDONLY | OFlags::NOFOLLOW,
        OFlags::RDONLY | OFlags::DIRECTORY,
    ];
    for flags in flags {
        for one in names.iter().filter(|name| !name.is_empty()) {
            for two in names {
                for path in
                    [format!("{one}/{two}"), format!("/{two}/{one}"), format!("{one}/{two}/up")]
                {
                    same_as_kernel(&root, &path, flags);
                }
            }
            same_as_kernel(&root, one, flags);
        }
    }
}

#[test]
fn links_of_procfs_that_are_objects_are_refused() {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).unwrap();
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = format!("self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&stream));
    for path in ["self/root", "self/exe", "self/cwd/x", "self/ns/mnt", "self/fd/0/..", &socket] {
        let opened =
            open(proc.as_fd(), Path::new(path), OFlags::PATH, Mode::empty(), Links::Follow);
        assert_eq!(opened.unwrap_err(), Errno::LOOP, "{path}");
    }
    for path in ["self/status", "self/ns", "mounts", "thread-self/../../status"] {
        same_as_kernel(&proc, path, OFlags::RDONLY);
    }
}

#[test]
fn what_is_made_is_made_inside() {
    let place = Place::new("make");
    let root = place.root();
    fs::create_dir(place.0.join("root/nothing")).unwrap();
    let make = OFlags::WRONLY | OFlags::CREATE;
    let open = |path, flags| {
        open(root.as_fd(), Path::new(path), flags, Mode::from_raw_mode(0o600), Links::Follow)
    };
    assert_eq!(open("dangling", make | OFlags::EXCL).unwrap_err(), Errno::EXIST);
    open("dangling", make).unwrap();
    open("to-dir/new", make).unwrap();
    open("../../new", make).unwrap();
    for made in ["root/nothing/here", "root/dir/new", "root/new"] {
        assert!(place.0.join(made).is_file(), "{made}");
    }
    assert_eq!(open("out", make).map(drop), Ok(()));
    assert!(place.0.join("root/secret").is_file());
}
