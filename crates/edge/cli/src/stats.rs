//! `stats`: what containers use, once or again and again.
//!
//! A reading of one container alone says nothing about its CPU, so two are taken, a second apart, of all
//! containers: two hundred take little longer than one.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use docker::ContainerSummary;
use docker::stats::{Cpu, Stats};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::args::StatsArgs;
use crate::client::Client;
use crate::config;
use crate::error::{Error, Result};
use crate::format::human;
use crate::images::path_of;
use crate::list::{self, Column};

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "CPUPerc", header: "CPU %" },
    Column { field: "MemUsage", header: "MEM USAGE / LIMIT" },
    Column { field: "MemPerc", header: "MEM %" },
    Column { field: "NetIO", header: "NET I/O" },
    Column { field: "BlockIO", header: "BLOCK I/O" },
    Column { field: "PIDs", header: "PIDS" },
];
const MORE: &[Column] = &[Column { field: "Container", header: "CONTAINER" }];
const ID_WIDTH: usize = 12;
/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many containers are read at the same time: the files that tell of one fill a processor.
const AT_ONCE: usize = 4;
/// What is not known yet.
const NONE: &str = "--";

/// Shows what the containers use: those that are named, or all that run.
pub(crate) async fn stats(client: &Client, args: &StatsArgs) -> Result<i32> {
    let redraw = !args.no_stream && std::io::stdout().is_terminal();
    let mut before = readings(client, args).await?;
    if redraw {
        // A screen of its own each time; what is not known yet is shown as such.
        print!("\x1b[2J");
        show(args, &BTreeMap::new(), &before, redraw)?;
    }
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = readings(client, args).await?;
        let earlier = before.iter().map(|(_, stats)| (stats.id.clone(), stats.cpu_stats.clone()));
        show(args, &earlier.collect(), &now, redraw)?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

/// One reading of each container, with what it was asked for as.
async fn readings(client: &Client, args: &StatsArgs) -> Result<Vec<(String, Stats)>> {
    let names = if args.containers.is_empty() {
        let path = format!("/containers/json?all={}", u8::from(args.all));
        let all: Vec<ContainerSummary> = client.get(&path).await?;
        all.into_iter().map(|container| container.id).collect()
    } else {
        args.containers.clone()
    };
    let (mut waiting, mut asked) = (names.into_iter().enumerate(), JoinSet::new());
    let mut readings = BTreeMap::new();
    loop {
        for (at, name) in waiting.by_ref().take(AT_ONCE - asked.len()) {
            asked.spawn(reading(client.clone(), at, name));
        }
        let Some(answer) = asked.join_next().await else { break };
        let (at, name, stats) = answer.map_err(|err| Error::io("read the counters")(err.into()))?;
        match stats {
            Ok(stats) => _ = readings.insert(at, (name, stats)),
            // One that has gone since it was listed.
            Err(Error::Api { status: 404, .. }) if args.containers.is_empty() => {}
            Err(err) => return Err(err),
        }
    }
    Ok(readings.into_values().collect())
}

async fn reading(client: Client, at: usize, name: String) -> (usize, String, Result<Stats>) {
    let path = format!("/containers/{}/stats?stream=false&one-shot=true", path_of(&name));
    let stats = client.get(&path).await;
    (at, name, stats)
}

fn show(
    args: &StatsArgs,
    before: &BTreeMap<String, Cpu>,
    readings: &[(String, Stats)],
    redraw: bool,
) -> Result<()> {
    let rows: Vec<Value> = readings
        .iter()
        .map(|(asked, stats)| row(asked, stats, before.get(&stats.id), args.no_trunc))
        .collect();
    let format = config::format(args.format.as_deref(), &config::get().stats_format);
    let text = list::render(format, COLUMNS, MORE, &rows)?;
    let text = if redraw {
        // From the top, each line to its end, and nothing below the last.
        format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
    } else {
        text
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("print".to_owned()))
}

fn row(asked: &str, stats: &Stats, before: Option<&Cpu>, whole: bool) -> Value {
    let id = if whole { &stats.id } else { stats.id.get(..ID_WIDTH).unwrap_or(&stats.id) };
    let size = |bytes: u64| human::size(i64::try_from(bytes).unwrap_or(i64::MAX));
    let binary = |bytes: u64| human::binary_size(i64::try_from(bytes).unwrap_or(i64::MAX));
    let (used, limit) = (memory_used(stats), stats.memory_stats.limit.unwrap_or(0));
    let (received, sent) = stats
        .networks
        .values()
        .fold((0, 0), |(rx, tx), network| (rx + network.rx_bytes, tx + network.tx_bytes));
    let moved = |op: &str| -> u64 {
        let entries = &stats.blkio_stats.io_service_bytes_recursive;
        entries.iter().filter(|one| one.op.eq_ignore_ascii_case(op)).map(|one| one.value).sum()
    };
    let runs = stats.pids_stats.current.is_some();
    let cpu = match before {
        Some(before) => format!("{:.2}%", cpu_share(before, &stats.cpu_stats)),
        None if runs => NONE.to_owned(),
        None => "0.00%".to_owned(),
    };
    json!({
        "Container": asked,
        "ID": id,
        "Name": human::printable(stats.name.trim_start_matches('/')),
        "CPUPerc": cpu,
        "MemUsage": format!("{} / {}", binary(used), binary(limit)),
        "MemPerc": format!("{:.2}%", share(used, limit)),
        "NetIO": format!("{} / {}", size(received), size(sent)),
        "BlockIO": format!("{} / {}", size(moved("read")), size(moved("write"))),
        "PIDs": stats.pids_stats.current.unwrap_or(0).to_string(),
    })
}

/// Memory without the pages that the kernel can have back at once.
fn memory_used(stats: &Stats) -> u64 {
    let memory = &stats.memory_stats;
    let usage = memory.usage.unwrap_or(0);
    // cgroup v1 has the first, v2 the second.
    let inactive =
        ["total_inactive_file", "inactive_file"].iter().find_map(|key| memory.stats.get(*key));
    inactive.filter(|&&inactive| inactive < usage).map_or(usage, |inactive| usage - inactive)
}

/// How much of one CPU was used between two readings, in hundredths: 200 is two whole CPUs.
fn cpu_share(before: &Cpu, now: &Cpu) -> f64 {
    let used = now.cpu_usage.total_usage.saturating_sub(before.cpu_usage.total_usage);
    let passed =
        now.system_cpu_usage.unwrap_or(0).saturating_sub(before.system_cpu_usage.unwrap_or(0));
    let cpus = now.online_cpus.filter(|&cpus| cpus > 0);
    let cpus = cpus.map_or(now.cpu_usage.percpu_usage.len() as f64, f64::from);
    share(used, passed) * cpus
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use docker::stats::{BlkioEntry, CpuUsage, Memory, Network, Pids};

    use super::*;

    fn cpu(used: u64, system: u64) -> Cpu {
        Cpu {
            cpu_usage: CpuUsage { total_usage: used, ..CpuUsage::default() },
            system_cpu_usage: Some(system),
            online_cpus: Some(2),
            ..Cpu::default()
        }
    }

    #[test]
    fn a_row_says_what_dockers_says() {
        let mut stats = Stats {
            name: "/web".into(),
            id: "0123456789abcdef".into(),
            pids_stats: Pids { current: Some(3), limit: None },
            cpu_stats: cpu(600, 2000),
            memory_stats: Memory {
                usage: Some(3 << 20),
                limit: Some(8 << 20),
                stats: [("inactive_file".to_owned(), 1 << 20)].into(),
                ..Memory::default()
            },
            ..Stats::default()
        };
        let network = Network { rx_bytes: 1500, tx_bytes: 20, ..Network::default() };
        stats.networks.insert("eth0".into(), network);
        let entry = |op: &str, value| BlkioEntry { op: op.into(), value, ..BlkioEntry::default() };
        stats.blkio_stats.io_service_bytes_recursive =
            vec![entry("Read", 2_000_000), entry("write", 7), entry("Total", 9)].into();
        assert_eq!(
            row("web", &stats, Some(&cpu(100, 1000)), false),
            json!({"Container": "web", "ID": "0123456789ab", "Name": "web", "CPUPerc": "100.00%",
                   "MemUsage": "2MiB / 8MiB", "MemPerc": "25.00%", "NetIO": "1.5kB / 20B",
                   "BlockIO": "2MB / 7B", "PIDs": "3"})
        );
        assert_eq!(row("web", &stats, None, false)["CPUPerc"], "--");
        // A counter that went back, as after a restart, is no use of CPU.
        assert_eq!(row("web", &stats, Some(&cpu(700, 1000)), true)["CPUPerc"], "0.00%");
        let stopped = row("web", &Stats::default(), None, false);
        assert_eq!(stopped["CPUPerc"], "0.00%");
        assert_eq!(stopped["MemUsage"], "0B / 0B");
    }
}
