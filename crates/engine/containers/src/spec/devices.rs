//! Device files, and which devices the kernel lets a container open.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci::runtime::{Device, DeviceRule};

use crate::Error;
use crate::error::At as _;

/// Directories of `/dev` that are not the machine's devices but file systems, or a container's own.
const NOT_DEVICES: [&str; 8] =
    ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "hugepages"];

/// What every container may use: Docker's list, and what `runc` adds to any.
pub(crate) fn default_rules() -> Vec<DeviceRule> {
    let allow = |major: Option<i64>, minor: Option<i64>| DeviceRule {
        allow: true,
        kind: "c".into(),
        major,
        minor,
        access: "rwm".into(),
    };
    let make = |kind: &str| DeviceRule {
        allow: true,
        kind: kind.into(),
        access: "m".into(),
        ..DeviceRule::default()
    };
    vec![
        DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() },
        // A node may be made of anything; opening it is what is held back.
        make("c"),
        make("b"),
        allow(Some(1), Some(3)), // null
        allow(Some(1), Some(5)), // zero
        allow(Some(1), Some(7)), // full
        allow(Some(1), Some(8)), // random
        allow(Some(1), Some(9)), // urandom
        allow(Some(5), Some(0)), // tty
        allow(Some(5), Some(1)), // console
        allow(Some(5), Some(2)), // ptmx
        allow(Some(136), None),  // pts
    ]
}

/// Everything, for a privileged container.
pub(crate) fn every_rule() -> Vec<DeviceRule> {
    vec![DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() }]
}

/// The type (`b` or `c`), major and minor number of a device file.
pub(crate) fn numbers(path: &Path) -> std::io::Result<(char, i64, i64)> {
    let meta = fs::metadata(path)?;
    let kind = kind(meta.file_type()).ok_or(std::io::ErrorKind::InvalidInput)?;
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    Ok((kind, major.into(), minor.into()))
}

fn kind(file: fs::FileType) -> Option<char> {
    if file.is_block_device() {
        Some('b')
    } else if file.is_char_device() {
        Some('c')
    } else {
        None
    }
}

/// Holds that a mapping (`--device`) is well formed.
pub(crate) fn check(mapping: &docker::container::DeviceMapping) -> Result<(), Error> {
    let access = &mapping.cgroup_permissions;
    if !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(Error::Invalid(format!("invalid device mode: {access}")));
    }
    let inside = &mapping.path_in_container;
    if !inside.is_empty() && !inside.starts_with('/') {
        return Err(Error::Invalid(format!("{inside} is not an absolute path")));
    }
    Ok(())
}

/// The device files and rules that a mapping asks for: one, or all below a directory.
pub(crate) fn mapped(
    mapping: &docker::container::DeviceMapping,
) -> Result<Vec<(Device, DeviceRule)>, Error> {
    let source = Path::new(&mapping.path_on_host);
    let inside = match mapping.path_in_container.as_str() {
        "" => &mapping.path_on_host,
        inside => inside,
    };
    let access = match mapping.cgroup_permissions.as_str() {
        "" => "rwm",
        access => access,
    };
    let failed = |err: std::io::Error| {
        let why = match err.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".into(),
            _ => err.to_string(),
        };
        Error::Invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            mapping.path_on_host
        ))
    };
    let mut found = Vec::new();
    if fs::metadata(source).map_err(failed)?.is_dir() {
        let mut devices = Vec::new();
        below(source, &mut devices)?;
        for path in devices {
            let Ok(rest) = Path::new(&path).strip_prefix(source) else { continue };
            let target = Path::new(inside).join(rest);
            found.extend(device(Path::new(&path), &target.to_string_lossy(), access).ok());
        }
        if found.is_empty() {
            return Err(failed(std::io::Error::other("not a device node")));
        }
        return Ok(found);
    }
    found.push(device(source, inside, access).map_err(|err| match err.kind() {
        std::io::ErrorKind::InvalidInput => failed(std::io::Error::other("not a device node")),
        _ => failed(err),
    })?);
    Ok(found)
}

/// Every device of the machine, for a privileged container.
pub(crate) fn every() -> Result<Vec<Device>, Error> {
    let mut paths = Vec::new();
    below(Path::new("/dev"), &mut paths)?;
    // A device that vanished meanwhile is one less.
    let found = paths.iter().filter_map(|path| device(Path::new(path), path, "rwm").ok());
    Ok(found.map(|(device, _)| device).collect())
}

/// The device files below a directory, sorted.
fn below(dir: &Path, found: &mut Vec<String>) -> Result<(), Error> {
    let mut entries = fs::read_dir(dir)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .at("readdir", dir)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(file_type) = entry.file_type() else { continue };
        let path = entry.path();
        if file_type.is_dir() {
            let name = entry.file_name();
            if !NOT_DEVICES.iter().any(|skip| name == *skip) {
                below(&path, found)?;
            }
        } else if kind(file_type).is_some() && entry.file_name() != "console" {
            found.extend(path.to_str().map(str::to_owned));
        }
    }
    Ok(())
}

fn device(source: &Path, inside: &str, access: &str) -> std::io::Result<(Device, DeviceRule)> {
    let (kind, major, minor) = numbers(source)?;
    let meta = fs::metadata(source)?;
    let device = Device {
        kind: kind.to_string(),
        path: inside.to_owned(),
        major: Some(major),
        minor: Some(minor),
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    };
    let rule = DeviceRule {
        allow: true,
        kind: kind.to_string(),
        major: Some(major),
        minor: Some(minor),
        access: access.to_owned(),
    };
    Ok((device, rule))
}

/// Parses `TYPE MAJOR:MINOR ACCESS`: `c 1:3 rwm`, `a *:* rwm`.
pub(crate) fn parse_rule(rule: &str) -> Result<DeviceRule, Error> {
    let bad = || Error::Invalid(format!("invalid device cgroup rule format: '{rule}'"));
    let mut words = rule.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u32>().map(|number| Some(number.into())).map_err(|_| bad())
        }
        _ => Err(bad()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let known = access.bytes().all(|byte| b"rwm".contains(&byte));
    if !["a", "b", "c"].contains(&kind) || access.is_empty() || access.len() > 3 || !known {
        return Err(bad());
    }
    Ok(DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use docker::container::DeviceMapping;

    use super::*;

    #[test]
    fn rules() {
        for (rule, want) in [
            ("c 1:3 rwm", Some((Some(1), Some(3)))),
            ("b 8:* r", Some((Some(8), None))),
            ("a *:* rwm", Some((None, None))),
            ("d 1:3 rwm", None),
            ("c 1 rwm", None),
            ("c 1:3", None),
            ("c 1:3 x", None),
            ("c 1:3 rwm more", None),
            ("c -1:3 rwm", None),
            ("c 1:3 ", None),
        ] {
            let got = parse_rule(rule).ok().map(|rule| (rule.major, rule.minor));
            assert_eq!(got, want, "{rule}");
        }
    }

    #[test]
    fn a_device_of_the_machine_is_found_and_a_file_is_not_one() {
        let map = |path: &str, inside: &str| {
            mapped(&DeviceMapping {
                path_on_host: path.into(),
                path_in_container: inside.into(),
                cgroup_permissions: String::new(),
            })
        };
        let found = map("/dev/null", "/dev/nothing").unwrap();
        assert_eq!(found[0].0.path, "/dev/nothing");
        assert_eq!((found[0].0.major, found[0].0.minor), (Some(1), Some(3)));
        assert_eq!(found[0].1.access, "rwm");
        assert_eq!(
            map("/dev/nope", "").unwrap_err().to_string(),
            "error gathering device information while adding custom device \"/dev/nope\": no such file or directory"
        );
        assert!(map("/etc/passwd", "").unwrap_err().to_string().ends_with("not a device node"));
        assert!(every().unwrap().iter().any(|device| device.path == "/dev/null"));
    }
}
