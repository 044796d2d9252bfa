//! A time namespace with clocks of its own: ours (`--time-offset`), Docker has none.
//!
//! The annotation `dhow.time-offsets` has `CLOCK=DURATION`, separated by commas: the container's
//! `monotonic` or `boottime` clock goes before the machine's by that much. The time of day is the
//! machine's: the kernel has no namespace for it, see `time_namespaces(7)`.

use std::collections::BTreeMap;

use docker::HostConfig;
use oci::runtime::{Linux, Namespace, NamespaceKind, TimeOffset};

use crate::Error;

/// The annotation.
pub(crate) const ANNOTATION: &str = "dhow.time-offsets";
const NANOSECONDS: i64 = 1_000_000_000;

/// The offsets that are asked for, by clock.
pub(crate) fn offsets(host: &HostConfig) -> Result<BTreeMap<String, TimeOffset>, Error> {
    let mut offsets = BTreeMap::new();
    let Some(text) = host.annotations.get(ANNOTATION) else { return Ok(offsets) };
    for word in text.split(',') {
        let bad = |why: &str| Error::Invalid(format!("invalid time offset '{word}': {why}"));
        let (clock, duration) =
            word.split_once('=').ok_or_else(|| bad("give CLOCK=DURATION, such as boottime=24h"))?;
        if !matches!(clock, "monotonic" | "boottime") {
            return Err(bad("the clocks are monotonic and boottime"));
        }
        let nanos = docker::units::parse_duration(duration)
            .map_err(|_| bad("give a duration, such as 24h or -90s"))?;
        // The kernel's parts, of which the smaller is never below zero.
        let offset = TimeOffset {
            secs: Some(nanos.div_euclid(NANOSECONDS)),
            nanosecs: u32::try_from(nanos.rem_euclid(NANOSECONDS)).ok(),
        };
        if offsets.insert(clock.to_owned(), offset).is_some() {
            return Err(bad("the clock has another already"));
        }
    }
    Ok(offsets)
}

/// Gives the container a time namespace, if offsets are asked for.
pub(crate) fn apply(host: &HostConfig, linux: &mut Linux) -> Result<(), Error> {
    linux.time_offsets = offsets(host)?;
    if !linux.time_offsets.is_empty() {
        linux.namespaces.push(Namespace { kind: NamespaceKind::Time, path: String::new() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_before_and_after() {
        let read = |text: &str| {
            let annotations = BTreeMap::from([(ANNOTATION.to_owned(), text.to_owned())]);
            offsets(&HostConfig { annotations: annotations.into(), ..HostConfig::default() })
        };
        let all = read("boottime=24h,monotonic=-1.5s").unwrap();
        assert_eq!(all["boottime"], TimeOffset { secs: Some(86_400), nanosecs: Some(0) });
        assert_eq!(all["monotonic"], TimeOffset { secs: Some(-2), nanosecs: Some(500_000_000) });
        for bad in ["", "boottime", "realtime=1s", "boottime=soon", "boottime=1s,boottime=2s"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(offsets(&HostConfig::default()).unwrap().is_empty());
    }
}
