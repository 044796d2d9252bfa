//! Architectures: whose numbers a system call comes with.

use crate::error::Error;
use crate::table::{NONE, SYSCALLS};

/// One way to make system calls. The order is that of the columns of the table of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers.
    X32,
    /// 32-bit x86.
    X86,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm (EABI).
    Arm,
}

/// Names of libseccomp that no machine of ours has: they are known, and select nothing.
const FOREIGN: &[&str] = &[
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

impl Arch {
    /// The one that this program was compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The one that this program was compiled for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// The bit that marks a number as x32's.
    pub(crate) const X32_BIT: u32 = 0x4000_0000;

    /// The first of the numbers that only arm has: `__ARM_NR_BASE`.
    pub(crate) const ARM_PRIVATE: u32 = 0xf_0000;

    /// The name in profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The name that Docker's profile uses in its conditions: Go's.
    pub fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    const ALL: [Self; 5] = [Self::X86_64, Self::X32, Self::X86, Self::Aarch64, Self::Arm];

    /// The architecture that `name` means; `None` for one that this machine cannot be.
    pub(crate) fn parse(name: &str) -> Result<Option<Self>, Error> {
        if FOREIGN.contains(&name) {
            return Ok(None);
        }
        match Self::ALL.into_iter().find(|arch| arch.name() == name) {
            Some(arch) => Ok(Some(arch)),
            None => Err(Error::Architecture(name.to_owned())),
        }
    }

    /// `seccomp_data.arch`: `AUDIT_ARCH_*` of `linux/audit.h`. x32 has that of `x86_64`.
    pub(crate) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are registers of 64 bits.
    pub(crate) fn is_64_bit(self) -> bool {
        // x32 programs, too, have 64-bit registers.
        !matches!(self, Self::X86 | Self::Arm)
    }

    /// The number of the call `name`, as `seccomp_data.nr` has it.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        self.number_in(Self::numbers(name)?)
    }

    /// The numbers of the call `name` on all architectures; `None` for a name that is no call's.
    pub(crate) fn numbers(name: &str) -> Option<&'static [i32; 5]> {
        let row = SYSCALLS.binary_search_by_key(&name, |row| row.0).ok()?;
        Some(&SYSCALLS[row].1)
    }

    /// This architecture's among the numbers of one call.
    pub(crate) fn number_in(self, numbers: &[i32; 5]) -> Option<u32> {
        let number = numbers[self as usize];
        (number != NONE).then(|| self.tagged(number.cast_unsigned()))
    }

    /// A plain number as `seccomp_data.nr` has it.
    pub(crate) fn tagged(self, number: u32) -> u32 {
        if self == Self::X32 { number | Self::X32_BIT } else { number }
    }

    /// The call that is several in one, and which of them `name` is: on 32-bit x86 some calls can
    /// also be made as `socketcall` and `ipc`, with their real arguments out of a filter's sight.
    pub(crate) fn multiplexed(self, name: &str) -> Option<(&'static str, u32)> {
        if self != Self::X86 {
            return None;
        }
        let socketcall = |id| Some(("socketcall", id));
        let ipc = |id| Some(("ipc", id));
        match name {
            "socket" => socketcall(1),
            "bind" => socketcall(2),
            "connect" => socketcall(3),
            "listen" => socketcall(4),
            "accept" => socketcall(5),
            "getsockname" => socketcall(6),
            "getpeername" => socketcall(7),
            "socketpair" => socketcall(8),
            "send" => socketcall(9),
            "recv" => socketcall(10),
            "sendto" => socketcall(11),
            "recvfrom" => socketcall(12),
            "shutdown" => socketcall(13),
            "setsockopt" => socketcall(14),
            "getsockopt" => socketcall(15),
            "sendmsg" => socketcall(16),
            "recvmsg" => socketcall(17),
            "accept4" => socketcall(18),
            "recvmmsg" => socketcall(19),
            "sendmmsg" => socketcall(20),
            "semop" => ipc(1),
            "semget" => ipc(2),
            "semctl" => ipc(3),
            "semtimedop" => ipc(4),
            "msgsnd" => ipc(11),
            "msgrcv" => ipc(12),
            "msgget" => ipc(13),
            "msgctl" => ipc(14),
            "shmat" => ipc(21),
            "shmdt" => ipc(22),
            "shmget" => ipc(23),
            "shmctl" => ipc(24),
            _ => None,
        }
    }
}
