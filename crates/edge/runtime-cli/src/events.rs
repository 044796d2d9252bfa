//! `events`: what a container uses, and what happens to it, in runc's form.

use std::time::Duration;

use cgroup::{BlockEntry, CpuStats, MemoryCounter, MemoryStats, Pressure, PressureLine};
use container::{Event, Interface, Usage};
use serde_json::{Map, Value, json};

use crate::args::{Opt, Parsed, flag, value};
use crate::help::print;
use crate::{Context, Failure};

pub(crate) const EVENTS: &[Opt] = &[
    flag(&["stats"], "print once what the container uses, and end"),
    value(&["interval"], "the time between two reports, such as 500ms or 1m30s (default 5s)"),
];

pub(crate) fn events(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let interval = parsed.get("interval").map_or(Ok(Duration::from_secs(5)), |text| {
        duration(text).ok_or_else(|| format!("invalid value {text:?} for flag -interval"))
    })?;
    if interval.is_zero() {
        return Err(Failure::from("duration interval must be greater than 0".to_owned()));
    }
    if parsed.is_set("stats") {
        let usage = container::usage(&context.store, id)?;
        print(&line(id, "stats", Some(stats(&usage))))?;
        return Ok(0);
    }
    container::watch(&context.store, id, interval, |event| -> Result<(), Failure> {
        let text = match event {
            Event::Stats(usage) => line(id, "stats", Some(stats(&usage))),
            Event::OutOfMemory => line(id, "oom", None),
        };
        print(&text)
    })?;
    Ok(0)
}

/// A time as Go writes it: numbers with units, `1m30s`, `1.5h`. Also a number alone, of seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += number * unit;
        rest = &rest[end..];
    }
    // What Go's type holds: 63 bits of nanoseconds.
    (!text.is_empty() && nanos < 9.2e18).then(|| Duration::from_nanos(nanos as u64))
}

/// In runc's order: what reads it may count on that.
fn line(id: &str, kind: &str, data: Option<Value>) -> String {
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    format!("{{\"type\":{},\"id\":{}{data}}}\n", json!(kind), json!(id))
}

/// An object without the members that runc leaves out: those that are zero or empty.
fn sparse<const N: usize>(members: [(&str, Value); N]) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) => false,
    };
    let kept = members.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(kept.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn stats(usage: &Usage) -> Value {
    let stats = &usage.cgroup;
    let set = &stats.cpuset;
    let mut cpuset = json!({
        "cpu_exclusive": set.cpu_exclusive,
        "mem_hardwall": set.mem_hardwall,
        "mem_exclusive": set.mem_exclusive,
        "memory_migrate": set.memory_migrate,
        "memory_spread_page": set.memory_spread_page,
        "memory_spread_slab": set.memory_spread_slab,
        "memory_pressure": set.memory_pressure,
        "sched_load_balance": set.sched_load_balance,
        "sched_relax_domain_level": set.sched_relax_domain_level,
    });
    for (name, list) in [("cpus", &set.cpus), ("mems", &set.mems)] {
        if !list.is_empty() {
            cpuset[name] = json!(list);
        }
    }
    let hugetlb: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, pages)| {
            let mut value =
                sparse([("usage", json!(pages.usage)), ("max", json!(pages.max_usage))]);
            value["failcnt"] = json!(pages.failcnt);
            (size.clone(), value)
        })
        .collect();
    let mut value = json!({
        "cpu": cpu(&stats.cpu),
        "cpuset": cpuset,
        "memory": memory(&stats.memory),
        "pids": sparse([
            ("current", json!(stats.pids.current)),
            ("limit", json!(stats.pids.limit.unwrap_or(0))),
        ]),
        "blkio": sparse([
            ("ioServiceBytesRecursive", entries(&stats.block_bytes)),
            ("ioServicedRecursive", entries(&stats.block_operations)),
            ("ioQueueRecursive", entries(&stats.block.queued)),
            ("ioServiceTimeRecursive", entries(&stats.block.service_time)),
            ("ioWaitTimeRecursive", entries(&stats.block.wait_time)),
            ("ioMergedRecursive", entries(&stats.block.merged)),
            ("ioTimeRecursive", entries(&stats.block.time)),
            ("sectorsRecursive", entries(&stats.block.sectors)),
            ("psi", pressure(stats.block.pressure)),
        ]),
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": null,
    });
    if !stats.rdma.is_empty() {
        value["rdma"] = rdma(&stats.rdma);
    }
    if !usage.interfaces.is_empty() {
        value["network_interfaces"] = usage.interfaces.iter().map(interface).collect();
    }
    value
}

fn cpu(cpu: &CpuStats) -> Value {
    let mut usage = sparse([
        ("total", json!(cpu.total)),
        ("percpu", json!(cpu.per_cpu)),
        ("percpu_kernel", json!(cpu.per_cpu_system)),
        ("percpu_user", json!(cpu.per_cpu_user)),
    ]);
    usage["kernel"] = json!(cpu.system);
    usage["user"] = json!(cpu.user);
    let throttling = sparse([
        ("periods", json!(cpu.periods)),
        ("throttledPeriods", json!(cpu.throttled_periods)),
        ("throttledTime", json!(cpu.throttled_time)),
    ]);
    sparse([("usage", usage), ("throttling", throttling), ("psi", pressure(cpu.pressure))])
}

fn memory(memory: &MemoryStats) -> Value {
    /// What v1 says for unlimited: the largest signed number, rounded down to a page.
    const UNLIMITED_V1: u64 = 0x7fff_ffff_ffff_f000;
    let limit = match memory.limit {
        u64::MAX if !memory.is_v2 => UNLIMITED_V1,
        limit => limit,
    };
    let (usage, max_usage, failcnt) = (memory.usage, memory.max_usage, memory.failcnt);
    let own = MemoryCounter { usage, max_usage, failcnt, limit };
    let cache = memory.stat.get(if memory.is_v2 { "file" } else { "cache" });
    sparse([
        ("cache", json!(cache.unwrap_or(&0))),
        ("usage", counter(own)),
        ("swap", counter(memory.memsw)),
        ("kernel", counter(memory.kernel)),
        ("kernelTCP", counter(memory.kernel_tcp)),
        ("raw", json!(memory.stat)),
        ("psi", pressure(memory.pressure)),
    ])
}

fn counter(counter: MemoryCounter) -> Value {
    if counter == MemoryCounter::default() {
        return Value::Null;
    }
    let mut value = sparse([("usage", json!(counter.usage)), ("max", json!(counter.max_usage))]);
    value["limit"] = json!(counter.limit);
    value["failcnt"] = json!(counter.failcnt);
    value
}

fn entries(list: &[BlockEntry]) -> Value {
    let entry = |one: &BlockEntry| {
        sparse([
            ("major", json!(one.major)),
            ("minor", json!(one.minor)),
            ("op", json!(one.operation)),
            ("value", json!(one.value)),
        ])
    };
    list.iter().map(entry).collect()
}

fn pressure(pressure: Option<Pressure>) -> Value {
    let line = |line: PressureLine| {
        json!({
            "avg10": line.avg10, "avg60": line.avg60, "avg300": line.avg300, "total": line.total,
        })
    };
    pressure.map_or(Value::Null, |both| json!({ "some": line(both.some), "full": line(both.full) }))
}

/// Not in runc's form, which has none: in that of its statistics library.
fn rdma(devices: &std::collections::BTreeMap<String, cgroup::RdmaStats>) -> Value {
    let limit = |limit| match limit {
        cgroup::Limit::At(n) => n,
        cgroup::Limit::Max => u64::from(u32::MAX),
    };
    let entry = |device: &str, handles: u64, objects: u64| {
        sparse([
            ("device", json!(device)),
            ("hca_handles", json!(handles)),
            ("hca_objects", json!(objects)),
        ])
    };
    let current = devices.iter().map(|(name, one)| entry(name, one.hca_handle, one.hca_object));
    let limits = devices
        .iter()
        .map(|(name, one)| entry(name, limit(one.hca_handle_limit), limit(one.hca_object_limit)));
    json!({
        "rdma_limit": limits.collect::<Vec<_>>(),
        "rdma_current": current.collect::<Vec<_>>(),
    })
}

fn interface(one: &Interface) -> Value {
    let [rx_bytes, rx_packets, rx_errors, rx_dropped] = one.received;
    let [tx_bytes, tx_packets, tx_errors, tx_dropped] = one.sent;
    json!({
        "Name": one.name,
        "RxBytes": rx_bytes, "RxPackets": rx_packets, "RxErrors": rx_errors, "RxDropped": rx_dropped,
        "TxBytes": tx_bytes, "TxPackets": tx_packets, "TxErrors": tx_errors, "TxDropped": tx_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2", 2000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5x", "-1s", "1m30", "1..5s", "99999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_zero_is_left_out_as_in_runc() {
        let mut usage = Usage::default();
        assert_eq!(
            stats(&usage).to_string(),
            r#"{"blkio":{},"cpu":{"usage":{"kernel":0,"user":0}},"cpuset":{"cpu_exclusive":0,"mem_exclusive":0,"mem_hardwall":0,"memory_migrate":0,"memory_pressure":0,"memory_spread_page":0,"memory_spread_slab":0,"sched_load_balance":0,"sched_relax_domain_level":0},"hugetlb":{},"intel_rdt":{},"memory":{},"network_interfaces":null,"pids":{}}"#
        );
        usage.cgroup.memory.usage = 5;
        usage.cgroup.memory.limit = u64::MAX;
        usage.cgroup.pids.current = 2;
        let entry = BlockEntry { major: 8, minor: 0, operation: "Read".into(), value: 7 };
        usage.cgroup.block_bytes = vec![entry];
        let value = stats(&usage);
        assert_eq!(
            value["memory"]["usage"].to_string(),
            r#"{"failcnt":0,"limit":9223372036854771712,"usage":5}"#
        );
        assert_eq!(value["pids"].to_string(), r#"{"current":2}"#);
        assert_eq!(
            value["blkio"].to_string(),
            r#"{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":7}]}"#
        );
        assert_eq!(line("c", "oom", None), "{\"type\":\"oom\",\"id\":\"c\"}\n");
    }
}
