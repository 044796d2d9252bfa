use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;

use rustix::net::getsockname;

use super::*;

/// A proxy that leads to `container`, and its own address.
fn proxy(container: SocketAddr, protocol: Protocol) -> (Poller, Proxy, SocketAddr) {
    let poller = Poller::new().unwrap();
    let mut proxy = Proxy::default();
    let host = "127.0.0.1:0".parse().unwrap();
    let wanted = [shim_protocol::Listener { host, container, protocol }];
    proxy.listen(&poller, &wanted).unwrap();
    let socket = &proxy.listeners.values().next().unwrap().socket;
    let address = getsockname(socket).unwrap().try_into().unwrap();
    (poller, proxy, address)
}

/// Lets the proxy work until `done`.
fn serve(poller: &Poller, proxy: &mut Proxy, mut done: impl FnMut(&Proxy) -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !done(proxy) {
        assert!(Instant::now() < until, "{proxy:?}");
        let mut events = Vec::new();
        let wait = Some(Duration::from_millis(50));
        poller.wait(wait, |token, ready| events.push((token, ready))).unwrap();
        for (token, ready) in events {
            let Token::Proxy(token) = token else { panic!("{token:?}") };
            proxy.on_event(poller, token, ready);
        }
        proxy.pass_time(poller, Instant::now());
    }
}

/// What `n` connections that send `upload` and then their end get back from a container that
/// answers, once it has read the end, with all that it read.
#[track_caller]
fn check_echo_after_end(n: usize, upload: &[u8]) {
    let container = TcpListener::bind("127.0.0.1:0").unwrap();
    let (poller, mut proxy, address) = proxy(container.local_addr().unwrap(), Protocol::Tcp);
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..n {
                let (mut connection, _) = container.accept().unwrap();
                thread::spawn(move || {
                    let mut all = Vec::new();
                    connection.read_to_end(&mut all).unwrap();
                    connection.write_all(&all).unwrap();
                });
            }
        });
        let peers: Vec<_> = (0..n)
            .map(|_| {
                scope.spawn(move || {
                    let mut peer = TcpStream::connect(address).unwrap();
                    peer.write_all(upload).unwrap();
                    peer.shutdown(Shutdown::Write).unwrap();
                    let mut all = Vec::new();
                    peer.read_to_end(&mut all).unwrap();
                    all
                })
            })
            .collect();
        serve(&poller, &mut proxy, |_| peers.iter().all(thread::ScopedJoinHandle::is_finished));
        for peer in peers {
            assert!(peer.join().unwrap() == upload);
        }
    });
    serve(&poller, &mut proxy, |proxy| proxy.connections.is_empty());
}

#[test]
fn the_end_of_one_direction_does_not_end_the_other() {
    check_echo_after_end(1, b"hello");
    check_echo_after_end(1, b"");
}

#[test]
fn more_than_all_buffers_hold_arrives_whole() {
    let upload: Vec<u8> = (0..16_000_000u32).map(|n| (n % 253) as u8).collect();
    check_echo_after_end(1, &upload);
}

#[test]
fn many_connections_are_served_at_once() {
    check_echo_after_end(60, &vec![b'x'; 100_000]);
}

#[test]
fn a_connection_that_the_container_refuses_ends() {
    // Bound, so that it is nobody else's, and not listened on.
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let closed = open_socket(any, SocketType::STREAM).unwrap();
    rustix::net::bind(&closed, &any).unwrap();
    let container: SocketAddr = getsockname(&closed).unwrap().try_into().unwrap();
    let (poller, mut proxy, address) = proxy(container, Protocol::Tcp);
    let mut peer = TcpStream::connect(address).unwrap();
    let mut taken = false;
    serve(&poller, &mut proxy, |proxy| {
        taken |= proxy.next_key > 1;
        taken && proxy.connections.is_empty()
    });
    assert_eq!(peer.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn at_the_limit_new_connections_wait_for_old_ones_to_end() {
    let container = TcpListener::bind("127.0.0.1:0").unwrap();
    let (poller, mut proxy, address) = proxy(container.local_addr().unwrap(), Protocol::Tcp);
    proxy.max_connections = 1;
    let first = TcpStream::connect(address).unwrap();
    let second = TcpStream::connect(address).unwrap();
    serve(&poller, &mut proxy, |proxy| proxy.paused.is_some());
    assert_eq!(proxy.connections.len(), 1);
    let (inside, _) = container.accept().unwrap();
    drop((first, inside));
    serve(&poller, &mut proxy, |proxy| proxy.next_key >= 3);
    assert_eq!(proxy.connections.len(), 1);
    drop(second);
}

#[test]
fn packets_find_their_way_back_to_each_peer() {
    let container = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (poller, mut proxy, address) = proxy(container.local_addr().unwrap(), Protocol::Udp);
    let peers = [0, 1].map(|_| {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        peer
    });
    for (n, peer) in peers.iter().enumerate() {
        peer.send(&[n as u8; 3]).unwrap();
    }
    serve(&poller, &mut proxy, |proxy| proxy.flows.len() == 2);
    let mut buffer = [0; 16];
    for _ in &peers {
        let (n_bytes, from) = container.recv_from(&mut buffer).unwrap();
        container.send_to(&buffer[..n_bytes], from).unwrap();
    }
    for (n, peer) in peers.iter().enumerate() {
        peer.set_nonblocking(true).unwrap();
        serve(&poller, &mut proxy, |_| {
            let got = peer.recv(&mut buffer);
            got.is_ok_and(|n_bytes| buffer[..n_bytes] == [n as u8; 3])
        });
    }
    let idle = proxy.deadline().unwrap().max(Instant::now() + Duration::from_secs(100));
    proxy.pass_time(&poller, idle);
    assert!(proxy.flows.is_empty());
}

#[test]
fn a_port_in_use_is_told_in_dockers_words() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let wanted =
        [shim_protocol::Listener { host: taken, container: taken, protocol: Protocol::Tcp }];
    let err = Proxy::default().listen(&Poller::new().unwrap(), &wanted).unwrap_err();
    let wire = err.wire();
    assert!(wire.port_taken);
    let want = format!("Bind for {taken} failed: port is already allocated");
    assert_eq!(wire.message, want);
    drop(holder);
}

#[test]
fn a_machine_without_ipv6_publishes_on_ipv4_alone() {
    let listener = |host: &str, protocol| shim_protocol::Listener {
        host: host.parse().unwrap(),
        container: "172.17.0.2:80".parse().unwrap(),
        protocol,
    };
    let all = [
        listener("0.0.0.0:80", Protocol::Tcp),
        listener("[::]:80", Protocol::Tcp),
        listener("[::]:80", Protocol::Udp),
    ];
    assert!(has_twin(&all[1], &all));
    assert!(!has_twin(&all[0], &all) && !has_twin(&all[2], &all));
    assert_eq!(docker_address(all[1].host), ":::80");
}
