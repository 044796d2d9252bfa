//! Finding the container's program, and becoming it.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use plan::Process;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Class, Error};
use crate::foreign;

/// Why a file cannot be executed, in the words of runc, which Docker's clients look for.
enum Cannot {
    Missing(Errno),
    Denied(&'static str),
}

/// The file that the program's name means: itself with a slash in it, else the first that can be
/// executed in one of the directories of `PATH`. As the user who will execute it.
pub(crate) fn find(process: &Process) -> Result<CString, Error> {
    let name = process.argv[0].to_string_lossy().into_owned();
    let error = |why: String, class| Error::Exec { program: name.clone(), why, class };
    if name.contains('/') {
        return match check(Path::new(&name)) {
            Ok(()) => Ok(process.argv[0].clone()),
            Err(Cannot::Missing(errno)) => {
                Err(error(format!("stat {name}: {}", words(errno)), Class::NotFound))
            }
            Err(Cannot::Denied(why)) => Err(error(why.to_owned(), Class::NotExecutable)),
        };
    }
    let mut denied = None;
    for dir in process.path.split(':') {
        // An empty directory is the working directory, which is never searched unasked.
        let candidate: PathBuf = match dir {
            "" => continue,
            dir => Path::new(dir).join(&name),
        };
        match check(&candidate) {
            Ok(()) => {
                return CString::new(candidate.as_os_str().as_bytes())
                    .map_err(|_| error("invalid argument".to_owned(), Class::NotExecutable));
            }
            Err(Cannot::Missing(_)) => {}
            Err(Cannot::Denied(why)) => denied = denied.or(Some(why)),
        }
    }
    match denied {
        Some("permission denied") => {
            Err(error("permission denied".to_owned(), Class::NotExecutable))
        }
        _ => Err(error("executable file not found in $PATH".to_owned(), Class::NotFound)),
    }
}

fn check(path: &Path) -> Result<(), Cannot> {
    let stat = rustix::fs::stat(path).map_err(|errno| match errno {
        Errno::ACCESS => Cannot::Denied("permission denied"),
        other => Cannot::Missing(other),
    })?;
    match FileType::from_raw_mode(stat.st_mode) {
        // Docker and Podman look for the second half: that is exit code 126.
        FileType::Directory => return Err(Cannot::Denied("is a directory: permission denied")),
        FileType::RegularFile => {}
        _ => return Err(Cannot::Denied("permission denied")),
    }
    let access = |flags| rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, flags);
    // With the capabilities that it has, which access(2) leaves out of account; that is what is left
    // before Linux 5.8, and where a filter forbids the newer call.
    let allowed = match access(AtFlags::EACCESS) {
        Err(Errno::NOSYS | Errno::PERM) => access(AtFlags::empty()),
        other => other,
    };
    match allowed {
        Ok(()) if stat.st_mode & 0o111 != 0 => Ok(()),
        _ => Err(Cannot::Denied("permission denied")),
    }
}

/// The errno in the words of Go's programs.
pub(crate) fn words(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::NOTDIR => "not a directory".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        Errno::LOOP => "too many levels of symbolic links".to_owned(),
        Errno::NAMETOOLONG => "file name too long".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// Becomes the program. Returns only when it cannot be executed after all.
pub(crate) fn execute(path: &CStr, process: &Process, home: Option<CString>) -> Error {
    let mut env = process.env.clone();
    env.extend(home);
    let errno = sys::execve(path, &process.argv, &env).errno();
    let class = match errno {
        Errno::NOENT => Class::NotFound,
        _ => Class::NotExecutable,
    };
    let why = match foreign::explain(path, errno) {
        Some(more) => format!("{}: {more}", words(errno)),
        None => words(errno),
    };
    Error::Execve { program: path.to_string_lossy().into_owned(), why, class }
}

/// `HOME=` from the container's `/etc/passwd`; `/` for a user that is not in it.
pub(crate) fn home(uid: u32) -> Option<CString> {
    let home =
        passwd().and_then(|passwd| find_home(&passwd, uid)).unwrap_or_else(|| "/".to_owned());
    CString::new(format!("HOME={home}")).ok()
}

/// The file, if it is one and of a sensible size: what the image has there may be anything, also a
/// link to what this process still has open (`/proc/self/fd/N`), or a device.
fn passwd() -> Option<String> {
    use std::io::Read;
    const LARGEST: u64 = 4 << 20;
    let root = fsroot::Root::open(Path::new("/")).ok()?;
    let found = root.open_path("/etc/passwd").ok()?;
    if crate::rootfs::file_type(found.as_fd()).ok()? != FileType::RegularFile {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = root.open_with("/etc/passwd", flags, Mode::empty()).ok()?;
    if crate::rootfs::file_type(file.as_fd()).ok()? != FileType::RegularFile {
        return None;
    }
    let file = std::fs::File::from(file);
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn find_home(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.splitn(7, ':').collect();
        let found = fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[5].is_empty();
        found.then(|| fields[5].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_by_number_never_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\nu:x:1000:1000::/home/u:\n";
        assert_eq!(find_home(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(find_home(passwd, 1000).as_deref(), Some("/home/u"));
        assert_eq!(find_home(passwd, 7), None);
        assert_eq!(find_home("broken:x:7\n::7:::\n", 7), None);
    }
}
