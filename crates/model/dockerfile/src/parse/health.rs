//! HEALTHCHECK.

use oci::image::Healthcheck;

use crate::flags::{Flags, Kind};
use crate::instruction::Command;
use crate::problem::Problem;

/// The least time that is one, in nanoseconds.
const MIN_INTERVAL: i64 = 1_000_000;

pub(super) fn health(
    kind: &str,
    command: Option<Command>,
    given: &[String],
) -> Result<Healthcheck, Problem> {
    if kind.is_empty() {
        return Err(Problem::AtLeastOne("HEALTHCHECK"));
    }
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        return match command {
            Some(_) => Err(Problem::HealthNone),
            None => Ok(Healthcheck { test: Some(vec![kind]), ..Healthcheck::default() }),
        };
    }
    let times = ["interval", "timeout", "start-period", "start-interval"];
    let known = times.into_iter().chain(["retries"]).map(|name| (name, Kind::Text));
    let flags = Flags::parse(given, &known.collect::<Vec<_>>())?;
    if kind != "CMD" {
        return Err(Problem::HealthType(kind));
    }
    let test = match command.ok_or(Problem::HealthCommand)? {
        Command::Shell(text) => vec!["CMD-SHELL".into(), text],
        Command::Exec(words) => [vec![kind], words].concat(),
    };
    let time = |name| interval(name, flags.text(name).unwrap_or_default());
    Ok(Healthcheck {
        test: Some(test),
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries: retries(flags.text("retries").unwrap_or_default())?,
    })
}

/// Nanoseconds; 0 where nothing is said.
fn interval(name: &'static str, text: &str) -> Result<i64, Problem> {
    if text.is_empty() {
        return Ok(0);
    }
    let time = docker::units::parse_duration(text);
    match time.map_err(|error| Problem::Duration(error.to_string()))? {
        time if time != 0 && time < MIN_INTERVAL => Err(Problem::HealthInterval(name)),
        time => Ok(time),
    }
}

fn retries(text: &str) -> Result<i64, Problem> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::Number(text.into(), "invalid syntax"));
    }
    match text.parse::<i32>() {
        Ok(number) if number < 0 => Err(Problem::Retries(number.into())),
        Ok(number) => Ok(number.into()),
        Err(_) => Err(Problem::Number(text.into(), "value out of range")),
    }
}
