//! One build: asking for it, and following it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use buildkit::control::control_client::ControlClient;
use buildkit::control::{SolveRequest, StatusRequest};
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::Status;

use super::progress::Display;
use super::session::Session;
use super::wire::{Channel, MESSAGE, serve};
use super::{INTERRUPTED, Shared, random_id};
use crate::client::{Client, Endpoint};
use crate::error::{Error, Result};

/// How often time passes on a terminal.
const TICK: Duration = Duration::from_millis(100);
/// How long what is still told after the end is waited for.
const REST: Duration = Duration::from_secs(3);
/// The same after Ctrl-C.
const REST_INTERRUPTED: Duration = Duration::from_millis(700);

/// BuildKit's control service.
pub(crate) type Control = ControlClient<Channel>;

/// How a build ended.
pub(crate) enum Ended {
    /// With what its exporters say.
    Done(BTreeMap<String, String>),
    Failed(Status),
    Interrupted,
}

/// Who builds, for people.
pub(super) fn name(client: &Client) -> String {
    match client.endpoint() {
        Endpoint::InProcess(_) => "dhow".to_owned(),
        other => other.to_string(),
    }
}

/// The control service, and the connection that it is on.
async fn connect(client: &Client) -> Result<(Control, Channel)> {
    let io = client.upgrade("/grpc", &[]).await?;
    let channel = Channel::over(TokioIo::new(io)).await.map_err(|err| client.odd(&err))?;
    let control = ControlClient::with_origin(channel.clone(), Channel::origin());
    Ok((control.max_decoding_message_size(MESSAGE), channel))
}

/// The control service, without a session.
pub(crate) async fn control(client: &Client) -> Result<Control> {
    connect(client).await.map(|(control, _)| control)
}

/// A session that answers, and what asks for builds with it.
pub(super) struct Open {
    pub(super) control: Control,
    pub(super) channel: Channel,
    /// The session's id.
    pub(super) session: String,
}

/// Has a session answer from now on.
pub(super) async fn open(client: &Client, session: Session, key: &str) -> Result<Open> {
    let id = random_id()?;
    let key = shared_key(key);
    let mut headers = vec![
        ("X-Docker-Expose-Session-Uuid", id.as_str()),
        ("X-Docker-Expose-Session-Name", ""),
        ("X-Docker-Expose-Session-Sharedkey", key.as_str()),
    ];
    headers.extend(
        session.methods().into_iter().map(|method| ("X-Docker-Expose-Session-Grpc-Method", method)),
    );
    let io = client.upgrade("/session", &headers).await?;
    let session: Shared = Arc::new(session);
    tokio::spawn(serve(TokioIo::new(io), move |request| Arc::clone(&session).answer(request)));
    let (control, channel) = connect(client).await?;
    Ok(Open { control, channel, session: id })
}

/// What this machine's directory is known by at the builder, which then need not be sent what it has.
/// Two that have the same by chance only send more.
fn shared_key(directory: &str) -> String {
    use std::hash::{Hash as _, Hasher as _};
    if directory.is_empty() {
        return String::new();
    }
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut hasher = std::hash::DefaultHasher::new();
    (machine.trim(), directory).hash(&mut hasher);
    format!("dhow-{:016x}", hasher.finish())
}

type Answer<T> = Pin<Box<dyn Future<Output = std::result::Result<T, Status>> + Send>>;

/// A build that was asked for.
pub(super) struct Solving {
    control: Control,
    id: String,
    answer: Answer<BTreeMap<String, String>>,
}

impl Solving {
    /// Asks for it.
    pub(super) fn new(control: Control, request: SolveRequest) -> Self {
        let id = request.r#ref.clone();
        let mut solver = control.clone();
        let answer = async move {
            let response = solver.solve(request).await?;
            Ok(response.into_inner().exporter_response)
        };
        Self { control, id, answer: Box::pin(answer) }
    }

    /// The same of a build of which something else is the answer.
    pub(super) fn with(
        control: Control,
        id: String,
        answer: impl Future<Output = std::result::Result<BTreeMap<String, String>, Status>>
        + Send
        + 'static,
    ) -> Self {
        Self { control, id, answer: Box::pin(answer) }
    }

    /// Shows what is told until its end. The first Ctrl-C cancels it, the second leaves.
    pub(super) async fn run(self, display: &mut Display) -> Ended {
        let Self { mut control, id, answer } = self;
        let mut answer = Some(answer);
        let mut ended = None;
        let mut interrupts = Interrupts::new();
        let mut ticks = tokio::time::interval(TICK);
        let mut until: Option<tokio::time::Instant> = None;
        let asked = async move { control.status(StatusRequest { r#ref: id }).await };
        let mut asked: Option<Answer<_>> = Some(Box::pin(asked));
        let mut told = None;
        loop {
            if ended.is_some() && asked.is_none() && told.is_none() {
                break;
            }
            tokio::select! {
                biased;
                () = interrupts.next() => {
                    if matches!(ended, Some(Ended::Interrupted)) {
                        display.finish();
                        std::process::exit(INTERRUPTED);
                    }
                    // Nobody waits for the answer any more: the builder stops.
                    answer = None;
                    ended = Some(Ended::Interrupted);
                    until = Some(tokio::time::Instant::now() + REST_INTERRUPTED);
                }
                result = poll(&mut asked), if asked.is_some() => {
                    asked = None;
                    told = result.ok().map(tonic::Response::into_inner);
                }
                message = next(&mut told), if told.is_some() => match message {
                    Some(response) => display.update(&response),
                    None => told = None,
                },
                result = poll(&mut answer), if answer.is_some() => {
                    answer = None;
                    ended = Some(match result {
                        Ok(response) => Ended::Done(response),
                        Err(status) => Ended::Failed(status),
                    });
                    until = Some(tokio::time::Instant::now() + REST);
                }
                _ = ticks.tick() => display.tick(),
                () = tokio::time::sleep_until(until.unwrap_or_else(tokio::time::Instant::now)), if until.is_some() => break,
            }
        }
        ended.unwrap_or(Ended::Interrupted)
    }
}

async fn poll<T>(answer: &mut Option<Answer<T>>) -> std::result::Result<T, Status> {
    match answer {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

async fn next<T>(told: &mut Option<tonic::Streaming<T>>) -> Option<T> {
    match told {
        Some(told) => told.message().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Ctrl-C, and whoever else wants us to end.
struct Interrupts(Vec<Signal>);

impl Interrupts {
    fn new() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let is_caught = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if is_caught { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

/// A refusal of the control service that is no build's.
pub(crate) fn refused(status: &Status) -> Error {
    Error::Usage(super::failure::message(status))
}
