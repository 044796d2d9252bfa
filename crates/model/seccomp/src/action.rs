//! What happens to a system call.

use crate::error::Error;

/// The highest errno that the kernel passes on: `MAX_ERRNO`.
pub const DATA_MAX: u32 = 4095;

const EPERM: u32 = 1;

/// What the filter returns for a call: `SECCOMP_RET_*` of seccomp(2), with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action(pub u32);

impl Action {
    /// The process ends with `SIGSYS`.
    pub const KILL_PROCESS: Self = Self(0x8000_0000);
    /// The thread ends.
    pub const KILL_THREAD: Self = Self(0);
    /// The thread gets `SIGSYS`.
    pub const TRAP: Self = Self(0x0003_0000);
    /// Whoever has the listener decides.
    pub const NOTIFY: Self = Self(0x7fc0_0000);
    /// The call is made and logged.
    pub const LOG: Self = Self(0x7ffc_0000);
    /// The call is made.
    pub const ALLOW: Self = Self(0x7fff_0000);

    const ERRNO: u32 = 0x0005_0000;
    const TRACE: u32 = 0x7ff0_0000;

    /// The call fails with `errno`.
    pub const fn errno(errno: u16) -> Self {
        Self(Self::ERRNO | errno as u32)
    }

    /// The action that libseccomp calls `name`, with the errno (for `TRACE`: the tracer's data) that
    /// the rule gives.
    pub(crate) fn parse(name: &str, errno: Option<u32>) -> Result<Self, Error> {
        let plain = match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KILL_THREAD,
            "SCMP_ACT_KILL_PROCESS" => Self::KILL_PROCESS,
            "SCMP_ACT_TRAP" => Self::TRAP,
            "SCMP_ACT_ALLOW" => Self::ALLOW,
            "SCMP_ACT_LOG" => Self::LOG,
            "SCMP_ACT_NOTIFY" => Self::NOTIFY,
            "SCMP_ACT_ERRNO" => return Self::with_data(Self::ERRNO, errno),
            "SCMP_ACT_TRACE" => return Self::with_data(Self::TRACE, errno),
            _ => return Err(Error::Action(name.to_owned())),
        };
        match errno {
            None => Ok(plain),
            Some(_) => Err(Error::NoErrno(name.to_owned())),
        }
    }

    fn with_data(kind: u32, errno: Option<u32>) -> Result<Self, Error> {
        match errno.unwrap_or(EPERM) {
            data @ 0..=DATA_MAX => Ok(Self(kind | data)),
            data => Err(Error::ErrnoRange(data)),
        }
    }

    /// Whether the call goes on, by itself or at the hands of a tracer.
    pub(crate) fn permits(self) -> bool {
        self == Self::ALLOW || self == Self::LOG || self.0 & 0xffff_0000 == Self::TRACE
    }
}
