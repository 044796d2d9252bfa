//! The same archive under another name.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use tarstream::{Kind, Reader, Writer};

use crate::Error;
use crate::error::At as _;

/// Copies an archive whose names begin with a directory or file of one name, with `.`, or with `/`, to one in
/// which they begin with `name`; with `.` as name what is in the directory has none before it.
pub fn rename(archive: &mut dyn Read, name: &OsStr, out: &mut dyn Write) -> Result<(), Error> {
    let place = Path::new(name);
    let bad = |err: &dyn std::error::Error| {
        Error::Invalid(format!("archive: {}", docker::error::chain(err)))
    };
    let mut reader = Reader::new(BufReader::with_capacity(64 << 10, archive));
    let mut writer = Writer::new(out);
    while let Some(mut entry) = reader.next_entry().map_err(|err| bad(&err))? {
        entry.path = renamed(&entry.path, name, entry.kind == Kind::Directory);
        if entry.kind == Kind::HardLink {
            entry.link = renamed(&entry.link, name, false);
        }
        // Neither we nor Docker's engine make sparse entries; whose does is told so.
        let sparse = entry.sparse.take();
        if sparse.is_some() {
            return Err(Error::Invalid(
                "archive: a sparse file cannot be renamed on its way".into(),
            ));
        }
        let mut data = Data(&mut reader);
        writer.append(&entry, &mut data).at("write", place)?;
    }
    writer.finish().map(drop).at("write", place)
}

fn renamed(path: &[u8], name: &OsStr, is_directory: bool) -> Vec<u8> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut parts = path.components().peekable();
    // That of a whole file system has names that begin with its root.
    if !matches!(parts.peek(), Some(Component::CurDir)) {
        parts.next();
    }
    let rest: PathBuf = parts.filter(|part| *part != Component::CurDir).collect();
    // Joined with nothing it would be a directory.
    let path = if rest.as_os_str().is_empty() { name.into() } else { Path::new(name).join(rest) };
    let mut new = path.into_os_string().into_encoded_bytes();
    if is_directory && new.last() != Some(&b'/') {
        new.push(b'/');
    }
    new
}

/// The data of one entry.
struct Data<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_anew() {
        for (path, name, is_directory, want) in [
            ("d/", "e", true, "e/"),
            ("d/a/b", "e", false, "e/a/b"),
            ("./", "e", true, "e/"),
            ("./a/b", "e", false, "e/a/b"),
            ("file", "other", false, "other"),
            ("d/a", ".", false, "./a"),
        ] {
            let got = renamed(path.as_bytes(), OsStr::new(name), is_directory);
            assert_eq!(String::from_utf8(got).unwrap(), want, "{path}");
        }
    }
}
