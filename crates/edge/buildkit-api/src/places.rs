//! Where the steps of a client's own graphs come from: files of its front end, and places in them. An error of a
//! step has them beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use buildkit::pb;
use oci::Digest;

/// So many bytes of files and graphs are held for a build; of more, errors say only which step it was.
const HELD: usize = 64 << 20;

/// Operations that were given out and that are larger are in no error: it has to fit into the end of an answer.
const MAX_GIVEN: usize = 64 << 10;

/// A file, with places in it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) info: Arc<pb::SourceInfo>,
    pub(crate) ranges: Vec<pb::Range>,
}

/// By the digests of steps.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    n_bytes: usize,
    by_step: HashMap<String, Vec<Place>>,
    /// The graphs themselves.
    definitions: Vec<pb::Definition>,
    /// What steps of others than the client were given out as.
    given: HashMap<Digest, pb::Op>,
}

impl Places {
    /// Adds a definition, with what it says of its steps. Numbers that mean no file are passed over.
    pub(crate) fn add(&self, definition: &pb::Definition) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let graph = pb::Definition { source: None, ..definition.clone() };
        let n_bytes = prost::Message::encoded_len(&graph);
        if held.n_bytes.saturating_add(n_bytes) <= HELD && !held.definitions.contains(&graph) {
            held.n_bytes += n_bytes;
            held.definitions.push(graph);
        }
        let Some(source) = &definition.source else { return };
        let n_bytes = prost::Message::encoded_len(source);
        if held.n_bytes.saturating_add(n_bytes) > HELD {
            return;
        }
        held.n_bytes += n_bytes;
        let infos: Vec<_> = source.infos.iter().cloned().map(Arc::new).collect();
        for (step, locations) in &source.locations {
            let places = locations.locations.iter().filter_map(|location| {
                let info = infos.get(usize::try_from(location.source_index).ok()?)?;
                Some(Place { info: Arc::clone(info), ranges: location.ranges.clone() })
            });
            held.by_step.insert(step.clone(), places.collect());
        }
    }

    /// An operation, by its digest, with what is said of it.
    pub(crate) fn operation(&self, step: &Digest) -> Option<(pb::Op, BTreeMap<String, String>)> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |bytes: &&Vec<u8>| Digest::sha256(bytes) == *step;
        let found =
            held.definitions.iter().find_map(|one| Some((one, one.def.iter().find(is_it)?)));
        let (definition, bytes) = found?;
        let metadata = definition.metadata.get(&step.to_string());
        let description = metadata.map(|metadata| metadata.description.clone());
        Some((prost::Message::decode(bytes.as_slice()).ok()?, description.unwrap_or_default()))
    }

    /// Notes as which operations steps were given out.
    pub(crate) fn give(&self, operations: Vec<(Digest, pb::Op)>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, op) in operations {
            let n_bytes = prost::Message::encoded_len(&op);
            let has_room = n_bytes <= MAX_GIVEN && held.n_bytes.saturating_add(n_bytes) <= HELD;
            if has_room && !held.given.contains_key(&step) {
                held.n_bytes += n_bytes;
                held.given.insert(step, op);
            }
        }
    }

    /// What a step was given out as.
    pub(crate) fn given(&self, step: &Digest) -> Option<pb::Op> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.given.get(step).cloned()
    }

    /// Those of a step.
    pub(crate) fn of(&self, step: &str) -> Vec<Place> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.by_step.get(step).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_file_is_passed_over() {
        let info = pb::SourceInfo { filename: "x".into(), ..pb::SourceInfo::default() };
        let location = |source_index| pb::Location { source_index, ranges: vec![] };
        let locations = vec![location(0), location(1), location(-1)];
        let locations = [("sha256:a".to_owned(), pb::Locations { locations })].into();
        let source = Some(pb::Source { locations, infos: vec![info] });
        let places = Places::default();
        places.add(&pb::Definition { source, ..pb::Definition::default() });
        let found = places.of("sha256:a");
        assert_eq!((found.len(), found[0].info.filename.as_str()), (1, "x"));
        assert!(places.of("sha256:b").is_empty());
    }

    #[test]
    fn an_operation_is_found_by_its_digest() {
        let op = pb::Op { inputs: vec![pb::Input::default()], ..pb::Op::default() };
        let bytes = prost::Message::encode_to_vec(&op);
        let digest = Digest::sha256(&bytes);
        let description = [("a".to_owned(), "b".to_owned())].into();
        let metadata = pb::OpMetadata { description, ..pb::OpMetadata::default() };
        let metadata = [(digest.to_string(), metadata)].into();
        let places = Places::default();
        let def = vec![b"\xff".to_vec(), bytes];
        places.add(&pb::Definition { def, metadata, source: None });
        assert_eq!(places.operation(&digest).unwrap(), (op, [("a".into(), "b".into())].into()));
        assert!(places.operation(&Digest::sha256(b"\xff")).is_none(), "it is none");
        assert!(places.operation(&Digest::sha256(b"other")).is_none());
    }
}
