//! Which ids the engine's user namespace has.

use std::fs;
use std::path::Path;

use oci::runtime::IdMapping;
use plan::IdMaps;

/// The ids of an ordinary user's engine.
#[derive(Clone, Debug)]
pub struct Ids {
    /// For the user namespace: 0 is the user, from 1 on the subordinate ids.
    pub maps: IdMaps,
    /// Why there is no id but the user's own. `None`: there are.
    pub single: Option<String>,
}

/// Looks up the ids of the user with these numbers.
pub fn ids(uid: u32, gid: u32) -> Ids {
    look_up(uid, gid, Path::new("/etc"), has_helpers())
}

fn look_up(uid: u32, gid: u32, etc: &Path, helpers: bool) -> Ids {
    let read = |name: &str| fs::read_to_string(etc.join(name)).unwrap_or_default();
    let name = user_name(&read("passwd"), uid).unwrap_or_default();
    let ranges = |file: &str| ranges(&read(file), &name, uid);
    let (uids, gids) = (ranges("subuid"), ranges("subgid"));
    let who = if name.is_empty() { uid.to_string() } else { name };
    let single = if !helpers {
        Some("newuidmap and newgidmap are not installed (Debian: uidmap)".to_owned())
    } else if uids.is_empty() || gids.is_empty() {
        Some(format!("user {who} has no range in /etc/subuid and /etc/subgid (see usermod -v -w)"))
    } else {
        None
    };
    let (uids, gids) = if single.is_some() { (Vec::new(), Vec::new()) } else { (uids, gids) };
    Ids {
        maps: IdMaps { uid: one_after_another(uid, &uids), gid: one_after_another(gid, &gids) },
        single,
    }
}

fn has_helpers() -> bool {
    ["newuidmap", "newgidmap"].iter().all(|tool| container::id_helper(tool).is_some())
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(of)
}

/// The lines `NAME:FIRST:COUNT` of subuid(5) that are this user's, by name or by number.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let of = |line: &str| {
        let mut fields = line.trim().split(':');
        let whose = fields.next().filter(|whose| !whose.is_empty())?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (whose == name || whose == number).then_some(range)
    };
    text.lines().filter_map(of).filter(|(_, count)| *count > 0).collect()
}

fn one_after_another(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMapping> {
    let mut maps = vec![IdMapping { container_id: 0, host_id: own, size: 1 }];
    let mut next = 1_u32;
    for (first, count) in ranges {
        maps.push(IdMapping { container_id: next, host_id: *first, size: *count });
        next = next.saturating_add(*count);
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc(name: &str, passwd: &str, sub: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("dhow-ids-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in [("passwd", passwd), ("subuid", sub), ("subgid", sub)] {
            fs::write(dir.join(file), text).unwrap();
        }
        dir
    }

    fn extents(maps: &[IdMapping]) -> Vec<(u32, u32, u32)> {
        maps.iter().map(|map| (map.container_id, map.host_id, map.size)).collect()
    }

    #[test]
    fn the_ranges_of_a_user_come_one_after_the_other() {
        let passwd = "root:x:0:0::/:/bin/sh\nada:x:1000:100::/:/bin/sh\n";
        let sub = "bob:1:1\nada:100000:65536\n1000:300000:10\nada:7:0\n# ada:5:5\n";
        let dir = etc("ranges", passwd, sub);
        let found = look_up(1000, 100, &dir, true);
        assert_eq!(found.single, None);
        let rest = [(1, 100_000, 65_536), (65_537, 300_000, 10)];
        assert_eq!(extents(&found.maps.uid), [&[(0, 1000, 1)][..], &rest].concat());
        assert_eq!(extents(&found.maps.gid), [&[(0, 100, 1)][..], &rest].concat());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_ranges_or_helpers_there_is_the_own_id_alone() {
        let dir = etc("none", "ada:x:1000:100::/:/bin/sh\n", "bob:1:1\n");
        for (helpers, why) in [(true, "user ada has no range"), (false, "newuidmap")] {
            let found = look_up(1000, 100, &dir, helpers);
            assert!(found.single.unwrap().contains(why));
            assert_eq!(extents(&found.maps.uid), [(0, 1000, 1)]);
            assert_eq!(extents(&found.maps.gid), [(0, 100, 1)]);
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
