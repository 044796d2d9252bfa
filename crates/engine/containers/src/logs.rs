//! Reading a container's log, in one file or several, also while it grows.
//!
//! A line is read whole or not at all: the writer appends whole lines, and the end of the file may
//! lie within one.

mod form;
mod source;

use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use docker::timestamp::Timestamp;
use shim_protocol::{LogConfig, Phase};

use crate::engine::{Engine, Shared};
use crate::error::At as _;
use crate::logs::form::{Form, Line};
use crate::logs::source::{Source, open_all, start};
use crate::shim::{Ready, first_ready};
use crate::watch::Watch;
use crate::{Error, clock, log_driver};

/// How much is given out at once, bytes, if there is as much.
const PIECE_BYTES: usize = 32 << 10;
/// How often a follower looks by itself: the end of a container whose supervisor was killed is
/// announced by nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on until the container ends.
    pub follow: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// What the log driver notes with each line, before it.
    pub details: bool,
    /// Not what is older; nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not what is newer; nanoseconds since 1970.
    pub until: Option<i64>,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
}

/// A log that is being read.
#[derive(Debug)]
pub struct Logs {
    /// Whether the container has a terminal: the log is not framed then.
    pub tty: bool,
    shared: Arc<Shared>,
    id: String,
    /// The file that grows.
    path: PathBuf,
    form: Form,
    options: LogOptions,
    /// Files still to be read, the oldest first; the last of all is the one that grows.
    files: Vec<Source>,
    current: Option<BufReader<File>>,
    watches: Vec<Watch>,
    /// A line of which the end is not there yet.
    partial: Vec<u8>,
    /// The time of the last line, nanoseconds since 1970.
    last: i64,
    /// Not what is older than this or as old: it was read before.
    resumed: Option<i64>,
}

impl Engine {
    /// When a container was started that runs, nanoseconds since 1970; `None`: it does not run.
    pub fn running_since(&self, wanted: &str) -> Result<Option<i64>, Error> {
        let status = self.status(&self.find(wanted)?.id)?;
        let started = Timestamp::parse(&status.started_at).ok().map(Timestamp::as_nanos);
        Ok(started.filter(|_| status.phase == Phase::Running))
    }

    /// Opens a container's log.
    pub fn logs(&self, wanted: &str, options: LogOptions) -> Result<Logs, Error> {
        if !options.stdout && !options.stderr {
            return Err(Error::Invalid(
                "Bad parameters: you must choose at least one stream".into(),
            ));
        }
        let container = self.find(wanted)?;
        let data = self.paths().data(&container.id);
        let (form, folder, path) = match log_driver::of(&container)? {
            LogConfig::JsonFile { .. } => {
                (Form::Json, data.clone(), self.paths().log(&container.id))
            }
            LogConfig::Local { .. } => {
                let folder = data.join("local-logs");
                let path = folder.join("container.log");
                (Form::Local, folder, path)
            }
            LogConfig::Journald { .. } | LogConfig::Syslog { .. } | LogConfig::None => {
                return Err(Error::Unreadable(
                    "configured logging driver does not support reading",
                ));
            }
        };
        let phase = self.status(&container.id)?.phase;
        let follow = options.follow && phase.is_alive();
        // Watched first, read second: what comes in between is seen.
        let mut watches = Vec::new();
        if follow {
            watches.extend(Watch::files(&folder)?);
            if folder != data {
                watches.extend(Watch::files(&data)?);
            }
        }
        let mut files = open_all(&path)?;
        let current = start(&mut files, options.tail, form, &path)?;
        Ok(Logs {
            tty: container.record.config.tty,
            shared: Arc::clone(&self.shared),
            id: container.id,
            path,
            form,
            options: LogOptions { follow, ..options },
            files,
            current,
            watches,
            partial: Vec::new(),
            // What is not shown now is not shown after a rotation either.
            last: if options.tail.is_some() { clock::now() } else { 0 },
            resumed: None,
        })
    }
}

impl Logs {
    /// The next piece, as it goes to the client; `None` at the end, or when `gone` hangs up.
    pub fn next(&mut self, gone: Option<BorrowedFd<'_>>) -> Result<Option<Vec<u8>>, Error> {
        let mut piece = Vec::new();
        loop {
            // Asked before reading: what is there when it has ended is all that will ever be.
            let ended = !self.options.follow || self.has_ended()?;
            let done = self.read_into(&mut piece)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if done || ended {
                return Ok(None);
            }
            let fds: Vec<BorrowedFd<'_>> = self.watches.iter().map(|watch| watch.as_fd()).collect();
            let until = self.options.until.map(|until| until - clock::now());
            if until.is_some_and(|left| left <= 0) {
                return Ok(None);
            }
            if first_ready(&fds, gone, Some(LOOK_AGAIN))? == Ready::Gone {
                return Ok(None);
            }
            self.watches.iter_mut().for_each(Watch::drain);
        }
    }

    /// Whether nothing will be written any more.
    fn has_ended(&self) -> Result<bool, Error> {
        if !self.shared.paths.data(&self.id).exists() {
            return Ok(true);
        }
        let status = self.shared.status(&self.id)?;
        Ok(!status.phase.is_alive() || self.shared.lost_its_shim(&self.id, &status)?)
    }

    /// Reads what is there, up to a piece's size. Whether the end of what is wanted was met.
    fn read_into(&mut self, piece: &mut Vec<u8>) -> Result<bool, Error> {
        let path = self.path.clone();
        while piece.len() < PIECE_BYTES {
            let Some(current) = &mut self.current else {
                // The container may not have written anything yet.
                match File::open(&path) {
                    Ok(file) => self.current = Some(BufReader::new(file)),
                    Err(_) => return Ok(false),
                }
                continue;
            };
            if !self.form.read(current, &mut self.partial).at("read", &path)? {
                if !self.next_file(&path)? {
                    return Ok(false);
                }
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            if let Some(line) = self.form.parse(&line)
                && self.take(&line, piece)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes on to the file that came after the one that was read to its end, if there is one.
    fn next_file(&mut self, path: &Path) -> Result<bool, Error> {
        if !self.files.is_empty() {
            let next = self.files.remove(0);
            self.partial.clear();
            self.current = Some(BufReader::new(next.plain(path)?));
            return Ok(true);
        }
        let Some(current) = &mut self.current else { return Ok(false) };
        // Looked at first: once another one is there, nothing comes to ours any more.
        let now = std::fs::metadata(path);
        let ours = current.get_ref().metadata().at("stat", path)?;
        let position = current.stream_position().at("seek", path)?;
        match now {
            // It was emptied to begin anew.
            Ok(now) if now.ino() == ours.ino() && now.len() < position => {
                self.partial.clear();
                current.seek(SeekFrom::Start(0)).at("seek", path)?;
                Ok(true)
            }
            Ok(now) if now.ino() != ours.ino() && ours.len() <= position => {
                // It made place for another, perhaps not only once.
                let mut files = open_all(path)?;
                match files.iter().position(|file| file.inode == ours.ino()) {
                    Some(at) => drop(files.drain(..=at)),
                    // It was compressed meanwhile, or is gone.
                    None => self.resumed = Some(self.last),
                }
                self.partial.clear();
                self.files = files;
                if self.files.is_empty() {
                    return Ok(false);
                }
                self.next_file(path)
            }
            _ => Ok(false),
        }
    }

    /// Adds a line to a piece, if it is wanted. Whether it is newer than all that is.
    fn take(&mut self, line: &Line, piece: &mut Vec<u8>) -> bool {
        let time = line.time;
        if self.resumed.is_some_and(|resumed| time <= resumed) {
            return false;
        }
        self.resumed = None;
        self.last = self.last.max(time);
        let options = &self.options;
        if options.until.is_some_and(|until| time > until) {
            return true;
        }
        if options.since.is_some_and(|since| time < since) {
            return false;
        }
        let (wanted, stream) =
            if line.is_error { (options.stderr, 2) } else { (options.stdout, 1) };
        if !wanted {
            return false;
        }
        let mut text = Vec::new();
        if options.timestamps {
            text.extend_from_slice(padded(&line.shown_time).as_bytes());
            text.push(b' ');
        }
        if options.details {
            text.extend_from_slice(line.details().as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.text);
        if !self.tty {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            piece.extend_from_slice(&[stream, 0, 0, 0]);
            piece.extend_from_slice(&length.to_be_bytes());
        }
        piece.extend_from_slice(&text);
        false
    }
}

/// A time with all nine digits, as Docker prints them before lines.
fn padded(time: &str) -> String {
    let Some(clock) = time.strip_suffix('Z') else { return time.to_owned() };
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(padded("2026-01-02T03:04:05.678Z"), "2026-01-02T03:04:05.678000000Z");
        assert_eq!(padded("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05.000000000Z");
    }
}
