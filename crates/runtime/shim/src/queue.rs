//! Bytes on their way to a descriptor that takes them when it can.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// What a queue holds at most before its source is no longer read, in bytes. A queue may exceed it
/// by one read.
pub(crate) const LIMIT_BYTES: usize = 64 * 1024;

/// Bytes in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: VecDeque<u8>,
}

impl Queue {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the source should go on.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < LIMIT_BYTES
    }

    /// Adds to the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }

    /// Writes as much as `to` takes without blocking. Fails where it will never take any more.
    pub(crate) fn flush(&mut self, to: impl AsFd) -> Result<(), Errno> {
        while !self.bytes.is_empty() {
            match rustix::io::write(&to, self.bytes.as_slices().0) {
                Ok(n_bytes) => drop(self.bytes.drain(..n_bytes)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // An idle container should cost nothing.
        self.bytes = VecDeque::new();
        Ok(())
    }

    /// Sends `bytes` after what already waits: at once where that is possible, the rest is kept.
    pub(crate) fn send(&mut self, to: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
        self.flush(&to)?;
        while self.bytes.is_empty() && !bytes.is_empty() {
            match rustix::io::write(&to, bytes) {
                Ok(n_bytes) => bytes = &bytes[n_bytes..],
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.push(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn what_a_full_pipe_does_not_take_waits_in_order() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut queue = Queue::default();
        let all: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        for part in all.chunks(30_000) {
            queue.send(&write, part).unwrap();
        }
        assert!(!queue.is_empty() && !queue.has_room());
        let mut got = Vec::new();
        while got.len() < all.len() {
            let mut buffer = [0; 4096];
            let n_bytes = rustix::io::read(&read, &mut buffer).unwrap();
            got.extend_from_slice(&buffer[..n_bytes]);
            queue.flush(&write).unwrap();
        }
        assert!(got == all && queue.is_empty());
    }

    #[test]
    fn a_closed_pipe_says_so() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        drop(read);
        assert_eq!(Queue::default().send(&write, b"x"), Err(Errno::PIPE));
    }
}
