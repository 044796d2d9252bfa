//! Texts that the displays have in common.

use std::fmt::Write as _;

use docker::units;

use super::trace::{Part, Trace};
use crate::build::failure;
use crate::format::human;

/// How far a part has come: ` 1.2MB / 3.4MB`; empty where nothing is counted.
pub(super) fn amount(part: &Part) -> String {
    let size = |bytes: i64| {
        let text = units::human_size_with_precision(bytes.max(0) as f64, 3);
        // BuildKit has two digits after the point.
        text.trim_end_matches(' ').to_owned()
    };
    match (part.current, part.total) {
        (current, total) if total != 0 => format!(" {} / {}", size(current), size(total)),
        (0, _) => String::new(),
        (current, _) => format!(" {}", size(current)),
    }
}

/// A line of a program's output for people: without what would drive a terminal, but for colours.
pub(super) fn line(bytes: &[u8], with_colours: bool) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Of what was drawn over itself, the last counts.
    let text = text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                let mut sequence = String::from("\x1b[");
                // ECMA-48, 5.4: parameters, then one final byte.
                let is_parameter = |c: &char| ('\x20'..='\x3f').contains(c);
                while let Some(parameter) = chars.next_if(is_parameter) {
                    sequence.push(parameter);
                }
                if let Some(last) = chars.next_if(|c| ('\x40'..='\x7e').contains(c)) {
                    sequence.push(last);
                    if with_colours && last == 'm' {
                        out += &sequence;
                    }
                }
            }
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// `0.123`, `12.34`, `123.4`: seconds of a line since its step began.
pub(super) fn since(seconds: f64) -> String {
    let digits = if seconds < 10.0 {
        3
    } else if seconds < 100.0 {
        2
    } else {
        1
    };
    format!("{seconds:.digits$}")
}

/// The last output of each step that failed.
pub(super) fn failures(trace: &Trace) -> String {
    let mut out = String::new();
    for step in trace.steps.iter().filter(|step| step.is_failed()) {
        _ = writeln!(out, "------\n > {}:", step.name);
        for (at, bytes) in &step.tail {
            _ = writeln!(out, "{} {}", since(*at), line(bytes, false));
        }
        out += "------\n";
    }
    out
}

/// All warnings.
pub(super) fn warnings(trace: &Trace, debug: bool, colour: bool) -> String {
    let n = trace.warnings.len();
    if n == 0 {
        return String::new();
    }
    let many = if n == 1 { "1 warning found".to_owned() } else { format!("{n} warnings found") };
    let hint = if debug { "" } else { " (use dhow build --debug to expand)" };
    let mut out = if colour {
        format!("\n \x1b[33m{many}{hint}:\x1b[0m\n")
    } else {
        format!("\n {many}{hint}:\n")
    };
    let printable = |bytes: &[u8]| human::printable(&String::from_utf8_lossy(bytes));
    for warning in trace.warnings.iter().map(|warning| &warning.0) {
        _ = writeln!(out, " - {}", printable(&warning.short));
        if !debug {
            continue;
        }
        for detail in &warning.detail {
            _ = writeln!(out, "{}", printable(detail));
        }
        if !warning.url.is_empty() {
            _ = writeln!(out, "More info: {}", human::printable(&warning.url));
        }
        if let Some(info) = &warning.info {
            out += &failure::place(info, &warning.ranges).shown();
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_drives_no_terminal() {
        for (bytes, plain, coloured) in [
            (&b"plain"[..], "plain", "plain"),
            (b"10%\r50%\r100%", "100%", "100%"),
            (b"done\r", "done", "done"),
            (b"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"),
            (b"\x1b[2J\x1b[1;1Hx\x07\x1b]0;title\x07", "x]0;title", "x]0;title"),
            (b"\x1b[", "", ""),
            (b"a\tb\xff", "a\tb\u{fffd}", "a\tb\u{fffd}"),
        ] {
            assert_eq!(line(bytes, false), plain);
            assert_eq!(line(bytes, true), coloured);
        }
    }
}
