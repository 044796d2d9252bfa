//! Random changes in a mounted overlay, and in a copy of a tree: what was written becomes a layer, and
//! that layer on the same parent elsewhere is the same tree again.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use diff::{Limits, Options, Origin, Whiteouts};
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use testkit::{Catalogue, catalogue, differences};

use crate::generate::{self, Dice, Format};
use crate::{Scratch, unpack};

/// What happens to a tree.
struct Actor<'a> {
    dice: &'a mut Dice,
    root: PathBuf,
    /// What was done, for whoever looks into a failure.
    log: Vec<String>,
}

impl Actor<'_> {
    /// All names there are, in an order that is always the same.
    fn names(&self) -> Vec<PathBuf> {
        let (mut all, mut rest) = (Vec::new(), vec![self.root.clone()]);
        while let Some(dir) = rest.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            names.sort();
            rest.extend(names.iter().filter(|path| is_dir(path)).cloned());
            all.extend(names);
        }
        all
    }

    fn any(&mut self, wanted: fn(&Path) -> bool) -> Option<PathBuf> {
        let all: Vec<_> = self.names().into_iter().filter(|path| wanted(path)).collect();
        (!all.is_empty()).then(|| self.dice.of(&all).clone())
    }

    fn new_name(&mut self) -> PathBuf {
        let mut dirs: Vec<_> = self.names().into_iter().filter(|path| is_dir(path)).collect();
        dirs.push(self.root.clone());
        let dir = self.dice.of(&dirs).clone();
        let number = self.dice.below(1000).to_string();
        let name = match self.dice.below(8) {
            0 => [&b"\xff\xfe"[..], number.as_bytes()].concat(),
            // A whiteout's name is longer than a file's can be.
            1 => [vec![b'w'; 252], number.into_bytes()].concat(),
            2 => [&b"new\nline"[..], number.as_bytes()].concat(),
            _ => [&b"made"[..], number.as_bytes()].concat(),
        };
        dir.join(OsString::from_vec(name[..name.len().min(255)].to_vec()))
    }

    /// Does one thing, if it can be done.
    fn act(&mut self) {
        let is_any: fn(&Path) -> bool = |_| true;
        let kind = self.dice.below(24);
        let Some(one) = (match kind {
            0..=2 | 8 | 12 => self.any(is_file),
            3 | 4 | 15 => self.any(is_dir),
            _ => self.any(is_any),
        }) else {
            return;
        };
        let other = self.new_name();
        let shown =
            |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).display().to_string();
        self.log.push(format!("{kind} {} {}", shown(&one), shown(&other)));
        let seconds = self.dice.below(2_000_000_000) as i64;
        // What cannot be done is not done: most of what fails is that a name is taken.
        let _done: Result<(), std::io::Error> = match kind {
            0 => fs::write(&one, format!("written {seconds}")),
            1 => append(&one),
            2 => fs::File::options()
                .write(true)
                .open(&one)
                .and_then(|f| f.set_len(seconds as u64 % 9000)),
            3 => fs::remove_dir_all(&one),
            // Deleted, and made again: nothing of before is to be seen.
            4 => fs::remove_dir_all(&one)
                .and_then(|()| fs::create_dir(&one))
                .and_then(|()| fs::write(one.join("fresh"), "fresh")),
            5 if !is_dir(&one) => fs::remove_file(&one),
            5 | 6 => fs::rename(&one, &other).or_else(|error| by_copy(&error, &one, &other)),
            7 => exchange(&one, &self.any(is_any).unwrap_or(other)),
            8 => fs::hard_link(&one, &other),
            9 => symlink("some/target", &other),
            // Not into a fifo of that name.
            10 => fs::File::create_new(&other).and_then(|mut file| {
                std::io::Write::write_all(&mut file, &vec![7; seconds as usize % 5000])
            }),
            11 => fs::create_dir_all(other.join("deep/er")),
            12 => sparse(&other, seconds as u64 % 1000),
            13 if !one.is_symlink() => fs::set_permissions(
                &one,
                fs::Permissions::from_mode(*self.dice.of(&[0, 0o4755, 0o1777, 0o640])),
            ),
            14 => std::os::unix::fs::lchown(&one, Some(seconds as u32), Some(5)),
            15 => fs::remove_dir_all(&one).and_then(|()| symlink("was/a/dir", &one)),
            16 if !is_dir(&one) => fs::remove_file(&one)
                .and_then(|()| fs::create_dir(&one))
                .and_then(|()| fs::write(one.join("in"), "in")),
            17 if is_dir(&one) => {
                fs::remove_dir_all(&one).and_then(|()| fs::write(&one, "was a dir"))
            }
            18 => node(&other, FileType::Fifo, 0),
            19 => node(&other, FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
            20 => rustix::fs::lsetxattr(
                &one,
                "trusted.t",
                &seconds.to_le_bytes(),
                XattrFlags::empty(),
            )
            .map_err(Into::into),
            21 => rustix::fs::lremovexattr(&one, "user.long").map_err(Into::into),
            22 => times(&one, seconds),
            // The same again, as another file.
            _ if is_file(&one) => fs::read(&one).and_then(|data| {
                fs::remove_file(&one)?;
                fs::write(&one, data)
            }),
            _ => std::os::unix::net::UnixListener::bind(self.root.join("socket")).map(drop),
        };
    }
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() < 1 << 20)
}

fn append(path: &Path) -> Result<(), std::io::Error> {
    use std::io::Write as _;
    fs::File::options().append(true).open(path)?.write_all(b"appended")
}

fn sparse(path: &Path, at: u64) -> Result<(), std::io::Error> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::create_new(path)?;
    file.write_all_at(b"data", at * 4096)?;
    file.set_len(at * 4096 + 100_000)
}

fn node(path: &Path, kind: FileType, device: u64) -> Result<(), std::io::Error> {
    Ok(rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device)?)
}

fn times(path: &Path, seconds: i64) -> Result<(), std::io::Error> {
    let time = Timespec { tv_sec: seconds, tv_nsec: seconds % 1_000_000_000 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn exchange(one: &Path, other: &Path) -> Result<(), std::io::Error> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// As mv(1) does where a directory of a lower layer cannot be renamed (`redirect_dir` is off).
fn by_copy(error: &std::io::Error, from: &Path, to: &Path) -> Result<(), std::io::Error> {
    if Errno::from_io_error(error) != Some(Errno::XDEV) {
        return Ok(());
    }
    let moved = std::process::Command::new("mv").arg(from).arg(to).output()?;
    assert!(moved.status.success(), "{moved:?}");
    Ok(())
}

pub(crate) fn options(below: &[PathBuf], whiteouts: Whiteouts) -> Options<'_> {
    Options { origin: Origin::Layer, below, whiteouts, limits: Limits::default() }
}

/// What an overlay of these shows, lowest last.
pub(crate) fn shown(stack: &[PathBuf]) -> Catalogue {
    let mounted = mount::overlay(stack, None, &[]).unwrap();
    sorted_out(catalogue(&PathBuf::from(format!(
        "/proc/{}/fd/{}/.",
        std::process::id(),
        mounted.as_raw_fd()
    ))))
}

/// Without what a layer does not hold: sockets, holes, and the root, which the snapshot makes.
pub(crate) fn sorted_out(mut all: Catalogue) -> Catalogue {
    all.retain(|path, one| one.kind != 's' && !path.as_os_str().is_empty());
    for one in all.values_mut() {
        one.data.clear();
    }
    all
}

pub(crate) fn count() -> u64 {
    std::env::var("DHOW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A tree to begin with, and another layer that hides some of it.
fn parent(dice: &mut Dice, root: &Path) {
    let mut nodes = generate::nodes(dice, Format::Pax, 60);
    // Holes are zeros in a layer that is written.
    for (map, size) in nodes.iter_mut().filter_map(|node| node.sparse.as_mut()) {
        *size = map.last().map_or(0, |(at, len)| at + len) + 10_000;
    }
    let archive = generate::archive(dice, Format::Pax, &nodes);
    unpack(&archive, root).unwrap();
}

#[test]
fn what_was_changed_in_an_overlay_is_the_same_elsewhere() {
    testkit::needs!(Root, Overlay);
    for seed in 0..count() {
        let home = Scratch::new(&format!("overlay-{seed}"));
        let mut dice = Dice::new(seed + 5000);
        let (lower, upper, work) = (home.dir("lower"), home.dir("upper"), home.dir("work"));
        parent(&mut dice, &lower);
        let mounted =
            mount::overlay(std::slice::from_ref(&lower), Some((&upper, &work)), &[]).unwrap();
        let root =
            PathBuf::from(format!("/proc/{}/fd/{}/.", std::process::id(), mounted.as_raw_fd()));
        let mut actor = Actor { dice: &mut dice, root: root.clone(), log: Vec::new() };
        for _ in 0..60 {
            actor.act();
        }
        let log = actor.log.join("\n");
        let wanted = sorted_out(catalogue(&root));
        drop(mounted);

        let mut packed = Vec::new();
        diff::pack(&upper, std::slice::from_ref(&lower), &mut packed)
            .unwrap_or_else(|error| panic!("{seed}: {error}\n{log}"));
        assert!(!contains(&packed, b"overlay."), "{seed}: an attribute of overlayfs\n{log}");
        let mut again = Vec::new();
        diff::pack(&upper, std::slice::from_ref(&lower), &mut again).unwrap();
        assert_eq!(packed, again, "{seed}: the same tree gives the same bytes");

        // As a layer of an overlay.
        let layer = home.dir("layer");
        let below = [lower.clone()];
        diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
        let found = differences(&wanted, &shown(&[layer.clone(), lower.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}\n{log}", found.join("\n"));
        // What it is packed to is what it came from.
        let mut once_more = Vec::new();
        diff::pack(&layer, std::slice::from_ref(&lower), &mut once_more).unwrap();
        assert!(once_more == packed, "{seed}: packed again it is another layer\n{log}");
        // In a whole tree.
        let found = differences(&wanted, &laid_over(&home, &lower, &packed));
        assert!(found.is_empty(), "whole {seed}:\n{}\n{log}", found.join("\n"));
    }
}

/// A layer on a whole tree.
pub(crate) fn laid_over(home: &Scratch, below: &Path, packed: &[u8]) -> Catalogue {
    let (changes, whole) = (home.dir("changes"), home.dir("whole"));
    let paths = [below.to_path_buf()];
    diff::apply(&mut { packed }, &changes, &options(&paths, Whiteouts::Files)).unwrap();
    tree::copy(below, &whole, tree::Files::Copy).unwrap();
    tree::merge(&changes, &whole).unwrap();
    sorted_out(catalogue(&whole))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn what_was_changed_in_a_copy_is_the_same_elsewhere() {
    testkit::needs!(Root, Overlay);
    for seed in 0..count() {
        let home = Scratch::new(&format!("copy-{seed}"));
        let mut dice = Dice::new(seed + 9000);
        let (before, now) = (home.dir("before"), home.dir("now"));
        parent(&mut dice, &before);
        tree::copy(&before, &now, tree::Files::Copy).unwrap();
        let mut actor = Actor { dice: &mut dice, root: now.clone(), log: Vec::new() };
        for _ in 0..60 {
            actor.act();
        }
        let log = actor.log.join("\n");
        let wanted = sorted_out(catalogue(&now));
        let what = tree::Compare { before: Some(&before), now: &now, since: None, ignored: None };
        let changes = tree::compare(&what).unwrap();
        let mut packed = Vec::new();
        diff::pack_changes(&now, &changes, &mut packed).unwrap();

        let layer = home.dir("layer");
        let below = [before.clone()];
        diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
        let found = differences(&wanted, &shown(&[layer, before.clone()]));
        assert!(found.is_empty(), "overlay {seed}:\n{}\n{log}", found.join("\n"));
        let found = differences(&wanted, &laid_over(&home, &before, &packed));
        assert!(found.is_empty(), "whole {seed}:\n{}\n{log}", found.join("\n"));
    }
}

/// Every name is a name.
#[test]
fn odd_names_are_hidden_too() {
    testkit::needs!(Root, Overlay);
    let home = Scratch::new("odd-names");
    let (lower, upper, work) = (home.dir("lower"), home.dir("upper"), home.dir("work"));
    let names: [&[u8]; 5] = [b"\xff\xfe", b"a\nb", &[b'n'; 255], &[b'm'; 252], b"wh"];
    for name in names {
        let dir = lower.join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("inside"), "x").unwrap();
    }
    let mounted = mount::overlay(std::slice::from_ref(&lower), Some((&upper, &work)), &[]).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
    for name in names {
        fs::remove_dir_all(root.join(OsStr::from_bytes(name))).unwrap();
    }
    drop(mounted);
    let mut packed = Vec::new();
    assert_eq!(diff::pack(&upper, std::slice::from_ref(&lower), &mut packed).unwrap().n_entries, 5);
    assert_eq!(laid_over(&home, &lower, &packed).len(), 0);
    let layer = home.dir("layer");
    let below = [lower.clone()];
    diff::apply(&mut packed.as_slice(), &layer, &options(&below, Whiteouts::Overlay)).unwrap();
    assert_eq!(shown(&[layer, lower]).len(), 0);
}
