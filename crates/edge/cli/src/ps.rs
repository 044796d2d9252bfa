//! `ps`.

use docker::ContainerSummary;
use serde_json::{Value, json};

use crate::args::PsArgs;
use crate::client::{Client, encode};
use crate::config;
use crate::containers::host_address;
use crate::error::Result;
use crate::format::human;
use crate::format::template::Template;
use crate::list::{self, Column};
use crate::request;

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "Image", header: "IMAGE" },
    Column { field: "Command", header: "COMMAND" },
    Column { field: "RunningFor", header: "CREATED" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "Ports", header: "PORTS" },
    Column { field: "Names", header: "NAMES" },
];
const SIZE: Column = Column { field: "Size", header: "SIZE" };
/// Columns that only a template of one's own shows.
const MORE: &[Column] = &[
    SIZE,
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Labels", header: "LABELS" },
    Column { field: "Mounts", header: "MOUNTS" },
    Column { field: "Networks", header: "NETWORKS" },
    Column { field: "State", header: "STATE" },
    Column { field: "LocalVolumes", header: "LOCAL VOLUMES" },
    Column { field: "Platform", header: "PLATFORM" },
];
/// `--format raw`, with the size.
pub(crate) const RAW_WITH_SIZE: &str = "container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
size: {{.Size}}
";
/// Its last line.
const RAW_SIZE: &str = "size: {{.Size}}\n";
/// The widest command that is shown whole.
const COMMAND_WIDTH: usize = 20;
const ID_WIDTH: usize = 12;

/// Lists containers.
pub(crate) async fn ps(client: &Client, args: &PsArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let format = config::format(args.format.as_deref(), &config::get().ps_format);
    let size = args.size || shows_size(format);
    let last = if args.latest { 1 } else { args.last };
    let all = args.all || last > 0;
    let mut path = format!("/containers/json?all={}&size={}", u8::from(all), u8::from(size));
    if last > 0 {
        path.push_str(&format!("&limit={last}"));
    }
    if !filters.is_empty() {
        path.push_str(&format!("&filters={}", encode(&filters.to_json())));
    }
    let containers: Vec<ContainerSummary> = client.get(&path).await?;
    if args.quiet {
        if args.format.is_some() {
            eprintln!(
                "WARNING: Ignoring custom format, because both --format and --quiet are set."
            );
        }
        let before = list::quiet(format, "container_id: ");
        for container in &containers {
            println!("{before}{}", short(&container.id, args.no_trunc));
        }
        return Ok(0);
    }
    let rows: Vec<Value> = containers.iter().map(|one| row(one, args.no_trunc)).collect();
    let mut columns = COLUMNS.to_vec();
    if args.size {
        columns.push(SIZE);
    }
    let raw = if args.size { RAW_WITH_SIZE } else { RAW_WITH_SIZE.trim_end_matches(RAW_SIZE) };
    list::print(list::or_raw(format, raw), &columns, MORE, &rows)
}

/// Whether sizes are asked for by the format alone. They are not taken unasked: each is the size of a
/// whole tree.
fn shows_size(format: Option<&str>) -> bool {
    let body = format.map(|format| format.strip_prefix("table").unwrap_or(format));
    body.and_then(|body| Template::parse_row(body).ok())
        .is_some_and(|template| template.mentions("Size"))
}

/// One container's row.
pub(crate) fn row(container: &ContainerSummary, whole: bool) -> Value {
    let command = &container.command;
    let command = if whole { command.clone() } else { human::ellipsis(command, COMMAND_WIDTH) };
    let platform =
        container.image_manifest_descriptor.as_ref().and_then(|one| one.platform.as_ref());
    let names: Vec<&str> = container
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        // A name with a second slash is another container's link to this one.
        .filter(|name| whole || !name.contains('/'))
        .collect();
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name })
        .map(|name| if whole { name.clone() } else { human::ellipsis(name, 15) })
        .collect();
    let networks = container
        .network_settings
        .as_ref()
        .map(|settings| settings.networks.keys().map(String::as_str).collect::<Vec<_>>().join(","));
    let volumes = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let row = json!({
        "ID": short(&container.id, whole),
        "Image": image(&container.image, whole),
        "Command": human::quoted(&command),
        "RunningFor": human::ago(container.created),
        "CreatedAt": human::date(container.created),
        "Status": container.status,
        "State": container.state,
        "Ports": ports(container),
        "Names": names.join(","),
        "Mounts": mounts.join(","),
        "Networks": networks.unwrap_or_default(),
        "LocalVolumes": volumes.to_string(),
        "Size": size(container),
        "Platform": platform,
    });
    list::with_labels(row, container.labels.iter())
}

fn short(id: &str, whole: bool) -> &str {
    if whole { id } else { id.get(..ID_WIDTH).unwrap_or(id) }
}

/// The image's name; an id is shortened as a container's.
fn image(name: &str, whole: bool) -> String {
    match name.strip_prefix("sha256:") {
        Some(hex) if !whole => short(hex, false).to_owned(),
        _ => name.to_owned(),
    }
}

fn size(container: &ContainerSummary) -> String {
    let written = human::size(container.size_rw.unwrap_or(0));
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{written} (virtual {})", human::size(all)),
        _ => written,
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`, neighbouring ports as ranges.
fn ports(container: &ContainerSummary) -> String {
    let mut ports = container.ports.to_vec();
    ports.sort_by(|a, b| {
        (&a.ip, a.public_port == 0, a.private_port, &a.proto, a.public_port).cmp(&(
            &b.ip,
            b.public_port == 0,
            b.private_port,
            &b.proto,
            b.public_port,
        ))
    });
    // Docker shows IPv4 before its IPv6 twin.
    ports.sort_by_key(|port| (port.private_port, port.proto.clone(), port.ip.contains(':')));
    let mut groups: Vec<(docker::container::Port, u16)> = Vec::new();
    for port in ports {
        let continues = groups.iter_mut().find(|(first, length)| {
            first.ip == port.ip
                && first.proto == port.proto
                && first.private_port.checked_add(*length) == Some(port.private_port)
                && (first.public_port == 0) == (port.public_port == 0)
                && (port.public_port == 0
                    || first.public_port.checked_add(*length) == Some(port.public_port))
        });
        match continues {
            Some((_, length)) => *length += 1,
            None => groups.push((port, 1)),
        }
    }
    let shown: Vec<String> = groups
        .iter()
        .map(|(port, length)| {
            let span = |first: u16| match length {
                1 => first.to_string(),
                _ => format!("{first}-{}", first + (length - 1)),
            };
            let private = format!("{}/{}", span(port.private_port), port.proto);
            if port.public_port == 0 {
                private
            } else {
                format!("{}->{private}", host_address(&port.ip, &span(port.public_port)))
            }
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use docker::container::Port;

    fn port(ip: &str, private_port: u16, public_port: u16) -> Port {
        Port { ip: ip.to_owned(), private_port, public_port, proto: "tcp".to_owned() }
    }

    #[test]
    fn sizes_are_taken_where_they_are_shown() {
        for (format, want) in [
            (None, false),
            (Some("json"), false),
            (Some("{{.ID}}"), false),
            (Some("{{.ID}} {{.Size}}"), true),
            (Some(r"table {{.ID}}\t{{if .Size}}{{upper .Size}}{{end}}"), true),
        ] {
            assert_eq!(shows_size(format), want, "{format:?}");
        }
    }

    #[test]
    fn a_command_is_quoted_and_labels_are_told_apart() {
        let container = ContainerSummary {
            command: "sh -c \"a\"".to_owned(),
            labels: [("k".to_owned(), "v,w".to_owned())].into_iter().collect(),
            ..ContainerSummary::default()
        };
        let row = row(&container, true);
        assert_eq!(row["Command"], r#""sh -c \"a\"""#);
        assert_eq!((&row["Labels"], &row["Label"]["k"]), (&json!("k=v,w"), &json!("v,w")));
    }

    #[test]
    fn ports_are_shown_as_docker_does() {
        for (given, want) in [
            (
                vec![port("0.0.0.0", 80, 8080), port("::", 80, 8080)],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (vec![port("", 80, 0), port("", 81, 0), port("", 443, 0)], "80-81/tcp, 443/tcp"),
            (
                vec![port("0.0.0.0", 81, 9001), port("0.0.0.0", 80, 9000)],
                "0.0.0.0:9000-9001->80-81/tcp",
            ),
            (vec![], ""),
        ] {
            let container = ContainerSummary { ports: given.into(), ..ContainerSummary::default() };
            assert_eq!(ports(&container), want);
        }
    }
}
