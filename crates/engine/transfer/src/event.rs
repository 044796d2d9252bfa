//! What is told while images come and go.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::Digest;
use oci::image::Descriptor;
use reference::Reference;

/// The shortest time between two numbers about one layer.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes what is told, from any thread; it should not take long.
pub type Events = dyn Fn(Event) + Send + Sync;

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The image is at the registry.
    Pulling {
        /// Its tag or digest.
        tag: String,
        /// Its repository, without the registry.
        repository: String,
    },
    /// The image is there to be pushed.
    Pushing {
        /// Its repository, in full.
        repository: String,
    },
    /// Something about a layer.
    Layer {
        /// The start of its digest.
        id: String,
        /// What.
        layer: Layer,
    },
    /// A host did not have it, or failed: the next is asked.
    Passed {
        /// Which.
        host: String,
        /// Why.
        why: String,
    },
    /// It came from this host, which is not the registry itself.
    From {
        /// Which.
        host: String,
    },
    /// A tag has come.
    Pulled {
        /// What the registry calls it.
        digest: Digest,
        /// As people write it.
        name: String,
        /// It was there before, and is the same.
        is_same: bool,
    },
    /// An index was to go of which not all is here: one of its images has gone in its place.
    Instead {
        /// The index.
        index: Box<Descriptor>,
        /// The image's manifest.
        manifest: Box<Descriptor>,
    },
    /// An index cannot go: this manifest is neither here nor at the registry.
    Missing(Box<Descriptor>),
    /// A tag has gone.
    Pushed {
        /// The tag.
        tag: String,
        /// The manifest's digest.
        digest: Digest,
        /// The manifest's size in bytes.
        size: u64,
    },
}

/// How far a layer is. Numbers are bytes, of how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// It will be fetched.
    Found,
    /// It waits for others.
    Waiting,
    /// It comes.
    Downloading(u64, u64),
    /// It has come, and is what it should be.
    Downloaded,
    /// It is being unpacked.
    Extracting(u64, u64),
    /// It is in its place.
    Complete,
    /// It was here before.
    Here,
    /// It will be sent.
    Preparing,
    /// It goes.
    Pushing(u64, u64),
    /// It is there.
    Pushed,
    /// The registry had it in this other repository.
    Mounted(String),
    /// The registry had it.
    There,
    /// Not everybody may pass it on, and it is to be had elsewhere: it does not go.
    Foreign,
}

/// The start of a digest, as tables show it.
pub(crate) fn id(digest: &Digest) -> String {
    digest.short().to_owned()
}

/// What an image is asked for by: its digest, or its tag.
pub(crate) fn tag(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or(reference::DEFAULT_TAG).to_owned(),
    }
}

/// Lets a number pass now and then.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Option<Instant>>);

impl Meter {
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}
