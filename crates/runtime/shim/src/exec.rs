//! Other processes in a running container.
//!
//! ```text
//! request ─→ runtime `exec --detach` spawned ─→ it ends well ─→ Started, streams joined
//!                                  └─ it fails ─→ Error        └─ process ends ─→ output drained
//!                                                                ─→ status saved ─→ stream closed
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci::runtime::ConsoleSize;
use rustix::process::{Pid, Signal};
use shim_protocol::{Attach, Console, ExecStatus, Phase, Reply};

use crate::error::{Error, report};
use crate::health::words;
use crate::runtime::{self, failure, written_to};
use crate::stdio::{self, ConsoleSocket};
use crate::streams::Streams;
use crate::supervisor::Supervisor;

/// How long the output of an exec that ended is waited for, where processes that it left behind
/// hold its pipes open.
const GRACE: Duration = Duration::from_millis(200);
/// How many execs there may be at once.
const MAX_EXECS: usize = 256;

/// One exec.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    state: State,
    /// Its process, also when that has ended; 0: there was none.
    pid: i32,
    /// Who asked for it, until it is attached or gone.
    client: Option<u32>,
    attach: Attach,
    /// What the client wrote behind its request.
    early_input: Vec<u8>,
    console: Option<Console>,
    /// Until the runtime has sent the terminal.
    socket: Option<ConsoleSocket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The runtime with this number is at it.
    Starting(Pid),
    /// It runs under this number.
    Running(Pid),
    /// It ended with this code; the rest of its output is awaited until then.
    Ended(i32, Instant),
}

impl Exec {
    /// Until when the rest of its output is waited for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Ended(_, until) => Some(until),
            State::Starting(_) | State::Running(_) => None,
        }
    }

    /// Whether its process is not known yet.
    pub(crate) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting(_))
    }

    /// Its process, if it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Running(pid) => Some(pid),
            State::Starting(_) | State::Ended(..) => None,
        }
    }

    /// Takes note that a client is gone.
    pub(crate) fn forget_client(&mut self, key: u32) {
        self.client = self.client.filter(|client| *client != key);
    }

    fn file(&self, suffix: &str) -> String {
        format!("exec-{}{suffix}", self.id)
    }
}

impl Supervisor {
    /// Starts what a client asks for, if there is one; it is told when the runtime has ended. The key of
    /// the exec.
    pub(crate) fn start_exec(
        &mut self,
        client: Option<u32>,
        request: shim_protocol::Exec,
        rest: &[u8],
    ) -> Result<u32, Error> {
        match self.status.phase {
            Phase::Running => {}
            Phase::Paused => return Err(Error::Paused),
            Phase::Restarting => return Err(Error::Restarting),
            Phase::Created | Phase::Exited => return Err(Error::NotRunning),
        }
        let shim_protocol::Exec { id, mut process, attach, console } = request;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::Request(format!(
                "exec id `{id}` has other characters than letters and digits"
            )));
        }
        if self.exec_key(&id).is_some() {
            return Err(Error::Request(format!("exec {id} is already running")));
        }
        if self.execs.len() >= MAX_EXECS {
            return Err(Error::Request(format!("more than {MAX_EXECS} execs at once")));
        }
        let terminal = process.terminal;
        if let Some(size) = console.filter(|size| size.width > 0 && size.height > 0) {
            // Its first look at the terminal may come before ours.
            let (width, height) = (size.width.into(), size.height.into());
            process.console_size = Some(ConsoleSize { height, width });
        }
        let owner = self.bundle.owner_of(&process.user);
        let (pipes, ends) =
            stdio::pipes(attach.stdin && !terminal, attach.stdout && !terminal, owner)?;
        let mut exec = Exec {
            id,
            // Until it is spawned below, no child has our own number.
            state: State::Starting(rustix::process::getpid()),
            pid: 0,
            client,
            attach,
            early_input: rest.to_vec(),
            console,
            socket: None,
        };
        let spec = self.run.join(exec.file(".json"));
        let bytes =
            serde_json::to_vec(&process).map_err(|err| Error::file("write", &spec)(err.into()))?;
        fs::write(&spec, bytes).map_err(Error::file("write", &spec))?;
        let pid_file = self.run.join(exec.file(".pid"));
        let mut args: Vec<&OsStr> = ["--detach", "--process"].map(OsStr::new).to_vec();
        args.extend([spec.as_os_str(), OsStr::new("--pid-file"), pid_file.as_os_str()]);
        if terminal {
            exec.socket = Some(ConsoleSocket::bind(&self.run, exec.file(".sock"))?);
        }
        if let Some(socket) = &exec.socket {
            args.extend([OsStr::new("--console-socket"), socket.path().as_os_str()]);
        }
        failpoint::hit("shim.spawn")?;
        let (log, streams) = (self.run.join("shim.log"), ends.in_order(self.caller.null()));
        let pid = self.caller.spawn_aside(&log, "exec", &args, streams)?;
        failpoint::hit("shim.spawned")?;
        exec.state = State::Starting(pid);
        let started = format!("exec_start: {}", words(&process.args));
        self.emit(&started, &[("execID", &exec.id)]);
        let key = self.new_key();
        self.streams.insert(key, Streams::with_pipes(key, pipes));
        self.execs.insert(key, exec);
        if let Some(client) = client.and_then(|client| self.clients.get_mut(&client)) {
            client.state = crate::client::State::Starting;
        }
        Ok(key)
    }

    /// The exec of this id.
    pub(crate) fn exec_key(&self, id: &str) -> Option<u32> {
        self.execs.iter().find(|(_, exec)| exec.id == id).map(|(key, _)| *key)
    }

    /// Sends a signal to the process of an exec. Its number is nobody else's before we have waited for it.
    pub(crate) fn signal_exec(&self, id: &str, signal: i32) -> Result<(), Error> {
        let exec = self.exec_key(id).and_then(|key| self.execs.get(&key));
        let exec = exec.ok_or_else(|| Error::NoExec(id.to_owned()))?;
        let pid = exec.pid().ok_or(Error::NotRunning)?;
        Ok(sys::Handle::open(pid)?.signal(signal)?)
    }

    /// The exec whose runtime has this number.
    pub(crate) fn starting_exec(&self, pid: Pid) -> Option<u32> {
        let is = |exec: &Exec| exec.state == State::Starting(pid);
        self.execs.iter().find(|(_, exec)| is(exec)).map(|(key, _)| *key)
    }

    /// The exec whose process has this number.
    pub(crate) fn running_exec(&self, pid: Pid) -> Option<u32> {
        let is = |exec: &Exec| exec.state == State::Running(pid);
        self.execs.iter().find(|(_, exec)| is(exec)).map(|(key, _)| *key)
    }

    /// The runtime of an exec ended with `code`.
    pub(crate) fn exec_started(&mut self, key: u32, code: i32) {
        let result =
            if code == 0 { self.join_exec(key) } else { Err(self.exec_failure(key, code)) };
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let (client, attach) = (exec.client.take(), exec.attach);
        let early_input = std::mem::take(&mut exec.early_input);
        let pid = match result {
            Ok(pid) => pid,
            Err(err) => {
                let wire = err.wire();
                if self.is_check(key) {
                    self.remove_exec(key);
                    return self.check_ended(Err(&err));
                }
                self.save_exec(
                    key,
                    &ExecStatus { running: false, pid: 0, exit_code: wire.exit_code },
                );
                self.remove_exec(key);
                if let Some(client) = client {
                    self.answer(client, Err(err));
                }
                return;
            }
        };
        if self.is_check(key) {
            self.check_began();
            return self.refresh(key);
        }
        self.save_exec(key, &ExecStatus { running: true, pid, exit_code: None });
        let Some(client) = client else {
            // Whoever wanted to write to it is gone.
            if let Some(streams) = self.streams.get_mut(&key) {
                streams.end_input();
            }
            return self.refresh(key);
        };
        self.send(client, &Reply::Started { pid });
        if attach == Attach::default() {
            self.close_client(client);
            return self.refresh(key);
        }
        self.attach(client, key, attach);
        if !early_input.is_empty() {
            self.client_wrote(client, &early_input);
        }
    }

    /// Reads what the runtime left: the process's number, and its terminal.
    fn join_exec(&mut self, key: u32) -> Result<i32, Error> {
        let exec = self.execs.get_mut(&key).ok_or(Error::NotRunning)?;
        if let Some(socket) = exec.socket.take() {
            let master = socket.receive(exec.console)?;
            self.streams.insert(key, Streams::with_console(key, master));
        }
        let pid = read_pid(Path::new(&exec.file(".pid")))?;
        exec.state = State::Running(pid);
        exec.pid = pid.as_raw_nonzero().get();
        Ok(exec.pid)
    }

    /// Why the runtime could not start an exec: it says so where the process's errors would go.
    fn exec_failure(&mut self, key: u32, code: i32) -> Error {
        let streams = self.streams.get(&key);
        let said: Vec<u8> =
            streams.map(|s| s.open_outputs().flat_map(written_to).collect()).unwrap_or_default();
        Error::Runtime(failure("exec", code, &said))
    }

    /// The process of an exec ended with `code`.
    pub(crate) fn exec_exited(&mut self, key: u32, code: i32) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        exec.state = State::Ended(code, Instant::now() + GRACE);
        // Most often all that it wrote is here already.
        self.on_output(key, crate::log::Stream::Stdout);
        self.on_output(key, crate::log::Stream::Stderr);
    }

    /// Finishes an exec that has ended and whose output has come to its end.
    pub(crate) fn finish_exec_if_over(&mut self, key: u32) {
        let over = self.execs.get(&key).is_some_and(|exec| exec.deadline().is_some())
            && self.streams.get(&key).is_none_or(Streams::ended);
        if over {
            self.finish_exec(key);
        }
    }

    /// Delivers what is left of an ended exec's output, saves its exit code, and only then closes
    /// the stream: who sees the end of it can ask for the code.
    pub(crate) fn finish_exec(&mut self, key: u32) {
        let Some(State::Ended(code, _)) = self.execs.get(&key).map(|exec| exec.state) else {
            return;
        };
        self.drain(key, Duration::ZERO);
        if let Some(exec) = self.execs.get(&key) {
            self.emit("exec_die", &[("execID", &exec.id), ("exitCode", &code.to_string())]);
        }
        if self.is_check(key) {
            self.remove_exec(key);
            return self.check_ended(Ok(code));
        }
        let pid = self.execs.get(&key).map_or(0, |exec| exec.pid);
        self.save_exec(key, &ExecStatus { running: false, pid, exit_code: Some(code) });
        let clients = self.streams.get(&key).map(|s| s.clients.clone()).unwrap_or_default();
        self.remove_exec(key);
        for client in clients {
            self.close_client(client);
        }
    }

    /// What execs still run have ended with the container: their status says so.
    ///
    /// A runtime that is still at one goes no further: it would write into the directory that is about to
    /// be removed, or join the container's next life, in which nobody knows of its process.
    pub(crate) fn end_execs(&mut self) {
        const KILLED: i32 = 128 + 9;
        let mut abandoned = Vec::new();
        for exec in self.execs.values_mut() {
            if let State::Starting(runtime) = exec.state {
                abort(runtime);
            }
            if !matches!(exec.state, State::Ended(..)) {
                exec.state = State::Ended(KILLED, Instant::now());
                abandoned.extend(exec.client.take());
            }
        }
        for key in self.execs.keys().copied().collect::<Vec<_>>() {
            self.finish_exec(key);
        }
        for client in abandoned {
            self.answer(client, Err(Error::NotRunning));
        }
    }

    fn save_exec(&self, key: u32, status: &ExecStatus) {
        let Some(exec) = self.execs.get(&key) else { return };
        let dir = self.execs_dir();
        let saved = failpoint::hit("shim.record")
            .and_then(|()| status.save(&dir, &exec.id))
            .and_then(|()| failpoint::hit("shim.recorded"));
        if let Err(err) = saved {
            report("exec", &Error::file("write the status of an exec to", dir)(err));
        }
    }

    /// Where the engine keeps its records of execs: `RUN/execs`, which ends with the container, if it
    /// made that, else `STATE/execs`, beside the directory of containers that `RUN` is in.
    fn execs_dir(&self) -> PathBuf {
        let of_run = self.run.join("execs");
        if of_run.is_dir() {
            return of_run;
        }
        let state = self.run.parent().and_then(Path::parent).unwrap_or(&self.run);
        state.join("execs")
    }

    fn remove_exec(&mut self, key: u32) {
        self.streams.remove(&key);
        let Some(exec) = self.execs.remove(&key) else { return };
        for suffix in [".json", ".pid"] {
            // What is not removed now goes with the whole directory.
            let _ = fs::remove_file(exec.file(suffix));
        }
    }
}

/// Ends a runtime that is at an exec. What it has made by then ends with the container: a process that
/// waits for it hears that it is gone, and one in the cgroup is killed there.
fn abort(runtime: Pid) {
    // It is our child, and has not been waited for: its number is its own.
    let killed = rustix::process::kill_process(runtime, Signal::KILL)
        .map_err(|errno| sys::Error::new(format!("kill({})", runtime.as_raw_nonzero()), errno));
    if let Err(err) = killed.map_err(Error::from).and_then(|()| runtime::wait(runtime)) {
        report("end the runtime of an exec", &err);
    }
}

/// The process number that a runtime wrote to a file.
pub(crate) fn read_pid(file: &Path) -> Result<Pid, Error> {
    let text = fs::read_to_string(file).map_err(Error::file("read", file))?;
    text.trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::Request(format!("{} holds no process number", file.display())))
}
