use std::net::{IpAddr, SocketAddr};

use endpoint::{
    Dns, Guard, Kind, Link, Name, Neighbours, Parameter, Plan, Protocol, PublishedPort,
};
use metadata::{Db, Write};

use crate::ensure::hardware_address;
use crate::options::Routing;
use crate::port::{Halt, Reach};
use crate::{
    DEFAULT, Driver, Error, Leased, Network, Networks, PortRequest, claim, lease, name, port,
};

/// One network that a container is to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Its name or id; empty and `default` mean [`crate::DEFAULT`].
    pub network: String,
    /// Addresses that the container asks for, at most one of IPv4 and one of IPv6.
    pub addresses: Vec<IpAddr>,
    /// Link-local addresses that it gets besides.
    pub link_local: Vec<IpAddr>,
    /// The hardware address that it asks for.
    pub mac: Option<[u8; 6]>,
    /// The name that it asks for its interface.
    pub interface: Option<String>,
    /// The kernel's parameters of its interface.
    pub parameters: Vec<Parameter>,
    /// More names under which others in this network find it.
    pub aliases: Vec<String>,
    /// Names that this container alone has for others in this network: theirs, and its own for them.
    pub links: Vec<(String, String)>,
    /// The ports that the container exposes, for those that are linked to it on a network that keeps its containers
    /// apart ([`Network::opens_to_links`]).
    pub exposed: Vec<(Protocol, u16)>,
    /// The ids of those that the container is linked to; they matter there alone.
    pub linked: Vec<String>,
    /// The network with the highest has the default route; 0 where nothing was said.
    pub gateway_priority: i64,
    /// The container has switched IPv6 off: it has no such address, whatever is reserved for it.
    pub without_ipv6: bool,
}

/// A container, as the others in its networks know it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// Its name, without a slash.
    pub name: &'a str,
    /// Its host name; empty if it has none of its own.
    pub hostname: &'a str,
}

/// All of a container's networking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// What the shim makes.
    pub plan: Plan,
    /// Where the shim listens: each published port, to reserve it, and to serve those whom no rule
    /// redirects.
    pub listeners: Vec<PublishedPort>,
    /// Whether it is reached by IPv4, and by IPv6, at its own addresses, without ports of the machine's.
    pub routed: (bool, bool),
    /// Its place in each network, in the order of the attachments.
    pub endpoints: Vec<Endpoint>,
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The network.
    pub network: Network,
    /// Its interface.
    pub link: Link,
    /// Whether the container has asked for the interface's name.
    pub is_named: bool,
    /// The network's gateways, for inspection, also where the default route is another's.
    pub gateways: Vec<IpAddr>,
    /// Under which names others find it.
    pub names: Vec<String>,
}

/// What a container was given: its addresses, its ports, and whether it is reached by its own addresses
/// ([`Connected::routed`]).
type Reserved = (Vec<Leased>, Vec<PublishedPort>, (bool, bool));

/// What the names of interfaces start with.
const USUAL: &str = "eth";

/// Names of interfaces: `eth0`, `eth1`, and so on, without those that were asked for.
struct Names<'a> {
    asked: &'a [String],
    given: Vec<String>,
}

impl<'a> Names<'a> {
    fn beside(asked: &'a [String]) -> Self {
        Self { asked, given: Vec::new() }
    }

    /// The next that starts like that. No container has more links than there are numbers.
    fn next(&mut self, prefix: &str) -> String {
        let mut all = (0..=u16::MAX).map(|number| format!("{prefix}{number}"));
        let free = |name: &String| !self.asked.contains(name) && !self.given.contains(name);
        let name = all.find(free).unwrap_or_default();
        self.given.push(name.clone());
        name
    }
}

impl Connected {
    /// Has links that the container has already, by the plan `now`, keep their names in it; the others
    /// get those that are free.
    pub fn keep_names(&mut self, now: &Plan) {
        let (mut kept, mut named): (Vec<Link>, Vec<Link>) = (Vec::new(), Vec::new());
        for link in &now.links {
            if self.plan.links.iter().any(|one| one.host_name == link.host_name) {
                kept.push(link.clone());
            }
        }
        let endpoints = self.endpoints.iter().filter(|one| one.is_named);
        let mut asked: Vec<String> = endpoints.map(|one| one.link.container_name.clone()).collect();
        asked.extend(kept.iter().map(|link| link.container_name.clone()));
        let mut free = Names::beside(&asked);
        for endpoint in &mut self.endpoints {
            let is_named = endpoint.is_named;
            let prefix = endpoint.network.config.extras.interfaces.as_deref().unwrap_or(USUAL);
            let link = &mut endpoint.link;
            let old = kept.iter().find(|one| one.host_name == link.host_name);
            link.container_name = match old {
                Some(old) => old.container_name.clone(),
                None if is_named => link.container_name.clone(),
                None => free.next(prefix),
            };
            named.push(link.clone());
        }
        for link in &mut self.plan.links {
            if let Some(one) = named.iter().find(|one| one.host_name == link.host_name) {
                link.container_name.clone_from(&one.container_name);
            }
        }
    }
}

impl Networks {
    /// Gives a container its addresses, in the transaction that makes its record: from then on
    /// they are its own until the record is deleted ([`metadata::Write::delete_container`]).
    pub fn lease(
        &self,
        tx: &Write,
        container_id: &str,
        attachments: &[Attachment],
    ) -> Result<Vec<Leased>, Error> {
        lease::lease(tx, container_id, attachments)
    }

    /// Prepares a container's start: its networks' bridges and rules are there, its addresses and
    /// ports are reserved, and what its shim has to make is computed.
    ///
    /// `upstream` is whom its name server asks. `running` says whether the container with an id
    /// runs: those that do not lose ports that they had.
    pub fn connect(
        &self,
        db: &Db,
        member: &Member<'_>,
        attachments: &[Attachment],
        ports: &[PortRequest],
        upstream: &[SocketAddr],
        running: &dyn Fn(&str) -> bool,
    ) -> Result<Connected, Error> {
        if self.site.is_some() && ports.iter().any(|port| port.protocol == Protocol::Sctp) {
            return Err(Error::Sctp("it takes rules of the machine's firewall, which are root's"));
        }
        failpoint::hit("network.lease")?;
        let mut rounds = 0;
        let (leased, published, routed) = loop {
            let reserved = Self::reserve(db, member, attachments, ports, running)?;
            failpoint::hit("network.leased")?;
            if self.ensure_all(db, attachments, &reserved.0)? {
                break reserved;
            }
            rounds += 1;
            if rounds == claim::ROUNDS {
                return Err(Error::Contested { name: DEFAULT.to_owned() });
            }
        };
        let guards = guards(&leased, ports);
        let neighbours = neighbours(member.id, attachments, &leased);
        let mut connected = self.compute_plan(member, attachments, leased, published, upstream);
        if !connected.plan.shared {
            connected.plan.guards = guards;
            connected.plan.neighbours = neighbours;
            connected.routed = routed;
        }
        Ok(connected)
    }

    /// Gives a container its addresses and ports.
    fn reserve(
        db: &Db,
        member: &Member<'_>,
        attachments: &[Attachment],
        ports: &[PortRequest],
        running: &dyn Fn(&str) -> bool,
    ) -> Result<Reserved, Error> {
        let mut known = port::Running::new();
        loop {
            let reserved = db.write(|tx| {
                let mut leased = lease::lease(tx, member.id, attachments)?;
                for (one, attachment) in leased.iter_mut().zip(attachments) {
                    one.addresses
                        .retain(|(address, _)| address.is_ipv4() || !attachment.without_ipv6);
                }
                let reach = reach(attachments, &leased);
                let published = port::reserve(tx, member.id, &reach, ports, &known)?;
                Ok((leased, published, reach.routed))
            });
            match reserved {
                Ok(reserved) => return Ok(reserved),
                Err(Halt::Ask(container)) => {
                    let runs = running(&container);
                    known.insert(container, runs);
                }
                Err(Halt::Error(err)) => return Err(err),
            }
        }
    }

    /// Makes what is missing of all these networks. `false`: one of them has another range now.
    fn ensure_all(
        &self,
        db: &Db,
        attachments: &[Attachment],
        leased: &[Leased],
    ) -> Result<bool, Error> {
        for (one, attachment) in leased.iter().zip(attachments) {
            if one.network.driver() == Driver::Ipvlan && attachment.mac.is_some() {
                return Err(Error::IpvlanAddress);
            }
            if !self.settle(db, &one.network)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All of it, from what was reserved. Pure.
    fn compute_plan(
        &self,
        member: &Member<'_>,
        attachments: &[Attachment],
        leased: Vec<Leased>,
        published: Vec<PublishedPort>,
        upstream: &[SocketAddr],
    ) -> Connected {
        if leased.iter().any(|one| one.network.driver() == Driver::Host) {
            return Connected {
                plan: Plan { shared: true, ..Plan::default() },
                ..Default::default()
            };
        }
        let ways = ways_out(attachments, &leased);
        let dns = self.dns(attachments, &leased, upstream);
        let asked = attachments.iter().filter_map(|one| one.interface.clone());
        let asked: Vec<String> = asked.collect();
        let mut free = Names::beside(&asked);
        let endpoints: Vec<Endpoint> = leased
            .into_iter()
            .zip(attachments)
            .enumerate()
            .filter(|(_, (one, _))| one.network.driver().has_links())
            .map(|(at, (one, attachment))| {
                let own = attachment.interface.clone();
                let prefix = one.network.config.extras.interfaces.as_deref();
                let name = own.unwrap_or_else(|| free.next(prefix.unwrap_or(USUAL)));
                let leads = (ways.0 == Some(at), ways.1 == Some(at));
                self.endpoint(member, name, one, attachment, leads)
            })
            .collect();
        let mut links: Vec<Link> = endpoints.iter().map(|one| one.link.clone()).collect();
        // The first carries the default route; their names do not depend on the order.
        links.sort_by_key(|link| (link.gateway.is_none(), link.gateway6.is_none()));
        let plan = Plan {
            shared: false,
            links,
            ports: published.clone(),
            guards: Vec::new(),
            neighbours: None,
            table: name::container_table(&self.prefix, member.id),
            dns,
        };
        Connected { plan, listeners: published, endpoints, ..Connected::default() }
    }

    fn endpoint(
        &self,
        member: &Member<'_>,
        container_name: String,
        leased: Leased,
        attachment: &Attachment,
        (leads4, leads6): (bool, bool),
    ) -> Endpoint {
        let ways = [leased.way_out(true), leased.way_out(false)];
        let Leased { network, addresses } = leased;
        // A way by the link itself has none, and out of an internal network nothing leads.
        let is_shown = |way: &IpAddr| !way.is_unspecified() && !network.is_internal();
        let gateways = ways.into_iter().flatten().filter(is_shown).collect();
        let parent = network.config.parent.as_ref();
        let names =
            if network.is_user_defined() { names(member, &attachment.aliases) } else { Vec::new() };
        // 169.254.0.0/16 (RFC 3927), fe80::/64 (RFC 4291).
        let prefix = |address: &IpAddr| if address.is_ipv4() { 16 } else { 64 };
        let link_local = attachment.link_local.iter().map(|one| (*one, prefix(one)));
        let link = Link {
            kind: parent.map_or(Kind::Veth, |parent| parent.kind),
            bridge: parent.map_or(network.bridge(), |parent| parent.name.as_str()).to_owned(),
            host_name: name::veth(member.id, &network.id),
            container_name,
            mac: attachment.mac.unwrap_or_else(|| mac(member.id, &network, &addresses)),
            addresses: addresses.into_iter().chain(link_local).collect(),
            gateway: ways[0].filter(|_| leads4),
            gateway6: ways[1].filter(|_| leads6 && !attachment.without_ipv6),
            mtu: network.mtu(),
            isolated: !network.config.icc,
            parameters: attachment.parameters.clone(),
            name: network.is_user_defined().then(|| Name {
                directory: self.names_directory(&network.id),
                file: member.id.to_owned(),
                names: with_network(&names, &network.name),
            }),
            advertise: network.config.extras.advertise,
        };
        Endpoint { network, link, is_named: attachment.interface.is_some(), gateways, names }
    }

    /// Containers on networks made by people have a name server. One from which there is no way
    /// out asks nobody else (CVE-2024-29018).
    fn dns(
        &self,
        attachments: &[Attachment],
        leased: &[Leased],
        upstream: &[SocketAddr],
    ) -> Option<Dns> {
        let directories: Vec<_> = leased
            .iter()
            .filter(|one| one.network.is_user_defined())
            .map(|one| self.names_directory(&one.network.id))
            .collect();
        if directories.is_empty() {
            return None;
        }
        let shut_in = leased.iter().all(|one| one.network.is_shut_in());
        let upstream = if shut_in { Vec::new() } else { upstream.to_vec() };
        // A link holds in its network alone: it leads to the name that others have with the network's.
        let links = attachments.iter().zip(leased).flat_map(|(attachment, one)| {
            let to = |name: &String| format!("{name}.{}", one.network.name).to_lowercase();
            attachment.links.iter().map(move |(name, alias)| (alias.to_lowercase(), to(name)))
        });
        Some(Dns { directories, links: links.collect(), upstream, inside: false })
    }
}

/// The attachments that lead out by IPv4 and by IPv6: by their priority, then those of networks that
/// have both, then by the network's name. `None` where there is no way out.
fn ways_out(attachments: &[Attachment], leased: &[Leased]) -> (Option<usize>, Option<usize>) {
    let leads = |one: &Leased, ipv4: bool| one.way_out(ipv4).is_some();
    let mut candidates: Vec<usize> = (0..leased.len())
        .filter(|at| leased[*at].network.driver().has_links())
        .filter(|at| !leased[*at].network.is_shut_in())
        .collect();
    candidates.sort_by_key(|at| {
        let one = &leased[*at];
        let both = leads(one, true) && leads(one, false);
        (std::cmp::Reverse(attachments[*at].gateway_priority), !both, one.network.name.as_str())
    });
    let first = |ipv4| candidates.iter().copied().find(|at| leads(&leased[*at], ipv4));
    (first(true), first(false))
}

/// The hardware address of a container that asks for none. On a bridge of ours it follows from its IP addresses.
/// A link that others share takes IPv4 addresses for that alone: of IPv6 the end is not enough there.
fn mac(container: &str, network: &Network, addresses: &[(IpAddr, u8)]) -> [u8; 6] {
    let all = addresses.iter().map(|(address, _)| *address);
    if !network.driver().shares_link() || all.clone().any(|address| address.is_ipv4()) {
        return hardware_address(all);
    }
    // Locally administered, one machine's.
    let mut mac = [0x02, 0, 0, 0, 0, 0];
    for (at, byte) in mac.iter_mut().enumerate().skip(1) {
        let of =
            |id: &str| id.get(2 * at..2 * at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        *byte = of(container).unwrap_or_default() ^ of(&network.id).unwrap_or_default();
    }
    mac
}

/// By which of its addresses a container is reached from outside, and where its ports are published
/// that name no address. A network that shares a link publishes none, as in Docker.
fn reach(attachments: &[Attachment], leased: &[Leased]) -> Reach {
    let (way4, way6) = ways_out(attachments, leased);
    let address = |at: Option<usize>, ipv4: bool| {
        let one = &leased[at?];
        let routed = one.network.config.extras.routing(ipv4) == Routing::Routed;
        let publishes = !routed && !one.network.driver().shares_link();
        let mut all = one.addresses.iter().map(|(address, _)| *address);
        all.find(|address| address.is_ipv4() == ipv4).filter(|_| publishes)
    };
    let main = way4.or(way6).map(|at| &leased[at].network.config.extras);
    let routed = |ipv4| main.is_some_and(|extras| extras.routing(ipv4) == Routing::Routed);
    Reach {
        ipv4: address(way4, true),
        ipv6: address(way6, false),
        routed: (routed(true), routed(false)),
        binding: main.and_then(|extras| extras.binding),
    }
}

/// The addresses that are reached without translation, with the ports that are open.
fn guards(leased: &[Leased], ports: &[PortRequest]) -> Vec<Guard> {
    let mut guards = Vec::new();
    for one in leased.iter().filter(|one| !one.network.is_internal()) {
        let extras = &one.network.config.extras;
        for (address, _) in &one.addresses {
            let routing = extras.routing(address.is_ipv4());
            let links = match routing {
                Routing::Routed => Vec::new(),
                Routing::Nat if extras.direct => Vec::new(),
                // The network's own rules let in what comes by these.
                Routing::Nat if !extras.trusted.is_empty() => extras.trusted.clone(),
                Routing::Nat | Routing::NatUnprotected | Routing::Isolated => continue,
            };
            guards.push(Guard {
                bridge: one.network.bridge().to_owned(),
                links,
                translated: routing != Routing::Routed,
                address: *address,
                ports: ports.iter().map(|port| (port.protocol, port.container)).collect(),
            });
        }
    }
    guards
}

/// What passes between a container and neighbours from whom it is kept apart, if anything is to.
fn neighbours(
    container: &str,
    attachments: &[Attachment],
    leased: &[Leased],
) -> Option<Neighbours> {
    let mut both = leased.iter().zip(attachments);
    let (one, attachment) = both.find(|(one, _)| one.network.opens_to_links())?;
    if attachment.exposed.is_empty() && attachment.linked.is_empty() {
        return None;
    }
    let (address, _) = one.addresses.iter().find(|(address, _)| address.is_ipv4())?;
    Some(Neighbours {
        bridge: one.network.bridge().to_owned(),
        address: *address,
        mark: Neighbours::mark_of(container),
        ports: attachment.exposed.clone(),
        linked: attachment.linked.iter().map(|id| Neighbours::mark_of(id)).collect(),
    })
}

/// The names, and each with that of its network behind it: where several networks have one of the same
/// name, that says which is meant.
fn with_network(names: &[String], network: &str) -> Vec<String> {
    let network = network.to_lowercase();
    let qualified = names.iter().map(|name| format!("{name}.{network}"));
    names.iter().cloned().chain(qualified).collect()
}

/// By which names others on a network made by people find a container that has these aliases there: each once, in
/// lower case, as names are compared, and in Docker's order.
pub fn names(member: &Member<'_>, aliases: &[String]) -> Vec<String> {
    let given = std::iter::once(member.name).chain(aliases.iter().map(String::as_str));
    let mut names: Vec<String> = Vec::new();
    for name in given.chain([name::short(member.id), member.hostname]) {
        let name = name.to_ascii_lowercase();
        // One line of a file, one word of it.
        let fits =
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
        if fits && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
