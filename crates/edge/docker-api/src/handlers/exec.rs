//! Further processes in a container.

use containers::ExecStream;
use docker::{
    IdResponse,
    exec::{CreateRequest, StartRequest},
};
use hyper::StatusCode;
use tokio::io::AsyncWriteExt;

use super::stream::{adopt, detach_keys, raw_head};
use crate::{
    call::{Call, Reply, created, empty, ok},
    error::{Error, chain},
    handlers::process::size,
    http::connection::Answer,
    stream::{
        detach::Detector,
        relay::{Options, relay},
    },
};

/// `POST /containers/ID/exec`
pub(crate) async fn create(mut call: Call) -> Reply {
    let request: CreateRequest = call.json().await?;
    detach_keys(&request.detach_keys)?;
    let id = call.id.clone();
    let id = call.engine(move |engine| engine.exec_create(&id, &request)).await?;
    created(&IdResponse { id })
}

/// `POST /exec/ID/start`
pub(crate) async fn start(mut call: Call) -> Reply {
    let request: StartRequest = call.json().await?;
    let id = call.id.clone();
    let (detach, tty) = (request.detach, request.tty);
    let started =
        call.engine(move |engine| Ok::<_, Error>(engine.exec_start(&id, &request))).await?;
    let exec = match started {
        Ok(exec) => exec,
        // As `dockerd`: that the program cannot be run is told on the stream, its exit code is in
        // the exec's record.
        Err(err @ containers::Error::Start { .. }) if !detach => {
            return Ok(told(&call, tty, &chain(&err)));
        }
        Err(err) => return Err(err.into()),
    };
    if detach {
        return empty(StatusCode::OK);
    }
    let keys = detach_keys(&exec.detach_keys)?;
    let head = raw_head(&call, exec.tty);
    let ExecStream { tty, stdin, stream, .. } = exec;
    let options = Options { stdin, detach: tty.then(|| Detector::new(keys)) };
    Ok(Answer::TakeOver(
        head,
        Box::new(move |client| {
            Box::pin(async move {
                // Nothing is attached, or this process is out of descriptors: the stream ends.
                if let Some(Ok(stream)) = stream.map(adopt) {
                    relay(client, stream, options).await;
                }
            })
        }),
    ))
}

/// A stream of one line.
fn told(call: &Call, tty: bool, line: &str) -> Answer {
    let line = format!("{line}\r\n");
    let mut bytes = Vec::new();
    if !tty {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(line.len() as u32).to_be_bytes());
    }
    bytes.extend_from_slice(line.as_bytes());
    Answer::TakeOver(
        raw_head(call, tty),
        Box::new(move |mut client| {
            Box::pin(async move {
                // The client may have gone.
                if client.write_all(&bytes).await.is_ok() {
                    _ = client.shutdown().await;
                }
            })
        }),
    )
}

/// `GET /exec/ID/json`
pub(crate) async fn inspect(call: Call) -> Reply {
    let id = call.id.clone();
    ok(&call.engine(move |engine| engine.exec_inspect(&id)).await?)
}

/// `POST /exec/ID/resize`
pub(crate) async fn resize(call: Call) -> Reply {
    let id = call.id.clone();
    let (rows, columns) = size(&call)?;
    call.engine(move |engine| engine.exec_resize(&id, columns, rows)).await?;
    empty(StatusCode::OK)
}
