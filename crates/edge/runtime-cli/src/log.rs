//! Where messages go: standard error, and the file of `--log` in the form of `--log-format`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The program's name in messages.
pub(crate) const NAME: &str = "dhow-runtime";

/// Where messages go.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    /// Opens the log. Its file is the caller's: it may exist already.
    pub(crate) fn open(
        path: Option<&str>,
        format: Option<&str>,
        debug: bool,
    ) -> Result<Self, String> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(other) => return Err(format!("invalid log-format: {other:?}")),
        };
        let file = match path {
            None | Some("") => None,
            Some(path) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .mode(0o644)
                    .open(Path::new(path))
                    .map_err(|error| format!("open the log {path:?}: {error}"))?,
            ),
        };
        Ok(Self { file, json, debug })
    }

    /// What ends the command.
    pub(crate) fn error(&mut self, text: &str) {
        let text = &container::one_line(text);
        self.write("error", text);
        print(&format!("{NAME}: error: {text}\n"));
    }

    /// What was asked for and is not done.
    pub(crate) fn warn(&mut self, text: &str) {
        let text = &container::one_line(text);
        if self.file.is_some() {
            self.write("warning", text);
        } else {
            print(&format!("{NAME}: warning: {text}\n"));
        }
    }

    /// Several of those.
    pub(crate) fn warn_all(&mut self, texts: &[String]) {
        for text in texts {
            self.warn(text);
        }
    }

    /// What `--debug` asks for.
    pub(crate) fn debug(&mut self, text: &str) {
        if !self.debug {
            return;
        }
        if self.file.is_some() {
            self.write("debug", text);
        } else {
            print(&format!("{}\n", text_line("debug", text)));
        }
    }

    fn write(&mut self, level: &str, text: &str) {
        let Some(file) = &mut self.file else { return };
        let text = &container::one_line(text);
        let line = if self.json {
            let time = humane(SystemTime::now());
            serde_json::json!({ "level": level, "msg": text, "time": time }).to_string()
        } else {
            text_line(level, text)
        };
        // A full disk must not change what the command does.
        let _full = file.write_all((line + "\n").as_bytes());
    }
}

/// Warnings and debug messages, too, hold words of images: none of them acts on the terminal.
fn print(line: &str) {
    let line = container::one_line(line.trim_end()) + "\n";
    let _closed = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// A message in the form of runc's text log.
fn text_line(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}", humane(SystemTime::now()))
}

/// RFC 3339 in whole seconds, UTC.
fn humane(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    container::rfc3339(seconds)
}
