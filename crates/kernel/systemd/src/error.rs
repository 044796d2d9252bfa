//! What can go wrong.

use std::time::Duration;

/// What keeps systemd from doing as it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// systemd is not this machine's init. The words are runc's, that others look for.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NotRunning,
    /// There is no bus to ask.
    #[error("{0}")]
    NoBus(String),
    /// The connection cannot be made, or broke.
    #[error("{doing}")]
    Call {
        /// What was being done.
        doing: String,
        /// The failed call.
        #[source]
        source: sys::Error,
    },
    /// No answer in time.
    #[error("{doing}: no answer from systemd within {patience:?}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The other side does not keep to the protocol.
    #[error("{doing}: the bus answered {answer:?}")]
    Protocol {
        /// What was being done.
        doing: String,
        /// What came instead.
        answer: String,
    },
    /// A message that cannot be sent, or that came and is none.
    #[error("{doing}")]
    Message {
        /// What was being done.
        doing: String,
        /// What is wrong with it.
        #[source]
        source: dbus::Error,
    },
    /// systemd refuses.
    #[error("{doing}: {text} ({name})")]
    Refused {
        /// What was being done.
        doing: String,
        /// The name of the error, as of D-Bus.
        name: String,
        /// systemd's words.
        text: String,
    },
    /// The job did not end well.
    #[error("error creating systemd unit `{unit}`: got `{result}`")]
    Job {
        /// The unit.
        unit: String,
        /// How the job ended, in systemd's words: `failed`, `canceled`, `timeout`.
        result: String,
    },
    /// A test made this step fail.
    #[error("failpoint {name}")]
    Failpoint {
        /// Its name.
        name: &'static str,
        /// What it failed with.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether a unit of the name is there already.
    pub fn is_taken(&self) -> bool {
        self.is("UnitExists")
    }

    /// Whether systemd's refusal is the error of this name, such as `NoSuchUnit`.
    pub(crate) fn is(&self, short: &str) -> bool {
        matches!(self, Self::Refused { name, .. }
            if name.strip_prefix("org.freedesktop.systemd1.") == Some(short))
    }
}

pub(crate) fn pass(name: &'static str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|source| Error::Failpoint { name, source })
}
