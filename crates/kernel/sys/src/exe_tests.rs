use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use rustix::io::Errno;

use super::*;

/// What a container would do: open the program for writing through the descriptor's link.
fn open_for_writing(fd: &OwnedFd) -> Option<Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let opened = OpenOptions::new().write(true).open(path);
    opened.err().and_then(|err| Errno::from_io_error(&err))
}

fn runs(fd: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::process::Command::new(path).arg("--help").output().is_ok_and(|out| out.status.success())
}

/// A program of the test's own, which nobody runs, so that only the mount can refuse a write.
struct Program(PathBuf);

impl Program {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dhow-exe-{}", std::process::id()));
        // Not by this process: a fork of another test's would keep it open for writing a moment.
        let copied = std::process::Command::new("cp").arg("/bin/true").arg(&path).status();
        assert!(copied.unwrap().success());
        Self(path)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn the_read_only_mount_cannot_be_written_or_made_writable() {
    let program = Program::new();
    let fd = match read_only_mount(program.0.to_str().unwrap()) {
        Err(err) if err.errno() == Errno::PERM => {
            println!("skipped: the_read_only_mount_cannot_be_written: no CAP_SYS_ADMIN");
            return;
        }
        other => other.unwrap(),
    };
    assert!(runs(&fd));
    assert_eq!(open_for_writing(&fd), Some(Errno::ROFS));
    let undo = mount_setattr(fd.as_fd(), false, MountAttr::empty(), MountAttr::RDONLY, None, None);
    assert_eq!(undo.unwrap_err().errno(), Errno::INVAL);
    assert_eq!(open_for_writing(&fd), Some(Errno::ROFS));
    // The file itself stays as writable as it was: this is about one way to it.
    OpenOptions::new().write(true).open(&program.0).unwrap();
}

#[test]
fn our_own_program_runs_from_the_protected_descriptor() {
    let fd = protected_exe().unwrap();
    assert!(runs(&fd));
    assert!(matches!(open_for_writing(&fd), Some(Errno::ROFS | Errno::TXTBSY)));
}

#[test]
fn the_sealed_copy_cannot_be_written() {
    let fd = sealed_copy().unwrap();
    assert!(runs(&fd));
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let writer = OpenOptions::new().write(true).open(path).unwrap();
    assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&writer, 0), Err(Errno::PERM));
}

#[test]
fn a_program_that_runs_protected_knows_it() {
    let name = "exe::tests::a_program_that_runs_protected_knows_it";
    if std::env::var_os("DHOW_TEST_PROTECTED").is_some() {
        assert!(is_protected());
        return;
    }
    for fd in [protected_exe().unwrap(), sealed_copy().unwrap()] {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let output = std::process::Command::new(path)
            .args([name, "--exact"])
            .env("DHOW_TEST_PROTECTED", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
