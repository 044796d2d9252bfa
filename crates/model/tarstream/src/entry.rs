//! What an archive holds.

use std::collections::BTreeMap;

/// One entry, without its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name, as it was written: any bytes but NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Of links: what they lead to.
    pub link: Vec<u8>,
    /// Permissions with set-id and sticky bits: `0o7777` at most.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name; may be empty.
    pub user: Vec<u8>,
    /// The group's name; may be empty.
    pub group: Vec<u8>,
    /// Bytes of the file when it is unpacked; 0 for all that is no file.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Of devices: major and minor number.
    pub device: (u32, u32),
    /// Extended attributes, whole names: `security.capability`, `user.x`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of sparse files: where the data goes, in order and without overlap; between the pieces are
    /// holes.
    pub sparse: Option<Vec<Segment>>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name of an entry before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A piece of a sparse file that is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Since 1970, rounded down; negative before.
    pub seconds: i64,
    /// What is above that, less than 1,000,000,000.
    pub nanoseconds: u32,
}
