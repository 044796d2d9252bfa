//! Carrying out a graph: every vertex as soon as what it works on is there, at once with all others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use buildgraph::{Action, Copy, File, Graph, Op, Vertex, VertexIdx};
use oci::{ChainId, Digest};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::build::Shared;
use crate::cache::now;
use crate::event::{Event, Status};
use crate::explain::Reasons;
use crate::jobs::{Job, Outcome};
use crate::made::Making;
use crate::output::Output;
use crate::remote::Keyed;
use crate::tell::{Listeners, Watched};
use crate::{Error, explain, keys, op, source};

/// What a vertex has come to, for those that work on it.
type Slot = watch::Receiver<Option<Output>>;

/// Carries out what `targets` need. What each of them has made, in their order.
pub(crate) async fn solve(
    build: &Arc<Shared>,
    graph: &Arc<Graph>,
    targets: &[VertexIdx],
) -> Result<Vec<Output>, Error> {
    Box::pin(build.import()).await;
    let mut slots: BTreeMap<VertexIdx, Slot> = BTreeMap::new();
    let mut running = JoinSet::new();
    for idx in graph.needed(targets) {
        let vertex = graph.get(idx);
        let (sender, slot) = watch::channel(None);
        let inputs: Vec<Slot> = vertex.inputs.iter().map(|input| slots[input].clone()).collect();
        slots.insert(idx, slot);
        let (build, graph) = (Arc::clone(build), Arc::clone(graph));
        running.spawn(async move {
            let output = build.vertex(&graph, idx, inputs).await?;
            sender.send_replace(Some(output));
            Ok::<_, Error>(())
        });
    }
    // The first failure ends the others: they are dropped with the set.
    while let Some(done) = running.join_next().await {
        done.map_err(|_| Error::Lost("a step of the build"))??;
    }
    let outputs = targets.iter().map(|target| slots[target].borrow().clone());
    outputs.map(|output| output.ok_or(Error::Lost("a step of the build"))).collect()
}

impl Shared {
    /// One vertex, once in a build: those who ask again get what it has made.
    async fn vertex(
        self: &Arc<Self>,
        graph: &Arc<Graph>,
        idx: VertexIdx,
        inputs: Vec<Slot>,
    ) -> Result<Output, Error> {
        let vertex = graph.get(idx);
        if op::is_nothing(vertex) {
            return Ok(Output::Layers(Vec::new()));
        }
        if vertex.is_hidden() {
            return self.pass_on(graph, vertex, inputs).await;
        }
        let digests = vertex.inputs.iter().filter_map(|input| told_as(graph, *input)).collect();
        let mut watched = Watched::new(vertex, digests, &self.progress);
        if let Some(known) = self.known(&vertex.digest) {
            return Ok(known);
        }
        watched.tell();
        let outputs = wait(inputs).await?;
        match self.make(graph, vertex, &outputs, &mut watched).await {
            Ok((output, cached)) => {
                self.remember(&vertex.digest, output.clone());
                watched.end(cached, None);
                Ok(output)
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            // It begins anew, without the cache that it was in.
            Err(error) if error.gone().is_some() => Err(error),
            Err(error) => {
                self.failures.note(vertex, &outputs);
                watched.end(false, Some(docker::error::chain(&error)));
                Err(of_vertex(vertex, error))
            }
        }
    }

    /// A part of what an input is, or the same as layers.
    async fn pass_on(
        self: &Arc<Self>,
        graph: &Arc<Graph>,
        vertex: &Vertex,
        inputs: Vec<Slot>,
    ) -> Result<Output, Error> {
        if let Some(known) = self.known(&vertex.digest) {
            return Ok(known);
        }
        let first = wait(inputs).await?.into_iter().next();
        let output = first.ok_or(Error::Lost("a step of the build"))?;
        let made = match (&vertex.op, output) {
            (Op::Part(at), Output::Parts(chains)) => {
                let chain = chains.into_iter().nth(*at);
                Output::Layers(chain.ok_or(Error::Lost("a part of a result"))?)
            }
            (Op::Layers, Output::Layers(chain)) => Output::Layers(chain),
            (Op::After, output) => output,
            (Op::Layers, tree @ Output::Tree(_)) => {
                let made = self.lay(graph, vertex, tree).await;
                made.map_err(|error| match error {
                    Error::Cancelled => Error::Cancelled,
                    error => of_vertex(vertex, error),
                })?
            }
            _ => return Err(Error::Lost("a part of a result")),
        };
        self.remember(&vertex.digest, made.clone());
        Ok(made)
    }

    /// Makes a layer of a directory: as a copy of all of it onto nothing, which is found again by what is in it.
    async fn lay(
        self: &Arc<Self>,
        graph: &Arc<Graph>,
        vertex: &Vertex,
        tree: Output,
    ) -> Result<Output, Error> {
        let time = match &tree {
            Output::Tree(tree) => tree.time,
            Output::Layers(_) | Output::Parts(_) => None,
        };
        let copy = Copy {
            input: 1,
            source: "/".into(),
            destination: "/".into(),
            contents_only: true,
            time,
            ..Copy::default()
        };
        let op = Op::File(File { actions: vec![Action::Copy(copy)] });
        let input = vertex.inputs[0];
        let copying = Vertex { op, inputs: vec![input, input], ..vertex.clone() };
        let mut watched = Watched::silent(&self.progress);
        let inputs = [Output::Layers(Vec::new()), tree];
        let made = Box::pin(self.make(graph, &copying, &inputs, &mut watched)).await;
        made.map(|(output, _)| output)
    }

    /// What a vertex makes of its inputs, and whether it was in the cache.
    async fn make(
        self: &Arc<Self>,
        graph: &Graph,
        vertex: &Vertex,
        inputs: &[Output],
        watched: &mut Watched,
    ) -> Result<(Output, bool), Error> {
        if let Op::Source(from) = &vertex.op {
            return self.source(vertex, from, watched).await;
        }
        let proxied = self.as_proxied(vertex);
        let vertex = proxied.as_ref().unwrap_or(vertex);
        // Also where it is in the cache: what a build may do is not for others to have done.
        op::check(self, &vertex.op)?;
        op::cached::note(self, &vertex.op, inputs)?;
        let by_identity = keys::by_identity(vertex, inputs);
        if !vertex.ignore_cache
            && let Some(key) = &by_identity
            && let Some(output) = self.find_anywhere(vertex, inputs, key).await?
            && self.may_use(vertex, key).await
        {
            return Ok((output, true));
        }
        let mut contents = Vec::new();
        let key = if keys::taken(&vertex.op).is_empty() {
            by_identity.clone()
        } else {
            for one in keys::taken(&vertex.op) {
                self.bring_input(&inputs[one.input]).await?;
            }
            contents = self.contents(vertex, inputs).await?;
            keys::by_content(vertex, inputs, &contents)
        };
        let key = key.ok_or_else(|| {
            Error::NotYet("a directory of the client as the root of a step".into())
        })?;
        if !vertex.ignore_cache
            && by_identity.as_ref() != Some(&key)
            && let Some(output) = self.find_anywhere(vertex, inputs, &key).await?
            && self.may_use(vertex, &key).await
        {
            if let Some(other) = by_identity.filter(|other| *other != key) {
                self.note(vertex, &output, vec![other.clone()], false);
                self.also(other, key).await?;
            }
            return Ok((output, true));
        }
        let making = Making::new(graph, vertex, &key, inputs, &contents);
        let making = Making { project: self.client.shared_key(), ..making };
        self.explain_miss(vertex, &making).await?;
        for input in inputs {
            self.bring_input(input).await?;
        }
        watched.start();
        let began = now();
        let output = self.carry_out(vertex, inputs, key.clone()).await?;
        self.recall(vertex, &key);
        let keys = by_identity.iter().chain([&key]).cloned().collect();
        self.note(vertex, &output, keys, false);
        let making = Making { took: now() - began, ..making };
        let found_by = key.clone();
        self.blocking(move |build| {
            let size = build.builder.cache.size(&found_by)?;
            build.builder.made.add(&Making { size, ..making });
            Ok(())
        })
        .await?;
        if let Some(other) = by_identity.filter(|other| *other != key) {
            self.also(other, key).await?;
        }
        Ok((output, false))
    }

    /// Brings something from outside.
    async fn source(
        self: &Arc<Self>,
        vertex: &Vertex,
        from: &buildgraph::Source,
        watched: &mut Watched,
    ) -> Result<(Output, bool), Error> {
        let listeners = Listeners::default();
        listeners.add(vertex.known_as(), &self.progress);
        watched.start();
        let from = self.decided(from, vertex.platform.as_ref()).await?;
        let (output, cached) = source::bring(self, vertex, &from, &listeners).await?;
        if let Output::Layers(chain) = &output
            && let Some(top) = chain.last().cloned()
        {
            self.blocking(move |build| build.builder.cache.hold(&build.lease, &top)).await?;
        }
        Ok((output, cached))
    }

    /// What is found by a key, here or elsewhere.
    async fn find_anywhere(
        self: &Arc<Self>,
        vertex: &Vertex,
        inputs: &[Output],
        key: &Digest,
    ) -> Result<Option<Output>, Error> {
        let (of, n_kept) = (key.clone(), op::n_kept(&vertex.op));
        let found = self.blocking(move |build| {
            let cache = &build.builder.cache;
            let Some((record, chain)) = cache.find(&build.lease, &of)? else { return Ok(None) };
            let Some(output) = cache.whole(&build.lease, &record, chain, n_kept)? else {
                return Ok(None);
            };
            let keys = match build.request.cache_to.as_slice() {
                [] => vec![of],
                _ => cache.keys(&record)?,
            };
            Ok(Some((keys, output, record.created)))
        });
        let found = found.await?;
        let found =
            found.filter(|(_, output, _)| output.chains().iter().all(|c| self.is_within(c)));
        if let Some((keys, output, created)) = found {
            if self.explains.load(Ordering::Relaxed) {
                self.tell_reasons(vertex, &Reasons::hit(created));
            }
            self.note(vertex, &output, keys, false);
            return Ok(Some(output));
        }
        let base = match op::below(&vertex.op).map(|input| inputs.get(input)) {
            Some(None) => &[][..],
            Some(Some(Output::Layers(base))) => base,
            // It cannot be seen whether what is elsewhere lies on what the step works on.
            None | Some(Some(Output::Tree(_) | Output::Parts(_))) => return Ok(None),
        };
        let Some(chain) = self.find_elsewhere(vertex, base, key) else { return Ok(None) };
        let output = Output::Layers(chain);
        self.note(vertex, &output, vec![key.clone()], true);
        Ok(Some(output))
    }

    /// Notes what a step is found by; `is_new`: there is no record of it here.
    fn note(&self, vertex: &Vertex, output: &Output, keys: Vec<Digest>, is_new: bool) {
        let Output::Layers(chain) = output else { return };
        let (chain, description) = (chain.clone(), vertex.shown.name.clone());
        self.remote.note(Keyed { keys, chain, description, is_new });
    }

    /// Sees to it that what a step works on is here.
    async fn bring_input(self: &Arc<Self>, input: &Output) -> Result<(), Error> {
        for chain in input.chains() {
            Box::pin(self.bring(chain)).await?;
        }
        Ok(())
    }

    /// Says why a step is not in the cache, where that is asked for.
    async fn explain_miss(self: &Arc<Self>, vertex: &Vertex, making: &Making) -> Result<(), Error> {
        if !self.explains.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (making, ignores_cache) = (making.clone(), vertex.ignore_cache);
        let why = self
            .blocking(move |build| Ok(Reasons::miss(&build.builder.made, &making, ignores_cache)));
        self.tell_reasons(vertex, &why.await?);
        Ok(())
    }

    fn tell_reasons(&self, vertex: &Vertex, reasons: &Reasons) {
        let time = now();
        self.progress.tell(Event::Status(Status {
            id: format!("{}{}", explain::STATUS, reasons.text()),
            vertex: Some(vertex.known_as().clone()),
            name: reasons.json(),
            time,
            started: Some(time),
            completed: Some(time),
            ..Status::default()
        }));
    }

    /// Whether layers are among those that this build takes from the cache.
    fn is_within(&self, chain: &[ChainId]) -> bool {
        match (&self.cache_within, chain.last()) {
            (Some(within), Some(top)) => within.contains(top),
            _ => true,
        }
    }

    /// Has what is found by `key` found by `other`, too.
    async fn also(self: &Arc<Self>, other: Digest, key: Digest) -> Result<(), Error> {
        self.blocking(move |build| {
            if let Some(captured) = build.builder.made.captured(&key) {
                build.builder.made.keep_captured(&other, &captured);
            }
            build.builder.cache.also(&other, &key)
        })
        .await
    }

    /// The digests of what a step takes of its inputs.
    async fn contents(
        self: &Arc<Self>,
        vertex: &Vertex,
        inputs: &[Output],
    ) -> Result<Vec<Digest>, Error> {
        let (taken, inputs) = (keys::taken(&vertex.op), inputs.to_vec());
        let found = self.blocking(move |build| op::contents(build, &taken, &inputs)).await;
        if let Err(Error::Missing { input, .. }) = &found {
            self.failures.set_lacking(vertex, *input);
        }
        found
    }

    /// Makes it, or waits for another build that makes the same.
    async fn carry_out(
        self: &Arc<Self>,
        vertex: &Vertex,
        inputs: &[Output],
        key: Digest,
    ) -> Result<Output, Error> {
        loop {
            let work = |listeners: Listeners| {
                let (build, vertex) = (Arc::clone(self), vertex.clone());
                let (inputs, key) = (inputs.to_vec(), key.clone());
                async move {
                    let made = op::run(&build, &vertex, &inputs, &key, &listeners).await;
                    made.map_err(Arc::new) as Outcome
                }
            };
            let is_proxied = matches!(&vertex.op, Op::Exec(exec) if exec.proxied);
            let (job, is_ours): (Arc<Job>, bool) = if vertex.ignore_cache || is_proxied {
                // Somebody else's may have begun before this one was asked for, or ask by other rules.
                self.builder.jobs.join(&self.own(&key), work)
            } else {
                self.builder.jobs.join(&key, work)
            };
            job.listeners.add(vertex.known_as(), &self.progress);
            match job.outcome().await {
                Ok(output) => {
                    self.hold(&output).await?;
                    return Ok(output);
                }
                Err(error) if is_ours => return Err(unshared(error)),
                // It may have failed for what only the other build lacks.
                Err(_) => {}
            }
        }
    }

    async fn hold(self: &Arc<Self>, output: &Output) -> Result<(), Error> {
        let tops: Vec<_> =
            output.chains().iter().filter_map(|chain| chain.last().cloned()).collect();
        self.blocking(move |build| {
            tops.iter().try_for_each(|top| build.builder.cache.hold(&build.lease, top))
        })
        .await
    }
}

/// What a vertex works on, once all of it is there.
async fn wait(inputs: Vec<Slot>) -> Result<Vec<Output>, Error> {
    let mut outputs = Vec::new();
    for mut input in inputs {
        let output = input.wait_for(Option::is_some).await;
        // Whoever was to make it has failed: its own error is the one that counts.
        let output = output.map_err(|_| Error::Cancelled)?.clone();
        outputs.push(output.ok_or(Error::Lost("a step of the build"))?);
    }
    Ok(outputs)
}

/// What a vertex, or what it only passes on, is called in events; nothing: nobody is told of it.
fn told_as(graph: &Graph, idx: VertexIdx) -> Option<Digest> {
    let mut vertex = graph.get(idx);
    while vertex.is_hidden() {
        vertex = graph.get(*vertex.inputs.first()?);
    }
    (!op::is_nothing(vertex)).then(|| vertex.known_as().clone())
}

fn of_vertex(vertex: &Vertex, error: Error) -> Error {
    Error::Vertex {
        digest: vertex.known_as().clone(),
        name: vertex.shown.name.clone(),
        lines: vertex.shown.lines.clone(),
        file: None,
        source: Arc::new(error),
    }
}

fn unshared(error: Arc<Error>) -> Error {
    Arc::try_unwrap(error).unwrap_or_else(Error::Shared)
}
