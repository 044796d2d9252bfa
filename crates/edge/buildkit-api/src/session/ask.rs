//! Questions that are one call.

use buildkit::filesync::{CredentialsRequest, auth_client::AuthClient};
use buildkit::secrets::{GetSecretRequest, secrets_client::SecretsClient};
use buildkit::sshforward::{CheckAgentRequest, ssh_client::SshClient};
use registry::Credentials;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tonic::{Code, Request};

use super::pipe::{carry_in, carry_out, pipe};
use super::{Session, header};
use crate::transport::{Channel, MESSAGE};

/// How `docker.io` is called where clients look for its credentials.
const HUB: &str = "registry-1.docker.io";

/// The secret of this id. A client that has none says so, or does not know the question.
pub(super) async fn secret(session: &Session, id: &str) -> Result<Option<Vec<u8>>, String> {
    let mut client = SecretsClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE);
    let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
    match client.get_secret(request).await {
        Ok(secret) => Ok(Some(secret.into_inner().data)),
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
        Err(status) => Err(format!("secret {id}: {}", status.message())),
    }
}

/// Whether there is an agent of this id.
pub(super) async fn has_agent(session: &Session, id: &str) -> Result<bool, String> {
    if !session.has("/moby.sshforward.v1.SSH/CheckAgent") {
        return Ok(false);
    }
    let mut client = SshClient::with_origin(session.channel(), Channel::origin());
    match client.check_agent(CheckAgentRequest { id: id.to_owned() }).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::Unavailable => Err(status.message().to_owned()),
        Err(_) => Ok(false),
    }
}

/// A connection to the agent of this id.
pub(super) fn agent(session: &Session, id: &str) -> tokio::io::DuplexStream {
    let (ours, theirs) = pipe();
    let (outgoing, messages) = tokio::sync::mpsc::channel(8);
    let stream = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut request = Request::new(stream);
    header::put(request.metadata_mut(), "buildkit.ssh.id", &[id.to_owned()]);
    let mut client = SshClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE);
    let (read, write) = tokio::io::split(theirs);
    // The headers of the answer come with its first message, for which an agent has to be asked.
    tokio::spawn(async move {
        let inward = async {
            if let Ok(answer) = client.forward_agent(request).await {
                carry_in(write, answer.into_inner()).await;
            }
        };
        tokio::join!(inward, carry_out(read, outgoing));
    });
    ours
}

/// Who the client is to a registry.
pub(super) async fn credentials(
    session: &Session,
    host: &str,
) -> Result<Option<Credentials>, String> {
    if !session.has("/moby.filesync.v1.Auth/Credentials") {
        return Ok(None);
    }
    let host = if matches!(host, "docker.io" | "index.docker.io") { HUB } else { host };
    let mut client = AuthClient::with_origin(session.channel(), Channel::origin());
    let found = client.credentials(CredentialsRequest { host: host.to_owned() }).await;
    let found = found.map_err(|status| format!("credentials for {host}: {}", status.message()))?;
    let found = found.into_inner();
    Ok(match (found.username.is_empty(), found.secret.is_empty()) {
        (true, true) => None,
        (true, false) => {
            Some(Credentials { identity_token: Some(found.secret), ..Credentials::default() })
        }
        (false, _) => Some(Credentials {
            username: found.username,
            password: found.secret,
            ..Credentials::default()
        }),
    })
}

/// A stream that the client has: what it was given on its standard input.
pub(super) async fn upload(
    session: &Session,
    path: &str,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, String> {
    use buildkit::upload::upload_client::UploadClient;

    let mut request = Request::new(tokio_stream::pending());
    header::put(request.metadata_mut(), "urlpath", &[path.to_owned()]);
    header::put(request.metadata_mut(), "urlhost", &["buildkit-session".to_owned()]);
    let mut client = UploadClient::with_origin(session.channel(), Channel::origin())
        .max_decoding_message_size(MESSAGE);
    let pieces = client.pull(request).await.map_err(|status| status.message().to_owned())?;
    let mut pieces = pieces.into_inner();
    let (ours, mut theirs) = pipe();
    tokio::spawn(async move {
        while let Ok(Some(piece)) = pieces.message().await {
            if theirs.write_all(&piece.data).await.is_err() {
                return;
            }
        }
    });
    Ok(Box::new(ours))
}
