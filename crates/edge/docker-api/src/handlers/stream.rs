//! A container's own streams, and its log.

use std::{
    io::Write,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use containers::{Attaching, Engine, LogOptions, Logs};
use docker::timestamp::Timestamp;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::io::AsyncWriteExt;

use crate::{
    call::{Call, Reply, blocking, reply},
    error::Error,
    http::{
        EndOfInput, Io,
        body::{BodyWriter, ReplyBody, pieces},
        connection::Answer,
        gone::{gone, head_taken, leash},
        websocket::{self, WebSocket},
    },
    stream::{
        detach::{self, Detector},
        frames::{Framing, Reframe},
        relay::{Options, relay},
    },
    until::instant,
    version::Version,
};

const RAW: &str = "application/vnd.docker.raw-stream";
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// From here on streams of frames say so.
const SAYS_MULTIPLEXED: Version = Version(42);

/// How a stream is called: with a terminal nothing is framed.
pub(crate) fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || version < SAYS_MULTIPLEXED { RAW } else { MULTIPLEXED }
}

/// The answer that turns a connection into a raw stream. Without an upgrade, `dockerd` calls every
/// stream raw.
pub(crate) fn raw_head(call: &Call, tty: bool) -> Response<()> {
    let upgrade = call.headers.contains_key(hyper::header::UPGRADE);
    let name = if upgrade { content_type(tty, call.version) } else { RAW };
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(name));
    head
}

/// The keys that detach, from a request.
pub(crate) fn detach_keys(keys: &str) -> Result<Vec<u8>, Error> {
    detach::parse(keys)
        .ok_or_else(|| Error::invalid(format!("Invalid detach keys ({keys}) provided")))
}

/// `POST /containers/ID/attach`
pub(crate) async fn attach(call: Call) -> Reply {
    let attach = match Attach::of(&call).await {
        Ok(attach) => attach,
        Err(err) => return Ok(refuse_attach(&err)),
    };
    let head = raw_head(&call, attach.attaching.tty);
    Ok(Answer::TakeOver(head, Box::new(|client| Box::pin(attach.join(client, Framing::AsItIs)))))
}

/// `dockerd` has taken the connection over by then: an error is a line of text, and called a stream.
fn refuse_attach(err: &Error) -> Answer {
    let line = format!("{}\r\n", err.message);
    reply(err.status, RAW, ReplyBody::Whole(line.into()))
}

/// From here on the messages of a WebSocket are bytes and no text.
const SENDS_BYTES: Version = Version(28);

/// `GET /containers/ID/attach/ws`: the same, raw in any case.
pub(crate) async fn attach_over_websocket(call: Call) -> Reply {
    let attach = Attach::of(&call).await?;
    let head = websocket::accept(&call.headers)
        .ok_or_else(|| Error::invalid("the request is none for a WebSocket of version 13"))?;
    let framing = if attach.attaching.tty { Framing::AsItIs } else { Framing::TakeOff };
    let binary = call.version >= SENDS_BYTES;
    Ok(Answer::TakeOver(
        head,
        Box::new(move |client| {
            let client = Box::new(WebSocket::new(client, binary));
            Box::pin(attach.join(client, framing))
        }),
    ))
}

/// What a client joins, as it was asked for.
struct Attach {
    engine: Arc<Engine>,
    /// The container, as the client calls it.
    id: String,
    attaching: Attaching,
    /// What was logged so far, if it is wanted.
    logged: Option<Logs>,
    /// Whether it wants to be joined at all.
    wanted: bool,
    keys: Vec<u8>,
}

impl Attach {
    async fn of(call: &Call) -> Result<Self, Error> {
        let keys = detach_keys(call.query.text("detachKeys"))?;
        let id = call.id.clone();
        let streams = shim_protocol::Attach {
            stdin: call.query.bool("stdin"),
            stdout: call.query.bool("stdout"),
            stderr: call.query.bool("stderr"),
        };
        let with_logs = call.query.bool("logs") && (streams.stdout || streams.stderr);
        let (attaching, logged) = call
            .shortly(move |engine| {
                let attaching = engine.attach(&id, streams)?;
                engine.tell_of_container(&id, "attach");
                let options = LogOptions {
                    stdout: streams.stdout,
                    stderr: streams.stderr,
                    ..LogOptions::default()
                };
                let logged = with_logs.then(|| engine.logs(&id, options)).transpose()?;
                Ok::<_, containers::Error>((attaching, logged))
            })
            .await?;
        let (engine, id) = (Arc::clone(&call.engine), call.id.clone());
        // Who wants none of the streams that there are has had all of them.
        let any = attaching.stdin || streams.stdout || streams.stderr;
        Ok(Self { engine, id, attaching, logged, wanted: any && call.query.bool("stream"), keys })
    }

    async fn join(self, mut client: Box<dyn Io>, framing: Framing) {
        if let Some(logged) = self.logged
            && replay(&mut client, logged, framing).await.is_err()
        {
            return;
        }
        if self.wanted {
            let options = Options {
                stdin: self.attaching.stdin,
                detach: self.attaching.tty.then(|| Detector::new(self.keys)),
                framing,
            };
            let (engine, id) = (self.engine, self.id);
            let told = tell(move || engine.tell_of_container(&id, "detach"));
            join(client, self.attaching, options, told).await;
        } else {
            // The client may have gone.
            _ = client.shutdown().await;
        }
    }
}

/// Sends what was logged so far. An error: there is no client any more, or the log cannot be read.
async fn replay(client: &mut Box<dyn Io>, mut logged: Logs, framing: Framing) -> Result<(), Error> {
    let mut reframe = Reframe::new(framing);
    head_taken(client.socket()).await;
    let (sender, mut pieces) = tokio::sync::mpsc::channel(1);
    let reading = blocking(move || {
        while let Some(piece) = logged.next(None)? {
            if sender.blocking_send(piece).is_err() {
                break;
            }
        }
        Ok::<_, containers::Error>(())
    });
    let sending = async {
        while let Some(piece) = pieces.recv().await {
            let sent = client.write_all(&reframe.piece(&piece)).await;
            sent.map_err(|err| Error::internal(err.to_string()))?;
        }
        client.flush().await.map_err(|err| Error::internal(err.to_string()))
    };
    tokio::try_join!(reading, sending).map(|((), ())| ())
}

/// Tells of something, in time or never: what it tells of has happened.
pub(crate) async fn tell(work: impl FnOnce() + Send + 'static) {
    let work = move || {
        work();
        Ok::<_, Error>(())
    };
    _ = blocking(work).await;
}

/// Waits for the container to run, as long as the client waits too. `told` is for when it detaches.
async fn join(
    client: Box<dyn Io>,
    attaching: Attaching,
    options: Options,
    told: impl Future<Output = ()>,
) {
    // Whatever fails from here on ends the stream: there are no words for it any more.
    let Ok((leash, left)) = leash() else { return };
    let by_input = client.end_of_input() == EndOfInput::Client;
    let connected = tokio::select! {
        () = gone(client.socket(), by_input) => return drop(leash),
        connected = blocking(move || attaching.connect(Some(left.as_fd()))) => connected,
    };
    let Ok(Some(stream)) = connected else { return };
    if let Ok(stream) = adopt(stream) {
        relay(client, stream, options, told).await;
    }
}

/// A supervisor's socket, for this runtime.
pub(crate) fn adopt(
    stream: std::os::unix::net::UnixStream,
) -> std::io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

/// How long a container is young.
const YOUNG: Duration = Duration::from_millis(100);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until a container is not young any more, or has ended.
///
/// There are clients that start a short program and ask for its log right away (docker-py's own tests do). With
/// `dockerd`, whose start takes longer than the program, they get all of it; here they would be too early.
async fn grow_up(call: &Call) -> Result<(), Error> {
    loop {
        let id = call.id.clone();
        let Some(since) = call.engine(move |engine| engine.running_since(&id)).await? else {
            return Ok(());
        };
        let age = Timestamp::from(SystemTime::now()).as_nanos().saturating_sub(since);
        if !(0..YOUNG.as_nanos() as i64).contains(&age) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `GET /containers/ID/logs`
pub(crate) async fn logs(call: Call) -> Reply {
    let bound = |key: &str| match call.query.text(key) {
        "" | "0" => Ok(None),
        text => instant(text).map(Some),
    };
    let options = LogOptions {
        stdout: call.query.bool("stdout"),
        stderr: call.query.bool("stderr"),
        follow: call.query.bool("follow"),
        timestamps: call.query.bool("timestamps"),
        details: call.query.bool("details"),
        since: bound("since")?,
        until: bound("until")?,
        // `all`, and whatever else is no number.
        tail: call.query.text("tail").parse().ok(),
    };
    let id = call.id.clone();
    if !options.follow && (options.stdout || options.stderr) {
        grow_up(&call).await?;
    }
    let mut logs = call.engine(move |engine| engine.logs(&id, options)).await?;
    let content_type = content_type(logs.tty, call.version);
    let (leash, left) = leash()?;
    let (sender, body) = pieces();
    let client = sender.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut out = BodyWriter::new(sender);
        loop {
            match logs.next(Some(left.as_fd())) {
                Ok(Some(piece)) if out.write_all(&piece).is_ok() => {}
                // The end, or a client that has gone.
                Ok(_) => return,
                Err(_) => return out.break_off(),
            }
        }
    });
    tokio::spawn(async move {
        // The body ends only when nobody holds a sender of it: so not longer than is read.
        tokio::select! {
            () = client.closed() => {}
            _ = reading => {}
        }
        drop(leash);
    });
    Ok(reply(StatusCode::OK, content_type, body))
}
