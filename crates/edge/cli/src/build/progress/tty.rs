//! Progress on a terminal: a tree of steps with times, the last lines of those that go on, drawn over
//! and over.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::text;
use super::trace::{Step, Trace};

/// Lines of output that are shown of a step that goes on.
const LOG_LINES: usize = 6;
/// Where a terminal does not say how large it is.
const DEFAULT_SIZE: (usize, usize) = (24, 80);
/// Colours as BuildKit's: what is done, what went wrong, what was stopped.
const DONE: &str = "\x1b[34m";
const FAILED: &str = "\x1b[31m";
const CANCELLED: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";

/// One drawing that is replaced by the next.
#[derive(Debug)]
pub(super) struct Terminal {
    title: String,
    n_drawn: usize,
    is_hidden: bool,
    began: f64,
}

/// Whether people want colours (<https://no-color.org>).
pub(super) fn has_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Rows and columns of the terminal that standard error is.
fn size() -> (usize, usize) {
    let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stderr()) else {
        return DEFAULT_SIZE;
    };
    match (usize::from(size.ws_row), usize::from(size.ws_col)) {
        (0, _) | (_, 0) => DEFAULT_SIZE,
        size => size,
    }
}

impl Terminal {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), n_drawn: 0, is_hidden: false, began: now() }
    }

    /// Draws over what was drawn. Nothing is drawn before something began.
    pub(super) fn draw(&mut self, trace: &Trace, is_last: bool) {
        let (rows, columns) = size();
        let look = Look {
            rows: if is_last { usize::MAX } else { rows.saturating_sub(1) },
            columns,
            now: now(),
            began: self.began,
            is_last,
            has_colour: has_colour(),
        };
        let lines = look.lines(trace, &self.title);
        let mut out = String::new();
        if !self.is_hidden {
            out += "\x1b[?25l";
            self.is_hidden = true;
        }
        if self.n_drawn > 0 {
            out += &format!("\x1b[{}A\r", self.n_drawn);
        }
        for line in &lines {
            out += line;
            out += "\x1b[K\n";
        }
        out += "\x1b[J";
        if is_last {
            out += "\x1b[?25h";
            self.is_hidden = false;
        }
        self.n_drawn = lines.len();
        let mut stderr = std::io::stderr().lock();
        _ = stderr.write_all(out.as_bytes());
        _ = stderr.flush();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.is_hidden {
            _ = std::io::stderr().write_all(b"\x1b[?25h");
        }
    }
}

/// How it is to look.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) now: f64,
    pub(super) began: f64,
    pub(super) is_last: bool,
    pub(super) has_colour: bool,
}

impl Look {
    pub(super) fn lines(&self, trace: &Trace, title: &str) -> Vec<String> {
        let mut steps: Vec<&Step> =
            trace.steps.iter().filter(|step| step.started.is_some()).collect();
        steps.sort_by(|a, b| a.started.unwrap_or(0.0).total_cmp(&b.started.unwrap_or(0.0)));
        let n_done = steps.iter().filter(|step| step.completed.is_some()).count();
        let n_all = trace.steps.iter().filter(|step| !step.name.is_empty()).count();
        let end = if self.is_last { last_end(&steps).unwrap_or(self.now) } else { self.now };
        let took = (end - trace.began.unwrap_or(self.began)).max(0.0);
        let finished = if self.is_last { " FINISHED" } else { "" };
        let head = format!("[+] Building {took:.1}s ({n_done}/{n_all}){finished}");
        let mut out = vec![self.aligned(&head, title)];
        for block in self.fitting(&steps) {
            out.extend(block);
        }
        out
    }

    /// The lines of as many steps as there is room for: those that have long been done give way.
    fn fitting(&self, steps: &[&Step]) -> Vec<Vec<String>> {
        let room = self.rows.saturating_sub(1);
        // More than there are rows for need not be looked at.
        let mut n_left = [room; 2];
        let mut kept: Vec<&&Step> = Vec::new();
        for step in steps.iter().rev() {
            let left = &mut n_left[usize::from(step.completed.is_some())];
            if *left > 0 {
                *left -= 1;
                kept.push(step);
            }
        }
        let mut blocks: Vec<(bool, Vec<String>)> =
            kept.iter().rev().map(|step| (step.completed.is_some(), self.step(step))).collect();
        let mut n_lines: usize = blocks.iter().map(|(_, block)| block.len()).sum();
        while n_lines > room {
            // What is done becomes one line, then none; then what goes on becomes one line.
            let find = |wanted: &dyn Fn(bool, usize) -> bool| {
                blocks.iter().position(|(is_done, block)| wanted(*is_done, block.len()))
            };
            let (at, keep) = if let Some(at) = find(&|is_done, len| is_done && len > 1) {
                (at, 1)
            } else if let Some(at) = find(&|is_done, _| is_done) {
                (at, 0)
            } else if let Some(at) = find(&|_, len| len > 1) {
                (at, blocks[at].1.len() - 1)
            } else {
                (0, 0)
            };
            n_lines -= blocks[at].1.len() - keep;
            if keep == 0 {
                blocks.remove(at);
            } else {
                blocks[at].1.truncate(keep);
            }
        }
        blocks.into_iter().map(|(_, block)| block).collect()
    }

    fn step(&self, step: &Step) -> Vec<String> {
        let (mark, colour) = if step.is_failed() {
            ("ERROR ", FAILED)
        } else if step.is_cancelled() {
            ("CANCELED ", CANCELLED)
        } else if step.cached {
            ("CACHED ", DONE)
        } else if step.completed.is_some() {
            ("", DONE)
        } else {
            ("", "")
        };
        let took = format!("{:.1}s", step.took(self.now));
        let mut lines =
            vec![self.coloured(colour, &self.aligned(&format!(" => {mark}{}", step.name), &took))];
        for part in step.parts.iter().filter(|part| !part.is_reason()) {
            let end = part.completed.unwrap_or(self.now);
            let took = part.started.map(|began| format!("{:.1}s", (end - began).max(0.0)));
            let text = format!(" => => {}{}", part.id, text::amount(part));
            let line = self.aligned(&text, &took.unwrap_or_default());
            lines.push(self.coloured(if part.completed.is_some() { DONE } else { "" }, &line));
        }
        if step.completed.is_none() || step.is_failed() {
            let n = step.tail.len().saturating_sub(LOG_LINES);
            for (_, bytes) in step.tail.iter().skip(n) {
                let text = text::line(bytes, false).replace('\t', "    ");
                let line = fit(&format!(" => => # {text}"), self.columns);
                lines.push(self.coloured(FAINT, &line));
            }
        }
        lines
    }

    fn coloured(&self, colour: &str, line: &str) -> String {
        if !self.has_colour || colour.is_empty() {
            return line.to_owned();
        }
        format!("{colour}{line}\x1b[0m")
    }

    /// A text at the left and one at the right.
    fn aligned(&self, left: &str, right: &str) -> String {
        let room = self.columns.saturating_sub(right.chars().count() + 1);
        let left = fit(left, room);
        let pad = self.columns.saturating_sub(left.chars().count() + right.chars().count());
        format!("{left}{}{right}", " ".repeat(pad))
    }
}

fn last_end(steps: &[&Step]) -> Option<f64> {
    steps.iter().filter_map(|step| step.completed).max_by(f64::total_cmp)
}

fn fit(text: &str, columns: usize) -> String {
    text.chars().take(columns).collect()
}
