//! Where the steps of a client's own graphs come from: files of its front end, and places in them. An error of a
//! step has them beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use build::{Origin, OriginFile, OriginPlace, Position};
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
    /// Adds a definition, with what it says of its steps: where they come from, if that is said and there is room for it.
    /// Numbers that mean no file are passed over.
    pub(crate) fn add(&self, definition: &pb::Definition) -> Option<Arc<Origin>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let graph = pb::Definition { source: None, ..definition.clone() };
        let n_bytes = prost::Message::encoded_len(&graph);
        if held.n_bytes.saturating_add(n_bytes) <= HELD && !held.definitions.contains(&graph) {
            held.n_bytes += n_bytes;
            held.definitions.push(graph);
        }
        let source = definition.source.as_ref()?;
        let n_bytes = prost::Message::encoded_len(source);
        if held.n_bytes.saturating_add(n_bytes) > HELD {
            return None;
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
        drop(held);
        Some(Arc::new(origin(source)))
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

/// Where the steps of a definition come from, for the builder.
fn origin(source: &pb::Source) -> Origin {
    let file = |info: &pb::SourceInfo| {
        let from = info.definition.as_ref().and_then(|from| {
            // A file in another result of this builder's is told without where it is.
            let read = llb::read(from, &mut |_| Err("no source of a file".to_owned()));
            read.ok().flatten()
        });
        OriginFile {
            name: info.filename.clone(),
            language: info.language.clone(),
            data: info.data.clone(),
            from: from.map(|read| (read.graph, read.top)),
        }
    };
    let n_files = source.infos.len();
    let place = |location: &pb::Location| {
        let file = usize::try_from(location.source_index).ok().filter(|file| *file < n_files)?;
        let ranges = location.ranges.iter();
        let ranges = ranges.map(|range| (position(range.start), position(range.end)));
        Some(OriginPlace { file, ranges: ranges.collect() })
    };
    let places = source.locations.iter().filter_map(|(step, locations)| {
        let step: Digest = step.parse().ok()?;
        Some((step, locations.locations.iter().filter_map(place).collect::<Vec<_>>()))
    });
    Origin { files: source.infos.iter().map(file).collect(), places: places.collect() }
}

fn position(at: Option<pb::Position>) -> Position {
    at.map(|at| Position { line: at.line, character: at.character }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_file_is_passed_over() {
        let info = pb::SourceInfo { filename: "x".into(), ..pb::SourceInfo::default() };
        let location = |source_index| pb::Location { source_index, ranges: vec![] };
        let of = vec![location(0), location(1), location(-1)];
        let digest = Digest::sha256(b"a");
        let locations = [digest.to_string(), "sha256:a".to_owned()];
        let locations =
            locations.map(|step| (step, pb::Locations { locations: of.clone() })).into();
        let source = Some(pb::Source { locations, infos: vec![info] });
        let places = Places::default();
        let origin = places.add(&pb::Definition { source, ..pb::Definition::default() }).unwrap();
        let found = places.of("sha256:a");
        assert_eq!((found.len(), found[0].info.filename.as_str()), (1, "x"));
        assert!(places.of("sha256:b").is_empty());
        assert_eq!((origin.files.len(), origin.files[0].name.as_str()), (1, "x"));
        let place = OriginPlace { file: 0, ranges: vec![] };
        assert_eq!(origin.places, BTreeMap::from([(digest, vec![place])]));
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
