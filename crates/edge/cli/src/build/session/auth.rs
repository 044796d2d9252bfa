//! Who we are to a registry, from where `dhow login` keeps it.

use buildkit::filesync::{CredentialsRequest, CredentialsResponse};
use registry::{Keys, server_domain};
use tonic::{Request, Response, Status};

/// How BuildKit calls Docker's own registry.
const HUB: &str = "registry-1.docker.io";

pub(super) fn credentials(
    request: Request<CredentialsRequest>,
) -> impl Future<Output = Result<Response<CredentialsResponse>, Status>> {
    let host = request.into_inner().host;
    async move {
        let look = move || {
            let host = if host == HUB { "docker.io" } else { host.as_str() };
            let domain = server_domain(host).to_owned();
            Keys::read(&crate::config::file()).and_then(|keys| keys.of(&domain))
        };
        // Asking a credential helper is running a program.
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.map_err(|err| Status::internal(err.to_string()))?;
        let found = found.map_err(|err| Status::unknown(err.to_string()))?.unwrap_or_default();
        let answer = match found.identity_token {
            Some(token) => CredentialsResponse { username: String::new(), secret: token },
            None => CredentialsResponse { username: found.username, secret: found.password },
        };
        Ok(Response::new(answer))
    }
}
