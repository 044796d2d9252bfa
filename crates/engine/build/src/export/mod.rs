//! What becomes of a result.

mod config;
mod image;
mod options;
mod platforms;
mod told;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use buildgraph::{Graph, Op, Source, Vertex, VertexIdx};
use oci::ChainId;

use crate::attest::{Attested, Stated};
use crate::build::{Ref, Shared};
use crate::event::{Event, Warning};
use crate::output::Output;
use crate::request::Export;
use crate::{Build, Error, op, remote};

use config::Made;

/// What a front end has made, before anything of it is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solved {
    /// The results: a platform's name (empty where there is one for all) and its reference; none is an
    /// empty root.
    pub refs: Vec<(String, Option<String>)>,
    /// What exporters want to know, by BuildKit's names: `containerimage.config`, for a platform
    /// `containerimage.config/linux/arm64`, `refs.platforms`.
    pub metadata: BTreeMap<String, Vec<u8>>,
    /// What the front end itself says of them, by their platforms.
    pub stated: BTreeMap<String, Vec<Stated>>,
}

impl Solved {
    /// What the results are called, and those that the front end says something of them in.
    fn names(&self) -> BTreeSet<String> {
        let results = self.refs.iter().filter_map(|(_, reference)| reference.clone());
        let stated = self.stated.values().flatten().map(|one| one.reference.clone());
        results.chain(stated).collect()
    }

    /// What the front end says of the result of a platform. That of the only one has any name.
    fn stated_of(&self, platform: &str) -> Vec<Stated> {
        match platform {
            "" => self.stated.values().flatten().cloned().collect(),
            platform => self.stated.get(platform).cloned().unwrap_or_default(),
        }
    }
}

/// The metadata with an image's configuration.
pub(crate) const CONFIG: &str = "containerimage.config";

/// The metadata with the time of a result (`SOURCE_DATE_EPOCH`), seconds since 1970.
pub(crate) const EPOCH: &str = "source.date.epoch";

/// One result, made.
#[derive(Default)]
struct Finished {
    /// Empty where there is one for all.
    platform: String,
    /// What it is called in the build.
    reference: Option<String>,
    chain: Vec<ChainId>,
    /// The steps above the base, lowest first.
    made: Vec<Made>,
    /// So many of the layers are the base's.
    n_base: usize,
    /// What is to be said of it.
    attested: Vec<Attested>,
}

impl Finished {
    /// What is said of it where it goes.
    fn attested(&self, is_inline: bool) -> Vec<&Attested> {
        let is_wanted = |one: &&Attested| is_inline || !one.inline_only;
        self.attested.iter().filter(is_wanted).collect()
    }
}

impl Build {
    /// Makes of a result what was asked for. What came of it, by BuildKit's names
    /// (`containerimage.digest`).
    pub async fn export(&self, solved: &Solved) -> Result<BTreeMap<String, String>, Error> {
        platforms::check(solved)?;
        self.shared.set_last(solved.names());
        for (reference, epoch) in epochs(solved)? {
            self.shared.set_epoch(reference, epoch);
        }
        for short in platforms::warnings(&self.shared.request.platforms, solved)? {
            let warning = Warning { short, ..Warning::default() };
            self.shared.progress.tell(Event::Warning(warning));
        }
        let (mut exports, asks) =
            (self.shared.request.exports.clone(), self.shared.request.asks_for_exports);
        let needs_files = asks || exports.iter().any(|export| export.kind != "cacheonly");
        let finished = self.finish(solved, needs_files).await?;
        if asks {
            exports.extend(self.shared.client.exports(solved).await.map_err(Error::Client)?);
        }
        for export in &mut exports {
            named(export, solved);
        }
        let mut response = told_by_frontend(solved);
        for (idx, export) in exports.iter().enumerate() {
            let finished = &finished;
            let work = |parts: told::Parts| {
                Box::pin(
                    async move { self.export_one(solved, finished, idx, export, &parts).await },
                )
            };
            response.extend(told::told(&self.shared.progress, idx, &export.kind, work).await?);
        }
        if self.shared.request.tells_provenance {
            tell_provenance(&finished, &exports, &mut response);
        }
        let results: Vec<_> = finished.into_iter().map(|one| one.chain).collect();
        response.extend(Box::pin(remote::export(&self.shared, &results)).await?);
        let collect = |build: &Arc<Shared>| {
            build.builder.collect_now_and_then();
            Ok(())
        };
        self.shared.blocking(collect).await?;
        if asks {
            self.shared.client.exported(&response).await.map_err(Error::Client)?;
        }
        Ok(response)
    }

    /// Carries out all that the results need; with `needs_files`, all their layers are here then.
    async fn finish(&self, solved: &Solved, needs_files: bool) -> Result<Vec<Finished>, Error> {
        let mut finished = Vec::new();
        for (platform, reference) in &solved.refs {
            let platform = platform.clone();
            let Some(reference) = reference else {
                finished.push(Finished { platform, ..Finished::default() });
                continue;
            };
            let (name, mut reference) = (reference, reference.clone());
            if let Output::Tree(_) = self.shared.output(&reference).await? {
                reference = self.as_layers(&reference)?;
            }
            let made = if needs_files {
                self.shared.whole(&reference).await?
            } else {
                self.shared.output(&reference).await?
            };
            let chain = op::chain(&made)?;
            let Ref { graph, vertex, .. } = self.shared.reference(&reference)?;
            let (made, n_base) = self.shared.made(&graph, vertex);
            let attested =
                Box::pin(self.attested(name, &chain, &solved.stated_of(&platform))).await?;
            let reference = Some(name.clone());
            finished.push(Finished { platform, reference, chain, made, n_base, attested });
        }
        Ok(finished)
    }

    /// The document (an index or a manifest) of the image that an export told of; `None`: it is not here.
    pub async fn document(&self, response: &BTreeMap<String, String>) -> Option<Vec<u8>> {
        let digest: oci::Digest = response.get("containerimage.digest")?.parse().ok()?;
        let read = move |build: &Arc<Shared>| {
            let content = build.builder.images().content();
            let document = content.read(&digest, oci::image::MAX_MANIFEST as u64);
            Ok(document.map_err(images::Error::from)?)
        };
        self.shared.blocking(read).await.ok()
    }

    /// The result of a source that is a directory, as layers.
    fn as_layers(&self, reference: &str) -> Result<String, Error> {
        let Ref { graph, vertex, file, .. } = self.shared.reference(reference)?;
        let mut graph = Graph::clone(&graph);
        let shown = graph.get(vertex).shown.clone();
        let vertex = graph.add(Op::Layers, vec![vertex], None, false, shown)?;
        Ok(self.reference_of(Arc::new(graph), vertex, file))
    }

    async fn export_one(
        &self,
        solved: &Solved,
        finished: &[Finished],
        idx: usize,
        export: &Export,
        parts: &told::Parts,
    ) -> Result<BTreeMap<String, String>, Error> {
        match export.kind.as_str() {
            "cacheonly" => Ok(BTreeMap::new()),
            "image" | "moby" => {
                Box::pin(image::export(&self.shared, solved, finished, export, parts)).await
            }
            "docker" | "oci" => {
                Box::pin(image::archive(&self.shared, solved, finished, (idx, export), parts)).await
            }
            "local" => {
                let work = tree::local(&self.shared, solved, finished, idx, export);
                parts.part("copying files", Box::pin(work)).await
            }
            "tar" => {
                let work = tree::tar(&self.shared, solved, finished, idx, export);
                parts.part("sending tarball", Box::pin(work)).await
            }
            kind => Err(Error::NotYet(format!("the exporter `{kind}`"))),
        }
    }
}

/// An image that is called `*` is called as the front end says, and has its notes, too.
fn named(export: &mut Export, solved: &Solved) {
    for (key, note) in solved.metadata.iter().filter(|(key, _)| key.starts_with("annotation")) {
        let note = || String::from_utf8_lossy(note).into();
        export.options.entry(key.clone()).or_insert_with(note);
    }
    if export.options.get("name").is_none_or(|name| name != "*") {
        return;
    }
    let name = solved.metadata.get("image.name").map(|name| String::from_utf8_lossy(name).into());
    export.options.insert("name".into(), name.unwrap_or_default());
}

/// The times that a front end gives its results.
fn epochs(solved: &Solved) -> Result<Vec<(&str, i64)>, Error> {
    let mut all = Vec::new();
    for (platform, reference) in &solved.refs {
        let own = solved.metadata.get(&format!("{EPOCH}/{platform}"));
        let told = own.or_else(|| solved.metadata.get(EPOCH));
        let (Some(told), Some(reference)) = (told, reference) else { continue };
        let text = String::from_utf8_lossy(told);
        let epoch =
            text.parse().map_err(|_| Error::Invalid(format!("{EPOCH}: `{text}` is no number")))?;
        all.push((reference.as_str(), epoch));
    }
    Ok(all)
}

/// What a front end says that is for its client.
fn told_by_frontend(solved: &Solved) -> BTreeMap<String, String> {
    let told = solved.metadata.iter().filter(|(key, _)| key.starts_with("frontend."));
    told.map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into())).collect()
}

impl Shared {
    /// The steps on the way to a result, above its base, lowest first: whether each has made a layer; and how
    /// many layers the base has.
    fn made(&self, graph: &Arc<Graph>, top: VertexIdx) -> (Vec<Made>, usize) {
        let mut made = Vec::new();
        let mut n_base = 0;
        let mut next = Some(top);
        while let Some(idx) = next {
            let vertex = graph.get(idx);
            if matches!(vertex.op, Op::Source(_)) {
                n_base = self.n_layers(graph, idx);
                break;
            }
            // Of several results of a program it is one that is looked at.
            let (below, is_step) = match &vertex.op {
                Op::Part(at) => (below_part(graph, vertex, *at), true),
                Op::After => (vertex.inputs.first().copied(), false),
                Op::Layers => match &graph.get(vertex.inputs[0]).op {
                    Op::Source(Source::Result(_)) => (vertex.inputs.first().copied(), false),
                    _ => (None, true),
                },
                op => (op::below(op).and_then(|at| vertex.inputs.get(at).copied()), true),
            };
            next = below;
            if !is_step {
                continue;
            }
            let n_below = next.map_or(0, |below| self.n_layers(graph, below));
            let name = match vertex.shown.created_by.as_str() {
                "" => &vertex.shown.name,
                name => name,
            };
            let has_layer = self.n_layers(graph, idx) > n_below;
            made.push(Made { created_by: name.to_owned(), has_layer });
        }
        made.reverse();
        (made, n_base)
    }

    fn n_layers(&self, graph: &Graph, idx: VertexIdx) -> usize {
        match self.known(&graph.get(idx).digest) {
            Some(Output::Layers(chain)) => chain.len(),
            _ => 0,
        }
    }
}

/// The provenance itself, for `dhow build`, which writes down what came of a build (`--metadata-file`): by the name that
/// Buildx has for it, of several platforms one for each. (Buildx takes it from the history.)
fn tell_provenance(
    finished: &[Finished],
    exports: &[Export],
    response: &mut BTreeMap<String, String>,
) {
    let is_inline = exports.iter().any(Export::is_inline);
    for one in finished {
        let says = one.attested(is_inline).into_iter().find(|one| one.is_provenance);
        let Some(Attested { says, .. }) = says else { continue };
        let key = match one.platform.as_str() {
            "" => "buildx.build.provenance".to_owned(),
            platform => format!("buildx.build.provenance/{platform}"),
        };
        response.insert(key, data_encoding::BASE64.encode(says));
    }
}

/// What a result of a program lies on.
fn below_part(graph: &Graph, part: &Vertex, at: usize) -> Option<VertexIdx> {
    let program = graph.get(*part.inputs.first()?);
    let Op::Exec(exec) = &program.op else { return None };
    let input = exec.input_of(*exec.kept().get(at)?)?;
    program.inputs.get(input).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_end_gives_its_results_times() {
        let refs = vec![
            ("linux/amd64".to_owned(), Some("a".to_owned())),
            ("linux/arm64".to_owned(), Some("b".to_owned())),
            ("linux/arm".to_owned(), None),
        ];
        let told = |all: &[(&str, &str)]| {
            let one = |(key, text): &(&str, &str)| (format!("{EPOCH}{key}"), (*text).into());
            Solved {
                refs: refs.clone(),
                metadata: all.iter().map(one).collect(),
                ..Solved::default()
            }
        };
        assert_eq!(epochs(&told(&[])).unwrap(), []);
        let all = told(&[("", "5"), ("/linux/arm64", "-7")]);
        assert_eq!(epochs(&all).unwrap(), [("a", 5), ("b", -7)]);
        let error = epochs(&told(&[("", "5s")])).unwrap_err().to_string();
        assert!(error.contains("`5s` is no number"), "{error}");
    }
}
