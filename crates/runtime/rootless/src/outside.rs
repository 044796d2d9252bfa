//! The programs that lead from the engine's network namespace to the outside.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// The link that they make.
pub(crate) const LINK: &str = "outside";
/// Their names, the better one first.
pub const NAMES: [&str; 2] = ["pasta", "slirp4netns"];
/// Where they are when `PATH` does not say it.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that gives a network namespace a link, behind which it makes the connections of the
/// namespace with its own sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// passt's: the namespace has the machine's own address.
    Pasta(PathBuf),
    /// The namespace is 10.0.2.0/24.
    Slirp4netns(PathBuf),
}

/// The first that is installed.
pub fn find() -> Option<Program> {
    let path = std::env::var("PATH").unwrap_or_default();
    let is_absolute = |dir: &&str| dir.starts_with('/');
    let places: Vec<&Path> =
        path.split(':').filter(is_absolute).chain(USUAL_PATH.split(':')).map(Path::new).collect();
    let there = |name: &str| places.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    there("pasta").map(Program::Pasta).or_else(|| there("slirp4netns").map(Program::Slirp4netns))
}

impl Program {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pasta(_) => "pasta",
            Self::Slirp4netns(_) => "slirp4netns",
        }
    }

    /// Where it answers for the machine's name servers, those on loopback too.
    pub fn dns(&self) -> IpAddr {
        match self {
            Self::Pasta(_) => Ipv4Addr::new(169, 254, 1, 1).into(),
            Self::Slirp4netns(_) => Ipv4Addr::new(10, 0, 2, 3).into(),
        }
    }

    /// What to execute, for the network namespace of process `pid`. Neither may let the namespace reach
    /// the machine's loopback: what listens there counts on it.
    pub(crate) fn command_line(&self, pid: u32) -> Vec<String> {
        let namespace = format!("/proc/{pid}/ns/net");
        let dns = self.dns().to_string();
        let (program, args): (_, Vec<&str>) = match self {
            Self::Pasta(program) => (
                program,
                vec![
                    "--foreground",
                    "--quiet",
                    "--config-net",
                    "--ns-ifname",
                    LINK,
                    "--tcp-ports",
                    "none",
                    "--udp-ports",
                    "none",
                    "--tcp-ns",
                    "none",
                    "--udp-ns",
                    "none",
                    "--no-map-gw",
                    "--dns-forward",
                    &dns,
                    "--netns-only",
                    "--netns",
                    &namespace,
                ],
            ),
            Self::Slirp4netns(program) => (
                program,
                vec![
                    "--configure",
                    "--mtu=65520",
                    "--disable-host-loopback",
                    "--netns-type=path",
                    &namespace,
                    LINK,
                ],
            ),
        };
        let program = program.to_string_lossy().into_owned();
        std::iter::once(program).chain(args.into_iter().map(str::to_owned)).collect()
    }
}
