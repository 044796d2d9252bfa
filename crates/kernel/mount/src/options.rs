//! Option strings of mounts, as fstab(5) and the OCI runtime specification have them (config.md,
//! "Linux mount options").

use sys::{MountAttr, Propagation};

/// What a list of options asks for, sorted by whose business it is.
///
/// A later option wins over an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Attributes of the mount to set.
    pub set: MountAttr,
    /// Attributes of the mount to clear; applied before `set`.
    pub clear: MountAttr,
    /// Attributes to set on the mount and on all below it.
    pub rec_set: MountAttr,
    /// Attributes to clear on the mount and on all below it; applied before `rec_set`.
    pub rec_clear: MountAttr,
    /// How the mount propagates, and whether those below it do likewise. Applied in this order.
    pub propagation: Vec<(Propagation, bool)>,
    /// A bind mount, and whether with the mounts below its source.
    pub bind: Option<bool>,
    /// Change what is mounted there already.
    pub remount: bool,
    /// Copy what the mount point holds into the new tmpfs.
    pub tmpcopyup: bool,
    /// An ID mapping, and whether also for the mounts below.
    pub idmap: Option<bool>,
    /// Flags and parameters of the file system, in order: `key` or `key=value`.
    pub data: Vec<String>,
}

impl Parsed {
    /// The parameters of the file system as keys and values.
    pub fn fs_options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.data.iter().map(|option| match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option.as_str(), None),
        })
    }

    fn attr(&mut self, recursive: bool, set: MountAttr, clear: MountAttr) {
        let (to_set, to_clear) = if recursive {
            (&mut self.rec_set, &mut self.rec_clear)
        } else {
            (&mut self.set, &mut self.clear)
        };
        to_set.remove(clear);
        to_set.insert(set);
        to_clear.remove(set);
        to_clear.insert(clear);
    }
}

/// What one word means for the attributes: to set, to clear.
fn attribute(word: &str) -> Option<(MountAttr, MountAttr)> {
    let none = MountAttr::empty();
    let time = |value| (value, MountAttr::ATIME_FIELD);
    Some(match word {
        "ro" => (MountAttr::RDONLY, none),
        "rw" => (none, MountAttr::RDONLY),
        "nosuid" => (MountAttr::NOSUID, none),
        "suid" => (none, MountAttr::NOSUID),
        "nodev" => (MountAttr::NODEV, none),
        "dev" => (none, MountAttr::NODEV),
        "noexec" => (MountAttr::NOEXEC, none),
        "exec" => (none, MountAttr::NOEXEC),
        "nodiratime" => (MountAttr::NODIRATIME, none),
        "diratime" => (none, MountAttr::NODIRATIME),
        "nosymfollow" => (MountAttr::NOSYMFOLLOW, none),
        "symfollow" => (none, MountAttr::NOSYMFOLLOW),
        "noatime" => time(MountAttr::NOATIME),
        "strictatime" => time(MountAttr::STRICTATIME),
        // Each of these leads back to the kernel's default.
        "relatime" | "atime" | "norelatime" | "nostrictatime" => time(MountAttr::RELATIME),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    })
}

/// Sorts `options`. What is not known is the file system's: it will say whether it knows it.
pub fn parse<S: AsRef<str>>(options: &[S]) -> Parsed {
    let mut parsed = Parsed::default();
    for option in options {
        let option = option.as_ref();
        let (recursive, word) = match option.strip_prefix('r') {
            Some(rest) if attribute(rest).is_some() || propagation(rest).is_some() => (true, rest),
            _ => (false, option),
        };
        if let Some((set, clear)) = attribute(word) {
            parsed.attr(recursive, set, clear);
        } else if let Some(value) = propagation(word) {
            parsed.propagation.push((value, recursive));
        } else {
            other(&mut parsed, option);
        }
    }
    parsed
}

fn other(parsed: &mut Parsed, option: &str) {
    match option {
        "bind" => parsed.bind = Some(false),
        "rbind" => parsed.bind = Some(true),
        "remount" => parsed.remount = true,
        "tmpcopyup" => parsed.tmpcopyup = true,
        "idmap" => parsed.idmap = Some(false),
        "ridmap" => parsed.idmap = Some(true),
        // Words for the kernel's own defaults, or for how loud mount(8) is.
        "" | "defaults" | "silent" | "loud" | "nofail" | "auto" | "noauto" | "user" | "nouser" => {}
        // Each of these undoes a flag of the file system.
        "async" => undo(parsed, "sync"),
        "nolazytime" => undo(parsed, "lazytime"),
        "nomand" => undo(parsed, "mand"),
        "noiversion" => undo(parsed, "iversion"),
        data => parsed.data.push(data.to_owned()),
    }
}

fn undo(parsed: &mut Parsed, flag: &str) {
    parsed.data.retain(|option| option != flag);
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
