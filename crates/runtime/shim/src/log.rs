//! The container's log in Docker's json-file form: one object a line.
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678Z"}
//! ```
//!
//! A line of output longer than 16 KiB becomes several objects, of which all but the last lack the
//! newline at the end of `log`; they carry the time of the first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shim_protocol::LogConfig;

use crate::clock::Timestamp;

/// The longest piece of a line that one object holds, in bytes: Docker's.
const MAX_PIECE_BYTES: usize = 16 * 1024;

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts output into lines and keeps them, in one file or several.
#[derive(Debug)]
pub(crate) struct Log {
    files: Rotation,
    stdout: Line,
    stderr: Line,
    /// What is to be written, kept for its capacity.
    objects: Vec<u8>,
}

impl Log {
    /// Opens the log of container `id`; `None` if none is wanted.
    pub(crate) fn open(config: &LogConfig, data_dir: &Path, id: &str) -> io::Result<Option<Self>> {
        let LogConfig::JsonFile { max_bytes, max_files } = *config else { return Ok(None) };
        let path = data_dir.join(format!("{id}-json.log"));
        let files = Rotation::open(path, max_bytes, max_files)?;
        Ok(Some(Self {
            files,
            stdout: Line::default(),
            stderr: Line::default(),
            objects: Vec::new(),
        }))
    }

    /// Keeps what was written to `stream`, as of now.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let Self { files, stdout, stderr, objects } = self;
        let line = if stream == Stream::Stdout { stdout } else { stderr };
        objects.clear();
        line.push(bytes, Timestamp::now(), |piece, time| {
            let start = objects.len();
            write_object(objects, piece, stream, time);
            files.make_room(objects, start)
        })?;
        files.write(objects)
    }

    /// Keeps what is left of a last line without its newline.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
            if line.rest.is_empty() {
                continue;
            }
            self.objects.clear();
            write_object(&mut self.objects, &line.rest, stream, line.time(Timestamp::now()));
            line.rest = Vec::new();
            self.files.make_room(&mut self.objects, 0)?;
            self.files.write(&self.objects)?;
        }
        Ok(())
    }
}

/// A line of which the end has not come yet.
#[derive(Debug, Default)]
struct Line {
    /// What has come and is in no object yet.
    rest: Vec<u8>,
    /// When the first object of this line was made, if there is one already.
    begun: Option<Timestamp>,
}

impl Line {
    fn time(&self, now: Timestamp) -> Timestamp {
        self.begun.unwrap_or(now)
    }

    /// Hands on each piece that is complete: up to a newline, or as much as an object holds.
    fn push(
        &mut self,
        mut bytes: &[u8],
        now: Timestamp,
        mut piece: impl FnMut(&[u8], Timestamp) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = MAX_PIECE_BYTES - self.rest.len();
            let within = &bytes[..bytes.len().min(room)];
            let newline = within.iter().position(|&byte| byte == b'\n');
            let (end, complete) = match newline {
                Some(at) => (at + 1, true),
                None if bytes.len() >= room => (room, true),
                None => (bytes.len(), false),
            };
            let (now_in, later) = bytes.split_at(end);
            bytes = later;
            if !complete {
                self.rest.extend_from_slice(now_in);
                return Ok(());
            }
            let time = self.time(now);
            if self.rest.is_empty() {
                piece(now_in, time)?;
            } else {
                self.rest.extend_from_slice(now_in);
                piece(&self.rest, time)?;
                self.rest.clear();
            }
            self.begun = newline.is_none().then_some(time);
        }
        Ok(())
    }
}

/// Appends one object.
fn write_object(to: &mut Vec<u8>, piece: &[u8], stream: Stream, time: Timestamp) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, piece);
    // Writing to memory does not fail.
    let _ = writeln!(to, "\",\"stream\":\"{}\",\"time\":\"{time}\"}}", stream.name());
}

/// Appends `bytes` as the inside of a JSON string, escaped as Go does, invalid UTF-8 as U+FFFD.
fn escape(to: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => to.extend_from_slice(&[b'\\', char as u8]),
                '\n' => to.extend_from_slice(b"\\n"),
                '\r' => to.extend_from_slice(b"\\r"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    let _ = write!(to, "\\u{:04x}", u32::from(char));
                }
                _ => to.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
}

/// A file that makes place for its successor when it is full: `PATH`, `PATH.1`, `PATH.2` and so on,
/// the oldest last.
#[derive(Debug)]
struct Rotation {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: Option<u64>,
    max_files: u32,
}

impl Rotation {
    fn open(path: PathBuf, max_bytes: Option<u64>, max_files: u32) -> io::Result<Self> {
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, max_bytes, max_files })
    }

    /// Sees to it that the object that begins at `start` of `pending` does not overfill the file:
    /// if it would, what is before it is written and the files move on.
    fn make_room(&mut self, pending: &mut Vec<u8>, start: usize) -> io::Result<()> {
        let full = self.max_bytes.is_some_and(|max| self.bytes + pending.len() as u64 > max);
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

    fn rotate(&mut self) -> io::Result<()> {
        failpoint::hit("shim.rotate")?;
        if self.max_files > 1 {
            for number in (1..self.max_files - 1).rev() {
                rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
            }
            rename_if_there(&self.path, &self.numbered(1))?;
            self.file = append_to(&self.path)?;
        } else {
            self.file.set_len(0)?;
        }
        self.bytes = 0;
        failpoint::hit("shim.rotated")
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
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

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
