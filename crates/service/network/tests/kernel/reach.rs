//! Who reaches whom, and by which way.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use endpoint::{Neighbours, Plan, Protocol};
use metadata::Db;
use netlink::{FilterSocket, Requests, RouteSocket, inside};
use network::{Attachment, CreateRequest, Defaults};
use nft::{Base, Chain, Family, Hook, Kind, Policy, Rule, Table, priority};

use crate::{
    Box, Host, LONG, SHORT, answers, cannot_connect, connect, here, id, ip, listen, new_namespace,
    on_a_host, option, seen_by, tcp,
};

#[test]
fn networks_are_isolated_from_each_other() {
    on_a_host("apart", |host| {
        host.create("one", |_| ());
        host.create("two", |_| ());
        let a = host.start("a", "one", &[]);
        let b = host.start("b", "two", &[tcp(8080, 80)]);
        let at_b = listen(&b.netns, 80);
        assert!(cannot_connect(&a.netns, b.address(), 80));
        // What is published is published to all.
        connect(&a.netns, ip("172.18.0.1"), 8080);
        at_b.accept().unwrap();
    });
}

#[test]
fn an_internal_network_has_no_way_in_or_out() {
    on_a_host("internal", |host| {
        let outside = Host::outside();
        host.create("closed", |request| request.internal = true);
        let a = host.start("a", "closed", &[tcp(8080, 80)]);
        let b = host.start("b", "closed", &[]);
        assert_eq!(a.connected.plan.ports, []);
        assert_eq!(a.connected.plan.links[0].gateway, None);
        assert_eq!(a.connected.plan.dns.as_ref().unwrap().upstream, []);
        let at_a = listen(&a.netns, 80);
        connect(&b.netns, a.address(), 80);
        at_a.accept().unwrap();

        // Even with a route of its own making it gets nowhere.
        let mut socket = RouteSocket::open_in(a.netns.as_fd()).unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.add_default_route(index, ip("172.18.0.1"));
        socket.execute(&requests).unwrap();
        let _at_outside = listen(&outside, 7000);
        assert!(cannot_connect(&a.netns, ip("192.0.2.2"), 7000));
        assert!(cannot_connect(&outside, a.address(), 80));
    });
}

#[test]
fn without_icc_neighbours_do_not_hear_each_other() {
    on_a_host("icc", |host| {
        host.create("silent", |request| {
            let option = "com.docker.network.bridge.enable_icc".to_owned();
            request.options = BTreeMap::from([(option, "false".to_owned())]);
        });
        let a = host.start("a", "silent", &[tcp(8080, 80)]);
        let b = host.start("b", "silent", &[]);
        let at_a = listen(&a.netns, 80);
        assert!(cannot_connect(&b.netns, a.address(), 80));
        connect(&here(), a.address(), 80);
        at_a.accept().unwrap();
        let shim = listen(&here(), 8080);
        connect(&b.netns, ip("172.18.0.1"), 8080);
        assert_eq!(seen_by(&shim), b.address());
    });
}

#[test]
fn without_icc_the_gateway_is_no_way_to_neighbours() {
    on_a_host("icc-gateway", |host| {
        host.create("silent", |request| option(request, "bridge.enable_icc", "false"));
        let mut plan = host.plan("b", "silent", &[]).unwrap().plan;
        let _between = host.start("c", "silent", &[]);
        let a = host.start("a", "silent", &[]);
        assert_eq!(
            (plan.links[0].addresses[0].0, a.address()),
            (ip("172.18.0.2"), ip("172.18.0.4"))
        );
        // So the other one is not on its link: what is for that goes to the gateway.
        plan.links[0].addresses[0].1 = 30;
        let b = new_namespace();
        endpoint::apply(&plan, b.as_fd()).unwrap();
        let at_a = inside(a.netns.as_fd(), || UdpSocket::bind("0.0.0.0:9000").unwrap()).unwrap();
        let at_host = UdpSocket::bind("0.0.0.0:9000").unwrap();
        let from_b = inside(b.as_fd(), || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        from_b.send_to(b"a", (a.address(), 9000)).unwrap();
        from_b.send_to(b"h", (ip("172.18.0.1"), 9000)).unwrap();
        at_host.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(at_host.recv(&mut [0; 1]).unwrap(), 1);
        at_a.set_read_timeout(Some(SHORT)).unwrap();
        assert!(at_a.recv(&mut [0; 1]).is_err());
    });
}

/// The same host, with a default network that keeps its containers apart.
fn kept_apart(host: &Host) -> Host {
    let mut defaults = Defaults::default();
    defaults.bridge.isolated = true;
    let networks = host.networks.clone().with(defaults);
    networks.ensure_predefined(&host.db).unwrap();
    let db = Db::open(&host.directory.join("dhow.db")).unwrap();
    Host { directory: host.directory.clone(), db, networks }
}

/// A container of the default network that exposes ports, and is linked to others.
fn start_linked(host: &Host, name: &str, exposed: &[u16], linked: &[&str]) -> Box {
    let attachment = Attachment {
        network: "bridge".into(),
        exposed: exposed.iter().map(|port| (Protocol::Tcp, *port)).collect(),
        linked: linked.iter().map(|name| id(name)).collect(),
        ..Attachment::default()
    };
    let connected = host.plan_of(name, attachment, &[]).unwrap();
    let netns = new_namespace();
    endpoint::apply(&connected.plan, netns.as_fd()).unwrap();
    Box { netns, connected }
}

/// Somebody else's rules, which go by marks after ours have been gone through.
fn drop_what_is_marked() {
    let base = Base {
        kind: Kind::Filter,
        hook: Hook::Postrouting,
        priority: priority::FILTER,
        policy: Policy::Accept,
    };
    let rules = vec![Rule::new().mark(Neighbours::PASSES).drop()];
    let chain = Chain { name: "marked".into(), base: Some(base), rules };
    let table = Table { family: Family::Ip, name: "somebody".into(), chains: vec![chain] };
    FilterSocket::open().unwrap().put(&[table]).unwrap();
}

#[test]
fn where_neighbours_are_kept_apart_links_open_the_ports_that_are_exposed() {
    on_a_host("links", |host| {
        let host = kept_apart(host);
        let child = start_linked(&host, "child", &[80], &[]);
        let parent = start_linked(&host, "parent", &[], &["child"]);
        let third = start_linked(&host, "third", &[80], &["parent"]);
        let (open, _closed) = (listen(&child.netns, 80), listen(&child.netns, 81));
        let _at_parent = listen(&parent.netns, 80);
        drop_what_is_marked();
        connect(&parent.netns, child.address(), 80);
        assert_eq!(seen_by(&open), parent.address());
        assert!(cannot_connect(&parent.netns, child.address(), 81));
        // Nobody else, nor the other way round, nor to what is not exposed there.
        assert!(cannot_connect(&third.netns, child.address(), 80));
        assert!(cannot_connect(&child.netns, parent.address(), 80));
        assert!(cannot_connect(&third.netns, parent.address(), 80));
        // What began while there was a link ends with it.
        let mut lasting = connect(&parent.netns, child.address(), 80);
        let (mut accepted, _) = open.accept().unwrap();
        let linked = &parent.connected.plan;
        let unlinked = Plan { neighbours: None, ..linked.clone() };
        endpoint::change(linked, &unlinked, parent.netns.as_fd()).unwrap();
        assert!(cannot_connect(&parent.netns, child.address(), 80));
        accepted.set_read_timeout(Some(SHORT)).unwrap();
        lasting.write_all(b"x").unwrap();
        assert!(accepted.read_exact(&mut [0; 1]).is_err());
        // It is back, until the other one goes; who has its address then is somebody else.
        endpoint::change(&unlinked, linked, parent.netns.as_fd()).unwrap();
        connect(&parent.netns, child.address(), 80);
        let plan = &child.connected.plan;
        drop(endpoint::undo(plan).unwrap());
        assert!(cannot_connect(&parent.netns, child.address(), 80));
        let mark = Neighbours::mark_of(&id("heir"));
        let neighbours = plan.neighbours.clone().map(|own| Neighbours { mark, ..own });
        let heir = Plan { neighbours, ..plan.clone() };
        let bare = Plan { neighbours: None, ..plan.clone() };
        endpoint::change(&bare, &heir, child.netns.as_fd()).unwrap();
        assert!(cannot_connect(&parent.netns, child.address(), 80));
    });
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses_at_open_ports() {
    on_a_host("routed", |host| {
        let outside = Host::outside();
        host.create("routed", |request| {
            request.ipv6 = Some(true);
            for family in ["ipv4", "ipv6"] {
                option(request, &format!("bridge.gateway_mode_{family}"), "routed");
            }
        });
        host.create("other", |_| ());
        let a = host.start("a", "routed", &[tcp(8080, 80)]);
        let b = host.start("b", "other", &[]);
        assert_eq!((a.connected.plan.ports.len(), a.connected.plan.guards.len()), (0, 2));
        for (address, _) in &a.connected.plan.links[0].addresses {
            let listen = |port| {
                let at = std::net::SocketAddr::new(*address, port);
                inside(a.netns.as_fd(), move || TcpListener::bind(at).unwrap()).unwrap()
            };
            let (open, _closed) = (listen(80), listen(81));
            connect(&outside, *address, 80);
            open.accept().unwrap();
            assert!(cannot_connect(&outside, *address, 81));
            connect(&here(), *address, 81);
        }
        let address = a.connected.plan.links[0].addresses[0].0;
        assert!(answers(&outside, address, LONG));
        let at_a = listen(&a.netns, 82);
        assert!(cannot_connect(&b.netns, address, 82));
        drop(at_a);
        // What goes out bears the container's own address.
        let at_outside = listen(&outside, 7000);
        connect(&a.netns, ip("192.0.2.2"), 7000);
        assert_eq!(seen_by(&at_outside), address);
        drop(endpoint::undo(&a.connected.plan).unwrap());
        let mut filter = FilterSocket::open().unwrap();
        assert_eq!(filter.tables(Family::Ip).unwrap().len(), 2);
        assert_eq!(filter.tables(Family::Ip6).unwrap().len(), 1);
    });
}

#[test]
fn by_a_trusted_link_open_ports_are_reached_at_their_own_addresses() {
    on_a_host("trusted", |host| {
        let outside = Host::outside();
        host.create("trusting", |request| {
            request.ipv6 = Some(true);
            option(request, "bridge.trusted_host_interfaces", "ext0:none0");
        });
        host.create("other", |_| ());
        let a = host.start("a", "trusting", &[tcp(8080, 80)]);
        let b = host.start("b", "other", &[]);
        for (address, _) in &a.connected.plan.links[0].addresses {
            let listen = |port| {
                let at = SocketAddr::new(*address, port);
                inside(a.netns.as_fd(), move || TcpListener::bind(at).unwrap()).unwrap()
            };
            let (open, closed) = (listen(80), listen(81));
            connect(&outside, *address, 80);
            open.accept().unwrap();
            assert!(cannot_connect(&outside, *address, 81));
            // The host itself reaches all of them.
            connect(&here(), *address, 81);
            closed.accept().unwrap();
        }
        let at_a = listen(&a.netns, 80);
        assert!(cannot_connect(&b.netns, a.address(), 80));
        drop(at_a);
        // What it asks for is answered by all ways, and no rule of its own is left afterwards.
        let at_outside = listen(&outside, 7000);
        connect(&a.netns, ip("192.0.2.2"), 7000);
        assert_eq!(seen_by(&at_outside), ip("192.0.2.1"));
        drop(endpoint::undo(&a.connected.plan).unwrap());
        let mut filter = FilterSocket::open().unwrap();
        assert_eq!(filter.tables(Family::Ip).unwrap().len(), 2);
        assert_eq!(filter.tables(Family::Ip6).unwrap().len(), 1);
    });
}

#[test]
fn an_administrator_may_let_in_who_comes_to_open_ports_by_any_way() {
    on_a_host("direct", |host| {
        let outside = Host::outside();
        host.create("before", |_| ());
        let defaults = network::Defaults { direct: true, ..network::Defaults::default() };
        let networks = host.networks.clone().with(defaults);
        networks.ensure_predefined(&host.db).unwrap();
        let request = CreateRequest { name: "direct".into(), ..CreateRequest::default() };
        networks.create(&host.db, &request).unwrap();
        let a = host.start("a", "bridge", &[tcp(8080, 80)]);
        let b = host.start("b", "direct", &[tcp(8081, 80)]);
        for one in [&a, &b] {
            let (open, _closed) = (listen(&one.netns, 80), listen(&one.netns, 81));
            connect(&outside, one.address(), 80);
            open.accept().unwrap();
            assert!(cannot_connect(&outside, one.address(), 81));
            connect(&here(), one.address(), 81);
            assert!(!answers(&outside, one.address(), SHORT));
            // What goes out bears the host's address all the same.
            let at_outside = listen(&outside, 7000);
            connect(&one.netns, ip("192.0.2.2"), 7000);
            assert_eq!(seen_by(&at_outside), ip("192.0.2.1"));
        }
        // A network that was there before stays as it was.
        let c = host.start("c", "before", &[tcp(8082, 80)]);
        let _at_c = listen(&c.netns, 80);
        assert!(cannot_connect(&outside, c.address(), 80));
        assert!(c.connected.plan.guards.is_empty());
    });
}
