//! Secrets: a file's content, or a variable of the environment.

use std::path::PathBuf;
use std::sync::Arc;

use buildkit::secrets::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use super::Session;

/// The largest secret, in bytes: as in BuildKit.
const MAX_BYTES: usize = 500 << 10;

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
        let data = read(&secret).map_err(|why| Status::unknown(format!("secret {id}: {why}")))?;
        if data.len() > MAX_BYTES {
            let why = format!("secret {id}: {} bytes are more than {MAX_BYTES}", data.len());
            return Err(Status::invalid_argument(why));
        }
        Ok(Response::new(GetSecretResponse { data }))
    }
}

fn read(secret: &Secret) -> Result<Vec<u8>, String> {
    match secret {
        Secret::File(path) => std::fs::read(path).map_err(|err| format!("read {path:?}: {err}")),
        Secret::Variable(name) => {
            use std::os::unix::ffi::OsStringExt;
            let value = std::env::var_os(name);
            value.map(OsStringExt::into_vec).ok_or_else(|| format!("{name} is not set"))
        }
    }
}
