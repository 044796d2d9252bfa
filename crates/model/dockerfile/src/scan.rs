//! From text to statements: directives, comments, continued lines and here-documents.

use crate::directive::{Directive, Reader};
use crate::error::Error;
use crate::heredoc::{self, Heredoc};
use crate::position::Lines;
use crate::problem::Problem;
use crate::split;

/// The longest line with its end, in bytes.
const MAX_LINE: usize = 65536;

/// An instruction as text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// Its lines put together, without their continuation marks.
    pub text: String,
    /// Where it is, with its here-documents.
    pub lines: Lines,
    /// Comments right before it.
    pub comments: Vec<String>,
    /// Its here-documents.
    pub heredocs: Vec<Heredoc>,
}

/// What a text consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scan {
    pub statements: Vec<Statement>,
    pub directives: Vec<Directive>,
    pub escape: char,
    /// Where an instruction goes on after an empty line.
    pub empty_continuations: Vec<Lines>,
}

struct Scanner<'a> {
    rest: &'a [u8],
    /// Of the line that was read last.
    number: u32,
    directives: Reader,
    comments: Vec<String>,
    scan: Scan,
}

pub(crate) fn scan(source: &[u8]) -> Result<Scan, Error> {
    let scan = Scan {
        statements: Vec::new(),
        directives: Vec::new(),
        escape: '\\',
        empty_continuations: Vec::new(),
    };
    let mut scanner = Scanner {
        rest: source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source),
        number: 0,
        directives: Reader::new("#"),
        comments: Vec::new(),
        scan,
    };
    while let Some(line) = scanner.line()? {
        scanner.first(line)?;
    }
    if scanner.scan.statements.is_empty() {
        return Err(Error::at(Lines::one(scanner.number.max(1)), Problem::NoInstructions));
    }
    Ok(scanner.scan)
}

impl<'a> Scanner<'a> {
    /// The next line with its end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let length = self.rest.iter().position(|&b| b == b'\n').map(|at| at + 1);
        let end = length.unwrap_or(self.rest.len());
        let is_long = end > MAX_LINE || (length.is_none() && end == MAX_LINE);
        if is_long {
            return Err(Error::at(Lines::one(self.number + 1), Problem::LongLine));
        }
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number += 1;
        Ok(Some(line))
    }

    /// A line that may be a comment, a directive, nothing, or the first one of an instruction.
    fn first(&mut self, line: &[u8]) -> Result<(), Error> {
        let text = text(line);
        let text = text.trim_start();
        let read = self.directives.read(text, self.number);
        if let Some(directive) = read.map_err(|problem| self.here(problem))? {
            return self.directive(directive);
        }
        if let Some(comment) = text.strip_prefix('#') {
            let comment = comment.trim();
            match comment {
                "" => self.comments.clear(),
                comment => self.comments.push(comment.into()),
            }
            return Ok(());
        }
        match continued(text, self.scan.escape) {
            None if text.is_empty() => Ok(()),
            None => self.statement(text.into(), self.number),
            Some(text) => {
                let first = self.number;
                let text = self.continuation(text)?;
                self.statement(text, first)
            }
        }
    }

    fn here(&self, problem: Problem) -> Error {
        Error::at(Lines::one(self.number), problem)
    }

    fn directive(&mut self, directive: Directive) -> Result<(), Error> {
        if directive.name == "escape" {
            self.scan.escape = match directive.value.as_str() {
                "\\" => '\\',
                "`" => '`',
                other => return Err(self.here(Problem::Escape(other.into()))),
            };
        }
        self.scan.directives.push(directive);
        Ok(())
    }

    /// The lines that follow one that ends in the escape character. Comments between them go, and
    /// so do empty ones, with a warning.
    fn continuation(&mut self, first: String) -> Result<String, Error> {
        let mut whole = first;
        let mut has_empty = false;
        while let Some(line) = self.line()? {
            let line = text(line);
            let trimmed = line.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                has_empty = true;
                continue;
            }
            let Some(line) = continued(&line, self.scan.escape) else {
                whole += &line;
                break;
            };
            whole += &line;
        }
        if has_empty {
            self.scan.empty_continuations.push(Lines::one(self.number));
        }
        Ok(whole)
    }

    fn statement(&mut self, text: String, first: u32) -> Result<(), Error> {
        let here = Lines::new(first, self.number);
        let heredocs = if may_have_heredocs(&text, self.scan.escape) {
            heredoc::of_line(&text).map_err(|error| Error::at(here, error.into()))?
        } else {
            Vec::new()
        };
        let heredocs = heredocs
            .into_iter()
            .map(|heredoc| self.heredoc(heredoc, first))
            .collect::<Result<_, _>>()?;
        let lines = Lines::new(first, self.number);
        let comments = std::mem::take(&mut self.comments);
        self.scan.statements.push(Statement { text, lines, comments, heredocs });
        Ok(())
    }

    /// Lines up to the one that is the here-document's word.
    fn heredoc(&mut self, mut heredoc: Heredoc, first: u32) -> Result<Heredoc, Error> {
        while let Some(line) = self.line()? {
            let bare = line.trim_ascii_end_of_line();
            let bare = if heredoc.chomp { trim_tabs(bare) } else { bare };
            if bare == heredoc.name.as_bytes() {
                return Ok(heredoc);
            }
            let line = std::str::from_utf8(line).map_err(|_| self.here(Problem::Encoding))?;
            heredoc.content += line;
        }
        Err(Error::at(Lines::new(first, self.number), Problem::Heredoc))
    }
}

/// Here-documents are for RUN, COPY and ADD, also as triggers, and not in an exec form.
fn may_have_heredocs(text: &str, escape: char) -> bool {
    if !text.contains("<<") {
        return false;
    }
    let parts = split::parts(text, escape);
    match parts.name.to_ascii_lowercase().as_str() {
        "run" | "copy" | "add" => !matches!(split::json(parts.rest), Ok(Some(_))),
        "onbuild" => {
            !parts.rest.to_ascii_lowercase().starts_with("onbuild")
                && may_have_heredocs(parts.rest, escape)
        }
        _ => false,
    }
}

/// A line without its end. What is no UTF-8 in it is replaced: it can only be meant for people.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.trim_ascii_end_of_line()).into_owned()
}

/// The line without the mark by which it is continued: the escape character as the last one but
/// blanks, which no other one stands before.
fn continued(line: &str, escape: char) -> Option<String> {
    let rest = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!rest.ends_with(escape)).then(|| rest.into())
}

fn trim_tabs(line: &[u8]) -> &[u8] {
    let tabs = line.iter().take_while(|&&b| b == b'\t').count();
    &line[tabs..]
}

trait EndOfLine {
    /// Without `\r` and `\n` at its end.
    fn trim_ascii_end_of_line(&self) -> &Self;
}

impl EndOfLine for [u8] {
    fn trim_ascii_end_of_line(&self) -> &Self {
        let kept = self.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
        &self[..kept]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<(String, (u32, u32))> {
        let scan = scan(source.as_bytes()).unwrap();
        let text = |one: Statement| (one.text, (one.lines.first, one.lines.last));
        scan.statements.into_iter().map(text).collect()
    }

    fn error(source: &str) -> (String, u32, u32) {
        let error = scan(source.as_bytes()).unwrap_err();
        (error.to_string(), error.lines[0].first, error.lines[0].last)
    }

    /// The reference's examples ("Format", "escape").
    #[test]
    fn comments_and_continued_lines() {
        for (source, want) in [
            ("# c\nRUN echo 'some # of'", vec![("RUN echo 'some # of'", (2, 2))]),
            ("RUN echo hello \\\n# comment\nworld", vec![("RUN echo hello world", (1, 3))]),
            ("   # c\n\t RUN echo  \r\n\r\nRUN b", vec![("RUN echo  ", (2, 2)), ("RUN b", (4, 4))]),
            ("RUN \"\\\n   a\\\n   b\"", vec![("RUN \"   a   b\"", (1, 3))]),
            (
                "FROM x\nCOPY a c:\\\\\nRUN dir c:\\\n",
                vec![("FROM x", (1, 1)), ("COPY a c:\\\\", (2, 2)), ("RUN dir c:", (3, 3))],
            ),
            ("COPY a c:\\\nRUN dir c:\\\n", vec![("COPY a c:RUN dir c:", (1, 2))]),
            (
                "# escape=`\nCOPY a c:\\\nRUN a `  \n b",
                vec![("COPY a c:\\", (2, 2)), ("RUN a  b", (3, 4))],
            ),
            ("\\\nRUN a", vec![("RUN a", (1, 2))]),
            ("\u{feff}FROM x", vec![("FROM x", (1, 1))]),
            ("RUN a \\\n\\\n b", vec![("RUN a  b", (1, 3))]),
        ] {
            let want: Vec<_> = want.into_iter().map(|(t, l)| (t.to_owned(), l)).collect();
            assert_eq!(texts(source), want, "{source:?}");
        }
    }

    #[test]
    fn an_empty_line_in_the_middle_is_noted() {
        let scan = scan(b"RUN a \\\n\n  b\nRUN c \\\n#x\n d\nRUN e \\\n \t\n").unwrap();
        assert_eq!(scan.empty_continuations, [Lines::one(3), Lines::one(8)]);
        assert_eq!(scan.statements[0].text, "RUN a   b");
    }

    #[test]
    fn comments_belong_to_what_follows() {
        let scan = scan(b"# syntax=a\n# one\n  # two\nFROM x\n# gone\n#\n# kept\n\nRUN y").unwrap();
        assert_eq!(scan.statements[0].comments, ["one", "two"]);
        assert_eq!(scan.statements[1].comments, ["kept"]);
        assert_eq!(scan.directives.len(), 1);
    }

    #[test]
    fn here_documents() {
        let source = "RUN <<A cat <<-B\nfirst \\\n# no comment\nA\n\tsecond\r\n\t\tB\nRUN x";
        let scan = scan(source.as_bytes()).unwrap();
        let [run, x] = scan.statements.as_slice() else { panic!("{scan:?}") };
        assert_eq!((run.lines, x.lines), (Lines::new(1, 6), Lines::one(7)));
        assert_eq!(run.heredocs[0].content, "first \\\n# no comment\n");
        assert_eq!(run.heredocs[1].content, "\tsecond\r\n");
        assert_eq!(run.heredocs[1].text(), "second\r\n");
        for (source, heredocs) in [
            ("ONBUILD COPY <<a b\na", 1),
            ("add --link <<a b\nx\na", 1),
            ("CMD <<a", 0),
            ("RUN [\"cat\", \"<<a\"]", 0),
            ("RUN echo '<<a'", 0),
            ("ONBUILD ONBUILD RUN <<a", 0),
        ] {
            let scan = super::scan(source.as_bytes()).unwrap();
            assert_eq!(scan.statements[0].heredocs.len(), heredocs, "{source}");
        }
        assert_eq!(error("FROM x\nRUN <<EOF\na\n EOF"), ("unterminated heredoc".into(), 2, 4));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(error(""), ("file with no instructions".into(), 1, 1));
        assert_eq!(error("# a\n\n#b\n"), ("file with no instructions".into(), 3, 3));
        let want = "invalid escape token 'x' does not match ` or \\";
        assert_eq!(error("# escape=x\nFROM x"), (want.into(), 1, 1));
        let want = "only one escape parser directive can be used";
        assert_eq!(error("# escape=`\n# escape=\\\nFROM x"), (want.into(), 2, 2));
        let long = format!("FROM x\nRUN {}\n", "x".repeat(MAX_LINE));
        let want = "dockerfile line greater than max allowed size of 65535";
        assert_eq!(error(&long), (want.into(), 2, 2));
        assert_eq!(texts(&format!("RUN {}\n", "x".repeat(MAX_LINE - 5))).len(), 1);
        let error = scan(b"COPY <<a b\n\xff\na\n").unwrap_err();
        assert_eq!(error.problem, Problem::Encoding);
        assert_eq!(scan(b"LABEL a=\xff").unwrap().statements[0].text, "LABEL a=\u{fffd}");
    }
}
