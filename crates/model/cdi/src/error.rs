use crate::Version;

/// What is wrong with a specification, or with what is asked of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read as JSON or YAML: the reader's words.
    #[error("{0}")]
    Syntax(String),
    /// It is larger than a specification may be, bytes.
    #[error("{size} bytes, more than the {limit} that a CDI specification may have")]
    TooLarge {
        /// Bytes there are.
        size: usize,
        /// Bytes there may be.
        limit: usize,
    },
    /// A value that the specification does not allow.
    #[error("{field}: {why}: {value:?}")]
    Invalid {
        /// Where, `devices[0].containerEdits.mounts[1].hostPath`.
        field: String,
        /// What is not as it should be.
        why: &'static str,
        /// What it is.
        value: String,
    },
    /// A field that the version that the file names does not have.
    #[error("cdiVersion {version} does not have {feature}, which came with {since}")]
    Version {
        /// What the file says.
        version: String,
        /// What it uses.
        feature: &'static str,
        /// From when on.
        since: Version,
    },
    /// Devices that no file has.
    #[error("unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    /// A device that several files of one folder have.
    #[error("conflicting CDI device {name}: it is in {first} and in {second}")]
    Conflict {
        /// The device.
        name: String,
        /// One file.
        first: String,
        /// Another.
        second: String,
    },
    /// A device file of the machine that is not there, or is none.
    #[error("CDI device file {path}: {why}")]
    DeviceFile {
        /// Where it should be.
        path: String,
        /// What is wrong.
        why: String,
    },
}
