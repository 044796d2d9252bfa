//! What is written in an image's history, as BuildKit of Docker 28 writes it. Checked against Docker
//! 28.5.2: test `as_docker_28_does`.

use oci::image::{Healthcheck, History, ImageConfig};

use crate::expand::Variables;
use crate::instruction::Argument;
use crate::quote::{Quoted, quoted_list};

use super::env::Env;

/// The note at each entry.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Whether an entry stands for a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    No,
    Yes,
}

/// Adds an entry.
pub(crate) fn add(image: &mut ImageConfig, text: String, layer: Layer, created: Option<&str>) {
    image.history.push(History {
        created: created.map(str::to_owned),
        created_by: Some(text),
        author: None,
        comment: Some(COMMENT.into()),
        empty_layer: layer == Layer::No,
    });
}

/// `RUN |1 A=b /bin/sh -c make # buildkit`: the variables of the build stand before the command.
pub(crate) fn run(command: &[String], arguments: &[Argument], env: &Env) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for argument in arguments {
        if !seen.contains(&argument.key.as_str()) {
            seen.push(&argument.key);
        }
    }
    let mut words = Vec::new();
    if !seen.is_empty() {
        words.push(format!("|{}", seen.len()));
    }
    for key in seen {
        let own = arguments.iter().rfind(|one| one.key == key).and_then(|one| one.value.as_deref());
        words.push(format!("{key}={}", env.get(key).or(own).unwrap_or_default()));
    }
    words.extend(command.iter().cloned());
    format!("RUN {} # buildkit", words.join(" "))
}

/// Go's `%q` of a pointer to the structure.
pub(crate) fn health(check: &Healthcheck) -> String {
    let test = quoted_list(check.test.as_deref().unwrap_or_default());
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    let times = times.map(|time| format!("\"{}\"", duration(time))).join(" ");
    format!("HEALTHCHECK &{{{test} {times} {}}}", character(check.retries))
}

/// Go's `%q` of a number: the character that it is of.
fn character(number: i64) -> String {
    let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    match c {
        '\'' => "'\\''".into(),
        '"' => "'\"'".into(),
        c => {
            let quoted = Quoted(&c.to_string()).to_string();
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// Nanoseconds as Go prints a duration: `1m30s`, `1.5s`, `100ms`.
pub(crate) fn duration(nanos: i64) -> String {
    let total = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64, name: &str| {
        let rest = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() || unit == 1 { String::new() } else { format!(".{rest}") };
        format!("{}{dot}{name}", value / unit)
    };
    let text = match total {
        0 => "0s".into(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => fraction(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(total, 1_000_000, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000, "s");
            match minutes {
                0 => seconds,
                1..60 => format!("{minutes}m{seconds}"),
                _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks() {
        let check = Healthcheck {
            test: Some(vec!["CMD-SHELL".into(), "curl x || exit 1".into()]),
            interval: 90_000_000_000,
            timeout: 1_500_000_000,
            retries: 3,
            ..Healthcheck::default()
        };
        // What Docker 28.5.2 wrote.
        let want = "HEALTHCHECK &{[\"CMD-SHELL\" \"curl x || exit 1\"] \"1m30s\" \"1.5s\" \"0s\" \"0s\" '\\x03'}";
        assert_eq!(health(&check), want);
        for (number, want) in
            [(0, "'\\x00'"), (10, "'\\n'"), (39, "'\\''"), (34, "'\"'"), (65, "'A'")]
        {
            assert_eq!(character(number), want);
        }
    }

    #[test]
    fn durations() {
        for (nanos, want) in [
            (0, "0s"),
            (100_000_000, "100ms"),
            (1_500_000, "1.5ms"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_000_000_000, "25h1m1s"),
            (1_000_000, "1ms"),
            (60_000_000_000, "1m0s"),
            (-5, "-5ns"),
        ] {
            assert_eq!(duration(nanos), want);
        }
    }
}
