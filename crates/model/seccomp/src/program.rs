//! Writing a program of classic BPF from its end.
//!
//! Jumps only go forward, over at most 255 instructions when conditional. Written backwards, every
//! target is known when the jump is written.

use crate::action::Action;
use crate::condition::{Condition, Test};

/// One instruction: `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip when the comparison holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Loads the word at offset `k` of `struct seccomp_data`.
pub(crate) const LOAD: u16 = 0x20;
/// Masks what was loaded.
pub(crate) const AND: u16 = 0x54;
/// Skips `k` instructions.
pub(crate) const JUMP: u16 = 0x05;
/// Is it `k`?
pub(crate) const JUMP_EQUAL: u16 = 0x15;
/// Is it greater than `k`?
pub(crate) const JUMP_GREATER: u16 = 0x25;
/// Is it `k` or greater?
pub(crate) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// Ends with `k`.
pub(crate) const RETURN: u16 = 0x06;

/// Offset of `seccomp_data.nr`.
pub(crate) const NUMBER: u32 = 0;
/// Offset of `seccomp_data.arch`.
pub(crate) const ARCH: u32 = 4;
/// Offset of the lower half of `seccomp_data.args[index]`; the upper half follows. All machines that
/// this is for are little-endian.
pub(crate) const fn argument(index: usize) -> u32 {
    16 + 8 * index as u32
}

/// A place in the program, counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// The part of a program that is written: from some place to the end.
pub(crate) struct Tail {
    reversed: Vec<Insn>,
    /// Where each action is returned, nearest first.
    returns: Vec<(Action, Label)>,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self { reversed: Vec::new(), returns: Vec::new() }
    }

    /// The program in the order in which it runs.
    pub(crate) fn finish(mut self) -> Vec<Insn> {
        self.reversed.reverse();
        self.reversed
    }

    fn put(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Insn { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions one that is put next has to skip to get to `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    /// A place near enough for the next instruction but `ahead` to jump to, from which it goes on at
    /// `target`.
    fn near(&mut self, target: Label, ahead: usize) -> Label {
        if u8::try_from(self.distance(target) + ahead).is_ok() {
            return target;
        }
        let Insn { code, k, .. } = self.reversed[target.0];
        if code == RETURN {
            return self.put_return(Action(k));
        }
        let skip = self.distance(target) as u32;
        self.put(JUMP, 0, 0, skip)
    }

    fn put_return(&mut self, action: Action) -> Label {
        let label = self.put(RETURN, 0, 0, action.0);
        self.returns.retain(|(other, _)| *other != action);
        self.returns.push((action, label));
        label
    }

    /// A place that returns `action`.
    pub(crate) fn ret(&mut self, action: Action) -> Label {
        match self.returns.iter().find(|(other, _)| *other == action) {
            Some((_, label)) => *label,
            None => self.put_return(action),
        }
    }

    /// Compares what is loaded with `k` and goes on at `yes` or `no`.
    pub(crate) fn compare(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        // Bringing `no` near may take an instruction, and so may bringing `yes` near.
        let yes = self.near(yes, 1);
        let no = self.near(no, 0);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.put(code, jt, jf, k)
    }

    /// Loads the word at `offset`, then goes on at `next`, which must be the place put last or is
    /// jumped to.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.follow(next);
        self.put(LOAD, 0, 0, offset)
    }

    /// Makes sure that what is put next runs on into `next`.
    fn follow(&mut self, next: Label) {
        match self.distance(next) {
            0 => {}
            skip => {
                self.put(JUMP, 0, 0, skip as u32);
            }
        }
    }

    fn load_masked(&mut self, offset: u32, mask: u32, next: Label) -> Label {
        if mask == u32::MAX {
            return self.load(offset, next);
        }
        self.follow(next);
        let and = self.put(AND, 0, 0, mask);
        self.load(offset, and)
    }

    /// Tests `condition` and goes on at `yes` or `no`.
    pub(crate) fn condition(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let (yes, no) = if condition.negated { (no, yes) } else { (yes, no) };
        match condition.test {
            Test::MaskedEqual { mask, value } => self.masked_equal(condition, mask, value, yes, no),
            Test::Greater(value) => self.ordered(condition, JUMP_GREATER, value, yes, no),
            Test::GreaterOrEqual(value) => {
                self.ordered(condition, JUMP_GREATER_OR_EQUAL, value, yes, no)
            }
        }
    }

    fn masked_equal(
        &mut self,
        condition: &Condition,
        mask: u64,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Label {
        let low = argument(condition.index);
        let equal_low = |tail: &mut Self| {
            let test = tail.compare(JUMP_EQUAL, value as u32, yes, no);
            if test == yes { yes } else { tail.load_masked(low, mask as u32, test) }
        };
        let (mask_high, value_high) = ((mask >> 32) as u32, (value >> 32) as u32);
        if condition.narrow {
            // The upper half does not exist: it is 0.
            return if value_high == 0 { equal_low(self) } else { no };
        }
        let next = equal_low(self);
        if mask_high == 0 {
            return next;
        }
        let test = self.compare(JUMP_EQUAL, value_high, next, no);
        self.load_masked(low + 4, mask_high, test)
    }

    fn ordered(
        &mut self,
        condition: &Condition,
        code: u16,
        value: u64,
        yes: Label,
        no: Label,
    ) -> Label {
        let low = argument(condition.index);
        let (value_high, value_low) = ((value >> 32) as u32, value as u32);
        if condition.narrow && value_high != 0 {
            return no;
        }
        let test = self.compare(code, value_low, yes, no);
        let next = self.load(low, test);
        if condition.narrow {
            return next;
        }
        let same = self.compare(JUMP_EQUAL, value_high, next, no);
        let more = self.compare(JUMP_GREATER, value_high, yes, same);
        self.load(low + 4, more)
    }
}
