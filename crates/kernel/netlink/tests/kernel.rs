//! Against the kernel, each test in network namespaces of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod namespaces;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;

use expect_test::{Expect, expect};
use netlink::{FilterSocket, LOOPBACK_INDEX, Requests, RouteSocket, Veth, inside};
use nft::{Base, Batch, Chain, Family, Hook, Kind, Op, Policy, Rule, Table, priority};
use rustix::io::Errno;

use namespaces::{another_namespace, in_fresh_namespace};

const MAC: [u8; 6] = [2, 0x42, 172, 18, 0, 1];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn add_bridge(socket: &mut RouteSocket, name: &str) -> u32 {
    let mut requests = Requests::new();
    requests.add_bridge(name, MAC, 1500);
    socket.execute(&requests).unwrap();
    socket.link(name).unwrap().unwrap().index
}

/// What `nft list ruleset` prints, or `None` where there is no such program.
fn ruleset() -> Option<String> {
    let Ok(output) = Command::new("nft").args(["list", "ruleset"]).output() else {
        println!("skipped: there is no nft(8)");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_bridge_is_made_set_up_found_and_deleted() {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        assert_eq!(socket.link("br0").unwrap(), None);
        let index = add_bridge(&mut socket, "br0");
        let mut requests = Requests::new();
        requests.no_link_local("br0");
        requests.set_up(index, "br0");
        requests.add_address(index, "br0", ip("172.18.0.1"), 16);
        requests.add_address(index, "br0", ip("172.18.0.1"), 16);
        socket.execute(&requests).unwrap();

        let link = socket.link("br0").unwrap().unwrap();
        assert!(link.is_up());
        assert_eq!((link.kind.as_str(), link.mtu, &link.mac[..]), ("bridge", 1500, &MAC[..]));
        let addresses = socket.addresses().unwrap();
        let mine: Vec<_> = addresses.iter().filter(|one| one.index == index).collect();
        assert_eq!((mine.len(), mine[0].address, mine[0].prefix), (1, ip("172.18.0.1"), 16));
        assert!(socket.routes().unwrap().iter().any(|route| {
            (route.destination, route.prefix, route.index) == (ip("172.18.0.0"), 16, Some(index))
        }));

        let mut requests = Requests::new();
        requests.delete_link("br0");
        requests.delete_link("br0");
        socket.execute(&requests).unwrap();
        assert_eq!(socket.link("br0").unwrap(), None);
    });
}

#[test]
fn a_veth_pair_is_made_where_its_ends_belong() {
    in_fresh_namespace(|| {
        let there = another_namespace();
        let mut here = RouteSocket::open().unwrap();
        let bridge = add_bridge(&mut here, "br0");
        let mut requests = Requests::new();
        requests.set_up(bridge, "br0");
        requests.add_veth(&Veth {
            name: "vethA",
            bridge,
            peer_netns: there.as_fd(),
            peer_name: "eth0",
            peer_mac: [2, 0x42, 172, 18, 0, 2],
            mtu: 1400,
        });
        requests.no_link_local("vethA");
        requests.isolate_port("vethA");
        here.execute(&requests).unwrap();

        let mut inside = RouteSocket::open_in(there.as_fd()).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        let mut requests = Requests::new();
        requests.set_loopback_up();
        requests.add_address(eth0.index, "eth0", ip("172.18.0.2"), 16);
        requests.set_up(eth0.index, "eth0");
        requests.add_default_route(eth0.index, ip("172.18.0.1"));
        inside.execute(&requests).unwrap();

        let outer = here.link("vethA").unwrap().unwrap();
        assert!(outer.is_up() && inside.link("eth0").unwrap().unwrap().is_up());
        assert_eq!((outer.master, outer.mtu, outer.peer), (Some(bridge), 1400, Some(eth0.index)));
        assert_eq!(outer.kind, "veth");
        assert_eq!((&eth0.mac[..], eth0.mtu), (&[2, 0x42, 172, 18, 0, 2][..], 1400));
        assert!(inside.link("lo").unwrap().unwrap().is_up());
        let routes = inside.routes().unwrap();
        let default = routes.iter().find(|route| route.prefix == 0).unwrap();
        assert_eq!(default.gateway, Some(ip("172.18.0.1")));
        let addresses = here.addresses().unwrap();
        assert!(!addresses.iter().any(|one| one.index == outer.index), "{addresses:?}");
        assert_eq!(here.links().unwrap().len(), 3);
    });
}

#[test]
fn errors_name_the_change_and_the_object_with_the_kernels_words() {
    #[track_caller]
    fn check(fill: impl FnOnce(&mut Requests), errno: Errno, want: &Expect) {
        let mut requests = Requests::new();
        fill(&mut requests);
        let mut socket = RouteSocket::open().unwrap();
        let err = socket.execute(&requests).unwrap_err();
        assert_eq!(err.errno(), Some(errno));
        let text = err.to_string();
        // Older kernels have no words for all of them.
        let (change, _) = want.data().split_once(" (").unwrap_or((want.data(), ""));
        if !(text == change && release() < (6, 4)) {
            want.assert_eq(&text);
        }
        // The socket is as good as new.
        assert_eq!(socket.link("lo").unwrap().unwrap().index, LOOPBACK_INDEX);
    }
    in_fresh_namespace(|| {
        check(
            |r| r.add_address(77, "eth0", ip("172.18.0.2"), 16),
            Errno::NODEV,
            &expect!["add address 172.18.0.2/16 to eth0 (ipv4: Device not found)"],
        );
        check(
            |r| r.add_default_route(1, ip("10.1.1.1")),
            Errno::NETUNREACH,
            &expect!["add default route via 10.1.1.1 (Nexthop has invalid gateway)"],
        );
        check(
            |r| {
                r.add_bridge("br0", MAC, 1500);
                r.add_bridge("br0", MAC, 1500);
                r.add_bridge("br1", MAC, 1500);
            },
            Errno::EXIST,
            &expect!["add bridge br0"],
        );
        check(
            |r| r.add_bridge("a-name-that-is-too-long", MAC, 1500),
            Errno::RANGE,
            &expect!["add bridge a-name-that-is-too-long (Attribute failed policy validation)"],
        );
        let mut names = RouteSocket::open().unwrap().links().unwrap();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = names.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["br0", "br1", "lo"], "what follows a failure is tried all the same");
    });
}

#[test]
fn a_visit_to_another_namespace_ends_in_the_first() {
    in_fresh_namespace(|| {
        let there = another_namespace();
        let namespace = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let before = namespace();
        let other = inside(there.as_fd(), namespace).unwrap();
        assert_ne!(before, other);
        assert_eq!(namespace(), before);
        let file = File::open("/proc/self/status").unwrap();
        let err = inside(file.as_fd(), || ()).unwrap_err();
        assert_eq!(err.to_string(), "enter a network namespace");
    });
}

/// A table with everything that the encoder knows.
fn specimen(name: &str) -> Table {
    let chain = |name: &str, kind, hook, priority, rules| Chain {
        name: name.into(),
        base: Some(Base { kind, hook, priority, policy: Policy::Accept }),
        rules,
    };
    let container = "172.18.0.2:80".parse().unwrap();
    let nat = Kind::Nat;
    Table {
        family: Family::Ip,
        name: name.into(),
        chains: vec![
            Chain {
                name: "ports".into(),
                base: None,
                rules: vec![
                    Rule::new()
                        .destination(Op::IsNot, ip("127.0.0.0"), 8)
                        .tcp_port(8080)
                        .dnat(container),
                    Rule::new()
                        .destination(Op::Is, ip("10.0.0.7"), 32)
                        .udp_port(53)
                        .dnat(container),
                    Rule::new().return_(),
                ],
            },
            chain(
                "prerouting",
                nat,
                Hook::Prerouting,
                priority::DSTNAT,
                vec![Rule::new().to_this_host().jump("ports")],
            ),
            chain("output", nat, Hook::Output, priority::DSTNAT, vec![]),
            chain(
                "postrouting",
                nat,
                Hook::Postrouting,
                priority::SRCNAT,
                vec![
                    Rule::new()
                        .source(Op::Is, ip("172.18.0.9"), 12)
                        .oif(Op::IsNot, "br0")
                        .masquerade(),
                ],
            ),
            chain(
                "forward",
                Kind::Filter,
                Hook::Forward,
                priority::FILTER,
                vec![
                    Rule::new()
                        .ct_state(nft::ct_state::ESTABLISHED | nft::ct_state::RELATED)
                        .accept(),
                    Rule::new().ct_status(nft::ct_status::DNAT).accept(),
                    Rule::new().iif(Op::IsNot, "br0").oif(Op::Is, "br0").counter().drop(),
                ],
            ),
        ],
    }
}

#[test]
fn rules_print_as_they_would_be_written() {
    in_fresh_namespace(|| {
        let mut socket = FilterSocket::open().unwrap();
        socket.put(&[specimen("t")]).unwrap();
        let Some(printed) = ruleset() else { return };
        expect![[r#"
            table ip t {
            	chain ports {
            		ip daddr != 127.0.0.0/8 tcp dport 8080 dnat to 172.18.0.2:80
            		ip daddr 10.0.0.7 udp dport 53 dnat to 172.18.0.2:80
            		return
            	}

            	chain prerouting {
            		type nat hook prerouting priority dstnat; policy accept;
            		fib daddr type local jump ports
            	}

            	chain output {
            		type nat hook output priority -100; policy accept;
            	}

            	chain postrouting {
            		type nat hook postrouting priority srcnat; policy accept;
            		ip saddr 172.16.0.0/12 oifname != "br0" masquerade
            	}

            	chain forward {
            		type filter hook forward priority filter; policy accept;
            		ct state established,related accept
            		ct status dnat accept
            		iifname != "br0" oifname "br0" counter packets 0 bytes 0 drop
            	}
            }
        "#]]
        .assert_eq(&printed);

        // Doing it again changes nothing.
        socket.put(&[specimen("t")]).unwrap();
        assert_eq!(ruleset().unwrap(), printed);
    });
}

#[test]
fn rules_for_ipv6_print_as_they_would_be_written() {
    in_fresh_namespace(|| {
        let mut batch = Batch::new();
        batch.replace(&Table {
            family: Family::Ip6,
            name: "t6".into(),
            chains: vec![Chain {
                name: "forward".into(),
                base: Some(Base {
                    kind: Kind::Filter,
                    hook: Hook::Forward,
                    priority: priority::FILTER,
                    policy: Policy::Drop,
                }),
                rules: vec![
                    Rule::new().source(Op::Is, ip("fd00:1::5"), 64).accept(),
                    Rule::new().destination(Op::Is, ip("fd00:2::5"), 128).accept(),
                ],
            }],
        });
        FilterSocket::open().unwrap().execute(batch).unwrap();
        let Some(printed) = ruleset() else { return };
        expect![[r"
            table ip6 t6 {
            	chain forward {
            		type filter hook forward priority filter; policy drop;
            		ip6 saddr fd00:1::/64 accept
            		ip6 daddr fd00:2::5 accept
            	}
            }
        "]]
        .assert_eq(&printed);
    });
}

#[test]
fn thousands_of_rules_fit_into_one_batch() {
    in_fresh_namespace(|| {
        let mut table = specimen("t");
        let rule = |port| Rule::new().tcp_port(port).dnat(([172, 18, 0, 2], port).into());
        table.chains[0].rules = (1..=5000).map(rule).collect();
        FilterSocket::open().unwrap().put(&[table]).unwrap();
        let Some(printed) = ruleset() else { return };
        assert!(printed.contains("tcp dport 5000 dnat to 172.18.0.2:5000"));
    });
}

#[test]
fn tables_are_listed_by_name_and_deleting_is_idempotent() {
    in_fresh_namespace(|| {
        let mut socket = FilterSocket::open().unwrap();
        assert_eq!(socket.tables(Family::Ip).unwrap(), [""; 0]);
        let mut batch = Batch::new();
        batch.replace(&specimen("one"));
        batch.replace(&specimen("two"));
        socket.execute(batch).unwrap();
        assert_eq!(socket.tables(Family::Ip).unwrap(), ["one", "two"]);
        assert!(socket.has_chain(Family::Ip, "one", "ports").unwrap());
        assert!(!socket.has_chain(Family::Ip, "one", "port").unwrap());
        assert!(!socket.has_chain(Family::Ip, "three", "ports").unwrap());
        assert_eq!(socket.tables(Family::Ip).unwrap(), ["one", "two"]);
        for (name, outcome) in [("two", None), ("three", Some(Errno::NOENT))] {
            let mut batch = Batch::new();
            batch.rewrite(&specimen(name));
            assert_eq!(socket.execute(batch).err().and_then(|err| err.errno()), outcome, "{name}");
        }
        for _ in 0..2 {
            let mut batch = Batch::new();
            batch.delete(Family::Ip, "one");
            socket.execute(batch).unwrap();
            assert_eq!(socket.tables(Family::Ip).unwrap(), ["two"]);
        }
        socket.execute(Batch::new()).unwrap();
    });
}

#[test]
fn a_batch_that_fails_changes_nothing_and_says_where() {
    in_fresh_namespace(|| {
        let mut socket = FilterSocket::open().unwrap();
        let mut table = specimen("t");
        table.chains[1].rules.push(Rule::new().jump("nowhere"));
        let mut batch = Batch::new();
        batch.replace(&specimen("other"));
        batch.replace(&table);
        let err = socket.execute(batch).unwrap_err();
        assert_eq!(err.errno(), Some(Errno::NOENT));
        expect!["add rule to chain t prerouting"].assert_eq(&err.to_string());
        assert_eq!(socket.tables(Family::Ip).unwrap(), [""; 0]);
    });
}

/// The kernel's version.
fn release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
