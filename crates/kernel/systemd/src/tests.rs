//! Against a bus that the test plays, at the other end of a socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use dbus::{HEADER, Kind, Message, Value};

use crate::{Error, Manager, Property};

/// What the bus does with a call.
enum Does {
    /// Replies.
    Replies(Vec<Value>),
    /// Sends this first, then replies.
    Says(Vec<Message>, Vec<Value>),
    /// Refuses.
    Refuses(&'static str, &'static str),
    /// Nothing.
    Nothing,
    /// Writes these bytes.
    Writes(Vec<u8>),
}

struct Fake {
    stream: UnixStream,
}

impl Fake {
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    fn authenticate(&mut self) {
        assert_eq!(self.line(), "\0AUTH EXTERNAL\r\n");
        self.stream.write_all(b"DATA\r\n").unwrap();
        assert_eq!(self.line(), "DATA\r\n");
        self.stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
        assert_eq!(self.line(), "BEGIN\r\n");
    }

    fn message(&mut self) -> Option<Message> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).ok()?;
        let mut bytes = vec![0; Message::length(&header).unwrap()];
        bytes[..HEADER].copy_from_slice(&header);
        self.stream.read_exact(&mut bytes[HEADER..]).unwrap();
        Some(Message::decode(&bytes).unwrap())
    }

    fn send(&mut self, message: &Message) {
        self.stream.write_all(&message.encode().unwrap()).unwrap();
    }
}

/// A bus that does something with each call after the first three, which every connection makes.
/// Returns the calls that it got.
fn bus(does: Vec<Does>) -> (UnixStream, JoinHandle<Vec<Message>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut fake = Fake { stream: theirs };
        fake.authenticate();
        let first = (0..3).map(|_| Does::Replies(vec![]));
        let mut got = Vec::new();
        for one in first.chain(does) {
            let Some(call) = fake.message() else { break };
            let mut reply = Message::new(Kind::Reply);
            reply.reply_to = call.serial;
            got.push(call);
            match one {
                Does::Replies(body) => reply.body = body,
                Does::Says(messages, body) => {
                    for message in &messages {
                        fake.send(message);
                    }
                    reply.body = body;
                }
                Does::Refuses(name, text) => {
                    reply.kind = Kind::Error;
                    reply.error = format!("org.freedesktop.systemd1.{name}");
                    reply.body = vec![Value::string(text)];
                }
                Does::Nothing => continue,
                Does::Writes(bytes) => {
                    fake.stream.write_all(&bytes).unwrap();
                    continue;
                }
            }
            fake.send(&reply);
        }
        // Until the other side has gone.
        while fake.message().is_some() {}
        got
    });
    (ours, thread)
}

fn job_removed(path: &str, result: &str) -> Message {
    let mut signal = Message::new(Kind::Signal);
    signal.path = "/org/freedesktop/systemd1".into();
    signal.interface = "org.freedesktop.systemd1.Manager".into();
    signal.member = "JobRemoved".into();
    signal.body = vec![
        Value::U32(1),
        Value::Path(path.into()),
        Value::string("a.scope"),
        Value::string(result),
    ];
    signal
}

fn job(path: &str) -> Vec<Value> {
    vec![Value::Path(path.into())]
}

const LONG: Duration = Duration::from_secs(20);

fn calls(thread: JoinHandle<Vec<Message>>) -> Vec<String> {
    thread.join().unwrap().into_iter().skip(3).map(|call| call.member).collect()
}

#[test]
fn a_unit_is_started_when_its_job_is_done() {
    let (socket, thread) = bus(vec![Does::Says(
        // Another's job; ours, before the reply that names it.
        vec![job_removed("/j/1", "failed"), job_removed("/j/2", "done")],
        job("/j/2"),
    )]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    let properties = [Property::new("TasksMax", Value::U64(5))];
    manager.start_transient("a.scope", &properties).unwrap();
    drop(manager);
    let got = thread.join().unwrap();
    let names: Vec<&str> = got.iter().map(|call| call.member.as_str()).collect();
    assert_eq!(names, ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]);
    let types: String = got[3].body.iter().map(|value| value.of_type().signature()).collect();
    assert_eq!(types, "ssa(sv)a(sa(sv))");
    assert_eq!(got[3].destination, "org.freedesktop.systemd1");
}

#[test]
fn a_unit_that_failed_before_is_forgotten_and_started_again() {
    let (socket, thread) = bus(vec![
        Does::Refuses("UnitExists", "Unit a.scope already exists."),
        Does::Replies(vec![]),
        Does::Says(vec![job_removed("/j/2", "done")], job("/j/2")),
    ]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    manager.start_transient("a.scope", &[]).unwrap();
    drop(manager);
    assert_eq!(calls(thread), ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]);
}

#[test]
fn a_job_that_fails_is_told_and_reset() {
    let (socket, thread) = bus(vec![
        Does::Says(vec![job_removed("/j/2", "failed")], job("/j/2")),
        Does::Refuses("NoSuchUnit", "Unit a.scope not loaded."),
    ]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    let error = manager.start_transient("a.scope", &[]).unwrap_err();
    assert_eq!(error.to_string(), "error creating systemd unit `a.scope`: got `failed`");
    drop(manager);
    assert_eq!(calls(thread), ["StartTransientUnit", "ResetFailedUnit"]);
}

#[test]
fn a_refusal_is_told_in_systemds_words_on_one_line() {
    let (socket, _thread) =
        bus(vec![Does::Refuses("BadUnitSetting", "Cannot set property X,\nor unknown property.")]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    let error = manager.set_properties("a.scope", &[Property::new("X", Value::Bool(true))]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "unable to set unit properties of \"a.scope\": Cannot set property X, or unknown property. \
         (org.freedesktop.systemd1.BadUnitSetting)"
    );
}

#[test]
fn a_unit_that_is_not_there_is_stopped() {
    let (socket, thread) =
        bus(vec![Does::Refuses("NoSuchUnit", "no"), Does::Refuses("NoSuchUnit", "no")]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    manager.stop("a.scope").unwrap();
    drop(manager);
    assert_eq!(calls(thread), ["StopUnit", "ResetFailedUnit"]);
}

#[test]
fn versions_are_numbers() {
    let version = |text: &str| vec![Value::string(text).variant()];
    let (socket, _thread) = bus(vec![
        Does::Replies(version("252.39-1~deb12u1")),
        Does::Replies(version("v245.4-1.fc32")),
        Does::Replies(version("new")),
        Does::Replies(vec![Value::Bool(true)]),
    ]);
    let mut manager = Manager::over(socket, LONG).unwrap();
    assert_eq!(manager.version().unwrap(), 252);
    assert_eq!(manager.version().unwrap(), 245);
    assert!(matches!(manager.version(), Err(Error::Protocol { .. })));
    assert!(matches!(manager.version(), Err(Error::Protocol { .. })));
}

#[test]
fn who_never_answers_is_not_waited_for_for_ever() {
    let short = Duration::from_millis(50);
    let (socket, _thread) = bus(vec![Does::Nothing]);
    let mut manager = Manager::over(socket, short).unwrap();
    assert!(matches!(manager.version(), Err(Error::Timeout { .. })));
    // The job's end is waited for, too.
    let (socket, _thread) = bus(vec![Does::Replies(job("/j/2")), Does::Replies(vec![])]);
    let mut manager = Manager::over(socket, short).unwrap();
    assert!(matches!(manager.start_transient("a.scope", &[]), Err(Error::Timeout { .. })));
    // One that takes nothing, and one that says nothing.
    let (socket, _theirs) = UnixStream::pair().unwrap();
    assert!(matches!(Manager::over(socket, short), Err(Error::Timeout { .. })));
}

#[test]
fn what_is_no_message_is_an_error() {
    let long = [b"l\x02\x00\x01".as_slice(), &[0xff; 12]].concat();
    for (bytes, what) in [(b"GET / HTTP/1.1\r\n\r\n".to_vec(), "version"), (long, "too long")] {
        let (socket, _thread) = bus(vec![Does::Writes(bytes)]);
        let mut manager = Manager::over(socket, LONG).unwrap();
        let error = manager.version().unwrap_err();
        let Error::Message { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains(what), "{source}");
    }
}

#[test]
fn who_refuses_or_goes_away_is_told() {
    let (socket, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut fake = Fake { stream: theirs };
        fake.line();
        fake.stream.write_all(b"REJECTED ANONYMOUS\r\n").unwrap();
    });
    let error = Manager::over(socket, LONG).unwrap_err();
    assert!(error.to_string().contains("REJECTED ANONYMOUS"), "{error}");
    thread.join().unwrap();
    let (socket, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(matches!(Manager::over(socket, LONG), Err(Error::Call { .. })));
}
