//! Access lists as archives have them, in words (`SCHILY.acl.access`, of star, GNU tar and
//! libarchive), to what the kernel keeps as an extended attribute.
//!
//! An image knows owners by number only. A list of libarchive's has the number at the end of an entry;
//! one of GNU tar's has it where the name has no owner on the machine that wrote it. A name alone says
//! nothing here, and without it the list would grant something else, so it is refused.
//!
//! Sources: acl(5), "ACL TEXT FORMS"; libarchive's `archive_entry_acl(3)`; `linux/posix_acl_xattr.h`.

use crate::{Name, number};

/// The attributes that the kernel keeps lists in, by the records' keys.
pub(crate) const KEYS: [(&[u8], &[u8]); 2] = [
    (b"SCHILY.acl.access", b"system.posix_acl_access"),
    (b"SCHILY.acl.default", b"system.posix_acl_default"),
];

/// More entries than any file system keeps.
const MOST: usize = 4096;
/// `linux/posix_acl_xattr.h`: the version, and whose number is not asked for.
const VERSION: u32 = 2;
const NOBODY: u32 = u32::MAX;

/// The value of the attribute. The error says what is wrong.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut entries = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        // A comment: what of the entry is in effect.
        let end = line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
        for one in line[..end].split(|byte| *byte == b',') {
            let one = one.trim_ascii();
            if !one.is_empty() {
                entries.push(entry(one)?);
            }
            if entries.len() > MOST {
                return Err(format!("an access list of more than {MOST} entries"));
            }
        }
    }
    // The kernel takes them in this order only.
    entries.sort_unstable();
    entries.dedup();
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

/// `TAG:WHO:PERMISSIONS[:NUMBER]`, or `TAG:PERMISSIONS` where nobody can be named.
fn entry(text: &[u8]) -> Result<(u16, u32, u16), String> {
    let malformed = || format!("a malformed access list: {}", Name(text.to_vec()));
    let fields: Vec<&[u8]> = text.split(|byte| *byte == b':').collect();
    let tag = *fields.first().ok_or_else(malformed)?;
    let (who, permissions, id) = match (tag, fields.as_slice()) {
        (b"mask" | b"m" | b"other" | b"o", [_, permissions]) => (&b""[..], *permissions, None),
        (_, [_, who, permissions]) => (*who, *permissions, None),
        (_, [_, who, permissions, id]) => (*who, *permissions, Some(*id)),
        _ => return Err(malformed()),
    };
    let tag = match (tag, who.is_empty() && id.is_none()) {
        (b"user" | b"u", true) => 0x01,
        (b"user" | b"u", false) => 0x02,
        (b"group" | b"g", true) => 0x04,
        (b"group" | b"g", false) => 0x08,
        (b"mask" | b"m", true) => 0x10,
        (b"other" | b"o", true) => 0x20,
        _ => return Err(malformed()),
    };
    let mut bits = 0;
    for letter in permissions {
        bits |= match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return Err(malformed()),
        };
    }
    if !matches!(tag, 0x02 | 0x08) {
        return Ok((tag, NOBODY, bits));
    }
    let number = number::parse_decimal(id.unwrap_or(who));
    match number.map(u32::try_from) {
        Some(Ok(id)) if id != NOBODY => Ok((tag, id, bits)),
        None if id.is_none() => Err(format!(
            "an access list for {}, whose number it does not say; make the archive with bsdtar, or \
             without access lists",
            Name(who.to_vec())
        )),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tag, permissions, id.
    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn all_ways_to_write_a_list() {
        let want = value(&[
            (1, 6, NOBODY),
            (2, 6, 7),
            (2, 4, 70_000),
            (4, 4, NOBODY),
            (8, 1, 50),
            (16, 6, NOBODY),
            (32, 0, NOBODY),
        ]);
        for text in [
            // libarchive's.
            "user::rw-,group::r--,other::---,user:lp:rw-:7,user:70000:r--,group:staff:--x:50,mask::rw-",
            // GNU tar's.
            "user::rw-\nuser:7:rw-\nuser:70000:r--\ngroup::r--\ngroup:50:--x\nmask::rw-\nother::---\n",
            "u::rw,u:7:rw-\t#effective:rw-\nu:70000:r , g::r,g::x:50, m:rw, o:---",
        ] {
            assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&want), "{text}");
        }
        assert_eq!(parse(b""), Ok(value(&[])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, why) in [
            ("user:lp:rw-", "an access list for \"lp\""),
            ("user", "malformed"),
            ("user:1", "malformed"),
            ("user:1:2:3:4", "malformed"),
            ("user::rwz", "malformed"),
            ("user:4294967295:r--", "malformed"),
            ("user:99999999999999999999999:r--", "an access list for"),
            ("user:x:r--:y", "malformed"),
            ("mask:5:r--", "malformed"),
            ("owner@:rwx::allow", "malformed"),
            ("default:user::rwx", "malformed"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many = "user:5:r--,".repeat(5000);
        assert!(parse(many.as_bytes()).unwrap_err().contains("more than 4096"));
    }
}
