//! What `info` and `version` tell of the machine.

use std::fs;

/// The machine, as far as clients ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) host_name: String,
    pub(crate) kernel: String,
    /// As `uname -m` says: `x86_64`.
    pub(crate) hardware: String,
    pub(crate) cpus: i64,
    /// Bytes.
    pub(crate) memory: i64,
    /// `PRETTY_NAME` of `os-release(5)`.
    pub(crate) os: String,
    pub(crate) os_version: String,
    pub(crate) forwards_ipv4: bool,
}

impl Machine {
    /// Looks. What cannot be read is left empty: `info` is for people.
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/etc/os-release");
        Self {
            host_name: text(uname.nodename()),
            kernel: text(uname.release()),
            hardware: text(uname.machine()),
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
            memory: memory(&read("/proc/meminfo")),
            os: os_release(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
            os_version: os_release(&release, "VERSION_ID").unwrap_or_default(),
            forwards_ipv4: read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        }
    }

    /// The architecture in Go's words.
    pub(crate) fn go_arch(&self) -> &str {
        match self.hardware.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "armv7l" | "armv6l" => "arm",
            "i686" | "i386" => "386",
            other => other,
        }
    }
}

fn memory(meminfo: &str) -> i64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<i64>().ok())
        .map_or(0, |kib| kib << 10)
}

fn os_release(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', '\'']).to_owned())
    })
}

/// Whether all controllers are in the tree of v2.
pub(crate) fn has_cgroup_v2() -> bool {
    cgroup::Hierarchy::detect().is_ok_and(|found| found.mode() == cgroup::Mode::V2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_understood() {
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2 << 20);
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\n";
        assert_eq!(os_release(release, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(os_release(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_release(release, "NONE"), None);
    }
}
