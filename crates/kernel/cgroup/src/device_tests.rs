//! The two forms of the rules agree: v1's exceptions and v2's program, run by a small interpreter.

use crate::program::{
    AND, EXIT, JUMP_EQ, JUMP_NE, LOAD_U32, MOV, MOV_REG, SHIFT_RIGHT, device_program,
};

use super::*;

fn rule(text: &str) -> DeviceRule {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| (word != "*").then(|| word.parse().unwrap());
    let (major, minor) = words[2].split_once(':').unwrap();
    DeviceRule {
        allow: words[0] == "allow",
        kind: match words[1] {
            "a" => DeviceKind::All,
            "c" => DeviceKind::Char,
            _ => DeviceKind::Block,
        },
        major: number(major),
        minor: number(minor),
        access: Access::parse(words[3]).unwrap(),
    }
}

fn rules(text: &str) -> Vec<DeviceRule> {
    text.lines().map(|line| rule(line.trim())).collect()
}

/// Runs a device program on one access.
fn run(program: &[sys::BpfInsn], kind: u32, major: u32, minor: u32, access: Access) -> bool {
    let context = [kind | u32::from(access.0) << 16, major, minor];
    let mut registers = [0_u32; 11];
    let mut at = 0_usize;
    loop {
        let insn = program[at];
        let (dst, src) = (usize::from(insn.regs & 15), usize::from(insn.regs >> 4));
        let imm = insn.imm.cast_unsigned();
        at += 1;
        let jumps = match insn.code {
            LOAD_U32 => {
                registers[dst] = context[insn.off as usize / 4];
                false
            }
            MOV_REG => {
                registers[dst] = registers[src];
                false
            }
            MOV => {
                registers[dst] = imm;
                false
            }
            AND => {
                registers[dst] &= imm;
                false
            }
            SHIFT_RIGHT => {
                registers[dst] >>= imm;
                false
            }
            JUMP_EQ => registers[dst] == imm,
            JUMP_NE => registers[dst] != imm,
            EXIT => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        };
        if jumps {
            at += insn.off as usize;
        }
    }
}

/// What the rules mean: for each bit the last rule that matches.
fn means(rules: &[DeviceRule], device: &DeviceRule) -> bool {
    [Access::READ, Access::WRITE, Access::MKNOD].into_iter().all(|bit| {
        let decides = |rule: &&DeviceRule| !rule.access.and(bit).is_none() && rule.covers(device);
        device.access.and(bit).is_none()
            || rules.iter().rev().find(decides).is_some_and(|rule| rule.allow)
    })
}

/// What v1 answers: allowed by default unless an exception meets it; denied by default unless one
/// exception has all of it.
fn v1_answers(all: &Exceptions, device: &DeviceRule) -> bool {
    if all.allow_by_default {
        !all.rules.iter().any(|r| r.covers(device) && !r.access.and(device.access).is_none())
    } else {
        let granted = all.rules.iter().filter(|r| r.covers(device));
        granted.fold(device.access, |left, r| left.without(r.access)).is_none()
    }
}

#[track_caller]
fn check(text: &str) {
    let rules = rules(text);
    let program = device_program(&rules);
    let exceptions = Exceptions::of(&rules).unwrap();
    for kind in [DeviceKind::Block, DeviceKind::Char] {
        for (major, minor) in [(1, 3), (1, 5), (5, 0), (8, 0), (10, 200), (u32::MAX, 3)] {
            for bits in 1..8 {
                let access = Access(bits);
                let (major, minor) = (Some(major), Some(minor));
                let device = DeviceRule { allow: true, kind, major, minor, access };
                let want = means(&rules, &device);
                let number = if kind == DeviceKind::Block { 1 } else { 2 };
                let got = run(&program, number, major.unwrap(), minor.unwrap(), access);
                assert_eq!(got, want, "v2: {device} under\n{text}");
                assert_eq!(v1_answers(&exceptions, &device), want, "v1: {device} under\n{text}");
            }
        }
    }
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    check("deny a *:* rwm");
    check("allow c 1:3 rw");
    assert!(!run(&device_program(&[]), 2, 1, 3, Access::READ));
    assert_eq!(Exceptions::of(&[]).unwrap().writes(), [("devices.deny", "a".to_owned())]);
}

#[test]
fn the_last_rule_that_matches_decides() {
    check("deny a *:* rwm\nallow c *:* m\nallow b *:* m\nallow c 1:3 rwm\nallow c 5:0 rwm");
    check("allow a *:* rwm\ndeny b 8:0 w");
    check("allow a *:* rwm\ndeny c *:* m\ndeny c 1:3 rw\nallow c *:3 r");
    check("allow c 1:3 rw\ndeny c 1:3 w");
    check("allow c 1:3 r\nallow c 1:3 w\ndeny c *:3 w");
    check("allow b 8:0 rwm\ndeny a *:* rwm\nallow c 4294967295:3 r");
    check("allow a 1:* rw\ndeny c 1:* w");
}

#[test]
fn v1_cannot_cut_a_hole() {
    let error = Exceptions::of(&rules("allow c *:* rwm\ndeny c 1:3 w")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "device rule `c 1:3 w`: cgroup v1 cannot make an exception from `c *:* rwm`"
    );
}

#[test]
fn v1_gets_the_default_first() {
    let rules = rules("allow c 1:3 r\nallow c 1:3 w\nallow b *:* m");
    let writes = Exceptions::of(&rules).unwrap().writes();
    let want = [("devices.deny", "a"), ("devices.allow", "c 1:3 rw"), ("devices.allow", "b *:* m")];
    assert_eq!(writes, want.map(|(file, value)| (file, value.to_owned())));
}

#[test]
fn letters_are_checked() {
    assert_eq!(Access::parse(""), Some(Access::ALL));
    assert_eq!(Access::parse("wr").unwrap().to_string(), "rw");
    assert_eq!(Access::parse("rx"), None);
}
