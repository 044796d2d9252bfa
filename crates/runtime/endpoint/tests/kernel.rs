//! Against the kernel, each test in network namespaces of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod namespaces;

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use endpoint::{
    Advertise, Link, Name, Neighbours, Plan, Protocol, PublishedPort, apply, change, remove_links,
    undo,
};
use expect_test::expect;
use netlink::{FilterSocket, Requests, RouteSocket, inside};
use nft::Family;

use namespaces::{in_fresh_namespace, new_namespace};

/// Runs `test` on a thread in a fresh network namespace, with a bridge `br0` and a directory.
fn on_a_host(name: &'static str, test: impl FnOnce(&Path) + Send + 'static) {
    in_fresh_namespace(move || {
        let mut requests = Requests::new();
        requests.add_bridge("br0", [2, 0x42, 172, 18, 0, 1], 1500);
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let directory = std::env::temp_dir().join(format!("dhow-{name}-{}", std::process::id()));
        test(&directory);
        fs::remove_dir_all(&directory).unwrap();
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(directory: &Path, addresses: &[(IpAddr, u8)]) -> Plan {
    let container = |port: u16| (addresses[0].0, port).into();
    Plan {
        shared: false,
        guards: Vec::new(),
        neighbours: None,
        links: vec![Link {
            kind: endpoint::Kind::Veth,
            bridge: "br0".into(),
            host_name: "vethA".into(),
            container_name: "eth0".into(),
            mac: [2, 0x42, 172, 18, 0, 2],
            addresses: addresses.to_vec(),
            gateway: Some(ip("172.18.0.1")),
            gateway6: None,
            mtu: 1500,
            isolated: false,
            parameters: Vec::new(),
            advertise: Advertise::default(),
            name: Some(Name {
                directory: directory.join("names"),
                file: "c1".into(),
                names: vec!["web".into(), "0123456789ab".into()],
            }),
        }],
        ports: vec![
            PublishedPort {
                host: "0.0.0.0:8080".parse().unwrap(),
                container: container(80),
                protocol: Protocol::Tcp,
            },
            PublishedPort {
                host: "10.0.0.7:53".parse().unwrap(),
                container: container(53),
                protocol: Protocol::Udp,
            },
            PublishedPort {
                host: "127.0.0.1:81".parse().unwrap(),
                container: container(81),
                protocol: Protocol::Tcp,
            },
            PublishedPort {
                host: "[::]:8080".parse().unwrap(),
                container: container(80),
                protocol: Protocol::Tcp,
            },
        ],
        table: "dhow-c1".into(),
        dns: None,
    }
}

#[test]
fn a_plan_is_made_and_unmade() {
    on_a_host("endpoint-made", |directory| {
        let netns = new_namespace();
        let plan = plan(directory, &[(ip("172.18.0.2"), 16)]);
        apply(&plan, netns.as_fd()).unwrap();

        let mut socket = RouteSocket::open_in(netns.as_fd()).unwrap();
        let eth0 = socket.link("eth0").unwrap().unwrap();
        assert!(eth0.is_up() && socket.link("lo").unwrap().unwrap().is_up());
        let addresses = socket.addresses().unwrap();
        let mine: Vec<_> = addresses.iter().filter(|one| one.index == eth0.index).collect();
        assert_eq!((mine.len(), mine[0].address), (1, ip("172.18.0.2")), "{mine:?}");
        let routes = socket.routes().unwrap();
        assert!(routes.iter().any(|one| one.prefix == 0 && one.gateway == Some(ip("172.18.0.1"))));
        let file = directory.join("names/c1");
        expect![[r"
            web 172.18.0.2
            0123456789ab 172.18.0.2
        "]]
        .assert_eq(&fs::read_to_string(&file).unwrap());
        print_rules();

        // The host's end has no address, whatever the host's defaults.
        let mut host = RouteSocket::open().unwrap();
        let outer = host.link("vethA").unwrap().unwrap();
        assert!(!host.addresses().unwrap().iter().any(|one| one.index == outer.index));

        for _ in 0..2 {
            drop(undo(&plan).unwrap());
            remove_links(&plan).unwrap();
            assert!(!file.exists());
            assert_eq!(FilterSocket::open().unwrap().tables(Family::Ip).unwrap(), [""; 0]);
            assert_eq!(host.link("vethA").unwrap(), None);
        }
    });
}

fn print_rules() {
    let Ok(output) = Command::new("nft").args(["list", "ruleset"]).output() else {
        println!("skipped: there is no nft(8)");
        return;
    };
    expect![[r#"
        table ip dhow-c1 {
        	chain ports {
        		ip daddr != 127.0.0.0/8 tcp dport 8080 dnat to 172.18.0.2:80
        		ip daddr 10.0.0.7 udp dport 53 dnat to 172.18.0.2:53
        	}

        	chain prerouting {
        		type nat hook prerouting priority dstnat; policy accept;
        		iifname "br0" return
        		fib daddr type local jump ports
        	}

        	chain output {
        		type nat hook output priority -100; policy accept;
        		fib daddr type local jump ports
        	}
        }
    "#]]
    .assert_eq(&String::from_utf8(output.stdout).unwrap());
}

#[test]
fn neighbours_that_are_linked_are_known_by_marks() {
    on_a_host("endpoint-neighbours", |directory| {
        let plan = Plan {
            ports: Vec::new(),
            neighbours: Some(Neighbours {
                bridge: "br0".into(),
                address: ip("172.18.0.2"),
                mark: Neighbours::mark_of("0a1b2c3d4e"),
                ports: vec![(Protocol::Tcp, 80), (Protocol::Udp, 53)],
                linked: vec![Neighbours::mark_of(&"5".repeat(64))],
            }),
            ..plan(directory, &[(ip("172.18.0.2"), 16)])
        };
        apply(&plan, new_namespace().as_fd()).unwrap();
        if let Ok(output) = Command::new("nft").args(["list", "ruleset"]).output() {
            expect![[r#"
                table ip dhow-c1 {
                	chain exposed {
                		type filter hook forward priority filter - 2; policy accept;
                		iifname "br0" oifname "br0" ip daddr 172.18.0.2 tcp dport 80 meta mark set 0x0a1b2c3d
                		iifname "br0" oifname "br0" ip daddr 172.18.0.2 udp dport 53 meta mark set 0x0a1b2c3d
                	}

                	chain linked {
                		type filter hook forward priority filter - 1; policy accept;
                		iifname "br0" oifname "br0" ip saddr 172.18.0.2 meta mark 0x55555555 meta mark set 0x64686f77
                	}
                }
            "#]]
            .assert_eq(&String::from_utf8(output.stdout).unwrap());
        }
        drop(undo(&plan).unwrap());
        assert_eq!(FilterSocket::open().unwrap().tables(Family::Ip).unwrap(), [""; 0]);
        // One that would mean something else, and no mark at all.
        assert_eq!(Neighbours::mark_of("64686f77"), 1);
        assert_eq!(Neighbours::mark_of("00000000"), 1);
    });
}

#[test]
fn a_plan_becomes_another() {
    on_a_host("endpoint-change", |directory| {
        let mut requests = Requests::new();
        requests.add_bridge("br1", [2, 0x42, 172, 19, 0, 1], 1500);
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let netns = new_namespace();
        let one = plan(directory, &[(ip("172.18.0.2"), 16)]);
        apply(&one, netns.as_fd()).unwrap();
        // A second link takes the default route, with IPv6, which the first has not; a port goes.
        let mut two = one.clone();
        two.links[0].gateway = None;
        two.links.push(Link {
            bridge: "br1".into(),
            host_name: "vethB".into(),
            container_name: "eth1".into(),
            mac: [2, 0x42, 172, 19, 0, 2],
            addresses: vec![(ip("172.19.0.2"), 16), (ip("fd00:19::2"), 64)],
            gateway: Some(ip("172.19.0.1")),
            gateway6: Some(ip("fd00:19::1")),
            name: None,
            ..one.links[0].clone()
        });
        two.ports.truncate(1);
        let seen = || {
            let mut socket = RouteSocket::open_in(netns.as_fd()).unwrap();
            let links = socket.links().unwrap();
            let name = |index| links.iter().find(|one| one.index == index).unwrap().name.clone();
            let addresses = socket.addresses().unwrap();
            let addresses = addresses.iter().filter(|one| one.is_global());
            let mut lines: Vec<_> =
                addresses.map(|one| format!("{} {}", name(one.index), one.address)).collect();
            let routes = socket.routes().unwrap();
            lines.extend(routes.iter().filter_map(|one| Some(format!("via {}", one.gateway?))));
            lines.sort();
            let mut tables = FilterSocket::open().unwrap();
            lines.extend(tables.tables(Family::Ip).unwrap());
            lines.join("\n")
        };
        let first = seen();
        expect![[r"
            eth0 172.18.0.2
            via 172.18.0.1
            dhow-c1"]]
        .assert_eq(&first);
        change(&one, &two, netns.as_fd()).unwrap();
        expect![[r"
            eth0 172.18.0.2
            eth1 172.19.0.2
            eth1 fd00:19::2
            via 172.19.0.1
            dhow-c1"]]
        .assert_eq(&seen());
        // Once more, as after an error that came when all was done.
        change(&one, &two, netns.as_fd()).unwrap();
        change(&two, &one, netns.as_fd()).unwrap();
        assert_eq!(seen(), first);
        let none = Plan { links: Vec::new(), ports: Vec::new(), ..one.clone() };
        change(&one, &none, netns.as_fd()).unwrap();
        assert_eq!(seen(), "");
        assert!(!directory.join("names/c1").exists());
        change(&none, &two, netns.as_fd()).unwrap();
        assert!(seen().contains("eth1 fd00:19::2") && directory.join("names/c1").exists());
    });
}

#[test]
fn a_container_that_starts_again_replaces_its_old_link() {
    on_a_host("endpoint-again", |directory| {
        let plan = plan(directory, &[(ip("172.18.0.2"), 16)]);
        let old = new_namespace();
        apply(&plan, old.as_fd()).unwrap();
        let new = new_namespace();
        apply(&plan, new.as_fd()).unwrap();
        assert_eq!(RouteSocket::open_in(old.as_fd()).unwrap().link("eth0").unwrap(), None);
        assert!(RouteSocket::open_in(new.as_fd()).unwrap().link("eth0").unwrap().is_some());
    });
}

#[test]
fn ipv6_is_off_unless_it_was_asked_for() {
    on_a_host("endpoint-ipv6", |directory| {
        let setting = |netns: &File, file: &str| {
            let path = PathBuf::from("/proc/sys/net/ipv6/conf").join(file);
            let read = || fs::read_to_string(path).unwrap().trim().to_owned();
            inside(netns.as_fd(), read).unwrap()
        };
        let without = new_namespace();
        apply(&plan(directory, &[(ip("172.18.0.2"), 16)]), without.as_fd()).unwrap();
        assert_eq!(setting(&without, "eth0/disable_ipv6"), "1");

        let with = new_namespace();
        let addresses = [(ip("172.18.0.2"), 16), (ip("fd00:18::2"), 64)];
        apply(&plan(directory, &addresses), with.as_fd()).unwrap();
        assert_eq!(setting(&with, "eth0/disable_ipv6"), "0");
        assert_eq!(setting(&with, "eth0/accept_ra"), "0");
        let found = RouteSocket::open_in(with.as_fd()).unwrap().addresses().unwrap();
        assert!(found.iter().any(|one| one.address == ip("fd00:18::2")), "{found:?}");
    });
}

#[test]
fn without_links_there_is_only_loopback() {
    on_a_host("endpoint-none", |directory| {
        fs::create_dir(directory).unwrap();
        let netns = new_namespace();
        apply(&Plan::default(), netns.as_fd()).unwrap();
        let links = RouteSocket::open_in(netns.as_fd()).unwrap().links().unwrap();
        assert_eq!(links.len(), 1);
        assert!(links[0].is_up());

        let shared = new_namespace();
        apply(&Plan { shared: true, ..Plan::default() }, shared.as_fd()).unwrap();
        assert!(!RouteSocket::open_in(shared.as_fd()).unwrap().links().unwrap()[0].is_up());
    });
}

#[test]
fn a_missing_bridge_is_named() {
    on_a_host("endpoint-bridge", |directory| {
        fs::create_dir(directory).unwrap();
        let mut plan = plan(directory, &[(ip("172.18.0.2"), 16)]);
        plan.links[0].bridge = "br1".into();
        let err = apply(&plan, new_namespace().as_fd()).unwrap_err();
        assert_eq!(err.to_string(), "no such bridge: br1");
        drop(undo(&plan).unwrap());
        remove_links(&plan).unwrap();
    });
}

#[test]
fn a_name_that_is_taken_is_named() {
    on_a_host("endpoint-taken", |directory| {
        let netns = new_namespace();
        let one = plan(directory, &[(ip("172.18.0.2"), 16)]);
        apply(&one, netns.as_fd()).unwrap();
        let mut other = one.clone();
        other.links[0].host_name = "vethB".into();
        let err = apply(&other, netns.as_fd()).unwrap_err();
        assert_eq!(err.to_string(), "error renaming interface \"vethB\" to \"eth0\": file exists");
        let mut outside = RouteSocket::open().unwrap();
        assert_eq!(outside.link("vethB").unwrap(), None);
        assert!(outside.link("vethA").unwrap().is_some());
        drop(undo(&one).unwrap());
        remove_links(&one).unwrap();
    });
}
