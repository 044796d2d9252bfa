//! Profiles compiled by us and by libseccomp: both programs say the same for every call.
//!
//! What is left out, because we decide it otherwise on purpose:
//! - rules about one call with different actions: the order of the profile decides here;
//! - the upper half of arguments that the kernel takes as 32 bits, and of those of x32;
//! - numbers above the highest that is named (`ENOSYS`, which runc adds to libseccomp's program);
//! - calls that are several in one (`socketcall`, `ipc`).
//!
//! And because libseccomp 2.5.4 is wrong there:
//! - several rules about one call, either of which is enough, unless all compare one argument by
//!   `EQ`: it forgets some of them (of `arg1 == 5` and `arg0 < 0x80000000` the second), or never
//!   returns (from `arg3 < 60 && arg1 < 20`, `arg1 < 20 && arg3 == 60`, `arg3 == 60`);
//! - profiles with a call that one of the architectures does not have: its program may then compare
//!   the architecture where it should compare the number.
//!
//! What is left out is what `seccomp_compile` is for; where verdicts differ here, ours must still be
//! what a direct reading of the profile says.
#![no_main]

#[path = "common/libseccomp.rs"]
mod libseccomp;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use seccomp::reference::{Call, compares_half, evaluate, names, number};
use seccomp::{Action, Arch, Insn, compile};

use libseccomp::{Cmp, Filter};

const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;

/// Names, the value of seccomp(2), and whether a number of 12 bits goes with it.
const ACTIONS: [(&str, u32, bool); 8] = [
    ("SCMP_ACT_ALLOW", ALLOW, false),
    ("SCMP_ACT_ERRNO", 0x0005_0000, true),
    ("SCMP_ACT_KILL", 0, false),
    ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS, false),
    ("SCMP_ACT_LOG", LOG, false),
    ("SCMP_ACT_NOTIFY", 0x7fc0_0000, false),
    ("SCMP_ACT_TRACE", TRACE, true),
    ("SCMP_ACT_TRAP", 0x0003_0000, false),
];

/// Names, and `enum scmp_compare`.
const OPERATORS: [(&str, i32); 7] = [
    ("SCMP_CMP_NE", 1),
    ("SCMP_CMP_LT", 2),
    ("SCMP_CMP_LE", 3),
    ("SCMP_CMP_EQ", 4),
    ("SCMP_CMP_GE", 5),
    ("SCMP_CMP_GT", 6),
    ("SCMP_CMP_MASKED_EQ", 7),
];

/// Each with its name, `SCMP_ARCH_*`, and what is in `seccomp_data.arch`.
const ARCHES: [(Arch, &str, u32, u32); 5] = [
    (Arch::X86_64, "SCMP_ARCH_X86_64", 0xc000_003e, 0xc000_003e),
    (Arch::X86, "SCMP_ARCH_X86", 0x4000_0003, 0x4000_0003),
    (Arch::X32, "SCMP_ARCH_X32", 0x4000_003e, 0xc000_003e),
    (Arch::Aarch64, "SCMP_ARCH_AARCH64", 0xc000_00b7, 0xc000_00b7),
    (Arch::Arm, "SCMP_ARCH_ARM", 0x4000_0028, 0x4000_0028),
];

/// The names that both know.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let known = |name: &&str| {
        let theirs = |token| libseccomp::number(token, name).is_some();
        let agree = |(arch, _, token, _): &(Arch, &str, u32, u32)| {
            let ours = number(*arch, name);
            let theirs = libseccomp::number(*token, name);
            match (ours, theirs) {
                (Some(ours), Some(theirs)) if theirs >= 0 => {
                    assert_eq!(ours, theirs as u32, "{name} on {arch:?}");
                    true
                }
                (None, Some(theirs)) => theirs < 0,
                _ => false,
            }
        };
        theirs(ARCHES[0].2) && ARCHES.iter().all(agree)
    };
    let all: Vec<_> = names().filter(known).collect();
    assert!(all.len() > 380, "only {} names in common", all.len());
    all
});

fn value(u: &mut Unstructured<'_>, narrow: bool) -> Result<u64> {
    let value = match u.int_in_range(0..=4)? {
        0 => u.int_in_range(0..=64)?,
        1 => 1 << u.int_in_range(0..=63)?,
        2 => u64::from(u32::arbitrary(u)?),
        3 => u64::from(u32::arbitrary(u)?) << 32,
        _ => u64::arbitrary(u)?,
    };
    Ok(if narrow { value & 0xffff_ffff } else { value })
}

/// A condition: the argument, the place in `OPERATORS`, the value, and what a mask leaves.
type Condition = (u32, usize, u64, u64);
/// What a profile says about one call: the action, and of each rule the conditions.
type Rules = ((usize, u32), Vec<Vec<Condition>>);

#[derive(Debug)]
struct Input {
    native: usize,
    arches: Vec<usize>,
    default: (usize, u32),
    tree: bool,
    calls: BTreeMap<&'static str, Rules>,
    asked: Vec<(usize, u32, [u64; 6])>,
}

fn action(u: &mut Unstructured<'_>) -> Result<(usize, u32)> {
    let action = u.int_in_range(0..=ACTIONS.len() - 1)?;
    Ok((action, if ACTIONS[action].2 { u.int_in_range(0..=4095)? } else { 0 }))
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (native, others): (usize, &[usize]) =
            if u.ratio(2, 3)? { (0, &[1, 2]) } else { (3, &[4]) };
        let mut arches = vec![native];
        for other in others {
            if u.arbitrary()? {
                arches.push(*other);
            }
        }
        // On 32 bits the upper half of an argument is never there.
        let narrow = arches.iter().any(|a| [1, 2, 4].contains(a));
        let mut calls: BTreeMap<&str, Rules> = BTreeMap::new();
        for _ in 0..u.int_in_range(0..=16)? {
            let name = *u.choose(&NAMES)?;
            if arches.iter().any(|arch| number_of(*arch, name).is_none()) {
                continue;
            }
            let mut rules: Vec<Vec<Condition>> = Vec::new();
            for _ in 0..u.int_in_range(0..=3)? {
                let rule = (0..u.int_in_range(1..=3)?)
                    .map(|_| {
                        Ok((
                            u.int_in_range(0..=5_u32)?,
                            u.int_in_range(0..=OPERATORS.len() - 1)?,
                            value(u, narrow)?,
                            value(u, narrow)?,
                        ))
                    })
                    .collect::<Result<_>>()?;
                rules.push(rule);
            }
            if rules.len() > 1 || rules.iter().any(|rule| looks_twice(rule)) {
                one_argument_by_equality(&mut rules);
            }
            calls.insert(name, (action(u)?, rules));
        }
        let mut asked = Vec::new();
        let names: Vec<&str> = calls.keys().copied().collect();
        for _ in 0..24 {
            let arch = *u.choose(&arches)?;
            let named = if names.is_empty() { None } else { Some(*u.choose(&names)?) };
            let number = named.filter(|_| u.ratio(3, 4).unwrap_or(false));
            let number = number.and_then(|name| number_of(arch, name));
            let number = match number {
                Some(number) => number,
                None => u.int_in_range(0..=600)? | if arch == 2 { 0x4000_0000 } else { 0 },
            };
            let values: Vec<u64> = calls
                .values()
                .flat_map(|(_, rules)| rules.iter().flatten())
                .map(|one| one.2)
                .collect();
            let mut args = [0; 6];
            for arg in &mut args {
                *arg = match values.is_empty() || u.arbitrary()? {
                    true => value(u, narrow)?,
                    false => u.choose(&values)?.wrapping_add_signed(u.int_in_range(-1..=1)?),
                };
                if narrow {
                    *arg &= 0xffff_ffff;
                }
            }
            asked.push((arch, number, args));
        }
        Ok(Self { native, arches, default: action(u)?, tree: u.arbitrary()?, calls, asked })
    }
}

fn number_of(arch: usize, name: &str) -> Option<u32> {
    let number = libseccomp::number(ARCHES[arch].2, name)?;
    u32::try_from(number).ok()
}

fn verdict((kind, data): (usize, u32)) -> u32 {
    ACTIONS[kind].1 | data
}

/// The profile of the runtime specification.
fn profile(input: &Input) -> Seccomp {
    let errno = |(kind, data): (usize, u32)| ACTIONS[kind].2.then_some(data);
    let mut syscalls = Vec::new();
    for (name, (action, rules)) in &input.calls {
        let rule = |args| SyscallRule {
            names: vec![(*name).to_owned()],
            action: ACTIONS[action.0].0.to_owned(),
            errno_ret: errno(*action),
            args,
        };
        if rules.is_empty() {
            syscalls.push(rule(Vec::new()));
        }
        for conditions in rules {
            let args = conditions.iter().map(|(index, op, value, two)| SyscallArg {
                index: *index,
                value: *value,
                value_two: (*op == 6).then_some(*two),
                op: OPERATORS[*op].0.to_owned(),
            });
            syscalls.push(rule(args.collect()));
        }
    }
    Seccomp {
        default_action: ACTIONS[input.default.0].0.to_owned(),
        default_errno_ret: errno(input.default),
        architectures: input.arches.iter().map(|arch| ARCHES[*arch].1.to_owned()).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

/// Whether a rule looks at one argument more than once: then one of its conditions is enough.
fn looks_twice(rule: &[Condition]) -> bool {
    (0..6).any(|index| rule.iter().filter(|one| one.0 == index).count() > 1)
}

/// Makes of several rules, either of which is enough, such that compare one argument with values.
fn one_argument_by_equality(rules: &mut [Vec<Condition>]) {
    const EQUAL: usize = 3;
    let index = rules[0][0].0;
    for rule in rules {
        rule.truncate(1);
        (rule[0].0, rule[0].1) = (index, EQUAL);
    }
}

/// The same made by libseccomp, told as runc tells it.
fn theirs(input: &Input) -> Option<Vec<Insn>> {
    let arches: Vec<u32> = input.arches.iter().map(|arch| ARCHES[*arch].2).collect();
    let filter = Filter::new(verdict(input.default), KILL_PROCESS, &arches, input.tree)?;
    for (name, (action, rules)) in &input.calls {
        let action = verdict(*action);
        // It refuses a rule that does what happens anyway.
        if action == verdict(input.default) {
            continue;
        }
        let number = libseccomp::any_number(name)?;
        // It refuses some on its own terms: the same conditions twice, a name that is none there.
        let add = |args: &[Cmp]| (filter.rule(action, number, args) == 0).then_some(());
        if rules.is_empty() {
            add(&[])?;
        }
        for conditions in rules {
            let cmp =
                |(arg, op, a, b): &Condition| Cmp { arg: *arg, op: OPERATORS[*op].1, a: *a, b: *b };
            let cmps: Vec<Cmp> = conditions.iter().map(cmp).collect();
            match looks_twice(conditions) {
                true => cmps.iter().try_for_each(|cmp| add(std::slice::from_ref(cmp)))?,
                false => add(&cmps)?,
            }
        }
    }
    filter.program()
}

/// Runs a program of classic BPF over `struct seccomp_data`.
fn run(program: &[Insn], number: u32, audit: u32, args: &[u64; 6]) -> u32 {
    let mut words = [0_u32; 16];
    (words[0], words[1]) = (number, audit);
    for (index, arg) in args.iter().enumerate() {
        words[4 + 2 * index] = *arg as u32;
        words[5 + 2 * index] = (*arg >> 32) as u32;
    }
    let (mut a, mut at) = (0_u32, 0_usize);
    loop {
        let Insn { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
        match code {
            0x20 => {
                assert_eq!(k % 4, 0);
                a = words[k as usize / 4];
            }
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x06 => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// Whether we decide this call otherwise than libseccomp on purpose.
fn is_left_out(input: &Input, arch: usize, number: u32, args: &[u64; 6]) -> bool {
    let permits = |verdict: u32| [ALLOW, LOG].contains(&verdict) || verdict & !0xfff == TRACE;
    let find = |wanted: &str| number_of(arch, wanted) == Some(number);
    let selector = find("socketcall") || find("ipc");
    let highest = input.calls.keys().filter_map(|name| number_of(arch, name)).max();
    let half = NAMES.iter().find(|name| find(name)).is_some_and(|name| {
        args.iter()
            .enumerate()
            .any(|(index, arg)| *arg > 0xffff_ffff && compares_half(ARCHES[arch].0, name, index))
    });
    half || selector
        || !permits(verdict(input.default)) && highest.is_none_or(|highest| number > highest)
}

/// That the oracle answers nearly always: else nothing would be compared.
fn count(answered: bool) {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Relaxed) + 1;
    let answered = ANSWERED.fetch_add(u64::from(answered), Relaxed) + u64::from(answered);
    if asked.is_multiple_of(100_000) {
        eprintln!("libseccomp answered {answered} of {asked}");
        assert!(answered > asked / 2);
    }
}

fuzz_target!(|input: Input| {
    // Some are refused (a listener for `write`, too long); none may panic.
    let profile = profile(&input);
    let Ok(ours) = compile(&profile, ARCHES[input.native].0) else { return };
    let theirs = theirs(&input);
    count(theirs.is_some());
    let Some(theirs) = theirs else { return };
    for (arch, number, args) in &input.asked {
        let (audit, ours, theirs) = {
            let audit = ARCHES[*arch].3;
            (audit, run(&ours, *number, audit, args), run(&theirs, *number, audit, args))
        };
        if ours != theirs && !is_left_out(&input, *arch, *number, args) {
            panic!("{arch} {audit:x} call {number} {args:x?}: ours {ours:x}, theirs {theirs:x}");
        }
        if ours != theirs {
            let call = Call { arch: ARCHES[*arch].0, number: *number, args: *args };
            let read = evaluate(&profile, ARCHES[input.native].0, &call);
            assert_eq!(Action(ours), read, "{call:x?}");
        }
    }
});
