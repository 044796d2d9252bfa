//! Telling all about one container.

use std::collections::HashMap;

use docker::container::{DriverData, Inspect, LogConfig, NetworkSettings, Platform, State};
use docker::image::Descriptor;
use docker::{ContainerConfig, EndpointSettings, HostConfig, List, Map, Words};
use shim_protocol::{ExecStatus, Phase, Status};
use snapshot::Mounts;

use crate::attachment::is_main;
use crate::engine::Engine;
use crate::intent::Intent;
use crate::ports::has_ports;
use crate::record::{Container, Record};
use crate::spec::namespaces::{Mode, mode};
use crate::spec::security::Security;
use crate::{Error, clock, list};

/// Ids and names of networks, by what containers call them: mostly many are in one, which is looked for once.
#[derive(Debug, Default)]
pub(crate) struct KnownNetworks(HashMap<String, Option<(String, String)>>);

impl KnownNetworks {
    /// The network that is called so; `None` where there is none.
    fn of(&mut self, engine: &Engine, called: &str) -> Option<&(String, String)> {
        if !self.0.contains_key(called) {
            let found = engine.networks.inspect(engine.db(), called).ok();
            self.0.insert(called.to_owned(), found.map(|network| (network.id, network.name)));
        }
        self.0.get(called)?.as_ref()
    }
}

impl Engine {
    /// All that is known of a container, with its sizes if asked for.
    pub fn inspect(&self, wanted: &str, size: bool) -> Result<Inspect, Error> {
        let container = self.find(wanted)?;
        let status = self.status(&container.id)?;
        let record = &container.record;
        let running = status.phase.is_up();
        let data = self.paths().data(&container.id);
        let file = |name: &str| data.join(name).to_string_lossy().into_owned();
        let has_log = record.host.log_config.driver == "json-file";
        let mut words = container.command().into_iter();
        let sizes = if size { Some(self.sizes(&container)?) } else { None };
        let layers = match self.layers(&container) {
            // It comes or goes in this moment: its record is there before, and goes last.
            Err(Error::Snapshot(snapshot::Error::NoSnapshot { .. })) => None,
            layers => layers?,
        };
        let mut shown_state =
            State { health: self.shown_health(&container.id, &status), ..state(&status) };
        if layers.is_none() && self.is_going(&container.id)? {
            list::REMOVING.clone_into(&mut shown_state.status);
        }
        let started = running || !status.started_at.is_empty();
        let path_of = |name: &str| if started { file(name) } else { String::new() };
        let links = match self.shown_links(&container)? {
            links if links.is_empty() => docker::List::NIL,
            links => links.into(),
        };
        Ok(Inspect {
            id: container.id.clone(),
            created: clock::print(container.created),
            path: words.next().unwrap_or_default(),
            args: words.collect(),
            state: shown_state,
            image: record.image_id.clone(),
            resolv_conf_path: path_of("resolv.conf"),
            hostname_path: path_of("hostname"),
            hosts_path: path_of("hosts"),
            log_path: if has_log {
                self.paths().log(&container.id).to_string_lossy().into_owned()
            } else {
                String::new()
            },
            name: format!("/{}", container.name),
            restart_count: status.restart_count.into(),
            driver: self.images.snapshots().name().into(),
            app_armor_profile: Security::parse(&record.host.security_opt)
                .map(|security| security.apparmor(record.host.privileged).to_owned())
                .unwrap_or_default(),
            platform: "linux".into(),
            mount_label: record.mount_label.clone(),
            process_label: record.process_label.clone(),
            exec_ids: match self.running_execs(&container.id) {
                none if none.is_empty() => List::NIL,
                running => running.into(),
            },
            host_config: shown_host(&record.host, links),
            graph_driver: layers.map(|layers| self.graph_driver(&container, &layers)),
            size_rw: sizes.map(|(own, _)| own),
            size_root_fs: sizes.map(|(_, all)| all),
            mounts: record.shown_mounts().collect(),
            config: ContainerConfig {
                mac_address: main_mac(record),
                labels: record.config.labels.clone().or_empty(),
                ..record.config.clone()
            },
            network_settings: NetworkSettings {
                sandbox_id: if running { container.id.clone() } else { String::new() },
                sandbox_key: if running && status.pid > 0 {
                    format!("/proc/{}/ns/net", status.pid)
                } else {
                    String::new()
                },
                ports: if running && has_ports(&record.host) {
                    record.ports.clone().or_empty()
                } else {
                    Map::empty()
                },
                networks: self.shown_networks(&container, running, &mut KnownNetworks::default()),
            },
            image_manifest_descriptor: self.image_manifest(record),
            ..Inspect::default()
        })
    }

    /// The manifest of the image that a container is made of, as long as it is here and can be read.
    pub(crate) fn image_manifest(&self, record: &Record) -> Option<Descriptor> {
        let found = self.images.manifest_descriptor(record.manifest.as_ref()?).ok()??;
        Some(Descriptor {
            media_type: found.media_type,
            digest: found.digest.to_string(),
            size: i64::try_from(found.size).unwrap_or(i64::MAX),
            platform: found.platform.map(|platform| Platform {
                architecture: platform.architecture,
                os: platform.os,
                os_version: platform.os_version.unwrap_or_default(),
                os_features: platform.os_features.into(),
                variant: platform.variant.unwrap_or_default(),
            }),
            ..Descriptor::default()
        })
    }

    /// The networks of a container: with its addresses while it runs, as asked for otherwise.
    pub(crate) fn shown_networks(
        &self,
        container: &Container,
        running: bool,
        known: &mut KnownNetworks,
    ) -> Map<EndpointSettings> {
        let record = &container.record;
        if running {
            return record.connected.clone().or_empty();
        }
        let mut networks = record.endpoints.clone().or_empty();
        if !record.unplugged && !matches!(mode(&record.host.network_mode), Mode::Container(_)) {
            networks.entry(record.host.network_mode.clone()).or_default();
        }
        // Whatever a client called a network by, it is shown by its name.
        let named =
            |(called, mut settings): (String, EndpointSettings)| match known.of(self, &called) {
                Some((id, name)) => {
                    // By which names it was found when it ran last.
                    let last = record.connected.get(name);
                    if let Some(last) = last.filter(|last| last.network_id == *id)
                        && settings.dns_names.is_nil()
                    {
                        settings.dns_names.clone_from(&last.dns_names);
                    }
                    settings.network_id.clone_from(id);
                    (name.clone(), settings)
                }
                None => (called, settings),
            };
        networks.into_map().into_iter().map(named).collect()
    }

    /// The directories that make the root.
    fn graph_driver(&self, container: &Container, mounts: &Mounts) -> DriverData {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let name = self.images.snapshots().name().to_owned();
        // It is mounted in the supervisor's own namespace, on the bundle's root.
        let merged = self.paths().run(&container.id).join("bundle").join(crate::spec::ROOTFS);
        let mut data = vec![("ID", container.id.clone()), ("MergedDir", text(&merged))];
        match mounts {
            Mounts::Overlay { lower, upper, work } => {
                let lower: Vec<String> = lower.iter().map(|path| text(path)).collect();
                data.push(("LowerDir", lower.join(":")));
                data.push(("UpperDir", text(upper)));
                data.push(("WorkDir", text(work)));
            }
            Mounts::Directory { root, .. } => data.push(("Dir", text(root))),
        }
        let data = data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        DriverData { data, name }
    }

    /// Whether it is being removed.
    pub(crate) fn is_going(&self, id: &str) -> Result<bool, Error> {
        let under_way = self.shared.db.read(|tx| tx.operations_on(id))?;
        Ok(under_way.iter().any(|one| one.kind == Intent::Remove.name()))
    }

    fn running_execs(&self, id: &str) -> Vec<String> {
        let execs = self.paths().execs(id);
        let Ok(entries) = std::fs::read_dir(&execs) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
        let running = |id: &String| ExecStatus::load(&execs, id).is_ok_and(|status| status.running);
        let mut ids: Vec<String> = ids.filter(running).collect();
        ids.sort();
        ids
    }
}

/// What is said of the machine, with the links as they are by now. What nothing was said of is nothing, not absent.
fn shown_host(host: &HostConfig, links: Words) -> HostConfig {
    let config = host.log_config.config.clone().or_empty();
    let log_config = LogConfig { config, ..host.log_config.clone() };
    HostConfig { links, log_config, ..host.clone() }
}

/// The address that was asked for on the main network: where older clients look for it.
fn main_mac(record: &Record) -> String {
    let asked = &record.config.mac_address;
    let of_network = record
        .endpoints
        .iter()
        .find(|(name, _)| is_main(&record.host, name))
        .map(|(_, settings)| settings.mac_address.clone());
    if asked.is_empty() { of_network.unwrap_or_default() } else { asked.clone() }
}

fn state(status: &Status) -> State {
    let time = |text: &String| {
        if text.is_empty() { docker::timestamp::ZERO.to_owned() } else { text.clone() }
    };
    State {
        status: list::state(status).into(),
        running: status.phase.is_alive(),
        paused: status.phase == Phase::Paused,
        restarting: status.phase == Phase::Restarting,
        oom_killed: status.oom_killed,
        dead: false,
        pid: if status.phase.is_up() { status.pid.into() } else { 0 },
        exit_code: if status.phase.is_up() { 0 } else { status.exit_code.into() },
        error: status.error.clone(),
        started_at: time(&status.started_at),
        finished_at: time(&status.finished_at),
        health: None,
    }
}
