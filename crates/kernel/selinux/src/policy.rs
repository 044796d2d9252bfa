//! What this machine has.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::StatVfsMountFlags;

use crate::Defaults;

/// Where the kernel's file system of the policy is mounted.
const PLACE: &str = "/sys/fs/selinux";
/// `SELINUX_MAGIC` of statfs(2).
const MAGIC: u64 = 0xf97c_ff8c;
/// What processes are before there is a policy.
const NO_POLICY: &str = "kernel";
/// The contexts of containers, of whoever ships the policy for them.
const CONTEXTS: &str = "/usr/share/containers/selinux/contexts";
/// Which policy is loaded.
const CONFIG: &str = "/etc/selinux/config";

/// Whether the kernel labels processes and files, by a policy. Asked once.
#[must_use]
pub fn is_enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(probe)
}

fn probe() -> bool {
    let is_there =
        rustix::fs::statfs(PLACE).is_ok_and(|found| found.f_type as u64 & 0xffff_ffff == MAGIC);
    // In a container it can be seen, at most.
    let may_write = || {
        rustix::fs::statvfs(PLACE)
            .is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    let has_policy =
        || fs::read_to_string("/proc/self/attr/current").is_ok_and(|label| is_of_a_policy(&label));
    is_there && may_write() && has_policy()
}

/// Whether this is what a process is by a policy. The kernel ends it with a NUL.
fn is_of_a_policy(label: &str) -> bool {
    label.trim_end_matches(['\0', '\n']) != NO_POLICY
}

/// The labels that the policy has for containers. Read once.
#[must_use]
pub fn defaults() -> &'static Defaults {
    static DEFAULTS: OnceLock<Defaults> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let text = fs::read_to_string(CONTEXTS).or_else(|_| {
            let config = fs::read_to_string(CONFIG)?;
            let policy = Path::new("/etc/selinux").join(policy_of(&config));
            fs::read_to_string(policy.join("contexts/lxc_contexts"))
        });
        Defaults::parse(&text.unwrap_or_default())
    })
}

/// Whether the policy knows all that a context has in it. Where that is not to be learnt it may.
#[must_use]
pub fn is_known(context: &str) -> bool {
    let path = Path::new(PLACE).join("context");
    let asked = fs::write(path, context);
    !asked.is_err_and(|err| err.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()))
}

/// The policy that `/etc/selinux/config` names.
fn policy_of(config: &str) -> &str {
    let lines = config.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let value = lines.filter_map(|line| line.strip_prefix("SELINUXTYPE=")).next_back();
    value.unwrap_or_default().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_named() {
        let config = "# SELINUXTYPE=mls\nSELINUX=enforcing\nSELINUXTYPE=targeted\n";
        assert_eq!(policy_of(config), "targeted");
        assert_eq!(policy_of("SELINUXTYPE=\"mls\""), "mls");
        assert_eq!(policy_of(""), "");
    }

    #[test]
    fn before_there_is_a_policy_all_is_the_kernels() {
        assert!(!is_of_a_policy("kernel\0") && !is_of_a_policy("kernel\n"));
        assert!(is_of_a_policy("system_u:system_r:kernel_t:s0\0"));
    }

    #[test]
    fn the_answer_is_the_kernels() {
        let said = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !said.contains("selinuxfs") {
            assert!(!is_enabled());
        }
        assert_eq!(is_enabled(), is_enabled());
    }
}
