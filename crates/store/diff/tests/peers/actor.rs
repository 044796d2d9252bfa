//! Random changes in a tree, as programs make them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::generate::Dice;

/// What happens to a tree.
pub(crate) struct Actor<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) root: PathBuf,
    /// What was done, for whoever looks into a failure.
    pub(crate) log: Vec<String>,
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
    pub(crate) fn act(&mut self) {
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
