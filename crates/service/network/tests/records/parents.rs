//! Networks that share a link of the host's: `macvlan` and `ipvlan`.
use std::fs::File;
use std::os::fd::AsFd;

use endpoint::Kind;
use expect_test::{Expect, expect};
use netlink::{Requests, RouteSocket, Veth};
use network::{Attachment, Class, CreateRequest, Defaults, Driver, Error, PoolRequest};

use crate::{Engine, attachment, id, ip, named, pool, port, with_an_engine};

/// Makes links, two at a time, the ends of a cable.
fn add_links(names: [&str; 2]) {
    let mut socket = RouteSocket::open().unwrap();
    let mut requests = Requests::new();
    requests.add_bridge("br0", [2, 0x43, 0, 0, 0, 1], 1500);
    let _there_already = socket.execute(&requests);
    let bridge = socket.link("br0").unwrap().unwrap().index;
    let here = File::open("/proc/thread-self/ns/net").unwrap();
    let mut requests = Requests::new();
    requests.add_veth(&Veth {
        name: names[0],
        bridge,
        peer_netns: here.as_fd(),
        peer_name: names[1],
        peer_mac: [2, 0x43, 0, 0, 0, 2],
        mtu: 1500,
    });
    socket.execute(&requests).unwrap();
}

/// Runs a test where the kernel has the driver, and there are links `lan0` and `lan0.10`.
fn with_a_lan(name: &'static str, driver: Driver, test: impl FnOnce(&Engine) + Send + 'static) {
    with_an_engine(name, move |engine| {
        if !RouteSocket::open().unwrap().has_kind(driver.name()).unwrap() {
            let called = if driver == Driver::Ipvlan { "Ipvlan" } else { "Macvlan" };
            println!("skipped: {called}: the kernel has no {}", driver.name());
            let err = engine.create(&of(driver, "net", &[("parent", "x")])).unwrap_err();
            assert_eq!(err.to_string(), format!("this kernel has no driver {}", driver.name()));
            return;
        }
        add_links(["port0", "lan0"]);
        add_links(["port1", "lan0.10"]);
        test(engine);
    });
}

fn of(driver: Driver, name: &str, options: &[(&str, &str)]) -> CreateRequest {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CreateRequest { driver: driver.name().into(), options: options.collect(), ..named(name) }
}

fn exists(link: &str) -> bool {
    RouteSocket::open().unwrap().link(link).unwrap().is_some()
}

fn refused(engine: &Engine, request: &CreateRequest, want: &Expect) {
    let err = engine.create(request).unwrap_err();
    want.assert_eq(&err.to_string());
    assert_eq!(err.class(), Class::Internal, "as Docker's, which are of no class");
    assert!(engine.networks.inspect(&engine.db, &request.name).is_err());
}

#[test]
fn a_parent_that_is_there_is_shared_and_stays() {
    with_a_lan("macvlan-parent", Driver::Macvlan, |engine| {
        let request = CreateRequest {
            pools: vec![pool("10.9.0.0/24", "", "")],
            ..of(Driver::Macvlan, "lan", &[("parent", "lan0")])
        };
        let lan = engine.create(&request).unwrap();
        assert_eq!((lan.driver(), lan.parent(), lan.bridge()), (Driver::Macvlan, Some("lan0"), ""));
        assert_eq!(lan.pools()[0].gateway, Some(ip("10.9.0.1")));
        // Another one on the same parent, with a name that could be a VLAN's; and none has rules.
        engine.create(&of(Driver::Macvlan, "more", &[("parent", "lan0")])).unwrap();
        engine.create(&of(Driver::Macvlan, "vlan", &[("parent", "lan0.10")])).unwrap();
        for name in ["lan", "more", "vlan"] {
            engine.networks.remove(&engine.db, name, &|_| false).unwrap();
        }
        assert!(exists("lan0") && exists("lan0.10"));
        let tables = netlink::FilterSocket::open().unwrap().tables(nft::Family::Ip).unwrap();
        assert!(tables.iter().all(|table| !table.contains("net-")), "{tables:?}");
    });
}

#[test]
fn an_administrator_may_name_the_parent() {
    with_a_lan("macvlan-defaults", Driver::Macvlan, |engine| {
        let options = [("parent".to_owned(), "lan0".to_owned())];
        let defaults = Defaults {
            options: [("macvlan".to_owned(), options.into())].into(),
            ..Defaults::default()
        };
        let networks = engine.networks.clone().with(defaults);
        let made = networks.create(&engine.db, &of(Driver::Macvlan, "lan", &[])).unwrap();
        assert_eq!(made.parent(), Some("lan0"));
        let bridge = networks.create(&engine.db, &named("plain")).unwrap();
        assert!(bridge.options().is_empty());
    });
}

#[test]
fn what_is_no_parent_is_refused_in_dockers_words() {
    with_a_lan("macvlan-words", Driver::Macvlan, |engine| {
        let on = |parent: &str| of(Driver::Macvlan, "net", &[("parent", parent)]);
        for (parent, want) in [
            ("lo", expect!["loopback interface is not a valid macvlan parent link"]),
            ("lan1", expect!["invalid subinterface vlan name lan1, example formatting is eth0.10"]),
            // The kernel takes it for lan0.
            (
                "lan0\0",
                expect!["invalid subinterface vlan name lan0\0, example formatting is eth0.10"],
            ),
            ("lan1.10", expect!["-o parent interface was not found on the host: lan1"]),
            (
                "lan0.x",
                expect!["unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"],
            ),
            (
                "a-name-of-more-than-15-bytes",
                expect![
                    "invalid subinterface vlan name a-name-of-more-than-15-bytes, example formatting is eth0.10"
                ],
            ),
            ("lan0.4095", expect!["vlan id must be between 1-4094, received: 4095"]),
            (
                "lan0.1.2",
                expect![
                    "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, \
                     instead received lan0.1.2"
                ],
            ),
        ] {
            refused(engine, &on(parent), &want);
        }
        refused(
            engine,
            &of(Driver::Macvlan, "net", &[("parent", "lan0"), ("macvlan_mode", "l2")]),
            &expect![
                "requested macvlan mode 'l2' is not valid, 'bridge' mode is the macvlan driver default"
            ],
        );
    });
}

#[test]
fn modes_of_ipvlan_are_dockers() {
    with_a_lan("ipvlan-words", Driver::Ipvlan, |engine| {
        let with = |option: (&str, &str)| of(Driver::Ipvlan, "net", &[("parent", "lan0"), option]);
        refused(
            engine,
            &with(("ipvlan_mode", "bridge")),
            &expect![
                "requested ipvlan mode 'bridge' is not valid, 'l2' mode is the ipvlan driver default"
            ],
        );
        refused(
            engine,
            &with(("ipvlan_flag", "l2")),
            &expect![
                "requested ipvlan flag 'l2' is not valid, 'bridge' is the ipvlan driver default"
            ],
        );
        // One parent has one such network.
        let first = engine.create(&of(Driver::Ipvlan, "one", &[("parent", "lan0")])).unwrap();
        let err = engine.create(&of(Driver::Ipvlan, "two", &[("parent", "lan0")])).unwrap_err();
        let want = format!("network di-{} is already using parent interface lan0", &first.id[..12]);
        assert_eq!(err.to_string(), want);
        // The hardware address is the parent's.
        engine.container(&id('a'));
        let asks = Attachment { mac: Some([2, 0, 0, 0, 0, 1]), ..attachment("one") };
        let err = engine.connect(&id('a'), &[asks], &[], &|_| true).unwrap_err();
        assert_eq!(
            err.to_string(),
            "ipvlan interfaces do not support custom mac address assignment"
        );
        let connected = engine.connect(&id('a'), &[attachment("one")], &[], &|_| true).unwrap();
        assert_eq!(connected.endpoints[0].link.hardware_address(), None);
    });
}

#[test]
fn a_network_may_have_its_parent_for_itself() {
    with_a_lan("macvlan-passthru", Driver::Macvlan, |engine| {
        let alone = [("parent", "lan0"), ("macvlan_mode", "passthru")];
        let first = engine.create(&of(Driver::Macvlan, "first", &alone)).unwrap();
        let said = |request: &CreateRequest| engine.create(request).unwrap_err().to_string();
        let beside = of(Driver::Macvlan, "second", &[("parent", "lan0")]);
        assert_eq!(
            said(&beside),
            format!(
                "macvlan network {} is already using parent interface lan0 in mode passthru",
                first.id
            )
        );
        engine.networks.remove(&engine.db, "first", &|_| false).unwrap();
        let first = engine.create(&beside).unwrap();
        assert_eq!(
            said(&of(Driver::Macvlan, "first", &alone)),
            format!(
                "cannot use mode passthru, macvlan network {} is already using parent interface lan0",
                first.id
            )
        );
        // Elsewhere it can.
        let elsewhere = [("parent", "lan0.10"), ("macvlan_mode", "passthru")];
        engine.create(&of(Driver::Macvlan, "first", &elsewhere)).unwrap();
    });
}

#[test]
fn a_container_has_one_address_of_each_family() {
    with_a_lan("macvlan-leases", Driver::Macvlan, |engine| {
        let request = CreateRequest {
            pools: vec![
                PoolRequest {
                    reserved: [("router".to_owned(), "10.9.0.2".to_owned())].into(),
                    ..pool("10.9.0.0/29", "10.9.0.0/30", "10.9.0.1")
                },
                pool("10.9.1.0/24", "", "10.9.1.254"),
                pool("fd00:9::/64", "", ""),
                pool("fd00:9:1::/64", "", "fd00:9:1::254"),
            ],
            ipv6: Some(true),
            ..of(Driver::Macvlan, "lan", &[("parent", "lan0")])
        };
        engine.create(&request).unwrap();
        for digit in 'a'..='d' {
            engine.container(&id(digit));
        }
        let show = |digit: char, addresses: &[&str]| {
            let addresses = addresses.iter().map(|one| ip(one)).collect();
            let asks = Attachment { addresses, ..attachment("lan") };
            let connected = engine.connect(&id(digit), &[asks], &[], &|_| true)?;
            let link = &connected.endpoints[0].link;
            let all: Vec<_> =
                link.addresses.iter().map(|(ip, bits)| format!("{ip}/{bits}")).collect();
            let ways = [link.gateway, link.gateway6].map(|way| way.unwrap().to_string());
            Ok::<_, Error>(format!("{} via {}", all.join(" "), ways.join(" ")))
        };
        // The first range has one left; then it is the second's turn, with a gateway of its own.
        let first = "10.9.0.3/29 fd00:9::2/64 via 10.9.0.1 fd00:9::1";
        assert_eq!(show('a', &[]).unwrap(), first);
        let second = "10.9.1.1/24 fd00:9::3/64 via 10.9.1.254 fd00:9::1";
        assert_eq!(show('b', &[]).unwrap(), second);
        // One may be asked for, of either.
        assert_eq!(
            show('c', &["10.9.1.20", "fd00:9:1::20"]).unwrap(),
            "10.9.1.20/24 fd00:9:1::20/64 via 10.9.1.254 fd00:9:1::254"
        );
        assert_eq!(show('d', &["10.9.0.3"]).unwrap_err().to_string(), "Address already in use");
        assert_eq!(show('d', &["10.9.0.2"]).unwrap_err().to_string(), "Address already in use");
        assert_eq!(
            show('d', &["10.9.2.1"]).unwrap_err().to_string(),
            "no configured subnet contains IP address 10.9.2.1"
        );
        // Both keep what they have.
        assert_eq!(
            (show('a', &[]).unwrap(), show('b', &[]).unwrap()),
            (first.into(), second.into())
        );
    });
}

#[test]
fn hardware_addresses_are_of_one_container_alone() {
    with_a_lan("macvlan-mac", Driver::Macvlan, |engine| {
        for (name, ipv4, ipv6) in
            [("four", true, false), ("six", false, true), ("bare", false, false)]
        {
            let ip = (Some(ipv4), Some(ipv6));
            let request = of(Driver::Macvlan, name, &[("parent", "lan0")]);
            engine.create(&CreateRequest { ipv4: ip.0, ipv6: ip.1, ..request }).unwrap();
        }
        let link = |digit: char, network: &str| {
            let one = [attachment(network)];
            let connected = engine.connect(&id(digit), &one, &[], &|_| true).unwrap();
            connected.plan.links[0].clone()
        };
        for digit in ['a', 'b'] {
            engine.container(&id(digit));
        }
        let four = link('a', "four");
        let std::net::IpAddr::V4(address) = four.addresses[0].0 else { panic!("{four:?}") };
        assert_eq!(four.mac[2..], address.octets());
        // Without IPv4 they follow from the container and the network.
        for network in ["six", "bare"] {
            let [one, two] = ['a', 'b'].map(|digit| link(digit, network));
            assert!(one.mac != two.mac && one.mac == link('a', network).mac);
            assert_eq!(one.mac[0], 2);
        }
        assert_eq!(link('a', "bare").addresses, []);
    });
}

#[test]
fn ports_are_not_published_and_the_way_out_is_the_parents() {
    with_a_lan("macvlan-plan", Driver::Macvlan, |engine| {
        let request = CreateRequest {
            pools: vec![pool("10.9.0.0/24", "", "")],
            ..of(Driver::Macvlan, "lan", &[("parent", "lan0"), ("macvlan_mode", "private")])
        };
        engine.create(&request).unwrap();
        engine.create(&named("zoo")).unwrap();
        let container = id('c');
        engine.container(&container);
        let ports = [port(Some((8080, 8080)), 80)];
        let both = [attachment("lan"), attachment("zoo")];
        let connected = engine.connect(&container, &both, &ports, &|_| true).unwrap();
        assert_eq!(connected.plan.ports, []);
        let link = &connected.plan.links[0];
        let want = Kind::Macvlan(endpoint::MacvlanMode::Private);
        assert_eq!(
            (link.kind, link.bridge.as_str(), link.gateway),
            (want, "lan0", Some(ip("10.9.0.1")))
        );
        assert_eq!(connected.plan.links[1].gateway, None);
        assert_eq!(connected.plan.dns.unwrap().upstream.len(), 1);
        // By the other network they are, where that is the way out.
        let first = Attachment { gateway_priority: 1, ..attachment("zoo") };
        let both = [attachment("lan"), first];
        let connected = engine.connect(&container, &both, &ports, &|_| true).unwrap();
        assert_eq!(connected.plan.ports.len(), 1);
    });
}

#[test]
fn of_an_internal_network_nothing_leads_out() {
    with_a_lan("macvlan-internal", Driver::Macvlan, |engine| {
        let request = CreateRequest {
            internal: true,
            pools: vec![pool("10.9.0.0/31", "", "")],
            ..of(Driver::Macvlan, "lan", &[("parent", "lan0")])
        };
        let lan = engine.create(&request).unwrap();
        assert_eq!(lan.pools()[0].gateway, None, "nobody is asked to pass anything on");
        engine.container(&id('a'));
        let one = [attachment("lan")];
        let connected = engine.connect(&id('a'), &one, &[], &|_| true).unwrap();
        assert_eq!(
            (connected.plan.links[0].gateway, &*connected.endpoints[0].gateways),
            (None, &[][..])
        );
        assert_eq!(connected.plan.dns.unwrap().upstream, []);
    });
}

#[test]
fn an_ipvlan_of_layer_3_has_no_gateway_and_leads_out() {
    with_a_lan("ipvlan-l3", Driver::Ipvlan, |engine| {
        let request = CreateRequest {
            pools: vec![pool("10.9.0.0/31", "", "")],
            ..of(Driver::Ipvlan, "lan", &[("parent", "lan0"), ("ipvlan_mode", "l3")])
        };
        let lan = engine.create(&request).unwrap();
        assert_eq!(lan.pools()[0].gateway, None);
        engine.container(&id('a'));
        let one = [attachment("lan")];
        let connected = engine.connect(&id('a'), &one, &[], &|_| true).unwrap();
        let endpoint = &connected.endpoints[0];
        assert_eq!((endpoint.link.gateway, &*endpoint.gateways), (Some(ip("0.0.0.0")), &[][..]));
        assert_eq!(connected.plan.dns.unwrap().upstream.len(), 1);
    });
}

#[test]
fn a_network_without_a_parent_has_a_dummy_while_it_is_there() {
    for (driver, prefix) in [(Driver::Macvlan, "dm"), (Driver::Ipvlan, "di")] {
        with_a_lan("dummies", driver, move |engine| {
            let request = of(driver, "inside", &[]);
            let inside = match engine.create(&request) {
                Err(Error::NoKernelDriver { driver: "dummy" }) => {
                    println!("skipped: Dummy: the kernel has no dummy");
                    assert!(engine.networks.inspect(&engine.db, "inside").is_err());
                    return;
                }
                made => made.unwrap(),
            };
            let dummy = format!("{prefix}-{}", &inside.id[..12]);
            assert_eq!((inside.parent(), inside.is_internal()), (Some(dummy.as_str()), false));
            assert_eq!(inside.pools()[0].gateway, None);
            let link = || RouteSocket::open().unwrap().link(&dummy).unwrap();
            assert!(link().is_some_and(|link| link.is_up() && link.kind == "dummy"));
            // As after a reboot.
            let mut requests = Requests::new();
            requests.delete_link(&dummy);
            RouteSocket::open().unwrap().execute(&requests).unwrap();
            engine.networks.ensure(&inside).unwrap();
            assert!(link().is_some());
            engine.container(&id('a'));
            let one = [attachment("inside")];
            let connected = engine.connect(&id('a'), &one, &[], &|_| true).unwrap();
            assert_eq!(connected.plan.links[0].gateway, None);
            assert_eq!(connected.plan.dns.unwrap().upstream, []);
            // It goes with the last network that has it, if another one names it.
            if driver == Driver::Macvlan {
                engine.create(&of(driver, "beside", &[("parent", dummy.as_str())])).unwrap();
            }
            engine.networks.remove(&engine.db, "inside", &|_| false).unwrap();
            if driver == Driver::Macvlan {
                assert!(link().is_some());
                engine.networks.remove(&engine.db, "beside", &|_| false).unwrap();
            }
            assert_eq!(link(), None);
        });
    }
}

#[test]
fn a_vlan_is_made_and_goes_with_the_last_network_that_has_it() {
    with_a_lan("vlans", Driver::Macvlan, |engine| {
        let mut requests = Requests::new();
        let mut socket = RouteSocket::open().unwrap();
        let index = socket.link("lan0").unwrap().unwrap().index;
        let on = |name: &str| of(Driver::Macvlan, name, &[("parent", "lan0.20")]);
        match engine.create(&on("one")) {
            Err(Error::NoKernelDriver { driver: "8021q" }) => {
                println!("skipped: Vlan: the kernel has no 8021q");
                return;
            }
            Err(err) => assert!(err.to_string().starts_with("failed to enable lan0.20"), "{err}"),
            Ok(_) => panic!("lan0 is down"),
        }
        assert!(!exists("lan0.20"), "what cannot be used is not there");
        requests.set_up(index, "lan0");
        socket.execute(&requests).unwrap();
        let remove = |name: &str| engine.networks.remove(&engine.db, name, &|_| false).unwrap();
        for (first, last) in [("one", "two"), ("two", "one")] {
            engine.create(&on("one")).unwrap();
            engine.create(&on("two")).unwrap();
            assert_eq!(socket.link("lan0.20").unwrap().unwrap().kind, "vlan");
            remove(first);
            assert!(exists("lan0.20"));
            remove(last);
            assert!(!exists("lan0.20") && exists("lan0"));
        }
    });
}

#[test]
fn a_parent_that_is_gone_is_missed_when_it_is_needed() {
    with_a_lan("macvlan-gone", Driver::Macvlan, |engine| {
        let lan = engine.create(&of(Driver::Macvlan, "lan", &[("parent", "lan0")])).unwrap();
        let mut requests = Requests::new();
        requests.delete_link("lan0");
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let err = engine.networks.ensure(&lan).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the requested parent interface lan0 was not found on the Docker host"
        );
        engine.networks.remove(&engine.db, "lan", &|_| false).unwrap();
    });
}
