//! Reading a container's log: json-file, in one file or several, also while it grows.
//!
//! A line is read whole or not at all: the writer appends whole lines, and the end of the file may
//! lie within one.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shim_protocol::LogConfig;

use crate::engine::{Engine, Shared};
use crate::error::At as _;
use crate::shim::{Ready, first_ready};
use crate::watch::Watch;
use crate::{Error, clock, definition};

/// How much is given out at once, bytes, if there is as much.
const PIECE_BYTES: usize = 32 << 10;
/// The longest line that is taken for one, bytes: a piece of 16 KiB, each byte escaped.
const MAX_LINE_BYTES: u64 = 256 << 10;
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
    options: LogOptions,
    /// Files still to be read, the oldest first; the last of all is the one that grows.
    files: Vec<(File, PathBuf)>,
    current: Option<BufReader<File>>,
    watch: Option<Watch>,
    /// A line of which the end is not there yet.
    partial: Vec<u8>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
}

impl Engine {
    /// Opens a container's log.
    pub fn logs(&self, wanted: &str, options: LogOptions) -> Result<Logs, Error> {
        if !options.stdout && !options.stderr {
            return Err(Error::Invalid(
                "Bad parameters: you must choose at least one stream".into(),
            ));
        }
        let container = self.find(wanted)?;
        if definition::log(&container.record.host.log_config)? == LogConfig::None {
            return Err(Error::Conflict(
                "configured logging driver does not support reading".into(),
            ));
        }
        let phase = self.status(&container.id)?.phase;
        let data = self.paths().data(&container.id);
        let follow = options.follow && phase.is_alive();
        // Watched first, read second: what comes in between is seen.
        let watch = if follow { Watch::files(&data)? } else { None };
        let mut files = open_all(&self.paths().log(&container.id))?;
        let current = start(&mut files, options.tail)?;
        Ok(Logs {
            tty: container.record.config.tty,
            shared: Arc::clone(&self.shared),
            id: container.id,
            options: LogOptions { follow, ..options },
            files,
            current,
            watch,
            partial: Vec::new(),
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
            let fds: Vec<BorrowedFd<'_>> = self.watch.iter().map(|watch| watch.as_fd()).collect();
            let until = self.options.until.map(|until| until - clock::now());
            if until.is_some_and(|left| left <= 0) {
                return Ok(None);
            }
            if first_ready(&fds, gone, Some(LOOK_AGAIN))? == Ready::Gone {
                return Ok(None);
            }
            if let Some(watch) = &self.watch {
                watch.drain();
            }
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
        let path = self.shared.paths.log(&self.id);
        while piece.len() < PIECE_BYTES {
            let Some(current) = &mut self.current else {
                // The container may not have written anything yet.
                match File::open(&path) {
                    Ok(file) => self.current = Some(BufReader::new(file)),
                    Err(_) => return Ok(false),
                }
                continue;
            };
            let limit = MAX_LINE_BYTES.saturating_sub(self.partial.len() as u64);
            let read = current.by_ref().take(limit).read_until(b'\n', &mut self.partial);
            if read.at("read", &path)? == 0 && limit > 0 {
                if !self.next_file(&path)? {
                    return Ok(false);
                }
                continue;
            }
            let whole = self.partial.last() == Some(&b'\n');
            if !whole && (self.partial.len() as u64) < MAX_LINE_BYTES {
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            if let Ok(line) = serde_json::from_slice::<Line>(&line)
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
            let (file, _) = self.files.remove(0);
            self.partial.clear();
            self.current = Some(BufReader::new(file));
            return Ok(true);
        }
        let Some(current) = &mut self.current else { return Ok(false) };
        let ours = current.get_ref().metadata().at("stat", path)?;
        let position = current.stream_position().at("seek", path)?;
        match std::fs::metadata(path) {
            // It was emptied to begin anew.
            Ok(now) if now.ino() == ours.ino() && now.len() < position => {
                self.partial.clear();
                current.seek(SeekFrom::Start(0)).at("seek", path)?;
                Ok(true)
            }
            Ok(now) if now.ino() != ours.ino() && ours.len() <= position => {
                self.partial.clear();
                self.current = Some(BufReader::new(File::open(path).at("open", path)?));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Adds a line to a piece, if it is wanted. Whether it is newer than all that is.
    fn take(&self, line: &Line, piece: &mut Vec<u8>) -> bool {
        let options = &self.options;
        let time = clock::parse(&line.time).unwrap_or_default();
        if options.until.is_some_and(|until| time > until) {
            return true;
        }
        if options.since.is_some_and(|since| time < since) {
            return false;
        }
        let (wanted, stream) = match line.stream.as_str() {
            "stderr" => (options.stderr, 2),
            _ => (options.stdout, 1),
        };
        if !wanted {
            return false;
        }
        let mut text = Vec::new();
        if options.timestamps {
            text.extend_from_slice(padded(&line.time).as_bytes());
            text.push(b' ');
        }
        if options.details {
            // There are none: no option that would add any is taken.
            text.push(b' ');
        }
        text.extend_from_slice(line.log.as_bytes());
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

/// The files of a log, the oldest first.
fn open_all(path: &Path) -> Result<Vec<(File, PathBuf)>, Error> {
    let mut files = Vec::new();
    for number in 0.. {
        let name = match number {
            0 => path.to_path_buf(),
            number => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{number}"));
                name.into()
            }
        };
        match File::open(&name) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => break,
            opened => files.push((opened.at("open", &name)?, name)),
        }
    }
    files.reverse();
    Ok(files)
}

/// The first file to read, at the place where the wanted lines begin. The files before it are
/// taken out of `files`.
fn start(
    files: &mut Vec<(File, PathBuf)>,
    tail: Option<usize>,
) -> Result<Option<BufReader<File>>, Error> {
    if files.is_empty() {
        return Ok(None);
    }
    let Some(mut left) = tail else { return Ok(Some(BufReader::new(files.remove(0).0))) };
    let mut at = files.len();
    let mut offset = 0;
    while at > 0 {
        at -= 1;
        let (file, path) = &mut files[at];
        let (found, place) = last_lines(file, left).at("read", path)?;
        offset = place;
        left -= found.min(left);
        if left == 0 {
            break;
        }
    }
    files.drain(..at);
    let (mut file, path) = files.remove(0);
    file.seek(SeekFrom::Start(offset)).at("seek", &path)?;
    Ok(Some(BufReader::new(file)))
}

/// Where the last `wanted` lines of a file begin, and how many there are.
fn last_lines(file: &mut File, wanted: usize) -> io::Result<(usize, u64)> {
    const BLOCK: u64 = 64 << 10;
    let mut end = file.metadata()?.len();
    let mut offset = end;
    let mut found = 0;
    if wanted == 0 {
        return Ok((0, end));
    }
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The newline at the very end ends the last line, and begins none.
            if (after != offset || found > 0) && found == wanted {
                return Ok((found, after));
            }
            found += 1;
            offset = after.min(offset);
        }
        end = start;
    }
    Ok((found.min(wanted), 0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("dhow-logs-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    fn tail(text: &str, wanted: usize) -> (usize, String) {
        let mut file = file(&format!("tail{wanted}-{}", text.len()), text);
        let (found, offset) = last_lines(&mut file, wanted).unwrap();
        (found, text[usize::try_from(offset).unwrap()..].to_owned())
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let text = "a\nbb\nccc\n";
        assert_eq!(tail(text, 0), (0, String::new()));
        assert_eq!(tail(text, 1), (1, "ccc\n".into()));
        assert_eq!(tail(text, 2), (2, "bb\nccc\n".into()));
        assert_eq!(tail(text, 3), (3, text.into()));
        assert_eq!(tail(text, 9), (3, text.into()));
        assert_eq!(tail("", 3), (0, String::new()));
        let long = format!("{}\n", "x".repeat(100)).repeat(2000);
        assert_eq!(tail(&long, 1500), (1500, long[500 * 101..].into()));
    }

    #[test]
    fn the_tail_may_lie_in_several_files() {
        let mut files = vec![
            (file("old", "1\n2\n"), PathBuf::new()),
            (file("mid", "3\n"), PathBuf::new()),
            (file("new", "4\n5\n"), PathBuf::new()),
        ];
        let mut first = String::new();
        start(&mut files, Some(4)).unwrap().unwrap().read_to_string(&mut first).unwrap();
        assert_eq!((first.as_str(), files.len()), ("2\n", 2));
        let mut files = vec![(file("only", "4\n5\n"), PathBuf::new())];
        start(&mut files, Some(0)).unwrap().unwrap().read_to_string(&mut first).unwrap();
        assert_eq!(first, "2\n");
    }

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(padded("2026-01-02T03:04:05.678Z"), "2026-01-02T03:04:05.678000000Z");
        assert_eq!(padded("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05.000000000Z");
    }
}
