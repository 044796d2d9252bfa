//! The portable half of a container: what its image says, overridden by the request.

use crate::wire::{Empty, List, Map, StrSlice, Words, is_zero};

wire! {
    /// What runs and how it looks to itself. Independent of the machine; `commit` writes it into an
    /// image.
    pub struct ContainerConfig {
        /// Host name; empty: the first 12 digits of the id.
        pub hostname: String,
        /// NIS domain name.
        pub domainname: String,
        /// `USER[:GROUP]`, names or numbers.
        pub user: String,
        /// Whether the client wants to write to standard input.
        pub attach_stdin: bool,
        /// Whether the client wants to read standard output.
        pub attach_stdout: bool,
        /// Whether the client wants to read standard error.
        pub attach_stderr: bool,
        /// `PORT/PROTO` that the image or the request exposes.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub exposed_ports: Map<Empty>,
        /// Whether the process gets a terminal.
        pub tty: bool,
        /// Whether standard input stays open without a client.
        pub open_stdin: bool,
        /// Whether standard input closes when the first client leaves.
        pub stdin_once: bool,
        /// `NAME=VALUE`; `NAME` alone removes it.
        pub env: Words,
        /// The command, or the arguments of the entry point.
        pub cmd: StrSlice,
        /// The health check.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<HealthConfig>,
        /// Windows only.
        #[serde(skip_serializing_if = "is_zero")]
        pub args_escaped: bool,
        /// The image, as the request named it.
        pub image: String,
        /// Paths that get an anonymous volume.
        pub volumes: Map<Empty>,
        /// The working directory; empty: `/`.
        pub working_dir: String,
        /// The entry point; `[""]` in a request takes the image's away.
        pub entrypoint: StrSlice,
        /// Whether there is no network at all.
        #[serde(skip_serializing_if = "is_zero")]
        pub network_disabled: bool,
        /// Container-wide MAC address (before v1.52).
        #[serde(skip_serializing_if = "String::is_empty")]
        pub mac_address: String,
        /// Build triggers.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub on_build: Words,
        /// Labels.
        pub labels: Map<String>,
        /// The signal that `stop` sends; empty: `SIGTERM`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub stop_signal: String,
        /// Seconds from the stop signal to `SIGKILL`; absent: 10, negative: never.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stop_timeout: Option<i64>,
        /// The shell for the shell form of `RUN`, `CMD` and `ENTRYPOINT`.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub shell: StrSlice,
    }

    /// How to tell whether the container works. Times are nanoseconds; 0: inherit or the default.
    pub struct HealthConfig {
        /// `[]` inherit, `["NONE"]` none, `["CMD", ARGS…]`, `["CMD-SHELL", COMMAND]`.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub test: Words,
        /// Between two checks.
        #[serde(skip_serializing_if = "is_zero")]
        pub interval: i64,
        /// How long one check may take.
        #[serde(skip_serializing_if = "is_zero")]
        pub timeout: i64,
        /// Failures do not count during this time after the start.
        #[serde(skip_serializing_if = "is_zero")]
        pub start_period: i64,
        /// Between two checks during the start period.
        #[serde(skip_serializing_if = "is_zero")]
        pub start_interval: i64,
        /// Consecutive failures that make it unhealthy.
        #[serde(skip_serializing_if = "is_zero")]
        pub retries: i64,
    }
}
