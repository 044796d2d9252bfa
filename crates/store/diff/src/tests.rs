use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use tarstream::{Entry, Kind, Time, Writer};

use super::*;

mod comparing;
mod hostile;
mod layers;
mod packing;

/// A folder with a directory to unpack into, and a canary beside it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-diff-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("canary/dir")).unwrap();
        fs::create_dir(path.join("root")).unwrap();
        fs::write(path.join("canary/secret"), "secret").unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path.join("canary/secret"), mode).unwrap();
        Self(path)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn apply(&self, archive: &[u8], origin: Origin) -> Result<Applied, Error> {
        let options = Options {
            origin,
            below: &[],
            whiteouts: Whiteouts::Overlay,
            limits: Limits::default(),
        };
        apply(&mut { archive }, &self.root(), &options)
    }

    /// The canary has neither moved nor changed.
    fn check_canary(&self, what: &str) {
        let secret = self.0.join("canary/secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret", "{what}");
        let found = fs::metadata(&secret).unwrap();
        assert_eq!((found.mode() & 0o7777, found.nlink()), (0o600, 1), "{what}");
        let mut names: Vec<_> = fs::read_dir(self.0.join("canary"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["dir", "secret"], "{what}");
        assert_eq!(fs::read_dir(self.0.join("canary/dir")).unwrap().count(), 0, "{what}");
        assert_eq!(fs::metadata(self.0.join("canary/dir")).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 2, "{what}");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(kind: Kind, path: &str, link: &str) -> Entry {
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    Entry { path: path.into(), kind, link: link.into(), mode, ..Entry::default() }
}

fn dir(path: &str) -> (Entry, &'static str) {
    (entry(Kind::Directory, path, ""), "")
}

fn file(path: &str, data: &'static str) -> (Entry, &'static str) {
    let size = data.len() as u64;
    (Entry { size, ..entry(Kind::File, path, "") }, data)
}

fn symlink(path: &str, target: &str) -> (Entry, &'static str) {
    (entry(Kind::Symlink, path, target), "")
}

fn hard_link(path: &str, target: &str) -> (Entry, &'static str) {
    (entry(Kind::HardLink, path, target), "")
}

fn archive(entries: &[(Entry, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(entry, &mut data.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

#[test]
fn everything_comes_out_as_it_went_in() {
    let home = Dir::new("all");
    let mut suid = file("bin/su", "suid");
    suid.0.mode = 0o4755;
    suid.0.uid = 7;
    suid.0.gid = 8;
    suid.0.mtime = Time { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
    suid.0.xattrs.insert(b"user.note".to_vec(), b"hi".to_vec());
    let mut folder = dir("bin/");
    folder.0.mtime = Time { seconds: 5, nanoseconds: 7 };
    folder.0.mode = 0o1777;
    let mut root = dir("./");
    root.0.mode = 0o711;
    root.0.mtime.seconds = 9;
    let mut null = (entry(Kind::CharDevice, "null", ""), "");
    null.0.device = (1, 3);
    null.0.mode = 0o666;
    let mut link = symlink("link", "/etc/../nowhere");
    link.0.uid = 5;
    link.0.mtime.seconds = 77;
    let bytes = archive(&[
        root,
        folder,
        suid,
        hard_link("second", "bin/su"),
        link,
        null,
        (entry(Kind::Fifo, "fifo", ""), ""),
        file("implied/parents/file", "x"),
        file("empty", ""),
    ]);
    let applied = home.apply(&bytes, Origin::Archive).unwrap();
    assert_eq!((applied.size, applied.n_entries, applied.diff), (5, 9, None));

    let stat = |name: &str| fs::symlink_metadata(home.root().join(name)).unwrap();
    let su = stat("bin/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 7, 8, 2));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_000_000_000, 123_456_789));
    assert_eq!((stat("bin").mtime(), stat("bin").mtime_nsec()), (5, 7));
    assert_eq!(stat("bin").mode() & 0o7777, 0o1777);
    assert_eq!((stat("").mode() & 0o7777, stat("").mtime()), (0o711, 9));
    assert_eq!((stat("link").uid(), stat("link").mtime()), (5, 77));
    let target = fs::read_link(home.root().join("link")).unwrap();
    assert_eq!(target, Path::new("/etc/../nowhere"));
    assert!(stat("null").file_type().is_char_device());
    assert_eq!((stat("null").rdev(), stat("null").mode() & 0o777), (0x103, 0o666));
    assert!(stat("fifo").file_type().is_fifo());
    assert_eq!(stat("implied/parents").mode() & 0o777, 0o755);
    assert_eq!(fs::read(home.root().join("second")).unwrap(), b"suid");
    let mut value = [0; 9];
    let path = home.root().join("bin/su");
    match rustix::fs::getxattr(&path, "user.note", &mut value[..]) {
        Ok(len) => assert_eq!(&value[..len], b"hi"),
        Err(errno) => println!("skipped: attributes: {errno}"),
    }
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let home = Dir::new("replace");
    let bytes = archive(&[
        file("a", "first"),
        file("a", "second"),
        file("b", "file"),
        dir("b"),
        file("b/in", "x"),
        dir("c"),
        file("c/in", "x"),
        file("c", "file"),
        dir("d"),
        file("d/stays", "x"),
        dir("d"),
        symlink("e", "nowhere"),
        file("e", "file"),
        hard_link("a2", "a"),
        file("a2", "other"),
        hard_link("a", "a"),
    ]);
    home.apply(&bytes, Origin::Archive).unwrap();
    let read = |name: &str| fs::read_to_string(home.root().join(name)).unwrap();
    assert_eq!(read("a"), "second");
    assert_eq!(read("b/in"), "x");
    assert_eq!(read("c"), "file");
    assert_eq!(read("d/stays"), "x");
    assert_eq!(read("e"), "file");
    assert_eq!(read("a2"), "other");
}

#[test]
fn a_link_inside_the_root_may_be_on_the_way() {
    let home = Dir::new("inside");
    let bytes = archive(&[dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "x")]);
    home.apply(&bytes, Origin::Archive).unwrap();
    assert!(home.root().join("usr/lib/x").is_file());
    let bytes = archive(&[symlink("abs", "/usr/lib"), file("abs/y", "y"), file("/z", "z")]);
    home.apply(&bytes, Origin::Layer).unwrap();
    assert!(home.root().join("usr/lib/y").is_file());
    assert!(home.root().join("z").is_file());
}

/// However many they are: what is kept of them has an end.
#[test]
fn a_directory_keeps_its_time_and_its_children_nothing_of_its_list() {
    let home = Dir::new("late");
    let name = |n: usize| format!("{}{n}/", "d".repeat(100));
    let list = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let mut entries: Vec<_> = (0..400)
        .map(|n| {
            let mut one = dir(&name(n));
            one.0.mtime = Time { seconds: n as i64, nanoseconds: 7 };
            one.0.xattrs.insert(b"system.posix_acl_default".to_vec(), list.to_vec());
            one
        })
        .collect();
    entries.extend((0..400).rev().map(|n| dir(&format!("{}sub", name(n)))));
    entries.extend((0..400).step_by(7).map(|n| file(&format!("{}f", name(n)), "x")));
    // What is said last counts, for this one.
    let mut last = dir(&name(5));
    last.0.mtime.seconds = 77;
    entries.push(last);
    home.apply(&archive(&entries), Origin::Layer).unwrap();
    let attributes = |path: &str| {
        let mut names = vec![0; 1000];
        rustix::fs::listxattr(home.root().join(path), &mut names[..]).unwrap_or(0)
    };
    for n in 0..400 {
        let found = fs::metadata(home.root().join(name(n))).unwrap();
        let want = if n == 5 { (77, 0) } else { (n as i64, 7) };
        assert_eq!((found.mtime(), found.mtime_nsec()), want, "{n}");
    }
    let list_len = attributes(&name(4));
    assert!(list_len == 25 || list_len == 0, "{list_len}: all, or a disk without lists");
    for path in [name(5), format!("{}sub", name(4)), format!("{}f", name(7))] {
        assert_eq!(attributes(&path), 0, "{path}");
    }
}

#[test]
fn compressions_are_told_by_their_first_bytes() {
    let bytes = archive(&[file("a", "hello")]);
    let diff = DiffId(oci::Digest::sha256(&bytes));
    let twice = [gzip(&bytes[..700]), gzip(&bytes[700..])].concat();
    let zstd = zstd::encode_all(bytes.as_slice(), 3).unwrap();
    let chunked = [&b"\x50\x2a\x4d\x18\x04\0\0\0skip"[..], &zstd, &zstd].concat();
    for (name, packed, want) in [
        ("plain", bytes.clone(), Compression::None),
        ("gzip", gzip(&bytes), Compression::Gzip),
        ("two members", twice, Compression::Gzip),
        ("zstd", zstd, Compression::Zstd),
    ] {
        let home = Dir::new(&name.replace(' ', "-"));
        let applied = home.apply(&packed, Origin::Archive).unwrap();
        assert_eq!(applied.compression, want, "{name}");
        assert_eq!(applied.diff, (want != Compression::None).then(|| diff.clone()), "{name}");
        assert_eq!(fs::read(home.root().join("a")).unwrap(), b"hello");
    }
    // What comes after the end mark counts for the digest, and for nothing else.
    let home = Dir::new("chunked");
    let applied = home.apply(&chunked, Origin::Layer).unwrap();
    let both = [bytes.clone(), bytes].concat();
    assert_eq!(applied.diff.unwrap().0, oci::Digest::sha256(&both));
    assert_eq!(applied.n_entries, 1);
}

#[test]
fn a_real_tree_comes_out_as_gnu_tar_makes_it() {
    let home = Dir::new("real");
    let source = Path::new("/usr/lib/python3");
    let source = if source.is_dir() { source } else { Path::new("/etc") };
    let run = |args: &[&str], dir: &Path| {
        let run = Command::new("tar").args(args).arg("-C").arg(dir).arg(".").output().unwrap();
        assert!(run.status.success() || !run.stdout.is_empty(), "{run:?}");
        run.stdout
    };
    let bytes = run(&["--format=posix", "--xattrs", "-c"], source);
    home.apply(&gzip(&bytes), Origin::Archive).unwrap();
    fs::create_dir(home.0.join("gnu")).unwrap();
    fs::write(home.0.join("a.tar"), &bytes).unwrap();
    let unpacked = Command::new("tar")
        .args(["--xattrs", "-xpf"])
        .arg(home.0.join("a.tar"))
        .arg("-C")
        .arg(home.0.join("gnu"))
        .status()
        .unwrap();
    assert!(unpacked.success());
    let list = |root: PathBuf| {
        let find = Command::new("find")
            .args([".", "-printf", "%p %y %m %U %G %s %T@ %l %n\n"])
            .current_dir(root)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&find.stdout).into_owned();
        // Sizes of directories are the disk's own affair.
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| {
                let mut fields: Vec<_> = line.split(' ').collect();
                if fields.get(1) == Some(&"d") {
                    fields[5] = "-";
                }
                fields.join(" ")
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(list(home.root()), list(home.0.join("gnu")));
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(home.root())
        .arg(home.0.join("gnu"))
        .status()
        .unwrap();
    assert!(same.success());
}

#[test]
fn a_sparse_file_stays_sparse() {
    let home = Dir::new("sparse");
    let tree = home.0.join("gnu");
    fs::create_dir(&tree).unwrap();
    let big = fs::File::create(tree.join("big")).unwrap();
    big.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&big, b"middle", 500 << 20).unwrap();
    let tar = Command::new("tar").args(["-cSC"]).arg(&tree).arg(".").output().unwrap();
    home.apply(&tar.stdout, Origin::Archive).unwrap();
    let found = fs::metadata(home.root().join("big")).unwrap();
    assert_eq!(found.len(), 1 << 30);
    assert!(found.blocks() < 1000, "{} blocks", found.blocks());
    let mut middle = [0; 6];
    let file = fs::File::open(home.root().join("big")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut middle, 500 << 20).unwrap();
    assert_eq!(&middle, b"middle");
}
