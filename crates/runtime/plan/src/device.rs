//! Device files.

use std::path::{Path, PathBuf};

use oci::runtime::{Device as Spec, DeviceRule};
use rustix::fs::FileType;

use crate::Error;
use crate::mounts::clean;

/// A device file, or a fifo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the root; absolute.
    pub path: PathBuf,
    /// Character device, block device or fifo.
    pub kind: FileType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permissions.
    pub mode: u32,
    /// Owner, inside the container.
    pub uid: u32,
    /// Group, inside the container.
    pub gid: u32,
}

/// The devices that every container has: config-linux.md, "Default Devices".
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// The devices of the configuration, after the default ones.
pub(crate) fn devices(specs: &[Spec]) -> Result<Vec<Device>, Error> {
    let mut devices = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| one(&format!("linux.devices[{i}]"), spec))
        .collect::<Result<Vec<_>, _>>()?;
    // That is a link to the container's own terminals, whatever is asked for.
    devices.retain(|device| device.path != Path::new("/dev/ptmx"));
    for (path, major, minor) in DEFAULT {
        let path = PathBuf::from(path);
        if !devices.iter().any(|device| device.path == path) {
            devices.push(Device {
                path,
                kind: FileType::CharacterDevice,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    Ok(devices)
}

fn one(field: &str, spec: &Spec) -> Result<Device, Error> {
    let kind = match spec.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        _ => {
            let kind = spec.kind.escape_debug();
            return Err(Error::invalid(format!("{field}.type"), kind, "is not c, b, u or p"));
        }
    };
    if !spec.path.starts_with('/') || spec.path.contains('\0') {
        let why = "is not an absolute path";
        return Err(Error::invalid(format!("{field}.path"), spec.path.escape_debug(), why));
    }
    let number = |name: &str, value: Option<i64>| match value {
        _ if kind == FileType::Fifo => Ok(0),
        None => Err(Error::missing(&format!("{field}.{name}"))),
        Some(value) => u32::try_from(value)
            .map_err(|_| Error::invalid(format!("{field}.{name}"), value, "is no device number")),
    };
    Ok(Device {
        path: clean(&spec.path),
        kind,
        major: number("major", spec.major)?,
        minor: number("minor", spec.minor)?,
        mode: spec.file_mode.unwrap_or(0o666) & 0o7777,
        uid: spec.uid.unwrap_or(0),
        gid: spec.gid.unwrap_or(0),
    })
}

/// The rules of the device controller: deny all, what the configuration says, and what every
/// container needs (its own terminals, and to make device files that it then cannot open), so that
/// the list is one of exceptions also when it is empty.
pub(crate) fn rules(specs: &[DeviceRule]) -> Vec<DeviceRule> {
    let allow = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    let mut rules = vec![DeviceRule {
        allow: false,
        kind: "a".to_owned(),
        access: "rwm".to_owned(),
        ..DeviceRule::default()
    }];
    rules.extend(specs.iter().cloned());
    rules.push(allow("c", None, None, "m"));
    rules.push(allow("b", None, None, "m"));
    for (_, major, minor) in DEFAULT {
        rules.push(allow("c", Some(major.into()), Some(minor.into()), "rwm"));
    }
    rules.push(allow("c", Some(136), None, "rwm")); // /dev/pts/*
    rules.push(allow("c", Some(5), Some(2), "rwm")); // /dev/ptmx
    // Containers with CAP_NET_ADMIN make /dev/net/tun themselves, and count on it.
    rules.push(allow("c", Some(10), Some(200), "rwm"));
    rules
}
