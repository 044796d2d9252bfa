use std::collections::BTreeMap;
use std::net::TcpListener;

use endpoint::{Plan, Protocol};
use expect_test::{Expect, expect};
use netlink::{Requests, RouteSocket};
use network::{
    Attachment, Class, Connected, CreateRequest, Error, Networks, PoolRequest, PortRequest,
};

use crate::{Engine, attachment, id, ip, named, pool, port, with_an_engine};

#[test]
fn the_lowest_free_address_is_given_once_its_link_is_gone() {
    with_an_engine("leases", |engine| {
        let request = CreateRequest {
            pools: vec![PoolRequest {
                reserved: BTreeMap::from([("printer".into(), "10.9.0.3".into())]),
                ..pool("10.9.0.0/29", "", "10.9.0.1")
            }],
            ..named("small")
        };
        engine.create(&request).unwrap();
        for digit in 'a'..='f' {
            engine.container(&id(digit));
        }
        assert_eq!(engine.address(&id('a'), "small"), "10.9.0.2");
        assert_eq!(engine.address(&id('b'), "small"), "10.9.0.4");
        // It keeps what it has.
        assert_eq!(engine.address(&id('a'), "small"), "10.9.0.2");
        let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let now = i64::try_from(since).unwrap();
        engine.db.write(|tx| tx.delete_container(&id('a'), now)).unwrap();
        assert_eq!(engine.address(&id('c'), "small"), "10.9.0.2");
        assert_eq!(engine.address(&id('d'), "small"), "10.9.0.5");
        assert_eq!(engine.address(&id('e'), "small"), "10.9.0.6");
        let err = engine.lease(&id('f'), &[attachment("small")]).unwrap_err();
        assert!(err.to_string().starts_with("no available IPv4 addresses on this network's"));
        assert_eq!(err.class(), Class::Unavailable);
        // One that was released is free again, unless its link is still there.
        engine.db.write(|tx| tx.delete_container(&id('b'), 1)).unwrap();
        let small = engine.networks.inspect(&engine.db, "small").unwrap();
        let link = Networks::link_name(&id('b'), &small.id);
        let mut requests = Requests::new();
        requests.add_bridge(&link, [2, 0, 0, 0, 0, 1], 1500);
        let mut socket = RouteSocket::open().unwrap();
        socket.execute(&requests).unwrap();
        assert!(engine.lease(&id('f'), &[attachment("small")]).is_err());
        let mut requests = Requests::new();
        requests.delete_link(&link);
        socket.execute(&requests).unwrap();
        assert_eq!(engine.address(&id('f'), "small"), "10.9.0.4");
    });
}

#[test]
fn an_address_can_be_asked_for_where_people_made_the_network() {
    #[track_caller]
    fn check(engine: &Engine, attachment: Attachment, want: &Expect) {
        let err = engine.lease(&id('b'), &[attachment]).unwrap_err();
        want.assert_eq(&err.to_string());
    }
    with_an_engine("asked", |engine| {
        let lab =
            CreateRequest { pools: vec![pool("10.9.0.0/16", "10.9.7.0/24", "")], ..named("lab") };
        engine.create(&lab).unwrap();
        engine.container(&id('a'));
        engine.container(&id('b'));
        let asks = |network: &str, address: &str| Attachment {
            addresses: vec![ip(address)],
            ..attachment(network)
        };
        let leased = engine.lease(&id('a'), &[asks("lab", "10.9.200.1")]).unwrap();
        assert_eq!(leased[0].addresses, [(ip("10.9.200.1"), 16)]);
        check(engine, asks("lab", "10.9.200.1"), &expect!["Address already in use"]);
        check(engine, asks("lab", "10.9.0.1"), &expect!["Address already in use"]);
        check(
            engine,
            asks("lab", "10.8.0.5"),
            &expect!["no configured subnet contains IP address 10.8.0.5"],
        );
        check(engine, asks("lab", "10.9.255.255"), &expect!["Address already in use"]);
        check(
            engine,
            asks("", "172.17.0.9"),
            &expect!["user specified IP address is supported on user defined networks only"],
        );
        check(
            engine,
            Attachment { aliases: vec!["db".into()], ..attachment("bridge") },
            &expect!["network-scoped aliases are supported on user defined networks only"],
        );
        check(engine, attachment("nowhere"), &expect!["network nowhere not found"]);
        for (pair, want) in [
            (["lab", "lab"], "container is attached to network lab twice"),
            (["lab", "none"], "container cannot be attached to the none network and to others"),
        ] {
            let err = engine.lease(&id('b'), &pair.map(attachment)).unwrap_err();
            assert_eq!(err.to_string(), want);
        }
        // Nothing of what failed was kept; those who ask for none get theirs from the range.
        assert_eq!(engine.address(&id('b'), "lab"), "10.9.7.0");
    });
}

#[test]
fn ports_are_given_once() {
    with_an_engine("ports", |engine| {
        for digit in ['a', 'b'] {
            engine.container(&id(digit));
        }
        let on_bridge = [attachment("")];
        let ports_of = |container: char, ports: &[PortRequest], running: bool| {
            // Who answers may look into the database.
            let runs = |id: &str| {
                engine.db.read(|tx| tx.container(id)).unwrap().expect("only known ones");
                running
            };
            let connected = engine.connect(&id(container), &on_bridge, ports, &runs)?;
            let ports = connected.plan.ports.iter().map(|one| one.host.port());
            Ok::<_, Error>(ports.collect::<Vec<_>>())
        };
        assert_eq!(ports_of('a', &[port(Some((8080, 8080)), 80)], true).unwrap(), [8080]);
        // Again, as on a restart.
        assert_eq!(ports_of('a', &[port(Some((8080, 8080)), 80)], true).unwrap(), [8080]);
        let err = ports_of('b', &[port(Some((8080, 8080)), 80)], true).unwrap_err();
        assert_eq!(err.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        let local =
            PortRequest { host_address: Some(ip("127.0.0.1")), ..port(Some((8080, 8080)), 80) };
        let err = ports_of('b', &[local], true).unwrap_err();
        assert_eq!(err.to_string(), "Bind for 127.0.0.1:8080 failed: port is already allocated");
        // The first of a range that nobody has, programs of the host included.
        let _program = TcpListener::bind("0.0.0.0:8081").unwrap();
        assert_eq!(ports_of('b', &[port(Some((8080, 8085)), 80)], true).unwrap(), [8082]);
        let err = ports_of('b', &[port(Some((8080, 8081)), 80)], true).unwrap_err();
        assert_eq!(err.to_string(), "Bind for 0.0.0.0:8081 failed: port is already allocated");
        // One container cannot have one port twice, but each protocol has its own.
        let twice = [port(Some((90, 90)), 1), port(Some((90, 90)), 2)];
        assert!(ports_of('b', &twice, true).is_err());
        let udp = PortRequest { protocol: Protocol::Udp, ..port(Some((90, 90)), 2) };
        assert_eq!(ports_of('b', &[port(Some((90, 90)), 1), udp], true).unwrap(), [90, 90]);
        // Any.
        let chosen = ports_of('b', &[port(None, 1), port(None, 2)], true).unwrap();
        assert!(chosen.iter().all(|port| *port >= 32_768) && chosen[0] != chosen[1], "{chosen:?}");
        // Who does not run can be relieved of a port.
        assert_eq!(ports_of('b', &[port(Some((8080, 8080)), 80)], false).unwrap(), [8080]);
        assert!(ports_of('a', &[port(Some((8080, 8080)), 80)], true).is_err());
    });
}

#[test]
fn a_plan_has_everything_that_a_shim_needs() {
    with_an_engine("plan", |engine| {
        for name in ["back", "closed", "front"] {
            let mut request = CreateRequest { internal: name == "closed", ..named(name) };
            if name == "front" {
                for (option, value) in [("advertise_addr_nmsgs", "2"), ("advertise_addr_ms", "100")]
                {
                    request.options.insert(format!("com.docker.network.{option}"), value.into());
                }
            }
            engine.create(&request).unwrap();
        }
        let container = id('c');
        engine.container(&container);
        let attachments = [
            attachment("closed"),
            Attachment { aliases: vec!["API".into(), "web".into()], ..attachment("front") },
            attachment("back"),
        ];
        let ports = [PortRequest { host_address: None, ..port(Some((8080, 8080)), 80) }];
        let connected = engine.connect(&container, &attachments, &ports, &|_| true).unwrap();
        let Plan { links, ports, dns, .. } = &connected.plan;
        let mut lines: Vec<_> = links.iter().map(serde_json::to_string).collect();
        lines.extend(ports.iter().map(serde_json::to_string));
        lines.push(serde_json::to_string(dns));
        let mut text = lines.into_iter().map(Result::unwrap).collect::<Vec<_>>().join("\n");
        text = text.replace(engine.state.to_str().unwrap(), "/run/dhow");
        for network in engine.networks.list(&engine.db).unwrap() {
            let name = network.name.to_uppercase();
            text = text.replace(&network.id, &format!("ID-OF-{name}"));
            text = text.replace(&format!("dhow-{}", &network.id[..10]), &format!("BRIDGE-{name}"));
            text =
                text.replace(&format!("veccccccccc{}", &network.id[..4]), &format!("VETH-{name}"));
        }
        expect![[r#"
            {"bridge":"BRIDGE-BACK","host_name":"VETH-BACK","container_name":"eth2","mac":[2,66,172,18,0,2],"addresses":[["172.18.0.2",16]],"gateway":"172.18.0.1","gateway6":null,"mtu":1500,"isolated":false,"name":{"directory":"/run/dhow/networks/ID-OF-BACK/names","file":"CONTAINER","names":["web","cccccccccccc","www","web.back","cccccccccccc.back","www.back"]}}
            {"bridge":"BRIDGE-CLOSED","host_name":"VETH-CLOSED","container_name":"eth0","mac":[2,66,172,19,0,2],"addresses":[["172.19.0.2",16]],"gateway":null,"gateway6":null,"mtu":1500,"isolated":false,"name":{"directory":"/run/dhow/networks/ID-OF-CLOSED/names","file":"CONTAINER","names":["web","cccccccccccc","www","web.closed","cccccccccccc.closed","www.closed"]}}
            {"bridge":"BRIDGE-FRONT","host_name":"VETH-FRONT","container_name":"eth1","mac":[2,66,172,20,0,2],"addresses":[["172.20.0.2",16]],"gateway":null,"gateway6":null,"mtu":1500,"isolated":false,"name":{"directory":"/run/dhow/networks/ID-OF-FRONT/names","file":"CONTAINER","names":["web","api","cccccccccccc","www","web.front","api.front","cccccccccccc.front","www.front"]},"advertise":{"times":2,"period_ms":100}}
            {"host":"0.0.0.0:8080","container":"172.18.0.2:80","protocol":"tcp"}
            {"host":"[::]:8080","container":"172.18.0.2:80","protocol":"tcp"}
            {"directories":["/run/dhow/networks/ID-OF-CLOSED/names","/run/dhow/networks/ID-OF-FRONT/names","/run/dhow/networks/ID-OF-BACK/names"],"links":{},"upstream":["9.9.9.9:53"],"inside":false}"#]].assert_eq(&text.replace(&container, "CONTAINER"));
        assert_eq!(connected.plan.table, "dhow-cccccccccccc");
        assert_eq!(connected.listeners, connected.plan.ports);
        let networks: Vec<_> =
            connected.endpoints.iter().map(|one| one.network.name.as_str()).collect();
        assert_eq!(networks, ["closed", "front", "back"]);
    });
}

#[test]
fn an_interface_has_the_name_that_was_asked_for() {
    with_an_engine("named", |engine| {
        for name in ["back", "closed", "front"] {
            engine.create(&named(name)).unwrap();
        }
        engine.container(&id('c'));
        let of = |attachments: &[Attachment]| {
            engine.connect(&id('c'), attachments, &[], &|_| true).unwrap()
        };
        let names = |connected: &Connected| -> Vec<String> {
            connected.endpoints.iter().map(|one| one.link.container_name.clone()).collect()
        };
        let asks = Attachment { interface: Some("eth1".into()), ..attachment("back") };
        let first = of(&[asks.clone(), attachment("closed")]);
        assert_eq!(names(&first), ["eth1", "eth0"]);
        // What comes to a running container leaves the names that are there.
        let mut later = of(&[asks, attachment("closed"), attachment("front")]);
        later.keep_names(&first.plan);
        assert_eq!(names(&later), ["eth1", "eth0", "eth2"]);
        let up = Attachment { interface: Some("up".into()), ..attachment("front") };
        let mut later = of(&[attachment("closed"), up]);
        later.keep_names(&Plan::default());
        assert_eq!(names(&later), ["eth0", "up"]);
    });
}

#[test]
fn the_host_and_nothing_are_networks_too() {
    with_an_engine("none", |engine| {
        engine.container(&id('a'));
        let ports = [port(Some((8080, 8080)), 80)];
        let host = engine.connect(&id('a'), &[attachment("host")], &ports, &|_| true).unwrap();
        assert!(host.plan.shared && host.plan.links.is_empty() && host.plan.ports.is_empty());
        let none = engine.connect(&id('a'), &[attachment("none")], &ports, &|_| true).unwrap();
        assert!(!none.plan.shared && none.plan.links.is_empty() && none.plan.ports.is_empty());
        assert_eq!(none.listeners, []);
        let bridge = engine.connect(&id('a'), &[attachment("")], &[], &|_| true).unwrap();
        assert_eq!(bridge.plan.dns, None);
        assert_eq!(bridge.plan.links[0].name, None);
        assert_eq!(bridge.plan.links[0].mac, [2, 0x42, 172, 17, 0, 2]);
    });
}
