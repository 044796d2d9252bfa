//! Listing containers.

use std::collections::HashMap;

use docker::container::{Port, Summary, SummaryHostConfig, SummaryNetworkSettings};
use docker::filters::Filters;
use docker::nat;
use shim_protocol::{HealthStatus, Phase, Status};
use snapshot::Mounts;

use crate::engine::Engine;
use crate::inspect::KnownNetworks;
use crate::record::Container;
use crate::{Error, clock, copy, health, ports};

/// Which containers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Those that do not run as well.
    pub all: bool,
    /// So many of the newest, whatever they do.
    pub limit: Option<usize>,
    /// With their sizes.
    pub size: bool,
    /// Only those that fit.
    pub filters: Filters,
}

/// How many containers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are frozen.
    pub paused: usize,
    /// The others.
    pub stopped: usize,
}

/// What containers can be filtered by.
const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATES: [&str; 7] =
    ["created", "running", "paused", "restarting", REMOVING, "exited", "dead"];
/// The state of a container whose files have gone, and whose record is about to.
pub(crate) const REMOVING: &str = "removing";
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// The ports of a filter, `80`, `80-90/udp`; or why it is none.
fn port_filter(text: &str) -> Result<(std::ops::RangeInclusive<u16>, &str), String> {
    let (numbers, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    match nat::parse_range(numbers) {
        Some(range) => Ok((range, proto)),
        None => Err(format!("strconv.ParseUint: parsing {numbers:?}: invalid syntax")),
    }
}

impl Engine {
    /// Lists containers, the newest first.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<Summary>, Error> {
        let filter = Filter::new(self, options)?;
        let mut list = Vec::new();
        let rows = self.shared.db.read(metadata::Read::containers)?;
        let links = Self::link_names(&rows)?;
        let (mut images, mut manifests) = (HashMap::new(), HashMap::new());
        let mut networks = KnownNetworks::default();
        for row in rows {
            if options.limit.is_some_and(|limit| list.len() == limit) {
                break;
            }
            // Only what has a run's folder can run; most need no look at their status.
            if filter.running_only && !self.paths().run(&row.id).exists() {
                continue;
            }
            let container = Container::from_row(row)?;
            let status = self.status(&container.id)?;
            // One that was to go when it ends went in this moment.
            if container.record.host.auto_remove
                && status.phase == Phase::Exited
                && self.shared.db.read(|tx| tx.container(&container.id))?.is_none()
            {
                continue;
            }
            if filter.wants(&container, &status) {
                let mut summary = self.summary(&container, &status, options.size, &mut networks)?;
                self.name_image(&mut summary, &mut images)?;
                // Mostly many are made of one image.
                let manifest = manifests
                    .entry(container.record.manifest.clone())
                    .or_insert_with(|| self.image_manifest(&container.record));
                summary.image_manifest_descriptor.clone_from(manifest);
                let own = links.iter().filter(|(id, _)| *id == container.id);
                summary.names.extend(own.map(|(_, name)| name.clone()));
                list.push(summary);
            }
        }
        Ok(list)
    }

    /// Counts containers by what they do.
    pub fn counts(&self) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        for row in self.shared.db.read(metadata::Read::containers)? {
            counts.total += 1;
            if !self.paths().run(&row.id).exists() {
                counts.stopped += 1;
                continue;
            }
            match self.status(&row.id)?.phase {
                Phase::Running => counts.running += 1,
                Phase::Paused => counts.paused += 1,
                Phase::Created | Phase::Restarting | Phase::Exited => counts.stopped += 1,
            }
        }
        Ok(counts)
    }

    /// An image whose name is gone, or another one's by now, is shown by its id. `known` is what names mean.
    fn name_image(
        &self,
        summary: &mut Summary,
        known: &mut HashMap<String, Option<String>>,
    ) -> Result<(), Error> {
        let name = &summary.image;
        if !known.contains_key(name) {
            let found = self.images.meant_by(name)?.map(|id| id.to_string());
            known.insert(name.clone(), found);
        }
        if known.get(name).is_some_and(|found| found.as_ref() != Some(&summary.image_id)) {
            summary.image.clone_from(&summary.image_id);
        }
        Ok(())
    }

    fn summary(
        &self,
        container: &Container,
        status: &Status,
        size: bool,
        networks: &mut KnownNetworks,
    ) -> Result<Summary, Error> {
        let record = &container.record;
        let running = status.phase.is_up();
        let sizes = if size { Some(self.sizes(container)?) } else { None };
        Ok(Summary {
            id: container.id.clone(),
            names: vec![format!("/{}", container.name)].into(),
            image: record.config.image.clone(),
            image_id: record.image_id.clone(),
            command: command_line(&container.command()),
            created: container.created / 1_000_000_000,
            ports: ports(container, running).into(),
            size_rw: sizes.map(|(rw, _)| rw).filter(|rw| *rw != 0),
            size_root_fs: sizes.map(|(_, all)| all),
            labels: record.config.labels.clone().or_empty(),
            state: state(status).into(),
            health: Some(health::summary(status)),
            status: describe(status, clock::now()),
            host_config: SummaryHostConfig {
                network_mode: record.host.network_mode.clone(),
                annotations: record.host.annotations.clone(),
            },
            network_settings: Some(SummaryNetworkSettings {
                networks: self.shown_networks(container, running, networks),
            }),
            mounts: record.shown_mounts().collect(),
            ..Summary::default()
        })
    }

    /// Bytes of the writable layer, and of all layers.
    pub(crate) fn sizes(&self, container: &Container) -> Result<(i64, i64), Error> {
        if container.record.host_root {
            return Ok((0, 0));
        }
        let snapshots = self.images.snapshots();
        let key = container.id.parse()?;
        let own = match snapshots.mounts(&key, &container.record.chain) {
            Ok(Mounts::Overlay { upper, .. }) => Ok(copy::size(&upper)),
            Ok(Mounts::Directory { .. }) => snapshots.usage(&key).map(|usage| usage.bytes),
            Err(err) => Err(err),
        };
        let own = match own {
            // It comes or goes in this moment.
            Err(snapshot::Error::NoSnapshot { .. }) => 0,
            own => i64::try_from(own?).unwrap_or(i64::MAX),
        };
        let image = match &container.image {
            // The image may be gone.
            Some(id) => self.images.get(id).map(|image| image.size).unwrap_or_default(),
            None => 0,
        };
        Ok((own, own.saturating_add(i64::try_from(image).unwrap_or(i64::MAX))))
    }
}

/// A container's state in Docker's words.
pub(crate) fn state(status: &Status) -> &'static str {
    match status.phase {
        Phase::Created => "created",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Restarting => "restarting",
        Phase::Exited => "exited",
    }
}

/// `Up 5 minutes`, `Exited (0) 2 hours ago`.
fn describe(status: &Status, now: i64) -> String {
    let since = |time: &str| {
        let seconds = clock::parse(time).map_or(0, |then| (now - then) / 1_000_000_000);
        docker::units::human_duration(seconds.max(0))
    };
    match status.phase {
        Phase::Created => "Created".into(),
        Phase::Running => {
            let up = format!("Up {}", since(&status.started_at));
            match status.health.map(|health| health.status) {
                None => up,
                Some(HealthStatus::Starting) => format!("{up} (health: starting)"),
                Some(known) => format!("{up} ({})", known.as_str()),
            }
        }
        Phase::Paused => format!("Up {} (Paused)", since(&status.started_at)),
        Phase::Restarting => {
            format!("Restarting ({}) {} ago", status.exit_code, since(&status.finished_at))
        }
        Phase::Exited => {
            format!("Exited ({}) {} ago", status.exit_code, since(&status.finished_at))
        }
    }
}

/// As Docker prints it: words with spaces in quotes.
fn command_line(words: &[String]) -> String {
    let quote = |word: &String| {
        if word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn ports(container: &Container, running: bool) -> Vec<Port> {
    let mut ports = Vec::new();
    let map = &container.record.ports;
    let exposed = container.record.config.exposed_ports.keys();
    if !running || !ports::has_ports(&container.record.host) {
        return ports;
    }
    let keys = map.keys().chain(exposed);
    let mut keys: Vec<String> = keys.map(|key| ports::canonical(key)).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let Ok(port) = key.parse::<nat::Port>() else { continue };
        let base = Port {
            private_port: port.number,
            proto: port.proto.as_str().into(),
            ..Port::default()
        };
        let bindings = map.get(&key).map(|list| &list[..]).unwrap_or_default();
        if bindings.is_empty() {
            ports.push(base);
            continue;
        }
        ports.extend(bindings.iter().map(|binding| Port {
            ip: binding.host_ip.clone(),
            public_port: binding.host_port.parse().unwrap_or_default(),
            ..base.clone()
        }));
    }
    ports
}

/// The filters of one list, looked up once.
struct Filter<'a> {
    filters: &'a Filters,
    running_only: bool,
    before: Option<i64>,
    since: Option<i64>,
    exited: Vec<i32>,
    ancestors: Vec<String>,
    networks: Vec<String>,
    is_task: Option<bool>,
}

impl<'a> Filter<'a> {
    fn new(engine: &Engine, options: &'a ListOptions) -> Result<Self, Error> {
        let filters = &options.filters;
        let invalid = |err: docker::filters::Error| Error::Invalid(err.to_string());
        filters.clone().only(&FILTERS).map_err(invalid)?;
        for (key, what, known) in [("status", "state", &STATES[..]), ("health", "health", &HEALTHS)]
        {
            for value in filters.get(key) {
                if !known.contains(&value) {
                    return Err(Error::Invalid(format!(
                        "invalid filter '{key}={value}': invalid value for {what} ({value}): must be \
                         one of {}",
                        known.join(", ")
                    )));
                }
            }
        }
        for key in ["publish", "expose"] {
            for value in filters.get(key) {
                port_filter(value).map_err(|why| {
                    Error::Invalid(format!("error while looking up for {key} {value}: {why}"))
                })?;
            }
        }
        let created = |key: &str, newest: bool| -> Result<Option<i64>, Error> {
            let mut times = Vec::new();
            for wanted in filters.get(key) {
                times.push(engine.find(wanted)?.created);
            }
            Ok(if newest { times.into_iter().max() } else { times.into_iter().min() })
        };
        let mut exited = Vec::new();
        for code in filters.get("exited") {
            let bad = |_| {
                Error::Invalid(format!(
                    "invalid filter 'exited={code}': strconv.Atoi: parsing {code:?}: invalid syntax"
                ))
            };
            exited.push(code.parse().map_err(bad)?);
        }
        let mut ancestors = Vec::new();
        for name in filters.get("ancestor") {
            // An image that is not there is nobody's.
            if let Ok(details) = engine.images.details(name) {
                ancestors.push(details.image.id.to_string());
            }
        }
        if !ancestors.is_empty() {
            // Those that were made of them (`commit`) descend from them.
            let parents = engine.images.parents()?;
            let mut n_known = 0;
            while n_known < ancestors.len() {
                n_known = ancestors.len();
                for (image, parent) in &parents {
                    let (image, parent) = (image.to_string(), parent.to_string());
                    if ancestors.contains(&parent) && !ancestors.contains(&image) {
                        ancestors.push(image);
                    }
                }
            }
        }
        let mut networks = Vec::new();
        for wanted in filters.get("network") {
            networks.push(wanted.to_owned());
            if let Ok(network) = engine.networks.inspect(engine.db(), wanted) {
                networks.push(network.name);
            }
        }
        let is_task = filters.bool("is-task").map_err(invalid)?;
        let has_status = filters.contains("status");
        Ok(Self {
            filters,
            running_only: !options.all && options.limit.is_none() && !has_status,
            before: created("before", false)?,
            since: created("since", true)?,
            exited,
            ancestors,
            networks,
            is_task,
        })
    }

    fn wants(&self, container: &Container, status: &Status) -> bool {
        let record = &container.record;
        let filters = self.filters;
        let alive = status.phase.is_alive();
        let ports = ports(container, true);
        let port_fits = |wanted: &str, of: fn(&Port) -> u16| {
            port_filter(wanted).is_ok_and(|(range, proto)| {
                ports.iter().any(|port| range.contains(&of(port)) && port.proto == proto)
            })
        };
        (!self.running_only || alive)
            // There are none.
            && self.is_task != Some(true)
            && filters.matches("id", &container.id)
            // With and without the slash that Docker puts before a name.
            && (filters.matches("name", &container.name)
                || filters.matches("name", &format!("/{}", container.name)))
            && filters.labels("label", &record.config.labels)
            && filters.any("status", |wanted| wanted == state(status))
            && (self.exited.is_empty()
                || status.phase == Phase::Exited && self.exited.contains(&status.exit_code))
            && self.before.is_none_or(|time| container.created < time)
            && self.since.is_none_or(|time| container.created > time)
            && (!filters.contains("ancestor") || self.ancestors.contains(&record.image_id))
            && filters.any("volume", |wanted| {
                record.mounts.iter().any(|mounting| {
                    mounting.point.name == wanted
                        || mounting.point.source == wanted
                        || mounting.point.destination == wanted
                })
            })
            && (self.networks.is_empty()
                || self.networks.iter().any(|name| {
                    *name == record.host.network_mode && !record.unplugged
                        || record.endpoints.contains_key(name)
                }))
            && filters.any("publish", |wanted| port_fits(wanted, |port| port.public_port))
            && filters.any("expose", |wanted| port_fits(wanted, |port| port.private_port))
            && filters.any("health", |wanted| wanted == health::word(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_described_for_people() {
        let hour = 3_600_000_000_000;
        let status = |phase| Status {
            phase,
            started_at: clock::print(0),
            finished_at: clock::print(hour),
            exit_code: 3,
            ..Status::default()
        };
        assert_eq!(describe(&status(Phase::Created), hour), "Created");
        assert_eq!(describe(&status(Phase::Running), 2 * hour), "Up 2 hours");
        assert_eq!(describe(&status(Phase::Paused), 2 * hour), "Up 2 hours (Paused)");
        assert_eq!(describe(&status(Phase::Exited), 3 * hour), "Exited (3) 2 hours ago");
        let restarting = describe(&status(Phase::Restarting), hour + 5_000_000_000);
        assert_eq!(restarting, "Restarting (3) 5 seconds ago");
    }

    #[test]
    fn a_command_is_one_line() {
        assert_eq!(command_line(&["sh".into(), "-c".into(), "a b".into()]), "sh -c 'a b'");
    }
}
