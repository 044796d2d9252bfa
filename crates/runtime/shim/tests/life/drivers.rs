//! Log drivers: files, and somebody else.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use shim_protocol::{LogConfig, LogMode, Reply, Request, Rotation, SyslogAddress, SyslogFormat};

use crate::Case;
use crate::container::Container;
use crate::fixture::{base, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("files_that_make_place_are_compressed", files_that_make_place_are_compressed),
    ("local_keeps_every_line", local_keeps_every_line),
    ("syslog_over_every_kind_of_socket", syslog_over_every_kind_of_socket),
    ("a_slow_server_slows_and_loses_nothing", a_slow_server_slows_and_loses_nothing),
    ("non_blocking_loses_the_oldest", non_blocking_loses_the_oldest),
    ("a_server_that_dies_holds_nobody_up", a_server_that_dies_holds_nobody_up),
    ("without_a_server_there_is_no_start", without_a_server_there_is_no_start),
    ("the_journal_gets_entries", the_journal_gets_entries),
];

fn syslog(address: SyslogAddress, mode: LogMode) -> LogConfig {
    LogConfig::Syslog {
        address,
        format: SyslogFormat::Rfc3164,
        facility: 3,
        tag: "box".into(),
        hostname: "host".into(),
        mode,
    }
}

/// One that logs like that.
fn with(log: LogConfig, script: &str) -> Container {
    let mut it = Container::new(script);
    it.config.log = log;
    it
}

/// What follows `box[PID]: ` in a line.
fn message(line: &str) -> &str {
    line.split_once("]: ").unwrap_or_else(|| panic!("{line:?}")).1.trim_end()
}

fn files_that_make_place_are_compressed() {
    let rotation = Rotation { max_bytes: Some(2000), max_files: 4, compress: true };
    let mut it = with(
        LogConfig::JsonFile { rotation, attrs: [].into(), mode: LogMode::Blocking },
        "for i in $(seq 300); do echo line $i; done",
    );
    it.launch();
    assert_eq!(it.join(), 0);
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(&it.config.data_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| Some(name.split_once("-json.log")?.1.to_owned()))
            .collect();
        names.sort();
        names
    };
    // The last is compressed by a process that may outlive the shim.
    wait_until("the last is compressed", || names() == ["", ".1.gz", ".2.gz", ".3.gz"]);
    let path = it.config.data_dir.join(format!("{}-json.log.3.gz", it.config.id));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with("{\"log\":\"line ") && text.ends_with("Z\"}\n"), "{text}");
}

fn local_keeps_every_line() {
    let rotation = Rotation { max_bytes: None, max_files: 1, compress: false };
    let log = LogConfig::Local { rotation, mode: LogMode::Blocking };
    let mut it = with(log, "echo out; echo err >&2; printf end");
    it.launch();
    assert_eq!(it.join(), 0);
    let bytes = std::fs::read(it.config.data_dir.join("local-logs/container.log")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for wanted in ["stdout", "stderr", "out", "err", "end"] {
        assert!(text.contains(wanted), "{wanted} in {text:?}");
    }
}

fn syslog_over_every_kind_of_socket() {
    let script = "echo one; echo two >&2";
    let check = |lines: Vec<String>| {
        let mut lines = lines;
        lines.sort();
        assert!(lines[0].starts_with("<27>") && lines[1].starts_with("<30>"), "{lines:?}");
        assert_eq!((message(&lines[0]), message(&lines[1])), ("two", "one"));
        assert!(lines[0].contains(" host box["), "{lines:?}");
    };
    let datagram = |read: &dyn Fn(&mut [u8]) -> usize| {
        let mut buffer = [0; 500];
        let n_bytes = read(&mut buffer);
        String::from_utf8_lossy(&buffer[..n_bytes]).into_owned()
    };

    let path = base().join("dgram.sock");
    let server = UnixDatagram::bind(&path).unwrap();
    let mut it = with(syslog(SyslogAddress::Unix(vec![path]), LogMode::Blocking), script);
    it.launch();
    assert_eq!(it.join(), 0);
    check((0..2).map(|_| datagram(&|buffer| server.recv(buffer).unwrap())).collect());

    let path = base().join("stream.sock");
    let server = UnixListener::bind(&path).unwrap();
    let mut it = with(syslog(SyslogAddress::Unix(vec![path]), LogMode::Blocking), script);
    it.launch();
    assert_eq!(it.join(), 0);
    let reader = BufReader::new(server.accept().unwrap().0);
    check(reader.lines().map(Result::unwrap).collect());

    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Udp(server.local_addr().unwrap());
    let mut it = with(syslog(address, LogMode::Blocking), script);
    it.launch();
    assert_eq!(it.join(), 0);
    check((0..2).map(|_| datagram(&|buffer| server.recv(buffer).unwrap())).collect());

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(server.local_addr().unwrap());
    let mut it = with(syslog(address, LogMode::Blocking), script);
    it.launch();
    assert_eq!(it.join(), 0);
    let reader = BufReader::new(server.accept().unwrap().0);
    check(reader.lines().map(Result::unwrap).collect());
}

/// Much more than fits on the way to a server that reads nothing.
const MUCH: &str =
    "i=0; while [ $i -lt 4000 ]; do echo $i $PAD; i=$((i+1)); done; touch /done; sleep 100";

fn much(address: SyslogAddress, mode: LogMode) -> Container {
    let mut it =
        with(syslog(address, mode), &format!("PAD=$(head -c 2000 /dev/zero | tr '\\0' x); {MUCH}"));
    it.launch();
    it
}

fn a_slow_server_slows_and_loses_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(server.local_addr().unwrap());
    let mut it = much(address, LogMode::Blocking);
    let mut reader = BufReader::new(server.accept().unwrap().0);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!it.upper().join("done").exists(), "it waits for the server");
    // Others do not.
    let resize = Request::Resize { exec: Some("none".into()), width: 1, height: 1 };
    assert!(matches!(it.request(&resize).1, Reply::Error(_)));
    for number in 0..4000 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(message(&line).starts_with(&format!("{number} x")), "{number}: {line}");
    }
    wait_until("it has gone on", || it.upper().join("done").exists());
    let kill = Request::Kill { signal: 9, stop: true, keep: false };
    assert_eq!(it.request(&kill).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn non_blocking_loses_the_oldest() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(server.local_addr().unwrap());
    let mut it = much(address, LogMode::NonBlocking { max_buffer: 50_000 });
    wait_until("it waits for nobody", || it.upper().join("done").exists());
    let reader = BufReader::new(server.accept().unwrap().0);
    let kill = Request::Kill { signal: 9, stop: true, keep: false };
    let numbers = std::thread::spawn(move || {
        let number = |line: String| message(&line).split(' ').next().unwrap().parse().unwrap();
        reader.lines().map(Result::unwrap).map(number).collect::<Vec<u32>>()
    });
    assert_eq!(it.request(&kill).1, Reply::Ok);
    assert_eq!(it.join(), 137);
    let numbers = numbers.join().unwrap();
    assert!(numbers.is_sorted() && numbers[0] == 0, "{numbers:?}");
    assert_eq!(*numbers.last().unwrap(), 3999);
    assert!(numbers.len() < 4000, "some had to go");
}

fn a_server_that_dies_holds_nobody_up() {
    let path = base().join("dies.sock");
    let server = UnixListener::bind(&path).unwrap();
    let mut it = with(
        syslog(SyslogAddress::Unix(vec![path.clone()]), LogMode::Blocking),
        "echo first; while ! test -e /go; do sleep 0.01; done; seq 1 100000; exit 5",
    );
    it.launch();
    let mut reader = BufReader::new(server.accept().unwrap().0);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(message(&line), "first");
    drop((reader, server));
    std::fs::remove_file(path).unwrap();
    let go = it.exec("aa", &["touch", "/go"], crate::container::ALL, false);
    drop(crate::container::read_all(&go.0));
    it.wait_for_shim();
    assert_eq!(it.status().exit_code, 5);
    it.assert_nothing_left();
    assert!(it.shim_log().contains("log: "), "{}", it.shim_log());
}

fn without_a_server_there_is_no_start() {
    let path = base().join("nobody.sock");
    let mut it = with(syslog(SyslogAddress::Unix(vec![path]), LogMode::Blocking), "true");
    let Reply::Error(err) = it.create() else { panic!("it was made") };
    assert!(err.message.contains("open the log"), "{err}");
    it.wait_for_shim();
    it.assert_nothing_left();
}

fn the_journal_gets_entries() {
    let socket = base().join("journal.sock");
    let server = UnixDatagram::bind(&socket).unwrap();
    let fields = [("CONTAINER_NAME".to_owned(), "box".to_owned())].into();
    let mut it = with(LogConfig::Journald { socket, fields, mode: LogMode::Blocking }, "echo hi");
    it.launch();
    assert_eq!(it.join(), 0);
    let mut buffer = [0; 1000];
    let n_bytes = server.recv(&mut buffer).unwrap();
    let entry = String::from_utf8_lossy(&buffer[..n_bytes]);
    assert!(entry.starts_with("MESSAGE=hi\nPRIORITY=6\n"), "{entry}");
    assert!(entry.ends_with("\nCONTAINER_NAME=box\n"), "{entry}");
}
