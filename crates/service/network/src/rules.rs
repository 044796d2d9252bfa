//! The nftables table of one network.
use std::net::IpAddr;

use endpoint::Neighbours;
use nft::{
    Base, Chain, Family, Hook, Kind, Op, Policy, Rule, Table, ct_state, ct_status, priority,
};

use crate::options::Routing;
use crate::{Network, Subnet};

/// The rules of `network` for one family, in which it has addresses.
///
/// What comes from elsewhere (other networks, the outside, by whatever route) gets in as an answer
/// or by way of a published port; the host itself is not "elsewhere". What goes out is given the
/// host's address.
///
/// Containers of the same network are none of its business: packets between them stay on the
/// bridge, and `enable_icc=false` is a property of its ports ([`endpoint::Link::isolated`]). What one
/// hands to the host to be passed on to another is: the ports know nothing of that. By that way goes what links
/// let through ([`endpoint::Neighbours`]).
pub(crate) fn table(network: &Network, family: Family, name: String) -> Table {
    let bridge = network.bridge();
    let mut chains = vec![Chain {
        name: "forward".to_owned(),
        base: Some(Base {
            kind: Kind::Filter,
            hook: Hook::Forward,
            priority: priority::FILTER,
            policy: Policy::Accept,
        }),
        rules: between(network, family).into_iter().chain(forward(network, family)).collect(),
    }];
    let ipv4 = family == Family::Ip;
    let routed = network.config.extras.routing(ipv4) == Routing::Routed;
    if network.config.masquerade && !network.is_internal() && !routed {
        let source = network.config.extras.source(ipv4);
        chains.push(Chain {
            name: "postrouting".to_owned(),
            base: Some(Base {
                kind: Kind::Nat,
                hook: Hook::Postrouting,
                priority: priority::SRCNAT,
                policy: Policy::Accept,
            }),
            rules: subnets(network, family)
                .map(|subnet| outward(&subnet, bridge, source))
                .collect(),
        });
    }
    Table { family, name, chains }
}

/// Who may not speak to its neighbours may not do so by way of the gateway either, unless they are linked. An answer
/// comes from who was asked: what began while there was a link ends with that.
fn between(network: &Network, family: Family) -> Vec<Rule> {
    let among = || Rule::new().iif(Op::Is, network.bridge()).oif(Op::Is, network.bridge());
    let mut rules = Vec::new();
    if family == Family::Ip && network.opens_to_links() {
        let answers = ct_state::ESTABLISHED | ct_state::RELATED;
        rules.push(among().ct_reply().ct_state(answers).accept());
        // Bits of it are marks of others, such as 0x4000 of Kubernetes, which would translate the source.
        rules.push(among().mark(Neighbours::PASSES).set_mark(0).accept());
    }
    if !network.config.icc {
        rules.push(among().drop());
    }
    rules
}

fn forward(network: &Network, family: Family) -> Vec<Rule> {
    let bridge = network.bridge();
    let into = || Rule::new().iif(Op::IsNot, bridge).oif(Op::Is, bridge);
    let out = || Rule::new().iif(Op::Is, bridge).oif(Op::IsNot, bridge);
    if network.is_internal() {
        return vec![into().drop(), out().drop()];
    }
    let extras = &network.config.extras;
    match extras.routing(family == Family::Ip) {
        // Each container's own table says which of its ports are open ([`endpoint::Guard`]).
        Routing::NatUnprotected | Routing::Routed => return Vec::new(),
        Routing::Nat if extras.direct => return Vec::new(),
        Routing::Nat | Routing::Isolated => {}
    }
    let mut rules = vec![
        into().ct_state(ct_state::ESTABLISHED | ct_state::RELATED).accept(),
        into().ct_status(ct_status::DNAT).accept(),
    ];
    let trusted = extras.trusted.iter();
    rules.extend(trusted.map(|link| Rule::new().iif(Op::Is, link).oif(Op::Is, bridge).accept()));
    rules.push(into().drop());
    rules
}

/// What leaves the network bears an address of the host's: the one that was asked for, or that of the
/// way that it takes.
fn outward(subnet: &Subnet, bridge: &str, source: Option<IpAddr>) -> Rule {
    let rule = Rule::new().source(Op::Is, subnet.address(), subnet.prefix()).oif(Op::IsNot, bridge);
    match source {
        Some(address) => rule.snat(address),
        None => rule.masquerade(),
    }
}

fn subnets(network: &Network, family: Family) -> impl Iterator<Item = Subnet> + use<'_> {
    network
        .pools()
        .iter()
        .map(|pool| pool.subnet)
        .filter(move |subnet| subnet.is_ipv4() == (family == Family::Ip))
}
