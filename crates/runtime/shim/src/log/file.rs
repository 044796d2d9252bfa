//! Files that make place for their successors.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::Pid;
use shim_protocol::{LogMode, Rotation};

use crate::log::Piece;
use crate::log::form::Form;

/// What of a compressed file is not there yet ends with this.
const UNFINISHED: &str = ".gz.tmp";
/// When it is tried again to write what would have had to be waited for.
const RETRY: Duration = Duration::from_millis(20);

/// A log in files: `PATH`, `PATH.1`, `PATH.2` and so on (`.gz` where they are compressed), the oldest
/// last.
#[derive(Debug)]
pub(super) struct FileSink {
    files: Files,
    form: Form,
    /// What is to be written at once, kept for its capacity.
    objects: Vec<u8>,
    /// Where the container does not wait: what is to be written, and how much of it there may be.
    backlog: Option<Backlog>,
}

#[derive(Debug)]
struct Backlog {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    max_bytes: usize,
    /// How much of the first line is written.
    written: usize,
    retry_at: Option<Instant>,
}

impl FileSink {
    pub(super) fn open(
        path: PathBuf,
        rotation: Rotation,
        form: Form,
        mode: LogMode,
    ) -> io::Result<Self> {
        let backlog = match mode {
            LogMode::Blocking => None,
            LogMode::NonBlocking { max_buffer } => Some(Backlog {
                lines: VecDeque::new(),
                bytes: 0,
                max_bytes: usize::try_from(max_buffer).unwrap_or(usize::MAX),
                written: 0,
                retry_at: None,
            }),
        };
        Ok(Self { files: Files::open(path, rotation)?, form, objects: Vec::new(), backlog })
    }

    /// Adds a line to what is to be written.
    pub(super) fn add(&mut self, piece: &Piece<'_>) -> io::Result<()> {
        let Self { files, form, objects, backlog } = self;
        if let Some(backlog) = backlog {
            let mut line = Vec::new();
            form.write(&mut line, piece);
            backlog.add(line);
            return Ok(());
        }
        let start = objects.len();
        form.write(objects, piece);
        files.make_room(objects, start).inspect_err(|_| objects.clear())
    }

    /// Writes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(backlog) = &mut self.backlog {
            return backlog.flush(&mut self.files);
        }
        let written = self.files.write(&self.objects);
        // What could not be written is lost; what comes later may fit.
        self.objects.clear();
        written
    }

    /// Writes all, however long it takes: nobody waits for the program any more.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(backlog) = &mut self.backlog else { return self.flush() };
        let mut rest = Vec::new();
        for (at, line) in backlog.lines.drain(..).enumerate() {
            rest.extend_from_slice(if at == 0 { &line[backlog.written..] } else { &line });
        }
        (backlog.bytes, backlog.written, backlog.retry_at) = (0, 0, None);
        self.files.write(&rest)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.backlog.as_ref().and_then(|backlog| backlog.retry_at)
    }

    pub(super) fn forget_child(&mut self, pid: Pid) -> bool {
        self.files.compressing.take_if(|child| *child == pid).is_some()
    }
}

impl Backlog {
    fn add(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
        // Not the one that is half written, nor the one that has just come.
        let first = usize::from(self.written > 0);
        while self.bytes > self.max_bytes && self.lines.len() > first + 1 {
            let lost = self.lines.remove(first).unwrap_or_default();
            self.bytes -= lost.len();
        }
    }

    fn flush(&mut self, files: &mut Files) -> io::Result<()> {
        self.retry_at = None;
        while let Some(line) = self.lines.front() {
            if self.written == 0 {
                files.make_room(&mut line.clone(), 0)?;
            }
            match files.write_now(&line[self.written..]) {
                Ok(n_bytes) => self.written += n_bytes,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    self.retry_at = Some(Instant::now() + RETRY);
                    return Ok(());
                }
                Err(err) => {
                    self.drop_first();
                    return Err(err);
                }
            }
            if self.written == line.len() {
                self.drop_first();
            }
        }
        Ok(())
    }

    fn drop_first(&mut self) {
        self.bytes -= self.lines.pop_front().unwrap_or_default().len();
        self.written = 0;
    }
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
    /// Who compresses the last one that made place.
    compressing: Option<Pid>,
    /// The file system can tell that a write would have to be waited for.
    tells: bool,
}

impl Files {
    fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, rotation, compressing: None, tells: true })
    }

    /// Sees to it that the object that begins at `start` of `pending` does not overfill the file:
    /// if it would, what is before it is written and the files move on.
    fn make_room(&mut self, pending: &mut Vec<u8>, start: usize) -> io::Result<()> {
        let max = self.rotation.max_bytes;
        let full = max.is_some_and(|max| self.bytes + pending.len() as u64 > max);
        if full && self.bytes + start as u64 > 0 {
            self.write(&pending[..start])?;
            pending.drain(..start);
            self.rotate()?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes some of it, if that need not be waited for.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// Where a file is appended to.
        const AT_THE_END: u64 = u64::MAX;
        let slices = [IoSlice::new(bytes)];
        let tried = if self.tells {
            rustix::io::pwritev2(&self.file, &slices, AT_THE_END, ReadWriteFlags::NOWAIT)
        } else {
            Err(Errno::OPNOTSUPP)
        };
        let n_bytes = match tried {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.tells = false;
                self.file.write(bytes)?
            }
            Err(Errno::INTR) => 0,
            tried => tried?,
        };
        self.bytes += n_bytes as u64;
        Ok(n_bytes)
    }

    fn rotate(&mut self) -> io::Result<()> {
        failpoint::hit("shim.rotate")?;
        // It works on the file that is about to be renamed.
        if let Some(child) = self.compressing.take() {
            // Somebody else may have collected it.
            let _ended = crate::runtime::wait(child);
        }
        let max_files = self.rotation.max_files;
        if max_files > 1 {
            remove_if_there(&self.numbered(1, UNFINISHED))?;
            for suffix in ["", ".gz"] {
                remove_if_there(&self.numbered(max_files - 1, suffix))?;
            }
            for number in (1..max_files - 1).rev() {
                for suffix in ["", ".gz"] {
                    let (from, to) =
                        (self.numbered(number, suffix), self.numbered(number + 1, suffix));
                    rename_if_there(&from, &to)?;
                }
            }
            rename_if_there(&self.path, &self.numbered(1, ""))?;
            self.file = append_to(&self.path)?;
            if self.rotation.compress {
                self.compressing = Some(start_compressing(&self.numbered(1, ""))?);
            }
        } else {
            self.file.set_len(0)?;
        }
        self.bytes = 0;
        failpoint::hit("shim.rotated")
    }

    fn numbered(&self, number: u32, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}{suffix}"));
        path.into()
    }
}

/// Has a process of its own compress a file: the container is not to wait for that.
fn start_compressing(path: &Path) -> io::Result<Pid> {
    let text = |text: &[u8]| CString::new(text).map_err(io::Error::other);
    let argv = [c"dhow-shim".into(), c"compress".into(), text(path.as_os_str().as_bytes())?];
    let failpoints = std::env::var("DHOW_FAILPOINTS").ok();
    let env = failpoints.and_then(|value| CString::new(format!("DHOW_FAILPOINTS={value}")).ok());
    let spawn = sys::Spawn {
        program: c"/proc/self/exe",
        argv: &argv,
        env: env.as_slice(),
        fds: &[],
        new_session: false,
    };
    Ok(spawn.spawn().map_err(io::Error::other)?.pid)
}

/// Puts `PATH.gz` in the place of `path`: whoever dies in between leaves the one or the other whole.
pub(crate) fn compress(path: &Path) -> io::Result<()> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (unfinished, finished) = (with(UNFINISHED), with(".gz"));
    failpoint::hit("shim.compress")?;
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o640);
    let to = options.open(&unfinished)?;
    let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::rename(&unfinished, &finished)?;
    failpoint::hit("shim.compressed")?;
    fs::remove_file(path)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}
