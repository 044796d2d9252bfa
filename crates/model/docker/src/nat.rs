//! Docker's port language: `-p`, `--expose`, and the keys of port maps.
//!
//! Follows `github.com/docker/go-connections/nat`, wording of errors included: clients show them.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use crate::{
    container::{PortBinding, PortMap},
    wire::{Empty, List, Map},
};

/// A port spec that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No container port.
    #[error("no port specified: {0}<empty>")]
    NoPort(String),
    /// Not a port or a range of ports.
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    /// Not a port or a range of ports.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// Not `tcp`, `udp` or `sctp`.
    #[error("invalid proto: {0}")]
    Proto(String),
    /// Not an address.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// Two ranges that do not fit onto each other.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's.
        container: String,
        /// The host's.
        host: String,
    },
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Proto {
    /// Its name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Proto {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" | "" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::Proto(text.to_owned())),
        }
    }
}

/// A container's port: `80/tcp`. As a key, the protocol may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The protocol.
    pub proto: Proto,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.proto.as_str())
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (numbers, proto) = split_proto(text);
        let number =
            parse_number(numbers).ok_or_else(|| Error::ContainerPort(numbers.to_owned()))?;
        Ok(Self { number, proto: proto.parse()? })
    }
}

/// One published port of a `-p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The container's port.
    pub port: Port,
    /// The address to listen on; empty: all.
    pub host_ip: String,
    /// A port, a range to choose from, or empty: any.
    pub host_port: String,
}

/// Parses a port or a range of ports, `8000` or `8000-8010`.
pub fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = parse_number(first)?..=parse_number(last)?;
    (range.start() <= range.end()).then_some(range)
}

/// Parses what `--expose` takes: `PORT[-PORT][/PROTO]`.
pub fn parse_exposed(text: &str) -> Result<Vec<Port>, Error> {
    let (numbers, proto) = split_proto(text);
    if numbers.is_empty() {
        return Err(Error::NoPort(text.to_owned()));
    }
    let range = parse_range(numbers).ok_or_else(|| Error::ContainerPort(numbers.to_owned()))?;
    let proto = proto.parse()?;
    Ok(range.map(|number| Port { number, proto }).collect())
}

/// Parses what `-p` takes: `[[IP:][HOSTPORT]:]CONTAINERPORT[/PROTO]`, with ranges.
pub fn parse_published(spec: &str) -> Result<Vec<Published>, Error> {
    let (address, host, container) = split_parts(spec);
    let (container, proto) = split_proto(container);

    let host_ip = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner,
        None => address,
    };
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(Error::Address(address.to_owned()));
    }
    if container.is_empty() {
        return Err(Error::NoPort(spec.to_owned()));
    }
    let ports = parse_range(container).ok_or_else(|| Error::ContainerPort(container.to_owned()))?;
    let host_ports = match host {
        "" => None,
        host => Some(parse_range(host).ok_or_else(|| Error::HostPort(host.to_owned()))?),
    };
    let proto = proto.parse()?;

    let one = ports.start() == ports.end();
    if let Some(host_ports) = &host_ports
        && host_ports.len() != ports.len()
        && !one
    {
        return Err(Error::Ranges { container: container.to_owned(), host: host.to_owned() });
    }
    let first = *ports.start();
    Ok(ports
        .map(|number| Published {
            port: Port { number, proto },
            host_ip: host_ip.to_owned(),
            host_port: match &host_ports {
                None => String::new(),
                // One container port and many of the host: whichever is free.
                Some(range) if one && range.start() != range.end() => {
                    format!("{}-{}", range.start(), range.end())
                }
                Some(range) => (range.start() + (number - first)).to_string(),
            },
        })
        .collect())
}

/// Turns the values of all `-p` into the two maps of a container request.
pub fn port_maps<'a>(
    specs: impl IntoIterator<Item = &'a str>,
) -> Result<(Map<Empty>, PortMap), Error> {
    let mut exposed = Map::empty();
    let mut bindings: PortMap = Map::empty();
    for spec in specs {
        for published in parse_published(spec)? {
            let key = published.port.to_string();
            exposed.insert(key.clone(), Empty {});
            let binding =
                PortBinding { host_ip: published.host_ip, host_port: published.host_port };
            let list = bindings.entry(key).or_insert_with(List::empty);
            if !list.contains(&binding) {
                list.push(binding);
            }
        }
    }
    Ok((exposed, bindings))
}

fn parse_number(text: &str) -> Option<u16> {
    // Go's ParseUint takes digits only: no sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn split_proto(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((port, "")) => (port, "tcp"),
        Some((port, proto)) => (port, proto),
        None => (text, "tcp"),
    }
}

/// Address, host port, container port. Colons of an IPv6 address stay in the address.
fn split_parts(spec: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = spec.rsplit_once(':') else { return ("", "", spec) };
    let Some((address, host)) = rest.rsplit_once(':') else { return ("", rest, container) };
    (address, host, container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match parse_published(spec) {
            Ok(list) => list
                .iter()
                .map(|p| format!("{}|{}|{}", p.host_ip, p.host_port, p.port))
                .collect::<Vec<_>>()
                .join(" "),
            Err(err) => format!("! {err}"),
        }
    }

    #[test]
    fn published() {
        for (spec, want) in [
            ("80", "||80/tcp"),
            ("8080:80", "|8080|80/tcp"),
            ("8080:80/udp", "|8080|80/udp"),
            ("8080:80/UDP", "|8080|80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080|80/tcp"),
            ("127.0.0.1::80", "127.0.0.1||80/tcp"),
            ("[::1]:8080:80", "::1|8080|80/tcp"),
            ("::1:8080:80", "::1|8080|80/tcp"),
            ("8000-8001:80-81", "|8000|80/tcp |8001|81/tcp"),
            ("8000-8010:80", "|8000-8010|80/tcp"),
            ("80-81", "||80/tcp ||81/tcp"),
            (
                "8000-8001:80-82",
                "! invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
            ),
            ("8080:", "! no port specified: 8080:<empty>"),
            ("8080:http", "! invalid containerPort: http"),
            ("+1:80", "! invalid hostPort: +1"),
            ("99999:80", "! invalid hostPort: 99999"),
            ("81-80:80", "! invalid hostPort: 81-80"),
            ("8080:80/icmp", "! invalid proto: icmp"),
            ("1.2.3:8080:80", "! invalid IP address: 1.2.3"),
            ("localhost:8080:80", "! invalid IP address: localhost"),
        ] {
            assert_eq!(show(spec), want, "{spec}");
        }
    }

    #[test]
    fn exposed() {
        assert_eq!(parse_exposed("53/udp").unwrap()[0].to_string(), "53/udp");
        assert_eq!(parse_exposed("80-82").unwrap().len(), 3);
        assert!(parse_exposed("a").is_err());
        assert_eq!("80".parse::<Port>().unwrap().to_string(), "80/tcp");
    }

    #[test]
    fn maps_keep_each_binding_once() {
        let (exposed, bindings) = port_maps(["80:80", "80:80", "81:80", "53/udp"]).unwrap();
        assert_eq!(exposed.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(bindings["80/tcp"].len(), 2);
        assert_eq!(bindings["53/udp"][0].host_port, "");
    }
}
