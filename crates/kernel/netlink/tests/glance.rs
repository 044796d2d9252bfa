//! Looks at links, against the kernel: they show what rtnetlink says. Each test in network namespaces of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod namespaces;

use std::os::fd::AsFd;
use std::process::Command;

use netlink::{Glance, LOOPBACK_INDEX, Requests, RouteSocket};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use namespaces::{another_namespace, in_fresh_namespace};

const MAC: [u8; 6] = [2, 0x42, 172, 18, 0, 1];
/// As long as the name of a link may be.
const LONGEST: &str = "fifteen-bytes-x";
/// `CAP_NET_RAW`, as a bit of a set.
const NET_RAW: u64 = 1 << 13;

fn add_bridge(socket: &mut RouteSocket, name: &str) {
    let mut requests = Requests::new();
    requests.add_bridge(name, MAC, 1500);
    socket.execute(&requests).unwrap();
}

fn delete(socket: &mut RouteSocket, name: &str) {
    let mut requests = Requests::new();
    requests.delete_link(name);
    socket.execute(&requests).unwrap();
}

/// Looks at a link, and compares what is seen with what rtnetlink says.
#[track_caller]
fn look(socket: &mut RouteSocket, name: &str) -> Option<Glance> {
    let seen = socket.glance(name).unwrap();
    let told = socket.link(name).unwrap();
    assert_eq!(seen, told.map(Glance::from), "{name}");
    assert_eq!(socket.has_link(name).unwrap(), seen.is_some(), "{name}");
    seen
}

#[test]
fn a_link_is_seen_as_it_is_until_it_is_gone() {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        for name in ["br0", LONGEST] {
            assert_eq!(look(&mut socket, name), None);
            add_bridge(&mut socket, name);
            let down = look(&mut socket, name).unwrap();
            assert_eq!((down.name.as_str(), down.is_up), (name, false));
            let mut requests = Requests::new();
            requests.set_up(down.index, name);
            socket.execute(&requests).unwrap();
            assert_eq!(look(&mut socket, name), Some(Glance { is_up: true, ..down }));
        }
        let lo = look(&mut socket, "lo").unwrap();
        assert_eq!((lo.index, lo.is_up), (LOOPBACK_INDEX, false));
        // A socket sees its own namespace.
        let there = another_namespace();
        let mut inside = RouteSocket::open_in(there.as_fd()).unwrap();
        assert_eq!(look(&mut inside, "br0"), None);
        for name in ["br0", LONGEST] {
            delete(&mut socket, name);
            assert_eq!(look(&mut socket, name), None);
        }
        // One that is made anew is another one.
        add_bridge(&mut socket, "br0");
        assert!(look(&mut socket, "br0").is_some_and(|seen| !seen.is_up));
    });
}

#[test]
fn what_can_be_no_name_is_answered_as_by_rtnetlink() {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        add_bridge(&mut socket, LONGEST);
        let too_long = format!("{LONGEST}y");
        for name in ["", too_long.as_str()] {
            let told = socket.link(name).map(|link| link.is_some()).map_err(|err| err.to_string());
            assert_ne!(told, Ok(true), "{name}");
            let seen =
                socket.glance(name).map(|seen| seen.is_some()).map_err(|err| err.to_string());
            assert_eq!(seen, told, "{name}");
            assert_eq!(socket.has_link(name).map_err(|err| err.to_string()), told, "{name}");
        }
    });
}

#[test]
fn a_link_is_found_by_another_name_of_it() {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        add_bridge(&mut socket, "br0");
        let args = ["link", "property", "add", "dev", "br0", "altname", "other0"];
        let output = Command::new("ip").args(args).output().unwrap();
        if String::from_utf8_lossy(&output.stderr).contains("not supported") {
            println!("skipped: Altname: links have one name before Linux 5.5");
            return;
        }
        assert!(output.status.success(), "{output:?}");
        let seen = look(&mut socket, "other0").unwrap();
        assert_eq!(seen.name, "br0");
        assert_eq!(look(&mut socket, "br0"), Some(seen));
        delete(&mut socket, "br0");
        assert_eq!(look(&mut socket, "other0"), None);
    });
}

#[test]
fn rtnetlink_is_asked_where_the_kernel_lets_no_socket_be_tied() {
    in_fresh_namespace(|| {
        let mut socket = RouteSocket::open().unwrap();
        add_bridge(&mut socket, "br0");
        let other = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        sys::bind_to_device(other.as_fd(), "lo").unwrap();
        assert!(look(&mut socket, "lo").is_some());
        // One that is tied stays so.
        let sets = sys::capget().unwrap();
        sys::capset(sets.effective & !NET_RAW, sets.permitted, sets.inheritable).unwrap();
        let err = sys::bind_to_device(other.as_fd(), "br0").unwrap_err();
        assert_eq!(err.errno(), Errno::PERM);
        assert_eq!(look(&mut socket, "br0").unwrap().name, "br0");
        assert_eq!(look(&mut socket, "none"), None);
    });
}
