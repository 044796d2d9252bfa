use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};

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

#[test]
fn the_read_only_mount_cannot_be_written_or_made_writable() {
    let fd = match read_only_mount() {
        Err(err) if err.errno() == Errno::PERM => {
            println!("skipped: the_read_only_mount_cannot_be_written: no CAP_SYS_ADMIN");
            return;
        }
        other => other.unwrap(),
    };
    // ROFS wins over TXTBSY only where the mount is asked first, which open(2) does not promise.
    assert!(matches!(open_for_writing(&fd), Some(Errno::ROFS | Errno::TXTBSY)));
    let undo = mount_setattr(fd.as_fd(), false, MountAttr::empty(), MountAttr::RDONLY, None, None);
    assert_eq!(undo.unwrap_err().errno(), Errno::INVAL);
    assert!(runs(&fd));
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
