//! criu, as a child that serves requests: `criu swrk FD`.
//!
//! Its command line would do for saving and not for restoring: who restores has to be told the new
//! process before it goes on, gets its terminal as a descriptor, and becomes its parent.

use std::ffi::{CString, OsStr};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use criu::{CgroupMode, Kind, Options, Request, Response, Version};
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use sys::{Call, CloneArgs, CloneFlags, Cloned, SingleThreaded};

use crate::create::reap;
use crate::error::{Doing, Error, failpoint};

/// The oldest one that answers what we ask.
const OLDEST: Version = Version { major: 3, minor: 0 };

/// What is asked for besides the container: the options of `checkpoint` and `restore`.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are runc's flags")]
pub struct CriuOptions {
    /// The directory of the images.
    pub image_path: PathBuf,
    /// The directory of criu's log, if it is another.
    pub work_path: Option<PathBuf>,
    /// The images of an earlier pre-dump, relative to these.
    pub parent_path: Option<String>,
    /// Let the container go on.
    pub leave_running: bool,
    /// Save TCP connections.
    pub tcp_established: bool,
    /// Leave out TCP connections that are not yet accepted.
    pub tcp_skip_in_flight: bool,
    /// Link deleted files back.
    pub link_remap: bool,
    /// Sockets of the host's are allowed.
    pub ext_unix_sk: bool,
    /// The session and the terminal are the caller's.
    pub shell_job: bool,
    /// Save file locks.
    pub file_locks: bool,
    /// Punch memory that a newer image has out of the older.
    pub auto_dedup: bool,
    /// Send memory when it is asked for.
    pub lazy_pages: bool,
    /// Save only the memory, and let the container go on.
    pub pre_dump: bool,
    /// Gets a zero byte when the server for lazy pages is up: a number of the caller's.
    pub status_fd: Option<u32>,
    /// Address and port of the page server.
    pub page_server: Option<(String, u16)>,
    /// The cgroups.
    pub cgroups: CgroupMode,
    /// `TYPE:LABEL` for restored processes.
    pub lsm_profile: Option<String>,
    /// The label of restored mounts.
    pub lsm_mount_context: Option<String>,
}

impl CriuOptions {
    /// What both directions have in common.
    pub(crate) fn request(&self, images: &Directories, log: &str) -> Options {
        Options {
            images_dir: images.images.as_raw_fd(),
            work_dir: images.work.as_ref().map(AsRawFd::as_raw_fd),
            log_file: log.to_owned(),
            log_level: 4,
            ext_unix_sk: self.ext_unix_sk,
            tcp_established: self.tcp_established,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            cgroups: self.cgroups,
            // The network is the engine's to make: here it is an empty namespace.
            empty_namespaces: CloneFlags::NEWNET.bits() as u32,
            ..Options::default()
        }
    }
}

/// The directories, open: criu gets them as descriptors, so that nobody puts another in their place.
pub(crate) struct Directories {
    pub(crate) images: OwnedFd,
    pub(crate) work: Option<OwnedFd>,
    log: PathBuf,
}

impl Directories {
    pub(crate) fn open(options: &CriuOptions, log: &str) -> Result<Self, Error> {
        let work = options.work_path.as_deref().filter(|path| !path.as_os_str().is_empty());
        Ok(Self {
            images: directory(&options.image_path, "--image-path")?,
            work: work
                .map(|path| made(path).and_then(|()| directory(path, "--work-path")))
                .transpose()?,
            log: work.unwrap_or(&options.image_path).join(log),
        })
    }

    /// Lets processes of another user namespace read the images: see [`crate::images`].
    pub(crate) fn open_to_all(&mut self) -> Result<(), Error> {
        let all = crate::images::open_to_all(&self.images)?;
        let images = std::mem::replace(&mut self.images, all);
        // The log stays where it would be.
        self.work.get_or_insert(images);
        Ok(())
    }

    /// What went wrong, in criu's words: the first error in its log, or else what it answers, which
    /// may begin with what does not matter.
    fn explain(&self, answer: &str) -> String {
        // Not by its path: something may be mounted there by now.
        let directory = self.work.as_ref().unwrap_or(&self.images);
        match self.log.file_name().and_then(|name| first_error(directory, name)) {
            Some(line) => format!("{line} (more in {:?})", self.log),
            None if !answer.is_empty() => format!("{answer} (more in {:?})", self.log),
            None => format!("see {:?}", self.log),
        }
    }
}

/// Makes a directory that only its owner reads, if it is not there.
pub(crate) fn made(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .call(|| format!("mkdir({path:?})"))
        .doing(|| "checkpoint")
}

fn directory(path: &Path, option: &str) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).call(|| format!("open({path:?})")).doing(|| option)
}

/// The first line of a log that tells of an error, without its time. The last megabyte is looked at.
fn first_error(directory: &OwnedFd, log: &OsStr) -> Option<String> {
    const MOST: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, log, flags, Mode::empty()).ok()?;
    let mut file = std::fs::File::from(file);
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // It complains of a limit that it cannot raise and then does without.
    let lines = text.lines().filter(|line| line.contains("Error (") && !line.contains("rlimit: "));
    let line =
        lines.map(|line| line.split_once("Error (").map_or(line, |(_, rest)| rest)).next()?;
    Some(line.split_once("): ").map_or(line, |(_, words)| words).trim().to_owned())
}

/// Where criu is: the first `criu` of `PATH`.
fn program(what: &str) -> Result<CString, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    candidates
        .map(|dir| dir.join("criu"))
        .find(|file| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok())
        .and_then(|file| CString::new(file.into_os_string().into_vec()).ok())
        .ok_or_else(|| {
            Error::Refused(format!(
                "criu is not installed (there is none in PATH): {what} needs it"
            ))
        })
}

/// The environment of this process, for criu, which calls `tar` and `iptables-restore`.
fn environment() -> Vec<CString> {
    let word = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
        CString::new(bytes).ok()
    };
    std::env::vars_os().filter_map(word).collect()
}

/// What criu starts with, when it restores.
pub(crate) struct Place<'a> {
    /// The cgroup that the processes are born in.
    pub(crate) cgroup: &'a Cgroup,
    /// It is the root of a cgroup namespace of theirs.
    pub(crate) namespace: bool,
    /// Descriptors that are passed on, under their own numbers.
    pub(crate) inherit: Vec<BorrowedFd<'a>>,
}

/// A child that serves.
pub(crate) struct Service {
    socket: OwnedFd,
    child: sys::Handle,
    pub(crate) pid: i32,
    /// Its version.
    pub(crate) version: Version,
}

impl Service {
    /// Starts it, and asks for its version. `what` is what it is needed for.
    pub(crate) fn start(
        proof: &SingleThreaded,
        what: &'static str,
        place: Option<&Place<'_>>,
    ) -> Result<Self, Error> {
        let program = program(what)?;
        let doing = || "start criu";
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")
                .doing(doing)?;
        let number = CString::new(theirs.as_raw_fd().to_string()).unwrap_or_default();
        let argv = [c"criu".to_owned(), c"swrk".to_owned(), number];
        let env = environment();
        let entry = place.map(|place| place.cgroup.entry()).transpose()?;
        let into = place.map(|place| place.cgroup.v2_dir()).transpose()?.flatten();
        let mut flags = CloneFlags::empty();
        if into.is_some() {
            flags |= CloneFlags::INTO_CGROUP;
        }
        failpoint("runtime.criu")?;
        let args = CloneArgs {
            flags,
            cgroup: into.as_ref().map(AsFd::as_fd),
            exit_signal: Some(init::EXIT_SIGNAL),
        };
        match sys::clone3(proof, &args).doing(doing)? {
            Cloned::Child => {
                let mut kept = vec![theirs.as_fd()];
                kept.extend(place.iter().flat_map(|place| place.inherit.iter().copied()));
                let namespace = place.is_some_and(|place| place.namespace);
                let ready = prepare(proof, entry.as_ref(), namespace, &kept);
                if ready.is_ok() {
                    // It returns only when it fails: the socket tells of that, as it closes.
                    let _failed = sys::execve(&program, &argv, &env);
                }
                sys::exit_now(127)
            }
            Cloned::Parent { pid, handle } => {
                drop(theirs);
                let pid = pid.as_raw_nonzero().get();
                let mut service = Self { socket, child: handle, pid, version: Version::default() };
                let (answer, _) = service.ask(Request::Version).map_err(|error| match error {
                    Error::Ended(_) => Error::Refused(format!("{program:?} does not start")),
                    other => other,
                })?;
                service.version = answer.version.unwrap_or_default();
                if service.version < OLDEST {
                    let version = service.version;
                    return Err(Error::Refused(format!("criu {version} is older than {OLDEST}")));
                }
                Ok(service)
            }
        }
    }

    /// Says something, and takes the answer with the descriptor that came along.
    pub(crate) fn ask(&self, request: Request<'_>) -> Result<(Response, Option<OwnedFd>), Error> {
        const GONE: [Errno; 2] = [Errno::PIPE, Errno::CONNRESET];
        let ended = || Error::Ended("saved or restored by criu");
        let message = request.encode();
        let send = || rustix::net::send(&self.socket, &message, SendFlags::NOSIGNAL);
        match rustix::io::retry_on_intr(send) {
            Err(errno) if GONE.contains(&errno) => return Err(ended()),
            other => other.call(|| "send(criu)").doing(|| "criu")?,
        };
        let (answer, fd) = match sys::recv_fd(self.socket.as_fd()) {
            Err(error) if GONE.contains(&error.errno()) => return Err(ended()),
            other => other.doing(|| "criu")?,
        };
        if answer.is_empty() {
            return Err(ended());
        }
        let answer =
            Response::decode(&answer).map_err(|error| Error::Refused(error.to_string()))?;
        Ok((answer, fd))
    }

    /// Has it do something. `attend` is called with every stage that it comes to; when that fails,
    /// criu is ended.
    pub(crate) fn run(
        self,
        kind: Kind,
        options: &Options,
        directories: &Directories,
        mut attend: impl FnMut(&Response, Option<OwnedFd>) -> Result<(), Error>,
    ) -> Result<Response, Error> {
        let mut request = Request::Do(kind, options);
        let failed = |answer: &Response| {
            let what = if kind == Kind::Restore { "restore" } else { "checkpoint" };
            let why = directories.explain(&answer.message);
            Error::Refused(format!("criu cannot {what} the container: {why}"))
        };
        loop {
            let (answer, fd) = match self.ask(request) {
                Err(Error::Ended(_)) => return Err(failed(&Response::default())),
                other => other?,
            };
            if answer.kind == Some(Kind::Notify) {
                attend(&answer, fd)?;
                request = Request::GoOn;
                continue;
            }
            if answer.kind != Some(kind) || !answer.success {
                return Err(failed(&answer));
            }
            drop(self.socket);
            reap(&self.child)?;
            return Ok(answer);
        }
    }

    /// Ends it before it has done anything.
    pub(crate) fn end(self) -> Result<(), Error> {
        drop(self.socket);
        reap(&self.child)
    }
}

/// What the child does before it becomes criu.
fn prepare(
    proof: &SingleThreaded,
    entry: Option<&cgroup::Entry>,
    namespace: bool,
    kept: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    if let Some(entry) = entry {
        entry.enter(proof)?;
    }
    if namespace {
        sys::unshare(CloneFlags::NEWCGROUP).doing(|| "make the cgroup namespace")?;
    }
    // It complains there of what is in its log too, or does not matter.
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| "open(\"/dev/null\")")
        .doing(|| "descriptors")?;
    rustix::stdio::dup2_stderr(&null).call(|| "dup2(stderr)").doing(|| "descriptors")?;
    sys::reset_signals().doing(|| "signals")?;
    sys::signal_unblock_all().doing(|| "signals")?;
    // What the caller has left open is not criu's, nor the container's.
    sys::close_range(3, true).doing(|| "descriptors")?;
    for fd in kept {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())
            .call(|| "fcntl(F_SETFD)")
            .doing(|| "descriptors")?;
    }
    Ok(())
}

/// The file of more options that the container's annotation `org.criu.config` names, or else the one
/// that runc takes. An empty annotation: none.
///
/// Such a file can name programs to execute. Annotations can come from an image: so it must be a
/// file that only root writes, and none that the container has got hold of.
pub(crate) fn config_file(
    annotations: &std::collections::BTreeMap<String, String>,
    reachable: &[&Path],
) -> Result<Option<String>, Error> {
    use std::os::unix::fs::MetadataExt as _;
    const ANNOTATION: &str = "org.criu.config";
    let Some(path) = annotations.get(ANNOTATION) else {
        return Ok(Some("/etc/criu/runc.conf".to_owned()));
    };
    if path.is_empty() {
        return Ok(None);
    }
    let refuse = |why: &str| Error::Refused(format!("annotations.{ANNOTATION}: {path:?} {why}"));
    if !path.starts_with('/') {
        return Err(refuse("is not an absolute path"));
    }
    let real = match std::fs::canonicalize(path) {
        // As runc: one that is not there is no error.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.call(|| format!("realpath({path:?})")).doing(|| ANNOTATION)?,
    };
    let inside =
        |place: &&Path| std::fs::canonicalize(place).is_ok_and(|place| real.starts_with(place));
    if reachable.iter().any(inside) {
        return Err(refuse("is a file that the container can write"));
    }
    let data = std::fs::metadata(&real).call(|| format!("stat({real:?})")).doing(|| ANNOTATION)?;
    if !data.is_file() || data.uid() != 0 || data.mode() & 0o022 != 0 {
        return Err(refuse("is not a file that only root can write"));
    }
    Ok(real.to_str().map(str::to_owned))
}

/// A name as criu writes it, or the reason why it would read it as something else.
pub(crate) fn name(path: &Path) -> Result<String, Error> {
    let text = OsStr::to_str(path.as_os_str());
    match text {
        Some(text) if !text.contains([']', '[']) && !text.contains(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(Error::Refused(format!(
            "criu would take the mount point {path:?} for something else: brackets, control characters and what is not UTF-8 are refused"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_told_without_its_place() {
        let dir = std::env::temp_dir().join(format!("dhow-criu-log-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let text = "(00.01) Warn  (criu/x.c:1): no\n\
                    (00.02) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE\n\
                    (00.03) Error (criu/net.c:3436): net: Locking network failed\n\
                    (00.04) Error (criu/cr-dump.c:1): Dumping FAILED.\n";
        std::fs::write(dir.join("log"), text).unwrap();
        let open = directory(&dir, "--work-path").unwrap();
        let read = |name: &str| first_error(&open, OsStr::new(name));
        assert_eq!(read("log").as_deref(), Some("net: Locking network failed"));
        assert_eq!(read("none"), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_criu_would_misread_is_no_name() {
        assert_eq!(name(Path::new("/a b/c")).unwrap(), "/a b/c");
        for bad in ["/a]:/etc", "/a[0", "/a\nb", "/\u{1b}[31m"] {
            assert!(name(Path::new(bad)).is_err(), "{bad:?}");
        }
    }
}
