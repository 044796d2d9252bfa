//! What is kept of a container: `state.json` in its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use oci::runtime::{Hook, Process, State, Status};
use serde::{Deserialize, Serialize};

/// What later calls need to know of a container. It is written before anything is made, and again
/// when the process is there; then never again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The configuration's version.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root directory, absolute.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The first process; 0 while there is none.
    pub pid: i32,
    /// When that one started, in clock ticks after the boot: with the number it is unique.
    pub start_time: u64,
    /// The cgroup, in all hierarchies.
    pub cgroup_path: String,
    /// Others were in it before: what is in it is not all the container's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cgroup_shared: bool,
    /// The unit of systemd that has this cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<plan::UnitId>,
    /// The namespaces that are not the runtime's: `CLONE_NEW*`.
    pub namespaces: u64,
    /// The user who created it.
    pub owner: u32,
    /// Keep the session keyring.
    pub no_new_keyring: bool,
    /// What a process that is executed in it starts from.
    pub process: Process,
    /// Its execution domain, see personality(2), which such a process has too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<u32>,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who decides about system calls with `SCMP_ACT_NOTIFY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<plan::Listener>,
    /// Its class of service of resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<crate::rdt::Class>,
    /// Hooks for after the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Hooks for after the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Record {
    /// The state as the specification has it.
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.annotations.clone(),
        }
    }
}

/// The time as RFC 3339 has it, in UTC, with nanoseconds.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs(), since.subsec_nanos())
}

/// Seconds since 1970 as RFC 3339 has them, in UTC.
pub fn rfc3339(seconds: u64) -> String {
    date(seconds, 0).replace(".000000000", "")
}

/// Seconds and nanoseconds since 1970 as a date: the days-to-civil algorithm, in which a year begins
/// in March so that the leap day is its last.
fn date(seconds: u64, nanos: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000000007Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(super::date(seconds, 7), date);
        }
    }
}
