//! Health checks: the shim runs them as execs that nobody is attached to.
//!
//! ```text
//! a while ─→ exec ─→ it ends, or takes too long and is killed ─→ result noted ─→ a while …
//!                      unhealthy, and that is to be a reason ─→ stop signal ─→ … SIGKILL ─→ restart
//! ```

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;
use shim_protocol::{
    Attach, Exec, Health, HealthCheck, HealthLog, HealthResult, HealthStatus, Phase,
};

use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::supervisor::{IDLE, Supervisor};

/// The checks of a container.
#[derive(Debug)]
pub(crate) struct Checks {
    check: HealthCheck,
    log: HealthLog,
    /// When the next one is due; `None` while one runs, or none is to.
    due: Option<Instant>,
    running: Option<Running>,
    /// When SIGKILL follows the signal that was to end an unhealthy container.
    kill_at: Option<Instant>,
}

/// One that runs.
#[derive(Debug)]
struct Running {
    /// Its key among the execs.
    key: u32,
    start: Timestamp,
    /// From the start of the container, nanoseconds.
    since_start: u64,
    /// When it has taken too long; known once it has begun.
    until: Option<Instant>,
    timed_out: bool,
    output: Vec<u8>,
    cut: bool,
}

impl Checks {
    /// None have been done yet.
    pub(crate) fn new(check: HealthCheck) -> Self {
        Self { check, log: HealthLog::default(), due: None, running: None, kill_at: None }
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let until = self.running.as_ref().and_then(|running| running.until);
        [self.due, until, self.kill_at].into_iter().flatten().min()
    }

    /// Whether an exec is a check.
    pub(crate) fn is(&self, key: u32) -> bool {
        self.running.as_ref().is_some_and(|running| running.key == key)
    }

    /// Keeps the first of what a check writes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let Some(running) = &mut self.running else { return };
        let room = HealthLog::MAX_OUTPUT_BYTES - running.output.len();
        running.cut |= bytes.len() > room;
        running.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Supervisor {
    /// A life of the container begins: nothing is known of it.
    pub(crate) fn begin_checks(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        checks.log = HealthLog::default();
        checks.due = Some(Instant::now() + nanos(Health::STARTING.wait(&checks.check, 0)));
        self.status.health = Some(Health::STARTING);
        self.save_log();
    }

    /// A life of the container has ended: what was not known by then never will be.
    pub(crate) fn end_checks(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        (checks.due, checks.running, checks.kill_at) = (None, None, None);
        if let Some(health) = &mut self.status.health {
            health.status = HealthStatus::Unhealthy;
        }
    }

    /// The container was frozen or thawed: in between nothing is checked, and nothing takes too long.
    pub(crate) fn pause_checks(&mut self, paused: bool) {
        let Some(checks) = &mut self.checks else { return };
        let now = Instant::now();
        match &mut checks.running {
            Some(running) => {
                running.until = (!paused).then(|| now + nanos(checks.check.timeout));
            }
            None => checks.due = (!paused).then(|| now + nanos(checks.check.interval)),
        }
    }

    /// Does what is due.
    pub(crate) fn pass_checks(&mut self, now: Instant) {
        let Some(checks) = &mut self.checks else { return };
        if checks.kill_at.is_some_and(|at| at <= now) {
            checks.kill_at = None;
            self.signal_init(Signal::KILL.as_raw());
        }
        let Some(checks) = &mut self.checks else { return };
        if let Some(running) = &mut checks.running
            && running.until.is_some_and(|until| until <= now)
        {
            (running.until, running.timed_out) = (None, true);
            let key = running.key;
            self.kill_exec(key);
        }
        let Some(checks) = &mut self.checks else { return };
        if checks.due.is_some_and(|due| due <= now) {
            checks.due = None;
            if self.status.phase == Phase::Running {
                self.begin_check();
            }
        }
    }

    fn begin_check(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        let process = checks.check.process.clone();
        let (start, since_start) = (Timestamp::now(), since(self.started));
        let words = words(&process.args);
        let begun = failpoint::hit("shim.check").map_err(Error::from).and_then(|()| new_id());
        let begun = begun.and_then(|id| {
            self.emit(&format!("exec_create: {words}"), &[("execID", &id)]);
            let attach = Attach { stdin: false, stdout: true, stderr: true };
            self.start_exec(None, Exec { id, process, attach, console: None }, &[])
        });
        match begun {
            Ok(key) => {
                let Some(checks) = &mut self.checks else { return };
                checks.running = Some(Running {
                    key,
                    start,
                    since_start,
                    until: None,
                    timed_out: false,
                    output: Vec::new(),
                    cut: false,
                });
            }
            Err(err) => self.note_check(start, since_start, -1, err.chain()),
        }
    }

    /// The runtime has begun a check.
    pub(crate) fn check_began(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        if let Some(running) = &mut checks.running {
            running.until = Some(Instant::now() + nanos(checks.check.timeout));
        }
    }

    /// A check ended with `code`, or could not be run.
    pub(crate) fn check_ended(&mut self, code: Result<i32, &Error>) {
        let Some(checks) = &mut self.checks else { return };
        let Some(running) = checks.running.take() else { return };
        let mut output = String::from_utf8_lossy(&running.output).into_owned();
        if running.cut {
            output.push_str("...");
        }
        let (code, output) = match code {
            Err(err) => (-1, err.chain()),
            Ok(_) if running.timed_out => {
                let limit = go_duration(checks.check.timeout);
                let mut text = format!("Health check exceeded timeout ({limit})");
                if !output.is_empty() {
                    // Writing to memory does not fail.
                    let _ = write!(text, ": {output}");
                }
                (-1, text)
            }
            Ok(code) => (code, output),
        };
        self.note_check(running.start, running.since_start, code, output);
    }

    fn note_check(&mut self, start: Timestamp, since_start: u64, exit_code: i32, output: String) {
        let wait_from = Instant::now();
        let since_now = since(self.started);
        let (Some(checks), Some(health)) = (&mut self.checks, &mut self.status.health) else {
            return;
        };
        let end = Timestamp::now().to_string();
        checks.log.push(HealthResult { start: start.to_string(), end, exit_code, output });
        let before = *health;
        let changed = health.note(&checks.check, exit_code, since_start);
        checks.due = Some(wait_from + nanos(health.wait(&checks.check, since_now)));
        let health = *health;
        self.save_log();
        if health != before
            && let Err(err) = self.save_status()
        {
            report("save the status", &err);
        }
        if changed {
            self.emit(&format!("health_status: {}", health.status.as_str()), &[]);
        }
        self.shrink_at = Some(Instant::now() + IDLE);
        if changed && health.status == HealthStatus::Unhealthy {
            self.end_unhealthy();
        }
    }

    /// Where that is wanted, ends a container that is unhealthy, to be started again.
    fn end_unhealthy(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        let Some(how) = checks.check.restart else { return };
        if !self.config.restart.wants_unhealthy(self.stopped, self.status.restart_count) {
            return;
        }
        checks.due = None;
        checks.kill_at = how.timeout_s.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        self.unhealthy = true;
        self.signal_init(how.signal);
    }

    fn signal_init(&mut self, signal: i32) {
        let Some((_, handle)) = &self.init else { return };
        match handle.signal(signal) {
            Ok(()) => self.emit("kill", &[("signal", &signal.to_string())]),
            // It has ended by itself.
            Err(err) if err.errno() == Errno::SRCH => {}
            Err(err) => report("end an unhealthy container", &err.into()),
        }
    }

    fn kill_exec(&mut self, key: u32) {
        let Some(pid) = self.execs.get(&key).and_then(crate::exec::Exec::pid) else { return };
        // It is our child, and has not been waited for: its number is its own.
        if let Err(errno) = rustix::process::kill_process(pid, Signal::KILL) {
            let call = format!("kill({})", pid.as_raw_nonzero());
            report("end a health check", &sys::Error::new(call, errno).into());
        }
    }

    fn save_log(&self) {
        let Some(checks) = &self.checks else { return };
        let dir = &self.config.data_dir;
        let saved = failpoint::hit("shim.health")
            .and_then(|()| checks.log.save(dir))
            .and_then(|()| failpoint::hit("shim.health-noted"));
        if let Err(err) = saved {
            report("note a health check", &Error::file("write", dir.join("health.json"))(err));
        }
    }

    /// Whether an exec is a check.
    pub(crate) fn is_check(&self, key: u32) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.is(key))
    }
}

/// A command as it is told of in events.
pub(crate) fn words(args: &[String]) -> String {
    let (program, args) = args.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    format!("{program} {}", args.join(" "))
}

/// 64 hexadecimal digits that nobody else has.
fn new_id() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        let n_bytes = rustix::rand::getrandom(&mut bytes[filled..], flags)
            .map_err(|errno| sys::Error::new("getrandom()", errno))?;
        filled += n_bytes;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn nanos(n: u64) -> Duration {
    Duration::from_nanos(n)
}

fn since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `200ms`.
fn go_duration(nanos: u64) -> String {
    let fraction = |whole: u64, part: u64, digits: usize| {
        let text = format!("{whole}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos / 1_000, nanos % 1_000, 3)),
        1_000_000..1_000_000_000 => {
            format!("{}ms", fraction(nanos / 1_000_000, nanos % 1_000_000, 6))
        }
        _ => {
            let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut text = String::new();
            if hours > 0 {
                text.push_str(&format!("{hours}h"));
            }
            if seconds >= 60 {
                text.push_str(&format!("{minutes}m"));
            }
            text + &fraction(seconds % 60, rest, 9) + "s"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (nanos, want) in [
            (1, "1ns"),
            (1_500, "1.5µs"),
            (200_000_000, "200ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanos), want);
        }
    }

    #[test]
    fn a_command_is_told_as_docker_does() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&args("/bin/sh -c true")), "/bin/sh -c true");
        assert_eq!(words(&args("true")), "true ");
    }
}
