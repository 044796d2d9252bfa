//! Signal names and numbers of Linux, as the image specification's `StopSignal` and every command
//! line take them: `SIGKILL`, `kill`, `9`, `SIGRTMIN+3`.

/// Not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct Error(pub String);

/// Names without `SIG`, by number; the first of two names is the one that is printed.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];
/// First real-time signal that is free (the C library keeps 32 and 33).
const RTMIN: i32 = 34;
/// Last real-time signal.
const RTMAX: i32 = 64;

/// The number of `SIGTERM`, `term`, `15`, `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32, Error> {
    let bad = || Error(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RTMAX).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign).and_then(|digits| digits.parse::<i32>().ok()),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').map(|offset| RTMIN.saturating_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').map(|offset| RTMAX.saturating_sub(offset))
    } else {
        None
    };
    number.filter(|number| (RTMIN..=RTMAX).contains(number)).ok_or_else(bad)
}

/// The name of a signal, with `SIG`; none for numbers that have none.
pub fn name(number: i32) -> Option<String> {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => Some(format!("SIG{name}")),
        None if number == RTMIN => Some("SIGRTMIN".to_owned()),
        None if (RTMIN..=RTMAX).contains(&number) => Some(format!("SIGRTMIN+{}", number - RTMIN)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN", Some(34)),
            ("RTMIN+31", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text}");
        }
        assert_eq!(parse("nope").unwrap_err().to_string(), "invalid signal: nope");
        assert_eq!(name(15).as_deref(), Some("SIGTERM"));
        assert_eq!(name(6).as_deref(), Some("SIGABRT"));
        assert_eq!(name(37).as_deref(), Some("SIGRTMIN+3"));
    }
}
