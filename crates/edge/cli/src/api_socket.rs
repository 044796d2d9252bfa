//! `--use-api-socket`: a container that may ask of the engine all that we may, with our credentials for registries.
//!
//! As Docker's client does it, without a call of its own: a mount of the engine's socket, and a `config.json` put into
//! the container once that is made.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use docker::CreateRequest;
use docker::container::{BindOptions, Mount};
use registry::Keys;
use tarstream::{Entry, Writer};

use crate::client::{Client, Endpoint};
use crate::config;
use crate::error::{Error, Result};

/// Where clients look for an engine, in the container; and where one is that we reach over a network.
const SOCKET: &str = "/var/run/docker.sock";
/// What says where clients look for their `config.json`.
const VARIABLE: &str = "DOCKER_CONFIG";
/// Where it is in the container.
const DIRECTORY: &str = "/run/secrets/docker";

/// Adds the socket to what a container is to be. The archive that is to be put into it, where we are somebody to a
/// registry, and nothing else is said of the container's `config.json`.
pub(crate) fn add(client: &Client, create: &mut CreateRequest) -> Result<Option<Bytes>> {
    let mount = Mount {
        kind: "bind".to_owned(),
        source: source(client)?.to_string_lossy().into_owned(),
        target: SOCKET.to_owned(),
        bind_options: Some(BindOptions::default()),
        ..Mount::default()
    };
    create.host_config.mounts.push(mount);
    let is_said = |pair: &String| pair.split('=').next() == Some(VARIABLE);
    if create.config.env.iter().any(is_said) {
        return Ok(None);
    }
    let found = Keys::read(&config::file()).and_then(|keys| keys.to_config());
    let found = found.map_err(|err| {
        Error::Usage(format!("--use-api-socket: credentials for registries: {err}"))
    })?;
    let Some(text) = found else { return Ok(None) };
    create.config.env.push(format!("{VARIABLE}={DIRECTORY}"));
    pack(&text).map(Some)
}

/// The socket, on the engine's machine.
fn source(client: &Client) -> Result<PathBuf> {
    let socket = match client.endpoint() {
        Endpoint::Unix(path) => path.as_path(),
        Endpoint::InProcess(_) => client.own_socket(),
        Endpoint::Tcp(_) | Endpoint::Tls(..) | Endpoint::Ssh(_) => return Ok(SOCKET.into()),
    };
    // Another would be a container that finds nobody behind it.
    if let Err(err) = UnixStream::connect(socket) {
        return Err(Error::Usage(format!(
            "--use-api-socket: {}: {err} (start `dhow daemon` first)",
            socket.display()
        )));
    }
    std::path::absolute(socket).map_err(Error::io(format!("find {}", socket.display())))
}

fn pack(config: &str) -> Result<Bytes> {
    let mut writer = Writer::new(Vec::new());
    let path = Path::new(DIRECTORY).join("config.json");
    let entry = Entry {
        path: path.to_string_lossy().trim_start_matches('/').as_bytes().to_vec(),
        mode: 0o600,
        size: config.len() as u64,
        ..Entry::default()
    };
    let packed = writer.append(&entry, &mut config.as_bytes()).and_then(|()| writer.finish());
    packed.map(Bytes::from).map_err(Error::io("pack the credentials for registries"))
}
