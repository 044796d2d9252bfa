//! Progress as lines (`--progress plain`): `#5 [2/3] RUN make`, `#5 0.123 text`, `#5 DONE 0.4s`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::text;
use super::trace::{Step, Trace};

/// How long a step that goes on, and says nothing, keeps others from being shown.
const SILENCE: Duration = Duration::from_millis(500);

/// What was printed until now.
#[derive(Debug, Default)]
pub(super) struct Plain {
    n_printed: usize,
    /// The step whose lines come last, and whether it goes on.
    last: Option<usize>,
    is_open: bool,
    open_number: usize,
    spoke: Option<Instant>,
}

impl Plain {
    /// The first lines.
    pub(super) fn begin(title: &str) -> String {
        format!("#0 {title}\n\n")
    }

    /// What is new, of one step after the other; of all where `whole`.
    pub(super) fn print(&mut self, trace: &mut Trace, whole: bool) -> Vec<u8> {
        let mut out = String::new();
        if let Some(at) = self.last.filter(|_| self.is_open) {
            if trace.steps[at].is_fresh() {
                self.step(&mut trace.steps[at], at, &mut out);
            }
            let is_silent = self.spoke.is_none_or(|spoke| spoke.elapsed() > SILENCE);
            if self.is_open && !whole && !is_silent {
                return out.into_bytes();
            }
        }
        // Those that have ended, in the order of their ends; then one that goes on.
        let mut fresh: Vec<usize> = (0..trace.steps.len())
            .filter(|at| trace.steps[*at].is_fresh() && trace.steps[*at].started.is_some())
            .collect();
        fresh.sort_by(|a, b| end(&trace.steps[*a]).total_cmp(&end(&trace.steps[*b])));
        for at in fresh {
            let step = &mut trace.steps[at];
            let is_other = self.last != Some(at);
            if is_other && self.is_open && step.completed.is_none() && !whole {
                continue;
            }
            self.step(step, at, &mut out);
            if self.is_open && !whole {
                break;
            }
        }
        out.into_bytes()
    }

    fn step(&mut self, step: &mut Step, at: usize, out: &mut String) {
        let number = *step.number.get_or_insert_with(|| {
            self.n_printed += 1;
            self.n_printed
        });
        if self.last != Some(at) {
            if let (Some(_), true) = (self.last, self.is_open) {
                _ = writeln!(out, "#{} ...", self.open_number);
            }
            if self.last.is_some() {
                out.push('\n');
            }
            _ = writeln!(out, "#{number} {}", step.name);
        }
        (self.last, self.spoke, self.open_number) = (Some(at), Some(Instant::now()), number);
        let is_done = step.completed.is_some();
        let is_shown = |part: &&mut super::trace::Part| {
            !part.is_reason() && (part.is_due() || is_done && part.fresh)
        };
        for part in step.parts.iter_mut().filter(is_shown) {
            (part.fresh, part.printed) = (false, Some(Instant::now()));
            let took =
                part.started.map_or(0.0, |began| part.completed.unwrap_or(part.time) - began);
            let took = if took > 0.01 { format!(" {took:.1}s") } else { String::new() };
            let done = if part.completed.is_some() { " done" } else { "" };
            _ = writeln!(out, "#{number} {}{}{took}{done}", part.id, text::amount(part));
        }
        for warning in step.fresh_warnings.drain(..) {
            _ = writeln!(out, "#{number} WARN: {warning}");
        }
        for (at, line) in step.fresh.drain(..) {
            _ = writeln!(out, "#{number} {} {}", text::since(at), text::line(&line, true));
        }
        let has_ended = std::mem::take(&mut step.changed);
        self.is_open = step.completed.is_none();
        if self.is_open || !has_ended {
            return;
        }
        if step.is_cancelled() {
            _ = writeln!(out, "#{number} CANCELED");
        } else if step.is_failed() {
            _ = writeln!(out, "#{number} ERROR: {}", step.error);
        } else if step.cached {
            _ = writeln!(out, "#{number} CACHED");
        } else {
            _ = writeln!(out, "#{number} DONE {:.1}s", step.took(0.0));
        }
    }
}

fn end(step: &Step) -> f64 {
    step.completed.unwrap_or(f64::MAX)
}
