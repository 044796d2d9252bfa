//! An authority that a container's programs trust while it runs: it stands at the end of the file of authorities of
//! the container's root, as BuildKit puts it there, and is taken away before anybody else sees that root.
//!
//! What is written is written in place: owner, mode and attributes of the file stay what they are, and a file that
//! the container leaves alone has its bytes and its time afterwards. A root without such a file stays without one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use fsroot::Root;
use rustix::fs::{FileType, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::error::Error;

/// Where systems have their authorities; the first that is there counts. In BuildKit's order.
const FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// A larger file is none, in bytes.
const MAX_FILE: u64 = 10 << 20;
/// What stands before and after it: BuildKit's words.
const BEGIN: &str = "\n# buildkit proxy CA begin\n";
const END: &str = "# buildkit proxy CA end\n";

/// What was put where.
#[derive(Debug)]
pub(crate) struct Trusted {
    path: &'static str,
    /// All that was added.
    block: Vec<u8>,
    /// When the file was written before that, and with it.
    times: (Timespec, Timespec),
}

impl Trusted {
    /// Has the programs of the root at `root` trust an authority. `None`: it has no file of authorities.
    pub(crate) fn add(root: &Path, authority: &str) -> Result<Option<Self>, Error> {
        let dir = Root::open(root)?;
        for path in FILES {
            let Some(mut file) = open(&dir, path)? else { continue };
            let failed = || Error::file("add an authority to", root.join(&path[1..]));
            let before = modified(&file).map_err(|err| failed()(err))?;
            let whole = read(&mut file).map_err(|err| failed()(err))?;
            let gap = if whole.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
            let block = format!("{gap}{BEGIN}{authority}{END}").into_bytes();
            let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&block));
            written.map_err(|err| failed()(err))?;
            let times = (before, modified(&file).map_err(|err| failed()(err))?);
            return Ok(Some(Self { path, block, times }));
        }
        Ok(None)
    }

    /// Takes it away again, from whatever file is there now.
    pub(crate) fn remove(&self, root: &Path) -> Result<(), Error> {
        let dir = Root::open(root)?;
        let Some(mut file) = open(&dir, self.path)? else { return Ok(()) };
        self.remove_from(&mut file)
            .map_err(Error::file("take an authority out of", root.join(&self.path[1..])))
    }

    fn remove_from(&self, file: &mut File) -> io::Result<()> {
        let is_as_it_was = modified(file)? == self.times.1;
        let whole = read(file)?;
        let kept = without(&whole, &self.block);
        if kept.len() == whole.len() {
            return Ok(());
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&kept)?;
        file.set_len(kept.len() as u64)?;
        if is_as_it_was {
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let times = Timestamps { last_access, last_modification: self.times.0 };
            rustix::fs::futimens(&*file, &times)?;
        }
        Ok(())
    }
}

/// The file that a path leads to, to be read and written. `None`: there is none there.
fn open(root: &Root, path: &str) -> Result<Option<File>, Error> {
    let found = match root.open_path(path) {
        // Links may lead in circles, and files be in the place of directories.
        Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            return Ok(None);
        }
        found => found?,
    };
    // To open what is no file could do anything.
    let stat =
        rustix::fs::fstat(&found).map_err(|errno| Error::file("stat", path)(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let opened = OpenOptions::new().read(true).write(true).open(fsroot::fd_path(&found));
    opened.map(Some).map_err(Error::file("open", path))
}

fn modified(file: &File) -> io::Result<Timespec> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ })
}

/// All of a file, from its start.
fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_FILE + 1).read_to_end(&mut whole)?;
    if whole.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {MAX_FILE} bytes"),
        ));
    }
    Ok(whole)
}

/// A text without a part of it, which ends a line, also where that comes of taking it away. A container may have
/// written it there as often as it likes: it is gone through once.
fn without(whole: &[u8], part: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(whole.len());
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        kept.extend_from_slice(line);
        if kept.ends_with(part) {
            kept.truncate(kept.len() - part.len());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

    /// A root whose first file of authorities has this in it.
    fn root(name: &str, text: &str) -> (PathBuf, PathBuf) {
        let root = std::env::temp_dir().join(format!("dhow-trust-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
        let file = root.join("etc/ssl/certs/ca-certificates.crt");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        (root, file)
    }

    #[test]
    fn what_is_left_alone_is_as_it_was() {
        for text in ["a\n", "a", ""] {
            let (root, file) = root("alone", text);
            let before = fs::metadata(&file).unwrap();
            let trusted = Trusted::add(&root, AUTHORITY).unwrap().unwrap();
            let with = fs::read_to_string(&file).unwrap();
            assert!(
                with.starts_with(text) && with.contains("\n# buildkit proxy CA begin\n-----BEGIN")
            );
            trusted.remove(&root).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            let after = fs::metadata(&file).unwrap();
            let about = |of: &fs::Metadata| (of.mode(), of.ino(), of.mtime(), of.mtime_nsec());
            assert_eq!(about(&before), about(&after));
            fs::remove_dir_all(&root).unwrap();
        }
    }

    /// In a file of 8 MB, in a moment.
    #[test]
    fn what_is_there_many_times_is_gone_through_once() {
        let block = b"\n# begin\nx\n# end\n";
        let many = block.repeat((8 << 20) / block.len());
        assert!(without(&many, block).is_empty());
        let nested = [b"a\n# begin\n".as_slice(), block, b"x\n# end\nb"].concat();
        assert_eq!(without(&nested, block), b"ab");
        assert_eq!(without(b"a\n# begin\nx\n# end", block), b"a\n# begin\nx\n# end");
    }

    #[test]
    fn what_the_container_writes_stays() {
        let (root, file) = root("writes", "a\n");
        let trusted = Trusted::add(&root, AUTHORITY).unwrap().unwrap();
        // Another file in its place, with all that was there before.
        let with = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, format!("{with}b\n")).unwrap();
        trusted.remove(&root).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "a\nb\n");
        fs::write(&file, "new\n").unwrap();
        trusted.remove(&root).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
        fs::remove_file(&file).unwrap();
        trusted.remove(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }

    /// Links of a root lead nowhere else.
    #[test]
    fn nothing_outside_is_written_to() {
        let (root, file) = root("outside", "a\n");
        let outside = root.with_extension("outside");
        fs::write(&outside, "mine\n").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&outside, &file).unwrap();
        assert!(Trusted::add(&root, AUTHORITY).unwrap().is_none());
        fs::remove_file(&file).unwrap();
        let fifo = (FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &file, fifo.0, fifo.1, 0).unwrap();
        assert!(Trusted::add(&root, AUTHORITY).unwrap().is_none());
        // The next in the list is taken, through a link of its own.
        fs::write(root.join("etc/bundle"), "b\n").unwrap();
        symlink("../bundle", root.join("etc/ssl/cert.pem")).unwrap();
        assert!(Trusted::add(&root, AUTHORITY).unwrap().is_some());
        assert!(fs::read_to_string(root.join("etc/bundle")).unwrap().contains("BEGIN"));
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
        fs::remove_dir_all(&root).unwrap();
        fs::remove_file(&outside).unwrap();
    }
}
