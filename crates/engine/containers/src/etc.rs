//! The files that the engine puts into a container's `/etc`: `hostname`, `hosts`, `resolv.conf`.
//!
//! They lie in the container's folder and are mounted one by one: nothing is written into the
//! image's own `/etc`, which may be a link to anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use docker::HostConfig;

use crate::Error;
use crate::error::At as _;

/// Where a container's own name server listens, and the host's stub resolver does not.
const OWN_DNS: &str = "127.0.0.11";
/// Whom to ask where the host names nobody that a container could reach; Docker's choice.
const PUBLIC_DNS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The host's `resolv.conf(5)`, or a container's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolv {
    pub(crate) servers: Vec<String>,
    pub(crate) search: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl Resolv {
    /// Reads the host's. Where a stub of systemd's listens on loopback, the file behind it counts.
    pub(crate) fn of_host() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let resolv = Self::parse(&read("/etc/resolv.conf"));
        if resolv.servers == ["127.0.0.53"] {
            let behind = Self::parse(&read("/run/systemd/resolve/resolv.conf"));
            if !behind.servers.is_empty() {
                return behind;
            }
        }
        resolv
    }

    fn parse(text: &str) -> Self {
        let mut resolv = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolv.servers.extend(words.next().map(str::to_owned)),
                Some("search" | "domain") => resolv.search = words.map(str::to_owned).collect(),
                Some("options") => resolv.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolv
    }

    /// Without servers that only the host itself can reach.
    pub(crate) fn reachable(mut self) -> Self {
        self.servers.retain(|server| {
            let bare = server.split('%').next().unwrap_or_default();
            bare.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
                && !server.contains('%')
        });
        self.or_public()
    }

    /// With public servers where the machine names none.
    pub(crate) fn or_public(mut self) -> Self {
        if self.upstream().is_empty() {
            self.servers = PUBLIC_DNS.map(str::to_owned).to_vec();
        }
        self
    }

    /// With what a container asks for itself.
    pub(crate) fn overridden(mut self, host: &HostConfig) -> Self {
        if !host.dns.is_empty() {
            self.servers = host.dns.to_vec();
        }
        if !host.dns_search.is_empty() {
            // One dot alone: no search domain at all.
            self.search = host.dns_search.iter().filter(|domain| *domain != ".").cloned().collect();
        }
        if !host.dns_options.is_empty() {
            self.options = host.dns_options.to_vec();
        }
        self
    }

    /// Port 53 of each server.
    pub(crate) fn upstream(&self) -> Vec<SocketAddr> {
        let addresses = self.servers.iter().filter_map(|server| server.parse::<IpAddr>().ok());
        addresses.map(|address| SocketAddr::new(address, 53)).collect()
    }

    /// For a container that has a name server of its own.
    pub(crate) fn through_own_dns(&self) -> Self {
        let mut options = self.options.clone();
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".into());
        }
        Self { servers: vec![OWN_DNS.into()], search: self.search.clone(), options }
    }

    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let _infallible = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _infallible = writeln!(text, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _infallible = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

/// Holds that a text is one word of a file.
pub(crate) fn check_word(what: &str, text: &str) -> Result<(), Error> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::Invalid(format!("invalid {what}: {text:?}")));
    }
    Ok(())
}

/// Holds that nothing in a request would become more than one word of one of these files
/// (CVE-2022-4318).
pub(crate) fn check(config: &docker::ContainerConfig, host: &HostConfig) -> Result<(), Error> {
    let word = check_word;
    word("hostname", &config.hostname)?;
    word("domainname", &config.domainname)?;
    if config.hostname.len() > 63 {
        return Err(Error::Invalid(format!("invalid hostname: {}", config.hostname)));
    }
    for server in &host.dns {
        if server.parse::<IpAddr>().is_err() {
            return Err(Error::Invalid(format!("{server} is not an ip address")));
        }
    }
    for domain in &host.dns_search {
        word("search domain", domain)?;
    }
    for option in &host.dns_options {
        word("resolver option", option)?;
    }
    for entry in &host.extra_hosts {
        extra_host(entry)?;
    }
    Ok(())
}

/// `NAME:ADDRESS`, the address perhaps in brackets.
fn extra_host(entry: &str) -> Result<(&str, &str), Error> {
    let bad = || Error::Invalid(format!("bad format for add-host: {entry:?}"));
    let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad());
    }
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(Error::Invalid(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name, address))
}

/// What `/etc/hosts` begins with where there is no IPv6.
pub(crate) const LOOPBACK: &str = "127.0.0.1\tlocalhost\n";

/// `/etc/hosts` of the machine, for who is in its network.
pub(crate) fn of_host() -> Option<String> {
    std::fs::read_to_string("/etc/hosts").ok()
}

/// `/etc/hosts`: loopback, or what the `origin` says, then what was asked for, and the container itself.
pub(crate) fn hosts(
    origin: Option<String>,
    extra: &[String],
    gateways: &[IpAddr],
    addresses: &[IpAddr],
    hostname: &str,
    domainname: &str,
) -> Result<String, Error> {
    let mut text = origin.unwrap_or_else(|| {
        let ipv6 = "::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n";
        [LOOPBACK, ipv6].concat()
    });
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in extra {
        let (name, address) = extra_host(entry)?;
        if address != "host-gateway" {
            let _infallible = writeln!(text, "{address}\t{name}");
            continue;
        }
        if gateways.is_empty() {
            return Err(Error::Invalid(
                "unable to derive the IP value for host-gateway: the container has no gateway"
                    .into(),
            ));
        }
        for gateway in gateways {
            let _infallible = writeln!(text, "{gateway}\t{name}");
        }
    }
    for line in own_lines(addresses, hostname, domainname) {
        let _infallible = writeln!(text, "{line}");
    }
    Ok(text)
}

/// The lines of `/etc/hosts` that are of the container itself.
pub(crate) fn own_lines(addresses: &[IpAddr], hostname: &str, domainname: &str) -> Vec<String> {
    // One with a domain is known without it as well.
    let full = match (domainname, hostname.split_once('.')) {
        ("", None) => hostname.to_owned(),
        ("", Some((first, _))) => format!("{hostname} {first}"),
        _ => format!("{hostname}.{domainname} {hostname}"),
    };
    let named = addresses.iter().filter(|_| !hostname.is_empty());
    named.map(|address| format!("{address}\t{full}")).collect()
}

/// More lines of `/etc/hosts`.
pub(crate) fn lines(entries: &[(IpAddr, String)]) -> String {
    entries.iter().map(|(address, names)| format!("{address}\t{names}\n")).collect()
}

/// Writes the three files into the container's folder, and says where each is mounted.
pub(crate) fn write(
    data: &Path,
    contents: &BTreeMap<&'static str, String>,
) -> Result<Vec<(PathBuf, &'static str)>, Error> {
    let mut mounts = Vec::new();
    for (target, text) in contents {
        let name = Path::new(target).file_name().unwrap_or_default();
        let path = data.join(name);
        failpoint::hit("engine.etc").at("write", &path)?;
        std::fs::write(&path, text).at("write", &path)?;
        failpoint::hit("engine.etc-written").at("write", &path)?;
        mounts.push((path, *target));
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_not_sent_to_the_hosts_loopback() {
        let host = Resolv::parse(
            "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a b\noptions edns0\n",
        );
        let resolv = host.clone().reachable();
        assert_eq!(resolv.print(), "nameserver 10.0.0.1\nsearch a b\noptions edns0\n");
        assert_eq!(
            host.through_own_dns().print(),
            "nameserver 127.0.0.11\nsearch a b\noptions edns0 ndots:0\n"
        );
        // Who asks from the machine's own network reaches those on loopback, too.
        let local = Resolv::parse("nameserver 127.0.0.1\nnameserver 10.0.0.1\n").or_public();
        assert_eq!(local.servers, ["127.0.0.1", "10.0.0.1"]);
        assert_eq!(Resolv::default().or_public().servers, PUBLIC_DNS);
        let none = Resolv::parse("nameserver ::1\n").reachable();
        assert_eq!(none.print(), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn no_line_can_be_forged() {
        let check = |config: &str, host: &str| {
            check(&serde_json::from_str(config).unwrap(), &serde_json::from_str(host).unwrap())
        };
        assert!(check(r#"{"Hostname":"web-1"}"#, r#"{"ExtraHosts":["db:10.0.0.2"]}"#).is_ok());
        for (config, host) in [
            (r#"{"Hostname":"a\nb"}"#, "{}"),
            (r#"{"Hostname":"a b"}"#, "{}"),
            (r#"{"Domainname":"a\r"}"#, "{}"),
            ("{}", r#"{"Dns":["1.2.3.4\nx"]}"#),
            ("{}", r#"{"DnsSearch":["a\nnameserver 6.6.6.6"]}"#),
            ("{}", r#"{"DnsOptions":["a\nb"]}"#),
            ("{}", r#"{"ExtraHosts":["a\nb:1.2.3.4"]}"#),
            ("{}", r#"{"ExtraHosts":["a:1.2.3.4\n5.6.7.8 b"]}"#),
            ("{}", r#"{"ExtraHosts":["a"]}"#),
        ] {
            assert!(check(config, host).is_err(), "{config} {host}");
        }
    }

    #[test]
    fn hosts_names_the_container() {
        let text = hosts(
            None,
            &["gw:host-gateway".into(), "six:[::2]".into()],
            &[[10, 0, 0, 1].into()],
            &[[10, 0, 0, 2].into()],
            "web",
            "example.org",
        )
        .unwrap();
        assert!(
            text.ends_with("10.0.0.1\tgw\n::2\tsix\n10.0.0.2\tweb.example.org web\n"),
            "{text}"
        );
        assert!(hosts(None, &["gw:host-gateway".into()], &[], &[], "", "").is_err());
    }
}
