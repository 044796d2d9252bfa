//! The two forms of the rules agree: v1's list, as the kernel reads it, and v2's program, run by a
//! small interpreter.

use proptest::prelude::*;

use crate::program::{
    AND, EXIT, JUMP_EQ, JUMP_NE, JUMP_NE_REG, LOAD_U32, MOV, MOV_REG, SHIFT_RIGHT, device_program,
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
            JUMP_EQ => i64::from(registers[dst]) == i64::from(insn.imm),
            JUMP_NE => i64::from(registers[dst]) != i64::from(insn.imm),
            JUMP_NE_REG => registers[dst] != registers[src],
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

/// What v1 answers (`devcgroup_check_permission`): allowed by default unless an exception denies a
/// part of it; denied by default unless one exception has all of it.
fn v1_answers(all: &Exceptions, device: &DeviceRule) -> bool {
    if all.allow_by_default {
        !all.rules.iter().any(|r| r.covers(device) && !r.access.and(device.access).is_none())
    } else {
        all.rules.iter().any(|r| r.covers(device) && device.access.without(r.access).is_none())
    }
}

/// The program says what v1's list says; for a single kind of access that is what the rules mean, and
/// no access has more than its parts.
fn agree(rules: &[DeviceRule]) -> Result<(), String> {
    let Ok(exceptions) = Exceptions::of(rules) else { return Ok(()) };
    let program = device_program(&exceptions);
    for device in accesses() {
        let number = if device.kind == DeviceKind::Block { 1 } else { 2 };
        let (major, minor) = (device.major.unwrap(), device.minor.unwrap());
        let v2 = run(&program, number, major, minor, device.access);
        let v1 = v1_answers(&exceptions, &device);
        let meant = means(rules, &device);
        let single = device.access.0.is_power_of_two();
        if v1 != v2 || v1 && !meant || single && v1 != meant {
            return Err(format!("{device}: v1 {v1}, v2 {v2}, meant {meant}"));
        }
    }
    Ok(())
}

#[track_caller]
fn check(text: &str) {
    assert_eq!(agree(&rules(text)), Ok(()), "under\n{text}");
    assert!(Exceptions::of(&rules(text)).is_ok());
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    check("deny a *:* rwm");
    check("allow c 1:3 rw");
    assert!(!run(&device_program(&Exceptions::default()), 2, 1, 3, Access::READ));
    let writes = Exceptions::of(&[]).unwrap().writes_from("a *:* rwm\n");
    assert_eq!(writes, [("devices.deny", "a".to_owned())]);
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
fn a_hole_cannot_be_cut() {
    let error = Exceptions::of(&rules("allow c *:* rwm\ndeny c 1:3 w")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "device rule `c 1:3 w`: cannot punch a hole in the wider rule `c *:* rwm`"
    );
}

#[test]
fn v1_gets_the_default_first() {
    let rules = rules("allow c 1:3 r\nallow c 1:3 w\nallow b *:* m");
    let writes = Exceptions::of(&rules).unwrap().writes_from("a *:* rwm\n");
    let want = [("devices.deny", "a"), ("devices.allow", "c 1:3 rw"), ("devices.allow", "b *:* m")];
    assert_eq!(writes, want.map(|(file, value)| (file, value.to_owned())));
}

/// What the kernel makes of the writes: `Documentation/admin-guide/cgroup-v1/devices.rst`.
fn kernel(list: &str, writes: &[(&str, String)]) -> Exceptions {
    let mut all = Exceptions::listed(list)
        .unwrap_or(Exceptions { allow_by_default: true, rules: Vec::new() });
    for (file, value) in writes {
        let allow = *file == "devices.allow";
        if value == "a" {
            all = Exceptions { allow_by_default: allow, rules: Vec::new() };
            continue;
        }
        let rule = DeviceRule { allow, ..DeviceRule::parse(value).unwrap() };
        let found = all
            .rules
            .iter_mut()
            .find(|old| (old.kind, old.major, old.minor) == (rule.kind, rule.major, rule.minor));
        match (allow == all.allow_by_default, found) {
            (true, Some(old)) => old.access = old.access.without(rule.access),
            // What no exception is named by exactly is ignored.
            (true, None) => {}
            (false, Some(old)) => old.access = Access(old.access.0 | rule.access.0),
            (false, None) => all.rules.push(rule),
        }
        all.rules.retain(|old| !old.access.is_none());
    }
    all
}

fn any_rule() -> impl Strategy<Value = DeviceRule> {
    let number = || prop_oneof![Just(None), (1..4_u32).prop_map(Some), Just(Some(u32::MAX))];
    let kind = prop_oneof![
        1 => Just(DeviceKind::All),
        3 => Just(DeviceKind::Char),
        3 => Just(DeviceKind::Block),
    ];
    (any::<bool>(), kind, number(), number(), 1..8_u8).prop_map(
        |(allow, kind, major, minor, access)| DeviceRule {
            allow,
            kind,
            major,
            minor,
            access: Access(access),
        },
    )
}

fn any_rules() -> impl Strategy<Value = Vec<DeviceRule>> {
    let everything = |allow| DeviceRule {
        allow,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        access: Access::ALL,
    };
    let rule = prop_oneof![
        1 => any::<bool>().prop_map(everything),
        9 => any_rule(),
    ];
    prop::collection::vec(rule, 0..9)
}

/// Every access to some devices that rules name, and to some that none does.
fn accesses() -> impl Iterator<Item = DeviceRule> {
    let numbers = [1, 2, 3, 5, 8, u32::MAX];
    let kinds = [DeviceKind::Char, DeviceKind::Block];
    kinds.into_iter().flat_map(move |kind| {
        numbers.into_iter().flat_map(move |major| {
            numbers.into_iter().flat_map(move |minor| {
                (1..8).map(move |bits| DeviceRule {
                    allow: true,
                    kind,
                    major: Some(major),
                    minor: Some(minor),
                    access: Access(bits),
                })
            })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_versions_give_the_same_verdict(rules in any_rules()) {
        prop_assert_eq!(agree(&rules), Ok(()));
    }

    /// From any list to any other, the kernel ends with the one that was meant; and what both allow
    /// is allowed at every moment between, unless the default had to change.
    #[test]
    fn a_list_becomes_another(before in any_rules(), after in any_rules()) {
        let (Ok(before), Ok(after)) = (Exceptions::of(&before), Exceptions::of(&after)) else {
            return Ok(());
        };
        let list: String = if before.allow_by_default {
            "a *:* rwm\n".to_owned()
        } else {
            before.rules.iter().map(|rule| format!("{rule}\n")).collect()
        };
        let writes = after.writes_from(&list);
        for end in 0..=writes.len() {
            let now = kernel(&list, &writes[..end]);
            for device in accesses() {
                let granted = |all: &Exceptions| v1_answers(all, &device);
                if end == writes.len() {
                    prop_assert_eq!(granted(&now), granted(&after), "{}", device);
                } else if !before.allow_by_default
                    && !after.allow_by_default
                    && device.access.0.is_power_of_two()
                    && one_rule(&before, &device)
                    && one_rule(&after, &device)
                {
                    prop_assert!(granted(&now), "{} after {} writes", device, end);
                }
            }
        }
    }

    /// Only what is named with everything is a rule for everything.
    #[test]
    fn a_rule_is_what_it_prints(rule in any_rule()) {
        let read = DeviceRule::parse(&rule.to_string()).unwrap();
        prop_assert_eq!(DeviceRule { allow: rule.allow, ..read }, rule);
    }

    #[test]
    fn any_list_is_taken(text in any::<String>()) {
        let _ = Exceptions::default().writes_from(&text);
    }
}

/// Whether a rule of the same name in both lists allows it, so that it is never taken away.
fn one_rule(all: &Exceptions, device: &DeviceRule) -> bool {
    all.rules.iter().any(|rule| {
        (rule.kind, rule.major, rule.minor) == (device.kind, device.major, device.minor)
            && device.access.without(rule.access).is_none()
    })
}

#[test]
fn letters_are_checked() {
    assert_eq!(Access::parse(""), Some(Access::ALL));
    assert_eq!(Access::parse("wr").unwrap().to_string(), "rw");
    assert_eq!(Access::parse("rx"), None);
}
