//! Which fields which version has.

use std::fmt;

use crate::{Document, Edits, Error};

/// The version that a file is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The newest that is understood.
    pub const NEWEST: Self = Self::new(1, 1);
    /// The oldest that was released.
    const OLDEST: Self = Self::new(0, 3);

    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// Reads `MAJOR.MINOR.PATCH`, also with the letter `v`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::Invalid { field: "cdiVersion".into(), why, value: text.into() };
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.').map(|number| {
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| number.parse().ok()).flatten()
        });
        let (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(bad("not a version"));
        };
        let version = Self { major, minor, patch };
        // 0.1 and 0.2 had other fields, and were never released.
        if version < Self::OLDEST {
            return Err(bad("older than any that was released (0.3.0)"));
        }
        if (version.major, version.minor) > (Self::NEWEST.major, Self::NEWEST.minor) {
            return Err(bad("newer than what is understood (1.1.0)"));
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Holds that a file uses nothing that came later than its version.
pub(crate) fn check(document: &Document) -> Result<(), Error> {
    let version = Version::parse(&document.cdi_version)?;
    let needs = |feature, major, minor, used: bool| {
        let since = Version::new(major, minor);
        if used && version < since {
            let version = document.cdi_version.clone();
            return Err(Error::Version { version, feature, since });
        }
        Ok(())
    };
    let any = |uses: fn(&Edits) -> bool| {
        uses(&document.container_edits)
            || document.devices.iter().any(|device| uses(&device.container_edits))
    };
    let digit = |name: &str| name.starts_with(|first: char| first.is_ascii_digit());
    let annotated = !document.annotations.is_empty()
        || document.devices.iter().any(|device| !device.annotations.is_empty());
    let class = document.kind.split_once('/').map_or("", |(_, class)| class);

    needs("a mount's type", 0, 4, any(|edits| edits.mounts.iter().any(|m| !m.kind.is_empty())))?;
    needs(
        "a device's hostPath",
        0,
        5,
        any(|edits| edits.device_nodes.iter().any(|node| !node.host_path.is_empty())),
    )?;
    needs(
        "device names that begin with a digit",
        0,
        5,
        document.devices.iter().any(|device| digit(&device.name)),
    )?;
    needs("annotations", 0, 6, annotated)?;
    needs("dots in the class", 0, 6, class.contains('.'))?;
    needs("intelRdt", 0, 7, any(|edits| edits.intel_rdt.is_some()))?;
    needs("additionalGids", 0, 7, any(|edits| !edits.additional_gids.is_empty()))?;
    needs("netDevices", 1, 1, any(|edits| !edits.net_devices.is_empty()))?;
    let rdt = |edits: &Edits| {
        edits
            .intel_rdt
            .as_ref()
            .is_some_and(|rdt| !rdt.schemata.is_empty() || rdt.enable_monitoring)
    };
    needs("intelRdt's schemata and enableMonitoring", 1, 1, any(rdt))
}
