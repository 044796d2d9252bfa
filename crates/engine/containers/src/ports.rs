//! Which ports of a container are published, and how that is shown.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use docker::{ContainerConfig, HostConfig, PortBinding, PortMap, nat};
use endpoint::{Protocol, PublishedPort};
use network::PortRequest;

use crate::Error;

/// Whether a container has ports of its own: it is in a network that others reach.
pub(crate) fn has_ports(host: &HostConfig) -> bool {
    !matches!(host.network_mode.as_str(), "host" | "none")
}

/// The ports to publish.
pub(crate) fn ports(
    config: &ContainerConfig,
    host: &HostConfig,
) -> Result<Vec<PortRequest>, Error> {
    if !has_ports(host) {
        return Ok(Vec::new());
    }
    let exposed: BTreeSet<String> = config.exposed_ports.keys().map(|key| canonical(key)).collect();
    let mut requests = Vec::new();
    for (key, bindings) in &host.port_bindings {
        let port = parse_port(key)?;
        for binding in bindings {
            requests.push(request(port, binding)?);
        }
        // As in Docker, no binding for a port that is exposed is one that says nothing.
        if bindings.is_empty() && exposed.contains(&canonical(key)) {
            requests.push(request(port, &PortBinding::default())?);
        }
    }
    if host.publish_all_ports {
        let bound: BTreeSet<String> = host.port_bindings.keys().map(|key| canonical(key)).collect();
        for key in exposed.difference(&bound) {
            requests.push(request(parse_port(key)?, &PortBinding::default())?);
        }
    }
    Ok(requests)
}

/// A port's key with its protocol, which clients may leave out: `80/tcp`.
pub(crate) fn canonical(key: &str) -> String {
    key.parse::<nat::Port>().map_or_else(|_| key.to_owned(), |port| port.to_string())
}

fn parse_port(key: &str) -> Result<nat::Port, Error> {
    let port: nat::Port = key
        .parse()
        .map_err(|_| Error::Invalid(format!("invalid port specification: \"{key}\"")))?;
    if port.number == 0 {
        return Err(Error::Invalid(format!("invalid port specification: \"{key}\"")));
    }
    Ok(port)
}

fn request(port: nat::Port, binding: &PortBinding) -> Result<PortRequest, Error> {
    let host_address = match binding.host_ip.as_str() {
        "" => None,
        text => Some(
            text.parse::<IpAddr>()
                .map_err(|_| Error::Invalid(format!("invalid IP address: {text}")))?,
        ),
    };
    let host_ports = match binding.host_port.as_str() {
        "" | "0" => None,
        text => Some(
            nat::parse_range(text)
                .ok_or_else(|| Error::Invalid(format!("invalid port specification: \"{text}\"")))?,
        ),
    };
    let protocol = protocol(port.proto);
    Ok(PortRequest { container: port.number, protocol, host_address, host_ports })
}

fn protocol(proto: nat::Proto) -> Protocol {
    match proto {
        nat::Proto::Tcp => Protocol::Tcp,
        nat::Proto::Udp => Protocol::Udp,
        nat::Proto::Sctp => Protocol::Sctp,
    }
}

/// The ports that a container exposes, each once: those that it publishes, too.
pub(crate) fn exposed(config: &ContainerConfig, host: &HostConfig) -> Vec<(Protocol, u16)> {
    let all = config.exposed_ports.keys().chain(host.port_bindings.keys());
    let ports = all.filter_map(|key| key.parse::<nat::Port>().ok());
    let ports: BTreeSet<_> = ports.map(|port| (protocol(port.proto), port.number)).collect();
    ports.into_iter().collect()
}

/// What asks for ports as they are published already: none is chosen anew.
pub(crate) fn pinned(requests: Vec<PortRequest>, published: &[PublishedPort]) -> Vec<PortRequest> {
    let mut left: Vec<&PublishedPort> = published.iter().collect();
    let pin = |mut request: PortRequest| {
        let fits = |one: &&PublishedPort| {
            (one.container.port(), one.protocol) == (request.container, request.protocol)
                && request.host_address.is_none_or(|address| address == one.host.ip())
                && request.host_ports.as_ref().is_none_or(|range| range.contains(&one.host.port()))
        };
        if let Some(port) = left.iter().copied().find(|one| fits(one)).map(|one| one.host.port()) {
            // Both families have it.
            left.retain(|one| !(fits(one) && one.host.port() == port));
            request.host_ports = Some(port..=port);
        }
        request
    };
    requests.into_iter().map(pin).collect()
}

/// The ports as they are published, and those that are only exposed, as `inspect` shows them. `requests` are
/// open at the container's own addresses where it is `routed` by IPv4, and by IPv6: they have no port of the
/// machine's there.
pub(crate) fn port_map(
    config: &ContainerConfig,
    published: &[PublishedPort],
    requests: &[PortRequest],
    routed: (bool, bool),
) -> PortMap {
    let mut map: PortMap =
        config.exposed_ports.keys().map(|key| (canonical(key), docker::List::default())).collect();
    let key = |protocol: Protocol, port: u16| match protocol {
        Protocol::Tcp => format!("{port}/tcp"),
        Protocol::Udp => format!("{port}/udp"),
        Protocol::Sctp => format!("{port}/sctp"),
    };
    let anywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    for (address, is_routed) in anywhere.into_iter().zip([routed.0, routed.1]) {
        let is_ours = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        for port in published.iter().filter(|port| is_ours(&port.host.ip())) {
            let (host_ip, host_port) = (port.host.ip().to_string(), port.host.port().to_string());
            let of = map.entry(key(port.protocol, port.container.port())).or_default();
            of.push(PortBinding { host_ip, host_port });
        }
        let is_open = |port: &&PortRequest| port.host_address.is_none_or(|host| is_ours(&host));
        for port in requests.iter().filter(is_open).filter(|_| is_routed) {
            let of = map.entry(key(port.protocol, port.container)).or_default();
            of.push(PortBinding { host_ip: address.to_string(), host_port: String::new() });
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_exposed_too() {
        let config = r#"{"ExposedPorts":{"80/tcp":{},"53/udp":{},"x":{}}}"#;
        let config: ContainerConfig = serde_json::from_str(config).unwrap();
        let host = r#"{"PortBindings":{"80":[],"443/tcp":[{"HostPort":"8443"}]}}"#;
        let host: HostConfig = serde_json::from_str(host).unwrap();
        let want = [(Protocol::Tcp, 80), (Protocol::Tcp, 443), (Protocol::Udp, 53)];
        assert_eq!(exposed(&config, &host), want);
    }

    #[test]
    fn ports_are_read() {
        let show = |host: &str| {
            let config = serde_json::from_str(r#"{"ExposedPorts":{"90/udp":{}}}"#).unwrap();
            match ports(&config, &serde_json::from_str(host).unwrap()) {
                Ok(list) => list
                    .iter()
                    .map(|p| format!("{:?}:{:?}:{}", p.host_address, p.host_ports, p.container))
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(err) => err.to_string(),
            }
        };
        for (host, want) in [
            (r#"{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}"#, "None:Some(8080..=8080):80"),
            (
                r#"{"PortBindings":{"80":[{"HostIp":"127.0.0.1","HostPort":"1-2"}]}}"#,
                "Some(127.0.0.1):Some(1..=2):80",
            ),
            (r#"{"PublishAllPorts":true}"#, "None:None:90"),
            (r#"{"PublishAllPorts":true,"PortBindings":{"90/udp":[]}}"#, "None:None:90"),
            (r#"{"PortBindings":{"90/udp":null,"91/udp":[]}}"#, "None:None:90"),
            (r#"{"PublishAllPorts":true,"PortBindings":{"91":[]}}"#, "None:None:90"),
            (r#"{"PortBindings":{"x":[]}}"#, "invalid port specification: \"x\""),
            (
                r#"{"PortBindings":{"80":[{"HostPort":"99999"}]}}"#,
                "invalid port specification: \"99999\"",
            ),
            (r#"{"PortBindings":{"80":[{"HostIp":"x"}]}}"#, "invalid IP address: x"),
            (r#"{"PortBindings":{"80/sctp":[{}]}}"#, "None:None:80"),
            (r#"{"NetworkMode":"host","PortBindings":{"80":[{"HostPort":"1"}]}}"#, ""),
        ] {
            assert_eq!(show(host), want, "{host}");
        }
    }
}
