//! What Docker's API has no words for.

use std::path::PathBuf;

use docker::IdResponse;
use docker::dhow::{Explained, ExplainedLayer, FileChange, Layer, Tally};
use images::{Act, Change, Schema};

use crate::{
    call::{Call, Reply, ok},
    error::Error,
    names::parse,
    platform,
};

/// `POST /dhow/rootfs?path=FILE`: the image made of a root file system archive on the engine's
/// machine; made once, as long as the file does not change.
pub(crate) async fn rootfs(call: Call) -> Reply {
    let path = PathBuf::from(call.query.text("path"));
    if !path.is_absolute() {
        return Err(Error::invalid("`path` must be an absolute path of an archive"));
    }
    let image = call.engine(move |engine| engine.images().rootfs_archive(&path)).await?;
    ok(&IdResponse { id: image.id.to_string() })
}

/// `POST /dhow/images/NAME/convert?schema=docker|oci&to=NAME[&platform=PLATFORM]`: the same image
/// under a manifest of this schema and another name. Answers with its id.
pub(crate) async fn convert(call: Call) -> Reply {
    let schema = match call.query.text("schema") {
        "docker" => Schema::Docker,
        "oci" => Schema::Oci,
        other => return Err(Error::invalid(format!("`schema` is docker or oci, not `{other}`"))),
    };
    let (name, to) = (call.id.clone(), parse(call.query.text("to"))?);
    let platform = platform::from_json(call.query.text("platform"))?;
    let image = call
        .engine(move |engine| engine.images().convert(&name, &to, platform.as_ref(), schema))
        .await?;
    ok(&IdResponse { id: image.id.to_string() })
}

/// How many of a layer's changes are told where not all are asked for.
const MOST_HIDING: usize = 10;

/// `GET /dhow/images/NAME/explain?files=BOOL`: what each layer of an image does to the files below it.
/// Without `files` only those changes of each layer are told that hide most.
pub(crate) async fn explain(call: Call) -> Reply {
    let name = call.id.clone();
    let all = call.query.bool("files");
    let explained = call.engine(move |engine| engine.images().explain(&name)).await?;
    ok(&Explained {
        id: explained.id.to_string(),
        repo_tags: explained.repo_tags,
        layers: explained.layers.into_iter().map(|layer| explained_layer(layer, all)).collect(),
    })
}

/// `GET /dhow/containers/ID/explain`: what a container is to the kernel.
pub(crate) async fn explain_container(call: Call) -> Reply {
    let name = call.id.clone();
    ok(&call.engine(move |engine| engine.explain(&name)).await?)
}

fn explained_layer(layer: images::ExplainedLayer, all: bool) -> ExplainedLayer {
    let tally = |act: Act| {
        let those = layer.changes.iter().filter(|change| change.act == act);
        those.fold(Tally::default(), |sum, change| Tally {
            files: sum.files + 1,
            bytes: sum.bytes + if act == Act::Remove { change.hidden } else { change.size },
        })
    };
    let (added, changed) = (tally(Act::Add), tally(Act::Change));
    let (touched, removed) = (tally(Act::Touch), tally(Act::Remove));
    let mut changes: Vec<&Change> = layer.changes.iter().collect();
    if !all {
        changes.retain(|change| change.hidden > 0);
        changes.sort_by_key(|change| std::cmp::Reverse(change.hidden));
        changes.truncate(MOST_HIDING);
    }
    ExplainedLayer {
        changes: changes.into_iter().map(file_change).collect(),
        digest: layer.diff.to_string(),
        created_by: layer.created_by,
        stored: layer.stored,
        size: layer.size,
        wasted: layer.wasted,
        added,
        changed,
        touched,
        removed,
    }
}

fn file_change(change: &Change) -> FileChange {
    let act = match change.act {
        Act::Add => "A",
        Act::Change => "C",
        Act::Touch => "T",
        Act::Remove => "D",
    };
    FileChange {
        act: act.to_owned(),
        path: format!("/{}", String::from_utf8_lossy(&change.path)),
        size: change.size,
        hidden: change.hidden,
    }
}

/// `GET /dhow/layers`: the layers of all images.
pub(crate) async fn layers(call: Call) -> Reply {
    let layers = call.engine(|engine| engine.images().layer_tree()).await?;
    let layers: Vec<Layer> = layers
        .into_iter()
        .map(|layer| Layer {
            chain: layer.chain.to_string(),
            parent: layer.parent.map(|parent| parent.to_string()).unwrap_or_default(),
            size: layer.size,
            images: layer.images,
        })
        .collect();
    ok(&layers)
}
