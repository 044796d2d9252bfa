//! What runs in a container of a front end's own: its first process, those beside it, and their streams.

use std::io::PipeReader;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containers::{RunningStep, Step, StepFrames, StepIo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::build::Shared;
use crate::error::At as _;
use crate::op::mounts::Mounts;
use crate::proxied::Proxied;

/// The largest piece of output, in bytes.
const PIECE: usize = 32 << 10;
/// How often it is looked whether somebody takes output, and still wants it.
const LOOK: Duration = Duration::from_millis(10);

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    /// What is written to it is its standard input, where it has one.
    pub stdin: Option<OwnedWriteHalf>,
    /// What it writes: 1 is standard output, 2 standard error.
    pub output: mpsc::Receiver<(u8, Bytes)>,
    /// How it ended, once all that it wrote is there: its exit code, or 128 plus the signal that ended it.
    pub exit: oneshot::Receiver<Result<i32, Error>>,
    /// What can be done to it.
    pub control: Control,
}

/// What can be done to a program.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) build: Arc<Shared>,
    pub(super) step: RunningStep,
    /// Its id where it is run beside the first process.
    pub(super) exec: Option<String>,
}

impl Control {
    /// Sets the size of its terminal.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), Error> {
        let of = self.clone();
        let done = self.build.blocking(move |build| {
            let engine = &build.builder.engine;
            Ok(engine.resize_step(&of.step, of.exec.as_deref(), width, height)?)
        });
        done.await
    }

    /// Sends it a signal, by its number.
    pub async fn signal(&self, signal: i32) -> Result<(), Error> {
        let of = self.clone();
        let done = self.build.blocking(move |build| {
            let engine = &build.builder.engine;
            Ok(engine.signal_step(&of.step, of.exec.as_deref(), signal)?)
        });
        done.await
    }

    /// How it ended, which runs beside the first process.
    pub(super) async fn code(&self) -> Result<i32, Error> {
        let of = self.clone();
        let code = self.build.blocking(move |build| {
            let exec = of.exec.as_deref().unwrap_or_default();
            Ok(build.builder.engine.step_exec_code(&of.step, exec))
        });
        code.await
    }
}

/// Both directions of a connection.
pub(super) fn halves(stream: UnixStream) -> Result<(OwnedReadHalf, OwnedWriteHalf), Error> {
    let place = Path::new("a program's streams");
    stream.set_nonblocking(true).at("fcntl", place)?;
    let stream = tokio::net::UnixStream::from_std(stream).at("epoll_ctl", place)?;
    Ok(stream.into_split())
}

/// Passes on what a program writes, until its end or until nobody takes it.
pub(super) async fn read_all(
    mut read: OwnedReadHalf,
    mut frames: Option<StepFrames>,
    outgoing: mpsc::Sender<(u8, Bytes)>,
) {
    let mut buffer = vec![0; PIECE];
    while let Ok(n_bytes @ 1..) = read.read(&mut buffer).await {
        let mut pieces = Vec::new();
        let mut give = |stream, bytes: &[u8]| pieces.push((stream, Bytes::copy_from_slice(bytes)));
        match &mut frames {
            Some(frames) => frames.take(&buffer[..n_bytes], &mut give),
            None => give(1, &buffer[..n_bytes]),
        }
        for piece in pieces {
            // It goes on for its end, also where nobody listens any more.
            _ = outgoing.send(piece).await;
        }
    }
}

/// The first process, on a thread that may wait for it.
pub(super) struct First {
    pub(super) build: Arc<Shared>,
    pub(super) step: Step,
    /// They have to stay as long as it runs.
    pub(super) mounts: Mounts,
    pub(super) cancelled: PipeReader,
    pub(super) proxied: Option<Arc<Proxied>>,
}

impl First {
    /// Runs it to its end, and cleans up behind it. Whether it was cut short.
    pub(super) fn follow(self, mut wire: Wire, ended: oneshot::Sender<Result<i32, Error>>) -> bool {
        let engine = &self.build.builder.engine;
        let ran = engine.run_step_with(&self.step, &mut wire, self.cancelled.as_fd());
        drop(wire);
        let is_cut_short = matches!(ran, Err(containers::Error::Cancelled));
        match ran {
            Ok(finished) => {
                let proxy = self.proxied.as_ref().map(|proxied| proxied.end().map(drop));
                let code = finished.exit_code;
                _ = ended.send(proxy.unwrap_or(Ok(())).map(|()| code));
                // What it has written may still be looked at.
                is_readable(&self.cancelled, None);
                // What cannot be removed now is found by the next who looks.
                _ = engine.drop_step(finished);
            }
            Err(containers::Error::Cancelled) => _ = ended.send(Err(Error::Cancelled)),
            Err(error) => _ = ended.send(Err(error.into())),
        }
        drop(self.mounts);
        is_cut_short
    }
}

/// Between the thread of the first process, and who speaks with it.
pub(super) struct Wire {
    pub(super) started: Option<oneshot::Sender<(RunningStep, Option<UnixStream>)>>,
    pub(super) outgoing: mpsc::Sender<(u8, Bytes)>,
    pub(super) cancelled: PipeReader,
    pub(super) proxied: Option<Arc<Proxied>>,
}

impl StepIo for Wire {
    fn started(&mut self, step: RunningStep, stdin: Option<UnixStream>) {
        if let Some(proxied) = &self.proxied {
            proxied.begin(&step);
        }
        if let Some(started) = self.started.take() {
            _ = started.send((step, stdin));
        }
    }

    fn output(&mut self, stream: u8, data: &[u8]) {
        let mut piece = (stream, Bytes::copy_from_slice(data));
        // The program waits where nobody reads, and ends all the same where nobody wants it.
        loop {
            match self.outgoing.try_send(piece) {
                Err(mpsc::error::TrySendError::Full(back)) => piece = back,
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
            if is_readable(&self.cancelled, Some(LOOK)) {
                return;
            }
        }
    }
}

/// Waits until the other end of a pipe is closed, or for that long. Whether it is.
fn is_readable(pipe: &PipeReader, timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    loop {
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled.is_ok_and(|n| n > 0),
        }
    }
}
