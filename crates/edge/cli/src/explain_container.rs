//! `container explain`: one page on what a container is to the kernel.

use std::fmt::Write as _;

use docker::explained::{ExplainedContainer, ExplainedNamespace, ExplainedProcess};

use crate::args::ExplainContainerArgs;
use crate::client::{Client, encode};
use crate::error::{Error, Result};
use crate::format::{human, table};

/// What every container has mounted, and nobody looks for.
const USUAL: [&str; 4] = ["/proc/", "/sys/", "/dev/", "/sys"];

/// `container explain`.
pub(crate) async fn explain(client: &Client, args: &ExplainContainerArgs) -> Result<i32> {
    let path = format!("/dhow/containers/{}/explain", encode(&args.container));
    let explained: ExplainedContainer = client.get(&path).await?;
    match args.format.as_deref() {
        None => print!("{}", page(&explained)),
        Some("json") => {
            let text = serde_json::to_string_pretty(&explained);
            println!("{}", text.map_err(|err| Error::Usage(format!("write JSON: {err}")))?);
        }
        Some(other) => {
            return Err(Error::Usage(format!("--format is json, not {other:?}")));
        }
    }
    Ok(0)
}

fn size(bytes: u64) -> String {
    human::size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn page(it: &ExplainedContainer) -> String {
    let mut out = format!(
        "{} ({}): {}, of {}\n",
        human::printable(&it.name),
        it.id.get(..12).unwrap_or(&it.id),
        it.state,
        human::printable(&it.image)
    );
    if it.pid > 0 {
        _ = writeln!(out, "Process {} on the host, supervised by {}", it.pid, it.supervisor);
        section(&mut out, "PROCESSES", &processes(&it.processes));
        section(&mut out, "NAMESPACES", &namespaces(&it.namespaces));
    }
    section(&mut out, "CGROUP", &cgroup(it));
    section(&mut out, "FILES", &files(it));
    section(&mut out, "NETWORK", &network(it));
    section(&mut out, "RIGHTS", &rights(it));
    out
}

fn section(out: &mut String, title: &str, lines: &str) {
    _ = writeln!(out, "\n{title}");
    for line in lines.lines() {
        _ = writeln!(out, "{}", format!("  {line}").trim_end());
    }
}

fn processes(all: &[ExplainedProcess]) -> String {
    let head = ["PID", "ON HOST", "USER", "THREADS", "MEMORY", "STATE", "COMMAND"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    cells.extend(all.iter().map(|one| {
        let indent = "  ".repeat(one.depth as usize);
        vec![
            one.inside.to_string(),
            one.pid.to_string(),
            one.uid.to_string(),
            one.threads.to_string(),
            size(one.resident),
            one.state.clone(),
            format!("{indent}{}", human::ellipsis(&human::printable(&one.command), 70)),
        ]
    }));
    table::render(&cells)
}

fn namespaces(all: &[ExplainedNamespace]) -> String {
    let cells: Vec<_> = all
        .iter()
        .map(|one| {
            let with = match &one.shared_with[..] {
                [] => "its own".to_owned(),
                others => format!("shared with {}", human::printable(&others.join(", "))),
            };
            vec![one.kind.clone(), one.inode.to_string(), with]
        })
        .collect();
    table::render(&cells)
}

fn cgroup(it: &ExplainedContainer) -> String {
    let group = &it.cgroup;
    let mut out = format!("{}\n", group.path);
    if it.pid == 0 {
        return out;
    }
    let of = |limit: Option<String>| limit.map_or("no limit".into(), |limit| format!("of {limit}"));
    let percent = group.memory_limit.filter(|limit| *limit > 0).map_or(String::new(), |limit| {
        format!(" ({:.0}%)", group.memory as f64 * 100.0 / limit as f64)
    });
    let failures = match group.memory_failures {
        0 => String::new(),
        n => format!(", hit {n} times"),
    };
    let throttled = match group.cpu_throttled {
        0 => String::new(),
        n => format!(", kept waiting {n} times"),
    };
    let processors = group.cpu_limit.map(|limit| format!("{} processors", limit as f64 / 1e9));
    let cells = [
        [
            "memory",
            &size(group.memory),
            &format!("{}{percent}{failures}", of(group.memory_limit.map(size))),
        ]
        .map(str::to_owned)
        .to_vec(),
        [
            "processor",
            &format!("{:.2} s", group.cpu as f64 / 1e9),
            &format!("{}{throttled}", of(processors)),
        ]
        .map(str::to_owned)
        .to_vec(),
        ["processes", &group.pids.to_string(), &of(group.pids_limit.map(|n| n.to_string()))]
            .map(str::to_owned)
            .to_vec(),
    ];
    out += &table::render(&cells);
    out
}

fn files(it: &ExplainedContainer) -> String {
    let root = &it.root;
    let mut out = format!(
        "{}, {} {}{}\n",
        root.driver,
        root.layers.len(),
        if root.layers.len() == 1 { "layer" } else { "layers" },
        if root.read_only { ", read-only" } else { "" }
    );
    let mut cells = vec![vec!["writes to".to_owned(), human::printable(&root.writable)]];
    cells.extend(root.layers.iter().map(|layer| vec!["layer".to_owned(), human::printable(layer)]));
    out += &table::render(&cells);
    let is_usual = |target: &str| USUAL.iter().any(|usual| target.starts_with(usual));
    let shown: Vec<_> = it
        .mounts
        .iter()
        .filter(|mount| !is_usual(&mount.target) && mount.target != "/")
        .map(|mount| {
            [&mount.target, &mount.kind, &mount.source, &mount.options]
                .map(|text| human::printable(text))
                .to_vec()
        })
        .collect();
    if !shown.is_empty() {
        out += "\n";
        out += &table::render(&shown);
    }
    out
}

fn network(it: &ExplainedContainer) -> String {
    let net = &it.network;
    let mut out = format!("mode {}\n", human::printable(&net.mode));
    for link in &net.links {
        let place = match link.host_name.as_str() {
            "" => format!("{} shares {}", link.name, link.bridge),
            host => format!("{} = {host} on bridge {}", link.name, link.bridge),
        };
        let mac = if link.mac.is_empty() { "its hardware address" } else { &link.mac };
        let way = match link.gateway.as_str() {
            "" => String::new(),
            "0.0.0.0" | "::" => " by the link".to_owned(),
            gateway => format!(" via {gateway}"),
        };
        _ = writeln!(out, "{place}, {mac}, {}{way}", link.addresses.join(" "));
    }
    for port in &net.ports {
        _ = writeln!(out, "port {port}");
    }
    if !net.table.is_empty() {
        _ = writeln!(out, "rules: nft list table ip {}", net.table);
    }
    if net.names {
        out += "names are looked up at 127.0.0.11\n";
    }
    out
}

fn rights(it: &ExplainedContainer) -> String {
    let may = &it.security;
    let user = if may.user.is_empty() { "0 (root)" } else { &may.user };
    let mut out = format!(
        "user {}{}\n",
        human::printable(user),
        if may.privileged { ", privileged" } else { "" }
    );
    if it.pid == 0 {
        return out;
    }
    let names = |all: &[String]| {
        let short = |name: &String| name.trim_start_matches("CAP_").to_lowercase();
        let all: Vec<_> = all.iter().map(short).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(" ") }
    };
    _ = writeln!(out, "capabilities: {}", names(&may.capabilities));
    if may.bounding != may.capabilities {
        _ = writeln!(out, "at most: {}", names(&may.bounding));
    }
    let filters = match may.seccomp_filters {
        0 => String::new(),
        1 => ", 1 filter".to_owned(),
        n => format!(", {n} filters"),
    };
    _ = writeln!(out, "seccomp: {}{filters}", may.seccomp);
    _ = writeln!(out, "no new privileges: {}", if may.no_new_privileges { "yes" } else { "no" });
    if !may.label.is_empty() {
        _ = writeln!(out, "label: {}", human::printable(&may.label));
    }
    for line in &may.uid_map {
        _ = writeln!(out, "users (inside, outside, how many): {line}");
    }
    _ = writeln!(out, "badness when memory runs out: {:+}", may.oom_score_adj);
    out
}

#[cfg(test)]
mod tests {
    use docker::explained::{
        ExplainedCgroup, ExplainedLink, ExplainedMount, ExplainedNetwork, ExplainedRoot,
        ExplainedSecurity,
    };

    use super::*;

    #[test]
    fn a_page_tells_all() {
        let process = |pid, parent, inside, depth, command: &str| ExplainedProcess {
            pid,
            parent,
            inside,
            depth,
            threads: 1,
            resident: 1_000_000,
            state: "S".into(),
            command: command.into(),
            ..ExplainedProcess::default()
        };
        let namespace = |kind: &str, with: &[&str]| ExplainedNamespace {
            kind: kind.into(),
            inode: 4_026_531_840,
            shared_with: with.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mount = |target: &str, kind: &str| ExplainedMount {
            target: target.into(),
            kind: kind.into(),
            source: "none".into(),
            options: "rw,nosuid".into(),
        };
        let it = ExplainedContainer {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image: "app:1".into(),
            state: "running".into(),
            pid: 100,
            supervisor: 90,
            processes: vec![
                process(100, 90, 1, 0, "nginx\u{1b}"),
                process(101, 100, 7, 1, "worker"),
            ],
            namespaces: vec![namespace("net", &[]), namespace("user", &["host", "container db"])],
            cgroup: ExplainedCgroup {
                path: "/dhow/0123".into(),
                memory: 16 << 20,
                memory_limit: Some(64 << 20),
                memory_failures: 2,
                cpu: 1_500_000_000,
                cpu_limit: Some(500_000_000),
                pids: 2,
                ..ExplainedCgroup::default()
            },
            root: ExplainedRoot {
                driver: "overlay2".into(),
                layers: vec!["/l/1".into()],
                writable: "/u".into(),
                read_only: true,
            },
            mounts: vec![
                mount("/", "overlay"),
                mount("/proc/kcore", "tmpfs"),
                mount("/data", "ext4"),
            ],
            network: ExplainedNetwork {
                mode: "bridge".into(),
                links: vec![ExplainedLink {
                    name: "eth0".into(),
                    host_name: "ve1".into(),
                    bridge: "br0".into(),
                    mac: "02:00:00:00:00:01".into(),
                    addresses: vec!["172.17.0.2/16".into()],
                    gateway: "172.17.0.1".into(),
                }],
                ports: vec!["0.0.0.0:8080 -> 172.17.0.2:80/tcp".into()],
                table: "dhow-1".into(),
                names: true,
            },
            security: ExplainedSecurity {
                capabilities: vec!["CAP_CHOWN".into()],
                bounding: vec!["CAP_CHOWN".into()],
                seccomp: "filter".into(),
                seccomp_filters: 1,
                ..ExplainedSecurity::default()
            },
        };
        expect_test::expect![[r"
            web (0123456789ab): running, of app:1
            Process 100 on the host, supervised by 90

            PROCESSES
              PID       ON HOST   USER      THREADS   MEMORY    STATE     COMMAND
              1         100       0         1         1MB       S         nginx
              7         101       0         1         1MB       S           worker

            NAMESPACES
              net       4026531840   its own
              user      4026531840   shared with host, container db

            CGROUP
              /dhow/0123
              memory      16.8MB    of 67.1MB (25%), hit 2 times
              processor   1.50 s    of 0.5 processors
              processes   2         no limit

            FILES
              overlay2, 1 layer, read-only
              writes to   /u
              layer       /l/1

              /data     ext4      none      rw,nosuid

            NETWORK
              mode bridge
              eth0 = ve1 on bridge br0, 02:00:00:00:00:01, 172.17.0.2/16 via 172.17.0.1
              port 0.0.0.0:8080 -> 172.17.0.2:80/tcp
              rules: nft list table ip dhow-1
              names are looked up at 127.0.0.11

            RIGHTS
              user 0 (root)
              capabilities: chown
              seccomp: filter, 1 filter
              no new privileges: no
              badness when memory runs out: +0
        "]]
        .assert_eq(&page(&it));
    }
}
