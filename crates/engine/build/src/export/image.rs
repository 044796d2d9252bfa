//! Results as images: in the engine's own store, at a registry, as an archive.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use docker::timestamp::Timestamp;
use images::{Built, BuiltImage, InstalledBuilt, Said};
use metadata::Layer;
use oci::image::{Descriptor, ImageConfig, Platform, media_type};
use oci::{ChainId, Digest};
use reference::Reference;
use tokio::sync::mpsc;
use transfer::Request;

use super::options::ImageOptions;
use super::told::Parts;
use super::{CONFIG, Finished, Solved, config};
use crate::attest::Attested;
use crate::build::Shared;
use crate::request::Export;
use crate::{Error, attest, remote, view};

/// Bytes that are on their way to the client at most, in pieces of some size.
const AHEAD: usize = 16;

/// By what note a layer says that times in it were changed, and to which; BuildKit's name for it.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// By what note an archive says when its image was made, where the build says a time.
const CREATED: &str = "org.opencontainers.image.created";

/// An image in the store, with its names; pushed, where that is asked for.
pub(super) async fn export(
    build: &Arc<Shared>,
    solved: &Solved,
    finished: &[Finished],
    export: &Export,
    parts: &Parts,
) -> Result<BTreeMap<String, String>, Error> {
    let how = ImageOptions::of(export)?;
    let made = Box::pin(install(build, solved, finished, &how, export)).await?;
    let mut response = response(&made, &how.names);
    keep_to_what_is_here(&made, &how.names, &mut response);
    let (id, names) = (made.image.id.to_string(), how.stored_names().to_vec());
    let tell = move |build: &Arc<Shared>| {
        let engine = &build.builder.engine;
        engine.tell_of("image", "create", &id, &[("name", &id)]);
        for name in names {
            engine.tell_of("image", "tag", &id, &[("name", &name.familiar())]);
        }
        Ok(())
    };
    build.blocking(tell).await?;
    if how.push {
        for name in &how.names {
            let work = Box::pin(push(build, name, &made, how.by_digest));
            parts.part("pushing layers", work).await?;
            // The last of it, by which all of it is there.
            let manifest = format!("pushing manifest for {name}@{}", made.root.digest);
            parts.part(&manifest, async { Ok(()) }).await?;
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
    (export_idx, export): (usize, &Export),
    parts: &Parts,
) -> Result<BTreeMap<String, String>, Error> {
    let how = ImageOptions::of(export)?;
    let mut made = Box::pin(install(build, solved, finished, &how, export)).await?;
    let first = finished.first().and_then(|one| one.reference.as_deref());
    if let Some(epoch) = build.epoch(first, export)? {
        let created = Timestamp::from_nanos(epoch.saturating_mul(1_000_000_000)).to_string();
        made.root.annotations.entry(CREATED.to_owned()).or_insert(created);
    }
    let response = response(&made, &how.names);
    if !how.as_archive {
        send_blobs(build, &made).await?;
        return Ok(response);
    }
    let output = build.client.send_file(export_idx, &response).await.map_err(Error::Client)?;
    let names = how.names;
    let write = move |build: &Arc<Shared>, out: &mut dyn Write| {
        Ok(build.builder.images().save_built(&made, &names, out)?)
    };
    parts.part("sending tarball", send(build, output, write)).await?;
    Ok(response)
}

/// The content store that clients have for an image that is no archive.
const EXPORT: &str = "export";

/// Sends the client the blobs of an image. It writes down by itself what the image is called.
async fn send_blobs(build: &Arc<Shared>, made: &InstalledBuilt) -> Result<(), Error> {
    let blobs = {
        let made = made.clone();
        build.blocking(move |build| Ok(build.builder.images().blobs_of_built(&made)?)).await?
    };
    remote::send_to_client(build, EXPORT, &blobs).await
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
    how: &ImageOptions,
    export: &Export,
) -> Result<InstalledBuilt, Error> {
    let mut images = Vec::new();
    for one in finished {
        let said = |one: &Attested| Said {
            predicate_type: one.predicate_type.clone(),
            subjects: one.subjects.clone(),
            says: one.says.clone(),
            layers: one.layers.clone(),
            names_files: one.names_files,
        };
        let statements: Vec<_> = one.attested(how.is_inline).into_iter().map(said).collect();
        if !statements.is_empty() && !how.oci_types {
            let why = "cannot export attestations with \"oci-mediatypes=false\"";
            return Err(Error::Invalid(why.into()));
        }
        images.push(OneImage {
            statements,
            config: stated(solved, export, &one.platform)?,
            platform: one.platform.clone(),
            chain: one.chain.clone(),
            made: one.made.clone(),
            n_base: one.n_base,
            stated: build.stated_epoch(one.reference.as_deref()),
            epoch: build.epoch(one.reference.as_deref(), export)?,
        });
    }
    let mut built = Built {
        names: how.stored_names().to_vec(),
        docker_types: !how.oci_types,
        attested_by_image: !how.as_artifact,
        // Who names a platform gets an index, also of one.
        index: finished.iter().any(|one| !one.platform.is_empty()),
        ..Built::default()
    };
    let how = how.clone();
    let installed = build.blocking(move |build| {
        for image in images {
            let image = image.finish(build, &how, &mut built.archives)?;
            built.images.push(image);
        }
        let attested = |image: &BuiltImage| !image.statements.is_empty();
        let is_index = built.index || built.images.len() > 1 || built.images.iter().any(attested);
        built.annotations = how.annotations("index", "");
        how.check_annotations(is_index)?;
        let mut made = build.builder.images().install_built(&built)?;
        let kind = if is_index { "index-descriptor" } else { "manifest-descriptor" };
        made.root.annotations.extend(how.annotations(kind, ""));
        build.builder.engine.db().write(|tx| build.lease.keep(tx, &made.root.digest))?;
        Ok(made)
    });
    installed.await
}

/// An image of a result, on its way.
struct OneImage {
    config: ImageConfig,
    platform: String,
    chain: Vec<ChainId>,
    made: Vec<config::Made>,
    n_base: usize,
    /// What the front end says of its time.
    stated: Option<i64>,
    /// What the export says.
    epoch: Option<i64>,
    /// What is attested of it.
    statements: Vec<Said>,
}

impl OneImage {
    /// Makes of its layers what was asked for, and its configuration. Waits for the disk.
    fn finish(
        mut self,
        build: &Arc<Shared>,
        how: &ImageOptions,
        archives: &mut BTreeMap<ChainId, Descriptor>,
    ) -> Result<BuiltImage, Error> {
        if how.squash && self.chain.len() > self.n_base {
            self.squash(build)?;
        }
        let images = build.builder.images();
        let mut layer_annotations = BTreeMap::new();
        if let (Some(latest), true) = (self.epoch, how.rewrite_times) {
            let hold = |tx: &metadata::Write, what: &Digest| build.lease.keep(tx, what);
            self.chain = images.clamp_times(&self.chain, self.n_base, latest, hold)?;
            let note = BTreeMap::from([(REWRITTEN.to_owned(), latest.to_string())]);
            layer_annotations.extend((self.n_base..self.chain.len()).map(|at| (at, note.clone())));
        }
        let fetched = build.remote.archives();
        for layer_idx in 0..self.chain.len() {
            let here = &self.chain[layer_idx];
            let (fetched, chain) = (fetched.get(here), &self.chain[..=layer_idx]);
            let chosen = chosen_archive(build, how, chain, fetched)?;
            archives.extend(chosen.map(|chosen| (here.clone(), chosen)));
        }
        let layers = layers(build, &self.chain)?;
        let epoch = self.epoch.or(self.stated);
        config::complete(&mut self.config, &layers, &self.made, epoch);
        let failed = |error| Error::Invalid(format!("the image's configuration: {error}"));
        let mut config = serde_json::to_value(&self.config).map_err(failed)?;
        if let Some(cache) = remote::inline(build, &self.chain, epoch)? {
            config[buildcache::INLINE] = cache.into();
        }
        // A note may name the platform also where there is one alone.
        let platform = match self.platform.as_str() {
            "" => platform_of(&self.config).normalized().to_string(),
            platform => platform.to_owned(),
        };
        Ok(BuiltImage {
            config: serde_json::to_vec(&config).map_err(failed)?,
            chain: self.chain,
            subjects: subjects(&how.names, &self.config),
            statements: self.statements,
            annotations: how.annotations("manifest", &platform),
            layer_annotations,
            entry_annotations: how.annotations("manifest-descriptor", &platform),
        })
    }

    /// Makes one layer of all above the base.
    fn squash(&mut self, build: &Arc<Shared>) -> Result<(), Error> {
        let images = build.builder.images();
        let (base, chain) = (self.chain[..self.n_base].to_vec(), self.chain.clone());
        let sealed = view::in_a_room(|| {
            let before = view::of_layers(images, &base, &build.builder.empty)?;
            let now = view::of_layers(images, &chain, &build.builder.empty)?;
            // Not the link that the descriptor is in procfs: what it leads to.
            let [before, now] = [&before, &now].map(|root| fsroot::fd_path(root).join("."));
            let hold = |tx: &metadata::Write, what: &Digest| build.lease.keep(tx, what);
            Ok(images.lay_difference(&base, Some(&before), &now, hold)?)
        })?;
        self.chain = base;
        self.chain.extend(sealed.map(|sealed| sealed.chain));
        self.made = config::squash(&mut self.config, self.n_base);
        for layers in self.statements.iter_mut().filter_map(|said| said.layers.as_mut()) {
            layers.steps.retain(|_, n| *n <= self.n_base);
        }
        Ok(())
    }
}

/// The archive that the topmost of these layers is to have; `None`: one that is here, or a new one. `fetched` is
/// the one in which it has come.
fn chosen_archive(
    build: &Arc<Shared>,
    how: &ImageOptions,
    chain: &[ChainId],
    fetched: Option<&Descriptor>,
) -> Result<Option<Descriptor>, Error> {
    if how.prefers_foreign
        && let Some(foreign) = remote::foreign_archive(build, chain, how.packing)?
        && how.leaves(&foreign)
    {
        return Ok(Some(foreign));
    }
    match how.packing {
        Some(packing) => Ok(Some(remote::archive(build, chain, packing)?)),
        None => Ok(fetched.cloned()),
    }
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        ..Platform::default()
    }
}

/// What statements call an image.
fn subjects(names: &[Reference], config: &ImageConfig) -> Vec<String> {
    let platform = platform_of(config);
    names.iter().map(|name| attest::of_image("docker", name, Some(&platform))).collect()
}

/// The configuration that who exports, or else the front end, says for a platform.
fn stated(solved: &Solved, export: &Export, platform: &str) -> Result<ImageConfig, Error> {
    let said = |key: &str| {
        let option = export.options.get(key).map(String::as_bytes);
        option.or_else(|| solved.metadata.get(key).map(Vec::as_slice))
    };
    let of_platform = said(&format!("{CONFIG}/{platform}"));
    let Some(bytes) = of_platform.or_else(|| said(CONFIG)) else { return blank(platform) };
    if bytes.trim_ascii() == b"null" {
        return Err(Error::Invalid("invalid null image config for export".into()));
    }
    let config = ImageConfig::parse(bytes)
        .map_err(|error| Error::Invalid(format!("the image's configuration: {error}")))?;
    if config.os.is_empty() != config.architecture.is_empty() {
        let why = "invalid image config: os and architecture must be specified together";
        return Err(Error::Invalid(why.into()));
    }
    Ok(config)
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

/// An image that was here under another manifest, and gets no name, keeps that one: the new one means nothing to anybody.
fn keep_to_what_is_here(
    made: &InstalledBuilt,
    names: &[Reference],
    response: &mut BTreeMap<String, String>,
) {
    if let Some(manifest) = &made.image.manifest
        && names.is_empty()
        && *manifest != made.root.digest
        && !media_type::is_index(&made.root.media_type)
    {
        response.insert("containerimage.digest".into(), manifest.to_string());
        response.remove("containerimage.descriptor");
    }
}

async fn push(
    build: &Arc<Shared>,
    name: &Reference,
    made: &InstalledBuilt,
    by_digest: bool,
) -> Result<(), Error> {
    let credentials = build.client.credentials(name.domain()).await.map_err(Error::Client)?;
    let request = Request {
        reference: name.clone(),
        platform: None,
        credentials,
        settings: build.builder.settings.clone(),
    };
    let events: Arc<transfer::Events> = Arc::new(|_| ());
    let images = build.builder.images();
    if by_digest {
        let (image, root) = (&made.image.id, &made.root.digest);
        return Ok(transfer::push_by_digest(images, &request, image, root, &events).await?);
    }
    Ok(transfer::push(images, &request, false, &events).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_exports_may_say_how_an_image_is_configured() {
        let config = |os: &str| format!(r#"{{"os":"{os}","architecture":"amd64"}}"#);
        let of = |key: &str, os: &str| (key.to_owned(), config(os));
        let metadata = [("", "a"), ("/linux/arm64", "b")];
        let metadata =
            metadata.map(|(end, os)| (format!("{CONFIG}{end}"), config(os).into_bytes()));
        let solved = Solved { metadata: metadata.into(), ..Solved::default() };
        let os = |options: &[(String, String)], platform: &str| {
            let options = options.iter().cloned().collect();
            let export = Export { options, ..Export::default() };
            stated(&solved, &export, platform).unwrap().os
        };
        assert_eq!((os(&[], ""), os(&[], "linux/arm64")), ("a".into(), "b".into()));
        let all = [of(CONFIG, "c")];
        assert_eq!((os(&all, ""), os(&all, "linux/arm64")), ("c".into(), "b".into()));
    }
}
