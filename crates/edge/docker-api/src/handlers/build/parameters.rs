//! What a build is asked for, from the query of its request.

use std::collections::{BTreeMap, BTreeSet};

use ::build::{Entitlements, Export, FrontendRequest, Request};
use docker::container::{Resources, Ulimit};
use dockerfile::git::GitRef;
use oci::Digest;
use reference::Reference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::BODY;
use crate::call::Call;
use crate::error::Error;
use crate::http::query::Query;
use crate::platform;

/// How a build is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Instruction by instruction.
    Classic,
    /// As BuildKit tells.
    BuildKit,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) generation: Generation,
    /// By what its client can cancel it.
    pub(super) build_id: String,
    pub(super) session: String,
    /// Where the context is, if not in the request.
    pub(super) remote: String,
    pub(super) request: Request,
    pub(super) frontend: FrontendRequest,
    /// Nothing is told but the image.
    pub(super) is_quiet: bool,
    /// It is told that containers of steps go. They do all the same.
    pub(super) tells_removal: bool,
    /// Nothing is taken from the cache.
    pub(super) no_cache: bool,
    pub(super) tags: Vec<Reference>,
    pub(super) arguments: BTreeMap<String, Option<String>>,
    pub(super) labels: BTreeMap<String, String>,
}

/// A result, in `outputs`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Output {
    r#type: String,
    attrs: Option<BTreeMap<String, String>>,
}

/// What a client calls its own session as a context.
const OF_SESSION: &str = "client-session";

impl Parameters {
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let query = &call.query;
        let generation = match query.text("version") {
            "" | "1" => Generation::Classic,
            "2" => Generation::BuildKit,
            other => return Err(Error::invalid(format!("invalid version {other:?}"))),
        };
        check(query)?;
        let tags = tags(query)?;
        let arguments: BTreeMap<String, Option<String>> =
            json(query, "buildargs", "error reading build args")?;
        let labels: BTreeMap<String, String> = json(query, "labels", "error reading labels")?;
        let mut asked = Self {
            generation,
            build_id: query.text("buildid").to_owned(),
            session: query.text("session").to_owned(),
            remote: query.text("remote").to_owned(),
            request: request(call, &tags)?,
            frontend: FrontendRequest::default(),
            is_quiet: query.bool("q"),
            tells_removal: query.bool_or("rm", true) || query.bool("forcerm"),
            no_cache: query.bool("nocache"),
            tags,
            arguments,
            labels,
        };
        asked.frontend = asked.frontend(query)?;
        asked.network(query.text("networkmode"))?;
        Ok(asked)
    }

    /// Whether the context is somewhere else.
    pub(super) fn is_remote(&self) -> bool {
        !self.remote.is_empty() && self.remote != OF_SESSION
    }

    fn frontend(&self, query: &Query) -> Result<FrontendRequest, Error> {
        let mut options = BTreeMap::new();
        let mut set = |key: &str, value: String| options.insert(key.to_owned(), value);
        match self.remote.as_str() {
            OF_SESSION => {}
            "" => _ = set("context", format!("http://buildkit-session/{BODY}")),
            remote => {
                let is_git = matches!(GitRef::parse(remote), Ok(Some(_)));
                if !is_git && !remote.starts_with("http://") && !remote.starts_with("https://") {
                    let why = format!("remoteURL ({remote}) could not be recognized as URL");
                    return Err(Error::internal(why));
                }
                set("context", remote.to_owned());
            }
        }
        let name = query.text("dockerfile");
        if !name.is_empty() {
            if name.split('/').any(|part| part == "..") {
                let why = format!("forbidden path outside the build context: {name} ()");
                return Err(Error::internal(why));
            }
            set("filename", name.to_owned());
        }
        for (key, value) in &self.arguments {
            if let Some(value) = value {
                set(&format!("build-arg:{key}"), value.clone());
            }
        }
        for (key, value) in &self.labels {
            set(&format!("label:{key}"), value.clone());
        }
        if let Some(platform) = platform::from_text(query.text("platform"))? {
            set("platform", platform.to_string());
        }
        let target = query.text("target");
        if !target.is_empty() {
            set("target", target.to_owned());
        }
        if query.bool("pull") {
            set("image-resolve-mode", "pull".into());
        }
        if self.no_cache {
            set("no-cache", String::new());
        }
        match query.number("shmsize") {
            Ok(Some(size)) if size > 0 => _ = set("shm-size", size.to_string()),
            _ => {}
        }
        let hosts = hosts(query)?;
        if !hosts.is_empty() {
            set("add-hosts", hosts);
        }
        let is_classic = self.generation == Generation::Classic;
        Ok(FrontendRequest { options, is_classic, ..FrontendRequest::default() })
    }

    fn network(&mut self, mode: &str) -> Result<(), Error> {
        let options = &mut self.frontend.options;
        match mode {
            "" | "default" | "bridge" => {}
            "none" => _ = options.insert("force-network-mode".into(), mode.into()),
            "host" => {
                options.insert("force-network-mode".into(), mode.into());
                self.request.entitlements =
                    Entitlements { network_host: true, ..Entitlements::default() };
            }
            other if self.generation == Generation::Classic => {
                other.clone_into(&mut self.request.network);
            }
            other => {
                let why = format!("network mode {other:?} not supported by buildkit");
                return Err(Error::internal(why));
            }
        }
        Ok(())
    }
}

/// Refuses what there is not.
fn check(query: &Query) -> Result<(), Error> {
    if query.bool("squash") {
        return Err(Error::invalid("squash is only supported with experimental mode"));
    }
    let isolation = query.text("isolation");
    if !matches!(isolation, "" | "default") {
        return Err(Error::invalid(format!("unsupported isolation: {isolation:?}")));
    }
    Ok(())
}

/// A parameter in JSON; `null` and nothing are the zero value. Keys are a person's own.
fn json<T: DeserializeOwned + Default>(query: &Query, key: &str, what: &str) -> Result<T, Error> {
    read(query.text(key).as_bytes(), what)
}

/// The same of what has fields, whose names are taken in any case.
fn fields<T: DeserializeOwned + Default>(query: &Query, key: &str, what: &str) -> Result<T, Error> {
    let mut text = query.text(key).as_bytes().to_vec();
    docker::fold_keys(&mut text);
    read(&text, what)
}

fn read<T: DeserializeOwned + Default>(text: &[u8], what: &str) -> Result<T, Error> {
    if text.is_empty() {
        return Ok(T::default());
    }
    let read: Result<Option<T>, _> = serde_json::from_slice(text);
    read.map(Option::unwrap_or_default).map_err(|error| {
        let why = if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            error.to_string()
        };
        Error::invalid(format!("{what}: {why}"))
    })
}

fn tags(query: &Query) -> Result<Vec<Reference>, Error> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in query.all("t").filter(|text| !text.is_empty()) {
        let parsed: Result<Reference, _> = text.parse();
        // In `dockerd`'s number for it.
        let parsed = parsed.map_err(|error| Error::internal(error.to_string()))?;
        if parsed.digest().is_some() {
            return Err(Error::internal("build tag cannot contain a digest"));
        }
        let parsed = parsed.with_default_tag();
        if !tags.contains(&parsed) {
            tags.push(parsed);
        }
    }
    Ok(tags)
}

fn request(call: &Call, tags: &[Reference]) -> Result<Request, Error> {
    let query = &call.query;
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let outputs: Vec<Output> = fields(query, "outputs", "invalid outputs specified")?;
    // As in `dockerd`, what is no number is none.
    let number = |key| query.number(key).ok().flatten().unwrap_or_default();
    let ulimits: Vec<Ulimit> = fields(query, "ulimits", "error reading ulimit settings")?;
    let limits = Resources {
        memory: number("memory"),
        memory_swap: number("memswap"),
        cpu_shares: number("cpushares"),
        cpu_period: number("cpuperiod"),
        cpu_quota: number("cpuquota"),
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        cgroup_parent: query.text("cgroupparent").to_owned(),
        ulimits: ulimits.into(),
        ..Resources::default()
    };
    let export = |kind: &str, mut options: BTreeMap<String, String>| {
        if matches!(kind, "image" | "moby") && !names.is_empty() {
            options.insert("name".into(), names.join(","));
        }
        Export { kind: kind.to_owned(), options }
    };
    let is_classic = query.text("version") != "2";
    let exports = match outputs.as_slice() {
        // The older builder knows no other.
        outputs if is_classic || outputs.is_empty() => vec![export("moby", BTreeMap::new())],
        outputs => outputs
            .iter()
            .map(|one| export(&one.r#type, one.attrs.clone().unwrap_or_default()))
            .collect(),
    };
    let cache_from: Vec<String> = json(query, "cachefrom", "error reading cache-from")?;
    let cache_within = (is_classic && !cache_from.is_empty()).then(|| here(call, &cache_from));
    Ok(Request { exports, limits, cache_within, tells_pulls: is_classic, ..Request::default() })
}

/// Those of the images that are here.
fn here(call: &Call, names: &[String]) -> Vec<Digest> {
    let images = call.engine.images();
    names.iter().filter_map(|name| images.resolve(name).ok()).map(|found| found.id).collect()
}

/// `HOST:ADDRESS`, to what the front end takes.
fn hosts(query: &Query) -> Result<String, Error> {
    let mut seen = BTreeSet::new();
    let mut hosts = Vec::new();
    for text in query.all("extrahosts").filter(|text| !text.is_empty()) {
        let bad = || Error::invalid(format!("bad format for add-host: {text:?}"));
        let (name, address) =
            text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
        let address =
            address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let is_name = !name.is_empty() && !name.contains([',', '"', '\n', ' ']);
        if !is_name || address.parse::<std::net::IpAddr>().is_err() && address != "host-gateway" {
            return Err(bad());
        }
        let host = format!("{name}={address}");
        if seen.insert(host.clone()) {
            hosts.push(host);
        }
    }
    Ok(hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_taken_in_any_case() {
        let query = Query::parse(
            r#"outputs=[{"type":"tar","attrs":null},{"Type":"local","Attrs":{"Dest":"x"}}]"#,
        );
        let outputs: Vec<Output> = fields(&query, "outputs", "outputs").unwrap();
        let kinds: Vec<&str> = outputs.iter().map(|one| one.r#type.as_str()).collect();
        assert_eq!(kinds, ["tar", "local"]);
        assert!(outputs[0].attrs.is_none());
        assert!(outputs[1].attrs.as_ref().is_some_and(|attrs| attrs.contains_key("Dest")));
        let query = Query::parse(r#"labels={"Name":"a","name":"b"}"#);
        let labels: BTreeMap<String, String> = json(&query, "labels", "labels").unwrap();
        assert_eq!(labels.len(), 2);
    }
}
