//! Of which architectures containers can run programs here: this machine's own, and those for which an emulator is
//! registered (`binfmt_misc`, Documentation/admin-guide/binfmt-misc.rst).
//!
//! It is found out by running the smallest program of each, as BuildKit does. To read what is registered
//! (`/proc/sys/fs/binfmt_misc`) would start nothing, but it would be the kernel's decision, made a second time and on
//! less than the kernel has:
//!
//! - The folder need not be mounted where it is looked for: entries count all the same if it is elsewhere, in
//!   another mount namespace, say.
//! - Since Linux 6.7 a user namespace can have entries of its own, and which ones count depends on who executes.
//!   A folder that is mounted may show another's.
//! - An entry says nothing of whether its emulator works: that may be for another machine itself.
//! - Some machines run other programs without any entry: amd64 those of 386, where its kernel was built so, and
//!   many arm64 those of arm.
//!
//! The programs run in an empty root, since a container has no emulator in it: an entry without the flag `F` leads
//! nowhere there, and does not count. They are files of that root, and not descriptors: of a descriptor an emulator is
//! told as `/dev/fd/N`, which it cannot open there either unless the entry has the flag `O`, while in containers
//! programs are files. The root is a tmpfs that is mounted nowhere, and the root of one thread alone: it is gone with
//! that thread, however the process ends, and neither a folder with a name that others know nor one mounted `noexec`
//! is in the way.

mod program;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sys::{Call as _, CloneFlags, MountAttr};

use self::program::{CODE, PROGRAMS, Program};
use crate::Error;
use crate::error::At as _;

/// How long what was found is taken for true: who registers an emulator sees it soon after.
const LIFE: Duration = Duration::from_secs(5);
/// How long the programs may take, all together.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(1);
/// How often it is tried to start one whose file is still open for writing in another process, which is one that
/// another thread is just starting.
const TRIES: usize = 100;

/// The architectures, as they were a short while ago.
#[derive(Debug, Default)]
pub struct Emulation(Mutex<Option<(Instant, Vec<&'static str>)>>);

impl Emulation {
    /// The architectures, in Go's names, of which containers can run programs here.
    ///
    /// # Errors
    ///
    /// It cannot be found out: before Linux 5.2, and for who may not mount.
    pub fn architectures(&self) -> Result<Vec<&'static str>, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, found)) = &*known
            && when.elapsed() < LIFE
        {
            return Ok(found.clone());
        }
        let found = architectures()?;
        *known = Some((Instant::now(), found.clone()));
        Ok(found)
    }
}

/// The architectures, in Go's names, of which containers can run programs here, as it is now.
///
/// # Errors
///
/// It cannot be found out: before Linux 5.2, and for who may not mount.
pub fn architectures() -> Result<Vec<&'static str>, Error> {
    std::thread::scope(|scope| match scope.spawn(look).join() {
        Ok(found) => found,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs the programs, on a thread that is not needed afterwards.
fn look() -> Result<Vec<&'static str>, Error> {
    let null = Path::new("/dev/null");
    let null = OpenOptions::new().read(true).write(true).open(null).at("open", null)?;
    enter_empty_root()?;
    for program in &PROGRAMS {
        let path = place(program);
        write(&path, &program.file()).at("write", &path)?;
    }
    let started: Vec<_> = PROGRAMS.iter().map(|one| (one, start(one, &null))).collect();
    let until = Instant::now() + PATIENCE;
    let ran = started.into_iter().filter_map(|(program, child)| {
        let child = child?;
        ends_well(child, until).then_some(program.machine.architecture)
    });
    Ok(ran.collect())
}

/// Gives this thread, and nobody else, a root in which there is nothing.
fn enter_empty_root() -> Result<(), Error> {
    sys::unshare(CloneFlags::FS)?;
    let options = [("size", Some("1m")), ("mode", Some("0700"))];
    let root = mount::fs_mount("tmpfs", None, &options, MountAttr::NOSUID | MountAttr::NODEV)?;
    rustix::process::fchdir(root.as_fd()).call(|| "fchdir(an empty tmpfs)")?;
    rustix::process::chroot(".").call(|| "chroot(\".\")")?;
    Ok(())
}

/// Where a program lies.
fn place(program: &Program) -> PathBuf {
    Path::new("/").join(program.machine.architecture)
}

/// Starts a program. `None`: the kernel cannot run it.
fn start(program: &Program, null: &File) -> Option<Child> {
    let path = place(program);
    for _ in 0..TRIES {
        let end = || null.try_clone().map(Stdio::from).ok();
        let mut command = Command::new(&path);
        command.env_clear().stdin(end()?).stdout(end()?).stderr(end()?);
        match command.spawn() {
            Ok(child) => return Some(child),
            Err(err) if err.kind() == ErrorKind::ExecutableFileBusy => std::thread::sleep(LOOK),
            // ENOEXEC: there is no emulator. ENOENT: there is none in this root.
            Err(_) => return None,
        }
    }
    None
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(path)?;
    file.write_all(bytes)
}

/// Waits for the end of a program: whether it is the one that it should come to.
fn ends_well(mut child: Child, until: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code() == Some(CODE),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            _ => {
                let _gone = child.kill();
                let _ended = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::needs;

    use super::*;

    #[test]
    fn this_machine_runs_its_own_programs() {
        needs!(Root);
        let own = oci::image::Platform::native().architecture;
        let emulation = Emulation::default();
        let found = emulation.architectures().unwrap();
        assert!(found.contains(&own.as_str()), "{found:?}");
        assert_eq!(emulation.architectures().unwrap(), found);
        // The thread had a root of its own.
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn emulators_take_the_programs() {
        needs!(QemuUser);
        let dir = std::env::temp_dir().join(format!("dhow-emulation-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        for program in &PROGRAMS {
            let name = program.machine.architecture;
            let (path, bytes) = (dir.join(name), program.file());
            assert_eq!(oci::image::elf::machine_of(&bytes), Some(program.machine));
            write(&path, &bytes).unwrap();
            let emulator = match name {
                "amd64" => "x86_64",
                "arm64" => "aarch64",
                "386" => "i386",
                "mips64le" => "mips64el",
                "loong64" => "loongarch64",
                name => name,
            };
            let mut command = Command::new(format!("qemu-{emulator}-static"));
            command.arg(&path).stdin(Stdio::null());
            assert_eq!(command.status().unwrap().code(), Some(CODE), "{name}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
