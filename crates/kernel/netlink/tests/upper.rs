//! Links on top of others, against the kernel. Each test in network namespaces of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod namespaces;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use netlink::{IpvlanFlag, IpvlanMode, MacvlanMode, Requests, RouteSocket, Sharing, Upper, Veth};
use rustix::io::Errno;

use namespaces::{another_namespace, in_fresh_namespace};

const MAC: [u8; 6] = [2, 0x42, 10, 0, 0, 2];

/// Runs `test` on a thread in a fresh network namespace with a link `lan0`, behind which there is a bridge. It is
/// given that link's index.
fn beside_a_lan(test: impl FnOnce(&mut RouteSocket, u32) + Send + 'static) {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        let mut requests = Requests::new();
        requests.add_bridge("br0", [2, 0x43, 0, 0, 0, 1], 1500);
        socket.execute(&requests).unwrap();
        let bridge = socket.link("br0").unwrap().unwrap().index;
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        let mut requests = Requests::new();
        requests.set_up(bridge, "br0");
        requests.add_veth(&Veth {
            name: "port0",
            bridge,
            peer_netns: here.as_fd(),
            peer_name: "lan0",
            peer_mac: [2, 0x43, 0, 0, 0, 2],
            mtu: 1400,
        });
        socket.execute(&requests).unwrap();
        let lan = socket.link("lan0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.set_up(lan, "lan0");
        socket.execute(&requests).unwrap();
        test(&mut socket, lan);
    });
}

/// Whether the kernel can do what a test needs. Says so where it cannot.
fn has(socket: &mut RouteSocket, name: &str, kind: &str) -> bool {
    let has = socket.has_kind(kind).unwrap();
    if !has {
        println!("skipped: {name}: the kernel has no {kind}");
    }
    has
}

fn macvlan(lower: u32, netns: &File, mode: MacvlanMode) -> Upper<'_> {
    Upper {
        lower,
        netns: netns.as_fd(),
        name: "eth0",
        mac: Some(MAC),
        sharing: Sharing::Macvlan(mode),
    }
}

fn add(socket: &mut RouteSocket, upper: &Upper<'_>) -> Result<(), netlink::Error> {
    let mut requests = Requests::new();
    requests.add_upper(upper);
    socket.execute(&requests)
}

#[test]
fn a_kind_of_links_that_there_is_not_is_known() {
    beside_a_lan(|socket, _| {
        assert!(!socket.has_kind("nonesuch").unwrap());
        // Asking makes none.
        // Without what becomes of those that were set up a moment ago.
        let names = |socket: &mut RouteSocket| -> Vec<_> {
            socket.links().unwrap().into_iter().map(|link| (link.index, link.name)).collect()
        };
        let before = names(socket);
        let _ = ["macvlan", "ipvlan", "vlan"].map(|kind| socket.has_kind(kind).unwrap());
        assert_eq!(names(socket), before);
    });
}

#[test]
fn a_macvlan_is_made_where_it_belongs() {
    beside_a_lan(|socket, lan| {
        if !has(socket, "Macvlan", "macvlan") {
            return;
        }
        let there = another_namespace();
        add(socket, &macvlan(lan, &there, MacvlanMode::Bridge)).unwrap();
        assert_eq!(socket.link("eth0").unwrap(), None, "nothing of it is here");
        let mut inside = RouteSocket::open_in(there.as_fd()).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        assert_eq!((eth0.kind.as_str(), &eth0.mac[..]), ("macvlan", &MAC[..]));
        assert_eq!((eth0.peer, eth0.mtu, eth0.is_up()), (Some(lan), 1400, false));
        let again = add(socket, &macvlan(lan, &there, MacvlanMode::Bridge)).unwrap_err();
        assert_eq!(again.errno(), Some(Errno::EXIST));

        let mut requests = Requests::new();
        requests.set_alias(eth0.index, "eth0", "it is mine");
        requests.set_up(eth0.index, "eth0");
        inside.execute(&requests).unwrap();
        assert_eq!(inside.link("eth0").unwrap().unwrap().alias, "it is mine");

        // Nobody else can be up with the same hardware address.
        let other = another_namespace();
        add(socket, &macvlan(lan, &other, MacvlanMode::Bridge)).unwrap();
        let mut beside = RouteSocket::open_in(other.as_fd()).unwrap();
        let index = beside.link("eth0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.set_up(index, "eth0");
        let err = beside.execute(&requests).unwrap_err();
        assert!(matches!(err.errno(), Some(Errno::ADDRINUSE | Errno::BUSY)), "{err}");
        let mut requests = Requests::new();
        requests.set_mac(index, "eth0", [2, 0x42, 10, 0, 0, 3]);
        requests.set_up(index, "eth0");
        beside.execute(&requests).unwrap();
    });
}

#[test]
fn a_macvlan_may_have_its_link_for_itself() {
    beside_a_lan(|socket, lan| {
        if !has(socket, "Macvlan", "macvlan") {
            return;
        }
        let there = another_namespace();
        add(socket, &macvlan(lan, &there, MacvlanMode::Passthru)).unwrap();
        let other = another_namespace();
        let err = add(socket, &macvlan(lan, &other, MacvlanMode::Passthru)).unwrap_err();
        assert_eq!(err.errno(), Some(Errno::INVAL));
        // It has that one's hardware address, and gives it another one.
        let mut inside = RouteSocket::open_in(there.as_fd()).unwrap();
        let index = inside.link("eth0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.set_mac(index, "eth0", MAC);
        inside.execute(&requests).unwrap();
        assert_eq!(socket.link("lan0").unwrap().unwrap().mac, MAC);
    });
}

#[test]
fn an_ipvlan_has_its_links_hardware_address() {
    beside_a_lan(|socket, lan| {
        if !has(socket, "Ipvlan", "ipvlan") {
            return;
        }
        let there = another_namespace();
        let upper = Upper {
            lower: lan,
            netns: there.as_fd(),
            name: "eth0",
            mac: None,
            sharing: Sharing::Ipvlan(IpvlanMode::L2, IpvlanFlag::Private),
        };
        add(socket, &upper).unwrap();
        let mac = socket.link("lan0").unwrap().unwrap().mac;
        let mut inside = RouteSocket::open_in(there.as_fd()).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        assert_eq!((eth0.kind.as_str(), eth0.peer, eth0.mac), ("ipvlan", Some(lan), mac));
        // Nobody else has the same address.
        let other = another_namespace();
        add(socket, &Upper { netns: other.as_fd(), ..upper }).unwrap();
        let mut beside = RouteSocket::open_in(other.as_fd()).unwrap();
        let index = beside.link("eth0").unwrap().unwrap().index;
        let address = |index| {
            let mut requests = Requests::new();
            requests.add_address(index, "eth0", Ipv4Addr::new(10, 0, 0, 2).into(), 24);
            requests
        };
        inside.execute(&address(eth0.index)).unwrap();
        let err = beside.execute(&address(index)).unwrap_err();
        assert_eq!(err.errno(), Some(Errno::ADDRINUSE), "{err}");
    });
}

#[test]
fn a_default_route_may_be_the_link_itself() {
    beside_a_lan(|socket, lan| {
        let by_link = |socket: &mut RouteSocket| {
            let routes = socket.routes().unwrap();
            routes.iter().any(|one| (one.prefix, one.index, one.gateway) == (0, Some(lan), None))
        };
        let ways: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut requests = Requests::new();
        let mut removal = Requests::new();
        for way in ways {
            requests.add_default_route(lan, way);
            removal.delete_default_route(lan, way);
        }
        socket.execute(&requests).unwrap();
        assert!(by_link(socket));
        socket.execute(&removal).unwrap();
        assert!(!by_link(socket));
        socket.execute(&removal).unwrap();
    });
}

#[test]
fn a_vlan_is_a_part_of_its_link() {
    beside_a_lan(|socket, lan| {
        if !has(socket, "Vlan", "vlan") {
            return;
        }
        let mut requests = Requests::new();
        requests.add_vlan("lan0.10", lan, 10);
        socket.execute(&requests).unwrap();
        let vlan = socket.link("lan0.10").unwrap().unwrap();
        assert_eq!((vlan.kind.as_str(), vlan.peer), ("vlan", Some(lan)));
        let twice = socket.execute(&requests).unwrap_err();
        assert_eq!(twice.errno(), Some(Errno::EXIST));
    });
}

#[test]
fn a_dummy_is_a_link_by_itself() {
    beside_a_lan(|socket, _| {
        let mut requests = Requests::new();
        requests.add_dummy("dm-0");
        match socket.execute(&requests) {
            Err(err) if err.errno() == Some(Errno::OPNOTSUPP) => {
                println!("skipped: Dummy: the kernel has no dummy");
            }
            result => {
                result.unwrap();
                assert_eq!(socket.link("dm-0").unwrap().unwrap().kind, "dummy");
            }
        }
    });
}
