//! The raw streams of an attached container or exec: input with detach keys, output in frames.

use std::io::{self, Read as _, Write as _};
use std::thread;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// Docker's own detach keys: Ctrl-P, Ctrl-Q.
pub(crate) const DETACH_KEYS: &str = "ctrl-p,ctrl-q";
/// The header of a frame: its kind, three zero bytes, the payload's length.
const FRAME_HEADER_BYTES: usize = 8;
/// The most that is read at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// Why the relaying of streams ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side closed: the program has ended.
    Closed,
    /// The person typed the detach keys.
    Detached,
}

/// Which of our streams take part.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// Standard input is sent.
    pub(crate) stdin: bool,
    /// The output is a terminal's: raw, not in frames.
    pub(crate) tty: bool,
    /// The keys that detach; empty for none.
    pub(crate) detach_keys: Vec<u8>,
}

/// Relays our streams to the connection and back, until either ends.
pub(crate) async fn relay(connection: Upgraded, streams: Streams) -> Result<Ended> {
    let (mut from, mut to) = tokio::io::split(TokioIo::new(connection));
    let mut input = streams.stdin.then(read_stdin);
    let mut detach = DetachKeys::new(streams.detach_keys);
    let mut output = Output::new(streams.tty);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        tokio::select! {
            // What the program said before it ended comes before anything that is typed.
            biased;
            read = from.read(&mut buffer) => match read {
                Ok(0) => return output.finish().map(|()| Ended::Closed),
                Ok(n) => output.write(&buffer[..n])?,
                Err(err) if err.kind() == io::ErrorKind::ConnectionReset => return Ok(Ended::Closed),
                Err(err) => return Err(Error::io("read from the container")(err)),
            },
            typed = next(&mut input), if input.is_some() => {
                let Some(bytes) = typed else {
                    input = None;
                    let _ = to.shutdown().await;
                    continue;
                };
                let (forward, leave) = detach.feed(&bytes);
                // A program that has closed its input does not end its output.
                let _ = to.write_all(&forward).await;
                let _ = to.flush().await;
                if leave {
                    return Ok(Ended::Detached);
                }
            }
        }
    }
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => None,
    }
}

/// Reads standard input on a thread of its own: it may be a file, which cannot be polled, or a
/// terminal that others share, which must not be made non-blocking.
pub(crate) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Takes multiplexed or raw output apart and prints it.
pub(crate) struct Output {
    raw: bool,
    /// What has come of a frame that is not whole yet.
    pending: Vec<u8>,
}

impl Output {
    /// `raw` where the container has a terminal.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, pending: Vec::new() }
    }

    /// Prints what is whole of the bytes that came.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.raw {
            return print(1, bytes);
        }
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.pending.get(at..at + FRAME_HEADER_BYTES) {
            let kind = header[0];
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let start = at + FRAME_HEADER_BYTES;
            let Some(payload) = self.pending.get(start..start + length) else { break };
            print(kind, payload)?;
            at = start + length;
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// The end: half a frame means that the connection broke.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Error::io("read from the container")(io::ErrorKind::UnexpectedEof.into()))
    }
}

/// Writes to standard output, or to standard error for frames of kind 2.
fn print(kind: u8, bytes: &[u8]) -> Result<()> {
    let done = if kind == 2 {
        io::stderr().write_all(bytes)
    } else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    match done {
        // Whoever read our output has left: so do we, quietly, as any filter does.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Err(Error::Exit(141)),
        done => done.map_err(Error::io("write output")),
    }
}

/// Watches what is typed for the keys that detach.
struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What is to be sent of the typed bytes, and whether the keys are complete. A beginning of
    /// the keys is held back until it is clear that it is none.
    fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut forward = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (forward, true);
                }
                continue;
            }
            forward.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(&byte));
            if self.matched == 0 {
                forward.push(byte);
            }
        }
        (forward, false)
    }
}

/// Parses detach keys: characters and `ctrl-X`, separated by commas.
pub(crate) fn parse_detach_keys(text: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Error::Usage(format!(
            "invalid detach keys {text:?}: give single characters or ctrl-X (X one of a-z, @, [, \\, ], ^, _), separated by commas"
        ))
    };
    text.split(',')
        .map(|key| match key.as_bytes() {
            [byte] => Ok(*byte),
            [b'c', b't', b'r', b'l', b'-', letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
            [b'c', b't', b'r', b'l', b'-', b'@'] => Ok(0),
            [b'c', b't', b'r', b'l', b'-', symbol @ b'['..=b'_'] => Ok(symbol - b'[' + 27),
            _ => Err(wrong()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_parsed_as_docker_does() {
        assert_eq!(parse_detach_keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(parse_detach_keys("a,ctrl-@,ctrl-[,ctrl-_").unwrap(), [b'a', 0, 27, 31]);
        assert!(parse_detach_keys("ctrl-").is_err());
        assert!(parse_detach_keys("").is_err());
    }

    #[test]
    fn a_beginning_of_the_keys_is_sent_once_it_is_none() {
        let mut keys = DetachKeys::new(vec![16, 17]);
        assert_eq!(keys.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.feed(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.feed(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.feed(b"\x11z"), (Vec::new(), true));
    }

    #[test]
    fn half_a_frame_at_the_end_is_an_error() {
        let mut output = Output::new(false);
        output.write(&[1, 0, 0, 0, 0, 0]).unwrap();
        assert!(output.finish().is_err());
    }
}
