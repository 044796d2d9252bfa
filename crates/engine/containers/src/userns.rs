//! User namespaces: which ids a container has, and where they are on the host.
//!
//! What a container's root consists of is not touched: its layers, the writable one too, have the ids
//! that it sees, and are mounted with the mapping. So a container may have another one at each start,
//! and what it wrote means the same to `commit` and `cp`.

use std::path::Path;

use docker::HostConfig;
use oci::runtime::IdMapping as Extent;

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::idmap::Maps;
use crate::record::Container;
use crate::spec::namespaces::{Mode, mode};

/// How many ids a container has that asks for `auto`.
const AUTO_SIZE: u32 = 65_536;
/// Where those of `auto` are: systemd keeps these for containers (its UIDS-GIDS), and gives them to no
/// user.
const AUTO_FIRST: u32 = 524_288;
const AUTO_LAST: u32 = 1_879_048_191;

/// What a container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No user namespace of its own.
    Host,
    /// The engine's default.
    Default,
    /// A range that no other container has.
    Auto(u32),
    /// Every id is what it is outside.
    KeepId,
}

/// Reads `--userns`.
pub(crate) fn wanted(text: &str) -> Result<Wanted, Error> {
    let bad = || Error::Invalid(format!("invalid USER mode: {text}"));
    if text.ends_with(':') {
        return Err(bad());
    }
    match text.split_once(':').unwrap_or((text, "")) {
        ("", "") => Ok(Wanted::Default),
        ("host", "") => Ok(Wanted::Host),
        ("auto", "") => Ok(Wanted::Auto(AUTO_SIZE)),
        ("auto", options) => {
            let size = options.strip_prefix("size=").ok_or_else(bad)?.parse().map_err(|_| bad())?;
            if !(1..=AUTO_LAST - AUTO_FIRST).contains(&size) {
                return Err(bad());
            }
            Ok(Wanted::Auto(size))
        }
        ("keep-id", "") => Ok(Wanted::KeepId),
        _ => Err(bad()),
    }
}

/// Refuses what cannot be with a user namespace, in Docker's words.
pub(crate) fn check(host: &HostConfig) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Invalid(why.into()));
    if host.privileged {
        return refuse(
            "privileged mode is incompatible with user namespaces. You must run the container in the host namespace when running privileged mode",
        );
    }
    if mode(&host.network_mode) == Mode::Host {
        return refuse(
            "cannot share the host's network namespace when user namespaces are enabled",
        );
    }
    if mode(&host.pid_mode) == Mode::Host {
        return refuse("cannot share the host PID namespace when user namespaces are enabled");
    }
    if mode(&host.ipc_mode) == Mode::Host {
        return refuse("cannot share the host's IPC namespace when user namespaces are enabled");
    }
    for text in [&host.network_mode, &host.pid_mode, &host.ipc_mode] {
        if matches!(mode(text), Mode::Container(_)) {
            return Err(Error::NotYet(format!(
                "joining a namespace of another container ({text}) with a user namespace of its own"
            )));
        }
    }
    Ok(())
}

impl Engine {
    /// The ids of a container that is about to be recorded; `others` are all that there are.
    pub(crate) fn user_namespace(
        &self,
        host: &HostConfig,
        others: &[Container],
    ) -> Result<Option<Maps>, Error> {
        let maps = match wanted(&host.userns_mode)? {
            Wanted::Host => return Ok(None),
            Wanted::Default
                if self.settings().userns_remap.is_empty() || rootless::is_rootless() =>
            {
                return Ok(None);
            }
            // Docker's: privileged containers say `host`.
            Wanted::Default => remapped(
                &self.settings().userns_remap,
                Path::new("/etc/subuid"),
                Path::new("/etc/subgid"),
            )?,
            Wanted::KeepId => {
                let size = mapped("/proc/self/uid_map").min(mapped("/proc/self/gid_map"));
                let all = vec![Extent { container_id: 0, host_id: 0, size }];
                Maps { uids: all.clone(), gids: all }
            }
            Wanted::Auto(_) if rootless::is_rootless() => {
                return Err(Error::Invalid(
                    "--userns auto is root's: nobody else can mount layers with other ids (an ordinary \
                     user's containers are in a user namespace anyway; keep-id gives one of its own)"
                        .into(),
                ));
            }
            Wanted::Auto(size) => {
                let taken = others.iter().filter_map(|one| one.record.user_namespace.as_ref());
                let taken: Vec<Extent> =
                    taken.flat_map(|maps| maps.uids.iter().chain(&maps.gids).cloned()).collect();
                let host_id = free(size, &taken).ok_or_else(|| {
                    Error::Conflict(format!("no {size} ids are free for a user namespace"))
                })?;
                let range = vec![Extent { container_id: 0, host_id, size }];
                Maps { uids: range.clone(), gids: range }
            }
        };
        check(host)?;
        Ok(Some(maps))
    }
}

/// How many ids there are here, from 0 on: all, or those of an ordinary user.
pub(crate) fn mapped(map: &str) -> u32 {
    let text = std::fs::read_to_string(map).unwrap_or_default();
    let mut end = 0_u32;
    for line in text.lines() {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        if let (Some(Ok(first)), Some(Ok(size))) = (numbers.next(), numbers.nth(1))
            && first <= end
        {
            end = end.max(first.saturating_add(size));
        }
    }
    if end == 0 { u32::MAX } else { end }
}

/// The first range of the pool that nobody has.
fn free(size: u32, taken: &[Extent]) -> Option<u32> {
    let mut taken: Vec<(u32, u32)> =
        taken.iter().map(|one| (one.host_id, one.host_id.saturating_add(one.size))).collect();
    taken.sort_unstable();
    let mut at = AUTO_FIRST;
    for (from, to) in taken {
        if from >= at.checked_add(size)? {
            break;
        }
        // On a boundary: it is easier to read.
        at = at.max(to.checked_next_multiple_of(AUTO_SIZE)?);
    }
    (at.checked_add(size)? - 1 <= AUTO_LAST).then_some(at)
}

/// The subordinate ids of `USER[:GROUP]`, as Docker's `userns-remap` has them; `default` is `dockremap`.
fn remapped(setting: &str, subuid: &Path, subgid: &Path) -> Result<Maps, Error> {
    let (user, group) = setting.split_once(':').unwrap_or((setting, setting));
    let name =
        |name: &str| if name == "default" { "dockremap".to_owned() } else { name.to_owned() };
    Ok(Maps { uids: subordinate(subuid, &name(user))?, gids: subordinate(subgid, &name(group))? })
}

/// `subuid(5)`: lines of `NAME:FIRST:HOW-MANY`.
fn subordinate(file: &Path, name: &str) -> Result<Vec<Extent>, Error> {
    let text = std::fs::read_to_string(file).at("read", file)?;
    let mut extents: Vec<Extent> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.trim().parse::<u32>().ok());
        let (Some(host_id), Some(size)) = (number(), number()) else { continue };
        let container_id = extents.last().map_or(0, |last| last.container_id + last.size);
        extents.push(Extent { container_id, host_id, size });
    }
    if extents.is_empty() {
        return Err(Error::Invalid(format!(
            "userns-remap: no subordinate ids of \"{name}\" are in {}",
            file.display()
        )));
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, want) in [
            ("", Wanted::Default),
            ("host", Wanted::Host),
            ("auto", Wanted::Auto(65_536)),
            ("auto:size=1000", Wanted::Auto(1000)),
            ("keep-id", Wanted::KeepId),
        ] {
            assert_eq!(wanted(text).unwrap(), want, "{text}");
        }
        for bad in ["private", "auto:", "auto:size=0", "auto:size=x", "keep-id:uid=1", "host:x"] {
            assert!(wanted(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_is_free() {
        let extent = |host_id, size| Extent { container_id: 0, host_id, size };
        assert_eq!(free(65_536, &[]), Some(AUTO_FIRST));
        assert_eq!(free(65_536, &[extent(AUTO_FIRST, 65_536)]), Some(AUTO_FIRST + 65_536));
        assert_eq!(free(10, &[extent(0, u32::MAX)]), None);
        let gap = [extent(AUTO_FIRST, 10), extent(AUTO_FIRST + 3 * 65_536, 10)];
        assert_eq!(free(65_536, &gap), Some(AUTO_FIRST + 65_536));
        assert_eq!(free(3 * 65_536, &gap), Some(AUTO_FIRST + 4 * 65_536));
    }

    #[test]
    fn subordinate_ids_follow_each_other() {
        let path = std::env::temp_dir().join(format!("dhow-subuid-{}", std::process::id()));
        std::fs::write(&path, "me:100000:10\nother:5:5\nme:200000:20\nme:x:y\n").unwrap();
        let maps = remapped("me", &path, &path).unwrap();
        let extent = |container_id, host_id, size| Extent { container_id, host_id, size };
        assert_eq!(maps.uids, [extent(0, 100_000, 10), extent(10, 200_000, 20)]);
        let err = remapped("default", &path, &path).unwrap_err().to_string();
        assert!(err.contains("no subordinate ids of \"dockremap\""), "{err}");
        std::fs::remove_file(path).unwrap();
    }
}
