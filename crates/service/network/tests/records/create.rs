use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use netlink::{Requests, RouteSocket};
use network::{Class, CreateRequest, Driver, PoolRequest};

use crate::{Engine, id, ip, named, pool, with_an_engine};

#[test]
fn three_networks_are_always_there() {
    with_an_engine("predefined", |engine| {
        engine.networks.ensure_predefined(&engine.db).unwrap();
        let all = engine.networks.list(&engine.db).unwrap();
        let names: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.driver())).collect();
        assert_eq!(
            names,
            [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)]
        );
        let bridge = engine.networks.inspect(&engine.db, "default").unwrap();
        assert_eq!((bridge.name.as_str(), bridge.bridge()), ("bridge", "dhow0"));
        assert_eq!(bridge.pools()[0].subnet.to_string(), "172.17.0.0/16");
        assert_eq!(bridge.pools()[0].gateway, Some(ip("172.17.0.1")));
        for name in ["bridge", "host", "none"] {
            let err = engine.networks.remove(&engine.db, name, &|_| false).unwrap_err();
            assert_eq!(
                err.to_string(),
                format!("{name} is a pre-defined network and cannot be removed")
            );
            assert_eq!(err.class(), Class::Denied);
        }
    });
}

#[test]
fn what_cannot_be_a_network_is_refused_in_dockers_words() {
    #[track_caller]
    fn check(engine: &Engine, request: &CreateRequest, class: Class, want: &Expect) {
        let err = engine.create(request).unwrap_err();
        want.assert_eq(&err.to_string());
        assert_eq!(err.class(), class);
    }
    let with = |pool: PoolRequest| CreateRequest { pools: vec![pool], ..named("new") };
    let option = |name: &str, value: &str| CreateRequest {
        options: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        ..named("new")
    };
    with_an_engine("refused", move |engine| {
        let lab = CreateRequest { pools: vec![pool("10.9.0.0/16", "", "")], ..named("lab") };
        engine.create(&lab).unwrap();
        let mut requests = Requests::new();
        requests.add_bridge("veth-of-another", [2, 0, 0, 0, 0, 1], 1500);
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        check(
            engine,
            &named("lab"),
            Class::Conflict,
            &expect!["network with name lab already exists"],
        );
        check(
            engine,
            &named("bridge"),
            Class::Denied,
            &expect!["operation is not permitted on predefined bridge network "],
        );
        check(
            engine,
            &named("container:x"),
            Class::Invalid,
            &expect![[
                r#"invalid network name "container:x": up to 255 bytes, no control characters, not container:..."#
            ]],
        );
        check(engine, &named(""), Class::Invalid, &expect!["invalid name: name is empty"]);
        check(
            engine,
            &CreateRequest { driver: "host".into(), ..named("new") },
            Class::Denied,
            &expect![[r#"only one instance of "host" network is allowed"#]],
        );
        check(
            engine,
            &CreateRequest { driver: "overlay".into(), ..named("new") },
            Class::Invalid,
            &expect!["network driver `overlay` is not supported: use bridge, macvlan or ipvlan"],
        );
        check(
            engine,
            &with(pool("10.9.4.0/24", "", "")),
            Class::Denied,
            &expect!["invalid pool request: Pool overlaps with other one on this address space"],
        );
        check(
            engine,
            &with(pool("10.8.0.1/16", "", "")),
            Class::Invalid,
            &expect![
                "invalid network config:\ninvalid subnet 10.8.0.1/16: it should be 10.8.0.0/16"
            ],
        );
        check(
            engine,
            &with(pool("10.8/16", "", "")),
            Class::Invalid,
            &expect![
                "invalid network config:\ninvalid subnet 10.8/16: invalid CIDR block notation"
            ],
        );
        check(
            engine,
            &with(pool("10.8.0.0/31", "", "")),
            Class::Invalid,
            &expect![
                "invalid network config:\nsubnet 10.8.0.0/31 has no room for a gateway and a container: use /30 or less"
            ],
        );
        check(
            engine,
            &with(pool("10.8.0.0/16", "", "10.7.0.1")),
            Class::Invalid,
            &expect![
                "invalid network config:\ninvalid gateway 10.7.0.1: parent subnet 10.8.0.0/16 doesn't contain this address"
            ],
        );
        check(
            engine,
            &with(pool("10.8.0.0/16", "", "x")),
            Class::Invalid,
            &expect!["invalid network config:\ninvalid gateway x: invalid address"],
        );
        check(
            engine,
            &with(pool("10.8.0.0/16", "10.7.0.0/24", "")),
            Class::Invalid,
            &expect![
                "invalid network config:\ninvalid ip-range 10.7.0.0/24: parent subnet 10.8.0.0/16 doesn't contain ip-range"
            ],
        );
        check(
            engine,
            &option("com.docker.network.driver.mtu", "9"),
            Class::Invalid,
            &expect![
                "failed to parse com.docker.network.driver.mtu value: 9 (it is a number of bytes from 68 to 65535)"
            ],
        );
        check(
            engine,
            &option("com.docker.network.advertise_addr_ms", "nonsense"),
            Class::Invalid,
            &expect![
                "failed to parse com.docker.network.advertise_addr_ms value: nonsense (value for option com.docker.network.advertise_addr_ms \"nonsense\" must be integer milliseconds)"
            ],
        );
        check(
            engine,
            &option("com.docker.network.advertise_addr_nmsgs", "4"),
            Class::Invalid,
            &expect![
                "failed to parse com.docker.network.advertise_addr_nmsgs value: 4 (com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3)"
            ],
        );
        check(
            engine,
            &option("com.docker.network.bridge.name", "../x"),
            Class::Invalid,
            &expect![
                "failed to parse com.docker.network.bridge.name value: ../x (a link's name has 1 to 15 bytes, and no / or space)"
            ],
        );
        check(
            engine,
            &option("com.docker.network.bridge.enable_icc", "yes"),
            Class::Invalid,
            &expect![[
                r#"failed to parse com.docker.network.bridge.enable_icc value: yes (strconv.ParseBool: parsing "yes": invalid syntax)"#
            ]],
        );
        check(
            engine,
            &option("com.docker.network.bridge.gateway_mode_ipv4", "x"),
            Class::Invalid,
            &expect![
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: x (unknown gateway mode x)"
            ],
        );
        check(
            engine,
            &option("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
            Class::Internal,
            &expect!["gateway mode 'isolated' can only be used for an internal network"],
        );
        check(
            engine,
            &CreateRequest { ipv4: Some(false), ..named("new") },
            Class::Invalid,
            &expect!["IPv4 or IPv6 must be enabled"],
        );
        check(
            engine,
            &option("com.docker.network.enable_ipv6", "x"),
            Class::Invalid,
            &expect![[r#"driver-opt "com.docker.network.enable_ipv6" is not a valid bool"#]],
        );
        let err = engine.networks.inspect(&engine.db, "nowhere").unwrap_err();
        assert_eq!(
            (err.to_string().as_str(), err.class()),
            ("network nowhere not found", Class::NotFound)
        );
        assert_eq!(engine.networks.list(&engine.db).unwrap().len(), 4);
    });
}

#[test]
fn a_free_range_is_chosen_beside_the_hosts_own() {
    with_an_engine("chosen", |engine| {
        let mut requests = Requests::new();
        requests.add_address(netlink::LOOPBACK_INDEX, "lo", ip("172.18.5.5"), 32);
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        for want in ["172.19.0.0/16", "172.20.0.0/16"] {
            let network = engine.create(&named(&format!("net-{}", &want[4..6]))).unwrap();
            assert_eq!(network.pools()[0].subnet.to_string(), want);
        }
        for n in 21..32 {
            engine.create(&named(&format!("net-{n}"))).unwrap();
        }
        for n in 0..16 {
            let network = engine.create(&named(&format!("small-{n}"))).unwrap();
            let want = format!("192.168.{}.0/20", n * 16);
            assert_eq!(network.pools()[0].subnet.to_string(), want);
        }
        let err = engine.create(&named("one-more")).unwrap_err();
        assert_eq!(err.to_string(), "all predefined address pools have been fully subnetted");
    });
}

#[test]
fn a_range_of_ipv6_alone_gives_no_addresses_of_it() {
    with_an_engine("idle-pool", |engine| {
        let pools = vec![pool("fd00::/64", "", "")];
        let network = engine.create(&CreateRequest { pools, ..named("new") }).unwrap();
        assert!(!network.has_ipv6() && network.pools().len() == 1);
        assert_eq!(network.idle_pools()[0].subnet.to_string(), "fd00::/64");
    });
}

#[test]
fn networks_in_use_stay() {
    with_an_engine("in-use", |engine| {
        engine.create(&named("used")).unwrap();
        engine.container(&id('a'));
        engine.address(&id('a'), "used");
        let err = engine.networks.remove(&engine.db, "used", &|_| true).unwrap_err();
        expect![[r#"error while removing network: network used has active endpoints (name:"name-of-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" id:"aaaaaaaaaaaa")"#]].assert_eq(&err.to_string());
        // Nor does it go under one who is known to be in it by somebody else.
        let err = engine
            .networks
            .remove_unless(&engine.db, "used", &|_| false, &|_| Ok(vec![("one".into(), id('b'))]))
            .unwrap_err();
        assert!(err.to_string().contains("name:\"one\" id:\"bbbbbbbbbbbb\""), "{err}");
        // A container that does not run is no reason to keep a network.
        engine.networks.remove(&engine.db, "used", &|_| false).unwrap();
        let names = engine.networks.list(&engine.db).unwrap();
        assert_eq!(names.len(), 3);
    });
}

#[test]
fn a_configuration_is_what_others_are_made_with() {
    with_an_engine("templates", |engine| {
        let options = BTreeMap::from([("com.docker.network.driver.mtu".into(), "1400".into())]);
        let labels = BTreeMap::from([("a".into(), "1".into())]);
        let template = CreateRequest {
            pools: vec![pool("10.9.0.0/16", "10.9.7.0/24", "")],
            options,
            labels,
            config_only: true,
            ..named("template")
        };
        let made = engine.create(&template).unwrap();
        assert!(made.is_configuration() && made.driver() == Driver::Null);
        assert_eq!(made.configured_pools()[0].subnet, "10.9.0.0/16");
        let from =
            |name: &str| CreateRequest { config_from: Some("template".into()), ..named(name) };
        let lab = engine.create(&from("lab")).unwrap();
        assert_eq!((lab.driver(), lab.configured_by()), (Driver::Bridge, Some("template")));
        assert_eq!(lab.pools()[0].range.unwrap().to_string(), "10.9.7.0/24");
        assert_eq!((lab.mtu(), lab.labels()["a"].as_str()), (1400, "1"));
        // It takes no range itself, and a second one takes the same.
        let err = engine.create(&from("second")).unwrap_err();
        assert!(err.to_string().contains("overlaps"), "{err}");
        let said = |request: CreateRequest| engine.create(&request).unwrap_err().to_string();
        let wrong = CreateRequest { ipv6: Some(true), ..from("new") };
        assert!(said(wrong).starts_with("user specified configurations are not supported"));
        let wrong = CreateRequest { options: template.options.clone(), ..from("new") };
        assert!(said(wrong).starts_with("network driver options are not supported"));
        let wrong = CreateRequest { internal: true, ..template.clone() };
        assert!(
            said(CreateRequest { name: "new".into(), ..wrong }).contains("Network operator fields")
        );
        let wrong = CreateRequest { config_only: true, ..from("new") };
        assert!(said(wrong).starts_with("a configuration network cannot depend"));
        let wrong = CreateRequest { config_from: Some("lab".into()), ..named("new") };
        assert_eq!(said(wrong), "configuration network \"lab\" does not exist");
        let remove = |name: &str| engine.networks.remove(&engine.db, name, &|_| false);
        let err = remove("template").unwrap_err();
        assert!(err.to_string().ends_with("configuration network \"template\" is in use"), "{err}");
        assert_eq!(err.class(), Class::Denied);
        remove("lab").unwrap();
        remove("template").unwrap();
    });
}
