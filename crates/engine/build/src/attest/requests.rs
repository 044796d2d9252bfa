//! The requests beside that of a result: those that made what its front end was given to build on, and that of the build
//! itself, where its client is the front end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Provenance;
use super::hidden::Hidden;
use super::materials::Materials;
use super::provenance::{arguments, is_own};
use crate::build::{Asked, Shared};

/// So many requests may each have made what the next one was given.
const MAX_DEPTH: usize = 8;

/// Requests, as they are said.
pub(super) struct Requests<'a> {
    how: &'a Provenance,
    /// Something of them is not said.
    pub(super) leaves_out: bool,
}

impl<'a> Requests<'a> {
    pub(super) fn new(how: &'a Provenance) -> Self {
        Self { how, leaves_out: false }
    }

    /// Those that made what a front end was given, by the names that it has there. What no front end has made has none.
    pub(super) fn inputs(&mut self, build: &Arc<Shared>, asked: &Asked) -> Map<String, Value> {
        self.inputs_at(build, asked, 0)
    }

    fn inputs_at(
        &mut self,
        build: &Arc<Shared>,
        asked: &Asked,
        depth: usize,
    ) -> Map<String, Value> {
        let mut inputs = Map::new();
        if depth == MAX_DEPTH {
            return inputs;
        }
        for (name, reference) in &asked.inputs {
            let Some((build, reference, asked)) = build.asked_anywhere(reference) else { continue };
            let found = build.reference(&reference);
            let materials = found.map(|found| Materials::of(&build, &found, Some(&*asked)));
            let materials = materials.unwrap_or_default();
            let (source, mut request) = self.one(&build, &asked, &materials, depth);
            request.insert("frontend".into(), "dockerfile.v0".into());
            inputs.insert(name.clone(), json!({ "configSource": source, "request": request }));
        }
        inputs
    }

    /// That of the build itself; `None`: there is nothing to say of it.
    pub(super) fn root(&mut self, build: &Arc<Shared>) -> Option<Value> {
        let root = build.root.get()?;
        let (source, request) = self.one(build, root, &Materials::default(), 0);
        (!request.is_empty()).then(|| json!({ "configSource": source, "request": request }))
    }

    /// Where the file of a request is, and what was asked.
    fn one(
        &mut self,
        build: &Arc<Shared>,
        asked: &Asked,
        materials: &Materials,
        depth: usize,
    ) -> (Map<String, Value>, Map<String, Value>) {
        let (source, all, _) = arguments(Some(&asked.options), materials);
        let hidden = Hidden::of(Some(&asked.options));
        let n_all = all.len();
        let is_said = |key: &str| !hidden.has(key) && (self.how.is_max || !is_own(key));
        let args: BTreeMap<_, _> = all.into_iter().filter(|(key, _)| is_said(key)).collect();
        self.leaves_out |= args.len() < n_all;
        let mut request = Map::new();
        if !args.is_empty() {
            request.insert("args".into(), json!(args));
        }
        let inputs = self.inputs_at(build, asked, depth + 1);
        if !inputs.is_empty() {
            request.insert("inputs".into(), inputs.into());
        }
        (source, request)
    }
}
