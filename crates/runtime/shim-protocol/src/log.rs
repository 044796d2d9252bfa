//! Where a container's output is kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The log driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum LogConfig {
    /// `DATA/ID-json.log`, in Docker's form.
    JsonFile {
        /// When its files make place for others.
        #[serde(flatten)]
        rotation: Rotation,
        /// What is noted with each line.
        #[serde(default)]
        attrs: BTreeMap<String, String>,
        /// Whether the container waits for it.
        #[serde(default)]
        mode: LogMode,
    },
    /// `DATA/local-logs/container.log`, in the form of Docker's driver of this name.
    Local {
        /// When its files make place for others.
        #[serde(flatten)]
        rotation: Rotation,
        /// Whether the container waits for it.
        mode: LogMode,
    },
    /// systemd's journal, by its own protocol.
    Journald {
        /// Where it listens.
        socket: PathBuf,
        /// Fields that go with each line.
        fields: BTreeMap<String, String>,
        /// Whether the container waits for it.
        mode: LogMode,
    },
    /// A syslog server.
    Syslog {
        /// Where it listens.
        address: SyslogAddress,
        /// How a line is written.
        format: SyslogFormat,
        /// The facility's number, 0 to 23.
        facility: u8,
        /// The container, as the server is to know it.
        tag: String,
        /// This machine.
        hostname: String,
        /// Whether the container waits for it.
        mode: LogMode,
    },
    /// Nothing is kept.
    None,
}

/// When a file makes place for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// When it would grow beyond this, bytes; `None`: never.
    pub max_bytes: Option<u64>,
    /// How many files to keep, the current one included; at least 1.
    pub max_files: u32,
    /// All but the current one are compressed (gzip).
    #[serde(default)]
    pub compress: bool,
}

/// Whether the container waits where its log takes no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogMode {
    /// It does.
    #[default]
    Blocking,
    /// It does not: so much is kept meanwhile, and of what is more the oldest is lost.
    NonBlocking {
        /// Bytes.
        max_buffer: u64,
    },
}

/// Where a syslog server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogAddress {
    /// The first of these sockets that is there, of datagrams or a stream.
    Unix(Vec<PathBuf>),
    /// A port.
    Udp(SocketAddr),
    /// A port.
    Tcp(SocketAddr),
    /// A port, with TLS, of which a process of its own takes care.
    Tls(Box<SyslogTls>),
}

/// A syslog server that wants TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyslogTls {
    /// What its certificate calls it: a name or an address.
    pub host: String,
    /// Where it is; `None`: not looked up yet.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// A file of its authorities, in PEM; `None`: the machine's.
    pub ca: Option<PathBuf>,
    /// A file of the certificate that we show, in PEM.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whoever is there will do.
    pub skip_verify: bool,
}

/// The part of the program that speaks TLS for a supervisor: the first argument after the supervisor's name. The
/// second one is a [`SyslogTls`], as JSON.
pub const RELAY: &str = "relay";
/// The descriptor on which it finds its end of a socket pair.
pub const RELAY_FD: i32 = 3;
/// What it answers first of all, once the server is known. Anything else is why not, as text.
pub const RELAY_READY: u8 = b'+';

/// How a line is written for a syslog server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogFormat {
    /// As for a server on the same machine, which knows the machine's name.
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424, times in seconds.
    Rfc5424,
    /// RFC 5424, times in microseconds.
    Rfc5424Micro,
}
