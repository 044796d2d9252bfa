//! The engine itself.

use std::{
    io::{self, Write},
    os::fd::AsFd,
};

use cgroup::{Hierarchy, Mode};
use containers::{Engine, ListOptions};
use docker::{
    List, Map,
    filters::Filters,
    system::{
        Commit, Component, DeviceInfo, DiskUsage, FirewallInfo, Info, PlatformName, Plugins,
        Runtime, Swarm, Version as VersionReply,
    },
    timestamp::Timestamp,
};
use hyper::{
    StatusCode,
    header::{ACCEPT, CACHE_CONTROL, HeaderValue, PRAGMA},
};
use images::LayerUsage;

use crate::{
    call::{Call, Reply, ok, reply},
    error::Error,
    handlers::{build, image, registry},
    http::{
        body::{BodyWriter, ReplyBody, pieces},
        connection::Answer,
        gone::leash,
    },
    legacy,
    machine::Machine,
    until::instant,
    version::Version,
};

/// Ours.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Clients build with BuildKit's API where this is said.
const BUILDKIT: &str = "2";
/// With the older one where this is.
const CLASSIC: &str = "1";

/// `GET /_ping` and `HEAD /_ping`
pub(crate) async fn ping(call: Call) -> Reply {
    let mut answer =
        reply(StatusCode::OK, "text/plain; charset=utf-8", ReplyBody::Whole("OK".into()));
    if let Answer::Reply(response) = &mut answer {
        let headers = response.headers_mut();
        let never = HeaderValue::from_static("no-cache, no-store, must-revalidate");
        headers.insert(CACHE_CONTROL, never);
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert("Swarm", HeaderValue::from_static("inactive"));
        if call.upgrades.is_some() {
            let is_off = call.engine.settings().features.get("buildkit") == Some(&false);
            let version = HeaderValue::from_static(if is_off { CLASSIC } else { BUILDKIT });
            headers.insert("Builder-Version", version);
        }
    }
    Ok(answer)
}

/// `GET /version`
pub(crate) async fn version(call: Call) -> Reply {
    let machine = call.engine(|_| Ok::<_, Error>(Machine::read())).await?;
    let details = Map::from_iter(
        [
            ("ApiVersion", docker::API_VERSION),
            ("MinAPIVersion", docker::MIN_API_VERSION),
            ("Os", "linux"),
            ("Arch", machine.go_arch()),
            ("KernelVersion", &machine.kernel),
            ("Experimental", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    ok(&VersionReply {
        platform: PlatformName { name: "dhow".to_owned() },
        components: vec![Component {
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details,
        }]
        .into(),
        version: VERSION.to_owned(),
        api_version: docker::API_VERSION.to_owned(),
        min_api_version: docker::MIN_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch: machine.go_arch().to_owned(),
        kernel_version: machine.kernel,
        ..VersionReply::default()
    })
}

/// `GET /info`
pub(crate) async fn info(call: Call) -> Reply {
    let mut info = call.engine(information).await?;
    info.warnings.extend(call.warnings.iter().cloned());
    ok(&legacy::info(&info, call.version)?)
}

fn discovered_devices(engine: &Engine) -> List<DeviceInfo> {
    let all = engine.device_specifications();
    let names = all.catalog.entries().map(|(name, _)| name.to_string());
    names.map(|id| DeviceInfo { source: "cdi".to_owned(), id }).collect()
}

fn information(engine: &Engine) -> Result<Info, Error> {
    let machine = Machine::read();
    let counts = engine.counts()?;
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<List<_>>();
    let runtimes = engine.runtimes().into_iter().map(|(name, setting)| {
        let args = setting.runtime_args.into();
        (name, Runtime { path: setting.path, args, ..Runtime::default() })
    });
    let store = engine.images().snapshots();
    let ours = Commit { id: VERSION.to_owned() };
    let settings = engine.settings();
    let cdi = settings.cdi_dirs();
    let registries = registry::of_this_machine();
    let [http_proxy, https_proxy, no_proxy] = registries.proxies.shown();
    let mut info = Info {
        id: id(engine),
        containers: counts.total as i64,
        containers_running: counts.running as i64,
        containers_paused: counts.paused as i64,
        containers_stopped: counts.stopped as i64,
        images: engine.images().list(&Filters::default())?.len() as i64,
        driver: store.name().to_owned(),
        driver_status: store
            .status()
            .into_iter()
            .map(|(name, value)| List::from(vec![name.to_owned(), value]))
            .collect(),
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "ipvlan", "macvlan", "null"]),
            authorization: List::NIL,
            log: words(&["journald", "json-file", "local", "none", "syslog"]),
        },
        ipv4_forwarding: machine.forwards_ipv4,
        system_time: Timestamp::from(std::time::SystemTime::now()).to_string(),
        logging_driver: match settings.log_driver.as_str() {
            "" => "json-file".to_owned(),
            driver => driver.to_owned(),
        },
        kernel_version: machine.kernel,
        operating_system: machine.os,
        os_version: machine.os_version,
        os_type: "linux".to_owned(),
        architecture: machine.hardware,
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(registry::shown(&registries)),
        ncpu: machine.cpus,
        mem_total: machine.memory,
        docker_root_dir: engine.root().display().to_string(),
        http_proxy,
        https_proxy,
        no_proxy,
        name: machine.host_name,
        labels: settings.labels.clone().into(),
        server_version: VERSION.to_owned(),
        runtimes: runtimes.collect(),
        default_runtime: engine.default_runtime(),
        swarm: Swarm { local_node_state: "inactive".to_owned(), ..Swarm::default() },
        live_restore_enabled: true,
        init_binary: String::new(),
        runc_commit: ours,
        security_options: security_options(engine),
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: List::NIL }),
        discovered_devices: discovered_devices(engine),
        cdi_spec_dirs: cdi.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
        warnings: List::NIL,
        ..Info::default()
    };
    if engine.has_cgroups() {
        limits(&mut info);
    } else {
        "none".clone_into(&mut info.cgroup_driver);
        "2".clone_into(&mut info.cgroup_version);
    }
    info.warnings.extend(engine.rootless_warnings());
    info.warnings.extend(engine.selinux_warning().map(str::to_owned));
    if settings.shown_profile() != "builtin" {
        info.warnings.push("WARNING: daemon is not using the default seccomp profile".to_owned());
    }
    let say = |key| format!("WARNING: daemon.json: \"{key}\" has no effect");
    info.warnings.extend(settings.unused().map(say));
    Ok(info)
}

/// This engine's own id, in the form of a UUID: the same as long as machine and root are.
pub(crate) fn id(engine: &Engine) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let digest = oci::Digest::sha256(format!("{machine}{}", engine.root().display()).as_bytes());
    let hex = digest.hex();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]];
    parts.join("-")
}

fn security_options(engine: &Engine) -> docker::Words {
    let settings = engine.settings();
    let seccomp = format!("name=seccomp,profile={}", settings.shown_profile());
    let mut options = Vec::new();
    options.extend(engine.confines_by_apparmor().then_some("name=apparmor"));
    options.push(seccomp.as_str());
    options.extend(engine.labels_by_selinux().then_some("name=selinux"));
    options.extend(engine.is_rootless().then_some("name=rootless"));
    options.push("name=cgroupns");
    options.into_iter().map(str::to_owned).collect::<Vec<_>>().into()
}

/// What the cgroup hierarchy can limit, and a warning for what it cannot.
fn limits(info: &mut Info) {
    "cgroupfs".clone_into(&mut info.cgroup_driver);
    let Ok(hierarchy) = Hierarchy::detect() else {
        info.warnings.push("WARNING: No cgroup hierarchy found".to_owned());
        return;
    };
    let has = |controller| hierarchy.has(controller);
    let v2 = hierarchy.mode() == Mode::V2;
    (if v2 { "2" } else { "1" }).clone_into(&mut info.cgroup_version);
    info.memory_limit = has("memory");
    info.swap_limit = hierarchy.has_swap_limit();
    info.oom_kill_disable = has("memory") && !v2;
    info.cpu_cfs_period = has("cpu");
    info.cpu_cfs_quota = has("cpu");
    info.cpu_shares = has("cpu");
    info.cpu_set = has("cpuset");
    info.pids_limit = has("pids");
    for (able, what) in [
        (info.memory_limit, "memory limit"),
        (info.swap_limit, "swap limit"),
        (info.cpu_cfs_quota, "cpu cfs quota"),
        (info.cpu_set, "cpuset"),
        (info.pids_limit, "pids limit"),
    ] {
        if !able {
            info.warnings.push(format!("WARNING: No {what} support"));
        }
    }
}

/// `GET /plugins`: there are none.
pub(crate) async fn plugins(call: Call) -> Reply {
    call.query.filters(&["capability", "enabled"])?.bool("enabled")?;
    ok(&[(); 0])
}

/// `GET /plugins/NAME/json`, where clients look when they look everywhere, and all else about a plugin.
pub(crate) async fn plugin(call: Call) -> Reply {
    Err(Error::not_found(format!("plugin {:?} not found", call.id)))
}

/// `GET /events`
pub(crate) async fn events(call: Call) -> Reply {
    let bound = |key: &str| match call.query.text(key) {
        "" => Ok(None),
        text => instant(text).map(Some),
    };
    let (since, until) = (bound("since")?, bound("until")?);
    if until.is_some_and(|until| since.is_some_and(|since| until < since)) {
        let (since, until) = (call.query.text("since"), call.query.text("until"));
        return Err(Error::invalid(format!(
            "`since` time ({since}) cannot be after `until` time ({until})"
        )));
    }
    let filters = Filters::parse(call.query.text("filters"))?;
    let form = form(&call);
    let mut events = call.engine(move |engine| engine.events(since, until, filters)).await?;
    let (leash, gone) = leash()?;
    let (sender, body) = pieces();
    let version = call.version;
    let client = sender.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut out = BodyWriter::new(sender);
        // An error ends the stream as the last event does: there is nothing to put it in.
        while let Ok(Some(event)) = events.next(Some(gone.as_fd())) {
            let event = legacy::event(event, version);
            let sent = serde_json::to_vec(&event).map_err(io::Error::other).and_then(|mut line| {
                line.push(b'\n');
                if form == JSON_SEQUENCE {
                    line.insert(0, RECORD_SEPARATOR);
                }
                out.write_all(&line)
            });
            if sent.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        // The body ends only when nobody holds a sender of it: so not longer than is read.
        tokio::select! {
            () = client.closed() => {}
            _ = reading => {}
        }
        drop(leash);
    });
    Ok(reply(StatusCode::OK, form, body))
}

const JSON: &str = "application/json";
const JSON_SEQUENCE: &str = "application/json-seq";
/// What a record of it begins with (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// In which form a client wants its events; of several the one that it likes best (`q`).
fn form(call: &Call) -> &'static str {
    let known: &[&'static str] = match call.version {
        Version(53..) => &[JSON, "application/jsonl", "application/x-ndjson", JSON_SEQUENCE],
        Version(52) => &[JSON, "application/x-ndjson", JSON_SEQUENCE],
        Version(_) => &[],
    };
    let mut best = (JSON, 0.0);
    for accept in call.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for offer in accept.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let q = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
            let q: f32 = q.parse().unwrap_or(0.0);
            if let Some(known) = known.iter().find(|one| media.eq_ignore_ascii_case(one))
                && q > best.1
            {
                best = (known, q);
            }
        }
    }
    best.0
}

/// `GET /system/df`
pub(crate) async fn disk_usage(call: Call) -> Reply {
    // Not so before v1.42.
    let kinds: Vec<&str> = call.query.all("type").filter(|_| call.version >= Version(42)).collect();
    for kind in &kinds {
        if !matches!(*kind, "container" | "image" | "volume" | "build-cache") {
            return Err(Error::invalid(format!("unknown object type: {kind}")));
        }
    }
    let wanted = |kind| kinds.is_empty() || kinds.contains(&kind);
    let (containers, images, volumes) = (wanted("container"), wanted("image"), wanted("volume"));
    let build_cache = wanted("build-cache");
    let version = call.version;
    let (mut usage, layers) = call
        .engine(move |engine| {
            let mut usage = DiskUsage::default();
            let mut layers = LayerUsage::default();
            if containers {
                let all = ListOptions { all: true, size: true, ..ListOptions::default() };
                let mut containers = legacy::summaries(engine.list(&all)?, version);
                for one in &mut containers {
                    // As in Docker: only who asks for containers is told.
                    one.image_manifest_descriptor = None;
                }
                usage.containers = containers.into();
            }
            if images {
                let list = engine.images().list(&Filters::default())?;
                layers = engine.images().layer_usage()?;
                usage.layers_size = layers.total as i64;
                usage.images = list.iter().map(|one| image::summary(one, Some(&layers))).collect();
            }
            if volumes {
                usage.volumes = engine.volumes_with_usage()?.into();
            }
            Ok::<_, Error>((usage, layers))
        })
        .await?;
    if build_cache {
        usage.build_cache = build::usage(&call).await?;
    }
    ok(&legacy::disk_usage(&usage, layers.active, call.version, call.query.bool("verbose"))?)
}
