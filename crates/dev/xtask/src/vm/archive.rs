//! The archive that a kernel unpacks for its first root: cpio, of the kind that it calls newc
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An archive that is being written. All files are root's.
pub(crate) struct Archive<W> {
    to: W,
    inode: u32,
    /// What is in it: a directory is made once, a file is what it was first.
    names: BTreeSet<PathBuf>,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

impl<W: Write> Archive<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, inode: 1, names: BTreeSet::new() }
    }

    /// A directory, with those above it.
    pub(crate) fn directory(&mut self, name: &str, mode: u32) -> Result<(), String> {
        self.parents(name)?;
        self.entry(name, DIRECTORY | mode, (0, 0), b"")
    }

    /// A file.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), String> {
        self.parents(name)?;
        self.entry(name, FILE | mode, (0, 0), content)
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, name: &str, target: &str) -> Result<(), String> {
        self.parents(name)?;
        self.entry(name, LINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<(), String> {
        self.parents(name)?;
        self.entry(name, CHARACTER | 0o600, (major, minor), b"")
    }

    /// A file of this machine, at a path of its own.
    pub(crate) fn copy_to(&mut self, path: &Path, name: &str) -> Result<(), String> {
        let wrong = |error| format!("{}: {error}", path.display());
        let mode = std::fs::metadata(path).map_err(wrong)?.mode() & 0o7777;
        let content = std::fs::read(path).map_err(wrong)?;
        self.file(name, mode, &content)
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> Result<W, String> {
        self.entry("TRAILER!!!", 0, (0, 0), b"")?;
        self.to.flush().map_err(|error| format!("write an archive: {error}"))?;
        Ok(self.to)
    }

    fn parents(&mut self, name: &str) -> Result<(), String> {
        let parent = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
        if parent.as_os_str().is_empty() || parent == Path::new("/") {
            return Ok(());
        }
        let parent = parent.to_string_lossy().into_owned();
        self.directory(&parent, 0o755)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> Result<(), String> {
        let name = name.trim_start_matches('/');
        if !self.names.insert(PathBuf::from(name)) {
            return Ok(());
        }
        let size = u32::try_from(content.len()).map_err(|_| format!("{name} is too large"))?;
        let mut header = String::from("070701");
        let (inode, length) = (self.inode, name.len() as u32 + 1);
        for field in [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, length, 0] {
            header.push_str(&format!("{field:08x}"));
        }
        self.inode += 1;
        let mut bytes = header.into_bytes();
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.to.write_all(&bytes).map_err(|error| format!("write an archive: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_parents_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b", 0o644, b"12345").unwrap();
        archive.file("/a/b", 0o644, b"again").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let positions: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(positions.len(), 3, "a, a/b and the end");
        assert!(positions.iter().all(|at| at % 4 == 0));
        assert!(text.contains("a/b\0"), "{text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text:?}");
    }
}
