//! A build as BuildKit tells of it: its messages in base64, and the image at the end.

use std::sync::Arc;

use ::build::{Event, Solved};
use data_encoding::BASE64;
use docker::progress::Message;
use serde_json::{Value, json};

use super::{Begun, Gone, Out, teller};
use crate::Upgrades;

/// So many events go in one message.
const BATCH: usize = 200;

/// Carries it out.
pub(super) async fn run(begun: Begun, upgrades: Arc<dyn Upgrades>, out: Out) -> Result<(), Gone> {
    let Begun { build, mut events, asked, builder: _builder } = begun;
    let work = async {
        let solved: Solved = build.solve(&asked.frontend).await?;
        build.export(&solved).await
    };
    tokio::pin!(work);
    let mut batch = Vec::new();
    let done = loop {
        tokio::select! {
            biased;
            _ = events.recv_many(&mut batch, BATCH) => told(&out, &*upgrades, &mut batch).await?,
            done = &mut work => break done,
        }
    };
    while let Ok(event) = events.try_recv() {
        batch.push(event);
    }
    if !batch.is_empty() {
        told(&out, &*upgrades, &mut batch).await?;
    }
    match done {
        Ok(made) => {
            let Some(id) = made.get("containerimage.config.digest") else { return Ok(()) };
            out.send(&aux("moby.image.id", json!({ "ID": id }))).await
        }
        Err(error) => out.send(&Message::error(teller::words(&error, "").message)).await,
    }
}

async fn told(out: &Out, upgrades: &dyn Upgrades, batch: &mut Vec<Event>) -> Result<(), Gone> {
    let bytes = upgrades.trace(std::mem::take(batch));
    if bytes.is_empty() {
        return Ok(());
    }
    out.send(&aux("moby.buildkit.trace", Value::String(BASE64.encode(&bytes)))).await
}

fn aux(id: &str, value: Value) -> Message {
    Message { id: id.to_owned(), aux: Some(value), ..Message::default() }
}
