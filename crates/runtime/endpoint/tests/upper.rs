//! Links that share one of the host's, against the kernel. Each test in network namespaces of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod namespaces;

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use endpoint::{
    Advertise, IpvlanFlag, IpvlanMode, Kind, Link, MacvlanMode, Plan, apply, change, remove_links,
    shared_links, undo,
};
use netlink::{Requests, RouteSocket, Upper, Veth, inside};

use namespaces::{in_fresh_namespace, new_namespace};

const LONG: Duration = Duration::from_secs(20);
const L2: Kind = Kind::Ipvlan(IpvlanMode::L2, IpvlanFlag::Bridge);
const BRIDGE: Kind = Kind::Macvlan(MacvlanMode::Bridge);

/// Runs `test` on a thread in a fresh network namespace, the host's, with a link `lan0` that leads to a bridge, if
/// the kernel has what `kind` needs.
fn beside_a_lan(name: &'static str, kind: Kind, test: impl FnOnce() + Send + 'static) {
    in_fresh_namespace(move || {
        let mut socket = RouteSocket::open().unwrap();
        let driver = kind.sharing().unwrap().kind();
        if !socket.has_kind(driver).unwrap() {
            println!("skipped: {name}: the kernel has no {driver}");
            return;
        }
        let mut requests = Requests::new();
        requests.set_loopback_up();
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
        test();
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The plan of a container whose address ends like that. The names are of this process's alone, since they are
/// looked for in all namespaces.
fn plan(kind: Kind, last: u8) -> Plan {
    let link = Link {
        kind,
        bridge: "lan0".into(),
        host_name: format!("ve{:09}{last:04}", std::process::id()),
        container_name: "eth0".into(),
        mac: [2, 0x42, 10, 0, 0, last],
        addresses: vec![(ip(&format!("10.0.0.{last}")), 24), (ip(&format!("fd00:7::{last}")), 64)],
        gateway: Some(ip("10.0.0.1")),
        gateway6: Some(ip("fd00:7::1")),
        mtu: 1500,
        isolated: false,
        parameters: Vec::new(),
        name: None,
        advertise: Advertise::default(),
    };
    Plan { links: vec![link], ..Plan::default() }
}

fn start(plan: &Plan) -> File {
    let netns = new_namespace();
    apply(plan, netns.as_fd()).unwrap();
    netns
}

fn reaches(from: &File, to: &File, address: &str) -> bool {
    let listener = inside(to.as_fd(), || TcpListener::bind((ip(address), 80)).unwrap()).unwrap();
    let target = SocketAddr::new(ip(address), 80);
    let connect = || TcpStream::connect_timeout(&target, LONG).is_ok();
    let connected = inside(from.as_fd(), connect).unwrap();
    drop(listener);
    connected
}

fn routes(netns: &File) -> String {
    let output = inside(netns.as_fd(), || {
        let families = ["-4", "-6"].map(|family| {
            let output = Command::new("ip").args([family, "route"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        families.concat()
    });
    output.unwrap()
}

/// A process that is in a namespace until it is dropped.
struct Guest(Child);

impl Guest {
    fn of(netns: &File) -> Self {
        let start = || {
            let mut command = Command::new("sh");
            command.args(["-c", "echo; read line"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut child = inside(netns.as_fd(), start).unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn containers_share_a_link(kind: Kind) {
    let (one, two) = (plan(kind, 2), plan(kind, 3));
    let (first, second) = (start(&one), start(&two));
    for address in ["10.0.0.3", "fd00:7::3"] {
        assert!(reaches(&first, &second, address), "{address}");
    }
    let text = routes(&first);
    assert!(text.contains("default via 10.0.0.1 dev eth0"), "{text}");
    assert!(text.contains("default via fd00:7::1 dev eth0"), "{text}");
    let mut inner = RouteSocket::open_in(first.as_fd()).unwrap();
    let eth0 = inner.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.is_up(), eth0.mtu), (true, 1400), "as its parent has it");
    // On the host there is nothing of them.
    let links = RouteSocket::open().unwrap().links().unwrap();
    let mut names: Vec<_> = links.into_iter().map(|link| link.name).collect();
    names.retain(|name| !["lo", "br0", "port0", "lan0"].contains(&name.as_str()));
    assert_eq!(names, [""; 0]);
    drop(undo(&one).unwrap());
}

#[test]
fn containers_share_a_link_by_macvlan() {
    beside_a_lan("Macvlan", BRIDGE, || containers_share_a_link(BRIDGE));
}

#[test]
fn containers_share_a_link_by_ipvlan() {
    beside_a_lan("Ipvlan", L2, || containers_share_a_link(L2));
}

#[test]
fn an_ipvlan_of_layer_3_leads_out_by_itself() {
    beside_a_lan("Ipvlan", L2, || {
        let mut plan = plan(Kind::Ipvlan(IpvlanMode::L3, IpvlanFlag::Bridge), 2);
        plan.links[0].gateway = Some(ip("0.0.0.0"));
        plan.links[0].gateway6 = Some(ip("::"));
        let text = routes(&start(&plan));
        assert_eq!(text.matches("default dev eth0").count(), 2, "{text}");
    });
}

#[test]
fn one_that_has_its_parent_for_itself_gives_it_its_address() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let plan = plan(Kind::Macvlan(MacvlanMode::Passthru), 2);
        let netns = start(&plan);
        let mut inner = RouteSocket::open_in(netns.as_fd()).unwrap();
        assert_eq!(inner.link("eth0").unwrap().unwrap().mac, plan.links[0].mac);
        drop((inner, netns));
        // And once more at once, whatever the kernel has not cleared away yet.
        drop(start(&plan));
    });
}

#[test]
fn a_container_starts_again_at_once() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let plan = plan(BRIDGE, 2);
        for _ in 0..3 {
            drop(start(&plan));
        }
        // Also where another one is still in its last namespace: the link goes from there.
        let old = start(&plan);
        let guest = Guest::of(&old);
        let name = &plan.links[0].host_name;
        assert!(shared_links().unwrap().contains(name));
        let new = start(&plan);
        let link = |netns: &File| {
            RouteSocket::open_in(netns.as_fd()).unwrap().link("eth0").unwrap().is_some()
        };
        assert!(!link(&old) && link(&new));
        drop(guest);
    });
}

#[test]
fn what_a_dead_supervisor_left_is_found_where_another_container_is() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let plan = plan(BRIDGE, 2);
        let netns = start(&plan);
        let guest = Guest::of(&netns);
        for _ in 0..2 {
            remove_links(&plan).unwrap();
            let mut inner = RouteSocket::open_in(netns.as_fd()).unwrap();
            assert_eq!(inner.link("eth0").unwrap(), None);
        }
        assert!(!shared_links().unwrap().contains(&plan.links[0].host_name));
        drop(guest);
    });
}

#[test]
fn an_address_that_another_one_has_is_refused() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let first = start(&plan(BRIDGE, 2));
        let mut other = plan(BRIDGE, 3);
        other.links[0].mac = [2, 0x42, 10, 0, 0, 2];
        let err = apply(&other, new_namespace().as_fd()).unwrap_err();
        assert_eq!(err.to_string(), "an address of eth0 is in use on lan0");
        // The first one is left alone.
        assert!(reaches(&start(&plan(BRIDGE, 4)), &first, "10.0.0.2"));
    });
}

#[test]
fn one_is_joined_and_left_while_the_container_runs() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let none = Plan::default();
        let mut both = plan(BRIDGE, 2);
        let mut second = plan(BRIDGE, 3).links.remove(0);
        second.container_name = "eth1".into();
        (second.gateway, second.gateway6) = (None, None);
        both.links.push(second);
        let one = plan(BRIDGE, 2);

        let netns = new_namespace();
        apply(&none, netns.as_fd()).unwrap();
        let names = || {
            let mut links = RouteSocket::open_in(netns.as_fd()).unwrap().links().unwrap();
            links.retain(|link| link.name != "lo");
            links.into_iter().map(|link| link.name).collect::<Vec<_>>()
        };
        for (old, new, want) in [
            (&none, &one, &["eth0"][..]),
            (&one, &both, &["eth0", "eth1"]),
            (&both, &one, &["eth0"]),
            // As after a change that was not finished.
            (&none, &one, &["eth0"]),
            (&one, &none, &[]),
            (&one, &none, &[]),
        ] {
            change(old, new, netns.as_fd()).unwrap();
            assert_eq!(names(), want);
        }
    });
}

#[test]
fn one_that_was_not_finished_is_made_anew() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let one = plan(BRIDGE, 2);
        let netns = new_namespace();
        let mut outside = RouteSocket::open().unwrap();
        let lower = outside.link("lan0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        // Killed before it said whose it is.
        requests.add_upper(&Upper {
            lower,
            netns: netns.as_fd(),
            name: "eth0",
            mac: Some([2, 0x43, 0, 0, 0, 9]),
            sharing: BRIDGE.sharing().unwrap(),
        });
        outside.execute(&requests).unwrap();
        change(&Plan::default(), &one, netns.as_fd()).unwrap();
        let mut inner = RouteSocket::open_in(netns.as_fd()).unwrap();
        let link = inner.link("eth0").unwrap().unwrap();
        assert_eq!(
            (link.alias, link.mac),
            (one.links[0].host_name.clone(), one.links[0].mac.to_vec())
        );
    });
}

#[test]
fn what_cannot_be_made_is_said() {
    beside_a_lan("Macvlan", BRIDGE, || {
        let mut lost = plan(BRIDGE, 2);
        lost.links[0].bridge = "lan1".into();
        let err = apply(&lost, new_namespace().as_fd()).unwrap_err().to_string();
        assert_eq!(err, "the requested parent interface lan1 was not found on the Docker host");
        let mut twice = plan(BRIDGE, 2);
        twice.links.push(plan(BRIDGE, 3).links.remove(0));
        let err = apply(&twice, new_namespace().as_fd()).unwrap_err().to_string();
        assert!(err.contains("file exists"), "{err}");
    });
}

#[test]
fn a_plan_of_before_has_veths() {
    let json = r#"{"bridge":"br0","host_name":"ve1","container_name":"eth0","mac":[2,0,0,0,0,1],
        "addresses":[],"gateway":null,"mtu":1500,"name":null}"#;
    assert!(matches!(serde_json::from_str(json), Ok(Link { kind: Kind::Veth, .. })));
    for kind in [BRIDGE, L2, Kind::Ipvlan(IpvlanMode::L3s, IpvlanFlag::Vepa)] {
        let link = plan(kind, 2).links.remove(0);
        let text = serde_json::to_string(&link).unwrap();
        assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link, "{text}");
    }
}
