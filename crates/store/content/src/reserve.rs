//! Room that is kept for removing things: where a disk is full to the last byte, not even the note
//! can be written that something is about to be deleted.

use std::fs;
use std::io;

use crate::{Error, Store};

/// The file, and its size in bytes: a hundred pages of a database, and more.
const NAME: &str = "reserve";
const BYTES: usize = 512 << 10;
/// It is not made where less is free, in bytes.
const ROOM: u64 = 16 << 20;

impl Store {
    /// Makes the reserve, where there is none and room for it.
    pub fn keep_reserve(&self) -> Result<(), Error> {
        if self.root().join(NAME).exists() || self.disk()?.0 < ROOM {
            return Ok(());
        }
        // Noise: a file system that compresses would keep no room for zeros.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let bytes: Vec<u8> = noise.take(BYTES / 8).flatten().collect();
        self.replace(NAME, &bytes)
    }

    /// Gives the reserve away. Whether there was one.
    pub fn release_reserve(&self) -> Result<bool, Error> {
        let path = self.root().join(NAME);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { call: "unlink", path, source }),
        }
    }
}
