//! Modes of files as Go has them (`io/fs.FileMode`): in the head that comes with an archive of a container's files,
//! and in what BuildKit's fsutil sends.

/// A directory.
pub const DIRECTORY: u32 = 1 << 31;
/// A symbolic link.
pub const LINK: u32 = 1 << 27;
/// A device; a character device has [`CHARACTER`] as well.
const DEVICE: u32 = 1 << 26;
/// A named pipe.
pub const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;
/// All that says what something is.
const KIND: u32 = DIRECTORY | LINK | DEVICE | FIFO | SOCKET | CHARACTER | IRREGULAR;

/// What a mode says that something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A device, a socket, or a mixture that nothing is.
    Other,
}

/// What a mode says that something is.
#[must_use]
pub fn kind(mode: u32) -> Kind {
    match mode & KIND {
        0 => Kind::File,
        DIRECTORY => Kind::Directory,
        LINK => Kind::Link,
        FIFO => Kind::Fifo,
        _ => Kind::Other,
    }
}

const SPECIAL: [(u32, u32); 3] = [(SET_UID, 0o4000), (SET_GID, 0o2000), (STICKY, 0o1000)];

/// The permissions, as chmod(2) takes them.
#[must_use]
pub fn permissions(mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(go, _)| mode & go != 0).map(|(_, unix)| unix);
    mode & 0o777 | special.sum::<u32>()
}

/// `st_mode` of stat(2), in Go's form.
#[must_use]
pub fn from_unix(st_mode: u32) -> u32 {
    let kind = match st_mode & 0o17_0000 {
        0o04_0000 => DIRECTORY,
        0o12_0000 => LINK,
        0o01_0000 => FIFO,
        0o14_0000 => SOCKET,
        0o06_0000 => DEVICE,
        0o02_0000 => DEVICE | CHARACTER,
        _ => 0,
    };
    let special = SPECIAL.iter().filter(|(_, unix)| st_mode & unix != 0).map(|(go, _)| go);
    st_mode & 0o777 | kind | special.sum::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (unix, what) in [
            (0o10_0644, Kind::File),
            (0o10_4755, Kind::File),
            (0o04_1777, Kind::Directory),
            (0o04_2755, Kind::Directory),
            (0o12_0777, Kind::Link),
            (0o01_0600, Kind::Fifo),
            (0o02_0600, Kind::Other),
            (0o06_0600, Kind::Other),
            (0o14_0600, Kind::Other),
        ] {
            let go = from_unix(unix);
            assert_eq!((kind(go), permissions(go)), (what, unix & 0o7777), "{unix:o}");
        }
        assert_eq!(kind(DIRECTORY | LINK), Kind::Other);
    }
}
