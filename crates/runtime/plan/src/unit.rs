//! The unit that systemd makes for a container: its name, its place, its properties.
//!
//! As runc documents it (`docs/systemd.md`): `cgroupsPath` is `SLICE:PREFIX:NAME`, the unit is
//! `PREFIX-NAME.scope` in the slice, and annotations `org.systemd.property.NAME` are properties. What
//! systemd has no property for is written to the cgroup's files afterwards, as is all else.

use std::collections::BTreeMap;

use cgroup::{Access, DeviceKind, Limit, Resources};
use dbus::{Type, Value};
use serde::{Deserialize, Serialize};
use systemd::{Property, Whose};

use crate::Error;

/// A unit that is still to be made.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name: `PREFIX-NAME.scope`.
    pub id: UnitId,
    /// The slice that it is in, as systemd names it.
    pub slice: String,
    /// Its cgroup, from the one that the manager of units has.
    pub path: String,
    /// What annotations ask for.
    pub properties: Vec<Property>,
}

/// What a unit is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitId {
    /// Its name.
    pub name: String,
    /// It is the user's manager that knows it, not the machine's.
    pub user: bool,
}

impl UnitId {
    /// Whose manager knows it.
    pub fn whose(&self) -> Whose {
        if self.user { Whose::User } else { Whose::System }
    }
}

/// What there is to set properties of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// systemd's version, such as 252.
    pub version: u32,
    /// Whether it manages cgroup v2.
    pub v2: bool,
    /// Whether it is a user's manager, which has no say about devices.
    pub user: bool,
}

const PREFIX: &str = "org.systemd.property.";

impl Unit {
    /// The unit of container `id`. `user`: it is the user's own manager that makes it.
    pub fn new(
        cgroups_path: &str,
        id: &str,
        annotations: &BTreeMap<String, String>,
        user: bool,
    ) -> Result<Self, Error> {
        let (slice, prefix, name) = match cgroups_path.split(':').collect::<Vec<_>>().as_slice() {
            [""] => ("", "runc", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            // The words are runc's, that others look for.
            _ => {
                let why = format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd \
                     cgroups, got {cgroups_path:?} instead"
                );
                return Err(Error::conflict("linux.cgroupsPath:", why));
            }
        };
        let invalid =
            |why: &str| Error::invalid("linux.cgroupsPath", cgroups_path.escape_debug(), why);
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            "-" => "-.slice",
            slice => slice,
        };
        let parents = expand(slice).ok_or_else(|| invalid("begins with the name of no slice"))?;
        if name.strip_suffix(".slice").is_some() {
            return Err(invalid("is a slice, in which no process can be"));
        }
        let name = format!("{prefix}-{name}.scope");
        if name.contains(['/', '\0', '\n']) {
            return Err(invalid("has a slash or a line break in the name of the unit"));
        }
        Ok(Self {
            path: format!("{parents}/{name}"),
            id: UnitId { name, user },
            slice: slice.to_owned(),
            properties: properties(annotations)?,
        })
    }

    /// The properties that it is made with, around process `pid`.
    pub fn start(
        &self,
        pid: i32,
        resources: &Resources,
        systemd: Systemd,
    ) -> Result<Vec<Property>, Error> {
        let io = if systemd.v2 { "IOAccounting" } else { "BlockIOAccounting" };
        let description = format!("container {}", self.id.name.trim_end_matches(".scope"));
        let mut all = vec![
            Property::new("Description", Value::Str(description)),
            Property::new("Slice", Value::string(self.slice.as_str())),
            Property::new("Delegate", Value::Bool(true)),
            Property::new("PIDs", Value::Array(Type::U32, vec![Value::U32(pid.cast_unsigned())])),
            Property::new("MemoryAccounting", Value::Bool(true)),
            Property::new("CPUAccounting", Value::Bool(true)),
            Property::new(io, Value::Bool(true)),
            Property::new("TasksAccounting", Value::Bool(true)),
            Property::new("DefaultDependencies", Value::Bool(false)),
        ];
        all.extend(limits(resources, systemd)?);
        // It cannot be changed later.
        let group = resources.unified.get("memory.oom.group").map(|text| text.trim());
        if let (Some(group @ ("0" | "1")), 253..) = (group, systemd.version) {
            let policy = if group == "1" { "kill" } else { "continue" };
            all.push(Property::new("OOMPolicy", Value::string(policy)));
        }
        all.extend(self.properties.iter().cloned());
        Ok(all)
    }
}

/// `a-b.slice` is in `a.slice`: its cgroup's path, with a leading slash, empty for the root's.
/// `None` when it is no slice's name.
fn expand(slice: &str) -> Option<String> {
    let name = slice.strip_suffix(".slice")?;
    if name == "-" {
        return Some(String::new());
    }
    if slice.contains(['/', '\0', '\n']) {
        return None;
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        path += &format!("/{prefix}{part}.slice");
        prefix += &format!("{part}-");
    }
    Some(path)
}

/// The properties that annotations name, with their values in `GVariant`'s text format.
fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let field = || format!("annotations.{}", key.escape_debug());
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::invalid(
                field(),
                text.escape_debug(),
                "is for no property of a unit",
            ));
        }
        let wrong = |why: String| Error::invalid(field(), text.escape_debug(), why);
        let value =
            dbus::text::parse(text).map_err(|error| wrong(format!("is no value: {error}")))?;
        // The manual calls them so; over the bus they are microseconds.
        match name.strip_suffix("Sec") {
            Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
                let value = microseconds(&value).ok_or_else(|| wrong("is no number".into()))?;
                all.push(Property::new(format!("{stem}USec"), value));
            }
            _ => all.push(Property::new(name, value)),
        }
    }
    Ok(all)
}

/// Seconds as microseconds. `None` for what is no such number.
fn microseconds(seconds: &Value) -> Option<Value> {
    let seconds = match seconds {
        Value::Byte(n) => u64::from(*n),
        Value::U16(n) => u64::from(*n),
        Value::U32(n) => u64::from(*n),
        Value::U64(n) => *n,
        Value::I16(n) => u64::try_from(*n).ok()?,
        Value::I32(n) => u64::try_from(*n).ok()?,
        Value::I64(n) => u64::try_from(*n).ok()?,
        Value::Double(n) if *n >= 0.0 && n.is_finite() => {
            return Some(Value::U64((n * 1_000_000.0) as u64));
        }
        _ => return None,
    };
    seconds.checked_mul(1_000_000).map(Value::U64)
}

fn number(limit: Limit) -> Value {
    match limit {
        Limit::At(amount) => Value::U64(amount),
        // systemd's infinity.
        Limit::Max => Value::U64(u64::MAX),
    }
}

/// The properties for limits: what `update` changes. What systemd's version does not know, and what
/// has no property, is left to the files.
pub fn limits(resources: &Resources, systemd: Systemd) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    let mut set = |name: &str, value: Value| all.push(Property::new(name, value));
    if let (Some(rules), false) = (&resources.devices, systemd.user) {
        devices(rules, systemd, &mut set);
    }
    let memory = &resources.memory;
    if let Some(max) = memory.max {
        set(if systemd.v2 { "MemoryMax" } else { "MemoryLimit" }, number(max));
    }
    if systemd.v2 {
        if let Some(low) = memory.low {
            set("MemoryLow", number(low));
        }
        // What is wrong with it is said when the file is to be written.
        if let Ok(Some(swap)) = memory.swap_alone() {
            set("MemorySwapMax", number(swap));
        }
    }
    let cpu = &resources.cpu;
    if !systemd.v2 {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            set("CPUShares", Value::U64(shares));
        }
        if let Some(weight) = resources.io.weight {
            set("BlockIOWeight", Value::U64(weight.into()));
        }
    } else if cpu.idle == Some(true) && systemd.version >= IDLE {
        set("CPUWeight", Value::U64(0));
    } else if let Some(weight) = cpu.weight() {
        set("CPUWeight", Value::U64(weight));
    }
    if let (true, Some(weight)) = (systemd.v2, resources.io.weight_v2()) {
        set("IOWeight", Value::U64(weight));
    }
    quota(cpu.quota, cpu.period, systemd, &mut set);
    if let Some(pids) = resources.pids {
        set("TasksMax", tasks(pids));
    }
    for (name, field, list) in [
        ("AllowedCPUs", "linux.resources.cpu.cpus", &resources.cpuset.cpus),
        ("AllowedMemoryNodes", "linux.resources.cpu.mems", &resources.cpuset.mems),
    ] {
        if let (Some(list), CPUSET..) = (list, systemd.version) {
            set(name, mask(field, list)?);
        }
    }
    if systemd.v2 {
        unified(&resources.unified, systemd, &mut set)?;
    }
    Ok(all)
}

/// The first versions that know `CPUQuotaPeriodUSec`, `AllowedCPUs`, and 0 as a weight.
const PERIOD: u32 = 242;
const CPUSET: u32 = 244;
const IDLE: u32 = 252;
/// The first version that knows `char-136` and the like.
const DEVICE_NUMBERS: u32 = 240;

/// It does not take 0.
fn tasks(limit: Limit) -> Value {
    match limit {
        Limit::At(0) => Value::U64(1),
        other => number(other),
    }
}

fn quota(
    quota: Option<Limit>,
    period: Option<u64>,
    systemd: Systemd,
    set: &mut impl FnMut(&str, Value),
) {
    const DEFAULT_PERIOD: u64 = 100_000;
    const STEP: u64 = 10_000;
    if let (Some(period), PERIOD..) = (period, systemd.version) {
        set("CPUQuotaPeriodUSec", Value::U64(period));
    }
    match quota {
        None => {}
        Some(Limit::Max) => set("CPUQuotaPerSecUSec", Value::U64(u64::MAX)),
        Some(Limit::At(quota)) => {
            let period = period.unwrap_or(DEFAULT_PERIOD).max(1);
            // systemd keeps whole percents; less would keep the container from what it may have.
            let each_second = quota.saturating_mul(1_000_000) / period;
            set("CPUQuotaPerSecUSec", Value::U64(each_second.div_ceil(STEP).saturating_mul(STEP)));
        }
    }
}

/// A list such as `0-3,7` as bits, the lowest first.
fn mask(field: &str, list: &str) -> Result<Value, Error> {
    const MOST: usize = 65_536;
    let wrong = || Error::invalid(field, list.escape_debug(), "is no list such as `0-3,7`");
    let mut bits: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse().ok().filter(|n| *n < MOST).ok_or_else(wrong);
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        bits.resize(bits.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|one| bits[one / 8] |= 1 << (one % 8));
    }
    if bits.is_empty() { Err(wrong()) } else { Ok(Value::bytes(&bits)) }
}

/// What files of v2 have properties.
fn unified(
    files: &BTreeMap<String, String>,
    systemd: Systemd,
    set: &mut impl FnMut(&str, Value),
) -> Result<(), Error> {
    let idle = files.get("cpu.idle").is_some_and(|v| v.trim() == "1") && systemd.version >= IDLE;
    for (file, value) in files {
        let field = || format!("linux.resources.unified.{}", file.escape_debug());
        let text = value.trim();
        let amount = |text: &str| match text {
            "max" => Ok(Limit::Max),
            digits => digits.parse().map(Limit::At).map_err(|_| {
                Error::invalid(field(), value.escape_debug(), "is neither a number nor `max`")
            }),
        };
        match file.as_str() {
            "cpu.idle" if idle => set("CPUWeight", Value::U64(0)),
            "cpu.weight" if !idle => set("CPUWeight", number(amount(text)?)),
            "cpu.max" => {
                let mut words = text.split_whitespace();
                let most = amount(words.next().unwrap_or_default())?;
                let period = words.next().map(amount).transpose()?;
                let period = period.and_then(|p| if let Limit::At(n) = p { Some(n) } else { None });
                quota(Some(most), period, systemd, set);
            }
            "cpuset.cpus" if systemd.version >= CPUSET => set("AllowedCPUs", mask(&field(), text)?),
            "cpuset.mems" if systemd.version >= CPUSET => {
                set("AllowedMemoryNodes", mask(&field(), text)?);
            }
            "memory.high" => set("MemoryHigh", number(amount(text)?)),
            "memory.low" => set("MemoryLow", number(amount(text)?)),
            "memory.min" => set("MemoryMin", number(amount(text)?)),
            "memory.max" => set("MemoryMax", number(amount(text)?)),
            "memory.swap.max" => set("MemorySwapMax", number(amount(text)?)),
            "pids.max" => set("TasksMax", tasks(amount(text)?)),
            _ => {}
        }
    }
    Ok(())
}

/// The list of devices, where systemd can hold it: else it lets all through, and only the rules that
/// are attached afterwards decide.
fn devices(rules: &[cgroup::DeviceRule], systemd: Systemd, set: &mut impl FnMut(&str, Value)) {
    let pair = Type::Struct(vec![Type::Str, Type::Str]);
    let list = |entries: Vec<Value>| Value::Array(pair.clone(), entries);
    let named = cgroup::allowed_devices(rules).and_then(|allowed| {
        let names = allowed
            .into_iter()
            .map(|rule| Some((device(rule.kind, rule.major, rule.minor)?, rule.access)));
        names.collect::<Option<Vec<(String, Access)>>>()
    });
    // An empty list forgets the one before.
    set("DeviceAllow", list(Vec::new()));
    match named.filter(|_| systemd.version >= DEVICE_NUMBERS) {
        Some(named) => {
            set("DevicePolicy", Value::string("strict"));
            let entry = |(name, access): (String, Access)| {
                Value::Struct(vec![Value::Str(name), Value::Str(access.to_string())])
            };
            set("DeviceAllow", list(named.into_iter().map(entry).collect()));
        }
        None => set("DevicePolicy", Value::string("auto")),
    }
}

/// A device as systemd names it. `None`: it has no name for this.
fn device(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> Option<String> {
    let kind = match kind {
        DeviceKind::Char => "char",
        DeviceKind::Block => "block",
        DeviceKind::All => return None,
    };
    Some(match (major, minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    })
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
