//! `--ssh`: agents whose keys a build may use, and agents that are started for keys in files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::build::random_id;
use crate::build::session::{Agent, DEFAULT_AGENT};
use crate::error::{Error, Result};

/// How long an agent may take until it listens.
const START: Duration = Duration::from_secs(5);

/// Agents, and those of them that end with the build.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    pub(crate) by_id: HashMap<String, Agent>,
    #[allow(dead_code, reason = "dropped when the build is done")]
    started: Vec<Started>,
}

/// An agent of OpenSSH's that holds the keys of some files, for one build.
#[derive(Debug)]
struct Started {
    child: Child,
    directory: PathBuf,
}

impl Drop for Started {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Reads `default|ID[=SOCKET|KEY[,KEY]]`.
pub(crate) fn prepare(all: &[String]) -> Result<Agents> {
    let mut agents = Agents::default();
    for text in all {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { DEFAULT_AGENT } else { id };
        let paths: Vec<&str> = paths.split(',').filter(|path| !path.is_empty()).collect();
        let agent = match paths[..] {
            [] => Agent(ours(id)?),
            [path] if is_socket(path) => Agent(path.into()),
            _ => {
                let started = start(&paths)?;
                let socket = started.directory.join("agent");
                agents.started.push(started);
                Agent(socket)
            }
        };
        agents.by_id.insert(id.to_owned(), agent);
    }
    Ok(agents)
}

fn ours(id: &str) -> Result<PathBuf> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    socket.map(PathBuf::from).ok_or_else(|| {
        Error::Usage(format!(
            "--ssh {id}: no agent (SSH_AUTH_SOCK is not set) and no key was given"
        ))
    })
}

fn is_socket(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

fn start(keys: &[&str]) -> Result<Started> {
    use std::os::unix::fs::DirBuilderExt as _;
    for key in keys {
        std::fs::metadata(key).map_err(Error::io(format!("--ssh {key}")))?;
    }
    let directory = std::env::temp_dir().join(format!("dhow-ssh-{}", random_id()?));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(Error::io(format!("mkdir({directory:?})")))?;
    let socket = directory.join("agent");
    let child = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let child = child.map_err(|source| {
        _ = std::fs::remove_dir_all(&directory);
        Error::Io { what: "--ssh with a key needs OpenSSH's ssh-agent".into(), source }
    })?;
    let started = Started { child, directory };
    let until = Instant::now() + START;
    // The socket is there before it is listened on.
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        if Instant::now() > until {
            return Err(Error::Usage("--ssh: ssh-agent does not listen".into()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for key in keys {
        add(&socket, Path::new(key))?;
    }
    Ok(started)
}

fn add(socket: &Path, key: &Path) -> Result<()> {
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(key)
        .env("SSH_AUTH_SOCK", socket)
        .status()
        .map_err(Error::io("--ssh with a key needs OpenSSH's ssh-add"))?;
    if added.success() {
        return Ok(());
    }
    Err(Error::Usage(format!("--ssh: ssh-add does not take the key {key:?}")))
}
