//! Images in an OCI layout of the client's: it has a content store of them (`oci-layout://`).

use std::sync::Arc;

use buildcache::Kind;
use buildgraph::Layout;
use images::ElsewhereLayer;
use oci::image::platform::choose;
use oci::image::{Descriptor, ImageConfig, Platform};
use oci::{ChainId, Digest};

use crate::Error;
use crate::build::Shared;
use crate::output::Output;
use crate::remote::{Place, Wanted};
use crate::tell::Listeners;

/// An image of a layout, of which no layer has come yet.
pub(crate) struct Found {
    /// Its manifest.
    pub(crate) digest: Digest,
    /// The digest of its configuration.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    /// The configuration as it is written.
    pub(crate) document: Vec<u8>,
    layers: Vec<Descriptor>,
    place: Arc<Place>,
}

/// The image that is meant by a manifest, or by an index and a platform.
pub(crate) async fn resolve(
    build: &Arc<Shared>,
    store: &str,
    digest: &Digest,
    platform: Option<&Platform>,
) -> Result<Found, Error> {
    let client = Arc::clone(&build.client);
    let place = Arc::new(Place::Client { client, store: format!("oci:{store}") });
    let mut digest = digest.clone();
    let mut kind = buildcache::kind(&place.document(Some(&digest)).await?)?;
    if let Kind::Images(entries) = &kind {
        let wanted = platform.unwrap_or(images::host_platform());
        let Some(chosen) = choose(entries, wanted).into_iter().next() else {
            let why = format!("no image for {wanted} in the layout {store}");
            return Err(Error::NotFound(why));
        };
        digest = chosen.digest.clone();
        kind = buildcache::kind(&place.document(Some(&digest)).await?)?;
    }
    let Kind::Image(config, layers) = kind else {
        return Err(Error::Invalid(format!("{digest} of the layout {store} is no image")));
    };
    let bytes = place.small(&config).await?;
    let parsed =
        ImageConfig::parse(&bytes).map_err(|error| Error::Invalid(docker::error::chain(&error)))?;
    if parsed.rootfs.diff_ids.len() != layers.len() {
        let why = format!("{digest}: its configuration has other layers than its manifest");
        return Err(Error::Invalid(why));
    }
    let document = bytes;
    Ok(Found { digest, id: config.digest, config: parsed, document, layers, place })
}

/// Its layers, unpacked.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    layout: &Layout,
    platform: Option<&Platform>,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    let mut found = resolve(build, &layout.store, &layout.digest, platform).await?;
    let mut diffs = found.config.rootfs.diff_ids.clone();
    let most = layout.layers.unwrap_or(usize::MAX);
    found.layers.truncate(most);
    diffs.truncate(most);
    let chain = ChainId::chain(&diffs);
    let mut wanted = Vec::new();
    for (here, archive) in chain.iter().zip(&found.layers) {
        if archive.size > buildcache::MAX_BLOB {
            return Err(Error::Invalid(format!("{} is too large", archive.digest)));
        }
        let place = Arc::clone(&found.place);
        wanted.push(Wanted { chain: here.clone(), archive: archive.clone(), place });
    }
    let held = chain.clone();
    let is_here = build.blocking(move |build| {
        let db = build.builder.engine.db();
        db.write(|tx| held.iter().try_for_each(|layer| build.lease.keep(tx, layer.digest())))?;
        let Some(top) = held.last() else { return Ok(true) };
        Ok(build.builder.images().chain_below(top)?.is_some())
    });
    if is_here.await? {
        return Ok((Output::Layers(chain), true));
    }
    build.fetch(wanted, listeners.clone()).await?;
    let layers = found.layers.iter().zip(diffs).map(|(archive, diff)| ElsewhereLayer {
        diff,
        archive: Some(archive.digest.clone()),
        created: 0,
    });
    let layers: Vec<_> = layers.collect();
    let placed = build.blocking(move |build| Ok(build.builder.images().place_layers(&layers)?));
    Ok((Output::Layers(placed.await?), false))
}
