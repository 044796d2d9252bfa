//! Where the steps of a client's own graphs come from: files of its front end, and places in them. An error of a
//! step has them beside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use buildkit::pb;

/// So many bytes of files are held for a build; of more, errors say only which step it was.
const HELD: usize = 64 << 20;

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
}

impl Places {
    /// Adds what a definition says of its steps. Numbers that mean no file are passed over.
    pub(crate) fn add(&self, definition: &pb::Definition) {
        let Some(source) = &definition.source else { return };
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}
