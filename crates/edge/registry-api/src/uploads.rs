//! Uploads that are under way. Each is a file that nobody else sees, of this process: it goes with
//! the upload, and with the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use content::Writer;
use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::error::{Code, Error};

/// No more are under way at a time.
const MAX: usize = 256;
/// One that nothing comes for is given up after this long.
const LIFE: Duration = Duration::from_hours(1);
/// How long a request waits for the one before it, whose client may have gone.
const TURN: Duration = Duration::from_secs(30);

/// All uploads.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Arc<Upload>>>);

/// One upload.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The repository that it is for.
    pub(crate) repository: String,
    n_bytes: AtomicU64,
    touched: Mutex<Instant>,
    writer: Arc<TurnMutex<Option<Writer>>>,
}

/// The one who may write to an upload.
pub(crate) type Turn = OwnedMutexGuard<Option<Writer>>;

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Upload>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more, once those are given up that nothing comes for.
    pub(crate) fn make_room(&self) -> Result<(), Error> {
        let mut uploads = self.lock();
        uploads.retain(|_, upload| upload.is_alive());
        if uploads.len() < MAX {
            return Ok(());
        }
        let error = Error::new(Code::TooManyRequests, format!("{MAX} uploads are under way"));
        Err(error.with(hyper::header::RETRY_AFTER, "60"))
    }

    /// Adds an upload. Its id.
    pub(crate) fn add(&self, repository: &str, writer: Writer) -> Result<String, Error> {
        let id = new_id().map_err(|error| Error::internal(&error))?;
        let upload = Upload {
            repository: repository.into(),
            n_bytes: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
            writer: Arc::new(TurnMutex::new(Some(writer))),
        };
        self.lock().insert(id.clone(), Arc::new(upload));
        Ok(id)
    }

    /// The upload of this id to this repository.
    pub(crate) fn find(&self, repository: &str, id: &str) -> Result<Arc<Upload>, Error> {
        let upload = self.lock().get(id).cloned();
        upload.filter(|upload| upload.repository == repository).ok_or_else(Error::upload_unknown)
    }

    /// Forgets an upload. What came of it goes when the last request that writes to it has ended.
    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }
}

impl Upload {
    /// How many bytes have come.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Acquire)
    }

    /// The range of what has come, as the specification wants it.
    pub(crate) fn range(&self) -> String {
        format!("0-{}", self.n_bytes().saturating_sub(1))
    }

    /// Notes how much has come.
    pub(crate) fn came(&self, n_bytes: u64) {
        self.n_bytes.store(n_bytes, Ordering::Release);
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits for one's turn to write.
    pub(crate) async fn turn(&self) -> Result<Turn, Error> {
        let turn = timeout(TURN, Arc::clone(&self.writer).lock_owned()).await;
        turn.map_err(|_| {
            Error::new(Code::BlobUploadInvalid, "another request writes to this upload")
                .with_status(hyper::StatusCode::CONFLICT)
        })
    }

    fn is_alive(&self) -> bool {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.elapsed() < LIFE || self.writer.try_lock().is_err()
    }
}

/// A random UUID (RFC 9562, 5.4): who does not know it cannot write to the upload.
fn new_id() -> rustix::io::Result<String> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(one, other);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!((parts, &one[14..15]), (vec![8, 4, 4, 4, 12], "4"));
    }
}
