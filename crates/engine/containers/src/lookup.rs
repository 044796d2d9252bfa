//! The address of another machine whose file system a volume is. The C library is not asked: see
//! `registry`, which does the same for registries.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use dnsmsg::{Family, Found, Name};

use crate::etc::Resolv;
use crate::name;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The first address of `host`, by `/etc/hosts` or the machine's name servers.
pub(crate) fn address(host: &str) -> io::Result<IpAddr> {
    let listed = fs::read_to_string("/etc/hosts").unwrap_or_default();
    if let Some(address) = in_hosts(&listed, host) {
        return Ok(address);
    }
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "no name of a machine");
    let name = Name::from_text(host).ok_or_else(bad)?;
    let mut failure = None;
    for server in Resolv::of_host().upstream() {
        for family in [Family::V4, Family::V6] {
            match ask(server, &name, family) {
                Ok(Found::Addresses(found)) if !found.is_empty() => return Ok(found[0]),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host")))
}

fn in_hosts(text: &str, name: &str) -> Option<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut found = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    found.next()
}

fn ask(server: SocketAddr, name: &Name, family: Family) -> io::Result<Found> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let id = u16::from_be_bytes(name::random::<2>().map_err(io::Error::other)?);
    let query = dnsmsg::ask(id, name, family);
    // The kernel picks the port, and lets in what comes from this server alone.
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    socket.send(&query)?;
    let mut buffer = [0; 4096];
    loop {
        let n = match socket.recv(&mut buffer) {
            // A signal for the program: the kernel goes on by itself only where no time is set.
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if dnsmsg::answers(&query, &buffer[..n]) {
            return dnsmsg::addresses(&buffer[..n], family).map_err(io::Error::other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_hosts_comes_first() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 nas\n10.0.0.1\tNas.test nas # mine\n";
        assert_eq!(in_hosts(text, "NAS"), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!(in_hosts(text, "other"), None);
        assert!(address("not a name").is_err());
    }
}
