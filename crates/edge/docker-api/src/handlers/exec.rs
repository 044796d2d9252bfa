//! Further processes in a container.

use std::sync::Arc;

use containers::ExecStream;
use docker::{
    IdResponse,
    exec::{CreateRequest, StartRequest},
};
use hyper::StatusCode;
use tokio::io::AsyncWriteExt;

use super::stream::{adopt, detach_keys, raw_head, tell};
use crate::{
    call::{Call, Reply, blocking, created, empty, ok},
    error::{Error, chain},
    handlers::process::size,
    http::{connection::Answer, gone::head_taken},
    older,
    stream::{
        detach::{self, Detector},
        frames::{Framing, frame},
        relay::{Options, relay},
    },
};

/// `POST /containers/ID/exec`
pub(crate) async fn create(mut call: Call) -> Reply {
    let mut request: CreateRequest = call.json().await?;
    older::exec(&mut request.console_size, call.version);
    if request.cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let keys = &request.detach_keys;
    detach::parse(keys)
        .ok_or_else(|| Error::invalid(format!("Invalid escape keys ({keys}) provided")))?;
    let id = call.id.clone();
    let id = call.shortly(move |engine| engine.exec_create(&id, &request)).await?;
    created(&IdResponse { id })
}

/// `POST /exec/ID/start`
///
/// Without `Detach` the process is started after the head of the answer was sent, as in `dockerd`:
/// some clients lose what comes together with the head. That the program cannot be run is told on
/// the stream then, and its exit code is in the exec's record.
pub(crate) async fn start(mut call: Call) -> Reply {
    let mut request: StartRequest = call.json().await?;
    older::exec(&mut request.console_size, call.version);
    let id = call.id.clone();
    let (tty, keys) = call.shortly(move |engine| engine.exec_ready(&id)).await?;
    let id = call.id.clone();
    if request.detach {
        call.engine(move |engine| engine.exec_start(&id, &request)).await?;
        return empty(StatusCode::OK);
    }
    let detach = tty.then(|| detach_keys(&keys).map(Detector::new)).transpose()?;
    let head = raw_head(&call, request.tty);
    // Docker frames the output as who starts it says, whatever it was made with.
    let framing = match (tty, request.tty) {
        (true, false) => Framing::Add,
        (false, true) => Framing::TakeOff,
        _ => Framing::AsItIs,
    };
    let (engine, alone) = (Arc::clone(&call.engine), call.alone);
    Ok(Answer::TakeOver(
        head,
        Box::new(move |mut client| {
            Box::pin(async move {
                let framed = !request.tty;
                let (of, exec) = (Arc::clone(&engine), id.clone());
                // One with a terminal can be detached from meanwhile.
                let alone = alone && !request.tty;
                let start = move || Ok::<_, Error>(of.exec_start(&exec, &request));
                let starting = async { if alone { start() } else { blocking(start).await } };
                let (started, ()) = tokio::join!(starting, head_taken(client.socket()));
                let told = match started {
                    Ok(Ok(ExecStream { stdin, stream, .. })) => {
                        // Nothing is attached, or this process is out of descriptors: the stream
                        // ends.
                        if let Some(Ok(stream)) = stream.map(adopt) {
                            let options = Options { stdin, detach, framing };
                            let told = tell(move || engine.tell_of_exec(&id, "exec_detach"));
                            relay(client, stream, options, told).await;
                        }
                        return;
                    }
                    Ok(Err(err)) => chain(&err),
                    Err(err) => err.message,
                };
                let line = format!("{told}\r\n").into_bytes();
                let line = if framed { frame(&line) } else { line };
                // The client may have gone.
                if client.write_all(&line).await.is_ok() {
                    _ = client.shutdown().await;
                }
            })
        }),
    ))
}

/// `GET /exec/ID/json`
pub(crate) async fn inspect(call: Call) -> Reply {
    let id = call.id.clone();
    let mut inspect = call.shortly(move |engine| engine.exec_inspect(&id)).await?;
    // Bytes, as Go writes them; none where nobody said which.
    if !inspect.detach_keys.is_empty() {
        let keys = detach::parse(&inspect.detach_keys).unwrap_or_default();
        inspect.detach_keys = data_encoding::BASE64.encode(&keys);
    }
    ok(&inspect)
}

/// `POST /exec/ID/resize`
pub(crate) async fn resize(call: Call) -> Reply {
    let id = call.id.clone();
    let (rows, columns) = size(&call)?;
    call.engine(move |engine| engine.exec_resize(&id, columns, rows)).await?;
    empty(StatusCode::OK)
}
