//! Signals by name and number.

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

/// The real-time signals that the C library leaves to programs.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signal that `text` means: a number, or a name with or without `SIG`, in any case.
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    let unknown = || format!("unknown signal {text:?}");
    let number = match text.parse::<i32>() {
        Ok(number) => number,
        Err(_) => by_name(&text.to_ascii_uppercase()).ok_or_else(unknown)?,
    };
    // 0 only asks whether there is a process.
    if (0..=31).contains(&number) || REAL_TIME.contains(&number) {
        Ok(number)
    } else {
        Err(unknown())
    }
}

fn by_name(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.get(1..)?.parse().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(REAL_TIME.start() + offset(rest)?);
    }
    let rest = name.strip_prefix("RTMAX")?;
    Some(REAL_TIME.end() - offset(rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_names() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "-1", "65", "SIGNONE", "RTMIN+x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
