//! Whose files are to be: numbers, or names that are looked up in the tree that is changed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use buildgraph::{Identity, Owner};
use fsroot::Root;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

/// The most that is read of a list of users or groups (security row E28).
const MAX: u64 = 10 << 20;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The numbers of an owner; `None`: none is said. A name that is in no list is root's, as in BuildKit.
pub(crate) fn find(
    inputs: &[Option<&Root>],
    owner: Option<&Owner>,
) -> Result<Option<(u32, u32)>, Error> {
    let Some(owner) = owner else { return Ok(None) };
    let root = |input: usize| inputs.get(input).copied().flatten().ok_or(Error::NoUsers);
    let (mut uid, mut gid) = (0, 0);
    match &owner.user {
        Some(Identity::Id(id)) => (uid, gid) = (*id, *id),
        Some(identity @ (Identity::Name(name) | Identity::NameIn { name, .. })) => {
            let lines = read(root(of(identity))?, Path::new(PASSWD))?;
            if let Some(fields) = entry(&lines, name) {
                (uid, gid) = (number(fields.get(2)), number(fields.get(3)));
            }
        }
        None => {}
    }
    match &owner.group {
        Some(Identity::Id(id)) => gid = *id,
        Some(identity @ (Identity::Name(name) | Identity::NameIn { name, .. })) => {
            let lines = read(root(of(identity))?, Path::new(GROUP))?;
            if let Some(fields) = entry(&lines, name) {
                gid = number(fields.get(2));
            }
        }
        None => {}
    }
    Ok(Some((uid, gid)))
}

/// The input whose lists a name is in.
fn of(identity: &Identity) -> usize {
    match identity {
        Identity::NameIn { input, .. } => *input,
        _ => 0,
    }
}

/// The fields of the first line that begins with `name`.
fn entry<'a>(lines: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut entries = lines.map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>());
    entries.find(|fields| fields.first() == Some(&name.as_bytes()))
}

/// A number; what is none counts as 0.
fn number(field: Option<&&[u8]>) -> u32 {
    field.and_then(|field| std::str::from_utf8(field).ok()?.parse().ok()).unwrap_or(0)
}

/// What is in a list; nothing where there is none.
fn read(base: &Root, path: &Path) -> Result<Vec<u8>, Error> {
    let file = match base.open_path(path) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => {
            return Ok(Vec::new());
        }
        opened => open_file(&opened.at("open", path)?, OFlags::RDONLY, path)?,
    };
    let mut lines = Vec::new();
    let read = File::from(file).take(MAX + 1).read_to_end(&mut lines);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).at("read", path)?;
    if lines.len() as u64 > MAX {
        let why = format!("exceeds {MAX} bytes");
        return Err(Error::Users { path: path.into(), why });
    }
    Ok(lines)
}

/// Opens the regular file that `node` (`O_PATH`) refers to. What is none is not opened: opening some things
/// waits, or does something (security row H12).
pub(crate) fn open_file(node: &OwnedFd, flags: OFlags, path: &Path) -> Result<OwnedFd, Error> {
    let stat = rustix::fs::fstat(node).at("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::NotAFile(path.into()));
    }
    open_known(node, flags, path)
}

/// The same where `node` is known to be a regular file: what a descriptor refers to stays of its kind.
pub(crate) fn open_known(node: &OwnedFd, flags: OFlags, path: &Path) -> Result<OwnedFd, Error> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(fsroot::fd_path(node), flags, Mode::empty()).at("open", path)
}
