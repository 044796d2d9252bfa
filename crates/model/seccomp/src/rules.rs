//! The profile's rules, sorted by architecture and number.

use oci::runtime::{Seccomp, SyscallArg, SyscallRule};

use crate::action::Action;
use crate::arch::Arch;
use crate::condition::Condition;
use crate::error::Error;
use crate::width::is_narrow;

const ENOSYS: u16 = 38;

/// Conditions that must all hold, and what happens then.
pub(crate) type Case = (Vec<Condition>, Action);

/// What happens to one call: the first case that holds, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) cases: Vec<Case>,
    pub(crate) otherwise: Action,
}

impl Decision {
    pub(crate) fn always(action: Action) -> Self {
        Self { cases: Vec::new(), otherwise: action }
    }
}

/// What happens to all calls of one architecture.
pub(crate) struct ArchRules {
    /// By number, sorted; those that are missing get the default action.
    pub(crate) decisions: Vec<(u32, Decision)>,
    /// What happens to numbers above the last of `decisions`.
    pub(crate) beyond: Action,
}

/// A profile, checked.
pub(crate) struct Rules {
    pub(crate) default: Action,
    pub(crate) arches: Vec<(Arch, ArchRules)>,
}

/// A rule, checked, before it is known which numbers its names have.
struct Parsed<'a> {
    rule: &'a SyscallRule,
    action: Action,
    /// Its names, each with the numbers that it has, if it is a call's.
    calls: Vec<(&'a str, Option<&'static [i32; 5]>)>,
}

impl Rules {
    /// Checks `seccomp` and sorts its rules for a machine whose own architecture is `native`.
    pub(crate) fn new(seccomp: &Seccomp, native: Arch) -> Result<Self, Error> {
        let default = Action::parse(&seccomp.default_action, seccomp.default_errno_ret)?;
        if default == Action::NOTIFY {
            return Err(Error::Notify("the default action"));
        }
        let parsed = seccomp
            .syscalls
            .iter()
            .enumerate()
            .map(|(number, rule)| Parsed::new(number, rule))
            .collect::<Result<Vec<_>, Error>>()?;
        let arches = architectures(seccomp, native)?
            .into_iter()
            .map(|arch| Ok((arch, ArchRules::new(arch, default, &parsed)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { default, arches })
    }
}

impl<'a> Parsed<'a> {
    fn new(number: usize, rule: &'a SyscallRule) -> Result<Self, Error> {
        if rule.names.is_empty() {
            return Err(Error::NoName(number));
        }
        let action = Action::parse(&rule.action, rule.errno_ret)?;
        // The runtime itself writes after the filter is there: nobody would answer it.
        if action == Action::NOTIFY && rule.names.iter().any(|name| name == "write") {
            return Err(Error::Notify("the write syscall"));
        }
        for arg in &rule.args {
            Condition::new(&rule.names[0], arg, false)?;
        }
        let calls = rule.names.iter().map(|name| (name.as_str(), Arch::numbers(name))).collect();
        Ok(Self { rule, action, calls })
    }
}

/// The architectures to write rules for: those that are named and can be, and the machine's own.
fn architectures(seccomp: &Seccomp, native: Arch) -> Result<Vec<Arch>, Error> {
    let possible: &[Arch] = match native {
        Arch::Aarch64 | Arch::Arm => &[Arch::Aarch64, Arch::Arm],
        Arch::X86_64 | Arch::X86 | Arch::X32 => &[Arch::X86_64, Arch::X86, Arch::X32],
    };
    let mut arches = vec![native];
    for name in &seccomp.architectures {
        if let Some(arch) = Arch::parse(name)?
            && possible.contains(&arch)
        {
            arches.push(arch);
        }
    }
    arches.sort_unstable();
    arches.dedup();
    Ok(arches)
}

/// What one rule says about one call.
struct Said {
    number: u32,
    cases: Vec<Case>,
    unconditional: Option<Action>,
}

impl ArchRules {
    fn new(arch: Arch, default: Action, parsed: &[Parsed<'_>]) -> Result<Self, Error> {
        let mut said: Vec<Said> = Vec::with_capacity(512);
        for Parsed { rule, action, calls } in parsed {
            for (name, numbers) in calls {
                if let Some(number) = numbers.and_then(|numbers| arch.number_in(numbers)) {
                    let cases = conjunctions(arch, name, &rule.args)?;
                    said.push(Said {
                        number,
                        cases: cases.into_iter().map(|all| (all, *action)).collect(),
                        unconditional: rule.args.is_empty().then_some(*action),
                    });
                }
                if let Some((number, selector)) = multiplexed(arch, name, rule, *action) {
                    let cases = vec![(vec![selector], *action)];
                    said.push(Said { number, cases, unconditional: None });
                }
            }
        }
        let beyond = beyond(default, !said.is_empty());
        Ok(Self { decisions: decide(said, default), beyond })
    }
}

/// What happens to each call that something was said about: cases in the order of the rules, then
/// the first rule without conditions.
fn decide(mut said: Vec<Said>, default: Action) -> Vec<(u32, Decision)> {
    // Stable: the order of the rules is kept.
    said.sort_by_key(|one| one.number);
    let mut decisions: Vec<(u32, Decision)> = Vec::with_capacity(said.len());
    let mut rest = said.into_iter().peekable();
    while let Some(Said { number, mut cases, mut unconditional }) = rest.next() {
        while let Some(more) = rest.next_if(|more| more.number == number) {
            cases.extend(more.cases);
            unconditional = unconditional.or(more.unconditional);
        }
        let otherwise = unconditional.unwrap_or(default);
        decisions.push((number, Decision { cases, otherwise }.simplified()));
    }
    decisions
}

impl Decision {
    /// Without cases that change nothing: the last ones, where they do what happens anyway.
    fn simplified(mut self) -> Self {
        while self.cases.last().is_some_and(|(_, action)| *action == self.otherwise) {
            self.cases.pop();
        }
        self
    }
}

/// What numbers get that are newer than the profile.
fn beyond(default: Action, any: bool) -> Action {
    if any && !default.permits() { Action::errno(ENOSYS) } else { default }
}

/// The conditions of a rule, as lists of which one must hold in full. A rule that looks at one
/// argument twice means "or", as runc has it; else all must hold.
fn conjunctions(arch: Arch, call: &str, args: &[SyscallArg]) -> Result<Vec<Vec<Condition>>, Error> {
    if args.is_empty() {
        return Ok(Vec::new());
    }
    let conditions = args
        .iter()
        .map(|arg| {
            let narrow = !arch.is_64_bit() || is_narrow(call, arg.index as usize);
            Condition::new(call, arg, narrow)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let twice = (0..6).any(|index| conditions.iter().filter(|c| c.index == index).count() > 1);
    Ok(if twice {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    })
}

/// The same rule for the call `name` made as part of another (`socketcall`, `ipc`), where it can be.
///
/// Conditions cannot be tested there. A rule that permits under conditions does not count there,
/// and one that forbids under conditions forbids without.
fn multiplexed(
    arch: Arch,
    name: &str,
    rule: &SyscallRule,
    action: Action,
) -> Option<(u32, Condition)> {
    let (outer, id) = arch.multiplexed(name)?;
    if !rule.args.is_empty() && action.permits() {
        return None;
    }
    // The upper half of ipc's first argument is a version.
    let mask = if outer == "ipc" { 0xffff } else { u32::MAX };
    Some((arch.number(outer)?, Condition::selector(mask, id)))
}

/// Whether a rule of `seccomp` asks for a listener.
pub fn needs_listener(seccomp: &Seccomp) -> bool {
    seccomp.syscalls.iter().any(|rule| rule.action == "SCMP_ACT_NOTIFY")
}

/// The flags of `seccomp` for seccomp(2): `SECCOMP_FILTER_FLAG_*`. That of the listener is not among
/// them, see [`needs_listener`].
pub fn flags(seccomp: &Seccomp) -> Result<u32, Error> {
    seccomp.flags.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => 1,
                "SECCOMP_FILTER_FLAG_LOG" => 2,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => 32,
                _ => return Err(Error::Flag(name.clone())),
            })
    })
}
