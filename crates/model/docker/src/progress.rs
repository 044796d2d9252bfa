//! The lines of JSON that pull, push, import, load and build report with.

use crate::wire::is_zero;

wire! {
    /// One line.
    pub struct Message {
        /// Output of a build step, for the terminal.
        #[serde(rename = "stream", skip_serializing_if = "String::is_empty")]
        pub stream: String,
        /// What is being done.
        #[serde(rename = "status", skip_serializing_if = "String::is_empty")]
        pub status: String,
        /// How far it is.
        #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
        pub progress_detail: Option<Detail>,
        /// The same as a bar, for clients before v1.48.
        #[serde(rename = "progress", skip_serializing_if = "String::is_empty")]
        pub progress: String,
        /// The layer.
        #[serde(rename = "id", skip_serializing_if = "String::is_empty")]
        pub id: String,
        /// What went wrong: the last line.
        #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
        pub error_detail: Option<ErrorDetail>,
        /// The same, for older clients.
        #[serde(rename = "error", skip_serializing_if = "String::is_empty")]
        pub error: String,
        /// A result that is not for the terminal.
        #[serde(rename = "aux", skip_serializing_if = "Option::is_none")]
        pub aux: Option<serde_json::Value>,
    }

    /// How far a step is.
    pub struct Detail {
        /// Done.
        #[serde(rename = "current", skip_serializing_if = "is_zero")]
        pub current: i64,
        /// Of how many; 0: not known.
        #[serde(rename = "total", skip_serializing_if = "is_zero")]
        pub total: i64,
        /// Unit, when not bytes.
        #[serde(rename = "units", skip_serializing_if = "String::is_empty")]
        pub units: String,
    }

    /// What went wrong.
    pub struct ErrorDetail {
        /// Exit code of a build step.
        #[serde(rename = "code", skip_serializing_if = "is_zero")]
        pub code: i64,
        /// One line for people.
        #[serde(rename = "message")]
        pub message: String,
    }
}

impl Message {
    /// A line that says what is being done.
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: text.into(), ..Self::default() }
    }

    /// A line for the terminal, with its line end.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// The line that says what went wrong.
    pub fn error(text: impl Into<String>) -> Self {
        let message = text.into();
        Self {
            error: message.clone(),
            error_detail: Some(ErrorDetail { code: 0, message }),
            ..Self::default()
        }
    }
}
