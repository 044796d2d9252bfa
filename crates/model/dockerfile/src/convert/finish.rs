//! From the plan to the result.

use std::collections::BTreeSet;

use buildgraph::{Graph, Source, VertexIdx};

use super::plan::Step;
use super::stage::At;
use super::stages::Converter;
use super::{Built, Context};
use crate::call::Outline;
use crate::error::Error;
use crate::path;
use crate::problem::Problem;

impl Converter<'_> {
    pub(crate) fn finish(&mut self, target: At, source: &str) -> Result<Built, Error> {
        // All of the target is the result.
        self.use_path(target, "/");
        let needed = self.needed(target);
        let scans_context = self.stages[target].scans_context;
        if scans_context {
            self.context_used.insert("/".into());
        }
        let context = self.context();
        let named: Vec<Source> = self
            .named
            .iter()
            .map(|(local, at)| with_follow(local, &self.stages[*at].used))
            .collect();
        let mut graph = Graph::default();
        let mut emit = |plan: &super::plan::Plan, step: Option<Step>| -> Result<_, Error> {
            let Some(step) = step else { return Ok(None) };
            let idx = plan.emit(&mut graph, step, &context, &named);
            idx.map(Some).map_err(Error::nowhere)
        };
        let result = emit(&self.plan, self.stages[target].step)?;
        let mut scanned: Vec<(String, Option<VertexIdx>)> = Vec::new();
        if scans_context {
            let step = self.context_step();
            scanned.push(("context".into(), emit(&self.plan, Some(step))?));
        }
        for at in needed.iter().filter(|at| **at != target) {
            let stage = &self.stages[*at];
            if stage.is_scanned {
                scanned.push((stage.counter.stage.clone(), emit(&self.plan, stage.step)?));
            }
        }
        let outline = self.outline(target, source);
        self.set_platform(target);
        let stage = &mut self.stages[target];
        let labels = self.options.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        stage.image.config.labels.extend(labels);
        Ok(Built {
            graph,
            result,
            image: stage.image.clone(),
            base_image: stage.base_image.clone(),
            epoch: self.epoch,
            scanned,
            outline,
        })
    }

    fn context(&self) -> Source {
        match &self.options.context {
            Context::Made(source) => source.clone(),
            Context::Local { name, shared_key } => {
                let local = Source::Local(buildgraph::Local {
                    shared_key: shared_key.clone(),
                    exclude: self.options.ignore.clone(),
                    ..self.options.local(name)
                });
                with_follow(&local, &self.context_used)
            }
        }
    }

    /// An image says for which platform it is.
    fn set_platform(&mut self, target: At) {
        let image = &mut self.stages[target].image;
        if self.options.target_platform.is_some() {
            let wanted = &self.target_platform;
            let is_same = wanted.os == image.os && wanted.architecture == image.architecture;
            image.os.clone_from(&wanted.os);
            image.architecture.clone_from(&wanted.architecture);
            if wanted.variant.is_some() || !is_same {
                image.variant.clone_from(&wanted.variant);
            }
            if wanted.os_version.is_some() || !is_same {
                image.os_version.clone_from(&wanted.os_version);
            }
        }
        let platform = oci::image::Platform {
            os: image.os.clone(),
            architecture: image.architecture.clone(),
            variant: image.variant.clone(),
            ..oci::image::Platform::default()
        };
        let platform = platform.normalized();
        (image.os, image.architecture) = (platform.os, platform.architecture);
        image.variant = platform.variant;
    }

    /// The target first, then what it takes from, near before far.
    fn outline(&self, target: At, source: &str) -> Outline {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = std::collections::VecDeque::from([target]);
        while let Some(at) = open.pop_front() {
            if seen.insert(at) {
                order.push(&self.stages[at].taken);
                open.extend(self.stages[at].base);
                open.extend(self.stages[at].takes.iter().map(|(source, _)| source));
            }
        }
        let stage = &self.stages[target];
        Outline::new(stage.name.as_deref(), stage.description.as_deref(), order.into_iter(), source)
    }
}

/// A directory of which only these paths are wanted.
fn with_follow(source: &Source, used: &BTreeSet<String>) -> Source {
    let Source::Local(local) = source else { return source.clone() };
    let mut local = local.clone();
    if !used.contains("/") {
        local.follow = used.iter().map(|one| path::join(&[".", one])).collect();
    }
    Source::Local(local)
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::nowhere(problem)
    }
}
