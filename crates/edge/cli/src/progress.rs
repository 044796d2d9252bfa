//! What a person sees of work that lasts: a line that grows on a terminal, one line otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::format::human;

/// The shortest time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);

/// A count of bytes on standard error, drawn over and over on a terminal and not at all elsewhere.
pub(crate) struct Bytes {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    drawn: Option<Instant>,
    started: Instant,
    visible: bool,
}

impl Bytes {
    /// Begins; `total` where it is known.
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Self {
        let visible = std::io::stderr().is_terminal();
        Self { what, total, done: 0, drawn: None, started: Instant::now(), visible }
    }

    /// So many more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.visible && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    /// So many are done now.
    pub(crate) fn set(&mut self, done: u64) {
        self.add(done.saturating_sub(self.done));
    }

    /// Takes the line away: the result says the rest.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self) -> String {
        let done = human::size(self.done as i64);
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = human::size((self.done as f64 / seconds) as i64);
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let filled = (self.done.min(total) * 30 / total) as usize;
                let bar = format!("{}>{}", "=".repeat(filled), " ".repeat(30 - filled));
                format!("{} [{bar}] {done}/{} {rate}/s", self.what, human::size(total as i64))
            }
            None => format!("{} {done} {rate}/s", self.what),
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.clear();
    }
}
