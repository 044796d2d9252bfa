//! Commands that change a container: `start`, `kill`, `delete`, `pause`, `resume`, `update`.

use oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::args::{Opt, Parsed, flag, value};
use crate::{Context, Failure, signal};

pub(crate) const KILL: &[Opt] = &[flag(&["all", "a"], "to all processes of the container")];

pub(crate) const DELETE: &[Opt] =
    &[flag(&["force", "f"], "also one that runs (it is killed) or does not exist")];

pub(crate) const UPDATE: &[Opt] = &[
    value(&["resources", "r"], "a file with linux.resources in JSON; - is standard input"),
    value(&["blkio-weight"], "10 to 1000"),
    value(&["cpu-period"], "microseconds"),
    value(&["cpu-quota"], "microseconds in a period"),
    value(&["cpu-burst"], "microseconds that may be saved up"),
    value(&["cpu-share"], "relative weight, 2 to 262144"),
    value(&["cpu-rt-period"], "microseconds"),
    value(&["cpu-rt-runtime"], "microseconds in a period"),
    value(&["cpuset-cpus"], "processors, such as 0-3,7"),
    value(&["cpuset-mems"], "memory nodes"),
    value(&["cpu-idle"], "0 or 1"),
    value(&["memory"], "bytes; -1 is unlimited"),
    value(&["memory-reservation"], "bytes"),
    value(&["memory-swap"], "bytes of memory and swap together"),
    value(&["pids-limit"], "processes"),
];

pub(crate) fn start(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    container::start(&context.store, parsed.id()?)?;
    Ok(0)
}

pub(crate) fn kill(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let (id, name) = match parsed.words.as_slice() {
        [] => return Err(Failure::from("a container id is needed".to_owned())),
        [id] => (id, "SIGTERM"),
        [id, name] => (id, name.as_str()),
        [_, _, more, ..] => return Err(Failure::from(format!("too many arguments: {more}"))),
    };
    container::kill(&context.store, id, signal::parse(name)?, parsed.is_set("all"))?;
    Ok(0)
}

pub(crate) fn delete(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let warnings = container::delete(&context.store, parsed.id()?, parsed.is_set("force"))?;
    context.log.warn_all(&warnings);
    Ok(0)
}

pub(crate) fn pause(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    container::pause(&context.store, parsed.id()?)?;
    Ok(0)
}

pub(crate) fn resume(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    container::resume(&context.store, parsed.id()?)?;
    Ok(0)
}

pub(crate) fn update(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let resources = match parsed.get("resources") {
        Some(path) => read_resources(path)?,
        None => from_options(parsed)?,
    };
    container::update(&context.store, id, &resources)?;
    Ok(0)
}

fn read_resources(path: &str) -> Result<Resources, Failure> {
    let text = if path == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| format!("--resources {path:?}: {error}"))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("--resources {path:?}: {error}"))?)
}

/// A number of bytes, also with one of Docker's units.
fn bytes(parsed: &Parsed, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = parsed.get(name) else { return Ok(None) };
    let invalid = || format!("invalid value {text:?} for --{name}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().map_err(|_| invalid())?;
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    number.checked_mul(1 << shift).map(Some).ok_or_else(invalid)
}

fn from_options(parsed: &Parsed) -> Result<Resources, Failure> {
    let text = |name: &str| parsed.get(name).unwrap_or_default().to_owned();
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes(parsed, "memory")?,
            reservation: bytes(parsed, "memory-reservation")?,
            swap: bytes(parsed, "memory-swap")?,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            period: parsed.number("cpu-period")?,
            quota: parsed.number("cpu-quota")?,
            burst: parsed.number("cpu-burst")?,
            shares: parsed.number("cpu-share")?,
            realtime_period: parsed.number("cpu-rt-period")?,
            realtime_runtime: parsed.number("cpu-rt-runtime")?,
            cpus: text("cpuset-cpus"),
            mems: text("cpuset-mems"),
            idle: parsed.number("cpu-idle")?,
        }),
        pids: Some(Pids { limit: parsed.number("pids-limit")? }),
        block_io: Some(BlockIo { weight: parsed.number("blkio-weight")?, ..BlockIo::default() }),
        ..Resources::default()
    })
}
