//! The device rules as a program of v2: what the kernel runs whenever a device is used.
//!
//! The program gets `struct bpf_cgroup_dev_ctx` (kind and access, major, minor) and answers 1
//! (allowed) or 0. It decides as v1 does with the same exceptions: where nothing is allowed by
//! default, one exception has to allow the whole access; where all is, none may deny a part of it.

use sys::BpfInsn;

use crate::device::{DeviceKind, DeviceRule, Exceptions};

// linux/bpf.h. The jumps compare 64 bits: those of 32 are of Linux 5.1. What is computed of 32 bits, and
// what is loaded, fills the rest with zeroes, but the number in a jump is sign-extended.
pub(crate) const LOAD_U32: u8 = 0x61;
pub(crate) const MOV_REG: u8 = 0xbc;
pub(crate) const MOV: u8 = 0xb4;
pub(crate) const AND: u8 = 0x54;
pub(crate) const SHIFT_RIGHT: u8 = 0x74;
pub(crate) const JUMP_EQ: u8 = 0x15;
pub(crate) const JUMP_NE: u8 = 0x55;
pub(crate) const JUMP_NE_REG: u8 = 0x5d;
pub(crate) const EXIT: u8 = 0x95;

/// The answer.
const ANSWER: u8 = 0;
/// The context, at first.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// A number that a jump cannot hold.
const LARGE: u8 = 6;

const BLOCK: i32 = 1;
const CHAR: i32 = 2;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> BpfInsn {
    BpfInsn { code, regs: dst | src << 4, off, imm }
}

/// The program that decides as `all` does.
pub(crate) fn device_program(all: &Exceptions) -> Vec<BpfInsn> {
    let mut program = vec![
        insn(LOAD_U32, KIND, CONTEXT, 0, 0),
        insn(LOAD_U32, MAJOR, CONTEXT, 4, 0),
        insn(LOAD_U32, MINOR, CONTEXT, 8, 0),
        insn(MOV_REG, ACCESS, KIND, 0, 0),
        insn(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        insn(AND, KIND, 0, 0, 0xffff),
    ];
    for rule in &all.rules {
        push_exception(&mut program, rule, all.allow_by_default);
    }
    program.extend(answer(all.allow_by_default));
    program
}

fn answer(allowed: bool) -> [BpfInsn; 2] {
    [insn(MOV, ANSWER, 0, 0, i32::from(allowed)), insn(EXIT, 0, 0, 0, 0)]
}

fn push_exception(program: &mut Vec<BpfInsn>, rule: &DeviceRule, allow_by_default: bool) {
    let access = i32::from(rule.access.0);
    let mut body = vec![insn(MOV_REG, ANSWER, ACCESS, 0, 0)];
    if allow_by_default {
        // Is some of it denied here?
        body.push(insn(AND, ANSWER, 0, 0, access));
        body.push(insn(JUMP_EQ, ANSWER, 0, 2, 0));
    } else {
        // Is none of it missing here?
        body.push(insn(AND, ANSWER, 0, 0, !access));
        body.push(insn(JUMP_NE, ANSWER, 0, 2, 0));
    }
    body.extend(answer(!allow_by_default));
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
    // Each test that fails jumps over the tests after it and the body.
    for (register, wanted) in tests.iter().rev().filter_map(|(reg, n)| n.map(|n| (*reg, n))) {
        let mut test = unless(register, wanted, body.len() as i16);
        test.append(&mut body);
        body = test;
    }
    program.append(&mut body);
}

/// Jumps over the next `over` instructions unless the register is `wanted`, an unsigned number.
fn unless(register: u8, wanted: i32, over: i16) -> Vec<BpfInsn> {
    if wanted >= 0 {
        return vec![insn(JUMP_NE, register, 0, over, wanted)];
    }
    vec![insn(MOV, LARGE, 0, 0, wanted), insn(JUMP_NE_REG, register, LARGE, over, 0)]
}
