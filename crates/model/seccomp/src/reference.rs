//! What a profile means, written down directly: for tests to hold compiled programs against.
//!
//! Shares nothing with the compiler but the tables of numbers and widths.

use oci::runtime::{Seccomp, SyscallArg, SyscallRule};

use crate::action::Action;
use crate::arch::Arch;
use crate::program::{self, Insn};
use crate::width::is_narrow;

/// One system call: `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Whose call.
    pub arch: Arch,
    /// `seccomp_data.nr`.
    pub number: u32,
    /// The arguments.
    pub args: [u64; 6],
}

/// The names of all calls.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    crate::table::SYSCALLS.iter().map(|row| row.0)
}

/// The number of the call `name`, as `seccomp_data.nr` has it.
pub fn number(arch: Arch, name: &str) -> Option<u32> {
    arch.number(name)
}

/// Whether only the lower half of argument `index` of the call `name` is compared.
pub fn compares_half(arch: Arch, name: &str, index: usize) -> bool {
    !arch.is_64_bit() || is_narrow(name, index)
}

/// What `program` returns for `call`; `None` for a program that the kernel would refuse.
pub fn run(program: &[Insn], call: &Call) -> Option<Action> {
    let mut data = [0_u8; 64];
    data[..4].copy_from_slice(&call.number.to_le_bytes());
    data[4..8].copy_from_slice(&call.arch.audit().to_le_bytes());
    for (index, arg) in call.args.iter().enumerate() {
        data[16 + 8 * index..][..8].copy_from_slice(&arg.to_le_bytes());
    }
    let mut loaded = 0_u32;
    let mut at = 0;
    loop {
        let Insn { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            program::LOAD => {
                let word = data.get(k as usize..)?.first_chunk::<4>()?;
                if k % 4 != 0 {
                    return None;
                }
                loaded = u32::from_le_bytes(*word);
            }
            program::AND => loaded &= k,
            program::JUMP => at += k as usize,
            program::JUMP_EQUAL => at += jump(loaded == k),
            program::JUMP_GREATER => at += jump(loaded > k),
            program::JUMP_GREATER_OR_EQUAL => at += jump(loaded >= k),
            program::RETURN => return Some(Action(k)),
            _ => return None,
        }
    }
}

/// What `seccomp`, which must be valid, says about `call` on a machine that is `native`.
pub fn evaluate(seccomp: &Seccomp, native: Arch, call: &Call) -> Action {
    let default = action(&seccomp.default_action, seccomp.default_errno_ret);
    let arch = match call.arch {
        Arch::X86_64 | Arch::X32 if call.number == u32::MAX => native,
        Arch::X86_64 | Arch::X32 if call.number & Arch::X32_BIT != 0 => Arch::X32,
        Arch::X32 => Arch::X86_64,
        arch => arch,
    };
    let named = seccomp.architectures.iter().any(|name| name == arch.name());
    let same_machine =
        matches!(arch, Arch::Aarch64 | Arch::Arm) == matches!(native, Arch::Aarch64 | Arch::Arm);
    if arch != native && !(named && same_machine) {
        return Action::KILL_PROCESS;
    }
    if call.number == u32::MAX {
        return default;
    }
    // On arm there are two ranges, and each has its last call.
    let private = |number: u32| arch == Arch::Arm && number >= Arch::ARM_PRIVATE;
    let mut last = None;
    let mut any = false;
    let mut unconditional = None;
    for rule in &seccomp.syscalls {
        for name in &rule.names {
            let found = action(&rule.action, rule.errno_ret);
            if let Some(number) = arch.number(name) {
                any = true;
                if private(number) == private(call.number) {
                    last = last.max(Some(number));
                }
                if number == call.number {
                    match rule.args.is_empty() {
                        true => unconditional = unconditional.or(Some(found)),
                        false if holds(arch, name, rule, call) => return found,
                        false => {}
                    }
                }
            }
            let Some((outer, id)) = arch.multiplexed(name) else { continue };
            let counts = rule.args.is_empty() || !found.permits();
            let outer_number = arch.number(outer);
            if counts {
                any = true;
                last = last.max(outer_number);
            }
            let selected = call.args[0] as u32 & if outer == "ipc" { 0xffff } else { u32::MAX };
            if counts && outer_number == Some(call.number) && selected == id {
                return found;
            }
        }
    }
    let beyond = any && last.is_none_or(|last| call.number > last);
    if beyond && !default.permits() { Action::errno(38) } else { unconditional.unwrap_or(default) }
}

fn action(name: &str, errno: Option<u32>) -> Action {
    Action::parse(name, errno).unwrap_or(Action::KILL_PROCESS)
}

fn holds(arch: Arch, call_name: &str, rule: &SyscallRule, call: &Call) -> bool {
    let holds = |arg: &SyscallArg| {
        let index = arg.index as usize;
        let narrow = !arch.is_64_bit() || is_narrow(call_name, index);
        let is = if narrow { call.args[index] & 0xffff_ffff } else { call.args[index] };
        match arg.op.as_str() {
            "SCMP_CMP_EQ" => is == arg.value,
            "SCMP_CMP_NE" => is != arg.value,
            "SCMP_CMP_LT" => is < arg.value,
            "SCMP_CMP_LE" => is <= arg.value,
            "SCMP_CMP_GT" => is > arg.value,
            "SCMP_CMP_GE" => is >= arg.value,
            _ => is & arg.value == arg.value_two.unwrap_or(0) & arg.value,
        }
    };
    let twice = (0..6).any(|i| rule.args.iter().filter(|arg| arg.index == i).count() > 1);
    if twice { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) }
}
