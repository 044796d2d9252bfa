//! What runs in a container: waiting for it, looking at it, its terminal.

use std::{os::fd::AsFd, sync::Arc, time::Duration};

use containers::Condition;
use docker::{
    container::{WaitError, WaitResponse},
    stats::Stats,
};
use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    call::{Call, Reply, blocking, empty, ok, reply},
    error::Error,
    http::{
        body::{Piece, pieces},
        gone::leash,
    },
    version::Version,
};

/// Between two readings.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// `GET /containers/ID/top`
pub(crate) async fn top(call: Call) -> Reply {
    let id = call.id.clone();
    let arguments = match call.query.text("ps_args") {
        "" => "-ef".to_owned(),
        arguments => arguments.to_owned(),
    };
    let top = call
        .engine(move |engine| {
            let top = engine.top(&id, &arguments)?;
            engine.tell_of_container(&id, "top");
            Ok::<_, Error>(top)
        })
        .await?;
    ok(&top)
}

/// `POST /containers/ID/resize`
pub(crate) async fn resize(call: Call) -> Reply {
    let id = call.id.clone();
    let (rows, columns) = size(&call)?;
    call.engine(move |engine| engine.resize(&id, columns, rows)).await?;
    empty(StatusCode::OK)
}

/// Rows and columns.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Error> {
    let get = |key: &str, what: &str| {
        let text = call.query.text(key);
        // What no terminal has, but the API allows, is the most that one can have.
        let cells = unsigned(text).map(|cells| u16::try_from(cells).unwrap_or(u16::MAX));
        cells.map_err(|why| Error::invalid(format!("invalid resize {what} {text:?}: {why}")))
    };
    Ok((get("h", "height")?, get("w", "width")?))
}

/// A number of 32 bits, and what Go says of what is none.
fn unsigned(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// `POST /containers/ID/wait`
///
/// The head of the answer comes at once: it tells the client that its wait has begun, so that it
/// can go on and start the container.
pub(crate) async fn wait(call: Call) -> Reply {
    let id = call.id.clone();
    // Not so before v1.30.
    let asked = if call.version < Version(30) { "" } else { call.query.text("condition") };
    let condition = match asked {
        "" | "not-running" => Condition::NotRunning,
        "next-exit" => Condition::NextExit,
        "removed" => Condition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
    };
    let waiting = call.shortly(move |engine| engine.wait(&id, condition)).await?;
    let engine = Arc::clone(&call.engine);
    let (leash, gone) = leash()?;
    let (sender, body) = pieces();
    tokio::spawn(async move {
        let exit = tokio::select! {
            () = sender.closed() => return drop(leash),
            exit = blocking(move || waiting.join(&engine, Some(gone.as_fd()))) => exit,
        };
        let failed = |message| Some(WaitError { message });
        let response = match exit {
            Ok(None) => return,
            Ok(Some(exit)) => {
                // That it could not be started is what `start` answers, and no failure of a wait
                // that began before.
                let error = exit.error.filter(|_| condition == Condition::NotRunning);
                WaitResponse { status_code: exit.code, error: error.and_then(failed) }
            }
            Err(err) => WaitResponse { status_code: -1, error: failed(err.message) },
        };
        send(&sender, &response).await;
    });
    Ok(reply(StatusCode::OK, "application/json", body))
}

/// `GET /containers/ID/stats`
pub(crate) async fn stats(call: Call) -> Reply {
    let stream = call.query.bool_or("stream", true);
    let one_shot = call.query.bool("one-shot");
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let id = call.id.clone();
    let read = move || {
        let (engine, id) = (call.engine.clone(), id.clone());
        blocking(move || engine.stats(&id))
    };
    let mut before = Stats::default();
    if !stream {
        if !one_shot {
            before = read().await?;
            tokio::time::sleep(STATS_PERIOD).await;
        }
        return ok(&following(read().await?, &before));
    }

    let first = following(read().await?, &before);
    let (sender, body) = pieces();
    tokio::spawn(async move {
        let mut reading = first;
        while send(&sender, &reading).await {
            let before = reading;
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(STATS_PERIOD) => {}
            }
            // A container that was removed ends the stream.
            let Ok(next) = read().await else { return };
            reading = following(next, &before);
        }
    });
    Ok(reply(StatusCode::OK, "application/json", body))
}

/// A reading that knows the one before it.
fn following(mut reading: Stats, before: &Stats) -> Stats {
    reading.preread = match before.read.as_str() {
        "" => docker::timestamp::ZERO.to_owned(),
        read => read.to_owned(),
    };
    reading.precpu_stats = before.cpu_stats.clone();
    reading
}

/// Sends a line of JSON. Whether the client is still there.
pub(crate) async fn send(to: &mpsc::Sender<Piece>, value: &impl Serialize) -> bool {
    let Ok(mut line) = serde_json::to_vec(value) else { return false };
    line.push(b'\n');
    to.send(Ok(line.into())).await.is_ok()
}
