use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::RenameFlags;

use super::*;

const MODE: Mode = Mode::from_raw_mode(0o755);

/// A directory with two in it: `root`, and `outside`, which nothing may touch.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-fsroot-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root/dir")).unwrap();
        fs::create_dir_all(path.join("outside")).unwrap();
        fs::write(path.join("outside/secret"), "secret").unwrap();
        fs::write(path.join("root/dir/file"), "inside").unwrap();
        Self(path)
    }

    fn root(&self) -> Root {
        Root::open(&self.0.join("root")).unwrap()
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target.replace("OUTSIDE", self.outside().to_str().unwrap()), self.inside(name))
            .unwrap();
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.0.join("root").join(path)
    }

    fn outside(&self) -> PathBuf {
        self.0.join("outside")
    }

    /// Checks that nothing outside has changed.
    #[track_caller]
    fn check_outside(&self) {
        let names: Vec<_> =
            fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "secret");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn read(fd: OwnedFd) -> String {
    std::io::read_to_string(fs::File::from(fd)).unwrap()
}

#[test]
fn no_path_leads_out() {
    let place = Place::new("escape");
    let up = "../".repeat(40);
    place.link("OUTSIDE", "absolute");
    place.link("/", "slash");
    place.link(&format!("{up}{}", place.outside().display()), "relative");
    place.link("absolute/secret", "chain");
    place.link("loop", "loop");
    let root = place.root();
    for path in [
        "absolute/secret",
        "relative/secret",
        "chain",
        &format!("{up}outside/secret"),
        "../outside/secret",
        "dir/../../outside/secret",
        &format!("slash/{}/secret", place.outside().display()),
    ] {
        let err = root.open_path(path).unwrap_err();
        assert_eq!(err.errno(), Errno::NOENT, "{path}");
        assert_eq!(err.to_string(), format!("openat2({path:?}, O_PATH)"));
        assert!(!root.exists(path).unwrap());
    }
    assert_eq!(root.open_path("loop").unwrap_err().errno(), Errno::LOOP);
    // The root is where `..` and absolute links end.
    for path in ["dir/file", "/dir/file", "../../dir/file", "slash/dir/file", "dir/../dir/./file"] {
        assert_eq!(read(root.open_with(path, OFlags::RDONLY, MODE).unwrap()), "inside", "{path}");
        assert!(root.exists(path).unwrap());
    }
    place.check_outside();
}

#[test]
fn magic_links_are_refused() {
    let proc = Root::open(Path::new("/proc")).unwrap();
    for path in ["self/root", "self/cwd", "self/exe", "self/fd/0", "self/ns/mnt"] {
        assert_eq!(proc.open_path(path).unwrap_err().errno(), Errno::LOOP, "{path}");
    }
    assert!(proc.exists("self/status").unwrap(), "an ordinary link");
}

#[test]
fn what_is_made_is_made_inside() {
    let place = Place::new("make");
    place.link("OUTSIDE/new", "dangling");
    place.link("/run", "var-run");
    place.link("OUTSIDE", "out");
    place.link("../../../../../made-by-dots", "dots");
    place.link("round", "round");
    let root = place.root();

    root.mkdir_all("a/b/c", MODE).unwrap();
    assert!(place.inside("a/b/c").is_dir());
    root.mkdir_all("/a/b/c", MODE).unwrap();
    root.mkdir_all("var-run/lock", MODE).unwrap();
    assert!(place.inside("run/lock").is_dir(), "made where the link leads inside");
    root.mkdir_all("dots/x", MODE).unwrap();
    assert!(place.inside("made-by-dots/x").is_dir());
    // The path of `outside` on the host, made again inside.
    root.mkdir_all("out/deep/er", MODE).unwrap();
    root.create_file("dangling", Mode::from_raw_mode(0o644)).unwrap();
    let copy = place.inside("").join(place.outside().strip_prefix("/").unwrap());
    assert!(copy.join("deep/er").is_dir() && copy.join("new").is_file());
    let fd = root.create_file("etc/hosts", Mode::from_raw_mode(0o600)).unwrap();
    assert_eq!(rustix::fs::fstat(&fd).unwrap().st_mode & 0o777, 0o600);
    root.create_file("etc/hosts", Mode::from_raw_mode(0o644)).unwrap();
    assert_eq!(fs::metadata(place.inside("etc/hosts")).unwrap().mode() & 0o777, 0o600);

    for (path, errno) in [
        ("dir/file/x", Errno::NOTDIR),
        ("missing/../x", Errno::NOENT),
        ("round/x", Errno::LOOP),
        ("dir/file", Errno::NOTDIR),
    ] {
        let err = root.mkdir_all(path, MODE).unwrap_err();
        assert_eq!((err.to_string(), err.errno()), (format!("mkdir({path:?})"), errno));
    }
    // What systemd's machines have at /etc/resolv.conf, in an image where nothing is there yet.
    place.link("../run/resolve/stub", "etc/resolv.conf");
    root.create_file("etc/resolv.conf", MODE).unwrap();
    assert!(place.inside("run/resolve/stub").is_file());
    place.link("resolv2", "etc/resolv1");
    place.link("resolv1", "etc/resolv2");
    assert_eq!(root.create_file("etc/resolv1", MODE).unwrap_err().errno(), Errno::LOOP);
    assert_eq!(root.create_file("dir", MODE).unwrap_err().errno(), Errno::ISDIR);
    place.check_outside();
}

#[test]
fn nodes_and_links_are_not_put_behind_links() {
    let place = Place::new("node");
    place.link("OUTSIDE/ptmx", "ptmx");
    place.link("OUTSIDE", "dev");
    let root = place.root();
    let fifo = |path| root.mknod(path, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
    assert_eq!(fifo("ptmx").unwrap_err().errno(), Errno::EXIST);
    assert_eq!(fifo("dev/null").unwrap_err().errno(), Errno::NOENT);
    assert_eq!(root.symlink("x", "ptmx").unwrap_err().errno(), Errno::EXIST);
    fifo("dir/fifo").unwrap();
    assert!(fs::metadata(place.inside("dir/fifo")).unwrap().file_type().is_fifo());
    root.symlink("pts/ptmx", "/dir/link").unwrap();
    assert_eq!(fs::read_link(place.inside("dir/link")).unwrap(), Path::new("pts/ptmx"));
    let (_, name) = root.parent("/dir/missing").unwrap();
    assert_eq!(name, "missing");
    for path in ["/", "", ".", "..", "dir/..", "dir/."] {
        assert_eq!(root.parent(path).unwrap_err().errno(), Errno::INVAL, "{path}");
    }
    let link = root.open_link("ptmx").unwrap();
    let stat = rustix::fs::fstat(&link).unwrap();
    assert!(FileType::from_raw_mode(stat.st_mode).is_symlink());
    place.check_outside();
}

#[test]
fn a_tree_is_removed_and_nothing_else() {
    let place = Place::new("remove");
    let root = place.root();
    root.remove_all("nothing/here").unwrap();
    root.remove_all("nothing").unwrap();
    for path in ["t/a/b", "t/a/c", "t/d"] {
        fs::create_dir_all(place.inside(path)).unwrap();
        fs::write(place.inside(path).join("file"), "").unwrap();
    }
    place.link("OUTSIDE", "t/a/out");
    place.link("OUTSIDE/secret", "t/secret");
    root.remove_all("t").unwrap();
    assert!(!place.inside("t").exists());
    // A link is removed itself.
    place.link("OUTSIDE", "t");
    root.remove_all("t").unwrap();
    assert!(fs::symlink_metadata(place.inside("t")).is_err());
    place.check_outside();
}

#[test]
fn a_tree_deeper_than_there_are_descriptors_is_removed() {
    let place = Place::new("deep");
    let root = place.root();
    // Deeper than the limit of 1024 descriptors, and longer than a path may be.
    let mut dir = root.mkdir_all("deep", MODE).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "deep", MODE).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = rustix::fs::openat(&dir, "deep", flags, Mode::empty()).unwrap();
    }
    drop(dir);
    root.remove_all("deep").unwrap();
    assert!(!place.inside("deep").exists());
}

/// While another thread exchanges a directory with a link that leads out, as fast as it can, nothing
/// is ever made, opened or removed outside.
#[test]
fn a_directory_swapped_for_a_link_leads_nowhere_else() {
    let place = Place::new("swap");
    let root = place.root();
    place.link("OUTSIDE", "link");
    fs::create_dir(place.inside("swapped")).unwrap();
    let (swaps, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut outcomes = BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "link", &root, "swapped", flags).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        for i in 0.. {
            if i >= 3000 && swaps.load(Ordering::Relaxed) >= 3000 {
                break;
            }
            let path = format!("swapped/{}", i % 10);
            let results = [
                root.mkdir_all(&path, MODE).err(),
                root.create_file(format!("{path}/file"), MODE).err(),
                root.open_path("swapped/secret").err(),
                root.remove_all(&path).err(),
            ];
            outcomes.extend(results.into_iter().map(|err| err.map(|err| err.errno().to_string())));
            assert!(root.open_path("swapped/secret").is_err(), "the secret was reached");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(outcomes.contains(&None), "nothing ever worked: {outcomes:?}");
    place.check_outside();
}
