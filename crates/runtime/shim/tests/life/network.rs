//! Published ports, and a namespace of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;
use shim_protocol::{Listener, Reply, Request};

use crate::Case;
use crate::container::Container;
use crate::fixture::wait_until;

pub(crate) const CASES: &[Case] = &[
    ("a_published_port_is_served_and_freed", a_published_port_is_served_and_freed),
    ("a_port_in_use_leaves_nothing", a_port_in_use_leaves_nothing),
    ("names_are_answered_inside", names_are_answered_inside),
];

/// A port that nobody listens on, below those that the kernel gives to whoever wants any: tests that run beside
/// this one want many.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 20_000) as u16;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn publish(host: SocketAddr, container: SocketAddr) -> Vec<Listener> {
    vec![Listener { host, container, protocol: endpoint::Protocol::Tcp }]
}

fn a_published_port_is_served_and_freed() {
    let (host, inside) = (free_port(), free_port());
    let mut it = Container::new(&format!("exec nc -ll -p {} -e cat", inside.port()));
    it.config.network.shared = true;
    it.config.listeners = publish(host, inside);
    it.launch();
    wait_until("it listens", || TcpStream::connect(inside).is_ok());
    let mut peer = TcpStream::connect(host).unwrap();
    peer.write_all(b"through the proxy").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all, "through the proxy");
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
    assert!(TcpStream::connect(host).is_err());
}

fn a_port_in_use_leaves_nothing() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = holder.local_addr().unwrap();
    let mut it = Container::new("sleep 100");
    it.config.network.shared = true;
    it.config.listeners = publish(host, free_port());
    let Reply::Error(err) = it.create() else { panic!("the port is in use") };
    assert!(err.port_taken);
    assert_eq!(err.message, format!("Bind for {host} failed: port is already allocated"));
    it.wait_for_shim();
    it.assert_nothing_left();
}

fn names_are_answered_inside() {
    let mut it = Container::new(
        "nslookup web 127.0.0.11; nslookup nosuch 127.0.0.11; nslookup no.such 127.0.0.11",
    );
    let namespaces = it.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "network"}));
    let names = it.config.data_dir.join("names");
    std::fs::create_dir_all(&names).unwrap();
    std::fs::write(names.join("other"), "web 172.30.0.2\n").unwrap();
    it.config.network.dns = Some(endpoint::Dns {
        directories: vec![names],
        links: std::collections::BTreeMap::new(),
        upstream: vec![],
        inside: false,
    });
    it.launch();
    it.join();
    let log = [it.log("stdout").concat(), it.log("stderr").concat()].concat();
    assert!(log.contains("172.30.0.2") && log.contains("NXDOMAIN"), "{log}");
    assert!(log.contains("no.such: SERVFAIL"), "{log}");
}
