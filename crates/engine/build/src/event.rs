//! What is told while a build goes on: BuildKit's `StatusResponse`, taken apart.

use bytes::Bytes;
use oci::Digest;
use tokio::sync::mpsc::UnboundedSender;

use buildgraph::Range;

/// What happens. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A vertex begins, ends, or is found in the cache: the whole of what is known of it.
    Vertex(VertexState),
    /// How far a part of it is.
    Status(Status),
    /// It says something.
    Log(Log),
    /// It runs a program.
    Container {
        /// The vertex.
        vertex: Digest,
        /// The container's id. Nobody but the builder knows the container.
        id: String,
    },
    /// It has asked a registry for an image.
    Pulled(Pulled),
    /// Something is wrong with what was asked for.
    Warning(Warning),
}

/// A vertex, so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VertexState {
    /// Which; of the graph's vertices their own digest.
    pub digest: Option<Digest>,
    /// On whose results it works.
    pub inputs: Vec<Digest>,
    /// What people call it.
    pub name: String,
    /// When it began.
    pub started: Option<i64>,
    /// When it ended.
    pub completed: Option<i64>,
    /// It was in the cache.
    pub cached: bool,
    /// Why it failed; empty: it did not.
    pub error: String,
    /// It is shown with others, by an id and a name.
    pub group: Option<(String, String)>,
}

/// A part of what a vertex does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The part, of its vertex.
    pub id: String,
    /// The vertex.
    pub vertex: Option<Digest>,
    /// What people call it; empty: by its id.
    pub name: String,
    /// So far.
    pub current: i64,
    /// Of so much; 0: nobody knows.
    pub total: i64,
    /// When that was.
    pub time: i64,
    /// When it began.
    pub started: Option<i64>,
    /// When it ended.
    pub completed: Option<i64>,
}

/// Output of a vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The vertex.
    pub vertex: Digest,
    /// 1: its output, 2: its errors.
    pub stream: u8,
    /// What it says.
    pub data: Bytes,
    /// When.
    pub time: i64,
}

/// An image that a registry was asked for, and that is here now.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// The vertex.
    pub vertex: Digest,
    /// What the registry calls it.
    pub digest: Digest,
    /// As people write it.
    pub name: String,
    /// It was here before, and is the same.
    pub is_same: bool,
}

/// A source that lines are of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// `Dockerfile`.
    pub filename: String,
    /// All of it.
    pub data: Vec<u8>,
}

/// A warning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Warning {
    /// The vertex that it is about, if any.
    pub vertex: Option<Digest>,
    /// 1 is what people should see.
    pub level: i64,
    /// In short.
    pub short: String,
    /// In full, line by line.
    pub detail: Vec<String>,
    /// Where more is said.
    pub url: String,
    /// Of what the lines are.
    pub source: Option<Source>,
    /// The lines.
    pub lines: Vec<Range>,
}

/// Takes what is told. Clones tell the same listener; one that has gone is told nothing.
#[derive(Clone, Debug)]
pub struct Progress(UnboundedSender<Event>);

impl Progress {
    /// Tells this listener.
    pub fn new(listener: UnboundedSender<Event>) -> Self {
        Self(listener)
    }

    /// Tells.
    pub fn tell(&self, event: Event) {
        // Nobody listens any more: whoever asked has gone, and the build ends soon.
        let _ = self.0.send(event);
    }
}
