//! The nftables table of one container with published ports.
use std::net::{IpAddr, Ipv4Addr};

use nft::{Base, Chain, Family, Hook, Kind, Op, Policy, Rule, Table, priority};

use crate::{Plan, Protocol, PublishedPort};

/// The chain to which packets for this host go.
const PORTS: &str = "ports";
/// The addresses that never leave the host.
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

/// The rules for the published ports; `None` where none are needed.
///
/// Only what is addressed to this host itself is redirected: a port that is published must not
/// capture what is merely passing through (CVE-2025-67499). What is addressed to loopback is left
/// to the shim, which listens there: redirecting it would mean to route 127.0.0.0/8
/// (`route_localnet`), which lets neighbours in (CVE-2020-8558). IPv6 is left to it as well.
///
/// So is what comes from the container's own bridges: a neighbour would be answered directly, by
/// someone whom it did not ask; and where bridged packets pass the firewall too
/// (`bridge-nf-call-iptables`), redirecting one keeps it on the bridge, where a port that is
/// isolated, or the one that it came from, does not take it.
pub(crate) fn table(plan: &Plan) -> Option<Table> {
    let redirections: Vec<Rule> = plan.ports.iter().filter_map(redirection).collect();
    if redirections.is_empty() {
        return None;
    }
    let nat = |name: &str, hook, priority, rules| Chain {
        name: name.to_owned(),
        base: Some(Base { kind: Kind::Nat, hook, priority, policy: Policy::Accept }),
        rules,
    };
    let to_ports = || Rule::new().to_this_host().jump(PORTS);
    let own = plan.links.iter().map(|link| Rule::new().iif(Op::Is, &link.bridge).return_());
    Some(Table {
        family: Family::Ip,
        name: plan.table.clone(),
        chains: vec![
            Chain { name: PORTS.to_owned(), base: None, rules: redirections },
            nat(
                "prerouting",
                Hook::Prerouting,
                priority::DSTNAT,
                own.chain([to_ports()]).collect(),
            ),
            nat("output", Hook::Output, priority::DSTNAT, vec![to_ports()]),
        ],
    })
}

/// `ip daddr HOST tcp dport PORT dnat to CONTAINER:PORT`
fn redirection(port: &PublishedPort) -> Option<Rule> {
    let host = port.host.ip();
    if !host.is_ipv4() || !port.container.is_ipv4() || host.is_loopback() {
        return None;
    }
    let rule = if host.is_unspecified() {
        Rule::new().destination(Op::IsNot, LOOPBACK.0, LOOPBACK.1)
    } else {
        Rule::new().destination(Op::Is, host, 32)
    };
    let rule = match port.protocol {
        Protocol::Tcp => rule.tcp_port(port.host.port()),
        Protocol::Udp => rule.udp_port(port.host.port()),
    };
    Some(rule.dnat(port.container))
}
