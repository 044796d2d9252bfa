//! From a host's name to its addresses, without the C library.
//!
//! `getaddrinfo` of a static program would load glibc's shared modules at run time. So the files
//! that it reads are read here (hosts(5), resolv.conf(5)), and the servers asked by ourselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dnsmsg::{Family, Found, Name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::url::is_localhost;

/// No more servers are asked (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;
/// A longer file is not what it should be.
const MAX_FILE: u64 = 1 << 20;

/// Where names are looked up.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// The file of names, `/etc/hosts`.
    pub hosts: PathBuf,
    /// The file of servers, `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// The servers' port.
    pub port: u16,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: 53 }
    }
}

impl Resolver {
    /// The addresses of `host`, at least one.
    ///
    /// # Errors
    ///
    /// There is no such host, or nobody says.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let listed = hosts(&read(&self.hosts).await?, host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if is_localhost(host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let config = Config::parse(&read(&self.resolv_conf).await?);
        let mut failure = None;
        for candidate in config.candidates(host) {
            let Some(name) = Name::from_text(&candidate) else { continue };
            let (v4, v6) = tokio::join!(
                self.ask(&config, &name, Family::V4),
                self.ask(&config, &name, Family::V6)
            );
            let mut found = Vec::new();
            for answer in [v4, v6] {
                match answer {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => failure = Some(error),
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "no such host");
        Err(failure.unwrap_or_else(none))
    }

    /// One question to one server after another. No addresses: there is no such name, or it has
    /// none of this family.
    async fn ask(&self, config: &Config, name: &Name, family: Family) -> io::Result<Vec<IpAddr>> {
        let mut failure = None;
        for _ in 0..config.attempts {
            for server in &config.servers {
                let server = SocketAddr::new(*server, self.port);
                let asked = tokio::time::timeout(config.timeout, exchange(server, name, family));
                match asked.await {
                    Ok(Ok(Found::Addresses(addresses))) => return Ok(addresses),
                    Ok(Ok(Found::NoSuchName)) => return Ok(Vec::new()),
                    Ok(Ok(Found::Failure(code))) => {
                        let why = format!("{server} answers with code {code}");
                        failure = Some(io::Error::other(why));
                    }
                    Ok(Err(error)) => {
                        failure = Some(io::Error::new(error.kind(), format!("{server}: {error}")));
                    }
                    Err(_) => {
                        let why = format!("{server}: i/o timeout");
                        failure = Some(io::Error::new(io::ErrorKind::TimedOut, why));
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("no name server")))
    }
}

/// One question to one server: over UDP, and again over TCP where the answer was cut.
async fn exchange(server: SocketAddr, name: &Name, family: Family) -> io::Result<Found> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let query = dnsmsg::ask(u16::from_be_bytes(id), name, family);
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The kernel picks the port, and lets in what comes from this server alone.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = [0; 4096];
    let response = loop {
        let n = socket.recv(&mut buffer).await?;
        if dnsmsg::answers(&query, &buffer[..n]) {
            break &buffer[..n];
        }
    };
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    if !dnsmsg::is_truncated(response) {
        return dnsmsg::addresses(response, family).map_err(invalid);
    }
    let response = exchange_tcp(server, &query).await?;
    dnsmsg::addresses(&response, family).map_err(invalid)
}

/// Over TCP each message has its length before it (RFC 1035, 4.2.2).
async fn exchange_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(query);
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await?;
    if dnsmsg::answers(query, &response) {
        return Ok(response);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
}

/// A file of at most [`MAX_FILE`] bytes; one that is not there is empty.
async fn read(path: &PathBuf) -> io::Result<String> {
    let file = match tokio::fs::File::open(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The addresses that a file of hosts gives to `name`.
fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let addresses = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    addresses.collect()
}

/// What resolv.conf says.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    n_dots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            n_dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if config.servers.len() < MAX_SERVERS => {
                    config
                        .servers
                        .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search") => config.search = words.take(6).map(str::to_owned).collect(),
                Some("domain") => config.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        config
    }

    fn option(&mut self, word: &str) {
        let Some((key, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match key {
            "ndots" => self.n_dots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The names that are tried, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if host.ends_with('.') {
            return vec![host.to_owned()];
        }
        let below = self.search.iter().map(|domain| match domain.trim_matches('.') {
            "" => host.to_owned(),
            domain => format!("{host}.{domain}"),
        });
        let mut candidates: Vec<String> = below.collect();
        let at = if host.matches('.').count() >= self.n_dots { 0 } else { candidates.len() };
        candidates.insert(at, host.to_owned());
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_hosts() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 web\n10.0.0.1\tWeb.test web # mine\n::2 web\n\
                    junk web\n10.0.0.3 webs";
        let want: [IpAddr; 2] = [Ipv4Addr::new(10, 0, 0, 1).into(), "::2".parse().unwrap()];
        assert_eq!(hosts(text, "WEB"), want);
        assert_eq!(hosts(text, "web.test."), want[..1]);
        assert_eq!(hosts(text, "other"), [] as [IpAddr; 0]);
    }

    #[test]
    fn the_file_of_servers() {
        let config = Config::parse(
            "; a comment\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\n\
             domain old.test\nsearch a.test b.test.\noptions ndots:2 timeout:1 attempts:9 edns0\n",
        );
        assert_eq!(config.servers, ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!((config.timeout, config.attempts), (Duration::from_secs(1), 5));
        assert_eq!(config.candidates("r.x"), ["r.x.a.test", "r.x.b.test", "r.x"]);
        assert_eq!(config.candidates("a.b.c"), ["a.b.c", "a.b.c.a.test", "a.b.c.b.test"]);
        assert_eq!(config.candidates("r."), ["r."]);
        assert_eq!(Config::parse("").servers, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
}
