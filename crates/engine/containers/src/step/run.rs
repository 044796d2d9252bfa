//! Running a step to its end.

use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use shim_protocol::{Attach, FRAME_HEADER_BYTES, Phase, Reply, Request};

use super::define::Made;
use super::stubs::Stubs;
use super::{FinishedStep, RunningStep, Step};
use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;
use crate::shim::{Ready, first_ready};
use crate::{Error, stray};

/// How long the supervisor of a step that was cancelled may take to end it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read at once, bytes.
const READ_BYTES: usize = 32 << 10;

/// The connections to the supervisor of a step that runs.
struct Running<'a> {
    /// It lives as long as this.
    control: Option<UnixStream>,
    /// Its output, in frames; until it ends.
    output: Option<UnixStream>,
    /// Tells of its end.
    waiting: UnixStream,
    cancelled: BorrowedFd<'a>,
    /// `None`: of a terminal, whose output is all one.
    frames: Option<StepFrames>,
    buffer: Vec<u8>,
}

/// Who runs a step, while it runs.
pub trait StepIo {
    /// It runs. `stdin` takes its standard input, where it has one ([`Step::stdin`]): to shut down its writing side
    /// is the end of that.
    fn started(&mut self, step: RunningStep, stdin: Option<UnixStream>);

    /// It has written something: 1 is standard output, 2 standard error.
    fn output(&mut self, stream: u8, data: &[u8]);
}

/// Output alone.
struct Output<'a>(&'a mut dyn FnMut(u8, &[u8]));

impl StepIo for Output<'_> {
    fn started(&mut self, _: RunningStep, _: Option<UnixStream>) {}

    fn output(&mut self, stream: u8, data: &[u8]) {
        (self.0)(stream, data);
    }
}

/// What a step is heard to do.
#[derive(Clone, Copy)]
enum News {
    /// It has written something, or will write nothing more.
    Output,
    /// Nobody wants it any more.
    Cancelled,
    /// It has ended, and all that it wrote was read.
    End,
    /// Nothing in time.
    Nothing,
}

impl Running<'_> {
    /// Waits for something. What it has written comes before its end.
    fn next(&self, may_cancel: bool, timeout: Option<Duration>) -> Result<News, Error> {
        let mut fds = vec![(self.waiting.as_fd(), News::End)];
        if may_cancel {
            fds.push((self.cancelled, News::Cancelled));
        }
        let output = self.output.as_ref().map(|stream| (stream.as_fd(), News::Output));
        fds.extend(output);
        let only: Vec<BorrowedFd<'_>> = fds.iter().map(|(fd, _)| *fd).collect();
        let news = match first_ready(&only, None, timeout)? {
            Ready::At(at) => fds[at].1,
            Ready::Gone | Ready::Timeout => return Ok(News::Nothing),
        };
        if let (News::End, Some((stream, _))) = (news, output)
            && first_ready(&[stream], None, Some(Duration::ZERO))? == Ready::At(0)
        {
            return Ok(News::Output);
        }
        Ok(news)
    }

    /// Reads what it has written.
    fn read(&mut self, give: &mut dyn FnMut(u8, &[u8])) -> io::Result<()> {
        let Some(stream) = &mut self.output else { return Ok(()) };
        match stream.read(&mut self.buffer) {
            Ok(0) => self.output = None,
            Ok(n_bytes) => match &mut self.frames {
                Some(frames) => frames.take(&self.buffer[..n_bytes], give),
                None => give(1, &self.buffer[..n_bytes]),
            },
            // Who writes to it may not want to wait, which holds for both directions.
            Err(err) if matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(err) if err.kind() == ErrorKind::ConnectionReset => self.output = None,
            Err(err) => return Err(err),
        }
        Ok(())
    }
}

/// Takes the frames of output apart.
#[derive(Debug, Default)]
pub struct StepFrames {
    header: Vec<u8>,
    /// Of the present frame: its stream, and what is still to come.
    present: Option<(u8, usize)>,
}

impl StepFrames {
    /// Gives the pieces of output that are in these bytes, each with its stream.
    pub fn take(&mut self, mut bytes: &[u8], give: &mut dyn FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            let Some((stream, left)) = self.present else {
                let n_bytes = bytes.len().min(FRAME_HEADER_BYTES - self.header.len());
                self.header.extend_from_slice(&bytes[..n_bytes]);
                bytes = &bytes[n_bytes..];
                if let &[stream, _, _, _, a, b, c, d] = &self.header[..] {
                    self.present = Some((stream, u32::from_be_bytes([a, b, c, d]) as usize));
                    self.header.clear();
                }
                continue;
            };
            let (piece, rest) = bytes.split_at(bytes.len().min(left));
            if !piece.is_empty() {
                give(stream, piece);
            }
            self.present = Some((stream, left - piece.len())).filter(|(_, left)| *left > 0);
            bytes = rest;
        }
    }
}

impl Engine {
    /// Runs a step to its end. `output` gets what it writes: 1 is standard output, 2 standard error.
    /// When `cancelled` can be read, or has hung up, the step is killed and removed:
    /// [`Error::Cancelled`]. With any error nothing of it is left.
    pub fn run_step(
        &self,
        step: &Step,
        output: &mut dyn FnMut(u8, &[u8]),
        cancelled: BorrowedFd<'_>,
    ) -> Result<FinishedStep, Error> {
        self.run_step_with(step, &mut Output(output), cancelled)
    }

    /// The same for one that is spoken with.
    pub fn run_step_with(
        &self,
        step: &Step,
        io: &mut dyn StepIo,
        cancelled: BorrowedFd<'_>,
    ) -> Result<FinishedStep, Error> {
        self.reap();
        let Made { mut container, lock, held } = self.make_step(step)?;
        let ran = self.hold_networks(&container.record).and_then(|networks| {
            self.prepare(&mut container, 0)?;
            let mut stubs = self.stubs(&container)?;
            let running = self.start_step(&container, &mut stubs, cancelled)?;
            drop((held, networks));
            let stdin = match &running.output {
                Some(stream) if step.stdin => {
                    let place = self.paths().socket(&container.id);
                    Some(stream.try_clone().at("dup", &place)?)
                }
                _ => None,
            };
            io.started(RunningStep { container: container.clone() }, stdin);
            let mut output = |stream: u8, bytes: &[u8]| io.output(stream, bytes);
            let ended = self.follow(&container, running, &mut output);
            let untrusted = self.is_untrusted(&container);
            self.settle_step(&container)?;
            ended?;
            untrusted?;
            stubs.remove()
        });
        let status = ran.and_then(|()| self.shared.status(&container.id));
        match status {
            Ok(status) if status.phase == Phase::Exited => Ok(FinishedStep {
                exit_code: status.exit_code,
                oom_killed: status.oom_killed,
                container,
                _lock: lock,
            }),
            Ok(_) => {
                let why = "the step's supervisor was killed";
                Err(self.undo_step(&container, Error::Shim(why.into())))
            }
            Err(err) => Err(self.undo_step(&container, err)),
        }
    }

    /// Starts it: with us at its output before it writes any.
    fn start_step<'a>(
        &self,
        container: &Container,
        stubs: &mut Stubs,
        cancelled: BorrowedFd<'a>,
    ) -> Result<Running<'a>, Error> {
        let id = &container.id;
        let stdin = container.record.config.open_stdin;
        let attach = Attach { stdin, stdout: true, stderr: true };
        let output = self.shared.pending.register(id, Request::Attach(attach))?;
        let waiting = self.shared.pending.register(id, Request::Wait { removes: false })?;
        failpoint::hit("engine.step-start").at("spawn", self.root())?;
        let control = self.launch_tied(container, || stubs.note());
        // Those who wait where it was never there are told so.
        drop(self.shared.pending.take(id));
        let control = control?;
        failpoint::hit("engine.step-started").at("spawn", self.root())?;
        let gone = || Error::Shim("the step's supervisor was killed".into());
        Ok(Running {
            control: Some(control),
            output: output.take(),
            waiting: waiting.take().ok_or_else(gone)?,
            cancelled,
            frames: (!container.record.config.tty).then(StepFrames::default),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Goes with it to its end.
    fn follow(
        &self,
        container: &Container,
        mut running: Running<'_>,
        output: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<(), Error> {
        // Since when nobody wants it.
        let mut until: Option<Instant> = None;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match running.next(until.is_none(), left)? {
                News::Output => {
                    let mut give = |stream: u8, bytes: &[u8]| {
                        if until.is_none() {
                            output(stream, bytes);
                        }
                    };
                    let place = self.paths().socket(&container.id);
                    running.read(&mut give).at("read", &place)?;
                }
                News::Cancelled => {
                    // The supervisor sees that, and kills it.
                    running.control = None;
                    until = Some(Instant::now() + PATIENCE);
                }
                News::End => {
                    // Without a word it was killed, which its status shows.
                    let _end = shim_protocol::receive::<Reply>(&running.waiting);
                    return until.map_or(Ok(()), |_| Err(Error::Cancelled));
                }
                News::Nothing => {
                    stray::kill(&container.id, &self.paths().run(&container.id))?;
                    return Err(Error::Cancelled);
                }
            }
        }
    }

    /// Holds that what the programs of a step trusted ([`Step::proxied`]) is in its root no more. Its supervisor takes
    /// that away after it has written down that they have ended; what it was told to do goes when all of it is done.
    fn is_untrusted(&self, container: &Container) -> Result<(), Error> {
        let is_proxied = container.record.step.as_ref().is_some_and(|step| step.proxied.is_some());
        if is_proxied && self.paths().run(&container.id).join("shim.json").exists() {
            let why = "the step's supervisor has not taken away what its programs trusted";
            return Err(Error::Shim(why.into()));
        }
        Ok(())
    }

    /// After the end: nothing of the run is left, also where its supervisor was killed.
    fn settle_step(&self, container: &Container) -> Result<(), Error> {
        let run = self.paths().run(&container.id);
        if run.exists() {
            self.clean_up_after_shim(&container.id, &self.cgroup_path(container))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_any_pieces() {
        let wire = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x05error\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!";
        for n_bytes in 1..=wire.len() {
            let mut frames = StepFrames::default();
            let mut got = [String::new(), String::new()];
            for piece in wire.chunks(n_bytes) {
                frames.take(piece, &mut |stream, bytes| {
                    got[usize::from(stream) - 1] += std::str::from_utf8(bytes).unwrap();
                });
            }
            assert_eq!(got, ["out!", "error"], "in pieces of {n_bytes}");
        }
    }
}
