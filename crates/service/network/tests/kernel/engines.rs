//! Several engines on one host.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use metadata::Db;
use netlink::{Requests, RouteSocket};
use network::{CreateRequest, Networks, Subnet};

use crate::{connect, here, ip, listen, on_a_host, seen_by};

/// How often two begin at once.
const ROUNDS: u32 = 20;

/// An engine that begins now.
fn begin(directory: &Path, prefix: &str) -> (Db, Networks) {
    fs::create_dir_all(directory).unwrap();
    let db = Db::open(&directory.join("dhow.db")).unwrap();
    let networks = Networks::new(prefix, directory);
    networks.ensure_predefined(&db).unwrap();
    (db, networks)
}

/// A network's range, and its bridge.
fn range(db: &Db, networks: &Networks, name: &str) -> (Subnet, String) {
    let network = networks.inspect(db, name).unwrap();
    (network.pools()[0].subnet, network.bridge().to_owned())
}

#[test]
fn who_finds_its_range_taken_when_it_makes_its_bridge_takes_another_one() {
    on_a_host("beside", |host| {
        let (db, other) = begin(&host.directory.join("other"), "dhow-1a1b2c3d");
        let own = || range(&host.db, &host.networks, "bridge").0.to_string();
        // Neither has a bridge by which the other one could know.
        assert_eq!(own(), "172.17.0.0/16");
        assert_eq!(range(&db, &other, "bridge").0.to_string(), own());
        other.ensure_default(&db).unwrap();
        assert_eq!(own(), "172.17.0.0/16");
        let a = host.start("a", "bridge", &[]);
        assert_eq!((own().as_str(), a.address()), ("172.18.0.0/16", ip("172.18.0.2")));
        let at_host = listen(&here(), 7000);
        connect(&a.netns, ip("172.18.0.1"), 7000);
        assert_eq!(seen_by(&at_host), a.address());
        // From then on both stay as they are.
        host.networks.ensure_default(&host.db).unwrap();
        other.ensure_default(&db).unwrap();
        assert_eq!(range(&db, &other, "bridge").0.to_string(), "172.17.0.0/16");
        assert_eq!(own(), "172.18.0.0/16");
    });
}

#[test]
fn a_bridge_on_which_somebody_is_keeps_its_range() {
    on_a_host("kept", |host| {
        let a = host.start("a", "bridge", &[]);
        let (_, bridge) = range(&host.db, &host.networks, "bridge");
        // Somebody sets it down, and somebody else takes its range.
        let mut socket = RouteSocket::open().unwrap();
        let mut requests = Requests::new();
        requests.add_bridge("other0", [2, 0x42, 172, 17, 5, 1], 1500);
        socket.execute(&requests).unwrap();
        let index = socket.link("other0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.add_address(index, "other0", ip("172.17.5.1"), 24);
        socket.execute(&requests).unwrap();
        let down = Command::new("ip").args(["link", "set", &bridge, "down"]).status().unwrap();
        assert!(down.success());
        host.networks.ensure_default(&host.db).unwrap();
        let (subnet, _) = range(&host.db, &host.networks, "bridge");
        assert!(subnet.contains(a.address()));
        assert!(socket.link(&bridge).unwrap().unwrap().is_up());
    });
}

#[test]
fn those_that_begin_at_once_have_ranges_of_their_own() {
    on_a_host("at-once", |host| {
        let directory = host.directory.as_path();
        for round in 0..ROUNDS {
            let start = Barrier::new(2);
            let live = |prefix: &str| {
                let (db, networks) = begin(&directory.join(format!("{prefix}-{round}")), prefix);
                start.wait();
                networks.ensure_default(&db).unwrap();
                let request = CreateRequest { name: "lab".into(), ..CreateRequest::default() };
                networks.create(&db, &request).unwrap();
                ["bridge", "lab"].map(|name| range(&db, &networks, name))
            };
            let found = std::thread::scope(|scope| {
                let one = scope.spawn(|| live("dhow-1a1b2c3d"));
                let two = scope.spawn(|| live("dhow-2a1b2c3d"));
                [one.join().unwrap(), two.join().unwrap()].concat()
            });
            let mut socket = RouteSocket::open().unwrap();
            let addresses = socket.addresses().unwrap();
            let mut requests = Requests::new();
            for (at, (subnet, bridge)) in found.iter().enumerate() {
                let overlaps = |(other, _): &(Subnet, String)| other.overlaps(subnet);
                assert!(!found[..at].iter().any(overlaps), "round {round}: {found:?}");
                let link = socket.link(bridge).unwrap().unwrap();
                let own: Vec<_> = addresses.iter().filter(|one| one.index == link.index).collect();
                assert!(link.is_up() && own.len() == 1, "round {round}: {own:?}");
                assert_eq!(own[0].address, subnet.nth(1).unwrap());
                requests.delete_link(bridge);
            }
            socket.execute(&requests).unwrap();
        }
    });
}
