//! Results as images: in the engine's own store, at a registry, as an archive.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use images::{Built, BuiltImage, InstalledBuilt};
use metadata::Layer;
use oci::image::{ImageConfig, Platform};
use reference::Reference;
use tokio::sync::mpsc;
use transfer::Request;

use super::{CONFIG, Finished, Solved, config};
use crate::Error;
use crate::build::Shared;
use crate::request::Export;

/// Bytes that are on their way to the client at most, in pieces of some size.
const AHEAD: usize = 16;

/// An image in the store, with its names; pushed, where that is asked for.
pub(super) async fn export(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export: &Export,
) -> Result<BTreeMap<String, String>, Error> {
    let names = names(export)?;
    let made = install(build, solved, finished, export, &names).await?;
    let mut response = response(&made, &names);
    if is_set(export, "push") {
        if names.is_empty() {
            return Err(Error::Invalid("tag is needed when pushing to registry".into()));
        }
        for name in &names {
            push(build, name).await?;
        }
        response.insert("containerimage.pushed".into(), "true".into());
    }
    Ok(response)
}

/// An archive of an image, for the client.
pub(super) async fn archive(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export_idx: usize,
    export: &Export,
) -> Result<BTreeMap<String, String>, Error> {
    let names = names(export)?;
    let made = install(build, solved, finished, export, &names).await?;
    let response = response(&made, &names);
    let output = build.client.send_file(export_idx, &response).await.map_err(Error::Client)?;
    let what = if names.is_empty() {
        vec![made.image.id.to_string()]
    } else {
        names.iter().map(Reference::familiar).collect()
    };
    let write = move |build: &Arc<Shared>, out: &mut dyn Write| {
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        Ok(build.builder.images().save(&what, out).map(drop)?)
    };
    send(build, output, write).await?;
    Ok(response)
}

/// Sends the client what `write` writes.
pub(super) async fn send<F>(
    build: &Arc<Shared>,
    mut output: Box<dyn crate::client::Output>,
    write: F,
) -> Result<(), Error>
where
    F: FnOnce(&Arc<Shared>, &mut dyn Write) -> Result<(), Error> + Send + 'static,
{
    let (sender, mut pieces) = mpsc::channel(AHEAD);
    let written = build.blocking(move |build| {
        let mut out = io::BufWriter::with_capacity(1 << 18, Pieces(sender));
        write(build, &mut out)?;
        out.flush().map_err(|_| Error::Cancelled)
    });
    let passed = async {
        while let Some(piece) = pieces.recv().await {
            output.write(piece).await.map_err(Error::Client)?;
        }
        output.finish().await.map_err(Error::Client)
    };
    let (written, passed) = tokio::join!(written, passed);
    passed.and(written)
}

/// Sends what is written to who passes it on.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the image of the results: of several platforms an index of theirs.
async fn install(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export: &Export,
    names: &[Reference],
) -> Result<InstalledBuilt, Error> {
    let mut configs = Vec::new();
    for one in finished {
        let epoch = build.epoch(one.reference.as_deref())?;
        let config = stated(solved, &one.platform)?;
        configs.push((config, one.chain.clone(), one.made.clone(), epoch));
    }
    let annotations = annotations(export, &["annotation.", "annotation-manifest."]);
    let mut built = Built {
        names: names.to_vec(),
        annotations: self::annotations(export, &["annotation-index."]),
        ..Built::default()
    };
    let installed = build.blocking(move |build| {
        for (mut config, chain, made, epoch) in configs {
            let layers = layers(build, &chain)?;
            config::complete(&mut config, &layers, &made, epoch);
            let config = serde_json::to_vec(&config)
                .map_err(|error| Error::Invalid(format!("the image's configuration: {error}")))?;
            let annotations = annotations.clone();
            built.images.push(BuiltImage { config, chain, annotations, ..BuiltImage::default() });
        }
        Ok(build.builder.images().install_built(&built)?)
    });
    installed.await
}

/// The configuration that the front end says for a platform.
fn stated(solved: &Solved, platform: &str) -> Result<ImageConfig, Error> {
    let of_platform = solved.metadata.get(&format!("{CONFIG}/{platform}"));
    match of_platform.or_else(|| solved.metadata.get(CONFIG)) {
        Some(bytes) => ImageConfig::parse(bytes)
            .map_err(|error| Error::Invalid(format!("the image's configuration: {error}"))),
        None => blank(platform),
    }
}

/// Notes that options ask for: `annotation.NAME=VALUE`.
fn annotations(export: &Export, prefixes: &[&str]) -> BTreeMap<String, String> {
    let noted = export.options.iter().filter_map(|(option, value)| {
        let name = prefixes.iter().find_map(|prefix| option.strip_prefix(prefix))?;
        Some((name.to_owned(), value.clone()))
    });
    noted.collect()
}

fn layers(build: &Shared, chain: &[oci::ChainId]) -> Result<Vec<Layer>, Error> {
    let Some(top) = chain.last() else { return Ok(Vec::new()) };
    let found = build.builder.engine.db().read(|tx| tx.layers_below(top))?;
    found.ok_or_else(|| Error::NotFound(format!("the layer {top} is gone: build again")))
}

fn blank(platform: &str) -> Result<ImageConfig, Error> {
    let platform = match platform {
        "" => Platform::native(),
        platform => platform.parse().map_err(|error| Error::Invalid(format!("{error}")))?,
    };
    Ok(ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        ..ImageConfig::default()
    })
}

/// The names that an image is to have: `name=A,B`.
fn names(export: &Export) -> Result<Vec<Reference>, Error> {
    let text = export.options.get("name").map(String::as_str).unwrap_or_default();
    let names = text.split(',').filter(|name| !name.is_empty());
    let parse = |name: &str| {
        let parsed: Result<Reference, _> = name.parse();
        let parsed =
            parsed.map_err(|error| Error::Invalid(format!("invalid tag \"{name}\": {error}")))?;
        Ok(parsed.with_default_tag())
    };
    names.map(parse).collect()
}

fn is_set(export: &Export, option: &str) -> bool {
    matches!(export.options.get(option).map(String::as_str), Some("" | "true" | "1"))
}

fn response(made: &InstalledBuilt, names: &[Reference]) -> BTreeMap<String, String> {
    let mut response = BTreeMap::new();
    response.insert("containerimage.config.digest".into(), made.image.id.to_string());
    response.insert("containerimage.digest".into(), made.root.digest.to_string());
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        response.insert("image.name".into(), names.join(","));
    }
    if let Ok(descriptor) = serde_json::to_vec(&made.root) {
        let text = data_encoding::BASE64.encode(&descriptor);
        response.insert("containerimage.descriptor".into(), text);
    }
    response
}

async fn push(build: &Arc<Shared>, name: &Reference) -> Result<(), Error> {
    let credentials = build.client.credentials(name.domain()).await.map_err(Error::Client)?;
    let request = Request {
        reference: name.clone(),
        platform: None,
        credentials,
        settings: build.builder.settings.clone(),
    };
    let events: Arc<transfer::Events> = Arc::new(|_| ());
    Ok(transfer::push(build.builder.images(), &request, false, &events).await?)
}
