//! The files of a log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::At as _;
use crate::logs::form::Form;

/// One file, open.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Of the file system.
    pub(super) inode: u64,
    is_compressed: bool,
}

impl Source {
    fn open(path: &Path, is_compressed: bool) -> Result<Option<Self>, Error> {
        match File::open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.at("open", path)?;
                let inode = file.metadata().at("stat", path)?.ino();
                Ok(Some(Self { file, inode, is_compressed }))
            }
        }
    }

    /// The file as it was before it was compressed. `path`: of the log, for a place on the disk.
    pub(super) fn plain(self, path: &Path) -> Result<File, Error> {
        if !self.is_compressed {
            return Ok(self.file);
        }
        let folder = path.parent().unwrap_or(path);
        let mut plain = nameless(folder).at("open", folder)?;
        // One that was cut short says as much as there is.
        let mut decoder = flate2::read::MultiGzDecoder::new(self.file);
        match io::copy(&mut decoder, &mut plain) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {}
            copied => drop(copied.at("decompress", path)?),
        }
        plain.seek(SeekFrom::Start(0)).at("seek", path)?;
        Ok(plain)
    }
}

/// A file that nobody else sees, and that goes when it is closed.
fn nameless(folder: &Path) -> io::Result<File> {
    let tmpfile = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    let opened =
        OpenOptions::new().read(true).write(true).custom_flags(tmpfile).mode(0o600).open(folder);
    opened.or_else(|_| {
        // Not every file system has such files.
        let path = folder.join(format!(".plain.{}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    })
}

/// The files of a log, the oldest first.
///
/// While they are opened they may make place for others: then those that are found are not those that were
/// there at any time, and it is looked again.
pub(super) fn open_all(path: &Path) -> Result<Vec<Source>, Error> {
    const TRIES: u32 = 10;
    let newest = || fs::metadata(path).ok().map(|found| found.ino());
    for _ in 1..TRIES {
        let before = newest();
        let files = open_each(path)?;
        if newest() == before {
            return Ok(files);
        }
    }
    open_each(path)
}

fn open_each(path: &Path) -> Result<Vec<Source>, Error> {
    let mut files: Vec<Source> = Vec::new();
    let mut is_gap = false;
    for number in 0.. {
        let with = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let found = match number {
            0 => Source::open(path, false)?,
            // Where both are there, the first has not been removed yet.
            number => match Source::open(&with(&format!(".{number}")), false)? {
                Some(plain) => Some(plain),
                None => Source::open(&with(&format!(".{number}.gz")), true)?,
            },
        };
        // While files make place for others, one of them may be missing, or be met a second time.
        let Some(found) = found else {
            if is_gap {
                break;
            }
            is_gap = number > 0;
            continue;
        };
        is_gap = false;
        if files.iter().all(|file| file.inode != found.inode) {
            files.push(found);
        }
    }
    files.reverse();
    Ok(files)
}

/// The first file to read, at the place where the wanted lines begin. The files before it are
/// taken out of `files`.
pub(super) fn start(
    files: &mut Vec<Source>,
    tail: Option<usize>,
    form: Form,
    path: &Path,
) -> Result<Option<BufReader<File>>, Error> {
    if files.is_empty() {
        return Ok(None);
    }
    let Some(mut left) = tail else {
        return Ok(Some(BufReader::new(files.remove(0).plain(path)?)));
    };
    // The newest first: those that are too old are not even decompressed.
    let mut newer = Vec::new();
    while let Some(source) = files.pop() {
        let (inode, is_compressed) = (source.inode, source.is_compressed);
        let mut file = source.plain(path)?;
        let (found, offset) = form.last(&mut file, left).at("read", path)?;
        left -= found.min(left);
        if left == 0 || files.is_empty() {
            file.seek(SeekFrom::Start(offset)).at("seek", path)?;
            newer.reverse();
            *files = newer;
            return Ok(Some(BufReader::new(file)));
        }
        file.seek(SeekFrom::Start(0)).at("seek", path)?;
        // It is plain by now.
        let inode = if is_compressed { 0 } else { inode };
        newer.push(Source { file, inode, is_compressed: false });
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn files_that_make_place_are_neither_missed_nor_met_twice() {
        let dir = std::env::temp_dir().join(format!("dhow-source-place-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, number) = (dir.join("log"), |n: u32| dir.join(format!("log.{n}")));
        let found = || -> Vec<String> {
            let texts = open_all(&path).unwrap().into_iter().map(|source| {
                let mut text = String::new();
                source.plain(&path).unwrap().read_to_string(&mut text).unwrap();
                text
            });
            texts.collect()
        };
        for n in 1..4 {
            fs::write(number(n), n.to_string()).unwrap();
        }
        fs::write(&path, "0").unwrap();
        // As each is renamed, beginning with the oldest.
        fs::rename(number(3), number(4)).unwrap();
        assert_eq!(found(), ["3", "2", "1", "0"]);
        fs::rename(number(2), number(3)).unwrap();
        fs::rename(number(1), number(2)).unwrap();
        assert_eq!(found(), ["3", "2", "1", "0"]);
        // The newest as it was seen before, and after.
        fs::hard_link(&path, number(1)).unwrap();
        assert_eq!(found(), ["3", "2", "1", "0"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(found(), ["3", "2", "1", "0"]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_tail_may_lie_in_several_files_compressed_or_not() {
        let dir = std::env::temp_dir().join(format!("dhow-source-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        fs::write(&path, "4\n5\n").unwrap();
        fs::write(dir.join("log.1"), "3\n").unwrap();
        let old = File::create(dir.join("log.2.gz")).unwrap();
        let mut old = flate2::write::GzEncoder::new(old, flate2::Compression::fast());
        old.write_all(b"1\n2\n").unwrap();
        old.finish().unwrap();
        for (tail, first, n_more) in [
            (None, "1\n2\n", 2),
            (Some(4), "2\n", 2),
            (Some(2), "4\n5\n", 0),
            (Some(0), "", 0),
            (Some(99), "1\n2\n", 2),
        ] {
            let mut files = open_all(&path).unwrap();
            let mut text = String::new();
            let mut reader = start(&mut files, tail, Form::Json, &path).unwrap().unwrap();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), files.len()), (first, n_more), "{tail:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
