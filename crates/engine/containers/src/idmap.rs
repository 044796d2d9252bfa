//! Mounts whose ids are mapped: files of a directory of the host, or of a volume, appear owned by the
//! container's user, and what that user makes belongs to the directory's owner. Nothing is chowned.

use oci::runtime::IdMapping as Extent;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How the ids of a mount are mapped, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IdMapping {
    /// The mount's owner is this user in the container; empty: whoever the container runs as.
    MatchUser(String),
    /// As in the container's user namespace.
    UserNamespace,
    /// What the file system has (`container_id`), and what is seen of it in the container.
    Maps {
        /// Users.
        uids: Vec<Extent>,
        /// Groups.
        gids: Vec<Extent>,
    },
}

/// The ids of users and groups, as the runtime takes them for a mount: `container_id` is what the file
/// system has, `host_id` what is seen through the mount, outside of any user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    pub(crate) uids: Vec<Extent>,
    pub(crate) gids: Vec<Extent>,
}

/// All ids that there are; the last number means none.
const ALL: u32 = u32::MAX;

impl IdMapping {
    /// Reads what stands after `idmap=`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Invalid(format!("invalid id mapping: {text}"));
        match text.split_once(':').unwrap_or((text, "")) {
            ("" | "true" | "1" | "match-user", user) => Ok(Self::MatchUser(user.into())),
            ("userns", "") => Ok(Self::UserNamespace),
            (maps, "") if maps.starts_with("uids=") || maps.starts_with("gids=") => {
                let (mut uids, mut gids) = (Vec::new(), Vec::new());
                for part in maps.split(';') {
                    let (which, list) = part.split_once('=').ok_or_else(bad)?;
                    let to = match which {
                        "uids" => &mut uids,
                        "gids" => &mut gids,
                        _ => return Err(bad()),
                    };
                    for extent in list.split('#') {
                        to.push(triplet(extent).ok_or_else(bad)?);
                    }
                }
                // One that is not given is like the other.
                if uids.is_empty() {
                    uids.clone_from(&gids);
                }
                if gids.is_empty() {
                    gids.clone_from(&uids);
                }
                Ok(Self::Maps { uids, gids })
            }
            _ => Err(bad()),
        }
    }

    /// The same of an API request.
    pub(crate) fn of_request(asked: &docker::container::IdMapping) -> Result<Self, Error> {
        if asked.user.is_empty() {
            return Self::parse(&asked.source);
        }
        match asked.source.as_str() {
            "" | "match-user" => Ok(Self::MatchUser(asked.user.clone())),
            other => Err(Error::Invalid(format!(
                "id mapping: a user cannot be given with the source \"{other}\""
            ))),
        }
    }
}

/// `FROM-TO-LEN`, as Podman has it.
fn triplet(text: &str) -> Option<Extent> {
    let mut numbers = text.split('-').map(str::parse::<u32>);
    let (Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    let fits =
        size > 0 && container_id.checked_add(size)? < ALL && host_id.checked_add(size)? < ALL;
    fits.then_some(Extent { container_id, host_id, size })
}

/// A mapping by which `owner` on the file system is `user` in the container and the other way round,
/// with all other ids as they are. Within a user namespace (`inside`, not empty) ids are seen as it has
/// them. Empty where nothing is to be mapped.
pub(crate) fn exchange(owner: u32, user: u32, inside: &[Extent]) -> Vec<Extent> {
    if owner == user && inside.is_empty() {
        return Vec::new();
    }
    let all = [Extent { container_id: 0, host_id: 0, size: ALL }];
    let inside = if inside.is_empty() { &all[..] } else { inside };
    let mut extents = Vec::new();
    for extent in inside {
        // Where the two are not, the mapping is that of the namespace.
        let end = extent.container_id + extent.size;
        let mut cuts = vec![extent.container_id, end];
        for id in [owner, user] {
            if (extent.container_id..end).contains(&id) {
                cuts.extend([id, id + 1]);
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        for pair in cuts.windows(2) {
            let (from, size) = (pair[0], pair[1] - pair[0]);
            let on_disk = match from {
                from if from == user => owner,
                from if from == owner => user,
                from => from,
            };
            let host_id = extent.host_id + (from - extent.container_id);
            extents.push(Extent { container_id: on_disk, host_id, size });
        }
    }
    // An owner whom the namespace does not have is the user all the same; who was there before is not.
    extents
}

/// What is seen in the container, as it is outside: `host_id` of each is an id of the container's.
pub(crate) fn outside(extents: &[Extent], inside: &[Extent]) -> Result<Vec<Extent>, Error> {
    let found = extents.iter().map(|extent| {
        if inside.is_empty() {
            return Ok(extent.clone());
        }
        let holds = |one: &&Extent| {
            one.container_id <= extent.host_id
                && extent.host_id + extent.size <= one.container_id + one.size
        };
        let one = inside.iter().find(holds).ok_or_else(|| {
            Error::Invalid(format!(
                "id mapping: the container's user namespace does not have the ids {} to {}",
                extent.host_id,
                extent.host_id + extent.size - 1
            ))
        })?;
        let host_id = one.host_id + (extent.host_id - one.container_id);
        Ok(Extent { host_id, ..extent.clone() })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(extents: &[Extent]) -> String {
        let each = extents.iter().map(|e| format!("{}-{}-{}", e.container_id, e.host_id, e.size));
        each.collect::<Vec<_>>().join("#")
    }

    #[test]
    fn words() {
        let user = |name: &str| IdMapping::MatchUser(name.into());
        for (text, want) in [
            ("", user("")),
            ("match-user", user("")),
            ("match-user:www:33", user("www:33")),
            ("userns", IdMapping::UserNamespace),
        ] {
            assert_eq!(IdMapping::parse(text).unwrap(), want, "{text}");
        }
        let maps = IdMapping::parse("uids=0-1-10#10-11-10;gids=0-100-10").unwrap();
        let IdMapping::Maps { uids, gids } = maps else { panic!("{maps:?}") };
        assert_eq!((show(&uids).as_str(), show(&gids).as_str()), ("0-1-10#10-11-10", "0-100-10"));
        for bad in [
            "x",
            "userns:1",
            "uids=",
            "uids=1-2",
            "uids=1-2-0",
            "uids=1-2-4294967295",
            "uids=1-2-3;x=1-1-1",
        ] {
            assert!(IdMapping::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_ids_change_places() {
        let last = ALL - 1001;
        assert_eq!(
            show(&exchange(1000, 33, &[])),
            format!("0-0-33#1000-33-1#34-34-966#33-1000-1#1001-1001-{last}")
        );
        assert_eq!(show(&exchange(33, 33, &[])), "");
        assert_eq!(show(&exchange(0, 1, &[])), format!("1-0-1#0-1-1#2-2-{}", ALL - 2));
        let inside = [Extent { container_id: 0, host_id: 100_000, size: 100 }];
        assert_eq!(show(&exchange(1000, 33, &inside)), "0-100000-33#1000-100033-1#34-100034-66");
        assert_eq!(show(&exchange(0, 0, &inside)), "0-100000-1#1-100001-99");
    }

    #[test]
    fn what_is_seen_is_in_the_namespace() {
        let wanted = [Extent { container_id: 1000, host_id: 5, size: 2 }];
        let inside = [Extent { container_id: 0, host_id: 100_000, size: 100 }];
        assert_eq!(show(&outside(&wanted, &inside).unwrap()), "1000-100005-2");
        assert_eq!(show(&outside(&wanted, &[]).unwrap()), "1000-5-2");
        let beyond = [Extent { container_id: 1000, host_id: 99, size: 2 }];
        assert!(outside(&beyond, &inside).is_err());
    }
}
