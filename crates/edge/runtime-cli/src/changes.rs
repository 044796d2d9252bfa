//! Commands that change a container: `start`, `kill`, `delete`, `pause`, `resume`, `update`.

use oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::args::{Opt, Parsed, flag, value};
use crate::{Context, Failure};

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
    value(&["pids-limit"], "processes; -1 is unlimited"),
    value(&["kernel-memory"], "(obsolete)"),
    value(&["kernel-memory-tcp"], "(obsolete)"),
    value(&["l3-cache-schema"], "Intel RDT's schema of the L3 cache"),
    value(&["mem-bw-schema"], "Intel RDT's schema of the memory bandwidth"),
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
    let signal = match name {
        // It only asks whether there is a process.
        "0" => 0,
        name => oci::signal::parse(name).map_err(|_| format!("unknown signal {name:?}"))?,
    };
    container::kill(&context.store, id, signal, parsed.is_set("all"))?;
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
    let warnings = container::update(&context.store, id, &resources)?;
    context.log.warn_all(&warnings);
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

/// A number of bytes, also with a fraction and one of Docker's units; -1.
fn bytes(parsed: &Parsed, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = parsed.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    size(text).map(Some).ok_or_else(|| format!("invalid value for {name}: invalid size: {text:?}"))
}

fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')? + 1;
    let (number, unit) = (text[..end].trim_end_matches(' '), text[end..].to_ascii_lowercase());
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return i64::try_from(whole).ok()?.checked_mul(1 << shift);
    }
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let part =
        number.parse::<f64>().ok().filter(|_| plain)? * f64::from(1_u32 << (shift / 2)).powi(2);
    (part < 9.2e18).then_some(part as i64)
}

fn from_options(parsed: &Parsed) -> Result<Resources, Failure> {
    for (name, what) in
        [("l3-cache-schema", "CAT: l3 cache"), ("mem-bw-schema", "MBA: memory bandwidth")]
    {
        if parsed.get(name).is_some_and(|schema| !schema.is_empty()) {
            return Err(Failure::from(format!("--{name}: Intel RDT/{what} schema is not enabled")));
        }
    }
    let text = |name: &str| parsed.get(name).unwrap_or_default().to_owned();
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes(parsed, "memory")?,
            reservation: bytes(parsed, "memory-reservation")?,
            swap: bytes(parsed, "memory-swap")?,
            kernel: bytes(parsed, "kernel-memory")?,
            kernel_tcp: bytes(parsed, "kernel-memory-tcp")?,
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

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32M", 32 << 20),
            ("1.5g", 3 << 29),
            ("2 GiB", 2 << 30),
            ("1kb", 1024),
            ("1P", 1 << 50),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-2", "1x", "1mm", "1e3", "inf", "nan", "9999999P", "1.2.3"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
