//! End to end: a host, containers and the outside, each a network namespace of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod engines;
mod reach;

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use endpoint::{Link, Plan, Protocol};
use expect_test::expect;
use metadata::{Container, Db};
use netlink::{FilterSocket, Requests, RouteSocket, inside};
use network::{
    Attachment, Connected, CreateRequest, Error, Member, Networks, PoolRequest, PortRequest,
};
use nft::{Batch, Family, Table};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

/// Long enough for whatever must come, on a machine under load.
const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for what must not come.
const SHORT: Duration = Duration::from_millis(400);

/// A host with an engine's networks.
struct Host {
    directory: PathBuf,
    db: Db,
    networks: Networks,
}

/// Runs `test` on a thread in a fresh network namespace, which is the host's.
fn on_a_host(name: &'static str, test: impl FnOnce(&Host) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        let mut requests = Requests::new();
        requests.set_loopback_up();
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let directory =
            std::env::temp_dir().join(format!("dhow-network-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let db = Db::open(&directory.join("dhow.db")).unwrap();
        let networks = Networks::new("dhow-0a1b2c3d", &directory);
        networks.ensure_predefined(&db).unwrap();
        let host = Host { directory, db, networks };
        test(&host);
        fs::remove_dir_all(&host.directory).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A container: its namespace, and what it got.
struct Box {
    netns: File,
    connected: Connected,
}

impl Host {
    fn create(&self, name: &str, change: impl FnOnce(&mut CreateRequest)) -> network::Network {
        let mut request = CreateRequest { name: name.into(), ..CreateRequest::default() };
        change(&mut request);
        self.networks.create(&self.db, &request).unwrap()
    }

    fn plan(&self, name: &str, network: &str, ports: &[PortRequest]) -> Result<Connected, Error> {
        let attachment = Attachment { network: network.into(), ..Attachment::default() };
        self.plan_of(name, attachment, ports)
    }

    fn plan_of(
        &self,
        name: &str,
        attachment: Attachment,
        ports: &[PortRequest],
    ) -> Result<Connected, Error> {
        let id = id(name);
        let record = Container {
            id: id.clone(),
            name: name.into(),
            image: None,
            snapshot: None,
            auto_remove: false,
            created: 0,
            config: "{}".into(),
        };
        self.db.write(|tx| match tx.container(&id)? {
            None => tx.insert_container(&record),
            Some(_) => Ok(()),
        })?;
        let member = Member { id: &id, name, hostname: "" };
        self.networks.connect(&self.db, &member, &[attachment], ports, &[], &|_| true)
    }

    fn start(&self, name: &str, network: &str, ports: &[PortRequest]) -> Box {
        let connected = self.plan(name, network, ports).unwrap();
        let netns = new_namespace();
        endpoint::apply(&connected.plan, netns.as_fd()).unwrap();
        Box { netns, connected }
    }

    /// A namespace that is no container, at 192.0.2.2, for which the host is 192.0.2.1.
    fn outside() -> File {
        let mut socket = RouteSocket::open().unwrap();
        let mut requests = Requests::new();
        requests.add_bridge("ext0", [2, 0x42, 192, 0, 2, 1], 1500);
        socket.execute(&requests).unwrap();
        let index = socket.link("ext0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.add_address(index, "ext0", ip("192.0.2.1"), 24);
        requests.add_address(index, "ext0", ip("fd00:9::1"), 64);
        requests.set_up(index, "ext0");
        socket.execute(&requests).unwrap();
        let netns = new_namespace();
        let link = Link {
            kind: endpoint::Kind::Veth,
            bridge: "ext0".into(),
            host_name: "outside".into(),
            container_name: "eth0".into(),
            mac: [2, 0x42, 192, 0, 2, 2],
            addresses: vec![(ip("192.0.2.2"), 24), (ip("fd00:9::2"), 64)],
            gateway: Some(ip("192.0.2.1")),
            gateway6: Some(ip("fd00:9::1")),
            mtu: 1500,
            isolated: false,
            parameters: Vec::new(),
            name: None,
            advertise: endpoint::Advertise::default(),
        };
        let plan = Plan { links: vec![link], ..Plan::default() };
        endpoint::apply(&plan, netns.as_fd()).unwrap();
        netns
    }
}

impl Box {
    fn address(&self) -> IpAddr {
        self.connected.endpoints[0].link.addresses[0].0
    }
}

fn new_namespace() -> File {
    let thread = std::thread::spawn(|| {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    thread.join().unwrap()
}

/// 64 digits that begin with those of the name.
fn id(name: &str) -> String {
    let digits: String = name.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{digits:0<64}")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listen(netns: &File, port: u16) -> TcpListener {
    inside(netns.as_fd(), || TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap()
}

fn attempt(netns: &File, to: IpAddr, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let to = SocketAddr::new(to, port);
    inside(netns.as_fd(), || TcpStream::connect_timeout(&to, patience)).unwrap()
}

fn connect(netns: &File, to: IpAddr, port: u16) -> TcpStream {
    attempt(netns, to, port, LONG).unwrap()
}

fn cannot_connect(netns: &File, to: IpAddr, port: u16) -> bool {
    attempt(netns, to, port, SHORT).is_err()
}

/// Whether an IPv4 address answers a ping.
fn answers(netns: &File, to: IpAddr, patience: Duration) -> bool {
    let socket = inside(netns.as_fd(), || {
        let (family, kind) = (AddressFamily::INET, SocketType::RAW);
        socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::ICMP)).unwrap()
    });
    let socket = UdpSocket::from(socket.unwrap());
    socket.set_read_timeout(Some(patience)).unwrap();
    // An echo request with its checksum, and nothing else.
    socket.send_to(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0], (to, 0)).unwrap();
    let mut packet = [0; 64];
    // The header of IPv4 comes first; 0 is an answer.
    socket.recv(&mut packet).is_ok_and(|length| length >= 28) && packet[20] == 0
}

/// Whom a listener sees at the other end of the connection that was just made.
fn seen_by(listener: &TcpListener) -> IpAddr {
    listener.accept().unwrap().1.ip()
}

fn here() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn tcp(host: u16, container: u16) -> PortRequest {
    PortRequest {
        container,
        protocol: Protocol::Tcp,
        host_address: None,
        host_ports: Some(host..=host),
    }
}

#[test]
fn containers_reach_each_other_and_the_outside_and_are_reached() {
    on_a_host("way", |host| {
        let outside = Host::outside();
        let web = host.start("web", "", &[tcp(8080, 80)]);
        let peer = host.start("peer", "", &[]);
        let at_web = listen(&web.netns, 80);

        // A neighbour, by address; the host, by address.
        connect(&peer.netns, web.address(), 80);
        assert_eq!(seen_by(&at_web), peer.address());
        connect(&here(), web.address(), 80);
        assert_eq!(seen_by(&at_web), ip("172.17.0.1"));

        // From outside by the published port, and the container sees who it is.
        connect(&outside, ip("192.0.2.1"), 8080);
        assert_eq!(seen_by(&at_web), ip("192.0.2.2"));
        // From the host itself, by an address that is not loopback's.
        connect(&here(), ip("192.0.2.1"), 8080);
        at_web.accept().unwrap();
        // From a neighbour and from itself it comes to the host, where the shim listens.
        let shim = listen(&here(), 8080);
        for one in [&peer, &web] {
            connect(&one.netns, ip("192.0.2.1"), 8080);
            assert_eq!(seen_by(&shim), one.address());
        }

        // Outwards, with the host's address.
        let at_outside = listen(&outside, 7000);
        connect(&web.netns, ip("192.0.2.2"), 7000);
        assert_eq!(seen_by(&at_outside), ip("192.0.2.1"));

        // Not from outside straight to the container, whatever the outside's routes.
        assert!(cannot_connect(&outside, web.address(), 80));
        // Another's address with the same port is left alone.
        let elsewhere = listen(&outside, 8080);
        connect(&web.netns, ip("192.0.2.2"), 8080);
        elsewhere.accept().unwrap();

        // The end: nothing is published any more.
        drop(shim);
        drop(endpoint::undo(&web.connected.plan).unwrap());
        assert!(cannot_connect(&outside, ip("192.0.2.1"), 8080));
    });
}

#[test]
fn sctp_is_published_by_rules() {
    let socket = || {
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::SCTP))
    };
    let port = |address: Option<IpAddr>| PortRequest {
        container: 7,
        protocol: Protocol::Sctp,
        host_address: address,
        host_ports: Some(7007..=7007),
    };
    if let Err(errno) = socket() {
        println!("skipped: Sctp: {errno}");
        on_a_host("sctp", move |host| {
            let refused = host.plan("web", "", &[port(None)]).unwrap_err().to_string();
            assert_eq!(refused, "cannot publish an SCTP port: this kernel has no SCTP");
        });
        return;
    }
    on_a_host("sctp", move |host| {
        let outside = Host::outside();
        for wrong in ["127.0.0.1", "::1"] {
            let refused = host.plan("wrong", "", &[port(Some(ip(wrong)))]).unwrap_err();
            assert!(refused.to_string().contains("only IPv4 addresses"), "{refused}");
        }
        let web = host.start("web", "", &[port(None)]);
        let server = inside(web.netns.as_fd(), || {
            let server = socket().unwrap();
            let at: SocketAddr = "0.0.0.0:7".parse().unwrap();
            rustix::net::bind(&server, &at).unwrap();
            rustix::net::listen(&server, 1).unwrap();
            server
        });
        let client = inside(outside.as_fd(), || {
            let client = socket().unwrap();
            sockopt::set_socket_timeout(&client, sockopt::Timeout::Send, Some(LONG)).unwrap();
            let at: SocketAddr = "192.0.2.1:7007".parse().unwrap();
            rustix::net::connect(&client, &at).unwrap();
            client
        });
        let server = rustix::net::accept(server.unwrap()).unwrap();
        rustix::io::write(client.unwrap(), b"question").unwrap();
        let mut buffer = [0; 16];
        let length = rustix::io::read(server, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
    });
}

#[test]
fn udp_is_published_too() {
    on_a_host("udp", |host| {
        let outside = Host::outside();
        let port = PortRequest {
            container: 53,
            protocol: Protocol::Udp,
            host_address: Some(ip("192.0.2.1")),
            host_ports: Some(5353..=5353),
        };
        let dns = host.start("dns", "", &[port]);
        let server = inside(dns.netns.as_fd(), || UdpSocket::bind("0.0.0.0:53").unwrap()).unwrap();
        let client = inside(outside.as_fd(), || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(LONG)).unwrap();
        }
        client.send_to(b"question", "192.0.2.1:5353").unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"question"[..], ip("192.0.2.2")));
        server.send_to(b"answer", from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], "192.0.2.1:5353".parse().unwrap()));
    });
}

fn option(request: &mut CreateRequest, option: &str, value: &str) {
    request.options.insert(format!("com.docker.network.{option}"), value.to_owned());
}

#[test]
fn a_network_that_others_want_keeps_its_bridge() {
    on_a_host("others", |host| {
        host.create("net", |_| ());
        let a = host.start("a", "net", &[]);
        let refused = host
            .networks
            .remove_unless(&host.db, "net", &|_| false, &|_| Ok(vec![("b".into(), id("b"))]))
            .unwrap_err();
        assert!(matches!(refused, Error::ActiveEndpoints { .. }), "{refused}");
        let bridge = &a.connected.plan.links[0].bridge;
        assert!(RouteSocket::open().unwrap().link(bridge).unwrap().is_some());
    });
}

#[test]
fn what_goes_out_bears_the_address_that_was_asked_for() {
    on_a_host("source", |host| {
        let outside = Host::outside();
        let mut socket = RouteSocket::open().unwrap();
        let index = socket.link("ext0").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests.add_address(index, "ext0", ip("192.0.2.77"), 24);
        socket.execute(&requests).unwrap();
        host.create("own", |request| option(request, "host_ipv4", "192.0.2.77"));
        let a = host.start("a", "own", &[]);
        let at_outside = listen(&outside, 7000);
        connect(&a.netns, ip("192.0.2.2"), 7000);
        assert_eq!(seen_by(&at_outside), ip("192.0.2.77"));
        // And elsewhere the address of its own, which is reached then by all its ports.
        host.create("open", |request| {
            option(request, "bridge.gateway_mode_ipv4", "nat-unprotected");
        });
        let b = host.start("b", "open", &[]);
        let at_b = listen(&b.netns, 81);
        connect(&outside, b.address(), 81);
        at_b.accept().unwrap();
    });
}

#[test]
fn a_network_may_have_no_ipv4_or_no_gateway() {
    on_a_host("families", |host| {
        let six = host.create("six", |request| {
            request.ipv4 = Some(false);
            request.ipv6 = Some(true);
        });
        assert!(!six.has_ipv4() && six.pools().len() == 1);
        let (a, b) = (host.start("a", "six", &[tcp(8080, 80)]), host.start("b", "six", &[]));
        assert_ne!(a.connected.plan.links[0].mac, b.connected.plan.links[0].mac);
        assert!(a.address().is_ipv6() && a.connected.plan.links[0].gateway6.is_some());
        let hosts: Vec<IpAddr> = a.connected.plan.ports.iter().map(|port| port.host.ip()).collect();
        assert_eq!(hosts, [ip("::")]);
        let bind = std::net::SocketAddr::new(a.address(), 80);
        let at_a = inside(a.netns.as_fd(), move || TcpListener::bind(bind).unwrap()).unwrap();
        connect(&b.netns, a.address(), 80);
        at_a.accept().unwrap();

        host.create("pair", |request| {
            request.internal = true;
            option(request, "bridge.gateway_mode_ipv4", "isolated");
            let pool = PoolRequest { subnet: "10.7.0.0/31".into(), ..PoolRequest::default() };
            request.pools = vec![pool];
        });
        let (c, d) = (host.start("c", "pair", &[]), host.start("d", "pair", &[]));
        let at_c = listen(&c.netns, 80);
        connect(&d.netns, c.address(), 80);
        at_c.accept().unwrap();
        assert!(cannot_connect(&here(), c.address(), 80));
    });
}

#[test]
fn interfaces_have_names_and_parameters_that_were_asked_for() {
    on_a_host("parameters", |host| {
        host.create("named", |request| option(request, "container_iface_prefix", "wan"));
        let mut connected = host.plan("a", "named", &[]).unwrap();
        assert_eq!(connected.plan.links[0].container_name, "wan0");
        let [family, group, name, value] = ["ipv4", "conf", "arp_ignore", "1"].map(str::to_owned);
        connected.plan.links[0].parameters =
            vec![endpoint::Parameter { family, group, name, value }];
        let netns = new_namespace();
        endpoint::apply(&connected.plan, netns.as_fd()).unwrap();
        let read = || fs::read_to_string("/proc/sys/net/ipv4/conf/wan0/arp_ignore").unwrap();
        assert_eq!(inside(netns.as_fd(), read).unwrap(), "1\n");
        connected.plan.links[0].parameters[0].name = "no_such".to_owned();
        let err = endpoint::apply(&connected.plan, new_namespace().as_fd()).unwrap_err();
        assert!(err.to_string().contains("/proc/sys/net/ipv4/conf/wan0/no_such"), "{err}");
    });
}

#[test]
fn a_bridge_that_was_there_stays() {
    on_a_host("foreign", |host| {
        let mut socket = RouteSocket::open().unwrap();
        let mut requests = Requests::new();
        requests.add_bridge("mine0", [2, 0x42, 1, 2, 3, 4], 1500);
        socket.execute(&requests).unwrap();
        let network = host.create("theirs", |request| option(request, "bridge.name", "mine0"));
        let index = socket.link("mine0").unwrap().unwrap().index;
        let gateway = network.pools()[0].gateway.unwrap();
        let mut addresses = socket.addresses().unwrap().into_iter();
        assert!(addresses.any(|one| one.index == index && one.address == gateway));
        host.start("a", "theirs", &[]);
        host.networks.remove(&host.db, "theirs", &|_| false).unwrap();
        assert!(socket.link("mine0").unwrap().is_some());
    });
}

#[test]
fn the_default_network_is_as_it_was_set() {
    on_a_host("set", |host| {
        let with = |change: &dyn Fn(&mut network::Defaults)| {
            let mut defaults = network::Defaults::default();
            change(&mut defaults);
            let networks = host.networks.clone().with(defaults);
            networks.ensure_predefined(&host.db).map(|()| networks)
        };
        let a = host.start("a", "bridge", &[]);
        let before = host.networks.inspect(&host.db, "bridge").unwrap();
        let set = |defaults: &mut network::Defaults| {
            defaults.pools = vec![network::SplitPool::new("10.6.0.0/16", 24).unwrap()];
            let bridge = &mut defaults.bridge;
            bridge.address = "10.9.0.1/24".into();
            bridge.range = "10.9.0.64/26".into();
            bridge.gateway = "10.9.0.2".into();
            (bridge.mtu, bridge.ipv6, bridge.isolated) = (1400, true, true);
            bridge.binding = "127.0.0.1".into();
        };
        // Not while somebody is in it.
        with(&set).unwrap();
        assert_eq!(host.networks.inspect(&host.db, "bridge").unwrap(), before);
        endpoint::remove_links(&a.connected.plan).unwrap();
        let networks = with(&set).unwrap();
        let after = networks.inspect(&host.db, "bridge").unwrap();
        assert_eq!((&after.id, after.mtu(), after.has_ipv6()), (&before.id, 1400, true));
        let b = Host {
            directory: host.directory.clone(),
            db: Db::open(&host.directory.join("dhow.db")).unwrap(),
            networks: networks.clone(),
        }
        .plan("b", "bridge", &[tcp(8080, 80)])
        .unwrap();
        let link = &b.plan.links[0];
        assert_eq!(link.addresses[0], (ip("10.9.0.64"), 24));
        assert_eq!((link.gateway, link.mtu, link.isolated), (Some(ip("10.9.0.2")), 1400, true));
        let ports: Vec<String> = b.plan.ports.iter().map(|port| port.host.to_string()).collect();
        assert_eq!(ports, ["127.0.0.1:8080"]);
        let request = CreateRequest { name: "new".into(), ..CreateRequest::default() };
        let new = networks.create(&host.db, &request).unwrap();
        assert_eq!(new.pools()[0].subnet.to_string(), "10.6.0.0/24");
        // None at all.
        let networks = with(&|defaults| defaults.bridge.name = "none".into()).unwrap();
        assert!(networks.inspect(&host.db, "bridge").is_err());
        assert!(networks.list(&host.db).unwrap().iter().all(|one| one.name != "bridge"));
        let err = with(&|defaults| defaults.bridge.name = "missing0".into()).unwrap_err();
        assert_eq!(
            err.to_string(),
            "\"bridge\": bridge device with non default name missing0 must be created manually"
        );
        let err = with(&|defaults| defaults.bridge.address = "10.0.0".into()).unwrap_err();
        assert_eq!(err.to_string(), "\"bip\": invalid CIDR address: 10.0.0");
        with(&|_| ()).unwrap();
        assert_eq!(
            host.networks.inspect(&host.db, "bridge").unwrap().pools()[0].subnet,
            before.pools()[0].subnet
        );
    });
}

#[test]
fn ipv6_is_routed_where_it_was_asked_for() {
    on_a_host("ipv6", |host| {
        let outside = Host::outside();
        host.create("six", |request| {
            request.ipv6 = Some(true);
            request.pools =
                vec![PoolRequest { subnet: "fd00:6::/64".into(), ..PoolRequest::default() }];
        });
        let a = host.start("a", "six", &[]);
        let b = host.start("b", "six", &[]);
        let address = a.connected.plan.links[0].addresses[1].0;
        assert_eq!(address, ip("fd00:6::2"));
        let listener = inside(a.netns.as_fd(), || TcpListener::bind("[::]:80").unwrap()).unwrap();
        connect(&b.netns, address, 80);
        assert_eq!(seen_by(&listener), ip("fd00:6::3"));
        connect(&here(), address, 80);
        assert_eq!(FilterSocket::open().unwrap().tables(Family::Ip6).unwrap().len(), 1);
        // Outwards, with the host's address, and not inwards.
        let at_outside =
            inside(outside.as_fd(), || TcpListener::bind("[::]:7000").unwrap()).unwrap();
        connect(&a.netns, ip("fd00:9::2"), 7000);
        assert_eq!(seen_by(&at_outside), ip("fd00:9::1"));
        assert!(cannot_connect(&outside, address, 80));
    });
}

#[test]
fn rules_come_back_after_a_flush_and_a_bridge_after_its_loss() {
    on_a_host("again", |host| {
        let network = host.create("lab", |_| ());
        host.networks.ensure(&network).unwrap();
        let Ok(output) = Command::new("nft").args(["list", "ruleset"]).output() else {
            println!("skipped: rules_come_back_after_a_flush: there is no nft(8)");
            return;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        let text = text.replace(&network.id[..12], "NETWORK").replace(network.bridge(), "BRIDGE");
        let digest = text.split("chain rules-").nth(1).and_then(|rest| rest.get(..16)).unwrap();
        let text = text.replace(digest, "DIGEST");
        expect![[r#"
            table ip dhow-0a1b2c3d-net-NETWORK {
            	chain forward {
            		type filter hook forward priority filter; policy accept;
            		iifname != "BRIDGE" oifname "BRIDGE" ct state established,related accept
            		iifname != "BRIDGE" oifname "BRIDGE" ct status dnat accept
            		iifname != "BRIDGE" oifname "BRIDGE" drop
            	}

            	chain postrouting {
            		type nat hook postrouting priority srcnat; policy accept;
            		ip saddr 172.18.0.0/16 oifname != "BRIDGE" masquerade
            	}

            	chain rules-DIGEST {
            	}
            }
        "#]]
        .assert_eq(&text);
        assert!(Command::new("nft").args(["flush", "ruleset"]).status().unwrap().success());
        host.networks.ensure(&network).unwrap();
        assert_eq!(FilterSocket::open().unwrap().tables(Family::Ip).unwrap().len(), 1);

        let mut requests = Requests::new();
        requests.delete_link(network.bridge());
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        host.networks.ensure(&network).unwrap();
        host.networks.ensure(&network).unwrap();
        let mut socket = RouteSocket::open().unwrap();
        let link = socket.link(network.bridge()).unwrap().unwrap();
        assert!(link.is_up());
        let addresses = socket.addresses().unwrap();
        let mine: Vec<_> = addresses.iter().filter(|one| one.index == link.index).collect();
        assert_eq!((mine.len(), mine[0].address), (1, ip("172.18.0.1")), "{mine:?}");
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");

        let removed = host.networks.remove(&host.db, "lab", &|_| false).unwrap();
        assert_eq!(removed, network);
        assert_eq!(socket.link(network.bridge()).unwrap(), None);
        assert_eq!(FilterSocket::open().unwrap().tables(Family::Ip).unwrap(), [""; 0]);
        assert!(matches!(host.networks.inspect(&host.db, "lab"), Err(Error::NotFound { .. })));
    });
}

#[test]
fn rules_of_another_version_are_made_anew() {
    on_a_host("renewed", |host| {
        let lab = host.create("lab", |request| request.ipv6 = Some(true));
        host.create("gone", |_| ());
        let mut filter = FilterSocket::open().unwrap();
        let name = |network: &network::Network| format!("dhow-0a1b2c3d-net-{}", &network.id[..12]);
        let lab_table = name(&lab);
        // As if they had been made otherwise.
        let spoil = |filter: &mut FilterSocket| {
            let mut batch = Batch::new();
            for family in [Family::Ip, Family::Ip6] {
                batch.replace(&Table { family, name: lab_table.clone(), chains: Vec::new() });
            }
            filter.execute(batch).unwrap();
        };
        let is_whole = |filter: &mut FilterSocket| {
            let mut has = |family| filter.has_chain(family, &lab_table, "forward").unwrap();
            has(Family::Ip) && has(Family::Ip6)
        };
        let gone = host.networks.inspect(&host.db, "gone").unwrap();
        let mut batch = Batch::new();
        batch.delete(Family::Ip, &name(&gone));
        filter.execute(batch).unwrap();
        spoil(&mut filter);
        assert!(!is_whole(&mut filter));
        host.networks.renew_rules(&host.db).unwrap();
        assert!(is_whole(&mut filter));
        // One without rules has none afterwards: they come with its next container.
        assert_eq!(filter.tables(Family::Ip).unwrap(), [lab_table.as_str()]);
        spoil(&mut filter);
        host.networks.ensure(&lab).unwrap();
        assert!(is_whole(&mut filter));
        host.networks.ensure(&gone).unwrap();
        assert_eq!(filter.tables(Family::Ip).unwrap().len(), 2);
    });
}

#[test]
fn recovery_takes_what_is_nobodys_and_nothing_else() {
    on_a_host("sweep", |host| {
        let network = host.create("lab", |_| ());
        let lost = host.start("lost", "lab", &[tcp(8080, 80)]);
        let kept = host.start("kept", "lab", &[tcp(8081, 80)]);
        let names = host.directory.join("networks").join(&network.id).join("names");
        fs::write(names.join(format!(".{}.new", id("lost"))), "half").unwrap();
        // Another engine's, and nobody's.
        let other = Networks::new("dhow", &host.directory.join("other"));
        let orphan = {
            let db = Db::open(&host.directory.join("other.db")).unwrap();
            other.ensure_predefined(&db).unwrap();
            other.inspect(&db, "bridge").unwrap()
        };
        other.ensure(&orphan).unwrap();

        host.networks.sweep(&host.db, &|one| one == id("kept")).unwrap();
        let tables = FilterSocket::open().unwrap().tables(Family::Ip).unwrap();
        assert!(tables.contains(&kept.connected.plan.table), "{tables:?}");
        assert!(!tables.contains(&lost.connected.plan.table), "{tables:?}");
        assert!(tables.iter().any(|table| table.starts_with("dhow-net-")), "{tables:?}");
        let files: Vec<_> = fs::read_dir(&names).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(files, [id("kept").as_str()]);
        let mut socket = RouteSocket::open().unwrap();
        assert!(socket.link("dhow0").unwrap().is_some());
        assert!(socket.link(network.bridge()).unwrap().is_some());

        // A network whose record is gone.
        host.db.write(|tx| tx.delete_network(&network.id)).unwrap();
        host.networks.sweep(&host.db, &|_| true).unwrap();
        assert_eq!(socket.link(network.bridge()).unwrap(), None);
        assert!(!names.exists());
    });
}
