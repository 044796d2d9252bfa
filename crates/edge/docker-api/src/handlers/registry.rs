//! Pulling, pushing, and proving who one is: what leads to a registry, told line by line.

use std::sync::Arc;

use ::registry::{Credentials, Hosts, Settings, server_domain};
use docker::List;
use docker::progress::{Detail, Message};
use docker::system::{AuthConfig, AuthResponse, IndexInfo, RegistryConfig};
use hyper::StatusCode;
use oci::image::Platform;
use reference::Reference;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transfer::{Event, Events, Layer, Request};

use crate::{
    call::{Call, Reply, blocking, ok, reply},
    error::Error,
    handlers::image::lines,
    http::body::{Broken, pieces},
    names::{parse, parse_pair, pushed},
    platform,
};

pub(crate) const AUTH: &str = "X-Registry-Auth";

/// `POST /images/create?fromImage=…`
pub(crate) async fn pull(call: Call, platform: Option<Platform>) -> Reply {
    let reference = wanted(call.query.text("fromImage"), call.query.text("tag"))?;
    // Without a tag all are meant; clients send the one that people leave out.
    let all = reference.tag().is_none() && reference.digest().is_none();
    if call.engine.images().is_built_in(&reference.clone().with_default_tag()) {
        return built_in(&call, reference.with_default_tag()).await;
    }
    let request = request(&call, reference, platform).await?;
    let engine = Arc::clone(&call.engine);
    told(move |events| async move {
        let images = engine.images();
        if all {
            transfer::pull_all(images, &request, &events).await?;
        } else {
            transfer::pull(images, &request, &events).await?;
        }
        engine.tell_of_reference("pull", &request.reference);
        Ok(())
    })
    .await
}

/// What is to be pulled: as in `dockerd`, of two tags the one that is a parameter counts.
fn wanted(name: &str, tag: &str) -> Result<Reference, Error> {
    let named = parse(name.strip_suffix(':').unwrap_or(name))?;
    match named.digest() {
        _ if tag.is_empty() => Ok(named),
        Some(digest) if !tag.contains(':') => parse(&format!("{}:{tag}@{digest}", named.name())),
        _ => parse_pair(&named.name(), tag),
    }
}

/// What comes with the program is as new as the program.
async fn built_in(call: &Call, reference: Reference) -> Reply {
    let familiar = reference.familiar();
    let name = familiar.clone();
    call.engine(move |engine| engine.images().resolve(&name)).await?;
    lines(&[
        Message {
            id: reference.tag().unwrap_or_default().to_owned(),
            ..Message::status(format!("Pulling from {}", reference.path()))
        },
        Message::status(format!("Status: Image is up to date for {familiar}")),
    ])
}

/// `POST /images/NAME/push`
pub(crate) async fn push(call: Call) -> Reply {
    let tag = call.query.text("tag");
    let reference = pushed(&call.id, tag)?;
    let all = reference.tag().is_none();
    let platform = platform::from_json(call.query.text("platform"))?;
    let request = request(&call, reference, platform).await?;
    let engine = Arc::clone(&call.engine);
    told(move |events| async move {
        transfer::push(engine.images(), &request, all, &events).await?;
        engine.tell_of_reference("push", &request.reference);
        Ok(())
    })
    .await
}

/// `POST /auth`
pub(crate) async fn auth(mut call: Call) -> Reply {
    let given: AuthConfig = call.json().await?;
    let domain = server_domain(&given.server_address).to_owned();
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let credentials = Credentials {
        username: given.username,
        password: given.password,
        identity_token: some(given.identity_token),
        registry_token: some(given.registry_token),
    };
    let hosts = hosts(settings().await?, domain, Some(credentials)).await?;
    let Some(registry) = hosts.itself() else {
        let why = format!("hosts.toml: {} is not among the hosts that are asked", hosts.domain());
        return Err(Error::invalid(why));
    };
    let identity_token = registry.log_in().await?.unwrap_or_default();
    ok(&AuthResponse { status: "Login Succeeded".into(), identity_token })
}

/// `GET /distribution/NAME/json`
pub(crate) async fn distribution(call: Call) -> Reply {
    let reference = parse(&call.id)?.with_default_tag();
    let request = request(&call, reference, None).await?;
    let domain = request.reference.domain().to_owned();
    let hosts = hosts(request.settings, domain, request.credentials).await?;
    let repository = hosts.last().repository(request.reference.path());
    let (descriptor, platforms) = repository.describe(&request.reference).await?;
    ok(&serde_json::json!({ "Descriptor": descriptor, "Platforms": platforms }))
}

async fn request(
    call: &Call,
    reference: Reference,
    platform: Option<Platform>,
) -> Result<Request, Error> {
    let header = call.headers.get(AUTH).map(|value| value.to_str().unwrap_or("?"));
    let credentials = Credentials::from_header(header.unwrap_or_default());
    Ok(Request { reference, platform, credentials, settings: settings().await? })
}

/// Whom to ask; files may be read for it.
async fn hosts(
    settings: Settings,
    domain: String,
    credentials: Option<Credentials>,
) -> Result<Hosts, Error> {
    blocking(move || Hosts::of(&settings, &domain, credentials.as_ref())).await
}

/// Files may be read for it.
pub(crate) async fn settings() -> Result<Settings, Error> {
    blocking(|| Settings::of_this_machine(&|name| std::env::var(name).ok())).await
}

/// How registries are reached, for information: nothing is said where the files are wrong.
pub(crate) fn of_this_machine() -> Settings {
    Settings::of_this_machine(&|name| std::env::var(name).ok()).unwrap_or_default()
}

/// What is set for registries, as `info` has it.
pub(crate) fn shown(settings: &Settings) -> RegistryConfig {
    let (networks, hosts): (Vec<&String>, Vec<&String>) =
        settings.insecure.iter().partition(|one| is_network(one));
    let networks = networks.into_iter().map(String::as_str).chain(["::1/128", "127.0.0.0/8"]);
    let mirrors: Vec<String> =
        settings.mirrors.iter().map(|one| format!("{}/", one.trim_end_matches('/'))).collect();
    let plain = |name: &String| IndexInfo {
        name: name.clone(),
        mirrors: List::empty(),
        ..IndexInfo::default()
    };
    let official = IndexInfo {
        name: "docker.io".to_owned(),
        mirrors: mirrors.clone().into(),
        secure: true,
        official: true,
    };
    let indices = hosts.into_iter().map(plain).chain([official]);
    RegistryConfig {
        insecure_registry_cidrs: networks.map(str::to_owned).collect::<Vec<_>>().into(),
        index_configs: indices.map(|one| (one.name.clone(), one)).collect(),
        mirrors: if mirrors.is_empty() { List::NIL } else { mirrors.into() },
    }
}

/// Whether an entry is a network, `10.0.0.0/8`.
fn is_network(entry: &str) -> bool {
    let Some((address, bits)) = entry.split_once('/') else { return false };
    address.parse::<std::net::IpAddr>().is_ok() && bits.parse::<u8>().is_ok()
}

/// Runs `work`, and answers with what it tells, a line of JSON each. What fails before there is
/// anything to tell is an error with its status; later it is the last line.
async fn told<F, W>(work: F) -> Reply
where
    F: FnOnce(Arc<Events>) -> W,
    W: Future<Output = Result<(), transfer::Error>> + Send + 'static,
{
    let (teller, mut events) = mpsc::unbounded_channel::<Event>();
    let tell: Arc<Events> = Arc::new(move |event| {
        // Nobody listens any more; then the work is being ended.
        _ = teller.send(event);
    });
    // A set ends its tasks when it is dropped: with the client, or with this request.
    let mut tasks = JoinSet::new();
    tasks.spawn(work(tell));
    let Some(first) = events.recv().await else {
        end(&mut tasks).await?;
        return lines(&[]);
    };
    let (sender, body) = pieces();
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(event) = next {
            for message in messages(event) {
                if sender.send(line(&message)).await.is_err() {
                    return;
                }
            }
            next = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            };
        }
        if let Err(err) = end(&mut tasks).await {
            // A client that has gone knows that it does not know.
            _ = sender.send(line(&Message::error(err.message))).await;
        }
    });
    Ok(reply(StatusCode::OK, "application/json", body))
}

async fn end(tasks: &mut JoinSet<Result<(), transfer::Error>>) -> Result<(), Error> {
    match tasks.join_next().await {
        Some(Ok(result)) => Ok(result?),
        Some(Err(err)) => Err(Error::internal(format!("the transfer panicked: {err}"))),
        None => Ok(()),
    }
}

pub(crate) fn line(message: &Message) -> Result<bytes::Bytes, Broken> {
    let mut line = serde_json::to_vec(message).map_err(|_| Broken)?;
    line.extend_from_slice(b"\r\n");
    Ok(line.into())
}

/// In `dockerd`'s words.
fn messages(event: Event) -> Vec<Message> {
    match event {
        Event::Pulling { tag, repository } => {
            vec![Message { id: tag, ..Message::status(format!("Pulling from {repository}")) }]
        }
        Event::Pushing { repository } => {
            vec![Message::status(format!("The push refers to repository [{repository}]"))]
        }
        Event::Layer { id, layer } => of_layer(&id, &layer),
        Event::Passed { host, why } => {
            vec![Message::status(format!("{host}: {why}; asking the next host"))]
        }
        Event::From { host } => vec![Message::status(format!("Mirror: {host}"))],
        Event::Pulled { digest, name, is_same } => {
            let what = if is_same { "Image is up to date" } else { "Downloaded newer image" };
            vec![
                Message::status(format!("Digest: {digest}")),
                Message::status(format!("Status: {what} for {name}")),
            ]
        }
        Event::Instead { index, manifest } => vec![aux(serde_json::json!({
            "manifestPushedInsteadOfIndex": true,
            "originalIndex": index,
            "selectedManifest": manifest,
        }))],
        Event::Missing(index) => {
            vec![aux(serde_json::json!({ "contentMissing": true, "desc": index }))]
        }
        Event::Pushed { tag, digest, size } => vec![
            Message::status(format!("{tag}: digest: {digest} size: {size}")),
            aux(serde_json::json!({ "Tag": tag, "Digest": digest.to_string(), "Size": size })),
        ],
    }
}

/// What is not for the terminal.
fn aux(value: serde_json::Value) -> Message {
    Message { progress_detail: Some(Detail::default()), aux: Some(value), ..Message::default() }
}

fn of_layer(id: &str, layer: &Layer) -> Vec<Message> {
    let detail = |current: u64, total: u64| Detail {
        current: current as i64,
        total: total as i64,
        ..Detail::default()
    };
    let message = |status: &str, progress_detail: Option<Detail>| Message {
        id: id.to_owned(),
        progress_detail,
        ..Message::status(status)
    };
    let plain = |status: &str| vec![message(status, Some(Detail::default()))];
    match layer {
        Layer::Found => plain("Pulling fs layer"),
        Layer::Waiting => plain("Waiting"),
        Layer::Downloading(at, of) => vec![message("Downloading", Some(detail(*at, *of)))],
        Layer::Downloaded => plain("Download complete"),
        Layer::Extracting(at, of) => vec![message("Extracting", Some(detail(*at, *of)))],
        Layer::Complete => plain("Pull complete"),
        Layer::Here => plain("Already exists"),
        Layer::Preparing => plain("Preparing"),
        Layer::Pushing(at, of) => vec![message("Pushing", Some(detail(*at, *of)))],
        Layer::Pushed => plain("Pushed"),
        Layer::Mounted(from) => plain(&format!("Mounted from {from}")),
        Layer::There => plain("Layer already exists"),
        Layer::Foreign => plain("Skipped foreign layer"),
    }
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    fn said(event: Event) -> String {
        let messages = messages(event);
        let lines = messages.iter().map(|one| serde_json::to_string(one).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn dockers_lines() {
        let layer = |layer| said(Event::Layer { id: "abc".into(), layer });
        let digest = Digest::sha256(b"");
        let pulled =
            Event::Pulled { digest: digest.clone(), name: "debian:12".into(), is_same: true };
        let pushed = Event::Pushed { tag: "1".into(), digest: digest.clone(), size: 7 };
        for (got, want) in [
            (
                said(Event::Pulling { tag: "12".into(), repository: "library/debian".into() }),
                r#"{"status":"Pulling from library/debian","id":"12"}"#.to_owned(),
            ),
            (
                layer(Layer::Found),
                r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#.to_owned(),
            ),
            (
                layer(Layer::Downloading(1, 2)),
                r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}"#
                    .to_owned(),
            ),
            (
                said(pulled),
                format!(
                    "{{\"status\":\"Digest: {digest}\"}}\n\
                     {{\"status\":\"Status: Image is up to date for debian:12\"}}"
                ),
            ),
            (
                said(pushed),
                format!(
                    "{{\"status\":\"1: digest: {digest} size: 7\"}}\n{{\"progressDetail\":{{}},\
                     \"aux\":{{\"Digest\":\"{digest}\",\"Size\":7,\"Tag\":\"1\"}}}}"
                ),
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn what_is_set_is_shown() {
        let settings = Settings {
            insecure: vec!["192.168.1.0/24".into(), "plain.test:5000".into()],
            mirrors: vec!["https://192.168.1.2".into()],
            ..Settings::default()
        };
        let shown = shown(&settings);
        assert_eq!(shown.insecure_registry_cidrs[..], ["192.168.1.0/24", "::1/128", "127.0.0.0/8"]);
        assert_eq!(shown.mirrors[..], ["https://192.168.1.2/"]);
        let indices: Vec<(&str, bool, usize)> = shown
            .index_configs
            .iter()
            .map(|(name, one)| (name.as_str(), one.secure && one.official, one.mirrors.len()))
            .collect();
        assert_eq!(indices, [("docker.io", true, 1), ("plain.test:5000", false, 0)]);
    }

    #[test]
    fn of_two_tags_the_parameter_counts() {
        let digest = Digest::sha256(b"");
        for (name, tag, want) in [
            ("busybox", "", "docker.io/library/busybox".to_owned()),
            ("busybox:", "1", "docker.io/library/busybox:1".to_owned()),
            ("busybox:1", "1", "docker.io/library/busybox:1".to_owned()),
            ("localhost:5000/a:1", "2", "localhost:5000/a:2".to_owned()),
            ("a:1", digest.to_string().as_str(), format!("docker.io/library/a@{digest}")),
        ] {
            assert_eq!(wanted(name, tag).unwrap().to_string(), want);
        }
        assert_eq!(wanted("a:1:1", "1").unwrap_err().message, "invalid reference format");
    }
}
