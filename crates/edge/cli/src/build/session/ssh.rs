//! ssh agents: what a step asks is carried to an agent of ours, as far as it only lists keys and signs
//! with them (the agent protocol, draft-ietf-sshm-ssh-agent).

use std::path::PathBuf;
use std::sync::Arc;

use buildkit::sshforward::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::{Pieces, Session, header};

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent(pub(crate) PathBuf);

/// The id of an agent that has none.
pub(crate) const DEFAULT: &str = "default";

const ID: &str = "buildkit.ssh.id";
/// The longest message: OpenSSH's own.
const MAX_BYTES: usize = 256 << 10;
const LIST: u8 = 11;
const SIGN: u8 = 13;
/// `SSH_AGENT_FAILURE`, as a whole message.
const FAILURE: &[u8] = &[0, 0, 0, 1, 5];

fn find(session: &Session, id: &str) -> Result<Agent, Status> {
    let id = if id.is_empty() { DEFAULT } else { id };
    let found = session.agents.get(id).cloned();
    found.ok_or_else(|| Status::not_found(format!("unset ssh forward key {id}")))
}

pub(super) fn check(
    session: &Arc<Session>,
    request: Request<CheckAgentRequest>,
) -> impl Future<Output = Result<Response<CheckAgentResponse>, Status>> + use<> {
    let found = find(session, &request.into_inner().id);
    async move { found.map(|_| Response::new(CheckAgentResponse {})) }
}

pub(super) fn forward(
    session: &Arc<Session>,
    call: Request<Streaming<BytesMessage>>,
) -> impl Future<Output = Result<Response<Pieces<BytesMessage>>, Status>> + use<> {
    let found = find(session, &header::value(call.metadata(), ID));
    async move {
        let agent = found?.0;
        let stream = UnixStream::connect(&agent).await;
        let stream =
            stream.map_err(|err| Status::unavailable(format!("connect({agent:?}): {err}")))?;
        let (read, write) = stream.into_split();
        let (out, pieces) = mpsc::channel(8);
        tokio::spawn(answers(read, out.clone()));
        tokio::spawn(questions(call.into_inner(), write, out));
        Ok(Response::new(Pieces::new(pieces)))
    }
}

type Out = mpsc::Sender<Result<BytesMessage, Status>>;

async fn answers(mut read: OwnedReadHalf, out: Out) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(n @ 1..) = read.read(&mut buffer).await {
        let data = Bytes::copy_from_slice(&buffer[..n]);
        if out.send(Ok(BytesMessage { data })).await.is_err() {
            return;
        }
    }
}

async fn questions(mut incoming: Streaming<BytesMessage>, mut write: OwnedWriteHalf, out: Out) {
    let mut pending = BytesMut::new();
    while let Ok(Some(message)) = incoming.message().await {
        pending.extend_from_slice(&message.data);
        loop {
            match next(&mut pending) {
                Next::More => break,
                Next::Ask(question) => {
                    if write.write_all(&question).await.is_err() {
                        return;
                    }
                }
                Next::Refuse => {
                    let data = Bytes::from_static(FAILURE);
                    if out.send(Ok(BytesMessage { data })).await.is_err() {
                        return;
                    }
                }
                Next::End => return,
            }
        }
    }
    _ = write.shutdown().await;
}

/// What becomes of the next message.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It is not whole yet.
    More,
    Ask(Bytes),
    Refuse,
    /// It is none.
    End,
}

fn next(pending: &mut BytesMut) -> Next {
    let Some((length, rest)) = pending.split_first_chunk::<4>() else { return Next::More };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > MAX_BYTES {
        return Next::End;
    }
    if rest.len() < length {
        return Next::More;
    }
    if matches!(rest[0], LIST | SIGN) {
        return Next::Ask(pending.split_to(4 + length).freeze());
    }
    pending.advance(4 + length);
    Next::Refuse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let mut pending =
            BytesMut::from(&[0, 0, 0, 1, LIST, 0, 0, 0, 2, 17, 9, 0, 0, 0, 2, SIGN][..]);
        assert_eq!(next(&mut pending), Next::Ask(Bytes::from_static(&[0, 0, 0, 1, LIST])));
        assert_eq!(next(&mut pending), Next::Refuse);
        assert_eq!(next(&mut pending), Next::More);
        pending.extend_from_slice(b"x");
        assert_eq!(next(&mut pending), Next::Ask(Bytes::from_static(&[0, 0, 0, 2, SIGN, b'x'])));
        pending.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, LIST]);
        assert_eq!(next(&mut pending), Next::End);
    }
}
