//! One build: what was asked for, what it has made so far.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use buildgraph::{Graph, Op, Range, Resolve, Source, VertexIdx};
use oci::{ChainId, Digest};
use tokio::task::spawn_blocking;

use crate::attest::Secrets;
use crate::builder::Builder;
use crate::cache::{Lease, now};
use crate::client::Client;
use crate::event::{self, Progress};
use crate::origin::Origin;
use crate::output::Output;
use crate::remote::Remote;
use crate::request::{CacheOption, Export, Request};
use crate::source::git::Tips;
use crate::source::http::Seen;
use crate::worked::Failures;
use crate::{Error, solver};

/// A build under way. When it is dropped, all that it has under way ends.
#[derive(Debug)]
pub struct Build {
    pub(crate) shared: Arc<Shared>,
}

/// A step on the way to a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is called in events.
    pub digest: Digest,
    /// Where in the Dockerfile it comes from.
    pub lines: Vec<Range>,
    /// It brings something from outside.
    pub is_source: bool,
    /// The image that it brings.
    pub image: Option<Digest>,
}

/// A result that a front end here has made of a file.
#[derive(Clone, Debug)]
pub struct FromFile {
    /// What leads to it.
    pub graph: Arc<Graph>,
    /// It itself.
    pub vertex: VertexIdx,
    /// The file.
    pub file: Arc<event::Source>,
}

/// What a front end was asked, and where it looked before there was a graph.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) options: BTreeMap<String, String>,
    /// Where the Dockerfile and the context are, if not with the client.
    pub(crate) sources: Vec<buildgraph::Source>,
    /// Directories of the client.
    pub(crate) locals: Vec<String>,
    /// What it was given to build on: results, by names of its own.
    pub(crate) inputs: BTreeMap<String, String>,
    /// Where the Dockerfile is.
    pub(crate) dockerfile: Option<Source>,
}

/// Parts of a build by names, each a result; none: an empty root.
pub(crate) type Scanned = Vec<(String, Option<String>)>;

/// What the steps of a build share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) builder: Arc<Builder>,
    pub(crate) request: Request,
    pub(crate) client: Arc<dyn Client>,
    pub(crate) progress: Progress,
    pub(crate) lease: Lease,
    /// The layers that may be taken from the cache, by those that lie on top; `None`: all.
    pub(crate) cache_within: Option<HashSet<ChainId>>,
    made: Mutex<HashMap<Digest, Output>>,
    refs: Mutex<HashMap<String, Ref>>,
    /// The time that results are to have, seconds since 1970, by their names.
    epochs: Mutex<HashMap<String, i64>>,
    /// What front ends were asked for results, by their names.
    asked: Mutex<HashMap<String, Arc<Asked>>>,
    /// What else is to be looked at for the bills of results, by their names: names of theirs, and results.
    scanned: Mutex<HashMap<String, Scanned>>,
    /// When it began, nanoseconds since 1970.
    pub(crate) began: i64,
    /// Where the front end looks for images.
    pub(crate) resolve: Mutex<Resolve>,
    /// It is told why steps are, or are not, in the cache.
    pub(crate) explains: AtomicBool,
    adopted: Mutex<HashMap<String, Adopted>>,
    /// Sources in whose place others were used, and those.
    pub(crate) decisions: Mutex<Vec<(Source, Source)>>,
    /// Caches of steps that this build has begun anew.
    begun: Mutex<HashSet<String>>,
    /// Caches elsewhere.
    pub(crate) remote: Remote,
    /// Images of which something has come for this build, by their ids.
    pub(crate) pulled: Mutex<HashSet<Digest>>,
    /// Steps that failed, and what they worked on.
    pub(crate) failures: Failures,
    /// What this build has seen of repositories.
    pub(crate) tips: Tips,
    /// And of files behind URLs.
    pub(crate) seen: Seen,
    /// Images that a front end has asked about, by their names without a digest, and what that was.
    pub(crate) resolved: Mutex<HashSet<(String, Digest)>>,
    /// What its client was asked that is the front end itself.
    pub(crate) root: OnceLock<Asked>,
    /// What front ends that are images were given that is not to be told.
    pub(crate) guests: Mutex<Secrets>,
    /// What programs with a proxy have asked for, by their vertices.
    pub(crate) captured: Mutex<HashMap<Digest, egress::Captured>>,
    /// The results that the build ends with, and those that say something of them.
    last: Mutex<BTreeSet<String>>,
}

/// A result of another build, which lives as long as this one.
#[derive(Clone, Debug)]
struct Adopted {
    build: Arc<Shared>,
    reference: String,
}

/// A result that may not have been made yet.
#[derive(Clone, Debug)]
pub(crate) struct Ref {
    pub(crate) graph: Arc<Graph>,
    pub(crate) vertex: VertexIdx,
    /// What the graph was made of.
    pub(crate) file: Option<Arc<event::Source>>,
    /// The same of one that a client has made itself.
    pub(crate) origin: Option<Arc<Origin>>,
    /// Somebody asked for it by itself, and it is no part of another one that was named later.
    pub(crate) is_asked_for: bool,
}

/// A result that is being made.
pub(crate) type Made<'a> = Pin<Box<dyn Future<Output = Result<Output, Error>> + Send + 'a>>;

impl Build {
    pub(crate) fn new(
        builder: Arc<Builder>,
        request: Request,
        client: Arc<dyn Client>,
        progress: Progress,
    ) -> Self {
        let lease = builder.cache.lease();
        let cache_within = request.cache_within.as_ref().map(|ids| builder.layers_of(ids));
        let remote = Remote::default();
        request.cache_from.iter().for_each(|option| remote.add(option));
        let (made, refs, adopted) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (epochs, resolve) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            builder,
            request,
            client,
            progress,
            lease,
            cache_within,
            made,
            refs,
            epochs,
            asked: Mutex::default(),
            scanned: Mutex::default(),
            began: now(),
            resolve,
            explains: AtomicBool::new(false),
            adopted,
            decisions: Mutex::default(),
            begun: Mutex::default(),
            remote,
            pulled: Mutex::default(),
            failures: Failures::default(),
            tips: Tips::default(),
            seen: Seen::default(),
            resolved: Mutex::default(),
            root: OnceLock::new(),
            guests: Mutex::default(),
            captured: Mutex::default(),
            last: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Gives a vertex of a graph a name, by which it can be asked for.
    pub fn reference(&self, graph: Arc<Graph>, vertex: VertexIdx) -> String {
        self.reference_from(graph, vertex, None)
    }

    /// The same of a graph of a client's own, with where that comes from.
    pub fn reference_from(
        &self,
        graph: Arc<Graph>,
        vertex: VertexIdx,
        origin: Option<Arc<Origin>>,
    ) -> String {
        self.name(Ref { graph, vertex, file: None, origin, is_asked_for: true })
    }

    /// The same of a graph that was made of a file.
    pub(crate) fn reference_of(
        &self,
        graph: Arc<Graph>,
        vertex: VertexIdx,
        file: Option<Arc<event::Source>>,
    ) -> String {
        self.name(Ref { graph, vertex, file, origin: None, is_asked_for: false })
    }

    fn name(&self, mut new: Ref) -> String {
        let id = new.graph.get(new.vertex).digest.hex().to_owned();
        let mut refs = self.shared.refs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = refs.get(&id) {
            new.is_asked_for |= known.is_asked_for;
            new.origin = new.origin.take().or_else(|| known.origin.clone());
        }
        refs.insert(id.clone(), new);
        id
    }

    /// What a result is that was made of a file by a front end here; `None`: it is none of those.
    pub fn made_of_file(&self, reference: &str) -> Option<FromFile> {
        let Ref { graph, vertex, file, .. } = self.shared.reference(reference).ok()?;
        Some(FromFile { graph, vertex, file: file? })
    }

    /// Gives what leads to such a result a name, by which it can be asked for as well.
    pub fn step_of(&self, of: &FromFile, vertex: VertexIdx) -> String {
        let id = of.graph.get(vertex).digest.hex().to_owned();
        let mut refs = self.shared.refs.lock().unwrap_or_else(PoisonError::into_inner);
        refs.entry(id.clone()).or_insert_with(|| Ref {
            graph: Arc::clone(&of.graph),
            vertex,
            file: Some(Arc::clone(&of.file)),
            origin: None,
            is_asked_for: false,
        });
        id
    }

    /// Has a result of another build be one of this one, too: what it is called here. What it needs
    /// is asked of the other build's client.
    pub fn adopt(&self, other: &Self, reference: &str) -> Result<String, Error> {
        other.shared.reference(reference)?;
        if other.shared.needs(&self.shared) {
            return Err(Error::Invalid(format!(
                "the builds {} and {} need each other",
                self.shared.request.id, other.shared.request.id
            )));
        }
        let id = format!("{}/{reference}", other.shared.request.id);
        let mut adopted = self.shared.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        let (build, reference) = (Arc::clone(&other.shared), reference.to_owned());
        adopted.insert(id.clone(), Adopted { build, reference });
        Ok(id)
    }

    /// Whether a result of another build is one of this one by this name.
    pub fn has_adopted(&self, id: &str) -> bool {
        self.shared.adopted(id).is_some()
    }

    /// Notes what its client was asked, where that is the front end itself: options, and results that it has been given
    /// to build on, by their names. The first time counts.
    pub fn set_root(&self, options: BTreeMap<String, String>, inputs: BTreeMap<String, String>) {
        _ = self.shared.root.set(Asked { options, inputs, ..Asked::default() });
    }

    /// Looks for steps in another cache, too, from now on.
    pub fn import_from(&self, option: &CacheOption) {
        self.shared.remote.add(option);
    }

    /// What leads to a result, in an order in which each comes after what it works on.
    ///
    /// # Errors
    ///
    /// There is no such result.
    pub fn steps(&self, reference: &str) -> Result<Vec<Step>, Error> {
        let Ref { graph, vertex, .. } = self.shared.reference(reference)?;
        let step = |idx: VertexIdx| {
            let vertex = graph.get(idx);
            let image = match &vertex.op {
                Op::Source(Source::Image(image)) => image.id.clone(),
                _ => None,
            };
            Step {
                digest: vertex.known_as().clone(),
                lines: vertex.shown.lines.clone(),
                is_source: matches!(vertex.op, Op::Source(_)),
                image,
            }
        };
        Ok(graph.needed(&[vertex]).into_iter().map(step).collect())
    }

    /// The layer on top of what a step has made; `None`: it has made none, or not yet.
    pub fn layer(&self, step: &Digest) -> Option<ChainId> {
        match self.shared.known(step) {
            Some(Output::Layers(chain)) => chain.last().cloned(),
            _ => None,
        }
    }

    /// Carries out what a result needs.
    pub async fn evaluate(&self, reference: &str) -> Result<(), Error> {
        self.shared.output(reference).await.map(drop)
    }
}

impl Shared {
    /// The result of a name.
    pub(crate) fn reference(&self, id: &str) -> Result<Ref, Error> {
        let refs = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        refs.get(id).cloned().ok_or_else(|| Error::NotFound(format!("no such ref: {id}")))
    }

    /// Notes what the build ends with.
    pub(crate) fn set_last(&self, references: BTreeSet<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = references;
    }

    /// Results that were asked for and made on the way to what the build ends with: who asked has looked into them.
    pub(crate) fn looked_into(&self) -> Vec<Ref> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refs = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked_for = |id: &str, one: &Ref| one.is_asked_for || self.asked(id).is_some();
        let asked = refs.iter().filter(|(id, one)| is_asked_for(id, one) && !last.contains(*id));
        let asked: Vec<Ref> = asked.map(|(_, one)| one.clone()).collect();
        drop(refs);
        let is_made = |one: &Ref| self.known(&one.graph.get(one.vertex).digest).is_some();
        asked.into_iter().filter(is_made).collect()
    }

    fn adopted(&self, id: &str) -> Option<Adopted> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Whether this build works on results of `other`, however far away, or is that one.
    fn needs(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        if Arc::ptr_eq(self, other) {
            return true;
        }
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        let builds: Vec<_> = adopted.values().map(|one| Arc::clone(&one.build)).collect();
        drop(adopted);
        builds.iter().any(|build| build.needs(other))
    }

    /// What a result is, made where it has not been yet.
    pub(crate) fn output<'a>(self: &'a Arc<Self>, id: &'a str) -> Made<'a> {
        // In a box: a graph may name the result of another one.
        Box::pin(async move {
            if let Some(adopted) = self.adopted(id) {
                return adopted.build.whole(&adopted.reference).await;
            }
            if let Some(output) = self.failures.result(id) {
                return Ok(output);
            }
            let Ref { graph, vertex, file, .. } = self.reference(id)?;
            loop {
                let made = solver::solve(self, &graph, &[vertex]).await;
                match made {
                    Err(error) if self.give_up(&error) => {}
                    made => {
                        let made = made.map_err(|error| error.of_file(file))?;
                        return made.into_iter().next().ok_or(Error::Lost("a step of the build"));
                    }
                }
            }
        })
    }

    /// What a result is, with all its layers here.
    pub(crate) fn whole<'a>(self: &'a Arc<Self>, id: &'a str) -> Made<'a> {
        Box::pin(async move {
            loop {
                let output = self.output(id).await?;
                let Output::Layers(chain) = &output else { return Ok(output) };
                match Box::pin(self.bring(chain)).await {
                    Ok(()) => return Ok(output),
                    Err(error) if self.give_up(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Whether the build can go on without the cache that an error is about: what was found there is made.
    fn give_up(&self, error: &Error) -> bool {
        if error.gone().is_none() {
            return false;
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, output| !output.chains().iter().any(|chain| self.remote.is_lazy(chain)));
        drop(made);
        self.remote.give_up(error)
    }

    /// What a vertex of this build has made.
    pub(crate) fn known(&self, vertex: &Digest) -> Option<Output> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(vertex).cloned()
    }

    pub(crate) fn remember(&self, vertex: &Digest, output: Output) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex.clone(), output);
    }

    /// What a front end was asked, that has made this result.
    pub(crate) fn set_asked(&self, reference: &str, asked: Arc<Asked>) {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(reference.to_owned(), asked);
    }

    /// What the front end was asked that has made a result.
    pub(crate) fn asked(&self, reference: &str) -> Option<Arc<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned()
    }

    /// The same of a result that may be another build's, with that build, and what the result is called there.
    pub(crate) fn asked_anywhere(
        self: &Arc<Self>,
        reference: &str,
    ) -> Option<(Arc<Self>, String, Arc<Asked>)> {
        match self.adopted(reference) {
            Some(adopted) => adopted.build.asked_anywhere(&adopted.reference),
            None => Some((Arc::clone(self), reference.to_owned(), self.asked(reference)?)),
        }
    }

    /// What else is to be looked at for the bill of materials of this result.
    pub(crate) fn set_scanned(&self, reference: &str, scanned: Scanned) {
        let mut all = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(reference.to_owned(), scanned);
    }

    /// What else is to be looked at for the bill of materials of a result.
    pub(crate) fn scanned(&self, reference: &str) -> Scanned {
        let all = self.scanned.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(reference).cloned().unwrap_or_default()
    }

    /// What is in this result is to have this time, seconds since 1970.
    pub(crate) fn set_epoch(&self, reference: &str, epoch: i64) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.insert(reference.to_owned(), epoch);
    }

    /// The latest time that anything in a result is to have (`SOURCE_DATE_EPOCH`), as its front end says, seconds
    /// since 1970.
    pub(crate) fn stated_epoch(&self, reference: Option<&str>) -> Option<i64> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        reference.and_then(|reference| epochs.get(reference)).copied()
    }

    /// The same where the result is exported; an export may say another, or, where it says nothing, none.
    pub(crate) fn epoch(
        &self,
        reference: Option<&str>,
        export: &Export,
    ) -> Result<Option<i64>, Error> {
        match export.options.get("source-date-epoch").map(String::as_str) {
            None => Ok(self.stated_epoch(reference)),
            Some("") => Ok(None),
            Some(text) => {
                let why = |_| Error::Invalid(format!("SOURCE_DATE_EPOCH: `{text}` is no number"));
                text.parse().map(Some).map_err(why)
            }
        }
    }

    /// Whether a cache of steps is begun anew here: a build does that once.
    pub(crate) fn is_first(&self, cache: &str) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(cache.to_owned())
    }

    /// A key for what only this build wants.
    pub(crate) fn own(&self, key: &Digest) -> Digest {
        Digest::sha256(format!("{key} {}", self.lease.name()).as_bytes())
    }

    /// Does what waits for the disk on a thread that may.
    pub(crate) async fn blocking<T, F>(self: &Arc<Self>, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Self>) -> Result<T, Error> + Send + 'static,
    {
        let build = Arc::clone(self);
        let done = spawn_blocking(move || work(&build)).await;
        done.unwrap_or(Err(Error::Lost("a thread of the builder")))
    }
}
