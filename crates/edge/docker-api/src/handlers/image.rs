//! Images.

mod import;

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufWriter, Write},
};

use containers::{CommitOptions, Engine, ListOptions};
use docker::{
    ContainerConfig, IdResponse, List, Map,
    container::DriverData,
    image::{DeleteResponse, History, Inspect, Metadata, PruneResponse, RootFs, Summary},
    manifest::AttestationStatement,
    progress::Message,
    timestamp::{Timestamp, ZERO},
};
use hyper::StatusCode;
use images::{Details, Image, LayerUsage, Loaded, Removed};
use oci::image::Platform;
use reference::Reference;

use crate::{
    call::{Call, Reply, created, empty, ok, reply, to_value},
    error::Error,
    http::body::{BodyWriter, ReplyBody, pieces},
    legacy,
    names::new_name,
    platform,
    until::{self, Until},
    version::Version,
};

pub(crate) use import::create;

const FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

/// How much is collected before a piece of an archive is sent.
const PIECE_BYTES: usize = 64 << 10;

/// `GET /images/json`
pub(crate) async fn list(call: Call) -> Reply {
    let mut filters = call.query.filters(FILTERS)?;
    // The engine knows times only, not durations. Here, unlike elsewhere, there may be several.
    let until = filters.get("until").map(until::instant).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = until.into_iter().min() {
        filters.replace("until", Timestamp::from_nanos(first).to_string());
    }
    let (version, shared) = (call.version, call.query.bool("shared-size"));
    let identity = call.query.bool("identity") && version >= Version(54);
    let manifests = (call.query.bool("manifests") || identity) && version >= Version(47);
    let list = call
        .engine(move |engine| {
            let layers = shared.then(|| engine.images().layer_usage()).transpose()?;
            let mut list = Vec::new();
            for image in engine.images().list(&filters)? {
                let mut shown = summary(&image, layers.as_ref());
                if manifests {
                    let id = image.row.id.to_string();
                    let known = identity.then(|| identity_of(&image)).flatten();
                    let found = engine.images().manifests(&id)?;
                    let found = found.iter().map(|one| platform::manifest(one, known.as_ref()));
                    shown.manifests = Some(found.collect());
                }
                list.push(shown);
            }
            Ok::<_, Error>(list)
        })
        .await?;
    ok(&legacy::images(&list, version)?)
}

/// Where an image comes from, as far as its names tell.
fn identity_of(image: &images::Summary) -> Option<docker::manifest::Identity> {
    platform::identity(&image.origins)
}

/// A line of a list; where layers were measured, with what of it is shared.
pub(crate) fn summary(image: &images::Summary, layers: Option<&LayerUsage>) -> Summary {
    let shared = layers.map(|layers| layers.shared.get(&image.row.id).copied().unwrap_or(0));
    Summary {
        containers: image.containers as i64,
        created: seconds(image.row.created),
        id: image.row.id.to_string(),
        labels: if image.labels.is_empty() { Map::NIL } else { image.labels.clone().into() },
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        descriptor: Some(platform::descriptor(&image.descriptor)),
        repo_digests: image.repo_digests.clone().into(),
        repo_tags: image.repo_tags.clone().into(),
        shared_size: shared.map_or(-1, |bytes| bytes as i64),
        size: image.size as i64,
        ..Summary::default()
    }
}

/// `GET /images/NAME/json`
pub(crate) async fn inspect(call: Call) -> Reply {
    let name = call.id.clone();
    let version = call.version;
    if call.query.bool("manifests") && !call.query.text("platform").is_empty() {
        return Err(Error::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let wanted = platform::from_json(call.query.text("platform"))?;
    let manifests = call.query.bool("manifests") && version >= Version(48);
    let (details, manifests, driver) = call
        .engine(move |engine| {
            let images = engine.images();
            let details = images.details_for(&name, wanted.as_ref())?;
            let has_any = manifests && details.image.manifest.is_some();
            let manifests = has_any.then(|| images.manifests(&name)).transpose()?;
            Ok::<_, Error>((details, manifests, images.snapshots().name().to_owned()))
        })
        .await?;
    let config = to_value(&details.image.config.config)?;
    let container = details.image.config.container.clone();
    let mut view = view(details);
    if version < Version(53) {
        view.identity = None;
    }
    if version < Version(52) {
        // Of a layer itself Docker with containerd's store says nothing either.
        view.graph_driver = Some(DriverData { name: driver, ..DriverData::default() });
    }
    view.manifests =
        manifests.map(|all| all.iter().map(|one| platform::manifest(one, None)).collect());
    let mut shown = legacy::image(&view, config, version)?;
    // v1.45 took it away from the description; clients that take the newest version go on looking for it.
    if let Some(container) = container {
        shown["Container"] = container.into();
    }
    ok(&shown)
}

/// `GET /images/NAME/attestations`
pub(crate) async fn attestations(call: Call) -> Reply {
    let name = call.id.clone();
    let mut wanted = platform::all_from_json(call.query.all("platform"))?;
    if wanted.len() > 1 {
        return Err(Error::invalid("only one platform can be asked for"));
    }
    let wanted = wanted.pop();
    let kinds: Vec<String> = call.query.all("type").map(str::to_owned).collect();
    let whole = call.query.bool("statement");
    let found = call
        .engine(move |engine| engine.images().attestations(&name, wanted.as_ref(), &kinds, whole))
        .await?;
    let mut statements = Vec::new();
    for one in found {
        let statement = one.statement.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        statements.push(AttestationStatement {
            descriptor: platform::descriptor(&one.descriptor),
            predicate_type: one.predicate_type,
            statement: statement
                .map_err(|err| Error::internal(format!("the statement is not JSON: {err}")))?,
        });
    }
    ok(&statements)
}

fn view(details: Details) -> Inspect {
    let is_artifact = details.image.artifact.is_some();
    let Image { id, config, size, .. } = details.image;
    let layers = config.rootfs.diff_ids.iter().map(ToString::to_string);
    let native = Platform::native();
    let or = |text: String, default: String| if text.is_empty() { default } else { text };
    Inspect {
        id: id.to_string(),
        parent: details.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        repo_tags: details.repo_tags.into(),
        repo_digests: details.repo_digests.into(),
        comment: config.comment.unwrap_or_default(),
        created: config.created.unwrap_or_default(),
        docker_version: config.docker_version.unwrap_or_default(),
        author: config.author.unwrap_or_default(),
        architecture: or(
            config.architecture,
            if is_artifact { "unknown".into() } else { native.architecture },
        ),
        variant: config.variant.unwrap_or_default(),
        os: or(config.os, if is_artifact { "unknown".into() } else { native.os }),
        os_version: config.os_version.unwrap_or_default(),
        size: size as i64,
        root_fs: RootFs { kind: "layers".to_owned(), layers: layers.collect() },
        metadata: Metadata {
            last_tag_time: details
                .last_tag_time
                .map_or(ZERO.to_owned(), |at| Timestamp::from_nanos(at).to_string()),
        },
        descriptor: details.descriptor.as_ref().map(platform::descriptor),
        identity: platform::identity(&details.origins),
        ..Inspect::default()
    }
}

/// `GET /images/NAME/history`
pub(crate) async fn history(call: Call) -> Reply {
    let name = call.id.clone();
    let wanted = platform::from_json(call.query.text("platform"))?;
    let history =
        call.engine(move |engine| engine.images().history_for(&name, wanted.as_ref())).await?;
    let history: Vec<History> = history
        .into_iter()
        .map(|step| History {
            comment: step.comment,
            created: seconds(step.created),
            created_by: step.created_by,
            id: step.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
            size: step.size as i64,
            tags: if step.tags.is_empty() { List::NIL } else { step.tags.into() },
        })
        .collect();
    ok(&history)
}

/// `DELETE /images/NAME`
pub(crate) async fn remove(call: Call) -> Reply {
    let name = call.id.clone();
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let force = call.query.bool("force");
    let platforms = platform::all_from_json(call.query.all("platforms"))?;
    let removed = call
        .engine(move |engine| {
            let running = running(engine)?;
            let is_running = |id: &str| running.contains(id);
            let images = engine.images();
            let found = images.details(&name).map(|found| found.image);
            let removed = if platforms.is_empty() {
                images.remove(&name, force, &is_running)?
            } else {
                images.remove_platforms(&name, &platforms, force, &is_running)?
            };
            match found {
                Ok(image) => {
                    let labels = &image.config.config.labels;
                    tell_of_removal(engine, &image.id.to_string(), labels, &removed);
                }
                Err(_) => tell_of_removal(engine, &name, &BTreeMap::new(), &removed),
            }
            Ok::<_, Error>(removed)
        })
        .await?;
    ok(&removed.into_iter().map(step).collect::<Vec<_>>())
}

/// Tells of names and of images that have gone; of a name with the image's labels, which was there then.
/// Layers are told of as little as Docker does it.
fn tell_of_removal(
    engine: &Engine,
    id: &str,
    labels: &BTreeMap<String, String>,
    removed: &[Removed],
) {
    let labels = labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
    let attributes: Vec<(&str, &str)> = labels.chain([("name", id)]).collect();
    for step in removed {
        match step {
            Removed::Untagged(_) => engine.tell_of("image", "untag", id, &attributes),
            Removed::Deleted(digest) if digest.to_string() == id => {
                engine.tell_of("image", "delete", id, &[("name", id)]);
            }
            Removed::Deleted(_) => {}
        }
    }
}

/// The containers that run.
fn running(engine: &Engine) -> Result<HashSet<String>, Error> {
    Ok(engine.list(&ListOptions::default())?.into_iter().map(|one| one.id).collect())
}

fn step(removed: Removed) -> DeleteResponse {
    match removed {
        Removed::Untagged(untagged) => DeleteResponse { untagged, ..DeleteResponse::default() },
        Removed::Deleted(digest) => {
            DeleteResponse { deleted: digest.to_string(), ..DeleteResponse::default() }
        }
    }
}

/// `POST /images/prune`
pub(crate) async fn prune(call: Call) -> Reply {
    let mut filters = call.query.filters(&["dangling", "label", "label!", "until"])?;
    // The engine knows times only, not durations.
    if let Some(until) = Until::of(&filters)?.instant() {
        filters.replace("until", Timestamp::from_nanos(until).to_string());
    }
    let pruned = call
        .engine(move |engine| {
            let containers = ListOptions { all: true, ..ListOptions::default() };
            let containers = engine.list(&containers)?;
            let asked: Vec<String> =
                containers.iter().filter_map(|one| tag_of(&one.image)).collect();
            let pruned = engine.images().prune(&filters, &asked)?;
            for step in &pruned.removed {
                if let Removed::Deleted(digest) = step {
                    let id = digest.to_string();
                    engine.tell_of("image", "delete", &id, &[("name", &id)]);
                }
            }
            let bytes = pruned.reclaimed.to_string();
            engine.tell_of("image", "prune", "", &[("reclaimed", &bytes)]);
            Ok::<_, Error>(pruned)
        })
        .await?;
    let steps: Vec<DeleteResponse> = pruned.removed.into_iter().map(step).collect();
    ok(&PruneResponse {
        images_deleted: if steps.is_empty() { List::NIL } else { steps.into() },
        space_reclaimed: pruned.reclaimed,
    })
}

/// The tag, in full, by which somebody asked for an image; `None`: it was its id.
fn tag_of(asked: &str) -> Option<String> {
    let name: Reference = asked.parse().ok()?;
    let name = if name.tag().is_some() { name.without_digest() } else { name };
    Some(name.with_default_tag().to_string())
}

fn seconds(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000)
}

/// `POST /commit?container=ID`
pub(crate) async fn commit(mut call: Call) -> Reply {
    let config: Option<ContainerConfig> = call.json().await?;
    let container = call.query.text("container").to_owned();
    let text = |key: &str| Some(call.query.text(key).to_owned()).filter(|text| !text.is_empty());
    let options = CommitOptions {
        reference: new_name(call.query.text("repo"), call.query.text("tag"))?,
        changes: call.query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
        author: text("author"),
        message: text("comment"),
        pause: call.query.bool_or("pause", true),
        config: config.unwrap_or_default(),
    };
    let id = call.engine(move |engine| engine.commit(&container, &options)).await?;
    created(&IdResponse { id: id.to_string() })
}

/// `POST /images/load`
pub(crate) async fn load(mut call: Call) -> Reply {
    let platforms = platform::all_from_json(call.query.all("platform"))?;
    let mut archive = call.reader();
    let load = move |engine: &Engine| {
        let loaded = engine.images().load_for(&mut archive, &platforms)?;
        for one in &loaded {
            let id = one.image.id.to_string();
            engine.tell_of("image", "load", &id, &[("name", &id)]);
        }
        Ok::<_, Error>(loaded)
    };
    let loaded = match call.engine(load).await {
        Ok(loaded) => loaded,
        // As in `dockerd`, whose answer has begun by then.
        Err(err) => return lines(&[Message::error(err.message)]),
    };
    lines(&loaded.iter().flat_map(told_of).collect::<Vec<_>>())
}

/// What is said of an image that was loaded, in Docker's words.
fn told_of(loaded: &Loaded) -> Vec<Message> {
    let Some(name) = &loaded.image.reference else {
        return vec![Message::stream(format!("Loaded image ID: {}\n", loaded.image.id))];
    };
    let name = name.familiar();
    let replaced = loaded.replaced.as_ref().map(|id| {
        Message::stream(format!(
            "The image {name} already exists, renaming the old one with ID {id} to empty string\n"
        ))
    });
    let loaded = Message::stream(format!("Loaded image: {name}\n"));
    replaced.into_iter().chain([loaded]).collect()
}

/// `GET /images/NAME/get`
pub(crate) async fn save(call: Call) -> Reply {
    let names = vec![call.id.clone()];
    archive(call, names).await
}

/// `GET /images/get?names=…`
pub(crate) async fn save_many(call: Call) -> Reply {
    let names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::invalid("name one image or more"));
    }
    archive(call, names).await
}

async fn archive(call: Call, names: Vec<String>) -> Reply {
    // A name that is wrong is an answer; what goes wrong later can only break the stream off.
    let platforms = platform::all_from_json(call.query.all("platform"))?;
    let (names, platforms) = call
        .engine(move |engine| {
            let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
            engine.images().check_save(&wanted, &platforms).map_err(|err| match err {
                // By the name that was asked for, which may have no tag.
                images::Error::NoImage(name) => {
                    let short = name.strip_suffix(":latest").unwrap_or(&name);
                    let is_short = wanted.contains(&short);
                    images::Error::NoImage(if is_short { short.to_owned() } else { name })
                }
                err => err,
            })?;
            Ok::<_, images::Error>((names, platforms))
        })
        .await?;
    let (sender, body) = pieces();
    let engine = call.engine.clone();
    tokio::task::spawn_blocking(move || {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut out = BufWriter::with_capacity(PIECE_BYTES, BodyWriter::new(sender));
        let saved = engine.images().save_for(&names, &platforms, &mut out);
        let saved = saved.is_ok() && out.flush().is_ok();
        for name in names.iter().filter(|_| saved) {
            if let Ok(found) = engine.images().details(name) {
                let id = found.image.id.to_string();
                engine.tell_of("image", "save", &id, &[("name", &id)]);
            }
        }
        if !saved {
            out.into_parts().0.break_off();
        }
    });
    Ok(reply(StatusCode::OK, "application/x-tar", body))
}

/// `POST /images/NAME/tag`
pub(crate) async fn tag(call: Call) -> Reply {
    let source = call.id.clone();
    let target = new_name(call.query.text("repo"), call.query.text("tag"))?;
    let target = target.ok_or_else(|| Error::invalid("invalid reference format"))?;
    call.engine(move |engine| {
        engine.images().tag(&source, &target.to_string())?;
        let id = engine.images().details(&source)?.image.id.to_string();
        engine.tell_of("image", "tag", &id, &[("name", &target.familiar())]);
        Ok::<_, Error>(())
    })
    .await?;
    empty(StatusCode::CREATED)
}

/// Lines of JSON.
pub(crate) fn lines(messages: &[Message]) -> Reply {
    let mut body = Vec::new();
    for message in messages {
        serde_json::to_writer(&mut body, message)
            .map_err(|err| Error::internal(err.to_string()))?;
        body.extend_from_slice(b"\r\n");
    }
    Ok(reply(StatusCode::OK, "application/json", ReplyBody::Whole(body.into())))
}
