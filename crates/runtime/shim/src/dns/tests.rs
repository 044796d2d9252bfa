use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;

use rustix::net::getsockname;

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;

/// A name server on loopback, a server that it asks, and one who asks it.
struct Fixture {
    dir: PathBuf,
    poller: Poller,
    server: Server,
    upstream: UdpSocket,
    asker: UdpSocket,
}

impl Fixture {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("dhow-dns-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("1111"), "web 172.18.0.2\nalias 172.18.0.2\n").unwrap();
        fs::write(dir.join("2222"), "db 172.18.0.3\nalias 172.18.0.3\ndb 2001:db8::3\n").unwrap();
        fs::write(dir.join("3333.new"), "half 172.18.0.9\n").unwrap();
        let socket = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            socket
        };
        let upstream = socket();
        let poller = Poller::new().unwrap();
        let sockets = Sockets::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = endpoint::Dns {
            directories: vec![dir.join("gone"), dir.clone()],
            links: [("linked".to_owned(), "web".to_owned())].into(),
            upstream: vec![upstream.local_addr().unwrap()],
            // Here both are the same network; only root may go there.
            inside: rustix::process::geteuid().is_root(),
        };
        let inside = std::fs::File::open("/proc/self/ns/net").unwrap().into();
        let server = Server::new(&poller, sockets, config, &inside).unwrap();
        let asker = socket();
        asker.connect(address(&server.udp)).unwrap();
        Self { dir, poller, server, upstream, asker }
    }

    /// Lets the server deal with what is ready.
    fn turn(&mut self) {
        let mut events = Vec::new();
        let wait = Some(Duration::from_mins(1));
        self.poller.wait(wait, |token, ready| events.push((token, ready))).unwrap();
        for (token, ready) in events {
            let Token::Dns(token) = token else { panic!("{token:?}") };
            self.server.on_event(&self.poller, token, ready);
        }
    }

    /// The response code and addresses, or names, that a question about `name` gets.
    fn ask(&mut self, name: &str, kind: u16) -> (u8, Vec<String>) {
        self.asker.send(&question(7, name, kind)).unwrap();
        self.turn();
        self.response()
    }

    fn response(&self) -> (u8, Vec<String>) {
        let mut buffer = [0; 512];
        let n_bytes = self.asker.recv(&mut buffer).unwrap();
        read_response(&buffer[..n_bytes])
    }

    /// What the server asks upstream.
    fn relayed(&mut self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 512];
        let (n_bytes, from) = self.upstream.recv_from(&mut buffer).unwrap();
        (buffer[..n_bytes].to_vec(), from)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn address(socket: &Watched) -> SocketAddr {
    getsockname(socket).unwrap().try_into().unwrap()
}

fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\0");
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(b"\0\x01");
    message
}

/// The answer that a server would give to `query`.
fn answered(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let query = dnsmsg::parse(query).unwrap();
    let records = vec![dnsmsg::Record::A(Ipv4Addr::from(address))];
    dnsmsg::reply(&query, &Reply::Records { ttl: 60, records }, 512)
}

fn read_response(message: &[u8]) -> (u8, Vec<String>) {
    assert_eq!(message[..2], [0, 7], "the asker's own number");
    let (_, mut at) = dnsmsg::Name::parse(message, 12).unwrap();
    at += 4;
    let mut found = Vec::new();
    for _ in 0..message[7] {
        let (_, after) = dnsmsg::Name::parse(message, at).unwrap();
        let length = usize::from(message[after + 9]);
        let data = &message[after + 10..after + 10 + length];
        found.push(match message[after + 1] {
            1 => Ipv4Addr::from(*data.first_chunk::<4>().unwrap()).to_string(),
            28 => std::net::Ipv6Addr::from(*data.first_chunk::<16>().unwrap()).to_string(),
            _ => dnsmsg::Name::parse(message, after + 10).unwrap().0.to_string(),
        });
        at = after + 10 + length;
    }
    found.sort();
    (message[3] & 15, found)
}

fn strings<const N: usize>(all: [&str; N]) -> Vec<String> {
    all.map(str::to_owned).to_vec()
}

#[test]
fn containers_are_found_by_name_in_any_letter_case() {
    let mut at = Fixture::new("names");
    assert_eq!(at.ask("web", A), (0, strings(["172.18.0.2"])));
    assert_eq!(at.ask("WEB", A), (0, strings(["172.18.0.2"])));
    assert_eq!(at.ask("alias", A), (0, strings(["172.18.0.2", "172.18.0.3"])));
    assert_eq!(at.ask("db", AAAA), (0, strings(["2001:db8::3"])));
    assert_eq!(at.ask("web", AAAA), (0, vec![]), "the name exists, without such an address");
    assert_eq!(at.ask("3.0.18.172.in-addr.arpa", 12), (0, strings(["db"])));
}

#[test]
fn other_names_are_asked_of_others_under_another_number() {
    let mut at = Fixture::new("relay");
    at.asker.send(&question(7, "example.org", A)).unwrap();
    at.turn();
    let (query, from) = at.relayed();
    assert_eq!(query[2..], question(0, "example.org", A)[2..]);

    // Neither another's packet, nor another number, nor another question is an answer.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&answered(&query, [6, 6, 6, 6]), from).unwrap();
    let mut other_number = answered(&query, [6, 6, 6, 6]);
    other_number[0] ^= 1;
    at.upstream.send_to(&other_number, from).unwrap();
    let mut other_question = question(0, "example.com", A);
    other_question[..2].copy_from_slice(&query[..2]);
    at.upstream.send_to(&answered(&other_question, [6, 6, 6, 6]), from).unwrap();
    at.upstream.send_to(&answered(&query, [93, 184, 215, 14]), from).unwrap();
    // They may come one by one.
    while !at.server.relays.is_empty() {
        at.turn();
    }
    assert_eq!(at.response(), (0, strings(["93.184.215.14"])));
}

#[test]
fn two_questions_at_once_do_not_mix() {
    let mut at = Fixture::new("mix");
    let numbers: Vec<_> = ["one.example", "two.example"]
        .into_iter()
        .map(|name| {
            at.asker.send(&question(7, name, A)).unwrap();
            at.turn();
            at.relayed()
        })
        .collect();
    assert_ne!(numbers[0].1, numbers[1].1, "each has a port of its own");
    for (address, (query, from)) in [[1, 1, 1, 1], [2, 2, 2, 2]].into_iter().zip(&numbers).rev() {
        at.upstream.send_to(&answered(query, address), from).unwrap();
        at.turn();
        assert_eq!(at.response().1, strings([&Ipv4Addr::from(address).to_string()]));
    }
}

#[test]
fn when_nobody_answers_the_asker_is_told() {
    let mut at = Fixture::new("silence");
    at.asker.send(&question(7, "example.org", A)).unwrap();
    at.turn();
    at.relayed();
    let late = at.server.deadline().unwrap();
    at.server.pass_time(&at.poller, late);
    assert_eq!(at.response().0, 2);

    at.server.config.upstream.clear();
    assert_eq!(at.ask("example.org", A).0, 2, "there is nobody to ask");
    assert_eq!(at.ask("nobody", A).0, 3, "which would be a name of the network's");
}

#[test]
fn what_is_no_query_is_refused_or_ignored() {
    let mut at = Fixture::new("bad");
    let mut response = question(7, "web", A);
    response[2] |= 0x80;
    at.asker.send(&response).unwrap();
    at.asker.send(&question(7, "web", A)[..14]).unwrap();
    at.turn();
    let mut buffer = [0; 512];
    at.asker.set_nonblocking(true).unwrap();
    let n_bytes = loop {
        match at.asker.recv(&mut buffer) {
            Ok(n_bytes) => break n_bytes,
            // The second comes by itself.
            Err(_) => at.turn(),
        }
    };
    assert_eq!((n_bytes, buffer[3] & 15), (12, 1), "only the second is answered");
}

#[test]
fn both_sides_of_a_tcp_question_use_tcp() {
    let mut at = Fixture::new("tcp");
    let upstream = TcpListener::bind(at.upstream.local_addr().unwrap()).unwrap();
    let mut asker = TcpStream::connect(address(&at.server.accept)).unwrap();
    let mut framed = |name: &str| {
        let query = question(7, name, A);
        asker.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
        asker.write_all(&query).unwrap();
    };
    // Two in one go: one known here, one not.
    framed("web");
    framed("example.org");
    while at.server.relays.is_empty() {
        at.turn();
    }
    let (mut relayed, _) = upstream.accept().unwrap();
    while at.server.relays.values().all(Relay::is_sending) {
        at.turn();
    }
    let mut length = [0; 2];
    relayed.read_exact(&mut length).unwrap();
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    relayed.read_exact(&mut query).unwrap();
    let answer = answered(&query, [9, 9, 9, 9]);
    relayed.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
    relayed.write_all(&answer).unwrap();
    while !at.server.relays.is_empty() {
        at.turn();
    }
    for want in ["172.18.0.2", "9.9.9.9"] {
        let mut length = [0; 2];
        asker.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        asker.read_exact(&mut message).unwrap();
        assert_eq!(read_response(&message), (0, strings([want])));
    }
}

#[test]
fn connections_that_never_ask_hold_nobody_up() {
    let mut at = Fixture::new("idle");
    let address = address(&at.server.accept);
    let mut idle = Vec::new();
    for n in 0..3 * MAX_ASKERS {
        let mut connection = TcpStream::connect(address).unwrap();
        // Half of a length, an empty message, half of a message.
        connection.write_all([&b"\0"[..], b"\0\0", b"\0\x40half"][n % 3]).unwrap();
        idle.push(connection);
        at.turn();
    }
    assert!(at.server.askers.len() <= MAX_ASKERS);
    let mut asker = TcpStream::connect(address).unwrap();
    let query = question(7, "web", A);
    asker.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
    asker.write_all(&query).unwrap();
    asker.set_nonblocking(true).unwrap();
    let mut length = [0; 2];
    while asker.read_exact(&mut length).is_err() {
        at.turn();
    }
    let late = at.server.deadline().unwrap() + ASKER_IDLE;
    at.server.pass_time(&at.poller, late);
    assert!(at.server.askers.is_empty());
}
