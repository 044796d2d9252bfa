//! Which devices a cgroup may use: the rules, and what they mean.
//!
//! Nothing is allowed at first. A later rule overrules an earlier one, for each kind of access by
//! itself: after `allow c *:* rwm` and `deny c 1:3 w`, `/dev/null` can be read and not written.
//! v2 runs exactly that as a program (`program`). v1 knows only a default and exceptions from it,
//! so the rules are brought into that form first ([`Exceptions`]).

use std::fmt;

use crate::error::Error;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both kinds, and with it every number.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// What is done with a device: bits of the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(pub(crate) u8);

impl Access {
    /// Making its node: `m`.
    pub const MKNOD: Self = Self(1);
    /// Reading: `r`.
    pub const READ: Self = Self(2);
    /// Writing: `w`.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// From some of the letters `r`, `w` and `m`; none of them means all, as in OCI. `None` when
    /// there is another letter.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut bits = 0;
        for letter in letters.chars() {
            bits |= match letter {
                'r' => Self::READ.0,
                'w' => Self::WRITE.0,
                'm' => Self::MKNOD.0,
                _ => return None,
            };
        }
        Some(if bits == 0 { Self::ALL } else { Self(bits) })
    }

    /// What is in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one only.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.0 & bit.0 != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allows or denies.
    pub allow: bool,
    /// Of which kind.
    pub kind: DeviceKind,
    /// The major number; absent is any.
    pub major: Option<u32>,
    /// The minor number; absent is any.
    pub minor: Option<u32>,
    /// Which kinds of access.
    pub access: Access,
}

impl DeviceRule {
    /// Whether every device that `other` names is named by this one too.
    fn covers(&self, other: &Self) -> bool {
        let number = |mine: Option<u32>, theirs: Option<u32>| mine.is_none() || mine == theirs;
        (self.kind == DeviceKind::All || self.kind == other.kind)
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }

    /// Whether some device is named by both.
    fn meets(&self, other: &Self) -> bool {
        let number = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        let kind = self.kind == other.kind
            || self.kind == DeviceKind::All
            || other.kind == DeviceKind::All;
        kind && number(self.major, other.major) && number(self.minor, other.minor)
    }

    /// Whether this names every device there is, with every access.
    fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }
}

impl fmt::Display for DeviceRule {
    /// As `devices.allow` and `devices.deny` take it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => "a",
            DeviceKind::Char => "c",
            DeviceKind::Block => "b",
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// What v1 can hold: one answer for all devices, and exceptions that have the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    pub(crate) allow_by_default: bool,
    pub(crate) rules: Vec<DeviceRule>,
}

impl Exceptions {
    /// Fails where a rule cuts a hole into a wider exception, which v1 cannot express.
    pub(crate) fn of(rules: &[DeviceRule]) -> Result<Self, Error> {
        let mut all = Self::default();
        for rule in rules {
            // v1's `a` is both kinds; written apart, each half is an exception of its own.
            if rule.kind == DeviceKind::All && !rule.is_everything() {
                for kind in [DeviceKind::Char, DeviceKind::Block] {
                    all.add(&DeviceRule { kind, ..rule.clone() })?;
                }
            } else {
                all.add(rule)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, rule: &DeviceRule) -> Result<(), Error> {
        if rule.is_everything() {
            *self = Self { allow_by_default: rule.allow, rules: Vec::new() };
            return Ok(());
        }
        if rule.allow != self.allow_by_default {
            let same = |old: &&mut DeviceRule| {
                (old.kind, old.major, old.minor) == (rule.kind, rule.major, rule.minor)
            };
            match self.rules.iter_mut().find(same) {
                Some(old) => old.access = Access(old.access.0 | rule.access.0),
                None => self.rules.push(rule.clone()),
            }
            return Ok(());
        }
        for old in &mut self.rules {
            if rule.covers(old) {
                old.access = old.access.without(rule.access);
            } else if rule.meets(old) && !rule.access.and(old.access).is_none() {
                return Err(Error::Value {
                    limit: format!("device rule `{rule}`"),
                    why: format!("cgroup v1 cannot make an exception from `{old}`"),
                });
            }
        }
        self.rules.retain(|old| !old.access.is_none());
        Ok(())
    }

    /// The files to write and what to, in order.
    pub(crate) fn writes(&self) -> Vec<(&'static str, String)> {
        let (all, each) = if self.allow_by_default {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        std::iter::once((all, "a".to_owned()))
            .chain(self.rules.iter().map(|rule| (each, rule.to_string())))
            .collect()
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
