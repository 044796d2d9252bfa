//! The device rules as a program of v2: what the kernel runs whenever a device is used.
//!
//! The program gets `struct bpf_cgroup_dev_ctx` (kind and access, major, minor) and answers 1
//! (allowed) or 0. It goes through the rules from the last to the first with the accesses that are
//! still undecided: a rule that denies one of them ends with 0, and when rules have allowed them
//! all, it ends with 1. What no rule allows is denied.

use sys::BpfInsn;

use crate::device::{DeviceKind, DeviceRule};

// linux/bpf.h. The jumps compare 32 bits, so that no number is sign-extended.
pub(crate) const LOAD_U32: u8 = 0x61;
pub(crate) const MOV_REG: u8 = 0xbc;
pub(crate) const MOV: u8 = 0xb4;
pub(crate) const AND: u8 = 0x54;
pub(crate) const SHIFT_RIGHT: u8 = 0x74;
pub(crate) const JUMP_EQ: u8 = 0x16;
pub(crate) const JUMP_NE: u8 = 0x56;
pub(crate) const EXIT: u8 = 0x95;

/// The answer.
const ANSWER: u8 = 0;
/// The context, at first.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses that no rule has decided.
const UNDECIDED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const BLOCK: i32 = 1;
const CHAR: i32 = 2;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> BpfInsn {
    BpfInsn { code, regs: dst | src << 4, off, imm }
}

/// The program that decides as `rules` do.
pub(crate) fn device_program(rules: &[DeviceRule]) -> Vec<BpfInsn> {
    let mut program = vec![
        insn(LOAD_U32, KIND, CONTEXT, 0, 0),
        insn(LOAD_U32, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_U32, MINOR, CONTEXT, 8, 0),
        insn(MOV_REG, UNDECIDED, KIND, 0, 0),
        insn(SHIFT_RIGHT, UNDECIDED, 0, 0, 16),
        insn(AND, KIND, 0, 0, 0xffff),
    ];
    for rule in rules.iter().rev() {
        push_rule(&mut program, rule);
    }
    program.extend(answer(0));
    program
}

fn answer(value: i32) -> [BpfInsn; 2] {
    [insn(MOV, ANSWER, 0, 0, value), insn(EXIT, 0, 0, 0, 0)]
}

fn push_rule(program: &mut Vec<BpfInsn>, rule: &DeviceRule) {
    let access = i32::from(rule.access.0);
    let mut body = Vec::new();
    if rule.allow {
        body.push(insn(AND, UNDECIDED, 0, 0, !access));
        body.push(insn(JUMP_NE, UNDECIDED, 0, 2, 0));
        body.extend(answer(1));
    } else {
        body.push(insn(MOV_REG, ANSWER, UNDECIDED, 0, 0));
        body.push(insn(AND, ANSWER, 0, 0, access));
        body.push(insn(JUMP_EQ, ANSWER, 0, 2, 0));
        body.extend(answer(0));
    }
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Char => Some(CHAR),
        DeviceKind::Block => Some(BLOCK),
    };
    let tests = [
        (KIND, kind),
        (MAJOR, rule.major.map(u32::cast_signed)),
        (MINOR, rule.minor.map(u32::cast_signed)),
    ];
    let mut tests: Vec<_> = tests.iter().filter_map(|(reg, n)| n.map(|n| (*reg, n))).collect();
    // Each test that fails jumps over the tests after it and the body.
    while !tests.is_empty() {
        let (register, wanted) = tests.remove(0);
        let over = (tests.len() + body.len()) as i16;
        program.push(insn(JUMP_NE, register, 0, over, wanted));
    }
    program.extend(body);
}
