//! What can go wrong for a person at the command line, and the exit code that scripts see.

use std::io;

/// Why a command failed. Its `Display` is the one line that is printed after `dhow: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine refused. Its own words are the best there are.
    #[error("{message}")]
    Api {
        /// The HTTP status code.
        status: u16,
        /// The engine's text.
        message: String,
    },
    /// A flag or an argument makes no sense. Says what was wrong and what is right.
    #[error("{0}")]
    Usage(String),
    /// A flag has a value that it cannot have, whatever else is said. Says what is right.
    #[error("{0}")]
    Flag(String),
    /// Flags that `run` refuses together, before anything is made.
    #[error("{0}")]
    Early(String),
    /// Something is not there yet. Names it.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// No engine answers.
    #[error("cannot connect to {endpoint}: {source} (is `dhow daemon` running there?)")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or the answer is no answer of an engine.
    #[error("the engine at {endpoint} gave no proper answer: {reason}")]
    Protocol {
        /// Where.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// A file, a terminal, a pipe.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A `--format` that cannot be used.
    #[error(transparent)]
    Template(#[from] crate::format::template::Error),
    /// What `--force` was to see to is so already. A note for people, or nothing.
    #[error("{0}")]
    AsItShouldBe(String),
    /// The command has printed what there is to say; only the exit code is left.
    #[error("exit code {0}")]
    Exit(i32),
}

impl Error {
    /// Names what was being done when an input or output failed.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit code of `run`: 127 where the program, or another file, was not found, 126 where it may not be
    /// used, 125 for all else. Docker's client tells them by the same words of the engine's, whatever they are about.
    pub(crate) fn run_exit_code(&self) -> i32 {
        let message = match self {
            Self::Api { message, .. } => message,
            Self::Early(_) => return 1,
            _ => return 125,
        };
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["executable file not found", "no such file or directory", "system cannot find"]) {
            127
        } else if says(&["permission denied", "is a directory", "exec format error"]) {
            126
        } else {
            125
        }
    }

    /// The exit code of a command that is not `run`.
    pub(crate) fn exit_code(&self) -> i32 {
        if matches!(self, Self::Flag(_)) { 125 } else { 1 }
    }

    /// Whether the engine does not know what was named.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }
}

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_wrong_flag_is_125_everywhere() {
        let (flag, early) = (Error::Flag("x".into()), Error::Early("x".into()));
        assert_eq!((flag.exit_code(), flag.run_exit_code()), (125, 125));
        assert_eq!((early.exit_code(), early.run_exit_code()), (1, 1));
        let usage = Error::Usage("x".into());
        assert_eq!((usage.exit_code(), usage.run_exit_code()), (1, 125));
    }

    #[test]
    fn a_failed_start_has_dockers_exit_codes() {
        for (message, code) in [
            ("failed to create task: exec: \"x\": executable file not found in $PATH", 127),
            ("failed to create task: exec: \"/x\": stat /x: no such file or directory", 127),
            ("failed to create task: exec: \"/etc\": is a directory", 126),
            ("failed to create task: exec: \"/etc/passwd\": permission denied", 126),
            ("Conflict. The container name \"/web\" is already in use", 125),
            ("adding custom device \"/dev/x\": no such file or directory", 127),
            ("failed to create task: exec: \"/etc/passwd/x\": not a directory", 125),
        ] {
            let err = Error::Api { status: 400, message: message.to_owned() };
            assert_eq!(err.run_exit_code(), code, "{message}");
        }
    }
}
