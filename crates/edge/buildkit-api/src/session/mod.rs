//! Sessions: connections on which the client is the server, and we ask it for what a build needs.
//!
//! A client opens one (`POST /session`, or the control service's `Session`) and names it in its
//! build. The two come on connections of their own, so a build waits a little for its session.

mod ask;
mod client;
mod content;
mod exports;
mod header;
pub(crate) mod pipe;
pub(crate) mod policy;
pub(crate) mod rules;
mod tree;

pub use client::SessionClient;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::sync::watch;

use crate::transport::{Channel, Io};

/// How long a build waits for the session that it names.
const WAIT: Duration = Duration::from_secs(10);
/// More sessions than anybody has at once.
const SESSIONS: usize = 1000;
/// The longest id, in bytes.
const ID_BYTES: usize = 128;

const ID: &str = "x-docker-expose-session-uuid";
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
const METHOD: &str = "x-docker-expose-session-grpc-method";

/// Milliseconds.
const PATIENCE: &str = "x-buildkit-session-health-custom-timeout";
/// Nobody is asked more often.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// What a client says of its session before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    id: String,
    shared_key: String,
    /// What it answers, in lower case: `/moby.filesync.v1.filesync/diffcopy`.
    methods: HashSet<String>,
    /// How long it may be silent where something is asked of it, where it says so itself.
    patience: Option<Duration>,
}

impl Announced {
    /// Reads the headers of a request.
    ///
    /// # Errors
    ///
    /// There is no id, or none that can be one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, String> {
        let text = |name| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let id = text(ID);
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > ID_BYTES || !id.bytes().all(is_id) {
            return Err("the session has no id that could be one".to_owned());
        }
        let methods = headers.get_all(METHOD).iter().filter_map(|value| value.to_str().ok());
        let methods = methods.map(str::to_ascii_lowercase).collect();
        let patience = text(PATIENCE).parse().ok().map(Duration::from_millis);
        let patience = patience.map(|given| given.max(LEAST_PATIENCE));
        Ok(Self { id, shared_key: text(SHARED_KEY), methods, patience })
    }
}

/// A session that goes on.
#[derive(Debug)]
pub(crate) struct Session {
    announced: Announced,
    channel: Channel,
    ended: watch::Receiver<bool>,
}

impl Session {
    /// Whether it answers this method.
    pub(crate) fn has(&self, method: &str) -> bool {
        self.announced.methods.contains(&method.to_ascii_lowercase())
    }

    /// What the client calls the directory that it builds: the same in its next build.
    pub(crate) fn shared_key(&self) -> &str {
        &self.announced.shared_key
    }

    /// To ask over.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Whoever would say so may be gone as well: that, too, is its end.
        _ = ended.wait_for(|ended| *ended).await;
    }
}

/// All sessions that go on.
#[derive(Debug)]
pub struct Sessions {
    here: Mutex<HashMap<String, Arc<Session>>>,
    /// Counts those that came.
    came: watch::Sender<u64>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { here: Mutex::default(), came: watch::channel(0).0 }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this session can begin.
    ///
    /// # Errors
    ///
    /// One line for people.
    pub(crate) fn check(&self, announced: &Announced) -> Result<(), String> {
        let here = self.lock();
        if here.contains_key(&announced.id) {
            return Err(format!("session {} already exists", announced.id));
        }
        if here.len() >= SESSIONS {
            return Err(format!("there are {SESSIONS} sessions, which is all that can be"));
        }
        Ok(())
    }

    /// Has a session over this stream, until it ends.
    pub(crate) async fn serve(&self, announced: Announced, io: impl Io) {
        let Ok((channel, driver)) = Channel::over(io, announced.patience).await else { return };
        let (end, ended) = watch::channel(false);
        let id = announced.id.clone();
        let session = Arc::new(Session { announced, channel, ended });
        if self.check(&session.announced).is_err() {
            return;
        }
        self.lock().insert(id.clone(), Arc::clone(&session));
        let _forget = Forget { sessions: self, session };
        self.came.send_modify(|n| *n += 1);
        driver.await;
        end.send_replace(true);
    }

    /// The session of this id: waits a little for it.
    ///
    /// # Errors
    ///
    /// It did not come.
    pub(crate) async fn wait(&self, id: &str) -> Result<Arc<Session>, String> {
        let mut came = self.came.subscribe();
        let found = async {
            loop {
                if let Some(session) = self.lock().get(id) {
                    return Some(Arc::clone(session));
                }
                if came.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = tokio::time::timeout(WAIT, found).await.ok().flatten();
        found.ok_or_else(|| format!("no active session for {id}"))
    }
}

/// Takes a session off the list, whatever ends it.
struct Forget<'a> {
    sessions: &'a Sessions,
    session: Arc<Session>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut here = self.sessions.lock();
        let id = &self.session.announced.id;
        if here.get(id).is_some_and(|found| Arc::ptr_eq(found, &self.session)) {
            here.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_client_may_say_how_long_it_can_be_silent() {
        let said = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ID, HeaderValue::from_static("a"));
            headers.insert(PATIENCE, HeaderValue::from_static(text));
            Announced::read(&headers).unwrap().patience
        };
        assert_eq!(said("2000"), Some(Duration::from_secs(2)));
        assert_eq!(said("1"), Some(LEAST_PATIENCE));
        assert_eq!((said("x"), said("")), (None, None));
    }
}
