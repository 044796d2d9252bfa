//! Building images by the older API, and the build cache.
//!
//! The builder is the one behind BuildKit's API. What this adds is the older form: the context is the body of the
//! request, or somewhere else (`remote`), and the answer tells of the instructions one after the other, as the
//! builder of Docker's first years did, though they are carried out as early as they can be. Of a `version=2` it
//! tells as BuildKit does.

mod cache;
mod classic;
mod client;
pub(crate) mod mounts;
mod parameters;
mod teller;
mod trace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ::build::{Build, Builder, Client, Event, Progress, Recipe};
use docker::progress::Message;
use hyper::StatusCode;
use tokio::sync::{mpsc, watch};

use crate::{
    call::{Call, Reply, blocking, empty, reply},
    error::{Error, chain},
    handlers::registry::line,
    http::body::{Piece, pieces},
};

pub(crate) use cache::{prune, usage};

use client::Uploader;
use parameters::{Generation, Parameters};

/// Builds under way that their clients gave an id (`buildid`). Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Builds(Arc<Mutex<HashMap<String, watch::Sender<bool>>>>);

impl Builds {
    /// Has a build found by its id, until what is answered is dropped.
    fn begin(&self, id: &str) -> UnderWay {
        let (sender, cancelled) = watch::channel(false);
        if !id.is_empty() {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(id.to_owned(), sender.clone());
        }
        UnderWay { builds: self.clone(), id: id.to_owned(), sender, cancelled }
    }

    fn cancel(&self, id: &str) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(id) {
            sender.send_replace(true);
        }
    }
}

/// A build that is found by its id as long as this lives.
struct UnderWay {
    builds: Builds,
    id: String,
    sender: watch::Sender<bool>,
    cancelled: watch::Receiver<bool>,
}

impl UnderWay {
    /// Waits until somebody wants it to end.
    async fn cancelled(&self) {
        let mut cancelled = self.cancelled.clone();
        // Who would say so is held here.
        _ = cancelled.wait_for(|cancelled| *cancelled).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = self.builds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&self.id).is_some_and(|sender| sender.same_channel(&self.sender)) {
            all.remove(&self.id);
        }
    }
}

/// Nobody reads the answer any more.
#[derive(Clone, Copy, Debug)]
struct Gone;

/// The answer, line by line.
struct Out(mpsc::Sender<Piece>);

impl Out {
    async fn send(&self, message: &Message) -> Result<(), Gone> {
        self.0.send(line(message)).await.map_err(|_| Gone)
    }
}

/// A build with what it was asked for, before anything of it is answered.
struct Begun {
    build: Build,
    events: mpsc::UnboundedReceiver<Event>,
    asked: Parameters,
    builder: Arc<Builder>,
}

/// `POST /build`
pub(crate) async fn build(mut call: Call) -> Reply {
    let asked = Parameters::read(&call)?;
    let Some(upgrades) = call.upgrades.clone() else {
        return Err(Error::not_there_yet("building images"));
    };
    let session = match asked.session.as_str() {
        "" => None,
        id => Some(upgrades.find_session(id).await.map_err(Error::internal)?),
    };
    let client: Arc<dyn Client> = Arc::new(Uploader::new(&mut call, session));
    let (sender, events) = mpsc::unbounded_channel();
    let (opening, request) = (Arc::clone(&upgrades), asked.request.clone());
    let has_entitlements = asked.generation == Generation::BuildKit;
    let begin = move || {
        let builder = opening.builder().map_err(Error::internal)?;
        if has_entitlements {
            let granted = builder.may_grant(request.entitlements);
            granted.map_err(|error| Error::internal(error.to_string()))?;
        }
        let build = builder.begin(request, client, Progress::new(sender));
        Ok::<_, Error>((builder, build))
    };
    let (builder, build) = blocking(begin).await?;
    let under_way = call.builds.begin(&asked.build_id);
    let begun = Begun { build, events, asked, builder };
    if begun.asked.generation == Generation::BuildKit {
        let (sender, body) = pieces();
        tokio::spawn(async move {
            let out = Out(sender.clone());
            let work = Box::pin(trace::run(begun, upgrades, out));
            until_gone(&sender, &under_way, work).await;
        });
        return Ok(reply(StatusCode::OK, "application/json", body));
    }
    let recipe = tokio::select! {
        recipe = begun.build.recipe(&begun.asked.frontend) => recipe,
        () = under_way.cancelled() => Err(::build::Error::Cancelled),
    };
    let recipe: Recipe = recipe.map_err(|error| refused(&error, &begun.asked))?;
    let engine = Arc::clone(&call.engine);
    let (sender, body) = pieces();
    tokio::spawn(async move {
        let out = Out(sender.clone());
        let work = Box::pin(classic::run(begun, recipe, engine, out));
        until_gone(&sender, &under_way, work).await;
    });
    Ok(reply(StatusCode::OK, "application/json", body))
}

/// Works until its client has gone, or somebody has cancelled it: that is told the client. With the work all of
/// the build that is under way ends.
async fn until_gone(
    sender: &mpsc::Sender<Piece>,
    under_way: &UnderWay,
    work: impl Future<Output = Result<(), Gone>>,
) {
    tokio::select! {
        () = sender.closed() => {}
        // It says itself how it ended.
        _ = work => {}
        () = under_way.cancelled() => {
            // A client that has gone knows that it does not know.
            _ = sender.send(line(&Message::error("context canceled"))).await;
        }
    }
}

/// What is wrong before anything was answered, in `dockerd`'s numbers and words.
fn refused(error: &::build::Error, asked: &Parameters) -> Error {
    use ::build::Error as Why;
    match error {
        Why::NoDockerfile(name) => {
            Error::internal(format!("Cannot locate specified Dockerfile: {name}"))
        }
        Why::Dockerfile { file, .. } if file.data.is_empty() => {
            Error::invalid(format!("the Dockerfile ({}) cannot be empty", file.filename))
        }
        Why::Dockerfile { text, .. } if text == "file with no instructions" => {
            Error::invalid(format!("failed to parse Dockerfile: {text}"))
        }
        Why::Dockerfile { text, .. } => Error::invalid(text.clone()),
        Why::NotYet(what) => Error::not_there_yet(what),
        Why::Vertex { source, .. } if asked.is_remote() => Error::internal(format!(
            "error downloading remote context {}: {}",
            asked.remote,
            chain(source)
        )),
        Why::Vertex { source, .. } => Error::internal(chain(source)),
        other => Error::internal(chain(other)),
    }
}

/// `POST /build/cancel`
pub(crate) async fn cancel(call: Call) -> Reply {
    let id = call.query.text("id");
    if id.is_empty() {
        return Err(Error::invalid("build ID not provided"));
    }
    call.builds.cancel(id);
    empty(StatusCode::OK)
}
