//! Secrets: a file's content, or a variable of the environment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buildkit::secrets::{GetSecretRequest, GetSecretResponse};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tonic::{Request, Response, Status};

use super::Session;

/// The largest secret, in bytes: as in BuildKit.
const MAX_BYTES: usize = 500 << 10;
/// How long it is waited for somebody who writes to a FIFO.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    File(PathBuf),
    Variable(String),
}

pub(super) fn get(
    session: &Arc<Session>,
    request: Request<GetSecretRequest>,
) -> impl Future<Output = Result<Response<GetSecretResponse>, Status>> + use<> {
    let id = request.into_inner().id;
    let found = session.secrets.get(&id).cloned();
    async move {
        let Some(secret) = found else {
            return Err(Status::not_found(format!("secret {id} was not given")));
        };
        let reading = tokio::task::spawn_blocking(move || read(&secret, PATIENCE)).await;
        let data = reading.map_err(|err| Status::internal(format!("secret {id}: {err}")))?;
        let data = data.map_err(|why| Status::unknown(format!("secret {id}: {why}")))?;
        if data.len() > MAX_BYTES {
            let why = format!("secret {id}: {} bytes are more than {MAX_BYTES}", data.len());
            return Err(Status::invalid_argument(why));
        }
        Ok(Response::new(GetSecretResponse { data }))
    }
}

fn read(secret: &Secret, patience: Duration) -> Result<Vec<u8>, String> {
    match secret {
        Secret::File(path) => {
            read_file(path, patience).map_err(|err| format!("read {path:?}: {err}"))
        }
        Secret::Variable(name) => {
            use std::os::unix::ffi::OsStringExt;
            let value = std::env::var_os(name);
            value.map(OsStringExt::into_vec).ok_or_else(|| format!("{name} is not set"))
        }
    }
}

/// At most one byte more than a secret can have.
fn read_file(path: &Path, patience: Duration) -> io::Result<Vec<u8>> {
    // Opening a FIFO to which nobody writes would not come back.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        wait_for_writer(&file, patience)?;
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    let mut data = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut data)?;
    Ok(data)
}

fn wait_for_writer(fifo: &File, patience: Duration) -> io::Result<()> {
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: patience.subsec_nanos().into() };
    let mut fds = [PollFd::new(fifo, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout))? {
        0 => Err(io::Error::other("nobody writes to this FIFO")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_read_where_somebody_writes_and_not_waited_for_else() {
        let path = std::env::temp_dir().join(format!("dhow-secret-{}", std::process::id()));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        let secret = Secret::File(path.clone());
        let why = read(&secret, Duration::from_millis(20)).unwrap_err();
        assert!(why.ends_with("nobody writes to this FIFO"), "{why}");
        let to = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(to, "hush"));
        assert_eq!(read(&secret, PATIENCE).unwrap(), b"hush");
        writer.join().unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn no_more_is_read_than_a_secret_can_have() {
        let endless = Secret::File("/dev/zero".into());
        assert_eq!(read(&endless, PATIENCE).unwrap().len(), MAX_BYTES + 1);
        assert!(read(&Secret::File("/nonexistent".into()), PATIENCE).is_err());
    }
}
