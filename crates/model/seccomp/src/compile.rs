//! From rules to a program.

use oci::runtime::Seccomp;

use crate::action::Action;
use crate::arch::Arch;
use crate::error::Error;
use crate::program::{ARCH, Insn, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, Label, NUMBER, Tail};
use crate::rules::{ArchRules, Decision, Rules};

/// The most that the kernel takes: `BPF_MAXINSNS`.
const MAX_LEN: usize = 4096;

/// What a tracer that has cancelled a call leaves as its number.
const CANCELLED: u32 = u32::MAX;

/// Compiles `seccomp` for a machine whose own architecture is `native`.
///
/// Calls of an architecture that the profile does not name end the process, as with libseccomp.
pub fn compile(seccomp: &Seccomp, native: Arch) -> Result<Vec<Insn>, Error> {
    let rules = Rules::new(seccomp, native)?;
    let mut tail = Tail::new();
    let mut next = tail.ret(Action::KILL_PROCESS);
    for (audit, ranges) in tables(&rules).into_iter().rev() {
        let tree = search(&mut tail, &ranges);
        let tree = tail.load(NUMBER, tree);
        next = tail.compare(JUMP_EQUAL, audit, tree, next);
    }
    tail.load(ARCH, next);
    let program = tail.finish();
    if program.len() > MAX_LEN { Err(Error::TooLong(program.len())) } else { Ok(program) }
}

/// Numbers from `start` to the start of the next range, and what happens to them.
struct Range<'a> {
    start: u32,
    decision: std::borrow::Cow<'a, Decision>,
}

/// For each value of `seccomp_data.arch`: the ranges that cover all numbers, from 0 on. The
/// machine's own comes first: most calls are its.
fn tables(rules: &Rules) -> Vec<(u32, Vec<Range<'_>>)> {
    let mut tables: Vec<(u32, Vec<Range<'_>>)> = Vec::new();
    for (arch, own) in &rules.arches {
        // x32 comes right after x86_64, whose table it shares.
        if tables.last().is_none_or(|(audit, _)| *audit != arch.audit()) {
            tables.push((arch.audit(), Vec::new()));
        }
        if let Some((_, ranges)) = tables.last_mut() {
            add(ranges, *arch, own, rules.default);
        }
    }
    for (audit, ranges) in &mut tables {
        let x32_allowed = rules.arches.iter().any(|(arch, _)| *arch == Arch::X32);
        if *audit == Arch::X86_64.audit() && !x32_allowed {
            push(ranges, Arch::X32_BIT, Decision::always(Action::KILL_PROCESS));
        }
        push(ranges, CANCELLED, Decision::always(rules.default));
    }
    tables
}

fn add<'a>(ranges: &mut Vec<Range<'a>>, arch: Arch, own: &'a ArchRules, default: Action) {
    let mut free = arch.tagged(0);
    if arch == Arch::X32 && ranges.is_empty() {
        push(ranges, 0, Decision::always(Action::KILL_PROCESS));
    }
    for (number, decision) in &own.decisions {
        // New calls of arm will come below those of its own, which are far above all others.
        if arch == Arch::Arm && free < Arch::ARM_PRIVATE && *number >= Arch::ARM_PRIVATE {
            push(ranges, free, Decision::always(own.beyond));
            free = Arch::ARM_PRIVATE;
        }
        if *number > free {
            push(ranges, free, Decision::always(default));
        }
        push_borrowed(ranges, *number, decision);
        free = number + 1;
    }
    push(ranges, free, Decision::always(own.beyond));
}

fn push(ranges: &mut Vec<Range<'_>>, start: u32, decision: Decision) {
    if ranges.last().is_none_or(|last| *last.decision != decision) {
        ranges.push(Range { start, decision: std::borrow::Cow::Owned(decision) });
    }
}

fn push_borrowed<'a>(ranges: &mut Vec<Range<'a>>, start: u32, decision: &'a Decision) {
    if ranges.last().is_none_or(|last| *last.decision != *decision) {
        ranges.push(Range { start, decision: std::borrow::Cow::Borrowed(decision) });
    }
}

/// A tree of comparisons of the number with the starts of ranges.
fn search(tail: &mut Tail, ranges: &[Range<'_>]) -> Label {
    if let [only] = ranges {
        return decide(tail, &only.decision);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let above = search(tail, upper);
    let below = search(tail, lower);
    tail.compare(JUMP_GREATER_OR_EQUAL, upper[0].start, above, below)
}

/// One case after the other, then the rest.
fn decide(tail: &mut Tail, decision: &Decision) -> Label {
    let mut next = tail.ret(decision.otherwise);
    for (conditions, action) in decision.cases.iter().rev() {
        let mut holds = tail.ret(*action);
        for condition in conditions.iter().rev() {
            holds = tail.condition(condition, holds, next);
        }
        next = holds;
    }
    next
}
