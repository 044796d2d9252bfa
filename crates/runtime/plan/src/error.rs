//! What can be wrong with a configuration.

/// A configuration that no container can be made from. Each names the field and its value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field, as a path from the top of `config.json`.
        field: String,
    },
    /// A field has a value that it cannot have.
    #[error("{field}: `{value}` {why}")]
    Invalid {
        /// The field, as a path from the top of `config.json`.
        field: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two fields contradict each other, or one needs another.
    #[error("{field} {why}")]
    Conflict {
        /// The field.
        field: String,
        /// What it contradicts.
        why: String,
    },
    /// The seccomp profile cannot be compiled.
    #[error("linux.seccomp")]
    Seccomp(#[source] seccomp::Error),
}

impl Error {
    pub(crate) fn missing(field: &str) -> Self {
        Self::Missing { field: field.to_owned() }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl std::fmt::Display,
        why: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: plain(field.into()),
            value: plain(value.to_string()),
            why: why.into(),
        }
    }

    pub(crate) fn conflict(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Conflict { field: plain(field.into()), why: why.into() }
    }
}

/// The same with control characters escaped: an error is one line, and no message to a terminal.
fn plain(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() })
        .collect()
}
