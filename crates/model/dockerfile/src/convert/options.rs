//! What a build is asked for, beside the Dockerfile.

use std::collections::BTreeMap;

use buildgraph::{Device, HostEntry, Limits, Local, Network, Resolve, Ulimit};
use oci::image::Platform;

use super::limits;
use crate::check::Config;
use crate::csv;
use crate::mount::go_bool;
use crate::problem::Problem;

/// What is not to be taken from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Anything may.
    #[default]
    Nothing,
    /// Nothing may.
    All,
    /// The steps of these stages.
    Stages(Vec<String>),
}

impl NoCache {
    pub(crate) fn is_of(&self, stage: Option<&str>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Stages(stages) => {
                stage.is_some_and(|name| stages.iter().any(|one| one.eq_ignore_ascii_case(name)))
            }
        }
    }
}

/// What a build is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The stage that is wanted; none: the last one.
    pub target: Option<String>,
    /// Values of variables.
    pub build_args: BTreeMap<String, String>,
    /// Notes for the image.
    pub labels: BTreeMap<String, String>,
    /// Named contexts: `docker-image://…`, `oci-layout://…@…`, `local:…`, `input:…`, a repository, a URL.
    pub contexts: BTreeMap<String, String>,
    /// For what the image is to be; none: for the machine that builds.
    pub target_platform: Option<Platform>,
    /// What the machine is that builds, and what else it can run; none: this program's own.
    pub build_platforms: Vec<Platform>,
    /// The build is of several platforms, so that its steps say of which they are.
    pub multi_platform: bool,
    /// What is not to be taken from the cache.
    pub no_cache: NoCache,
    /// Where images are looked for.
    pub resolve: Resolve,
    /// The network of programs that do not say which.
    pub network: Network,
    /// Names that programs know.
    pub hosts: Vec<HostEntry>,
    /// Limits of programs.
    pub ulimits: Vec<Ulimit>,
    /// What programs may use of the machine.
    pub limits: Box<Limits>,
    /// The size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// The cgroup of programs.
    pub cgroup_parent: String,
    /// What programs think their machine is called.
    pub hostname: String,
    /// Devices of all programs.
    pub devices: Vec<Device>,
    /// What the names of caches begin with.
    pub cache_namespace: String,
    /// Which checks are made; none: as the Dockerfile says.
    pub checks: Option<Config>,
    /// Patterns of what is left out of the context.
    pub ignore: Vec<String>,
    /// The context.
    pub context: Context,
    /// The sessions that directories of the client are in, by their names; others are in the build's own.
    pub sessions: BTreeMap<String, String>,
    /// What directories of the client's are known by again, by the names of the contexts that they are.
    pub shared_keys: BTreeMap<String, String>,
    /// What the context was made of, where that is another source: the archive that was unpacked.
    pub context_origin: Option<buildgraph::Source>,
    /// All stages are looked at, as checks want it.
    pub all_stages: bool,
}

/// The context of a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Context {
    /// A directory of whoever asked for the build: what it is called, and what it is known by again.
    Local {
        /// `context`.
        name: String,
        /// The same directory in several builds.
        shared_key: String,
    },
    /// The same as a vertex of the builder's: a repository, an archive.
    Made(buildgraph::Source),
}

impl Default for Context {
    fn default() -> Self {
        Self::Local { name: "context".into(), shared_key: String::new() }
    }
}

impl Options {
    /// From the options of BuildKit's `dockerfile.v0` (`frontend/dockerui/config.go`). The platforms
    /// that are wanted are given beside, since each has a conversion of its own.
    pub fn of_frontend(given: &BTreeMap<String, String>) -> Result<(Self, Vec<Platform>), Problem> {
        let get = |key: &str| given.get(key).map(String::as_str).filter(|text| !text.is_empty());
        let with = |prefix: &str| {
            let found =
                given.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
            found.map(|(key, value)| (key.to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
        };
        let platforms = get("platform").map(platforms).transpose()?.unwrap_or_default();
        let is_multi = get("build-arg:BUILDKIT_MULTI_PLATFORM").or(get("multi-platform"));
        let checks = given.get("build-arg:BUILDKIT_DOCKERFILE_CHECK");
        let hostname = get("build-arg:BUILDKIT_SANDBOX_HOSTNAME").or(get("hostname"));
        let name = get("contextkey").unwrap_or("context");
        let shared_key = get(&format!("sharedkey:localdir:{name}")).unwrap_or_default();
        let options = Self {
            target: get("target").map(str::to_owned),
            build_args: with("build-arg:"),
            labels: with("label:"),
            contexts: with("context:"),
            sessions: with("local-sessionid:"),
            shared_keys: with("sharedkey:localdir:"),
            multi_platform: multi_platform(is_multi, platforms.len())?,
            no_cache: no_cache(given.get("no-cache")),
            resolve: resolve(get("image-resolve-mode"))?,
            network: network(get("force-network-mode"))?,
            hosts: get("add-hosts").map(hosts).transpose()?.unwrap_or_default(),
            ulimits: get("ulimit").map(ulimits).transpose()?.unwrap_or_default(),
            limits: Box::new(limits::limits(given)?),
            shm_size: get("shm-size").map(shm_size).transpose()?.flatten(),
            cgroup_parent: get("cgroup-parent").unwrap_or_default().into(),
            hostname: hostname.unwrap_or_default().into(),
            cache_namespace: get("build-arg:BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default().into(),
            checks: checks.map(|text| Config::parse(text)).transpose()?,
            context: Context::Local { name: "context".into(), shared_key: shared_key.into() },
            ..Self::default()
        };
        Ok((options, platforms))
    }

    /// A directory of the client's, in the session that is said to have it.
    pub fn local(&self, name: &str) -> Local {
        let mut local = Local { name: name.to_owned(), ..Local::default() };
        if let Some(session) = self.sessions.get(name) {
            local.set_session(session);
        }
        local
    }
}

fn bad(text: String) -> Problem {
    Problem::Option(text)
}

fn platforms(text: &str) -> Result<Vec<Platform>, Problem> {
    let one = |text: &str| match text.parse::<Platform>() {
        Ok(platform) => Ok(platform.normalized()),
        Err(error) => Err(bad(format!("failed to parse target platform {text}: {error}"))),
    };
    text.split(',').map(one).collect()
}

fn multi_platform(wanted: Option<&str>, n_platforms: usize) -> Result<bool, Problem> {
    let Some(text) = wanted else { return Ok(n_platforms > 1) };
    match go_bool(text) {
        None => Err(bad(format!("invalid boolean value for multi-platform: {text}"))),
        Some(false) if n_platforms > 1 => Err(bad(
            "conflicting config: returning multiple target platforms is not allowed".into(),
        )),
        Some(wanted) => Ok(wanted),
    }
}

fn no_cache(text: Option<&String>) -> NoCache {
    match text.map(String::as_str) {
        None => NoCache::Nothing,
        Some("") => NoCache::All,
        Some(stages) => NoCache::Stages(stages.split(',').map(str::to_owned).collect()),
    }
}

fn resolve(text: Option<&str>) -> Result<Resolve, Problem> {
    match text {
        // BuildKit asks the registry first by default. Docker's clients ask for what is here first, and we do so anyway.
        None | Some("default" | "local") => Ok(Resolve::Default),
        Some("pull") => Ok(Resolve::Pull),
        Some(other) => Err(bad(format!("invalid image-resolve-mode: {other}"))),
    }
}

fn network(text: Option<&str>) -> Result<Network, Problem> {
    match text {
        None | Some("sandbox" | "default") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(bad(format!("invalid netmode {other}"))),
    }
}

fn hosts(text: &str) -> Result<Vec<HostEntry>, Problem> {
    let fields = csv::fields(text)
        .map_err(|error| bad(format!("failed to parse additional hosts: {error}")))?;
    let host = |field: String| {
        let lower = field.to_lowercase();
        let Some((name, address)) = lower.split_once('=') else {
            let text = format!("failed to parse additional hosts: invalid key-value pair {field}");
            return Err(bad(text));
        };
        if address.parse::<std::net::IpAddr>().is_err() && address != "host-gateway" {
            let text = format!("failed to parse additional hosts: failed to parse IP {address}");
            return Err(bad(text));
        }
        Ok(HostEntry { name: name.into(), address: address.into() })
    };
    fields.into_iter().map(host).collect()
}

/// `nofile=1024:2048`, with commas between several.
fn ulimits(text: &str) -> Result<Vec<Ulimit>, Problem> {
    let refuse =
        |text: &str| bad(format!("failed to parse ulimit: invalid ulimit argument: {text}"));
    let fields = csv::fields(text).map_err(|_| refuse(text))?;
    let limit = |field: String| {
        let (name, limits) = field.split_once('=').ok_or_else(|| refuse(&field))?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| text.parse::<i64>().map_err(|_| refuse(&field));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft > hard || soft == -1) {
            let text = "failed to parse ulimit: ulimit soft limit must be less than or equal to \
                        hard limit";
            return Err(bad(format!("{text}: {soft} > {hard}")));
        }
        Ok(Ulimit { name: name.to_lowercase(), soft, hard })
    };
    fields.into_iter().map(limit).collect()
}

fn shm_size(text: &str) -> Result<Option<u64>, Problem> {
    let size = text.parse::<u64>().map_err(|_| bad(format!("failed to parse shm size: {text}")))?;
    Ok((size > 0).then_some(size))
}
