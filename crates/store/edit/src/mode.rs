//! Modes as people write them: octal, or symbolic (chmod(1)).

use crate::Error;

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o007;
const STICKY: u32 = 0o1000;
const SET_IDS: u32 = 0o6000;
const EXECUTE: u32 = 0o111;

/// What becomes of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// It is this one.
    Set(u32),
    /// It is changed, step by step.
    Steps(Vec<Step>),
}

/// A step of a symbolic mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Add(u32),
    Take(u32),
    /// To directories, and to what somebody could execute before the first step.
    AddExecute(u32),
    /// Of whom (a shift) the bits are taken, what is done, and to whom.
    Copy {
        from: u32,
        op: u8,
        to: u32,
    },
}

impl Change {
    /// Reads a mode; empty: none is meant.
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        let bad = || Error::Mode(text.into());
        let Some(first) = text.bytes().next() else { return Ok(Self::Keep) };
        if first.is_ascii_digit() {
            let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
            return mode.filter(|mode| *mode <= 0o7777).map(Self::Set).ok_or_else(bad);
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            read_clause(clause.as_bytes(), &mut steps).ok_or_else(bad)?;
        }
        Ok(Self::Steps(steps))
    }

    /// The mode that comes of `mode`.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Keep => mode,
            Self::Set(new) => *new,
            Self::Steps(steps) => {
                steps.iter().fold(mode, |now, step| step.apply(mode, now, is_directory))
            }
        }
    }

    /// What directories get that are made on the way: only a mode that is one by itself counts, without
    /// what the umask of Docker's daemon, 022, takes from it.
    pub(crate) fn for_parents(&self) -> u32 {
        if let Self::Set(mode) = self { *mode & 0o755 } else { 0o755 }
    }
}

impl Step {
    fn apply(self, first: u32, now: u32, is_directory: bool) -> u32 {
        match self {
            Self::Add(bits) => now | bits,
            Self::Take(bits) => now & !bits,
            Self::AddExecute(bits) if is_directory || first & EXECUTE != 0 => now | bits,
            Self::AddExecute(_) => now,
            Self::Copy { from, op, to } => {
                let bits = (((now >> from) & 0o7) * 0o111) & to;
                match op {
                    b'+' => now | bits,
                    b'-' => now & !bits,
                    _ => (now & !(to & 0o777)) | bits,
                }
            }
        }
    }
}

/// `[ugoa]*` and then one or more of `[+-=]` with what follows: permissions, or `u`, `g`, `o`.
fn read_clause(clause: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    let n_who = clause.iter().take_while(|byte| b"ugoa".contains(byte)).count();
    let (named, mut rest) = clause.split_at(n_who);
    let who = named.iter().fold(0, |who, byte| {
        who | match byte {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHERS,
            _ => USER | GROUP | OTHERS,
        }
    });
    if rest.is_empty() {
        return None;
    }
    while let [op, after @ ..] = rest {
        if !b"+-=".contains(op) {
            return None;
        }
        let n = after.iter().take_while(|byte| !b"+-=".contains(byte)).count();
        read_permissions(who, *op, &after[..n], steps)?;
        rest = &after[n..];
    }
    Some(())
}

fn read_permissions(who: u32, op: u8, what: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    // Who is not named, all are; there is no umask here.
    let mut all = if who == 0 { USER | GROUP | OTHERS } else { who };
    let beyond_others = who == 0 || who & !OTHERS != 0;
    let (mut bits, mut copies, mut execute) = (0, Vec::new(), false);
    for byte in what {
        match byte {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= EXECUTE,
            b'X' => execute |= op != b'-',
            b's' if beyond_others => bits |= SET_IDS,
            b't' if beyond_others => {
                all |= STICKY;
                bits |= STICKY;
            }
            b's' | b't' => {}
            b'u' => copies.push(6),
            b'g' => copies.push(3),
            b'o' => copies.push(0),
            _ => return None,
        }
    }
    match op {
        b'-' => steps.push(Step::Take(all & bits)),
        b'+' => steps.push(Step::Add(all & bits)),
        _ if copies.is_empty() || bits != 0 => {
            steps.extend([Step::Take(all), Step::Add(all & bits)]);
        }
        _ => {}
    }
    steps.extend(copies.into_iter().map(|from| Step::Copy { from, op, to: all & 0o777 }));
    if execute {
        steps.push(Step::AddExecute(all & EXECUTE));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode, is_directory, want) in [
            ("", 0o4751, false, 0o4751),
            ("0644", 0o4751, false, 0o644),
            ("4755", 0o600, true, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o4700, false, 0o755),
            ("u=rwX,go=rX", 0, true, 0o755),
            ("a=X", 0o666, false, 0),
            ("a=X", 0o766, false, 0o111),
            ("u+rwX,go+rX", 0o600, false, 0o644),
            ("u+rwX,go+rX", 0o600, true, 0o755),
            ("+X", 0o100, false, 0o111),
            ("go-w", 0o777, false, 0o755),
            ("a=rx", 0o6777, false, 0o555),
            ("g=u", 0o740, false, 0o770),
            ("go=u-w", 0o750, false, 0o755),
            ("o=", 0o777, false, 0o770),
            ("=r", 0o777, false, 0o444),
            ("u+s,g+s,+t", 0o755, false, 0o7755),
            ("o+s", 0o755, false, 0o755),
            ("u-x+w", 0o500, false, 0o600),
            ("ug=rw,o=r", 0o777, false, 0o664),
        ] {
            let change = Change::new(text).unwrap();
            assert_eq!(change.apply(mode, is_directory), want, "{text} of {mode:o}");
        }
        for bad in ["8", "10000", "07778", "u", "u=z", "rwx", "u+r,", ",", "x=r", "0x7"] {
            assert!(Change::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Change::new("1777").unwrap().for_parents(), 0o755);
        assert_eq!(Change::new("g=").unwrap().for_parents(), 0o755);
    }
}
