//! Images: those that are here, or at a registry.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use buildgraph::Resolve;
use images::{Image, RootKind};
use oci::image::Platform;
use oci::{ChainId, Digest};
use reference::Reference;
use transfer::{Event, Layer, Request};

use crate::Error;
use crate::build::Shared;
use crate::cache::now;
use crate::event::Status;
use crate::output::Output;
use crate::tell::Listeners;

/// The layers of an image.
pub(crate) async fn bring(
    build: &Arc<Shared>,
    image: &buildgraph::Image,
    platform: Option<&Platform>,
    listeners: &Listeners,
) -> Result<(Output, bool), Error> {
    // What was found when the graph was made is what is meant, whatever its tag says by now.
    if let Some(id) = image.id.clone() {
        let here =
            build.blocking(move |build| match build.builder.images().resolve(&id.to_string()) {
                Ok(found) => Ok(Some(found)),
                Err(images::Error::NoImage(_)) => Ok(None),
                Err(error) => Err(error.into()),
            });
        if let Some(found) = here.await? {
            // It may have come with the look at its configuration.
            let pulled = build.pulled.lock().unwrap_or_else(PoisonError::into_inner);
            let was_here = !pulled.contains(&found.id);
            return Ok((Output::Layers(lowest(found.chain, image.layers)), was_here));
        }
    }
    let name = &image.reference;
    let (mut found, mut was_here) =
        resolve(build, name, platform, image.resolve, listeners).await?;
    if let Some(wanted) = &image.checksum {
        let is_other = meant(build, name).await?.as_ref() != Some(wanted);
        if is_other && was_here {
            // The registry may have another by now.
            (found, was_here) = resolve(build, name, platform, Resolve::Pull, listeners).await?;
        }
        let meant = meant(build, name).await?;
        if meant.as_ref() != Some(wanted) {
            let meant = meant.map(|digest| digest.to_string()).unwrap_or_default();
            return Err(Error::Invalid(format!(
                "image digest {meant} for {name} does not match expected checksum {wanted}"
            )));
        }
    }
    Ok((Output::Layers(lowest(found.chain, image.layers)), was_here))
}

/// The layers, or so many of the lowest.
fn lowest(mut chain: Vec<ChainId>, most: Option<usize>) -> Vec<ChainId> {
    chain.truncate(most.unwrap_or(usize::MAX));
    chain
}

/// The digest that a name has here.
async fn meant(build: &Arc<Shared>, name: &str) -> Result<Option<Digest>, Error> {
    let name = name.to_owned();
    build.blocking(move |build| Ok(build.builder.images().digest_of(&name)?)).await
}

/// The image that a name means, unpacked, and whether it was here.
pub(crate) async fn resolve(
    build: &Arc<Shared>,
    name: &str,
    platform: Option<&Platform>,
    how: Resolve,
    listeners: &Listeners,
) -> Result<(Image, bool), Error> {
    if how != Resolve::Pull
        && let Some(found) = here(build, name, platform).await?
    {
        return Ok((found, true));
    }
    let reference: Reference = name
        .parse()
        .map_err(|error| Error::Invalid(format!("invalid reference format: {name}: {error}")))?;
    let credentials = build.client.credentials(reference.domain()).await.map_err(Error::Client)?;
    let mut request = Request {
        reference,
        platform: platform.cloned(),
        credentials,
        settings: build.builder.settings.clone(),
    };
    let listeners = listeners.clone();
    let came = Arc::new(AtomicBool::new(false));
    let has_come = Arc::clone(&came);
    let events: Arc<transfer::Events> = Arc::new(move |event| match event {
        Event::Layer { id, layer } => {
            if matches!(layer, Layer::Downloading(..)) {
                has_come.store(true, Ordering::Relaxed);
            }
            tell(&listeners, &id, &layer);
        }
        Event::Pulled { digest, name, is_same } => listeners.pulled(digest, name, is_same),
        _ => {}
    });
    let pulled = match transfer::pull(build.builder.images(), &request, &events).await {
        // There is no other of that name: it is taken, as in BuildKit, and the front end warns of it.
        Err(transfer::Error::Images(images::Error::OtherPlatform { has, .. })) => {
            request.platform = has.parse().ok();
            transfer::pull(build.builder.images(), &request, &events).await?
        }
        other => other?,
    };
    if build.request.tells_pulls {
        build.builder.engine.tell_of_reference("pull", &request.reference);
    }
    if came.load(Ordering::Relaxed) {
        let id = pulled.image.id.clone();
        build.pulled.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }
    Ok((pulled.image, false))
}

/// The image that a name means, if it is here. By a digest only where its repository is known to have that:
/// who names a repository trusts that one.
pub(crate) async fn here(
    build: &Arc<Shared>,
    name: &str,
    platform: Option<&Platform>,
) -> Result<Option<Image>, Error> {
    let (name, platform) = (name.to_owned(), platform.cloned());
    let found = build.blocking(move |build| {
        let images = build.builder.images();
        if let Ok(reference) = name.parse::<Reference>()
            && !images.is_known_there(&reference)?
        {
            return Ok(None);
        }
        match images.resolve_for(&name, platform.as_ref()) {
            Ok(found) if found.root == RootKind::Host => {
                let why = format!("{name}: the machine's own root cannot be built on");
                Err(Error::Invalid(why))
            }
            Ok(found) => Ok(Some(found)),
            Err(error) if error.class() == images::Class::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    found.await
}

/// Says how far a layer is.
fn tell(listeners: &Listeners, id: &str, layer: &Layer) {
    let time = now();
    let (name, current, total, is_done) = match *layer {
        Layer::Downloading(current, total) => ("", current, total, false),
        Layer::Extracting(current, total) => ("extracting", current, total, false),
        Layer::Complete | Layer::Here => ("", 0, 0, true),
        _ => return,
    };
    let name = if name.is_empty() { id.to_owned() } else { format!("{name} {id}") };
    listeners.status(Status {
        id: name.clone(),
        vertex: None,
        name,
        current: i64::try_from(current).unwrap_or(i64::MAX),
        total: i64::try_from(total).unwrap_or(i64::MAX),
        time,
        started: Some(time),
        completed: is_done.then_some(time),
    });
}
