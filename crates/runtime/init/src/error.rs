//! What can go wrong inside, and how it is told outside.

use std::error::Error as _;

/// Something that stops the container from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel call failed.
    #[error("{doing}")]
    Call {
        /// What was being done, and to what.
        doing: String,
        /// The call.
        #[source]
        source: sys::Error,
    },
    /// Something is not as it must be.
    #[error("{doing}: {why}")]
    Refused {
        /// What was being done, and to what.
        doing: String,
        /// Why not.
        why: String,
    },
    /// The container's program cannot be executed.
    #[error("exec: {program:?}: {why}")]
    Exec {
        /// The program, as it was asked for.
        program: String,
        /// In the words that Docker's clients look for.
        why: String,
        /// Whether it is missing or cannot be run.
        class: Class,
    },
    /// The program was found, and the kernel does not execute it.
    #[error("exec {program}: {why}")]
    Execve {
        /// The program's file.
        program: String,
        /// In the words that Docker's clients look for.
        why: String,
        /// Whether something is missing (its interpreter) or it cannot be run.
        class: Class,
    },
    /// The process cannot move itself.
    #[error("join the cgroup")]
    Cgroup(#[from] cgroup::Error),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] crate::hook::Error),
    /// The process at the other end of the socket is gone.
    #[error("the runtime ended before the container was made")]
    Abandoned,
}

/// What a caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The program does not exist (a shell's exit status 127).
    NotFound,
    /// The program exists and cannot be run (126).
    NotExecutable,
    /// Anything else.
    Other,
}

impl Class {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
            Self::Other => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte {
            127 => Self::NotFound,
            126 => Self::NotExecutable,
            _ => Self::Other,
        }
    }
}

impl Error {
    /// Something that is not as it must be.
    pub fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused { doing: doing.into(), why: why.into() }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Exec { class, .. } | Self::Execve { class, .. } => *class,
            _ => Class::Other,
        }
    }

    /// The same, of a part of what `at` names.
    pub(crate) fn at(self, at: String) -> Self {
        match self {
            Self::Call { doing, source } if doing.is_empty() => Self::Call { doing: at, source },
            Self::Call { doing, source } => Self::Call { doing: format!("{at}: {doing}"), source },
            Self::Refused { why, .. } => Self::Refused { doing: at, why },
            other => other,
        }
    }

    /// The whole chain as one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            line += ": ";
            line += &error.to_string();
            source = error.source();
        }
        one_line(&line)
    }
}

/// Where a line is cut, in bytes: a value can be of any length.
const LONGEST_LINE: usize = 4096;

/// `text` as it may be printed on a person's terminal: names, values and what hooks say come from
/// images too, and neither a line of their own nor an escape sequence is theirs to write. What is
/// very long is cut.
pub fn one_line(text: &str) -> String {
    // What turns the reading direction round shows a line other than it is.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= LONGEST_LINE {
            line.push_str("...");
            break;
        }
        match c {
            '\n' => line.push(' '),
            '\t' => line.push(c),
            c if c.is_control() || turns(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Says what a call was for.
pub(crate) trait Doing<T> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sys::Error> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|source| Error::Call { doing: what().into(), source })
    }
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Error> {
        self.map_err(|error| {
            let doing = what().into();
            Error::Call { source: sys::Error::from_io(doing.clone(), &error), doing: "at".into() }
        })
    }
}

/// Passes a failpoint.
pub(crate) fn failpoint(name: &str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|error| Error::Call {
        doing: "failpoint".into(),
        source: sys::Error::from_io(name, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_is_one_line_of_printable_text() {
        assert_eq!(one_line("a\nb\u{1b}[31m\0"), "a b\\u{1b}[31m\\u{0}");
        let long = one_line(&"ä".repeat(100_000));
        assert!(long.ends_with("...") && long.len() < 4200);
    }
}
