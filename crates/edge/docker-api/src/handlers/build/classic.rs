//! A build, told as the builder of Docker's first years told it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ::build::{Error, Recipe, Solved};
use containers::Engine;
use docker::filters::Filters;
use docker::progress::Message;
use oci::Digest;
use serde_json::json;

use super::teller::{self, Layers, Teller};
use super::{Begun, Gone, Out};
use crate::call::blocking;

/// The name that the exporter has for an image's id.
const ID: &str = "containerimage.config.digest";

/// In Docker's words.
const OF_NOTHING: &str = "No image was generated. Is your Dockerfile empty?";

/// Carries it out.
pub(super) async fn run(
    begun: Begun,
    recipe: Recipe,
    engine: Arc<Engine>,
    out: Out,
) -> Result<(), Gone> {
    let Begun { build, mut events, asked, builder: _builder } = begun;
    let layers = |step: &Digest| build.layer(step).map(|layer| layer.to_string());
    let mut teller = Teller::new(&asked, &recipe);
    teller.advance(&layers, &out).await?;
    let solving = async {
        let solved = build.solve(&asked.frontend).await?;
        let before = images(&engine).await?;
        Ok::<_, Error>((solved, before))
    };
    let solved = {
        tokio::pin!(solving);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => teller.take(event, &layers, &out).await?,
                done = &mut solving => break done,
            }
        }
    };
    let (solved, before): (Solved, HashSet<String>) = match solved {
        Ok(solved) => solved,
        Err(error) => return fail(&mut teller, &error, &layers, &out).await,
    };
    for reference in solved.refs.iter().filter_map(|(_, reference)| reference.as_deref()) {
        match build.steps(reference) {
            Ok(steps) => teller.know(&steps),
            Err(error) => return fail(&mut teller, &error, &layers, &out).await,
        }
    }
    teller.solved();
    teller.advance(&layers, &out).await?;
    if teller.is_of_nothing() {
        teller.finish("", false, &layers, &out).await?;
        return out.send(&Message::error(OF_NOTHING)).await;
    }
    let made = {
        let exporting = build.export(&solved);
        tokio::pin!(exporting);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => teller.take(event, &layers, &out).await?,
                done = &mut exporting => break done,
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        teller.take(event, &layers, &out).await?;
    }
    let made: BTreeMap<String, String> = match made {
        Ok(made) => made,
        Err(error) => return fail(&mut teller, &error, &layers, &out).await,
    };
    let id = made.get(ID).cloned().unwrap_or_default();
    teller.finish(&id, before.contains(&id), &layers, &out).await?;
    if asked.is_quiet {
        return out.send(&Message::stream(format!("{id}\n"))).await;
    }
    out.send(&Message { aux: Some(json!({ "ID": id })), ..Message::default() }).await?;
    let unused = teller::unused(&asked, &recipe);
    if !unused.is_empty() {
        let names = unused.join(" ");
        let text = format!("[Warning] One or more build-args [{names}] were not consumed\n");
        out.send(&Message::stream(text)).await?;
    }
    let short = teller::short(&id);
    out.send(&Message::stream(format!("Successfully built {short}\n"))).await?;
    for tag in &asked.tags {
        let tag = tag.familiar();
        out.send(&Message::stream(format!("Successfully tagged {tag}\n"))).await?;
    }
    Ok(())
}

/// Tells what went wrong, after all that comes before it.
async fn fail(
    teller: &mut Teller,
    error: &Error,
    layers: Layers<'_>,
    out: &Out,
) -> Result<(), Gone> {
    let instruction = teller.fail(error, layers, out).await?;
    let failure = teller::words(error, &instruction);
    let mut message = Message::error(failure.message);
    if let Some(detail) = &mut message.error_detail {
        detail.code = failure.code;
    }
    out.send(&message).await
}

/// The ids of all images that are here.
async fn images(engine: &Arc<Engine>) -> Result<HashSet<String>, Error> {
    let engine = Arc::clone(engine);
    let all = blocking(move || engine.images().list(&Filters::default())).await;
    // Only a word of the output hangs on it.
    Ok(all.unwrap_or_default().into_iter().map(|image| image.row.id.to_string()).collect())
}
