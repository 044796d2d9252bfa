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
fn the_overlay_is_another_inode_that_cannot_be_written() {
    let OverlaidExe { file: fd, mount } = match overlay(Path::new(SELF)) {
        Err(err) if read_only_overlay("/run:/usr").is_err() => {
            println!("skipped: the_overlay_is_another_inode_that_cannot_be_written: {err}");
            return;
        }
        other => other.unwrap(),
    };
    assert!(runs(&fd));
    assert_eq!(open_for_writing(&fd), Some(Errno::ROFS));
    let device = |stat: Stat| stat.st_dev;
    let own = rustix::fs::stat(SELF).unwrap();
    assert_ne!(device(own), device(rustix::fs::fstat(&fd).unwrap()));
    // Nothing of the mount can be changed, and nothing beside the file be reached.
    let (none, read_only) = (crate::MountAttr::empty(), crate::MountAttr::RDONLY);
    let undo = crate::mount_setattr(fd.as_fd(), false, none, read_only, None, None);
    assert_eq!(undo.unwrap_err().errno(), Errno::INVAL);
    let up = rustix::fs::openat(&fd, "..", OFlags::PATH, Mode::empty());
    assert_eq!(up.unwrap_err(), Errno::NOTDIR);
    // Not even by who has the mount, as long as it is there, is it one that can be written.
    let _undone = crate::mount_setattr(mount.as_fd(), false, none, read_only, None, None);
    assert_eq!(open_for_writing(&fd), Some(Errno::ROFS));
    drop(mount);
    assert!(runs(&fd));
    assert_eq!(open_for_writing(&fd), Some(Errno::ROFS));
}

#[test]
fn our_own_program_runs_from_the_protected_descriptor() {
    let fd = protected_exe().unwrap();
    assert!(runs(&fd));
    assert!(matches!(open_for_writing(&fd), Some(Errno::ROFS | Errno::TXTBSY)));
}

#[test]
fn what_another_keeps_is_our_own_program_in_an_overlay() {
    let link = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let refused = |path: &str| kept_exe(Path::new(path)).unwrap_err().errno();
    assert_eq!(refused(&link(&sealed_copy().unwrap())), Errno::STALE);
    assert_eq!(refused(SELF), Errno::STALE);
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert_eq!(refused(&link(&null)), Errno::STALE);
    let OverlaidExe { file, mount } = match overlay(Path::new(SELF)) {
        Err(err) if read_only_overlay("/run:/usr").is_err() => {
            println!("skipped: what_another_keeps_is_our_own_program_in_an_overlay: {err}");
            return;
        }
        other => other.unwrap(),
    };
    drop(mount);
    let kept = kept_exe(Path::new(&link(&file))).unwrap();
    assert!(runs(&kept));
    assert_eq!(open_for_writing(&kept), Some(Errno::ROFS));
    // Another file of the same kind.
    let path = std::env::temp_dir().join(format!("dhow-kept-{}", std::process::id()));
    std::fs::copy(SELF, &path).unwrap();
    let copy = OwnedFd::from(std::fs::File::open(&path).unwrap());
    let other = overlay(Path::new(&link(&copy))).unwrap();
    assert_eq!(refused(&link(&other.file)), Errno::STALE);
    // Nor is an overlay made of a file that is gone.
    std::fs::remove_file(path).unwrap();
    assert_eq!(overlay(Path::new(&link(&copy))).unwrap_err().errno(), Errno::STALE);
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

/// As in a container whose image is nothing but this program: the overlay that it is at the top of is
/// the container's, and can be written.
#[test]
fn an_overlay_that_can_be_written_protects_nothing() {
    let test = || {
        match crate::unshare(crate::CloneFlags::FS | crate::CloneFlags::NEWNS) {
            Err(err) if err.errno() == Errno::PERM => {
                println!(
                    "skipped: an_overlay_that_can_be_written_protects_nothing: no CAP_SYS_ADMIN"
                );
                return;
            }
            other => other.unwrap(),
        }
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", "/tmp", "tmpfs", none, None).unwrap();
        for name in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(Path::new("/tmp").join(name)).unwrap();
        }
        std::fs::write("/tmp/lower/program", "").unwrap();
        let path = Path::new("/program");
        for (options, ours) in [
            (c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work", false),
            (c"lowerdir=/tmp/lower:/tmp/upper", true),
        ] {
            rustix::mount::mount("overlay", "/tmp/merged", "overlay", none, options).unwrap();
            let program = std::fs::File::open("/tmp/merged/program").unwrap().into();
            assert_eq!(is_ours_alone(&program, path), ours, "{options:?}");
            assert!(!is_ours_alone(&program, Path::new("/usr/program")));
        }
    };
    std::thread::spawn(test).join().unwrap();
}
