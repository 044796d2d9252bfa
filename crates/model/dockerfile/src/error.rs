//! What can be wrong with a Dockerfile, in BuildKit's words.

use std::fmt;

use crate::position::Lines;
use crate::problem::Problem;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What.
    pub problem: Problem,
    /// Where, as far as it is one place or several; the first is the one to look at.
    pub lines: Vec<Lines>,
    /// It is the instruction at this line that makes no sense by itself.
    instruction: Option<u32>,
}

impl Error {
    /// At these lines.
    pub(crate) fn at(lines: Lines, problem: Problem) -> Self {
        Self { problem, lines: vec![lines], instruction: None }
    }

    /// At no line.
    pub(crate) fn nowhere(problem: Problem) -> Self {
        Self { problem, lines: Vec::new(), instruction: None }
    }

    /// Of an instruction at these lines, which makes no sense by itself.
    pub(crate) fn instruction(lines: Lines, problem: Problem) -> Self {
        Self { problem, lines: vec![lines], instruction: Some(lines.first) }
    }

    /// The same somewhere else: what an image's trigger does wrong is shown at its `FROM`.
    pub(crate) fn moved(mut self, lines: Lines) -> Self {
        self.lines = vec![lines];
        if self.instruction.is_some() {
            self.instruction = Some(lines.first);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instruction {
            Some(line) => write!(f, "dockerfile parse error on line {line}: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Lines of a source with a bit of what is around them, the lines themselves marked, as BuildKit
/// shows them (`solver/errdefs/source.go`). Empty where there are no such lines.
pub fn snippet(file: &str, source: &str, marked: &[Lines]) -> String {
    let lines: Vec<&str> = source.split('\n').collect();
    let first = marked.iter().map(|one| one.first as usize).min();
    let last = marked.iter().map(|one| one.last as usize).max();
    let (Some(first), Some(last)) = (first, last) else { return String::new() };
    if first == 0 || first > lines.len() {
        return String::new();
    }
    let (from, to) = around(first, last.min(lines.len()), lines.len());
    let rule = "--------------------\n";
    let mut out = format!("{file}:{first}\n{rule}");
    for number in from..=to {
        let is_marked =
            marked.iter().any(|one| (one.first as usize..=one.last as usize).contains(&number));
        let mark = if is_marked { ">>>" } else { "   " };
        let text = lines[number - 1].trim_end_matches('\r');
        out += &format!(" {number:3} | {mark} {text}\n");
    }
    out + rule
}

/// Some lines more before and after, in turn.
fn around(mut first: usize, mut last: usize, len: usize) -> (usize, usize) {
    let wanted = if first == last { 4 } else { 2 };
    let mut shown = 0;
    while shown < wanted {
        if first > 1 {
            first -= 1;
            shown += 1;
        }
        if last < len {
            last += 1;
            shown += 1;
        }
        shown += 1;
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_with_their_neighbours() {
        let source = "FROM scratch\n\nFRMO x\nCOPY a b\nCOPY c d\nCOPY e f\n";
        let want = "\
Dockerfile:3
--------------------
   1 |     FROM scratch
   2 |     
   3 | >>> FRMO x
   4 |     COPY a b
   5 |     COPY c d
--------------------
";
        assert_eq!(snippet("Dockerfile", source, &[Lines::one(3)]), want);
        let want = "\
a:1
--------------------
   1 | >>> x \\
   2 | >>> y
   3 |     
--------------------
";
        assert_eq!(snippet("a", "x \\\ny\n", &[Lines::new(1, 2)]), want);
        assert_eq!(snippet("a", "x", &[Lines::one(3)]), "");
        assert_eq!(snippet("a", "x", &[]), "");
        assert_eq!(snippet("a", "x", &[Lines::new(1, 9)]).lines().count(), 4);
    }
}
