//! Where the daemon listens, and how its ports are protected: by flags, and by the file of settings.

use std::path::{Path, PathBuf};

use cli::DaemonArgs;
use docker_api::{Listener, Protection, Tls, TlsFiles};
use serde::Deserialize;

use crate::host::chain;
use crate::places;

/// The address that means the sockets of a socket unit.
const FROM_SYSTEMD: &str = "fd://";

/// The keys that are about this, with Docker's names; the others are not ours to judge.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    hosts: Vec<String>,
    tls: Option<bool>,
    tlsverify: Option<bool>,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
}

/// Where the daemon listens.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Of all of the API.
    addresses: Vec<String>,
    /// Of a part of it.
    limited: Vec<String>,
    protection: Protection,
}

impl Listening {
    /// What the flags say and the file, whose addresses are added to theirs; `usual` where neither says anything.
    pub(crate) fn of(args: &DaemonArgs, settings: &Path, usual: &Path) -> Result<Self, String> {
        let file: File = places::read_settings(settings)?;
        let protection = protection(args, &file)?;
        let mut addresses = args.listen.clone();
        addresses.extend(file.hosts.into_iter().filter(|host| !args.listen.contains(host)));
        if addresses.is_empty() {
            addresses.push(format!("unix://{}", usual.display()));
        }
        Ok(Self { addresses, limited: args.socket.clone(), protection })
    }

    /// Whether all addresses can be listened on, as far as they tell themselves.
    pub(crate) fn check(&self) -> Result<(), String> {
        for address in self.addresses.iter().filter(|address| *address != FROM_SYSTEMD) {
            Listener::check(address, &self.protection).map_err(|err| chain(&err))?;
        }
        Ok(())
    }

    /// The certificates, which may be read again.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.protection.tls.clone()
    }

    /// The sockets that systemd listens on, if they are asked for: before anything else is opened.
    pub(crate) fn inherit(&self) -> Result<Vec<Listener>, String> {
        if !self.addresses.iter().any(|address| address == FROM_SYSTEMD) {
            return Ok(Vec::new());
        }
        Listener::inherited(&self.protection).map_err(|err| chain(&err))
    }

    /// All others; says so on standard error.
    pub(crate) fn bind(&self) -> Result<Vec<Listener>, String> {
        let mut listeners = Vec::new();
        for address in self.addresses.iter().filter(|address| *address != FROM_SYSTEMD) {
            let bound = Listener::bind(address, &self.protection);
            listeners.push(bound.map_err(|err| chain(&err))?);
        }
        for socket in &self.limited {
            let bound = Listener::bind_limited(socket, &self.protection);
            listeners.push(bound.map_err(|err| chain(&err))?);
        }
        for address in &self.addresses {
            eprintln!("dhow: serving the Docker Engine API on {address}");
        }
        for socket in &self.limited {
            eprintln!("dhow: serving a part of it on {socket}");
        }
        Ok(listeners)
    }
}

/// As with dockerd: to say `tlsverify` at all, even that it is false, turns TLS on, and to say that there is no TLS,
/// or no verifying, is to mean it.
fn protection(args: &DaemonArgs, file: &File) -> Result<Protection, String> {
    let (tls, verify) = (args.tls.or(file.tls), args.tlsverify.or(file.tlsverify));
    if tls == Some(false) && verify == Some(true) {
        return Err("--tls=false and --tlsverify: who is verified without TLS?".to_owned());
    }
    let is_waived = tls == Some(false) || verify == Some(false);
    if tls == Some(false) || (tls.is_none() && verify.is_none()) {
        return Ok(Protection { tls: None, is_waived });
    }
    let path = |flag: &Option<PathBuf>, set: &Option<PathBuf>, name: &str| {
        flag.as_ref()
            .or(set.as_ref())
            .cloned()
            .unwrap_or_else(|| cli::usual_certificates().join(name))
    };
    let files = TlsFiles {
        cert: path(&args.tlscert, &file.tlscert, "cert.pem"),
        key: path(&args.tlskey, &file.tlskey, "key.pem"),
        clients: (verify == Some(true)).then(|| path(&args.tlscacert, &file.tlscacert, "ca.pem")),
    };
    let tls = Tls::open(files).map_err(|err| chain(&err))?;
    Ok(Protection { tls: Some(tls), is_waived })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_tls() {
        let of = |tls, tlsverify, file: File| {
            protection(&DaemonArgs { tls, tlsverify, ..DaemonArgs::default() }, &file)
        };
        let nothing = of(None, None, File::default()).unwrap();
        assert!(nothing.tls.is_none() && !nothing.is_waived);
        let waived = of(Some(false), None, File::default()).unwrap();
        assert!(waived.tls.is_none() && waived.is_waived);
        let in_the_file = File { tls: Some(false), ..File::default() };
        assert!(of(None, None, in_the_file).unwrap().is_waived);
        assert!(of(Some(false), Some(true), File::default()).is_err());
        // With TLS there are files to be read.
        for verify in [true, false] {
            let nowhere = PathBuf::from("/nowhere/cert.pem");
            let file = File {
                tlscert: Some(nowhere.clone()),
                tlscacert: Some(nowhere),
                ..File::default()
            };
            let error = of(None, Some(verify), file).unwrap_err();
            assert!(error.contains(".pem"), "{error}");
        }
    }

    #[test]
    fn the_files_addresses_are_added() {
        let path = std::env::temp_dir().join(format!("dhow-listening-{}.json", std::process::id()));
        let of = |listen: &[&str]| {
            let listen = listen.iter().map(|&one| one.to_owned()).collect();
            let args = DaemonArgs { listen, ..DaemonArgs::default() };
            Listening::of(&args, &path, Path::new("/run/x.sock")).unwrap().addresses
        };
        assert_eq!(of(&[]), ["unix:///run/x.sock"]);
        std::fs::write(&path, r#"{"hosts": ["fd://", "tcp://127.0.0.1:1"], "log-level": 1}"#)
            .unwrap();
        assert_eq!(of(&[]), ["fd://", "tcp://127.0.0.1:1"]);
        assert_eq!(of(&["fd://"]), ["fd://", "tcp://127.0.0.1:1"]);
        std::fs::remove_file(&path).unwrap();
    }
}
