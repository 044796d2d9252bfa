//! A container's life.

use std::collections::BTreeMap;

use containers::{CreateOptions, ListOptions, RemoveOptions};
use docker::{
    ContainerInspect, CreateRequest, container::UpdateRequest, filters::Filters,
    timestamp::Timestamp,
};
use hyper::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    call::{Call, Reply, created, done, empty, ok, parse},
    error::Error,
    legacy, older, platform,
    until::Until,
    version::Version,
};

/// `GET /containers/json`
pub(crate) async fn list(call: Call) -> Reply {
    let limit = call.query.number("limit")?.unwrap_or(0);
    let options = ListOptions {
        all: call.query.bool("all"),
        limit: usize::try_from(limit).ok().filter(|limit| *limit > 0),
        size: call.query.bool("size"),
        filters: Filters::parse(call.query.text("filters"))?,
    };
    let list = call.shortly(move |engine| engine.list(&options)).await?;
    ok(&legacy::summaries(list, call.version))
}

/// What of a request is read once more.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Beside {
    /// Clients write it beside the host's configuration, into which it belongs (docker-py does).
    runtime: Option<String>,
    networking_config: Option<Endpoints>,
}

/// Which networks there are settings of: `null` is none.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoints {
    endpoints_config: Option<BTreeMap<String, Option<IgnoredAny>>>,
}

impl Beside {
    /// Refuses a network without settings, which an empty object would be.
    fn check(&self) -> Result<(), Error> {
        let endpoints =
            self.networking_config.as_ref().and_then(|all| all.endpoints_config.as_ref());
        let without = endpoints.into_iter().flatten().find(|(_, settings)| settings.is_none());
        let Some((name, _)) = without else { return Ok(()) };
        let name = if name == "default" { "bridge" } else { name.as_str() };
        Err(Error::invalid(format!("invalid config for network {name}: EndpointsConfig is nil")))
    }
}

impl docker::go::Request for Beside {
    fn go() -> Option<&'static docker::go::Type> {
        None
    }
}

/// Whether nothing is said of the container itself: there is no field but those beside its configuration. What
/// is no object is not told of here.
#[expect(clippy::zero_sized_map_values, reason = "an object cannot be read as a set")]
fn says_nothing(body: &[u8]) -> bool {
    let fields: Result<Option<BTreeMap<String, IgnoredAny>>, _> = serde_json::from_slice(body);
    let is_beside = |name: &String| matches!(name.as_str(), "HostConfig" | "NetworkingConfig");
    fields.is_ok_and(|fields| fields.is_none_or(|fields| fields.keys().all(is_beside)))
}

/// `POST /containers/create`
pub(crate) async fn create(mut call: Call) -> Reply {
    let nothing = || Error::invalid("invalid JSON: got EOF while reading request body");
    let body = call.container_text().await?.ok_or_else(nothing)?;
    let mut request: CreateRequest = parse(&body)?;
    if says_nothing(&body) {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let beside: Beside = parse(&body)?;
    beside.check()?;
    if request.host_config.runtime.is_empty() {
        request.host_config.runtime = beside.runtime.unwrap_or_default();
    }
    let name = call.query.get("name").map(|name| name.trim_start_matches('/').to_owned());
    let platform = match call.version {
        version if version < Version(41) => None,
        _ => platform::from_text(call.query.text("platform"))?,
    };
    let warnings = older::create(&mut request, call.version)?;
    let shallow_read_only = older::read_only_is_shallow(call.version);
    let mut response = call
        .shortly(move |engine| {
            let name = name.as_deref().filter(|name| !name.is_empty());
            let how = CreateOptions { platform: platform.as_ref(), shallow_read_only };
            engine.create_with(name, request, how)
        })
        .await?;
    response.warnings.extend(warnings);
    created(&response)
}

/// `GET /containers/ID/json`
pub(crate) async fn inspect(call: Call) -> Reply {
    let id = call.id.clone();
    let size = call.query.bool("size");
    let inspect: ContainerInspect = call.shortly(move |engine| engine.inspect(&id, size)).await?;
    ok(&legacy::container(&inspect, call.version)?)
}

/// `POST /containers/ID/start`
pub(crate) async fn start(call: Call) -> Reply {
    // Before v1.24 a host configuration could come with it.
    if call.has_body() && call.query.get("checkpoint").is_none() {
        let length = call.headers.get(hyper::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        // As much as `dockerd` takes for an empty one.
        if length.is_none_or(|length| length > 7) {
            return Err(Error::invalid(
                "starting container with non-empty request body was deprecated since API v1.22 \
                 and removed in v1.24",
            ));
        }
    }
    if call.query.get("checkpoint").is_some_and(|name| !name.is_empty()) {
        return Err(Error::invalid("checkpoint is only supported in experimental mode"));
    }
    let id = call.id.clone();
    call.shortly(move |engine| engine.start(&id)).await?;
    done()
}

/// `POST /containers/ID/stop`
pub(crate) async fn stop(call: Call) -> Reply {
    let (id, signal, timeout) = stopping(&call)?;
    call.engine(move |engine| engine.stop(&id, signal.as_deref(), timeout)).await?;
    done()
}

/// `POST /containers/ID/restart`
pub(crate) async fn restart(call: Call) -> Reply {
    let (id, signal, timeout) = stopping(&call)?;
    call.engine(move |engine| engine.restart(&id, signal.as_deref(), timeout)).await?;
    done()
}

fn stopping(call: &Call) -> Result<(String, Option<String>, Option<i64>), Error> {
    // Not so before v1.42.
    let asked = call.query.get("signal").filter(|_| call.version >= Version(42));
    let signal = asked.filter(|signal| !signal.is_empty()).map(str::to_owned);
    Ok((call.id.clone(), signal, call.query.number("t")?))
}

/// `POST /containers/ID/kill`
pub(crate) async fn kill(call: Call) -> Reply {
    let id = call.id.clone();
    let signal = match call.query.text("signal") {
        "" => "KILL".to_owned(),
        signal => signal.to_owned(),
    };
    call.engine(move |engine| engine.kill(&id, &signal)).await?;
    done()
}

/// `POST /containers/ID/pause`
pub(crate) async fn pause(call: Call) -> Reply {
    let id = call.id.clone();
    call.engine(move |engine| engine.pause(&id)).await?;
    done()
}

/// `POST /containers/ID/unpause`
pub(crate) async fn unpause(call: Call) -> Reply {
    let id = call.id.clone();
    call.engine(move |engine| engine.unpause(&id)).await?;
    done()
}

/// `POST /containers/ID/rename`
pub(crate) async fn rename(call: Call) -> Reply {
    let id = call.id.clone();
    let name = call.query.text("name").trim_start_matches('/').to_owned();
    if name.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    call.engine(move |engine| engine.rename(&id, &name)).await?;
    done()
}

/// `POST /containers/ID/update`
pub(crate) async fn update(mut call: Call) -> Reply {
    let mut request: UpdateRequest = call.json().await?;
    older::update(&mut request, call.version);
    let id = call.id.clone();
    ok(&call.engine(move |engine| engine.update(&id, &request)).await?)
}

/// `DELETE /containers/ID`
pub(crate) async fn remove(call: Call) -> Reply {
    let id = call.id.clone();
    let options = RemoveOptions {
        force: call.query.bool("force"),
        volumes: call.query.bool("v"),
        link: call.query.bool("link"),
    };
    call.engine(move |engine| engine.remove(&id, options)).await?;
    empty(StatusCode::NO_CONTENT)
}

/// `POST /containers/prune`
pub(crate) async fn prune(call: Call) -> Reply {
    let mut filters = call.query.filters(&["label", "label!", "until"])?;
    // The engine takes several.
    if let Some(until) = Until::of(&filters)?.instant() {
        filters.replace("until", Timestamp::from_nanos(until).to_string());
    }
    let pruned = call
        .engine(move |engine| {
            let pruned = engine.prune(&filters)?;
            let bytes = pruned.space_reclaimed.to_string();
            engine.tell_of("container", "prune", "", &[("reclaimed", &bytes)]);
            Ok::<_, Error>(pruned)
        })
        .await?;
    ok(&pruned)
}
