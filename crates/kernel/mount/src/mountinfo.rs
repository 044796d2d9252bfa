//! The mounts that a process sees, as `/proc/PID/mountinfo` has them: `proc_pid_mountinfo(5)`.
//!
//! Names are any bytes: a mount point that is not UTF-8 is one like the others.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use sys::{Call, Error};

/// One mount: a line, whose fields are as the kernel wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted<'t> {
    /// Its number; `statx(2)` and `/proc/PID/fdinfo` call it `mnt_id`.
    pub id: u64,
    /// The number of the mount that it is on.
    pub parent: u64,
    /// What is mounted on it appears on its peers, and the other way round.
    pub shared: bool,
    /// What is mounted where it was taken from appears on it: it is a slave.
    pub follows: bool,
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    /// The type of the file system: `ext4`, or `fuse.sshfs`.
    pub kind: &'t [u8],
    /// The options of the file system, with commas between.
    pub super_options: &'t [u8],
    root: &'t [u8],
    point: &'t [u8],
    options: &'t [u8],
}

/// All mounts in the text of a mountinfo. A line that is not of the documented form is left out.
pub fn mounts(text: &[u8]) -> impl DoubleEndedIterator<Item = Mounted<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(parse)
}

/// The text of a process's mountinfo: `self`, `thread-self`, or its number.
pub fn read(process: &str) -> Result<Vec<u8>, Error> {
    let path = format!("/proc/{process}/mountinfo");
    // In one go, mostly: what the kernel has to say is not told beforehand.
    let mut text = Vec::with_capacity(16 << 10);
    std::fs::File::open(&path)
        .and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut text))
        .call(|| format!("read({path:?})"))?;
    Ok(text)
}

impl Mounted<'_> {
    /// What of the file system is mounted: `/` unless it is a part.
    pub fn root(&self) -> PathBuf {
        unescape(self.root)
    }

    /// Where it is mounted, from the root of the process.
    pub fn point(&self) -> PathBuf {
        unescape(self.point)
    }

    /// Whether it is mounted at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        self.point() == path
    }

    /// Whether the mount has an option, such as `ro`.
    pub fn has(&self, option: &str) -> bool {
        self.options.split(|byte| *byte == b',').any(|one| one == option.as_bytes())
    }
}

fn parse(line: &[u8]) -> Option<Mounted<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let device = (number(&device[..colon])?, number(&device[colon + 1..])?);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    // Any number of optional fields comes before a hyphen.
    let optional = fields.by_ref().take_while(|field| *field != b"-");
    let (shared, follows) = optional.fold((false, false), |(shared, follows), field| {
        (shared | field.starts_with(b"shared:"), follows | field.starts_with(b"master:"))
    });
    let kind = fields.next()?;
    let super_options = fields.nth(1)?;
    Some(Mounted { id, parent, shared, follows, device, kind, super_options, root, point, options })
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Space, tab, line break and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let (byte, after) = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after)
            }
            _ => (*first, tail),
        };
        plain.push(byte);
        rest = after;
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let text =
            b"47 48 254:0 /a /b\\040c\\134 ro,nosuid master:3 shared:1 - ext4 /dev/vda rw,x\n";
        let all: Vec<_> = mounts(text).collect();
        let [line] = all[..] else { panic!("{all:?}") };
        assert_eq!((line.id, line.parent, line.device), (47, 48, (254, 0)));
        assert!(line.shared && line.follows);
        assert_eq!((line.root(), line.point()), (PathBuf::from("/a"), PathBuf::from("/b c\\")));
        assert_eq!((line.kind, line.super_options), (&b"ext4"[..], &b"rw,x"[..]));
        assert!(line.has("ro") && line.has("nosuid") && !line.has("nodev") && !line.has("nosu"));
        assert!(line.is_at(Path::new("/b c\\")) && !line.is_at(Path::new("/b")));
    }

    #[test]
    fn what_is_torn_or_odd() {
        for none in ["", "34 31", "35 31 0:3 / /x rw - cgroup", "x 1 0:3 / /x rw - a b rw"] {
            assert_eq!(mounts(none.as_bytes()).count(), 0, "{none}");
        }
        let odd = b"1 2 0:3 / /a\xff\\+12\\777\\04 rw - tmpfs  rw\n";
        let points: Vec<_> = mounts(odd).map(|line| line.point().into_os_string()).collect();
        assert_eq!(points, [OsString::from_vec(b"/a\xff\\+12\\777\\04".to_vec())]);
    }

    #[test]
    fn this_process_has_a_root() {
        let text = read("self").unwrap();
        assert!(mounts(&text).any(|line| line.is_at(Path::new("/"))));
    }
}
