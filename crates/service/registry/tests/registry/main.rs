//! The client against servers on loopback that do as they should, and others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod hostile;
mod hosts;
mod names;
mod pull;
mod push;
mod real;
#[allow(dead_code, reason = "tests of another crate use it too")]
mod server;
mod shelf;
mod tls;
mod tokens;

use std::io;
use std::time::Duration;

use oci::image::{Descriptor, Platform};
use oci::{Algorithm, Digest, Hasher};
use registry::{Credentials, Error, Registry, Resolved, Retry, Settings, Sink};

/// Where downloads go.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.0);
        hasher.finish()
    }
}

/// Settings that wait for nothing.
fn quick() -> Settings {
    Settings {
        retry: Retry {
            attempts: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_secs(3),
            silence: Duration::from_secs(2),
            ..Retry::default()
        },
        ..Settings::default()
    }
}

fn user() -> Credentials {
    let (username, password) = ("user".into(), "secret".into());
    Credentials { username, password, ..Credentials::default() }
}

fn registry(server: &server::Server) -> Registry {
    Registry::new(quick(), &server.host(), None)
}

fn amd64() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() }
}

/// Resolves `TAG` or `@DIGEST` of the repository `a/b`.
async fn resolve(registry: &Registry, name: &str) -> Result<Resolved, Error> {
    let separator = if name.starts_with('@') { "" } else { ":" };
    let reference = format!("{}/a/b{separator}{name}", registry.domain()).parse().unwrap();
    registry.repository("a/b").resolve(&reference, &amd64()).await
}

async fn download(registry: &Registry, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    let sink = Memory::default();
    registry.repository("a/b").download(blob, sink, &|_| ()).await.map(|sink| sink.0)
}

/// An error and its causes, as a person sees them.
fn told<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else { panic!("no error") };
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Bytes that gzip would not shrink.
fn noise(n: usize) -> Vec<u8> {
    shelf::noise(n, 1)
}
