//! Receives of a tree what is told of its entries, as one file, and the files that patterns name (fsutil's transfer of
//! metadata alone).
//!
//! ```text
//! .fsutil-metadata   of each entry: its length in four bytes, little endian, and the message that told of it
//! ```

use std::os::fd::AsFd as _;
use std::path::Path;

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use docker::mode::{Kind, kind};
use dockerfile::ignore::Patterns;
use fsroot::Root;
use prost::Message as _;
use rustix::fs::{Mode, OFlags};
use sys::Call as _;

use super::path::split;
use super::receive::{ENTRIES, write_all};
use super::{Error, Received, Receiver, packet};

/// The file that says what was told. One of that name is not taken from a sender.
pub(super) const METADATA: &str = ".fsutil-metadata";
/// The most that it holds, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// One transfer: of a whole tree, or of what is told of it.
#[derive(Debug)]
pub(crate) enum Receiving {
    All(Box<Receiver>),
    Told(Box<Told>),
}

impl Receiving {
    /// Receives into a directory; with `files`, patterns, no more than these of the files themselves.
    pub(crate) fn new(into: &Path, files: Option<Patterns>) -> Result<Self, Error> {
        Ok(match files {
            None => Self::All(Box::new(Receiver::new(into)?)),
            Some(files) => Self::Told(Box::new(Told::new(into, files)?)),
        })
    }

    /// Takes the sender's next packet; answers what is to be sent to it.
    pub(crate) fn take(&mut self, packet: Packet) -> Result<Option<Packet>, Error> {
        match self {
            Self::All(receiver) => receiver.take(packet),
            Self::Told(told) => told.take(packet),
        }
    }

    fn receiver(&self) -> &Receiver {
        match self {
            Self::All(receiver) => receiver,
            Self::Told(told) => &told.files,
        }
    }

    /// What came, once `FIN` was answered.
    pub(crate) fn received(&self) -> Option<Received> {
        self.receiver().received()
    }

    /// Bytes that have come so far.
    pub(crate) fn n_bytes_sent(&self) -> u64 {
        self.receiver().n_bytes_sent()
    }
}

/// A transfer of what is told.
#[derive(Debug)]
pub(crate) struct Told {
    root: Root,
    wanted: Patterns,
    /// Takes the files, which are told of to it as if there were no others.
    files: Receiver,
    /// The numbers that its entries have with the sender.
    ids: Vec<u32>,
    n_entries: u32,
    /// The directories that the walk is in, as far as nothing in them was wanted yet.
    parents: Vec<(u32, Stat)>,
    list: Vec<u8>,
    is_written: bool,
}

impl Told {
    fn new(into: &Path, wanted: Patterns) -> Result<Self, Error> {
        Ok(Self {
            root: Root::open(into)?,
            wanted,
            files: Receiver::new(into)?,
            ids: Vec::new(),
            n_entries: 0,
            parents: Vec::new(),
            list: Vec::new(),
            is_written: false,
        })
    }

    fn take(&mut self, mut packet: Packet) -> Result<Option<Packet>, Error> {
        match (PacketType::try_from(packet.r#type), packet.stat.take()) {
            (Ok(PacketType::PacketStat), Some(stat)) => self.entry(stat),
            (Ok(PacketType::PacketData), _) => {
                let place = self.ids.binary_search(&packet.id).ok();
                let own = place.and_then(|place| u32::try_from(place).ok());
                packet.id = own.ok_or(Error::NotAsked(packet.id))?;
                self.pass(packet)
            }
            (_, stat) => {
                packet.stat = stat;
                self.pass(packet)
            }
        }
    }

    fn entry(&mut self, stat: Stat) -> Result<Option<Packet>, Error> {
        let id = self.n_entries;
        self.n_entries += 1;
        let bytes = stat.encode_to_vec();
        if id >= ENTRIES || self.list.len() + bytes.len() > MAX_BYTES {
            return Err(Error::TooMany(ENTRIES));
        }
        if stat.path == METADATA.as_bytes() {
            return Ok(None);
        }
        let length = u32::try_from(bytes.len()).map_err(|_| Error::TooMany(ENTRIES))?;
        self.list.extend_from_slice(&length.to_le_bytes());
        self.list.extend_from_slice(&bytes);
        let (parent, _) = split(&stat.path)?;
        while self.parents.last().is_some_and(|(_, last)| last.path != parent) {
            self.parents.pop();
        }
        if !self.wanted.matches(&String::from_utf8_lossy(&stat.path)) {
            if kind(stat.mode) == Kind::Directory {
                self.parents.push((id, stat));
            }
            return Ok(None);
        }
        for (id, parent) in std::mem::take(&mut self.parents) {
            self.want(id, parent)?;
        }
        self.want(id, stat)
    }

    fn want(&mut self, id: u32, stat: Stat) -> Result<Option<Packet>, Error> {
        self.ids.push(id);
        self.pass(Packet { stat: Some(stat), ..packet(PacketType::PacketStat, 0) })
    }

    fn pass(&mut self, packet: Packet) -> Result<Option<Packet>, Error> {
        let answer = self.files.take(packet)?;
        if self.files.received().is_some() && !self.is_written {
            // What was there of this name is gone: nobody has told of it.
            self.write()?;
            self.is_written = true;
        }
        let Some(mut answer) = answer else { return Ok(None) };
        if answer.r#type == i32::from(PacketType::PacketReq) {
            let asked = usize::try_from(answer.id).ok().and_then(|place| self.ids.get(place));
            answer.id = *asked.ok_or(Error::NotAsked(answer.id))?;
        }
        Ok(Some(answer))
    }

    fn write(&self) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.root, METADATA, flags | OFlags::CLOEXEC, mode)
            .call(|| format!("open({METADATA:?})"))?;
        rustix::fs::fchmod(&file, mode).call(|| format!("fchmod({METADATA:?})"))?;
        write_all(file.as_fd(), &self.list).call(|| format!("write({METADATA:?})"))?;
        Ok(())
    }
}
