//! Who a container's processes are: names and numbers, looked up in the image's own files.
//!
//! The files are read as data; no library of the host's or the image's has a part in it. A number
//! is never looked up as a name: an image could have a user called `1000` with the id 0.

use oci::runtime::User;

use crate::Error;

/// The largest id, as Docker has it; the next would be negative for programs that use `int`.
const MAX_ID: u32 = i32::MAX as u32;
/// How many lines of a file are looked at.
const MAX_LINES: usize = 100_000;

/// Whom a container runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// For the runtime.
    pub(crate) user: User,
    /// The home directory, `/` where none is known.
    pub(crate) home: String,
}

/// The contents of the image's `/etc/passwd` and `/etc/group`; empty where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accounts<'a> {
    pub(crate) passwd: &'a [u8],
    pub(crate) group: &'a [u8],
}

/// A line of `passwd(5)`.
struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `group(5)`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Looks up `USER[:GROUP]`, each a name or a number, and the names or numbers of more groups.
pub(crate) fn look_up(
    wanted: &str,
    additional: &[String],
    accounts: Accounts<'_>,
) -> Result<Identity, Error> {
    let (user, group) = wanted.split_once(':').unwrap_or((wanted, ""));

    let entry = match number(user)? {
        Some(uid) => passwd(accounts).find(|entry| entry.uid == uid).ok_or(uid),
        // Without a name it is root, whatever root is called in the image.
        None if user.is_empty() => passwd(accounts).find(|entry| entry.uid == 0).ok_or(0),
        None => Ok(passwd(accounts).find(|entry| entry.name == user).ok_or_else(|| {
            Error::Invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            ))
        })?),
    };
    let (uid, mut gid, name, home) = match &entry {
        Ok(entry) => (entry.uid, entry.gid, entry.name, entry.home),
        Err(uid) => (*uid, 0, "", "/"),
    };

    let mut gids = Vec::new();
    if !group.is_empty() {
        gid = group_id(group, accounts)?;
    } else if !name.is_empty() {
        gids.extend(
            groups(accounts)
                .filter(|group| group.members.split(',').any(|member| member == name))
                .map(|group| group.gid),
        );
    }
    for wanted in additional {
        gids.push(group_id(wanted, accounts)?);
    }
    // The primary group is one of them, or a set-group-ID program could shake off a group that a
    // file's permissions exclude (CVE-2022-36109).
    gids.insert(0, gid);
    let mut seen = std::collections::BTreeSet::new();
    gids.retain(|gid| seen.insert(*gid));

    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity {
        user: User { uid, gid, additional_gids: gids, ..User::default() },
        home: home.into(),
    })
}

/// A number, if it is one: digits only.
fn number(text: &str) -> Result<Option<u32>, Error> {
    // A number below zero is out of range, and no name.
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(Error::Invalid(format!(
            "uids and gids must be in range 0-{MAX_ID}: `{text}` is not"
        ))),
    }
}

fn group_id(wanted: &str, accounts: Accounts<'_>) -> Result<u32, Error> {
    if let Some(gid) = number(wanted)? {
        return Ok(gid);
    }
    groups(accounts).find(|group| group.name == wanted).map(|group| group.gid).ok_or_else(|| {
        Error::Invalid(format!("unable to find group {wanted}: no matching entries in group file"))
    })
}

/// Lines that are none are passed over, as the C library does.
fn passwd(accounts: Accounts<'_>) -> impl Iterator<Item = Passwd<'_>> {
    lines(accounts.passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number(fields.nth(1)?).ok()??;
        let gid = number(fields.next()?).ok()??;
        let home = fields.nth(1).unwrap_or("");
        Some(Passwd { name, uid, gid, home })
    })
}

fn groups(accounts: Accounts<'_>) -> impl Iterator<Item = Group<'_>> {
    lines(accounts.group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = number(fields.nth(1)?).ok()??;
        Some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|&byte| byte == b'\n')
        .take(MAX_LINES)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh
# comment:x:7:7::/:
1000:x:0:0:trojan:/root:/bin/sh
web:x:33:33:www:/var/www:/usr/sbin/nologin
broken
big:x:4294967297:0::/:
dev:x:1000:1000::/home/dev:/bin/sh
";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:33:\naudio:x:29:dev,web\nsudo:x:27:dev\n27000:x:0:\n";

    #[track_caller]
    fn check(user: &str, additional: &[&str], want: &Expect) {
        let additional: Vec<_> = additional.iter().map(|&group| group.to_owned()).collect();
        let got = match look_up(user, &additional, Accounts { passwd: PASSWD, group: GROUP }) {
            Ok(Identity { user, home }) => {
                format!("{}:{} {:?} {home}", user.uid, user.gid, user.additional_gids)
            }
            Err(err) => err.to_string(),
        };
        want.assert_eq(&got);
    }

    #[test]
    fn names_numbers_and_groups() {
        check("", &[], &expect!["0:0 [0] /root"]);
        check("dev", &[], &expect!["1000:1000 [1000, 29, 27] /home/dev"]);
        check("dev:web", &[], &expect!["1000:33 [33] /home/dev"]);
        check("web", &["audio", "44"], &expect!["33:33 [33, 29, 44] /var/www"]);
        check(":29", &[], &expect!["0:29 [29] /root"]);
        check("4242", &[], &expect!["4242:0 [0] /"]);
        check("1:2", &[], &expect!["1:2 [2] /"]);
        check("0000", &[], &expect!["0:0 [0] /root"]);
    }

    #[test]
    fn a_number_is_not_looked_up_as_a_name() {
        check("1000", &[], &expect!["1000:1000 [1000, 29, 27] /home/dev"]);
        check("1:27000", &[], &expect!["1:27000 [27000] /"]);
    }

    #[test]
    fn what_is_no_id_and_no_name_is_refused() {
        check(
            "nope",
            &[],
            &expect!["unable to find user nope: no matching entries in passwd file"],
        );
        check("-1", &[], &expect!["uids and gids must be in range 0-2147483647: `-1` is not"]);
        check("+1", &[], &expect!["unable to find user +1: no matching entries in passwd file"]);
        check("0x0", &[], &expect!["unable to find user 0x0: no matching entries in passwd file"]);
        check("dev:x", &[], &expect!["unable to find group x: no matching entries in group file"]);
        check("", &["x"], &expect!["unable to find group x: no matching entries in group file"]);
        check(
            "4294967296",
            &[],
            &expect!["uids and gids must be in range 0-2147483647: `4294967296` is not"],
        );
        check(
            "2147483648",
            &[],
            &expect!["uids and gids must be in range 0-2147483647: `2147483648` is not"],
        );
        check("big", &[], &expect!["unable to find user big: no matching entries in passwd file"]);
    }
}
