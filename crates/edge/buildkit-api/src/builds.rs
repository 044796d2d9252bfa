//! Builds under way, by the names that their clients gave them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build::{Build, Progress};
use buildkit::pb::Definition;
use tokio::sync::{oneshot, watch};
use tonic::Status;

use crate::failure;
use crate::front_end::{FrontEnd, Returned};
use crate::places::Places;
use crate::status::Told;

/// How long a call waits for the build that it names: it may have been sent before that.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// A build under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// The session of its client.
    pub(crate) session: String,
    pub(crate) build: Build,
    /// Tells its client something.
    pub(crate) progress: Progress,
    pub(crate) told: Arc<Told>,
    /// Its client, where that is the front end.
    pub(crate) client: Arc<FrontEnd>,
    /// Where its client's own graphs come from.
    pub(crate) places: Places,
    /// Turns true when nobody wants it any more.
    over: watch::Sender<bool>,
}

impl Job {
    /// Waits until nobody wants it any more.
    pub(crate) async fn over(&self) {
        let mut over = self.over.subscribe();
        // Whoever would say so is us.
        _ = over.wait_for(|over| *over).await;
    }

    /// An error of it, as its client is told.
    pub(crate) fn failed(&self, error: &build::Error) -> Status {
        failure::of_build(error, &self.places)
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Builds {
    under_way: Mutex<HashMap<String, Arc<Job>>>,
    /// Counts those that began or ended.
    changes: watch::Sender<u64>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { under_way: Mutex::default(), changes: watch::channel(0).0 }
    }
}

impl Builds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a build found by its name from now on, until what is answered is dropped; it is told what its
    /// client gives back.
    ///
    /// # Errors
    ///
    /// There is one of this name.
    pub(crate) fn begin(
        &self,
        id: String,
        session: String,
        build: Build,
        progress: Progress,
        told: Arc<Told>,
        inputs: BTreeMap<String, Definition>,
    ) -> Result<(UnderWay<'_>, oneshot::Receiver<Returned>), Status> {
        let (client, result) = FrontEnd::of_client(inputs);
        let client = Arc::new(client);
        let over = watch::channel(false).0;
        let of = id.clone();
        let places = Places::default();
        let job = Job { id: of, session, build, progress, told, client, places, over };
        let job = Arc::new(job);
        let mut under_way = self.lock();
        if under_way.contains_key(&id) {
            return Err(Status::already_exists(format!("a build {id} is under way")));
        }
        under_way.insert(id, Arc::clone(&job));
        drop(under_way);
        self.changes.send_modify(|n| *n += 1);
        Ok((UnderWay { builds: self, job }, result))
    }

    /// The build of this name, if it is under way.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().get(id).cloned()
    }

    /// The names of those under way.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The build of this name. Waits a little for it.
    ///
    /// # Errors
    ///
    /// It did not begin.
    pub(crate) async fn wait(&self, id: &str) -> Result<Arc<Job>, Status> {
        let mut changes = self.changes();
        let found = async {
            loop {
                if let Some(job) = self.find(id) {
                    return Some(job);
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = tokio::time::timeout(WAIT, found).await.ok().flatten();
        found.ok_or_else(|| Status::not_found(format!("no such job {id}")))
    }
}

/// A build that is found by its name as long as this lives.
pub(crate) struct UnderWay<'a> {
    builds: &'a Builds,
    pub(crate) job: Arc<Job>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.builds.lock().remove(&self.job.id);
        self.job.over.send_replace(true);
        self.builds.changes.send_modify(|n| *n += 1);
    }
}
