//! `exec`: further processes in a container.

use crate::wire::{List, StrSlice, Words};

wire! {
    /// `POST /containers/ID/exec`.
    pub struct CreateRequest {
        /// `USER[:GROUP]`; empty: the container's.
        pub user: String,
        /// Whether it has all capabilities.
        pub privileged: bool,
        /// Whether it gets a terminal.
        pub tty: bool,
        /// First size of the terminal: rows, columns.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
        /// Whether the client wants to write to standard input.
        pub attach_stdin: bool,
        /// Whether the client wants to read standard error.
        pub attach_stderr: bool,
        /// Whether the client wants to read standard output.
        pub attach_stdout: bool,
        /// The keys that detach; empty: ctrl-p,ctrl-q.
        // As docker-py writes it; Go takes any case.
        #[serde(alias = "detachKeys")]
        pub detach_keys: String,
        /// `NAME=VALUE`, on top of the container's.
        pub env: Words,
        /// The working directory; empty: the container's.
        pub working_dir: String,
        /// Program and arguments.
        pub cmd: StrSlice,
    }

    /// `POST /exec/ID/start`.
    pub struct StartRequest {
        /// Whether nobody attaches.
        pub detach: bool,
        /// Whether the stream is a terminal's: not framed.
        pub tty: bool,
        /// First size of the terminal: rows, columns.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub console_size: Option<[u32; 2]>,
    }

    /// `GET /exec/ID/json`.
    pub struct Inspect {
        /// Its id.
        #[serde(rename = "ID")]
        pub id: String,
        /// Whether it runs.
        pub running: bool,
        /// Absent until it ended.
        pub exit_code: Option<i64>,
        /// What runs.
        pub process_config: ProcessConfig,
        /// Whether standard input is open.
        pub open_stdin: bool,
        /// Whether standard error is attached.
        pub open_stderr: bool,
        /// Whether standard output is attached.
        pub open_stdout: bool,
        /// Whether it can be removed.
        pub can_remove: bool,
        /// The container.
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        /// Keys that detach: bytes, in base64.
        pub detach_keys: String,
        /// PID on the host; 0 before it starts.
        pub pid: i64,
    }

    /// What an exec runs.
    pub struct ProcessConfig {
        /// Whether it has a terminal.
        #[serde(rename = "tty")]
        pub tty: bool,
        /// The program.
        #[serde(rename = "entrypoint")]
        pub entrypoint: String,
        /// Its arguments.
        #[serde(rename = "arguments")]
        pub arguments: List<String>,
        /// Whether it has all capabilities.
        #[serde(rename = "privileged", skip_serializing_if = "Option::is_none")]
        pub privileged: Option<bool>,
        /// As whom.
        #[serde(rename = "user", skip_serializing_if = "String::is_empty")]
        pub user: String,
    }
}
