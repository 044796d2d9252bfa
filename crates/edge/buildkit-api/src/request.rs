//! Requests, from BuildKit's form to the builder's.

use std::collections::BTreeMap;

use build::{
    Attestations, CacheOption, Entitlements, Export, FrontendRequest, GuestRequest, Request,
};
use buildkit::{control, gateway};
use serde::Deserialize;
use tonic::Status;

use crate::failure;
use crate::session::rules::Rules;

/// The longest name of a build, in bytes.
const REF_BYTES: usize = 128;
/// The front end that is built in.
const BUILT_IN: &str = "dockerfile.v0";
/// Front ends that are the one that is built in, whatever version of it is asked for.
const DOCKERFILE_IMAGES: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// A build, as the control service is asked for it.
pub(crate) fn build(request: &control::SolveRequest) -> Result<Request, Status> {
    let cache = request.cache.clone().unwrap_or_default();
    let option = |entry: control::CacheOptionsEntry, is_export| {
        let option = CacheOption { kind: entry.r#type, options: entry.attrs };
        option.check(is_export).map_err(Status::invalid_argument)?;
        Ok::<_, Status>(option)
    };
    let (imports, exports) = (cache.imports.into_iter(), cache.exports.into_iter());
    let cache_from = imports.map(|entry| option(entry, false)).collect::<Result<_, _>>()?;
    let cache_to = exports.map(|entry| option(entry, true)).collect::<Result<_, _>>()?;
    let epoch = request.frontend_attrs.get("build-arg:SOURCE_DATE_EPOCH");
    let epoch = epoch.filter(|text| text.parse::<i64>().is_ok());
    let (cache_volumes, own_caches) = cache_places(&request.frontend_attrs)?;
    Ok(Request {
        id: name(&request.r#ref)?,
        exports: exporters(request).into_iter().map(|one| export(one, epoch)).collect(),
        asks_for_exports: request.enable_session_exporter,
        platforms: platforms(&request.frontend_attrs),
        cache_from,
        cache_to,
        entitlements: entitlements(&request.entitlements)?,
        attestations: Attestations::of(&request.frontend_attrs)
            .map_err(|error| failure::status(&error))?,
        tells_provenance: request.frontend_attrs.contains_key(TELL_PROVENANCE),
        cache_volumes,
        own_caches,
        proxy_network: request.proxy_network,
        ..Request::default()
    })
}

/// The platforms that are asked for; where nobody says, the machine's own.
fn platforms(attrs: &BTreeMap<String, String>) -> Vec<String> {
    match attrs.get("platform").filter(|text| !text.is_empty()) {
        Some(text) => text.split(',').map(str::to_owned).collect(),
        None => vec![oci::image::Platform::native().normalized().to_string()],
    }
}

/// The rules for its sources.
pub(crate) fn rules(request: &control::SolveRequest) -> Result<Rules, Status> {
    let rules = request.source_policy.as_ref().map(Rules::of).transpose();
    Ok(rules.map_err(Status::invalid_argument)?.unwrap_or_default())
}

/// What is to become of it, as it was said.
pub(crate) fn exporters(request: &control::SolveRequest) -> Vec<control::Exporter> {
    let mut exporters = request.exporters.clone();
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(control::Exporter {
            r#type: request.exporter_deprecated.clone(),
            attrs: request.exporter_attrs_deprecated.clone(),
        });
    }
    exporters
}

/// The time of the build is that of its exports, where they say no other.
fn export(exporter: control::Exporter, epoch: Option<&String>) -> Export {
    let mut options = exporter.attrs;
    if let Some(epoch) = epoch {
        options.entry("source-date-epoch".into()).or_insert_with(|| epoch.clone());
    }
    Export { kind: exporter.r#type, options }
}

/// The name of a build: in it a file of the history is called so.
pub(crate) fn name(text: &str) -> Result<String, Status> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > REF_BYTES || !text.bytes().all(is_name) {
        return Err(Status::invalid_argument("the build has no ref that could be one"));
    }
    Ok(text.to_owned())
}

/// Our own option: the provenance is told with what came of the build.
const TELL_PROVENANCE: &str = "dhow.tell-provenance";
/// Our own option: where a cache mount of this build is, by its id.
const CACHE_MOUNT: &str = "dhow.cache-mount:";

/// The names of places, by the ids of cache mounts.
type Places = BTreeMap<String, String>;

/// What cache mounts of this build are: volumes, and those that are its own, each in a name space that its
/// client has chosen. A place on the machine is not for a client to name.
fn cache_places(attrs: &BTreeMap<String, String>) -> Result<(Places, Places), Status> {
    let (mut volumes, mut own) = (BTreeMap::new(), BTreeMap::new());
    for (key, place) in attrs {
        let Some(id) = key.strip_prefix(CACHE_MOUNT) else { continue };
        let (kind, name) = place.split_once(':').unwrap_or_default();
        let is_word =
            name.len() <= REF_BYTES && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let named = match kind {
            "volume" => &mut volumes,
            "own" if is_word => &mut own,
            _ => return Err(no_place(key, place)),
        };
        if id.is_empty() || name.is_empty() {
            return Err(no_place(key, place));
        }
        named.insert(id.to_owned(), name.to_owned());
    }
    Ok((volumes, own))
}

fn no_place(key: &str, place: &str) -> Status {
    Status::invalid_argument(format!("{key}={place}: give volume:NAME or own:SPACE"))
}

/// What a build may do (`--allow`). What is not known is not allowed.
fn entitlements(names: &[String]) -> Result<Entitlements, Status> {
    let mut allowed = Entitlements::default();
    for name in names {
        match name.split_once('=').map_or(name.as_str(), |(name, _)| name) {
            "network.host" => allowed.network_host = true,
            "security.insecure" => allowed.insecure = true,
            "device" => allowed.devices = true,
            _ => {
                let text = format!("unknown entitlement {name:?}");
                return Err(Status::invalid_argument(text));
            }
        }
    }
    Ok(allowed)
}

/// A front end, and what is asked of it.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The image that it is; `None`: it is the one that is built in.
    pub(crate) image: Option<String>,
    pub(crate) request: FrontendRequest,
}

/// Caches that are named in a request of the gateway.
pub(crate) fn caches(imports: &[gateway::CacheOptionsEntry]) -> Result<Vec<CacheOption>, Status> {
    let option = |entry: &gateway::CacheOptionsEntry| {
        let option = CacheOption { kind: entry.r#type.clone(), options: entry.attrs.clone() };
        option.check(false).map_err(Status::invalid_argument)?;
        Ok(option)
    };
    imports.iter().map(option).collect()
}

/// What is asked of a front end, with its inputs by the names of results.
pub(crate) fn frontend(
    name: &str,
    options: &BTreeMap<String, String>,
    imports: &[gateway::CacheOptionsEntry],
    inputs: BTreeMap<String, String>,
) -> Result<Wanted, Status> {
    let image = image(name, options)?;
    let mut cache_from = caches(imports)?;
    if let Some(text) = options.get("cache-imports") {
        let imports: Vec<Import> = serde_json::from_str(text)
            .map_err(|error| Status::invalid_argument(format!("cache-imports: {error}")))?;
        cache_from.extend(
            imports
                .into_iter()
                .map(|import| CacheOption { kind: import.kind, options: import.attrs }),
        );
    }
    // An older way to say the same, of registries alone.
    if cache_from.is_empty()
        && let Some(names) = options.get("cache-from")
    {
        cache_from.extend(names.split(',').filter(|name| !name.is_empty()).map(|name| {
            let options = [("ref".to_owned(), name.to_owned())].into();
            CacheOption { kind: "registry".into(), options }
        }));
    }
    for option in &cache_from {
        option.check(false).map_err(Status::invalid_argument)?;
    }
    let options = options.clone();
    Ok(Wanted {
        image,
        request: FrontendRequest { options, inputs, cache_from, is_classic: false },
    })
}

/// An entry of the option `cache-imports`.
#[derive(Deserialize)]
struct Import {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Attrs", default)]
    attrs: BTreeMap<String, String>,
}

/// Whether a front end that is asked for by its image is the one that is built in: of such a name, and nothing is put in
/// the place of that image.
pub(crate) fn is_built_in(image: &str, options: &BTreeMap<String, String>) -> bool {
    let asked = GuestRequest {
        image: image.to_owned(),
        options: options.clone(),
        ..GuestRequest::default()
    };
    if asked.is_replaced() {
        return false;
    }
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let end = name.find([':', '@']).unwrap_or(name.len());
    image == BUILT_IN || DOCKERFILE_IMAGES.contains(&&name[..end])
}

/// The image that a front end is.
fn image(name: &str, options: &BTreeMap<String, String>) -> Result<Option<String>, Status> {
    match name {
        BUILT_IN => Ok(None),
        "gateway.v0" => match options.get("source").map_or("", String::as_str) {
            "" => Err(Status::invalid_argument("no source specified for gateway")),
            image => Ok(Some(image.to_owned()).filter(|image| !is_built_in(image, options))),
        },
        _ => Err(Status::unimplemented(format!("the front end {name} is not supported"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Security row H10: what is not known is not allowed.
    #[test]
    fn only_what_is_known_is_allowed() {
        let allowed = |names: &[&str]| {
            entitlements(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(allowed(&[]).unwrap(), Entitlements::default());
        assert!(allowed(&["network.host"]).unwrap().network_host);
        assert!(allowed(&["device=vendor.com/gpu=0"]).unwrap().devices);
        for name in ["", "security", "security.insecure2", "network", "NETWORK.HOST"] {
            assert!(allowed(&[name]).is_err(), "{name}");
        }
    }

    #[test]
    fn only_volumes_are_places_of_cache_mounts() {
        let of = |key: &str, place: &str| {
            cache_places(&[(key.to_owned(), place.to_owned())].into()).map_err(|_| ())
        };
        let none = BTreeMap::new();
        assert_eq!(of("target", "x").unwrap(), (none.clone(), none.clone()));
        let npm: BTreeMap<_, _> = [("/root/.npm".to_owned(), "npm".to_owned())].into();
        let found = of("dhow.cache-mount:/root/.npm", "volume:npm").unwrap();
        assert_eq!(found, (npm.clone(), none.clone()));
        assert_eq!(of("dhow.cache-mount:/root/.npm", "own:npm").unwrap(), (none, npm));
        for (key, place) in [
            ("npm", "/etc"),
            ("npm", "volume:"),
            ("", "volume:npm"),
            ("npm", "Volume:npm"),
            ("npm", "own:"),
            ("npm", "own:../x"),
            ("", "own:x"),
        ] {
            assert!(of(&format!("dhow.cache-mount:{key}"), place).is_err(), "{key}={place}");
        }
    }

    /// Security row H05: names become those of files.
    #[test]
    fn a_build_is_called_what_a_file_can_be() {
        assert!(name("9a8b_c-d").is_ok());
        for text in ["", "..", "../x", "a/b", "a.b", "a\0", &"a".repeat(200)] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_front_end_is_is_known_by_its_name() {
        let with = |name: &str, source: &str| {
            let options = [("source".to_owned(), source.to_owned())].into();
            frontend(name, &options, &[], BTreeMap::new()).map(|wanted| wanted.image)
        };
        assert_eq!(with("dockerfile.v0", "").unwrap(), None);
        for built_in in [
            "dockerfile.v0",
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.20-labs",
            "docker.io/docker/dockerfile@sha256:0",
            "docker.io/docker/dockerfile-upstream:master",
        ] {
            assert_eq!(with("gateway.v0", built_in).unwrap(), None, "{built_in}");
        }
        for other in
            ["evil/dockerfile:1", "docker/dockerfile-x", "x.io/docker/dockerfile", "dockerfile"]
        {
            assert_eq!(with("gateway.v0", other).unwrap().as_deref(), Some(other));
        }
        // Something else may be put in its place.
        let options = [
            ("source", "docker/dockerfile:1"),
            ("context:docker/dockerfile:1", "docker-image://x"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let replaced = frontend("gateway.v0", &options, &[], BTreeMap::new()).unwrap();
        assert_eq!(replaced.image.as_deref(), Some("docker/dockerfile:1"));
        assert!(with("gateway.v0", "").is_err());
        assert!(with("llb", "").is_err());
        let options =
            [("cache-imports".to_owned(), r#"[{"Type":"registry","Attrs":{"ref":"a"}}]"#.into())];
        let request =
            frontend("dockerfile.v0", &options.into(), &[], BTreeMap::new()).unwrap().request;
        assert_eq!(request.cache_from[0].options["ref"], "a");
        let options = [("cache-from".to_owned(), "a,b:1".to_owned())];
        let request =
            frontend("dockerfile.v0", &options.into(), &[], BTreeMap::new()).unwrap().request;
        let names: Vec<_> =
            request.cache_from.iter().map(|one| one.options["ref"].as_str()).collect();
        assert_eq!(names, ["a", "b:1"]);
    }
}
