//! A layer is inflated and hashed by one thread while another makes its files.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use diff::{Decoder, Limits};
use oci::DiffId;

use crate::Error;
use crate::install::Hashing;

/// What is handed over at once.
const PIECE: usize = 256 << 10;
/// So many pieces may wait.
const PIECES: usize = 4;

/// Calls `act` with the archive, inflated, which it has to read to its end. What it answers, and the
/// digest of the inflated archive. Where it fails, `stop` is called, so that nobody waits for more of
/// the archive.
pub(crate) fn decoded<T>(
    archive: Box<dyn Read + Send + '_>,
    limits: Limits,
    stop: &dyn Fn(),
    act: impl FnOnce(&mut Inflated) -> Result<T, Error>,
) -> Result<(T, DiffId), Error> {
    let (sender, pieces) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        let decoding = scope.spawn(move || decode(archive, limits, &sender));
        let mut inflated = Inflated { pieces, piece: Vec::new(), at: 0 };
        let acted = act(&mut inflated);
        if acted.is_err() {
            stop();
        }
        // Whoever still wants to hand over something learns that nobody takes it.
        drop(inflated);
        let decoded = match decoding.join() {
            Ok(decoded) => decoded,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (acted, decoded) {
            (Ok(acted), Ok(Some(diff))) => Ok((acted, diff)),
            // What cannot even begin, the other side sees as an archive that ends at once.
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(_), Ok(None)) => {
                Err(diff::Error::Read(io::Error::other("the archive was not read to its end"))
                    .into())
            }
        }
    })
}

/// Inflates an archive and hands it over. The digest of all; `None` where not all was taken.
fn decode(
    archive: Box<dyn Read + Send + '_>,
    limits: Limits,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> Result<Option<DiffId>, Error> {
    let mut archive = Hashing::new(archive);
    let mut decoder = Decoder::new(&mut archive, limits)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = Read::take(&mut decoder, PIECE as u64).read_to_end(&mut piece);
        let is_end = read.as_ref().is_ok_and(|n_read| *n_read == 0);
        if is_end {
            let diff = decoder.finish();
            return Ok(Some(diff.unwrap_or_else(|| DiffId(archive.finish()))));
        }
        // What came before it failed is an archive, as far as it goes.
        let is_taken = piece.is_empty() || sender.send(Ok(piece)).is_ok();
        if let Err(error) = read {
            _ = sender.send(Err(error));
            return Ok(None);
        }
        if !is_taken {
            return Ok(None);
        }
    }
}

/// The inflated archive.
pub(crate) struct Inflated {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // Nobody hands over anything any more: that was all.
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            self.piece = piece?;
            self.at = 0;
        }
        let n_read = buffer.len().min(self.piece.len() - self.at);
        buffer[..n_read].copy_from_slice(&self.piece[self.at..self.at + n_read]);
        self.at += n_read;
        Ok(n_read)
    }
}
