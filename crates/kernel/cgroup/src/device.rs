//! Which devices a cgroup may use: the rules, and what they mean.
//!
//! Nothing is allowed at first. A later rule overrules an earlier one, for each kind of access by
//! itself: after `allow c 1:3 rwm` and `deny c 1:3 w`, `/dev/null` can be read and not written. v1
//! knows only a default and exceptions from it, so the rules are brought into that form first
//! ([`Exceptions`]); v2 runs a program that decides by the same form (`program`), so that a
//! configuration means the same on every machine.

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
    /// A line of `devices.list`: `c 1:3 rwm`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let kind = match words.next()? {
            "a" => DeviceKind::All,
            "c" => DeviceKind::Char,
            "b" => DeviceKind::Block,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        let (major, minor) = (number(major)?, number(minor)?);
        let access = Access::parse(words.next()?)?;
        Some(Self { allow: true, kind, major, minor, access })
    }

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

/// One answer for all devices, and exceptions that have the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    pub(crate) allow_by_default: bool,
    pub(crate) rules: Vec<DeviceRule>,
}

impl Exceptions {
    /// Fails where a rule cuts a hole into a wider exception, which v1 cannot express: it would
    /// ignore the rule.
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
                    why: format!("cannot punch a hole in the wider rule `{old}`"),
                });
            }
        }
        self.rules.retain(|old| !old.access.is_none());
        Ok(())
    }

    /// What `devices.list` says. Where all is allowed by default the kernel does not list what is
    /// not; that is `None`.
    fn listed(list: &str) -> Option<Self> {
        let mut all = Self::default();
        for line in list.lines() {
            let rule = DeviceRule::parse(line)?;
            if rule.kind == DeviceKind::All {
                return None;
            }
            all.rules.push(rule);
        }
        Some(all)
    }

    /// The files to write and what to, in order, for a cgroup whose `devices.list` is `list`. What is
    /// there already is not denied even for a moment.
    pub(crate) fn writes_from(&self, list: &str) -> Vec<(&'static str, String)> {
        const ALLOW: &str = "devices.allow";
        const DENY: &str = "devices.deny";
        let (all, each) = if self.allow_by_default { (ALLOW, DENY) } else { (DENY, ALLOW) };
        let mut writes = Vec::new();
        let old = match Self::listed(list) {
            Some(old) if !self.allow_by_default => old.rules,
            _ => {
                writes.push((all, "a".to_owned()));
                Vec::new()
            }
        };
        let same = |a: &DeviceRule, b: &DeviceRule| {
            (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
        };
        let left = |rule: &DeviceRule, others: &[DeviceRule]| {
            let access = others
                .iter()
                .filter(|other| same(rule, other))
                .fold(rule.access, |left, other| left.without(other.access));
            (!access.is_none()).then(|| DeviceRule { access, ..rule.clone() }.to_string())
        };
        let dropped = old.iter().filter_map(|rule| left(rule, &self.rules));
        writes.extend(dropped.map(|rule| (DENY, rule)));
        let gained = self.rules.iter().filter_map(|rule| left(rule, &old));
        writes.extend(gained.map(|rule| (each, rule)));
        writes
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
