//! The small languages of flags: durations, pairs, environment files, limits, devices.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use docker::container::{DeviceMapping, ThrottleDevice, Ulimit, WeightDevice};
use docker::filters::Filters;

use crate::error::{Error, Result};

/// Memory and other sizes in bytes: `512m`, `1.5g`, `1024`.
pub(super) fn bytes(flag: &str, text: &str) -> Result<i64> {
    docker::units::ram_in_bytes(text).map_err(|_| {
        Error::Flag(format!(
            "invalid size {text:?} for --{flag}: give a number with a unit b, k, m or g, such as 512m"
        ))
    })
}

/// A duration of a flag; absent is 0.
pub(super) fn duration(flag: &str, text: Option<&str>) -> Result<i64> {
    let Some(text) = text else { return Ok(0) };
    docker::units::parse_duration(text).map_err(|_| {
        Error::Flag(format!(
            "invalid duration {text:?} for --{flag}: give a number with a unit, such as 500ms, 30s or 1m30s"
        ))
    })
}

/// CPUs in billionths: `0.5` is 500000000.
pub(super) fn nano_cpus(text: &str) -> Result<i64> {
    let wrong = || {
        Error::Flag(format!(
            "invalid number {text:?} for --cpus: give a number of CPUs, such as 0.5 or 2"
        ))
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    let digits = format!("{whole}{fraction:0<9}");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().map_err(|_| wrong())
}

/// `KEY=VALUE` pairs; a key alone has an empty value.
pub(crate) fn key_values(pairs: &[String]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// Refuses a label without a name.
pub(crate) fn check_labels(labels: &[String]) -> Result<()> {
    match labels.iter().find(|label| label.starts_with('=') || label.is_empty()) {
        Some(label) => Err(Error::Flag(format!("invalid label '{label}': empty name"))),
        None => Ok(()),
    }
}

/// The environment: first of the files, then of the flags. A name alone takes the value of our own
/// environment, and is left out where we have none.
pub(crate) fn environment(flags: &[String], files: &[PathBuf]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for file in files {
        out.extend(lines(file)?);
    }
    out.extend(flags.iter().cloned());
    let mut resolved = Vec::with_capacity(out.len());
    for entry in out {
        if entry.starts_with('=') || entry.is_empty() {
            return Err(Error::Flag(format!("invalid environment variable: {entry}")));
        }
        if entry.contains('=') {
            resolved.push(entry);
        } else if let Ok(value) = std::env::var(&entry) {
            resolved.push(format!("{entry}={value}"));
        }
    }
    Ok(resolved)
}

/// The lines of an environment or label file, without comments and blank lines.
pub(super) fn lines(file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display())))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut out = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            return Err(Error::Usage(format!(
                "{}: variable {name:?} contains whitespaces",
                file.display()
            )));
        }
        out.push(line.to_owned());
    }
    Ok(out)
}

/// `name=value` conditions.
pub(crate) fn filters(conditions: &[String]) -> Result<Filters> {
    let mut out = Filters::default();
    for condition in conditions {
        let Some((name, value)) = condition.split_once('=') else {
            return Err(Error::Flag(format!(
                "invalid argument {condition:?} for --filter: give NAME=VALUE"
            )));
        };
        out.add(name.trim().to_lowercase(), value.trim());
    }
    Ok(out)
}

/// `TYPE=SOFT[:HARD]`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit> {
    let wrong = || {
        Error::Flag(format!(
            "invalid ulimit {text:?}: give TYPE=SOFT[:HARD], such as nofile=1024:2048"
        ))
    };
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |limit: &str| limit.parse::<i64>().map_err(|_| wrong());
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(Error::Flag(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `HOST[:CONTAINER][:PERMISSIONS]`.
pub(super) fn device(text: &str) -> Result<DeviceMapping> {
    let is_mode = |mode: &str| !mode.is_empty() && mode.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match *parts.as_slice() {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] if is_mode(mode) => (host, container, mode),
        _ => return Err(Error::Flag(format!("invalid device specification: {text}"))),
    };
    if !container.starts_with('/') {
        return Err(Error::Flag(format!("{container} is not an absolute path")));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `PATH:RATE`; the rate is a size where `sizes` says so.
pub(super) fn throttle(flag: &str, text: &str, sizes: bool) -> Result<ThrottleDevice> {
    let wrong = || Error::Flag(format!("bad format for --{flag}: {text}: give /DEVICE:RATE"));
    let (path, rate) = text.split_once(':').ok_or_else(wrong)?;
    if !path.starts_with("/dev/") {
        return Err(wrong());
    }
    let rate = if sizes {
        u64::try_from(bytes(flag, rate)?).map_err(|_| wrong())?
    } else {
        rate.parse().map_err(|_| wrong())?
    };
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `PATH:WEIGHT`.
pub(super) fn weight(text: &str) -> Result<WeightDevice> {
    let wrong = || {
        Error::Flag(format!("bad format for --blkio-weight-device: {text}: give /DEVICE:WEIGHT"))
    };
    let (path, weight) = text.split_once(':').ok_or_else(wrong)?;
    let weight = weight.parse().map_err(|_| wrong())?;
    Ok(WeightDevice { path: path.to_owned(), weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_exact() {
        assert_eq!(nano_cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(nano_cpus("2").unwrap(), 2_000_000_000);
        assert_eq!(nano_cpus(".1").unwrap(), 100_000_000);
        for wrong in ["", "-1", "1,5", "x", "1.0000000001"] {
            assert!(nano_cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_have_up_to_three_parts() {
        let got = device("/dev/fuse").unwrap();
        assert_eq!(
            (got.path_in_container.as_str(), got.cgroup_permissions.as_str()),
            ("/dev/fuse", "rwm")
        );
        let got = device("/dev/sda:r").unwrap();
        assert_eq!(
            (got.path_in_container.as_str(), got.cgroup_permissions.as_str()),
            ("/dev/sda", "r")
        );
        let got = device("/dev/sda:/dev/xvdc:rw").unwrap();
        assert_eq!(
            (got.path_in_container.as_str(), got.cgroup_permissions.as_str()),
            ("/dev/xvdc", "rw")
        );
        assert!(device("/dev/sda:relative").is_err());
    }

    #[test]
    fn ulimits_are_checked() {
        assert_eq!(ulimit("nofile=1024:2048").unwrap().hard, 2048);
        assert_eq!(ulimit("core=0").unwrap().hard, 0);
        assert!(ulimit("nofile=2048:1024").is_err());
        assert!(ulimit("nofile").is_err());
    }
}
