//! The seccomp filter, compiled.

use oci::runtime::Seccomp;
use seccomp::reference::{Call, run};
use seccomp::{Action, Arch, Insn};
use sys::{SeccompFlags, SockFilter};

use crate::Error;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<SockFilter>,
    /// How it is installed.
    pub flags: SeccompFlags,
    /// Who decides about calls with `SCMP_ACT_NOTIFY`.
    pub listener: Option<Listener>,
}

/// Who decides about calls with `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// The unix socket that gets the descriptor.
    pub path: String,
    /// Opaque data that goes with it.
    pub metadata: String,
}

/// clone(2): its number, for the one architecture that a runtime has.
#[cfg(target_arch = "x86_64")]
const CLONE: u32 = 56;
#[cfg(target_arch = "aarch64")]
const CLONE: u32 = 220;
/// clone3(2), on every architecture.
const CLONE3: u32 = 435;
/// `CLONE_PARENT`.
const CLONE_PARENT: u64 = 0x8000;
const ENOSYS: u16 = 38;

impl Filter {
    /// Compiles `spec` for this machine.
    pub fn new(spec: &Seccomp) -> Result<Self, Error> {
        let program = seccomp::compile(spec, Arch::NATIVE).map_err(Error::Seccomp)?;
        let mut flags =
            SeccompFlags::from_bits_retain(seccomp::flags(spec).map_err(Error::Seccomp)?);
        let notifies = seccomp::needs_listener(spec);
        if notifies && spec.listener_path.is_empty() {
            return Err(Error::conflict(
                "linux.seccomp.listenerPath",
                "is missing, and SCMP_ACT_NOTIFY needs it",
            ));
        }
        if !spec.listener_metadata.is_empty() && spec.listener_path.is_empty() {
            return Err(Error::conflict("linux.seccomp.listenerMetadata", "needs listenerPath"));
        }
        if spec.listener_path.contains('\0') {
            let path = spec.listener_path.escape_debug();
            return Err(Error::invalid("linux.seccomp.listenerPath", path, "contains a NUL"));
        }
        if flags.contains(SeccompFlags::WAIT_KILLABLE_RECV) && !notifies {
            return Err(Error::conflict(
                "linux.seccomp.flags",
                "have SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which needs SCMP_ACT_NOTIFY",
            ));
        }
        if notifies {
            flags |= SeccompFlags::NEW_LISTENER;
            // With both, the kernel wants to be told how to say that a thread was in the way.
            if flags.contains(SeccompFlags::TSYNC) {
                flags |= SeccompFlags::TSYNC_ESRCH;
            }
        }
        Ok(Self {
            program: program
                .into_iter()
                .map(|Insn { code, jt, jf, k }| SockFilter { code, jt, jf, k })
                .collect(),
            flags,
            listener: notifies.then(|| Listener {
                path: spec.listener_path.clone(),
                metadata: spec.listener_metadata.clone(),
            }),
        })
    }

    /// Whether a process under the filter can still make one more for its parent: with clone3, or
    /// with clone where that one is hidden.
    pub fn allows_fork(&self) -> bool {
        let program: Vec<Insn> = self
            .program
            .iter()
            .map(|insn| Insn { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
            .collect();
        let ask = |number: u32, flags: u64| {
            let args = [flags, 0, 0, 0, 0, 0];
            run(&program, &Call { arch: Arch::NATIVE, number, args })
        };
        let allows = |action: Option<Action>| matches!(action, Some(action) if action == Action::ALLOW || action == Action::LOG);
        let clone3 = ask(CLONE3, 0);
        allows(clone3) || clone3 == Some(Action::errno(ENOSYS)) && allows(ask(CLONE, CLONE_PARENT))
    }
}
