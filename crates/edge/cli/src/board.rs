//! A line for each layer that comes or goes: drawn over and over on a terminal, once for each thing
//! that happens elsewhere.

use std::io::{IsTerminal as _, Write};

use docker::progress::{Detail, Message};

use crate::format::human;

/// Between the brackets of a bar.
const BAR: usize = 50;
/// A terminal narrower than this has no room for bars.
const MIN_WIDTH: u16 = 110;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// Where results go: of `pull` and `push`.
    Stdout,
    /// Where it does not mix with what a container prints.
    Stderr,
    /// Nowhere.
    Nowhere,
}

/// The lines.
pub(crate) struct Board {
    out: Box<dyn Write + Send>,
    /// The terminal's width; `None`: no terminal.
    width: Option<u16>,
    is_quiet: bool,
    ids: Vec<String>,
}

impl Board {
    pub(crate) fn new(out: Out) -> Self {
        let width = || crate::terminal::size().map_or(80, |(_, columns)| columns);
        let (out, is_terminal): (Box<dyn Write + Send>, bool) = match out {
            Out::Stdout => (Box::new(std::io::stdout()), std::io::stdout().is_terminal()),
            Out::Stderr => (Box::new(std::io::stderr()), std::io::stderr().is_terminal()),
            Out::Nowhere => return Self::over(Box::new(std::io::sink()), None, true),
        };
        Self::over(out, is_terminal.then(width), false)
    }

    fn over(out: Box<dyn Write + Send>, width: Option<u16>, is_quiet: bool) -> Self {
        Self { out, width, is_quiet, ids: Vec::new() }
    }

    /// Shows what a message says. Where it cannot be shown, the work still goes on.
    pub(crate) fn show(&mut self, message: &Message) {
        if self.is_quiet || message.status.is_empty() {
            return;
        }
        let detail = message.progress_detail.as_ref();
        let line = match (message.id.as_str(), detail) {
            ("", _) => human::printable(&message.status),
            (id, _) => format!("{id}: {}", human::printable(&message.status)),
        };
        let numbers = detail.filter(|detail| detail.current > 0);
        let Some(width) = self.width else {
            if numbers.is_none() {
                let _ = writeln!(self.out, "{line}");
            }
            return;
        };
        // Only layers are drawn again; all else is told once, below what there is.
        if message.id.is_empty() || detail.is_none() {
            let _ = writeln!(self.out, "{line}");
            self.ids.clear();
            return;
        }
        let known = self.ids.iter().position(|id| *id == message.id);
        let n_up = self.ids.len() - known.unwrap_or(self.ids.len());
        let bar = numbers.map(|detail| bar(detail, width)).unwrap_or_default();
        let _ = if n_up == 0 {
            self.ids.push(message.id.clone());
            writeln!(self.out, "{line} {bar}")
        } else {
            write!(self.out, "\x1b[{n_up}A\r\x1b[2K{line} {bar}\r\x1b[{n_up}B")
        };
        let _ = self.out.flush();
    }
}

/// `[=====>     ]  1.05MB/4.99MB`
fn bar(detail: &Detail, width: u16) -> String {
    let Detail { current, total, .. } = *detail;
    let done = human::size(current);
    if total <= 0 || current > total {
        return format!("{done:>8}");
    }
    let numbers = format!("{done:>8}/{}", human::size(total));
    if width < MIN_WIDTH {
        return numbers;
    }
    let filled = ((current as f64 / total as f64) * BAR as f64) as usize;
    format!("[{}>{}] {numbers}", "=".repeat(filled), " ".repeat(BAR - filled))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(width: Option<u16>) -> String {
        let paper = Paper::default();
        let mut board = Board::over(Box::new(paper.clone()), width, false);
        let layer = |id: &str, status: &str, current, total| Message {
            id: id.into(),
            progress_detail: Some(Detail { current, total, ..Detail::default() }),
            ..Message::status(status)
        };
        board.show(&Message { id: "12".into(), ..Message::status("Pulling from library/debian") });
        board.show(&layer("a", "Pulling fs layer", 0, 0));
        board.show(&layer("b", "Pulling fs layer", 0, 0));
        board.show(&layer("a", "Downloading", 500, 1000));
        board.show(&layer("a", "Pull complete", 0, 0));
        board.show(&Message::status("Status: x\x1b[2J"));
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_log_gets_one_line_for_each_thing() {
        let text = shown(None);
        let want = "12: Pulling from library/debian\na: Pulling fs layer\nb: Pulling fs layer\n\
                    a: Pull complete\nStatus: x";
        assert!(text.starts_with(want), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn a_terminal_gets_lines_that_change() {
        let text = shown(Some(120));
        let bar = format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25));
        assert!(
            text.contains(&format!("\x1b[2A\r\x1b[2Ka: Downloading {bar}\r\x1b[2B")),
            "{text:?}"
        );
        assert!(text.contains("\x1b[2Ka: Pull complete \r\x1b[2B"), "{text:?}");
        assert!(shown(Some(80)).contains("a: Downloading     500B/1kB\r"));
    }
}
