//! The mounts of a process, as it sees them: `/proc/PID/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use sys::Call;

use crate::error::{Doing, Error};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number.
    pub(crate) id: u64,
    /// The file system, as `MAJOR:MINOR`.
    pub(crate) device: String,
    /// Where it is, from the root of the process.
    pub(crate) point: PathBuf,
    /// `ro,nosuid` and so on.
    pub(crate) options: Vec<String>,
    /// The file system's type.
    pub(crate) kind: String,
}

impl Line {
    /// Whether the mount has an option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

/// All mounts of a process.
pub(crate) fn read(pid: &str) -> Result<Vec<Line>, Error> {
    let path = format!("/proc/{pid}/mountinfo");
    let bytes = std::fs::read(&path).call(|| format!("read({path:?})")).doing(|| "mounts")?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// Fields 1, 3, 5 and 6 of `proc_pid_mountinfo(5)`, and the one after the hyphen.
fn parse(line: &[u8]) -> Option<Line> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?;
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let options = text(fields.next()?)?.split(',').map(str::to_owned).collect();
    let kind = text(fields.skip_while(|field| *field != b"-").nth(1)?)?;
    Some(Line { id, device, point, options, kind })
}

/// Space, tab, line break and backslash are written as three octal digits.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let code = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[4..] } else { tail };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = b"47 48 254:0 /a /b\\040c\\134 ro,nosuid master:3 - ext4 /dev/vda rw";
        let line = parse(line).unwrap();
        assert_eq!((line.id, line.device.as_str()), (47, "254:0"));
        assert_eq!((line.point, line.kind.as_str()), (PathBuf::from("/b c\\"), "ext4"));
        assert_eq!(line.options, ["ro", "nosuid"]);
        assert_eq!(parse(b""), None);
    }
}
