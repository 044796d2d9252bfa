//! Joins a client to a supervisor's stream.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixStream, unix::OwnedWriteHalf},
};

use super::{
    detach::Detector,
    frames::{Framing, Reframe},
};
use crate::http::{
    EndOfInput, Io,
    gone::{gone, head_taken},
};

/// How a client and a supervisor are joined.
#[derive(Debug)]
pub(crate) struct Options {
    /// Whether what the client sends is for the container.
    pub(crate) stdin: bool,
    /// With a terminal: the keys that detach.
    pub(crate) detach: Option<Detector>,
    /// What becomes of the frames that output comes in.
    pub(crate) framing: Framing,
}

const BUFFER_BYTES: usize = 32 << 10;

/// Copies both ways until the supervisor's side ends, or the client has gone or typed the keys that
/// detach. The end of what the client sends is the end of standard input only. Where it was the keys, `told`
/// is seen to before the client hears of it: it may end then, and this process with it.
pub(crate) async fn relay(
    client: Box<dyn Io>,
    shim: UnixStream,
    options: Options,
    told: impl Future<Output = ()>,
) {
    let (socket, by_input) = (client.socket(), client.end_of_input() == EndOfInput::Client);
    head_taken(client.socket()).await;
    let (from_client, mut to_client) = tokio::io::split(client);
    let (mut from_shim, to_shim) = shim.into_split();

    let download = copy(&mut from_shim, &mut to_client, Reframe::new(options.framing));
    let upload = async {
        let end = upload(from_client, to_shim, options).await;
        if end == End::Input {
            gone(socket, by_input).await;
        }
        end
    };
    let detached = tokio::select! {
        // Either end is the end; whose fault it was, nobody is left to be told.
        _ = download => false,
        end = upload => end == End::Keys,
    };
    if detached {
        told.await;
    }
    _ = to_client.shutdown().await;
}

/// How what a client sends ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is no more input; its output goes on.
    Input,
    /// It has left.
    Left,
    /// It has typed the keys that detach.
    Keys,
}

/// Copies what the client sends.
async fn upload(
    mut from_client: impl AsyncRead + Unpin,
    mut to_shim: OwnedWriteHalf,
    mut options: Options,
) -> End {
    let terminal = options.detach.is_some();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let n = match from_client.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) => return End::Left,
        };
        if !options.stdin {
            continue;
        }
        let (typed, detached) = match &mut options.detach {
            Some(detector) => detector.filter(&buffer[..n]),
            None => (buffer[..n].to_vec(), false),
        };
        if to_shim.write_all(&typed).await.is_err() {
            // The program closed its input; its output may go on.
            break;
        }
        if detached {
            return End::Keys;
        }
    }
    // A terminal has no half-close: whoever leaves it detaches.
    if terminal && options.stdin {
        return End::Left;
    }
    if options.stdin {
        _ = to_shim.shutdown().await;
    }
    // Dropping it would shut the socket down for writing, which is for the end of input only.
    to_shim.forget();
    End::Input
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut reframe: Reframe,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.flush().await,
            n => to.write_all(&reframe.piece(&buffer[..n])).await?,
        }
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, task::JoinHandle};

    use super::*;

    /// A client, a supervisor, and who joins them, and says at the end whether the client has detached.
    fn joined(stdin: bool, keys: Option<&[u8]>) -> (UnixStream, UnixStream, JoinHandle<bool>) {
        let (client, server) = UnixStream::pair().unwrap();
        let (shim, theirs) = UnixStream::pair().unwrap();
        let detach = keys.map(|keys| Detector::new(keys.to_vec()));
        let options = Options { stdin, detach, framing: Framing::AsItIs };
        let task = tokio::spawn(async move {
            let mut is_told = false;
            relay(Box::new(server), theirs, options, async { is_told = true }).await;
            is_told
        });
        (client, shim, task)
    }

    async fn all(stream: &mut UnixStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn input_ends_and_output_goes_on() {
        let (mut client, mut shim, task) = joined(true, None);
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(all(&mut shim).await, "in");
        shim.write_all(b"out").await.unwrap();
        drop(shim);
        assert_eq!(all(&mut client).await, "out");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_program_ends_the_client() {
        let (mut client, shim, task) = joined(true, None);
        drop(shim);
        assert_eq!(all(&mut client).await, "");
        assert!(!task.await.unwrap());
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_without_output() {
        for stdin in [true, false] {
            let (client, _shim, task) = joined(stdin, None);
            drop(client);
            assert!(!task.await.unwrap());
        }
    }

    #[tokio::test]
    async fn keys_detach_from_a_terminal() {
        let (mut client, mut shim, task) = joined(true, Some(b"pq"));
        client.write_all(b"lspq").await.unwrap();
        assert!(task.await.unwrap());
        assert_eq!(all(&mut shim).await, "ls");
        assert_eq!(all(&mut client).await, "");
    }

    #[tokio::test]
    async fn a_stream_in_memory_works_as_well() {
        let (mut client, server) = duplex(1);
        let (mut shim, theirs) = UnixStream::pair().unwrap();
        let options = Options { stdin: true, detach: None, framing: Framing::AsItIs };
        let task = tokio::spawn(relay(Box::new(server), theirs, options, async {}));
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(all(&mut shim).await, "in");
        shim.write_all(b"out").await.unwrap();
        drop(shim);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "out");
        task.await.unwrap();
    }
}
