//! What a digest is of, file by file: kept beside it, so that it can be said later what has changed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::Stat;

/// No longer listing is kept, in bytes: that of some hundred thousand files.
const MAX: usize = 16 << 20;

/// Files that a digest is of: one a line, `BODY MODE UID GID PATH`, in the order of the walk. `BODY` is the start
/// of what the bytes, the link and the attributes come to. In a path, what is no printable ASCII, and `\`, is
/// escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    text: String,
    is_cut: bool,
}

/// How a file differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Its bytes, where it leads, or an attribute.
    Content,
    /// Its kind or mode.
    Mode,
    /// Whose it is.
    Owner,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
}

impl Listing {
    /// Adds a file; `body` is what its content comes to.
    pub(crate) fn push(&mut self, path: &Path, stat: &Stat, body: &[u8]) {
        if self.is_cut || self.text.len() > MAX {
            self.is_cut = true;
            self.text = String::new();
            return;
        }
        for byte in body.iter().take(8) {
            // Writing to a string cannot fail, here and below.
            _ = write!(self.text, "{byte:02x}");
        }
        _ = write!(self.text, " {:o} {} {} ", stat.st_mode, stat.st_uid, stat.st_gid);
        self.escape(path.as_os_str());
        self.text.push('\n');
    }

    fn escape(&mut self, path: &OsStr) {
        for &byte in path.as_bytes() {
            match byte {
                b' '..=b'~' if byte != b'\\' => self.text.push(char::from(byte)),
                _ => _ = write!(self.text, "\\x{byte:02x}"),
            }
        }
    }

    /// It as text; `None` where it would be too long.
    pub fn text(&self) -> Option<&str> {
        (!self.is_cut).then_some(self.text.as_str())
    }
}

/// What differs between two texts of listings, by the path. What is no line of one counts for nothing.
pub fn changes(before: &str, after: &str) -> BTreeMap<String, Change> {
    if before == after {
        return BTreeMap::new();
    }
    let mut old: BTreeMap<&str, [&str; 4]> = before.lines().filter_map(line).collect();
    let mut changes = BTreeMap::new();
    for (path, [body, mode, uid, gid]) in after.lines().filter_map(line) {
        let change = match old.remove(path) {
            None => Change::Added,
            Some([was, ..]) if was != body => Change::Content,
            Some([_, was, ..]) if was != mode => Change::Mode,
            Some([.., user, group]) if user != uid || group != gid => Change::Owner,
            Some(_) => continue,
        };
        changes.insert(path.to_owned(), change);
    }
    changes.extend(old.into_keys().map(|path| (path.to_owned(), Change::Removed)));
    changes
}

fn line(line: &str) -> Option<(&str, [&str; 4])> {
    let mut fields = line.splitn(5, ' ');
    let four = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    Some((fields.next()?, four))
}
