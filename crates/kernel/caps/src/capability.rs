//! Names and numbers of capabilities: <linux/capability.h>.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};
use std::str::FromStr;

macro_rules! capabilities {
    ($($variant:ident $name:literal $bit:literal $doc:literal,)*) => {
        /// One capability.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Capability {
            $(#[doc = $doc] $variant = $bit,)*
        }

        impl Capability {
            /// All that this program knows, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, with `CAP_`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

capabilities! {
    Chown "CAP_CHOWN" 0 "Change owners of files.",
    DacOverride "CAP_DAC_OVERRIDE" 1 "Ignore permissions of files.",
    DacReadSearch "CAP_DAC_READ_SEARCH" 2 "Ignore read permissions of files.",
    Fowner "CAP_FOWNER" 3 "Act as the owner of any file.",
    Fsetid "CAP_FSETID" 4 "Keep set-user-ID bits when a file changes.",
    Kill "CAP_KILL" 5 "Signal any process.",
    Setgid "CAP_SETGID" 6 "Change group ids.",
    Setuid "CAP_SETUID" 7 "Change user ids.",
    Setpcap "CAP_SETPCAP" 8 "Change capability sets.",
    LinuxImmutable "CAP_LINUX_IMMUTABLE" 9 "Change immutable and append-only flags.",
    NetBindService "CAP_NET_BIND_SERVICE" 10 "Bind ports below 1024.",
    NetBroadcast "CAP_NET_BROADCAST" 11 "Broadcast and listen to multicasts.",
    NetAdmin "CAP_NET_ADMIN" 12 "Configure networks.",
    NetRaw "CAP_NET_RAW" 13 "Use raw and packet sockets.",
    IpcLock "CAP_IPC_LOCK" 14 "Lock memory.",
    IpcOwner "CAP_IPC_OWNER" 15 "Ignore permissions of System V objects.",
    SysModule "CAP_SYS_MODULE" 16 "Load and unload kernel modules.",
    SysRawio "CAP_SYS_RAWIO" 17 "Access ports and devices directly.",
    SysChroot "CAP_SYS_CHROOT" 18 "Use chroot, and enter mount namespaces.",
    SysPtrace "CAP_SYS_PTRACE" 19 "Trace any process.",
    SysPacct "CAP_SYS_PACCT" 20 "Switch process accounting.",
    SysAdmin "CAP_SYS_ADMIN" 21 "Administrate: mounts, namespaces and much more.",
    SysBoot "CAP_SYS_BOOT" 22 "Reboot, and load another kernel.",
    SysNice "CAP_SYS_NICE" 23 "Raise priorities.",
    SysResource "CAP_SYS_RESOURCE" 24 "Override resource limits.",
    SysTime "CAP_SYS_TIME" 25 "Set clocks.",
    SysTtyConfig "CAP_SYS_TTY_CONFIG" 26 "Configure terminals.",
    Mknod "CAP_MKNOD" 27 "Make device files.",
    Lease "CAP_LEASE" 28 "Take leases on any file.",
    AuditWrite "CAP_AUDIT_WRITE" 29 "Write to the audit log.",
    AuditControl "CAP_AUDIT_CONTROL" 30 "Configure auditing.",
    Setfcap "CAP_SETFCAP" 31 "Set capabilities of files.",
    MacOverride "CAP_MAC_OVERRIDE" 32 "Override mandatory access control.",
    MacAdmin "CAP_MAC_ADMIN" 33 "Configure mandatory access control.",
    Syslog "CAP_SYSLOG" 34 "Read the kernel's log.",
    WakeAlarm "CAP_WAKE_ALARM" 35 "Wake the machine.",
    BlockSuspend "CAP_BLOCK_SUSPEND" 36 "Keep the machine awake.",
    AuditRead "CAP_AUDIT_READ" 37 "Read the audit log.",
    Perfmon "CAP_PERFMON" 38 "Observe performance.",
    Bpf "CAP_BPF" 39 "Use BPF.",
    CheckpointRestore "CAP_CHECKPOINT_RESTORE" 40 "Checkpoint and restore processes.",
}

impl Capability {
    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The bit in a set.
    pub fn bit(self) -> u64 {
        1 << self.number()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no capability's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability `{0}`")]
pub struct UnknownCapability(pub String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// The name with or without `CAP_`, in any case, as Docker takes it.
    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Self::ALL
            .iter()
            .find(|cap| cap.name()["CAP_".len()..] == *short)
            .copied()
            .ok_or_else(|| UnknownCapability(name.to_owned()))
    }
}

/// A set of capabilities, bit N for number N.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// All that the running kernel has, also those that are newer than this program.
    pub fn all_supported() -> Result<Self, sys::Error> {
        Ok(crate::known_and_bounding()?.0)
    }

    /// Those that processes started from here may have: what is in the bounding set.
    pub fn available() -> Result<Self, sys::Error> {
        Ok(crate::known_and_bounding()?.1)
    }

    /// Whether `cap` is in it.
    pub fn contains(self, cap: Capability) -> bool {
        self.0 & cap.bit() != 0
    }

    /// Adds `cap`.
    pub fn insert(&mut self, cap: Capability) {
        self.0 |= cap.bit();
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers in it, from the lowest.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |n| self.0 & 1 << n != 0)
    }

    /// Those in it that have a name here.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |cap| self.contains(*cap))
    }
}

impl FromIterator<Capability> for CapSet {
    fn from_iter<I: IntoIterator<Item = Capability>>(caps: I) -> Self {
        Self(caps.into_iter().fold(0, |set, cap| set | cap.bit()))
    }
}

impl BitOr for CapSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for CapSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for CapSet {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_names_parse_back() {
        for (number, cap) in Capability::ALL.iter().enumerate() {
            assert_eq!(usize::from(cap.number()), number);
            assert_eq!(cap.to_string().parse(), Ok(*cap));
            assert_eq!(cap.name()[4..].to_lowercase().parse(), Ok(*cap));
        }
        assert_eq!(Capability::ALL.len(), 41);
    }

    #[test]
    fn a_wrong_name_is_said_as_it_was_given() {
        for name in ["", "CAP_", "CAP_CAP_CHOWN", "ALL", "sys admin"] {
            assert_eq!(name.parse::<Capability>(), Err(UnknownCapability(name.to_owned())));
        }
    }

    #[test]
    fn sets_are_sets() {
        let a: CapSet = [Capability::Chown, Capability::Bpf].into_iter().collect();
        let b: CapSet = [Capability::Bpf].into_iter().collect();
        assert_eq!((a - b).iter().collect::<Vec<_>>(), [Capability::Chown]);
        assert_eq!(a & b, b);
        assert_eq!(a | b, a);
        assert_eq!(a.numbers().collect::<Vec<_>>(), [0, 39]);
        assert_eq!(format!("{a:?}"), r#"{"CAP_CHOWN", "CAP_BPF"}"#);
    }

    #[test]
    fn the_kernel_supports_at_least_what_is_older_than_5_9() {
        let all = CapSet::all_supported().unwrap();
        assert!(all.contains(Capability::CheckpointRestore));
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(all.numbers().last(), last.trim().parse().ok());
    }
}
