//! One request, as a handler sees it, and the answers it can give.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use containers::Engine;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Api, Builds, Upgrades,
    error::Error,
    http::{
        body::{BodyReader, ReplyBody, drain},
        connection::Answer,
        query::Query,
    },
    version::Version,
};

/// The largest body that is held in memory: as much as a program's arguments and variables can be
/// together (execve(2)). What is larger comes as a stream (tar archives).
const BODY_BYTES: usize = 2 << 20;
/// The same for one that makes a container: with every port of TCP and UDP published it is some 12 MB.
const CONTAINER_BYTES: usize = 16 << 20;
/// The most values in it: an empty object is two bytes here and some hundreds when it is read.
const BODY_VALUES: usize = 1 << 17;
/// The most values in maps of ports, beside these: a port is six of them, each small when it is read.
const PORT_VALUES: usize = 1 << 20;
/// What is a map of ports.
const PORT_MAPS: [&[u8]; 2] = [b"ExposedPorts", b"PortBindings"];

pub(crate) type Reply = Result<Answer, Error>;

/// One request.
pub(crate) struct Call {
    pub(crate) engine: Arc<Engine>,
    /// Who takes connections over that become something else.
    pub(crate) upgrades: Option<Arc<dyn Upgrades>>,
    /// Builds under way.
    pub(crate) builds: Builds,
    /// What `info` warns of beside what the engine knows.
    pub(crate) warnings: Arc<[String]>,
    /// See [`Api::alone`].
    pub(crate) alone: bool,
    pub(crate) version: Version,
    /// What the `{}` of the route stands for.
    pub(crate) id: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    body: Option<Incoming>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            tokio::spawn(drain(body));
        }
    }
}

impl Call {
    pub(crate) fn new(api: &Api, version: Version, id: String, request: Request<Incoming>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            engine: Arc::clone(&api.engine),
            upgrades: api.upgrades.clone(),
            builds: api.builds.clone(),
            warnings: Arc::clone(&api.warnings),
            alone: api.alone,
            version,
            id,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            headers: head.headers,
            body: Some(body),
        }
    }

    /// Runs what blocks, with the engine.
    pub(crate) async fn engine<T, E, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
        F: FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    {
        let engine = Arc::clone(&self.engine);
        blocking(move || work(&engine)).await
    }

    /// The same for what is over in a moment, and all that the client waits for. One that is alone in this process
    /// has it done here: to wake another thread, and to be woken by it, is a good part of the time that the work
    /// takes.
    pub(crate) async fn shortly<T, E, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
        F: FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    {
        if self.alone { work(&self.engine).map_err(Into::into) } else { self.engine(work).await }
    }

    /// Whether the request has a body at all.
    pub(crate) fn has_body(&self) -> bool {
        self.headers.contains_key(TRANSFER_ENCODING)
            || self.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
    }

    /// The body as JSON. No body is the zero value, as in `dockerd`.
    pub(crate) async fn json<T: DeserializeOwned + Default + docker::go::Request>(
        &mut self,
    ) -> Result<T, Error> {
        match self.json_text().await? {
            Some(body) => parse(&body),
            None => Ok(T::default()),
        }
    }

    /// The text of the body, which is to be JSON; `None` where there is none.
    pub(crate) async fn json_text(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.json_text_within(BODY_BYTES).await
    }

    /// The same of a container that is to be made.
    pub(crate) async fn container_text(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.json_text_within(CONTAINER_BYTES).await
    }

    async fn json_text_within(&mut self, most: usize) -> Result<Option<Vec<u8>>, Error> {
        let content_type = self.headers.get(CONTENT_TYPE);
        if !self.has_body() && content_type.is_none() {
            return Ok(None);
        }
        let content_type = content_type.map(|value| value.to_str().unwrap_or_default());
        check_json(content_type.unwrap_or_default())?;
        if !self.has_body() {
            return Ok(None);
        }
        let mut body = Vec::from(self.bytes_within(most).await?);
        if body.trim_ascii().is_empty() {
            return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
        }
        // As Go reads it, where serde would refuse it.
        if std::str::from_utf8(&body).is_err() {
            body = String::from_utf8_lossy(&body).into_owned().into_bytes();
        }
        docker::fold_keys(&mut body);
        Ok(Some(body))
    }

    /// The whole body, of at most so many bytes.
    async fn bytes_within(&mut self, most: usize) -> Result<Bytes, Error> {
        let Some(body) = self.body.take() else { return Ok(Bytes::new()) };
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(err) if err.is::<http_body_util::LengthLimitError>() => {
                Err(Error::invalid(format!("the request's body is larger than {} MiB", most >> 20)))
            }
            Err(err) => Err(Error::invalid(format!("read the request's body: {err}"))),
        }
    }

    /// The body as a stream for a blocking thread.
    pub(crate) fn reader(&mut self) -> BodyReader {
        BodyReader::new(self.body.take())
    }
}

/// Reads a body; `null` is the zero value.
pub(crate) fn parse<T: DeserializeOwned + Default + docker::go::Request>(
    body: &[u8],
) -> Result<T, Error> {
    // serde would read a list as the fields of a struct.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Error::unreadable(body, T::go(), "invalid type: array, expected an object"));
    }
    let (ports, others) = values(body);
    for (count, most) in [(others, BODY_VALUES), (ports, PORT_VALUES)] {
        if count > most {
            return Err(Error::invalid(format!("invalid JSON: more than {most} values")));
        }
    }
    let mut read = serde_json::Deserializer::from_slice(body);
    let value = Option::<T>::deserialize(&mut read)
        .map_err(|err| Error::unreadable(body, T::go(), &err.to_string()))?;
    if read.end().is_err() {
        return Err(Error::invalid("unexpected content after JSON"));
    }
    Ok(value.unwrap_or_default())
}

/// How many values there are at most, in maps of ports and elsewhere, lists and objects among them: each stands at
/// the beginning, or after one of `[{,`, outside of texts (in an object, with its name).
fn values(body: &[u8]) -> (usize, usize) {
    let (mut ports, mut others) = (0, 1);
    // Where the text began that we are in, and the last one, which may be a name.
    let (mut text, mut escaped, mut name): (Option<usize>, bool, &[u8]) = (None, false, &[]);
    // How deep we are, and how deep the map of ports is that we are in.
    let (mut depth, mut map): (usize, Option<usize>) = (0, None);
    for (at, byte) in body.iter().enumerate() {
        match (byte, text) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', Some(start)) => {
                name = &body[start..at];
                text = None;
            }
            (b'"', None) => text = Some(at + 1),
            (b'[' | b'{' | b',', None) => {
                *(if map.is_some() { &mut ports } else { &mut others }) += 1;
                if *byte != b',' {
                    let is_map = PORT_MAPS.iter().any(|map| name.eq_ignore_ascii_case(map));
                    if *byte == b'{' && map.is_none() && is_map {
                        map = Some(depth);
                    }
                    depth += 1;
                }
                name = &[];
            }
            (b']' | b'}', None) => {
                depth = depth.saturating_sub(1);
                map = map.filter(|map| *map < depth);
            }
            _ => {}
        }
    }
    (ports, others)
}

fn check_json(content_type: &str) -> Result<(), Error> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

/// How many calls are being worked on, in this process.
static N_AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// A call that is being worked on.
struct AtWork;

impl AtWork {
    fn begin() -> Self {
        N_AT_WORK.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        N_AT_WORK.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the engine is at work on a call, in this process: also on one whose client has gone. Archives that
/// are read or written and transfers are not counted.
pub fn is_at_work() -> bool {
    N_AT_WORK.load(Ordering::SeqCst) > 0
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T, E, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    E: Into<Error> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let at_work = AtWork::begin();
    let done = tokio::task::spawn_blocking(move || {
        let _at_work = at_work;
        work()
    });
    match done.await {
        Ok(result) => result.map_err(Into::into),
        Err(err) => Err(Error::internal(format!("the engine panicked: {err}"))),
    }
}

/// JSON, with the line end that Go's encoder writes.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let mut body = serde_json::to_vec(value).map_err(|err| Error::internal(err.to_string()))?;
    body.push(b'\n');
    Ok(reply(status, "application/json", ReplyBody::Whole(body.into())))
}

/// `200 OK` with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Reply {
    json(StatusCode::OK, value)
}

/// `201 Created` with JSON.
pub(crate) fn created(value: &impl Serialize) -> Reply {
    json(StatusCode::CREATED, value)
}

/// A status that says it all.
#[expect(clippy::unnecessary_wraps, reason = "what handlers return")]
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(ReplyBody::Whole(Bytes::new()));
    *response.status_mut() = status;
    Ok(Answer::Reply(response))
}

/// `204 No Content`.
pub(crate) fn done() -> Reply {
    empty(StatusCode::NO_CONTENT)
}

/// A body of some type.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: ReplyBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Answer::Reply(response)
}

/// One header more.
pub(crate) fn with_header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    let headers = match &mut answer {
        Answer::Reply(response) => response.headers_mut(),
        Answer::TakeOver(head, _) => head.headers_mut(),
    };
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    answer
}

/// A value as JSON that can still be changed.
pub(crate) fn to_value(value: &impl Serialize) -> Result<serde_json::Value, Error> {
    serde_json::to_value(value).map_err(|err| Error::internal(err.to_string()))
}
