//! Containers of a front end's own: made of results, and there for as long as it wants them.
//!
//! The first program that is started in one is its first process, a step like any other; those that follow are
//! run in the same container, and end with it.

mod process;

use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use buildgraph::{Exec, MountKind, SecretVariable, Security};
use containers::{RunningStep, Step, StepFrames, StepMount, StepProcess, StepResult, StepSource};
use fsroot::Root;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::build::Shared;
use crate::error::At as _;
use crate::op::exec::{check, step};
use crate::op::mounts::{self, Mounts};
use crate::output::Output;
use crate::proxied::Proxied;
use crate::{Build, Error, FileStat, look, op, view};

use process::{First, Wire, halves, read_all};

pub use process::{Control, Process};

/// Pieces of output on their way.
const AHEAD: usize = 32;

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
