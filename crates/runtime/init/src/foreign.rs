//! Programs for other architectures. The kernel runs them where an emulator is registered for them
//! (`binfmt_misc`); where there is none it says no more than `ENOEXEC`.
//!
//! What a program is for is read from its file, not from what the image says of itself: images say wrong
//! things, and a program may come from a volume. The errno tells the rest, where nothing but an emulator
//! could take such a file: `ENOEXEC`, none is registered; `ENOENT`, one is, by a path that leads nowhere in the
//! container. With its flag `F` the kernel opens an emulator when it is registered, outside; but not the loader of
//! one that is not static, which is looked for in the container all the same.

use std::ffi::{CStr, CString};

use oci::image::{Platform, elf};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// How many interpreters may lead to each other: the kernel goes no further.
const MAX_SCRIPTS: usize = 5;
/// How much of a file the kernel looks at (`BINPRM_BUF_SIZE`), bytes.
const LOOKED_AT: usize = 256;

/// What there is to know of the kernel's refusal to execute `path`, where that is, or is a script for, a
/// program for another architecture than this machine's.
pub fn explain(path: &CStr, errno: Errno) -> Option<String> {
    let why = match errno {
        Errno::NOEXEC => {
            "no emulator for that is registered on this machine: install qemu-user-static, or \
             register one with binfmt_misc and the flag F"
        }
        Errno::NOENT => {
            "the emulator that is registered for that is not found in the container, or the loader of \
             its libraries is not: register a static one with binfmt_misc and the flag F"
        }
        _ => return None,
    };
    let own = Platform::native();
    let architecture = machine(path)?.architecture.to_owned();
    let wanted = Platform { architecture, os: own.os.clone(), ..Platform::default() };
    // Of a program that needs no emulator it is the loader of its libraries that is missing.
    let runs_here = errno == Errno::NOENT && own.distance(&wanted).is_some();
    let is_foreign = own.architecture != wanted.architecture && !runs_here;
    is_foreign.then(|| format!("the program is for {wanted}, and {why}"))
}

/// What a program is for; of a script, the program that reads it.
fn machine(program: &CStr) -> Option<elf::Machine> {
    let mut path = program.to_owned();
    for _ in 0..MAX_SCRIPTS {
        let begin = begin_of(&path)?;
        match interpreter(&begin) {
            Some(interpreter) => path = interpreter,
            None => return elf::machine_of(&begin),
        }
    }
    None
}

/// The first bytes of a file. Of nothing else: the container says what lies there, and to open a device may
/// do something.
fn begin_of(path: &CStr) -> Option<Vec<u8>> {
    let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    if !is_file(rustix::fs::stat(path).ok()?.st_mode) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    if !is_file(rustix::fs::fstat(&file).ok()?.st_mode) {
        return None;
    }
    let mut begin = [0_u8; LOOKED_AT];
    let n_bytes = rustix::io::read(&file, &mut begin).ok()?;
    Some(begin[..n_bytes].to_vec())
}

/// The program that a script names in its first line.
fn interpreter(begin: &[u8]) -> Option<CString> {
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
    CString::new(words.find(|word| !word.is_empty())?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn a_script_names_its_interpreter() {
        for (text, want) in [
            ("#!/bin/sh\necho", Some(c"/bin/sh")),
            ("#! \t/usr/bin/env python3 -u\n", Some(c"/usr/bin/env")),
            ("#!/bin/sh", Some(c"/bin/sh")),
            ("#!\n/bin/sh", None),
            ("#!  ", None),
            ("echo #!/bin/sh", None),
            ("", None),
        ] {
            assert_eq!(interpreter(text.as_bytes()).as_deref(), want, "{text:?}");
        }
    }

    /// A folder with what containers may be told to run.
    struct Programs(PathBuf);

    impl Programs {
        fn write(&self, name: &str, bytes: &[u8]) -> CString {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            text(&path)
        }
    }

    impl Drop for Programs {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    /// The beginning of a program: its identification, and what it is for.
    fn program(begin: &[u8], kind: [u8; 4]) -> Vec<u8> {
        let mut file = begin.to_vec();
        file.resize(16, 0);
        file.extend(kind);
        file
    }

    #[test]
    fn what_is_for_another_machine_is_told_of() {
        let dir = std::env::temp_dir().join(format!("dhow-foreign-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let programs = Programs(dir);
        let sparc = program(b"\x7fELF\x02\x02\x01", [0, 2, 0, 43]);
        let sparc = programs.write("sparc", &sparc);
        let says = |path: &CStr, errno| explain(path, errno).unwrap_or_default();
        let none = says(&sparc, Errno::NOEXEC);
        assert!(none.starts_with("the program is for linux/sparc64, and no emulator"), "{none}");
        let lost = says(&sparc, Errno::NOENT);
        assert!(lost.contains("linux/sparc64, and the emulator that is registered"), "{lost}");
        assert!(lost.contains("register a static one"), "{lost}");
        assert_eq!(explain(&sparc, Errno::ACCESS), None);
        // Most kernels run those of 32 bits on a machine of 64; some do not.
        let older = match std::env::consts::ARCH {
            "x86_64" => Some(("386", 3)),
            "aarch64" => Some(("arm", 40)),
            _ => None,
        };
        if let Some((name, number)) = older {
            let older = program(b"\x7fELF\x01\x01\x01", [2, 0, number, 0]);
            let older = programs.write("older", &older);
            assert_eq!(explain(&older, Errno::NOENT), None);
            assert!(says(&older, Errno::NOEXEC).contains(&format!("is for linux/{name}, and no")));
        }

        let script = |interpreter: &CStr| format!("#! {}\n", interpreter.to_str().unwrap());
        let one = programs.write("one", script(&sparc).as_bytes());
        assert_eq!(says(&programs.write("two", script(&one).as_bytes()), Errno::NOEXEC), none);
        // One that reads itself.
        let own = text(&programs.0.join("own"));
        programs.write("own", script(&own).as_bytes());
        let native = text(&std::env::current_exe().unwrap());
        for other in [&own, &native, &programs.write("empty", b""), &text(&programs.0)] {
            assert_eq!(explain(other, Errno::NOEXEC), None, "{other:?}");
        }
        assert_eq!(explain(c"/dev/null", Errno::NOEXEC), None);
        assert_eq!(explain(c"/no/such/file", Errno::NOENT), None);
    }
}
