//! Small root file systems.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine's busybox, if it needs no library.
pub(crate) fn busybox() -> Option<PathBuf> {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    places.into_iter().find(|path| std::fs::read(path).is_ok_and(|bytes| is_static(&bytes)))
}

/// linux/elf.h: the name of the program that loads the libraries.
const PT_INTERP: usize = 3;

/// Whether an ELF file of 64 bits has no program header `PT_INTERP`.
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let headers = (number(32, 8), number(54, 2), number(56, 2));
    let (b"\x7fELF\x02", (Some(start), Some(size), Some(count))) =
        (elf.get(..5).unwrap_or_default(), headers)
    else {
        return false;
    };
    (0..count).all(|nth| number(start + nth * size, 4) != Some(PT_INTERP))
}

/// Writes a root file system of busybox and little else to `path`, as an archive of tar(5).
pub fn busybox_rootfs(path: &Path) {
    let busybox = busybox().expect("needs!(Busybox)");
    let applets = Command::new(&busybox).arg("--list").output().expect("busybox --list").stdout;
    let applets = String::from_utf8(applets).expect("names of applets");
    archive(path, |tar| {
        for directory in ["bin/", "dev/", "etc/", "proc/", "root/", "sys/", "var/"] {
            tar.directory(directory, 0o755);
        }
        tar.directory("tmp/", 0o1777);
        tar.file("bin/busybox", 0o755, &std::fs::read(&busybox).expect("busybox"));
        for applet in applets.lines().filter(|name| *name != "busybox") {
            tar.symlink(&format!("bin/{applet}"), "busybox");
        }
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
        tar.file("etc/passwd", 0o644, passwd);
        tar.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    });
}

/// Writes an archive that `fill` fills.
pub fn archive(path: &Path, fill: impl FnOnce(&mut Archive)) {
    let file = std::fs::File::create(path).expect("create an archive");
    let mut archive = Archive(tar::Builder::new(std::io::BufWriter::new(file)));
    fill(&mut archive);
    archive.0.into_inner().and_then(|mut file| file.flush()).expect("finish an archive");
}

/// An archive that is being written. Names are taken as they are, hostile ones too.
pub struct Archive(tar::Builder<std::io::BufWriter<std::fs::File>>);

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    /// A directory; the name ends with a slash.
    pub fn directory(&mut self, name: &str, mode: u32) {
        self.entry(tar::EntryType::Directory, name, "", mode, b"");
    }

    /// A file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(tar::EntryType::Regular, name, "", mode, content);
    }

    /// A symbolic link at `name`.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.entry(tar::EntryType::Symlink, name, target, 0o777, b"");
    }

    /// A hard link at `name`.
    pub fn hard_link(&mut self, name: &str, target: &str) {
        self.entry(tar::EntryType::Link, name, target, 0o644, b"");
    }

    fn entry(&mut self, kind: tar::EntryType, name: &str, target: &str, mode: u32, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        // Not through `set_path`, which refuses what a test of bad archives needs.
        let fields = header.as_gnu_mut().expect("a GNU header");
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).expect("append to an archive");
    }
}
