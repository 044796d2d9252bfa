//! What of a request is the network's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use docker::{ContainerConfig, EndpointSettings, HostConfig, Map};
use endpoint::Parameter;
use network::{Attachment, Endpoint, Network};

use crate::error::Class;
use crate::record::Container;
use crate::spec::namespaces::{Mode, mode};
use crate::{Error, links, ports};

/// Refuses at once what could not be joined or published later.
pub(crate) fn check(
    config: &ContainerConfig,
    host: &HostConfig,
    endpoints: &BTreeMap<String, EndpointSettings>,
) -> Result<(), Error> {
    if matches!(mode(&host.network_mode), Mode::Container(_)) {
        return Ok(());
    }
    for attachment in attachments(config, host, endpoints, false)? {
        check_own(&attachment.network, attachment.network != "bridge", &attachment)?;
    }
    ports::ports(config, host)?;
    Ok(())
}

/// Refuses what the default network does not offer.
fn check_own(network: &str, user_defined: bool, wanted: &Attachment) -> Result<(), Error> {
    if user_defined {
        return Ok(());
    }
    let refuse = |why: &str| {
        Err(Error::Invalid(format!(
            "invalid config for network {network}: invalid endpoint settings:\n{why}"
        )))
    };
    if !wanted.addresses.is_empty() {
        return refuse(
            "* user specified IP address is supported on user defined networks only\n\
             * user specified IP address is supported only when connecting to networks with \
             user configured subnets",
        );
    }
    if !wanted.aliases.is_empty() {
        return refuse(
            "network-scoped alias is supported only for containers in user defined networks",
        );
    }
    Ok(())
}

/// The same for a network that is joined later, in whose ranges the addresses have to be. The client knows which
/// network it is.
pub(crate) fn check_settings(network: &Network, settings: &EndpointSettings) -> Result<(), Error> {
    let name = network.name.as_str();
    let checked = attachment(name, Some(settings)).and_then(|wanted| {
        check_own(name, network.is_user_defined(), &wanted)?;
        // Also those of a kind of address that it does not give.
        let all = || network.pools().iter().chain(network.idle_pools());
        let pools = || all().filter(|pool| !pool.automatic);
        let outside = |address: &&IpAddr| pools().all(|pool| !pool.subnet.contains(**address));
        match wanted.addresses.iter().find(outside) {
            None => Ok(()),
            Some(address) if pools().any(|pool| pool.subnet.is_ipv4() == address.is_ipv4()) => {
                Err(Error::Invalid(format!(
                    "invalid endpoint settings:\n\
                     no configured subnet or ip-range contain the IP address {address}"
                )))
            }
            Some(_) => Err(Error::Invalid(
                "invalid endpoint settings:\n\
                 user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            )),
        }
    });
    checked.map_err(|err| match err {
        Error::Invalid(why) => {
            let prefix = format!("invalid config for network {name}: ");
            Error::Invalid(why.strip_prefix(&prefix).unwrap_or(&why).to_owned())
        }
        err => err,
    })
}

/// The networks to join: the one that the mode names first, unless it was left (`unplugged`), then the
/// others; or that which has no links.
pub(crate) fn attachments(
    config: &ContainerConfig,
    host: &HostConfig,
    endpoints: &BTreeMap<String, EndpointSettings>,
    unplugged: bool,
) -> Result<Vec<Attachment>, Error> {
    let main = if config.network_disabled { "none" } else { host.network_mode.as_str() };
    if matches!(mode(main), Mode::Container(_)) {
        return Ok(Vec::new());
    }
    if unplugged {
        let all = endpoints.iter().map(|(name, settings)| attachment(name, Some(settings)));
        let all: Vec<_> = all.collect::<Result<_, _>>()?;
        let all = if all.is_empty() { vec![attachment("none", None)?] } else { all };
        return Ok(without_what_is_off(host, all));
    }
    let is_main = |name: &str| is_main(host, name);
    let settings = endpoints.iter().find(|(name, _)| is_main(name)).map(|(_, one)| one);
    let mut first = attachment(main, settings)?;
    if first.mac.is_none() && !config.mac_address.is_empty() {
        first.mac = Some(parse_mac(&config.mac_address)?);
    }
    let mut all = vec![first];
    for (name, settings) in endpoints.iter().filter(|(name, _)| !is_main(name)) {
        all.push(attachment(name, Some(settings))?);
    }
    let names: Vec<&String> = all.iter().filter_map(|one| one.interface.as_ref()).collect();
    if let Some(name) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Error::Invalid(format!("two networks ask for the interface name {}", name.1)));
    }
    Ok(without_what_is_off(host, all))
}

/// Whether a container's parameters leave none of its interfaces an IPv6 address.
pub(crate) fn switches_ipv6_off(host: &HostConfig) -> bool {
    let is_off = |(name, value): (&String, &String)| {
        name.replace('/', ".") == "net.ipv6.conf.all.disable_ipv6" && value.trim() != "0"
    };
    host.sysctls.iter().any(is_off)
}

fn without_what_is_off(host: &HostConfig, mut all: Vec<Attachment>) -> Vec<Attachment> {
    let without_ipv6 = switches_ipv6_off(host);
    for one in &mut all {
        one.without_ipv6 = without_ipv6;
    }
    all
}

/// Whether this is the network that the mode names. Clients name the default one in two ways.
pub(crate) fn is_main(host: &HostConfig, name: &str) -> bool {
    name == host.network_mode || (host.network_mode == "bridge" && name == "default")
}

/// Whether networks to join are named, and the default one is not among them, nor is the mode another's.
pub(crate) fn leaves_out_main(
    host: &HostConfig,
    endpoints: &BTreeMap<String, EndpointSettings>,
) -> bool {
    let usual = matches!(host.network_mode.as_str(), "" | "default" | "bridge");
    let is_default = |name: &String| matches!(name.as_str(), "default" | "bridge");
    usual && !endpoints.is_empty() && !endpoints.keys().any(is_default)
}

/// The option of a place in a network by which its interface gets a name.
const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";

/// The option by which its interface gets parameters of the kernel's.
pub(crate) const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// `net.FAMILY.GROUP.IFNAME.NAME=VALUE`, where `IFNAME` stands for the interface, whatever it is called.
fn parse_sysctl(text: &str) -> Result<Parameter, String> {
    let unknown = || {
        format!(
            "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as \
             'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(unknown)?;
    let parts: Vec<&str> = key.split('.').collect();
    let [_, family, group, interface, name] = parts[..] else { return Err(unknown()) };
    // They become the path of a file.
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let good = matches!(family, "ipv4" | "ipv6" | "mpls")
        && interface.eq_ignore_ascii_case("ifname")
        && is_word(group)
        && is_word(name);
    if !good {
        return Err(unknown());
    }
    let [family, group, name, value] = [family, group, name, value].map(str::to_owned);
    Ok(Parameter { family, group, name, value })
}

fn attachment(name: &str, settings: Option<&EndpointSettings>) -> Result<Attachment, Error> {
    let mut attachment = Attachment { network: name.to_owned(), ..Attachment::default() };
    let Some(settings) = settings else { return Ok(attachment) };
    for link in &settings.links {
        let (name, alias) = links::parse(link)?;
        attachment.links.push((name.to_owned(), alias.to_owned()));
    }
    if let Some(ipam) = &settings.ipam_config {
        for text in &ipam.link_local_ips {
            let address = text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified());
            let address = address.ok_or_else(|| {
                Error::Invalid(format!(
                    "invalid config for network {name}: invalid endpoint settings:\n\
                     invalid link-local IP address: {text}"
                ))
            })?;
            if !is_link_local(address) {
                let message = format!(
                    "failed to set up container networking: invalid link local IP address: {text}"
                );
                return Err(Error::not_started(message, Class::Internal));
            }
            attachment.link_local.push(address);
        }
        let texts = (ipam.ipv4_address.as_str(), ipam.ipv6_address.as_str());
        attachment.addresses = fixed_addresses(texts.0, texts.1).map_err(|why| {
            Error::Invalid(format!(
                "invalid config for network {name}: invalid endpoint settings:\n{why}"
            ))
        })?;
    }
    if !settings.mac_address.is_empty() {
        attachment.mac = Some(parse_mac(&settings.mac_address).map_err(|err| match err {
            Error::Invalid(why) => {
                Error::Invalid(format!("invalid config for network {name}: {why}"))
            }
            err => err,
        })?);
    }
    if let Some(name) = settings.driver_opts.get(INTERFACE_NAME) {
        if !network::is_link_name(name) {
            return Err(Error::Invalid(format!(
                "invalid interface name {name:?}: it has 1 to 15 bytes, and no / : % or space"
            )));
        }
        attachment.interface = Some(name.clone());
    }
    if let Some(texts) = settings.driver_opts.get(SYSCTLS) {
        let all = texts.split(',').map(parse_sysctl).collect::<Result<_, _>>();
        attachment.parameters = all.map_err(|why| {
            Error::Invalid(format!(
                "invalid config for network {name}: invalid endpoint settings:\n{why}"
            ))
        })?;
    }
    attachment.aliases = settings.aliases.to_vec();
    attachment.gateway_priority = settings.gw_priority;
    Ok(attachment)
}

/// The addresses that somebody wants, each of its own family; empty: none.
fn fixed_addresses(v4: &str, v6: &str) -> Result<Vec<IpAddr>, String> {
    let mut all = Vec::new();
    if !v4.is_empty() {
        let parsed = v4.parse().ok().filter(|address: &Ipv4Addr| !address.is_unspecified());
        all.push(IpAddr::V4(parsed.ok_or_else(|| format!("invalid IPv4 address: {v4}"))?));
    }
    if !v6.is_empty() {
        let is_usable =
            |address: &Ipv6Addr| !address.is_unspecified() && address.to_ipv4_mapped().is_none();
        let parsed = v6.parse().ok().filter(is_usable);
        all.push(IpAddr::V6(parsed.ok_or_else(|| format!("invalid IPv6 address: {v6}"))?));
    }
    Ok(all)
}

/// Whether an address is of its link alone: nobody is told of it.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], Error> {
    let bad = || Error::Invalid(format!("invalid MAC address {text}"));
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    // A group's address is no machine's.
    if parts.next().is_some() || mac[0] & 1 == 1 { Err(bad()) } else { Ok(mac) }
}

/// As many digits of a network's id are taken for it, and for nobody's name.
const SHORT_ID: usize = 12;

/// A place in a network, as `inspect` shows it: what was asked for, with what was given.
pub(crate) fn settings(container: &Container, endpoint: &Endpoint) -> EndpointSettings {
    let network = &endpoint.network;
    let endpoints = &container.record.endpoints;
    let by_id = || {
        let mut all = endpoints.iter();
        let is_id = |called: &str| called.len() >= SHORT_ID && network.id.starts_with(called);
        all.find(|(called, _)| is_id(called)).map(|(_, asked)| asked)
    };
    let asked = endpoints.get(&network.name).or_else(by_id).cloned();
    let mut shown = asked.unwrap_or_default();
    let link = &endpoint.link;
    shown.network_id.clone_from(&endpoint.network.id);
    shown.endpoint_id = endpoint_id(&container.id, &endpoint.network.id);
    shown.mac_address = link.hardware_address().map(print_mac).unwrap_or_default();
    let besides = shown.ipam_config.as_ref().map(|ipam| ipam.link_local_ips.to_vec());
    let besides: Vec<IpAddr> =
        besides.unwrap_or_default().iter().filter_map(|text| text.parse().ok()).collect();
    for (address, prefix) in link.addresses.iter().filter(|one| !besides.contains(&one.0)) {
        let gateway = endpoint.gateways.iter().find(|one| one.is_ipv4() == address.is_ipv4());
        let gateway = gateway.map(ToString::to_string).unwrap_or_default();
        if address.is_ipv4() {
            shown.ip_address = address.to_string();
            shown.ip_prefix_len = i64::from(*prefix);
            shown.gateway = gateway;
        } else {
            shown.global_ipv6_address = address.to_string();
            shown.global_ipv6_prefix_len = i64::from(*prefix);
            shown.ipv6_gateway = gateway;
        }
    }
    if !endpoint.names.is_empty() {
        shown.dns_names = endpoint.names.clone().into();
    }
    shown
}

/// The settings of networks that have no links: the host's, and none.
pub(crate) fn bare(name: &str, network_id: &str, container_id: &str) -> (String, EndpointSettings) {
    let settings = EndpointSettings {
        network_id: network_id.to_owned(),
        endpoint_id: endpoint_id(container_id, network_id),
        ..EndpointSettings::default()
    };
    (name.to_owned(), settings)
}

/// Docker has an id for each place in a network; ours follows from the two that it joins.
pub(crate) fn endpoint_id(container: &str, network: &str) -> String {
    oci::Digest::sha256(format!("{container} {network}").as_bytes()).hex().to_owned()
}

/// As `02:42:ac:11:00:02`.
pub(crate) fn print_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The settings of all endpoints, by the network's name.
pub(crate) fn all_settings(container: &Container, endpoints: &[Endpoint]) -> Map<EndpointSettings> {
    let named =
        |endpoint: &Endpoint| (endpoint.network.name.clone(), settings(container, endpoint));
    endpoints.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_an_interface() {
        let parse =
            |text| parse_sysctl(text).map(|one| (one.family, one.group, one.name, one.value));
        let want = ["ipv4", "conf", "forwarding", "0"].map(str::to_owned);
        let [a, b, c, d] = want;
        assert_eq!(parse("net.ipv4.conf.IFNAME.forwarding=0"), Ok((a, b, c, d)));
        assert!(parse("net.ipv6.neigh.ifname.x=a=b").is_ok_and(|one| one.3 == "a=b"));
        for bad in [
            "",
            "net.ipv4.conf.IFNAME.forwarding",
            "net.ipv4.conf.eth0.forwarding=1",
            "net.core.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.ipv4..IFNAME.x=1",
            "net.ipv4.conf.IFNAME.x.y=1",
        ] {
            assert!(parse(bad).unwrap_err().starts_with("unrecognised network"), "{bad}");
        }
    }

    #[test]
    fn addresses_are_of_their_own_family() {
        let show = |v4: &str, v6: &str| match fixed_addresses(v4, v6) {
            Ok(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(why) => why,
        };
        assert_eq!(show("10.0.0.9", "2001:db8::9"), "10.0.0.9 2001:db8::9");
        assert_eq!(show("", "fd00::9"), "fd00::9");
        assert_eq!(show("", ""), "");
        for bad in ["mynet_ip", "2001:db8::1", "0.0.0.0", "::ffff:10.0.0.9"] {
            assert_eq!(show(bad, ""), format!("invalid IPv4 address: {bad}"));
        }
        for bad in ["mynet_ip6", "172.28.99.99", "::ffff:172.28.99.99", "::", "fe80::1%eth0"] {
            assert_eq!(show("", bad), format!("invalid IPv6 address: {bad}"));
        }
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(parse_mac("02:42:ac:11:00:02").unwrap(), [2, 0x42, 0xac, 0x11, 0, 2]);
        for bad in ["", "02:42:ac:11:00", "01:42:ac:11:00:02", "02:42:ac:11:00:02:03", "x"] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_that_are_named_are_joined_alone() {
        let leaves = |mode: &str, names: &[&str]| {
            let host = HostConfig { network_mode: mode.into(), ..HostConfig::default() };
            let names = names.iter().map(|name| ((*name).to_owned(), EndpointSettings::default()));
            leaves_out_main(&host, &names.collect())
        };
        assert!(leaves("", &["a"]) && leaves("bridge", &["a", "b"]));
        assert!(!leaves("", &[]) && !leaves("a", &["b"]) && !leaves("default", &["bridge", "a"]));
        assert!(!leaves("host", &["a"]));
    }

    #[test]
    fn the_mode_comes_first() {
        let endpoints: Map<EndpointSettings> = serde_json::from_str(
            r#"{"a":{"Aliases":["x"]},"z":{"IPAMConfig":{"IPv4Address":"10.0.0.9"}}}"#,
        )
        .unwrap();
        let host = HostConfig { network_mode: "z".into(), ..HostConfig::default() };
        let all = attachments(&ContainerConfig::default(), &host, &endpoints, false).unwrap();
        let names: Vec<_> = all.iter().map(|one| one.network.as_str()).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(all[0].addresses.len(), 1);
        assert_eq!(all[1].aliases, ["x"]);
        let names = |endpoints: &Map<EndpointSettings>| {
            let all = attachments(&ContainerConfig::default(), &host, endpoints, true).unwrap();
            all.into_iter().map(|one| one.network).collect::<Vec<_>>()
        };
        assert_eq!(names(&endpoints), ["a", "z"]);
        assert_eq!(names(&Map::default()), ["none"]);
    }
}
