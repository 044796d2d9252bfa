//! The nftables table of one container: its published ports, and who else reaches it.
use std::net::{IpAddr, Ipv4Addr};

use nft::{Base, Chain, Family, Hook, Kind, Op, Policy, Rule, Table, ct_state, priority};

use crate::{Guard, Neighbours, Plan, Protocol, PublishedPort};

/// The chain to which packets for this host go.
const PORTS: &str = "ports";
/// The addresses that never leave the host.
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

/// The rules for the published ports, for addresses that are reached without translation, and for neighbours that
/// are linked; none where none are needed.
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
pub(crate) fn tables(plan: &Plan) -> Vec<Table> {
    let redirections: Vec<Rule> = plan.ports.iter().filter_map(redirection).collect();
    let mut chains = if redirections.is_empty() { Vec::new() } else { nat(plan, redirections) };
    chains.extend(guard(plan, true));
    chains.extend(plan.neighbours.iter().flat_map(neighbours));
    let table = |family, chains| Table { family, name: plan.table.clone(), chains };
    let both =
        [table(Family::Ip, chains), table(Family::Ip6, guard(plan, false).into_iter().collect())];
    both.into_iter().filter(|table| !table.chains.is_empty()).collect()
}

fn nat(plan: &Plan, redirections: Vec<Rule>) -> Vec<Chain> {
    let nat = |name: &str, hook, priority, rules| Chain {
        name: name.to_owned(),
        base: Some(Base { kind: Kind::Nat, hook, priority, policy: Policy::Accept }),
        rules,
    };
    let to_ports = || Rule::new().to_this_host().jump(PORTS);
    let own = plan.links.iter().map(|link| Rule::new().iif(Op::Is, &link.bridge).return_());
    let prerouting = own.chain([to_ports()]).collect();
    vec![
        Chain { name: PORTS.to_owned(), base: None, rules: redirections },
        nat("prerouting", Hook::Prerouting, priority::DSTNAT, prerouting),
        nat("output", Hook::Output, priority::DSTNAT, vec![to_ports()]),
    ]
}

/// What goes to ports that the container exposes is marked as that; then, of what others expose, what it sends to
/// those that it is linked to. All before the bridge's own rules.
fn neighbours(own: &Neighbours) -> Vec<Chain> {
    let among = || Rule::new().iif(Op::Is, &own.bridge).oif(Op::Is, &own.bridge);
    let exposed = own.ports.iter().map(|(protocol, port)| {
        let rule = among().destination(Op::Is, own.address, 32);
        to_port(rule, *protocol, *port).set_mark(own.mark)
    });
    let linked = own.linked.iter().map(|mark| {
        among().source(Op::Is, own.address, 32).mark(*mark).set_mark(Neighbours::PASSES)
    });
    let chain = |name: &str, priority, rules| Chain {
        name: name.to_owned(),
        base: Some(Base {
            kind: Kind::Filter,
            hook: Hook::Forward,
            priority,
            policy: Policy::Accept,
        }),
        rules,
    };
    let both = [
        chain("exposed", priority::FILTER - 2, exposed.collect()),
        chain("linked", priority::FILTER - 1, linked.collect()),
    ];
    both.into_iter().filter(|chain| !chain.rules.is_empty()).collect()
}

/// What of elsewhere reaches the addresses that are reached without translation.
fn guard(plan: &Plan, ipv4: bool) -> Option<Chain> {
    let mut rules = Vec::new();
    for guard in plan.guards.iter().filter(|guard| guard.address.is_ipv4() == ipv4) {
        if guard.links.is_empty() {
            let from = || Rule::new().iif(Op::IsNot, &guard.bridge);
            if !guard.translated {
                rules.push(into(from(), guard).icmp(ipv4).accept());
            }
            admit(&mut rules, guard, from);
        }
        for link in &guard.links {
            admit(&mut rules, guard, || Rule::new().iif(Op::Is, link));
        }
    }
    let base = Base {
        kind: Kind::Filter,
        hook: Hook::Forward,
        priority: priority::FILTER,
        policy: Policy::Accept,
    };
    (!rules.is_empty()).then(|| Chain { name: "forward".to_owned(), base: Some(base), rules })
}

/// Of what comes `from` there: answers, and the ports that are open.
fn admit(rules: &mut Vec<Rule>, guard: &Guard, from: impl Fn() -> Rule) {
    rules.push(into(from(), guard).ct_state(ct_state::ESTABLISHED | ct_state::RELATED).accept());
    let open = guard.ports.iter();
    rules.extend(
        open.map(|(protocol, port)| to_port(into(from(), guard), *protocol, *port).accept()),
    );
    rules.push(into(from(), guard).drop());
}

/// What goes to the container by its bridge.
fn into(rule: Rule, guard: &Guard) -> Rule {
    let bits = if guard.address.is_ipv4() { 32 } else { 128 };
    rule.oif(Op::Is, &guard.bridge).destination(Op::Is, guard.address, bits)
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
    Some(to_port(rule, port.protocol, port.host.port()).dnat(port.container))
}

fn to_port(rule: Rule, protocol: Protocol, port: u16) -> Rule {
    match protocol {
        Protocol::Tcp => rule.tcp_port(port),
        Protocol::Udp => rule.udp_port(port),
        Protocol::Sctp => rule.sctp_port(port),
    }
}
