//! Containers of a front end's own: made of results, and there for as long as it wants them.
//!
//! The first program that is started in one is its first process, a step like any other; those that follow are
//! run in the same container, and end with it.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use buildgraph::{Exec, MountKind, SecretVariable, Security};
use bytes::Bytes;
use containers::{
    RunningStep, Step, StepFrames, StepIo, StepMount, StepProcess, StepResult, StepSource,
};
use fsroot::Root;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::build::Shared;
use crate::error::At as _;
use crate::op::exec::{check, step};
use crate::op::mounts::{self, Mounts};
use crate::output::Output;
use crate::proxied::Proxied;
use crate::{Build, Error, FileStat, look, op, view};

/// Pieces of output on their way.
const AHEAD: usize = 32;
/// The largest of them, in bytes.
const PIECE: usize = 32 << 10;
/// How often it is looked whether somebody takes output, and still wants it.
const LOOK: Duration = Duration::from_millis(10);

/// A container, which ends when this is dropped.
#[derive(Debug)]
pub struct Container {
    build: Arc<Shared>,
    /// All but the program.
    exec: Exec,
    inputs: Vec<Output>,
    /// What is mounted beside, of the builder's own.
    beside: Vec<StepMount>,
    /// It, once its first program runs.
    first: tokio::sync::Mutex<Option<Running>>,
    life: Mutex<Option<Life>>,
    is_over: Arc<AtomicBool>,
}

/// A container that runs, or did.
#[derive(Clone, Debug)]
struct Running {
    step: RunningStep,
    /// Which of its mounts each of those that were asked for is, as [`Mounts::places`].
    places: Vec<Option<usize>>,
    /// What is mounted, in that order.
    list: Vec<StepMount>,
}

/// What a container lives by.
#[derive(Debug)]
struct Life {
    /// Its end is the container's.
    alive: PipeWriter,
    /// Who follows its first process, cleans up behind it, and says whether that was cut short.
    follower: JoinHandle<bool>,
}

/// Where files of a container are.
enum Files {
    /// In a result.
    Of(Output),
    /// In what the container writes over one.
    Written(StepResult, Output),
    /// In a directory of the builder's.
    Kept(PathBuf),
}

/// A program to be run in one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// It, and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Variables from secrets.
    pub secrets: Vec<SecretVariable>,
    /// Where; empty: `/`.
    pub cwd: String,
    /// As whom: `USER[:GROUP]`, names or numbers.
    pub user: String,
    /// What it may do.
    pub security: Security,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is written to; else it is empty.
    pub stdin: bool,
}

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
    build: Arc<Shared>,
    step: RunningStep,
    exec: Option<String>,
}

impl Build {
    /// A container of results; `inputs` are their names, `None` an empty directory, and the first is its root.
    /// `exec` is all of it but the program.
    pub async fn container(
        &self,
        exec: Exec,
        inputs: &[Option<String>],
    ) -> Result<Container, Error> {
        check(&self.shared, &exec)?;
        let mut outputs = Vec::new();
        for input in inputs {
            outputs.push(match input {
                Some(name) => self.shared.whole(name).await?,
                None => Output::Layers(Vec::new()),
            });
        }
        op::base(&outputs)?;
        Ok(Container::new(&self.shared, exec, outputs))
    }
}

impl Container {
    pub(crate) fn new(build: &Arc<Shared>, exec: Exec, inputs: Vec<Output>) -> Self {
        let exec = Exec { proxied: build.proxies(&exec), ..exec };
        let (first, life, is_over) = Default::default();
        let beside = Vec::new();
        Self { build: Arc::clone(build), exec, inputs, beside, first, life, is_over }
    }

    /// With something mounted that is the builder's own.
    pub(crate) fn with(mut self, mount: StepMount) -> Self {
        self.beside.push(mount);
        self
    }

    /// Runs a program: as its first process, or beside that.
    ///
    /// # Errors
    ///
    /// It cannot be run, or the container has ended.
    pub async fn start(&self, program: Program) -> Result<Process, Error> {
        let mut first = self.first.lock().await;
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if let Some(running) = &*first {
            let step = running.step.clone();
            drop(first);
            return self.join(step, program).await;
        }
        let (running, process) = self.run(program).await?;
        *first = Some(running);
        Ok(process)
    }

    /// What is in a file of a mount of its (`None`: its root), from `offset`, `len` bytes at most.
    pub async fn read_file(
        &self,
        mount: Option<usize>,
        path: &Path,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, Error> {
        let path = path.to_path_buf();
        self.look(mount, move |root| look::read_file(root, &path, offset, Some(len))).await
    }

    /// What a file of a mount is; of a link what it leads to.
    pub async fn stat(&self, mount: Option<usize>, path: &Path) -> Result<FileStat, Error> {
        let path = path.to_path_buf();
        self.look(mount, move |root| look::stat(root, &path)).await
    }

    /// What is in a directory of a mount, by name.
    pub async fn read_dir(
        &self,
        mount: Option<usize>,
        path: &Path,
    ) -> Result<Vec<FileStat>, Error> {
        let path = path.to_path_buf();
        self.look(mount, move |root| look::read_dir(root, &path)).await
    }

    async fn look<T: Send + 'static>(
        &self,
        mount: Option<usize>,
        act: impl FnOnce(&Root) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let running = self.first.lock().await.clone();
        let files = self.files(mount, running.as_ref())?;
        let step = running.map(|running| running.step);
        let looked = self.build.blocking(move |build| {
            view::in_a_room(|| {
                let root = match &files {
                    Files::Kept(path) => Root::open(path)?,
                    Files::Of(output) => op::root(build, output)?,
                    Files::Written(what, input) => {
                        let step = step.as_ref().ok_or(Error::Lost("a container"))?;
                        let (chain, below) = match input {
                            Output::Layers(chain) => (chain.clone(), None),
                            Output::Tree(tree) => {
                                (Vec::new(), Some(tree.directory.path.join(&tree.part)))
                            }
                            Output::Parts(_) => return Err(Error::Lost("a part of a result")),
                        };
                        let mounts = build.builder.engine.step_mounts(step, *what, &chain)?;
                        view::of_written(&mounts, below.as_deref())?
                    }
                };
                act(&root)
            })
        });
        looked.await
    }

    /// Where the files of a mount are.
    fn files(&self, mount: Option<usize>, running: Option<&Running>) -> Result<Files, Error> {
        let nothing = || Error::Lost("a mount of a container");
        let Some(at) = mount else {
            let input = self.inputs.first().cloned().ok_or_else(nothing)?;
            return Ok(match running {
                Some(_) => Files::Written(StepResult::Root, input),
                None => Files::Of(input),
            });
        };
        let mount = self.exec.mounts.get(at).ok_or_else(nothing)?;
        let place = running.and_then(|running| running.places.get(at).copied().flatten());
        let source = place.and_then(|place| running?.list.get(place));
        match (&mount.kind, source.map(|mount| &mount.source)) {
            (MountKind::Bind { input, .. }, _) => {
                let input = self.inputs.get(*input).cloned().ok_or_else(nothing)?;
                Ok(match place {
                    Some(place) if !mount.readonly => {
                        Files::Written(StepResult::Mount(place), input)
                    }
                    _ => Files::Of(input),
                })
            }
            (_, Some(StepSource::Cache(path))) => Ok(Files::Kept(path.clone())),
            (MountKind::Cache { .. }, None) => {
                let why = format!("{}: no program of the container runs yet", mount.target);
                Err(Error::Invalid(why))
            }
            _ => Err(Error::NotYet(format!("to look at files in memory ({})", mount.target))),
        }
    }

    /// Ends it, with all that runs in it, and waits until nothing of it is left.
    ///
    /// # Errors
    ///
    /// Something still ran in it. It has ended all the same.
    pub async fn release(&self) -> Result<(), Error> {
        self.is_over.store(true, Ordering::Relaxed);
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Life { alive, follower }) = life {
            drop(alive);
            // A thread of ours that died has left what the next builder cleans up.
            if follower.await.unwrap_or(false) {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    fn exec_of(&self, program: &Program) -> Exec {
        let cwd = if program.cwd.is_empty() { "/" } else { &program.cwd };
        Exec {
            args: program.args.clone(),
            env: program.env.clone(),
            secrets: program.secrets.clone(),
            cwd: cwd.to_owned(),
            user: program.user.clone(),
            security: program.security,
            ..self.exec.clone()
        }
    }

    /// Runs the first program.
    async fn run(&self, program: Program) -> Result<(Running, Process), Error> {
        let build = &self.build;
        let exec = self.exec_of(&program);
        check(build, &exec)?;
        let root = op::base(&self.inputs)?;
        let mut mounts = Mounts::make(build, &exec, &self.inputs, false).await?;
        mounts.list.extend(self.beside.iter().cloned());
        let (stdin, tty) = (program.stdin, program.tty);
        let mut step = Step { stdin, tty, ..step(build, &exec, &root, &mounts) };
        let proxied = Proxied::of(build, &exec, None)?;
        if let Some(proxied) = &proxied {
            proxied.dress(&mut step);
        }
        let (places, list) = (mounts.places.clone(), mounts.list.clone());
        let (cancelled, alive) = std::io::pipe().at("make a", Path::new("pipe"))?;
        let (started, has_started) = oneshot::channel();
        let (outgoing, output) = mpsc::channel(AHEAD);
        let (ended, exit) = oneshot::channel();
        let wire = Wire {
            started: Some(started),
            outgoing,
            cancelled: cancelled.try_clone().at("dup", Path::new("pipe"))?,
            proxied: proxied.clone(),
        };
        let first = First { build: Arc::clone(build), step, mounts, cancelled, proxied };
        let follower = spawn_blocking(move || first.follow(wire, ended));
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Some(Life { alive, follower });
        let Ok((step, stdin)) = has_started.await else {
            // It has not, and why is how it ended.
            let why = exit.await.unwrap_or(Err(Error::Lost("a program of the build")));
            return Err(why.err().unwrap_or(Error::Lost("a program of the build")));
        };
        let stdin = stdin.map(halves).transpose()?.map(|(_, write)| write);
        let running = Running { step: step.clone(), places, list };
        let control = Control { build: Arc::clone(build), step, exec: None };
        Ok((running, Process { stdin, output, exit, control }))
    }

    /// Runs another program.
    async fn join(&self, step: RunningStep, program: Program) -> Result<Process, Error> {
        let build = &self.build;
        let exec = self.exec_of(&program);
        check(build, &exec)?;
        let mut env = exec.env;
        for variable in &program.secrets {
            env.extend(mounts::secret_variable(build, variable).await?);
        }
        if exec.proxied {
            Proxied::set_variables(&mut env);
        }
        let process = StepProcess {
            args: program.args,
            env,
            cwd: exec.cwd,
            user: program.user,
            tty: program.tty,
            stdin: program.stdin,
            privileged: program.security == Security::Insecure,
        };
        let of = step.clone();
        let ran =
            build.blocking(move |build| Ok(build.builder.engine.exec_in_step(&of, &process)?));
        let ran = ran.await?;
        let (read, write) = halves(ran.stream)?;
        let (outgoing, output) = mpsc::channel(AHEAD);
        let (ended, exit) = oneshot::channel();
        let is_over = Arc::clone(&self.is_over);
        let control = Control { build: Arc::clone(build), step, exec: Some(ran.id) };
        let of = control.clone();
        let frames = (!program.tty).then(StepFrames::default);
        tokio::spawn(async move {
            read_all(read, frames, outgoing).await;
            let code = of.code().await;
            let is_over = is_over.load(Ordering::Relaxed);
            _ = ended.send(if is_over { Err(Error::Cancelled) } else { code });
        });
        let stdin = program.stdin.then_some(write);
        Ok(Process { stdin, output, exit, control })
    }
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

    async fn code(&self) -> Result<i32, Error> {
        let of = self.clone();
        let code = self.build.blocking(move |build| {
            let exec = of.exec.as_deref().unwrap_or_default();
            Ok(build.builder.engine.step_exec_code(&of.step, exec))
        });
        code.await
    }
}

/// Both directions of a connection.
fn halves(stream: UnixStream) -> Result<(OwnedReadHalf, OwnedWriteHalf), Error> {
    let place = Path::new("a program's streams");
    stream.set_nonblocking(true).at("fcntl", place)?;
    let stream = tokio::net::UnixStream::from_std(stream).at("epoll_ctl", place)?;
    Ok(stream.into_split())
}

/// Passes on what a program writes, until its end or until nobody takes it.
async fn read_all(
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
struct First {
    build: Arc<Shared>,
    step: Step,
    /// They have to stay as long as it runs.
    mounts: Mounts,
    cancelled: PipeReader,
    proxied: Option<Arc<Proxied>>,
}

impl First {
    fn follow(self, mut wire: Wire, ended: oneshot::Sender<Result<i32, Error>>) -> bool {
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
struct Wire {
    started: Option<oneshot::Sender<(RunningStep, Option<UnixStream>)>>,
    outgoing: mpsc::Sender<(u8, Bytes)>,
    cancelled: PipeReader,
    proxied: Option<Arc<Proxied>>,
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
