//! Archives on their way between the thread that packs or unpacks them and the connection.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// How much of an archive is sent at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// An archive that is written here and sent by another.
pub(super) struct Sending {
    pub(super) sender: mpsc::Sender<io::Result<Bytes>>,
    pub(super) buffer: Vec<u8>,
    pub(super) sent: u64,
}

impl Sending {
    /// Sends the rest, or has what is sent end in an error: half of it must not look whole.
    pub(super) fn end(&mut self, outcome: &std::result::Result<(), ::cp::Error>) {
        if outcome.is_ok() {
            _ = self.flush();
        } else {
            _ = self.sender.blocking_send(Err(io::Error::other("the archive broke off")));
        }
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.sent += full.len() as u64;
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(Bytes::from(full))).map_err(gone)
    }
}

/// An archive that another receives.
pub(super) struct Receiving {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    pub(super) received: u64,
}

impl Receiving {
    pub(super) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, piece: Bytes::new(), received: 0 }
    }
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece,
            }
        }
        let n = self.piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        self.received += n as u64;
        Ok(n)
    }
}
