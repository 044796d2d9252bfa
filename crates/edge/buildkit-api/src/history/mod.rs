//! The history of builds: a record of each, and all that it told, for when somebody asks.

mod disk;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build::Recorded;
use buildkit::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, Descriptor,
    SolveRequest, UpdateBuildHistoryRequest,
};
use buildkit::rpc;
use data_encoding::BASE64;
use prost::Message as _;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::clock::{now, timestamp};
use crate::request;
use crate::status::Told;
use disk::Disk;

/// How long what an ended build told is held in memory: its client may ask for it only now.
const HELD: Duration = Duration::from_secs(30);
/// Events for those who listen; who is slower misses some.
const EVENTS: usize = 256;

type Event = Result<BuildHistoryEvent, Status>;

/// All builds, those under way and those that were.
#[derive(Debug)]
pub(crate) struct History {
    disk: Disk,
    recent: Mutex<HashMap<String, Recent>>,
    events: broadcast::Sender<BuildHistoryEvent>,
}

/// A build under way, or that has just ended.
#[derive(Debug)]
struct Recent {
    record: BuildHistoryRecord,
    told: Arc<Told>,
    /// It is in the history, and not only looked for by its own client.
    is_recorded: bool,
}

/// How a build ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// What came of it, what is to be said of its results, and the document of its image, where that is here.
    Well(BTreeMap<String, String>, Vec<Recorded>, Option<Vec<u8>>),
    /// Why it failed.
    Failed(rpc::Status),
}

impl History {
    /// Records are kept in the directory `dir`, which is made with the first one.
    pub(crate) fn new(dir: PathBuf) -> Self {
        let events = broadcast::channel(EVENTS).0;
        Self { disk: Disk::new(dir), recent: Mutex::default(), events }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the record of a build; that it was broken off is what it says where nobody ends it.
    pub(crate) fn begin(self: &Arc<Self>, asked: &SolveRequest, told: Arc<Told>) -> Recording {
        let record = BuildHistoryRecord {
            r#ref: asked.r#ref.clone(),
            frontend: asked.frontend.clone(),
            frontend_attrs: asked.frontend_attrs.clone(),
            exporters: request::exporters(asked),
            created_at: Some(timestamp(now())),
            generation: 1,
            ..BuildHistoryRecord::default()
        };
        let id = record.r#ref.clone();
        let is_recorded = !asked.internal;
        let recent = Recent { record: record.clone(), told: Arc::clone(&told), is_recorded };
        self.lock().insert(id, recent);
        if is_recorded {
            self.tell(BuildHistoryEventType::Started, record.clone());
        }
        let history = Arc::clone(self);
        Recording { history, told, record: Some(record), is_recorded }
    }

    fn tell(&self, kind: BuildHistoryEventType, record: BuildHistoryRecord) {
        // Nobody may listen.
        _ = self.events.send(BuildHistoryEvent { r#type: kind.into(), record: Some(record) });
    }

    /// What a build told, or tells.
    pub(crate) async fn told(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Told>>, Status> {
        if let Some(recent) = self.lock().get(id) {
            return Ok(Some(Arc::clone(&recent.told)));
        }
        let id = id.to_owned();
        self.with_disk(move |disk| disk.told(&id)).await
    }

    /// A blob of what is attested of builds; `None`: there is none of this digest.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        digest: &oci::Digest,
    ) -> Result<Option<Vec<u8>>, Status> {
        let digest = digest.clone();
        self.with_disk(move |disk| disk.blob(&digest)).await
    }

    async fn with_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Disk) -> Result<T, disk::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let history = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&history.disk)).await;
        let done = done.map_err(|error| Status::internal(error.to_string()))?;
        done.map_err(|error| Status::internal(docker_text(&error)))
    }

    /// Tells of builds: of those under way, of those that were, and of what comes, as it is asked for.
    pub(crate) async fn listen(
        self: Arc<Self>,
        asked: BuildHistoryRequest,
        to: mpsc::Sender<Event>,
    ) {
        let mut events = self.events.subscribe();
        let first = match self.first(&asked).await {
            Ok(first) => first,
            Err(status) => {
                // Who has gone needs no error.
                _ = to.send(Err(status)).await;
                return;
            }
        };
        for event in first {
            if to.send(Ok(event)).await.is_err() {
                return;
            }
        }
        if asked.early_exit {
            return;
        }
        loop {
            let next = tokio::select! {
                next = events.recv() => next,
                () = to.closed() => return,
            };
            let event = match next {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            let is_it = event.record.as_ref().is_some_and(|record| record.r#ref == asked.r#ref);
            if (asked.r#ref.is_empty() || is_it) && to.send(Ok(event)).await.is_err() {
                return;
            }
        }
    }

    async fn first(
        self: &Arc<Self>,
        asked: &BuildHistoryRequest,
    ) -> Result<Vec<BuildHistoryEvent>, Status> {
        if !asked.filter.is_empty() {
            return Err(Status::unimplemented("filters of the history are the client's"));
        }
        let limit = usize::try_from(asked.limit)
            .map_err(|_| Status::invalid_argument(format!("invalid limit {}", asked.limit)))?;
        let is_wanted = |id: &str| asked.r#ref.is_empty() || asked.r#ref == id;
        let event = |kind: BuildHistoryEventType, record| BuildHistoryEvent {
            r#type: kind.into(),
            record: Some(record),
        };
        let under_way: Vec<_> = self
            .lock()
            .values()
            .filter(|one| one.is_recorded && one.record.completed_at.is_none())
            .map(|one| one.record.clone())
            .filter(|record| is_wanted(&record.r#ref))
            .collect();
        let mut events: Vec<_> = under_way
            .into_iter()
            .map(|record| event(BuildHistoryEventType::Started, record))
            .collect();
        if !asked.active_only {
            let mut records = self.with_disk(Disk::records).await?;
            records.retain(|record| is_wanted(&record.r#ref));
            if limit > 0 {
                records.truncate(limit);
            }
            let complete = |record| event(BuildHistoryEventType::Complete, record);
            events.extend(records.into_iter().map(complete));
        }
        Ok(events)
    }

    /// Changes a record, or removes it.
    pub(crate) async fn update(
        self: &Arc<Self>,
        asked: UpdateBuildHistoryRequest,
    ) -> Result<(), Status> {
        let id = request::name(&asked.r#ref)?;
        let missing = || Status::not_found(format!("no build {id} in the history"));
        let (of, delete, pinned) = (id.clone(), asked.delete, asked.pinned);
        if asked.finalize {
            // The trace of a build is there as soon as the build is over.
            return Ok(());
        }
        let found = if delete {
            self.with_disk(move |disk| disk.remove(&of)).await?
        } else {
            self.with_disk(move |disk| disk.pin(&of, pinned)).await?
        };
        let record = found.ok_or_else(missing)?;
        if delete {
            self.lock().remove(&id);
            self.tell(BuildHistoryEventType::Deleted, record);
        } else {
            self.tell(BuildHistoryEventType::Complete, record);
        }
        Ok(())
    }

    /// Ends a record, with all that its build told.
    async fn complete(
        self: Arc<Self>,
        mut record: BuildHistoryRecord,
        told: Arc<Told>,
        mut blobs: Vec<Vec<u8>>,
        is_recorded: bool,
    ) {
        let (responses, counts) = told.all().await;
        let (total, cached, completed) = counts.steps();
        record.num_total_steps = total;
        record.num_cached_steps = cached;
        record.num_completed_steps = completed;
        record.num_warnings = counts.warnings;
        let id = record.r#ref.clone();
        if is_recorded {
            let trace = trace::of(&record, &responses);
            record.trace = Some(descriptor(trace::TRACE, &trace));
            blobs.push(trace);
            let written = record.clone();
            // A history that cannot be written is no reason for a build to fail.
            _ = self.with_disk(move |disk| disk.write(&written, &responses, &blobs)).await;
            self.tell(BuildHistoryEventType::Complete, record.clone());
        }
        if let Some(recent) = self.lock().get_mut(&id) {
            recent.record = record;
        }
        tokio::spawn(self.forget(id, told));
    }

    /// Forgets what a build told, when nobody comes late any more.
    async fn forget(self: Arc<Self>, id: String, told: Arc<Told>) {
        tokio::time::sleep(HELD).await;
        let mut recent = self.lock();
        if recent.get(&id).is_some_and(|recent| Arc::ptr_eq(&recent.told, &told)) {
            recent.remove(&id);
        }
    }
}

fn docker_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The image that a build has made, by what was told of it.
fn described(response: &BTreeMap<String, String>) -> Option<Descriptor> {
    let text = response.get("containerimage.descriptor")?;
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    let image: oci::image::Descriptor = serde_json::from_slice(&bytes).ok()?;
    Some(Descriptor {
        media_type: image.media_type,
        digest: image.digest.to_string(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        annotations: image.annotations,
    })
}

/// What statements are, and of which kind.
const STATEMENT: &str = "application/vnd.in-toto+json";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Names what is said of a result in its record. What is to be kept of it.
fn attach(record: &mut BuildHistoryRecord, recorded: Recorded) -> Vec<u8> {
    let of = match recorded.platform.as_str() {
        "" => record.result.get_or_insert_default(),
        platform => record.results.entry(platform.to_owned()).or_default(),
    };
    of.attestations.push(Descriptor {
        annotations: BTreeMap::from([(PREDICATE_TYPE.into(), recorded.predicate_type.into())]),
        ..descriptor(STATEMENT, &recorded.says)
    });
    recorded.says
}

fn descriptor(media_type: &str, of: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: oci::Digest::sha256(of).to_string(),
        size: of.len() as i64,
        annotations: BTreeMap::new(),
    }
}

/// What a whole error is (so spelled in BuildKit).
const ERROR: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// Says in a record why its build failed. What programs look at (steps, lines) is beside it: what is to be kept of it.
fn fail(record: &mut BuildHistoryRecord, error: rpc::Status) -> Option<Vec<u8>> {
    let whole = (!error.details.is_empty()).then(|| error.encode_to_vec());
    record.external_error = whole.as_ref().map(|whole| descriptor(ERROR, whole));
    record.error = Some(rpc::Status { details: Vec::new(), ..error });
    whole
}

/// The record of a build under way.
#[derive(Debug)]
pub(crate) struct Recording {
    history: Arc<History>,
    told: Arc<Told>,
    record: Option<BuildHistoryRecord>,
    is_recorded: bool,
}

impl Recording {
    /// The build has ended.
    pub(crate) async fn end(mut self, how: Ended) {
        // Whoever is told that it is over may end this very process.
        if let Some(written) = self.finish(how) {
            _ = written.await;
        }
    }

    /// Also where nobody waits for it.
    fn finish(&mut self, how: Ended) -> Option<JoinHandle<()>> {
        let mut record = self.record.take()?;
        record.completed_at = Some(timestamp(now()));
        let mut blobs = Vec::new();
        match how {
            Ended::Well(response, recorded, document) => {
                // Who looks at a record wants to read what it names, also when the image has gone.
                if let (Some(image), Some(document)) = (described(&response), document) {
                    let result = record.result.get_or_insert_default();
                    result.result_deprecated = Some(image.clone());
                    result.results = [(0, image)].into();
                    blobs.push(document);
                }
                record.exporter_response = response;
                blobs.extend(recorded.into_iter().map(|one| attach(&mut record, one)));
            }
            Ended::Failed(error) => blobs.extend(fail(&mut record, error)),
        }
        let (history, told) = (Arc::clone(&self.history), Arc::clone(&self.told));
        Some(tokio::spawn(history.complete(record, told, blobs, self.is_recorded)))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        _ = self.finish(Ended::Failed(rpc::Status {
            code: tonic::Code::Cancelled as i32,
            message: "context canceled".to_owned(),
            details: Vec::new(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use buildkit::prost_types::Any;

    use super::*;

    #[test]
    fn the_whole_of_an_error_is_beside_the_record() {
        let mut record = BuildHistoryRecord::default();
        let detail = Any { type_url: "x".into(), value: b"{}".to_vec() };
        let error = rpc::Status { code: 2, message: "no".into(), details: vec![detail] };
        let whole = fail(&mut record, error.clone()).unwrap();
        assert_eq!(rpc::Status::decode(whole.as_slice()).unwrap(), error);
        assert_eq!(record.external_error.unwrap().size, whole.len() as i64);
        let short = rpc::Status { details: Vec::new(), ..error };
        assert_eq!(record.error, Some(short.clone()));
        let mut record = BuildHistoryRecord::default();
        assert_eq!(fail(&mut record, short), None);
        assert!(record.external_error.is_none());
    }
}
