//! Running a plugin as Docker's client does it: with the words of the command line and the flags before them,
//! our own streams and terminal, and its exit code. Where the engine is this process, the plugin finds it behind
//! a socket of its own, for as long as it runs.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};

use super::nest::{self, Nest};
use crate::error::{Error, Result};
use crate::{Global, Host, terminal};

/// By what a plugin calls us again.
pub(super) const ORIGINAL: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";
/// The socket whose end tells a plugin that it is to end.
const NOTICES: &str = "DOCKER_CLI_PLUGIN_SOCKET";
/// What says where another engine is, and how it is spoken to.
const OF_ANOTHER_ENGINE: [&str; 4] =
    ["DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];
/// The exit code for a plugin that a signal ended, as Docker's client has it.
const KILLED: i32 = 255;
/// How often a plugin may be asked to end before it is made to.
const MOST_ASKED: u32 = 3;
/// Before the next connection is taken, where one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a plugin to its end: its exit code. `own`: what we were called by.
///
/// # Errors
///
/// It cannot be run, or there is no place for its sockets.
pub(super) async fn run(
    own: &OsStr,
    plugin: &Path,
    global: &Global,
    words: &[OsString],
    host: &impl Host,
) -> Result<i32> {
    let nest = Nest::new()?;
    let notices = nest::listen(&nest.notices())?;
    let is_own = crate::is_own_engine(global);
    let mut command = Command::new(plugin);
    command.args(flags(global, is_own)).args(words);
    command.env(ORIGINAL, own).env(NOTICES, nest.notices());
    let mut engine = None;
    if is_own {
        let mut address = OsString::from("unix://");
        address.push(nest.engine());
        command.env("DOCKER_HOST", address);
        for name in OF_ANOTHER_ENGINE {
            command.env_remove(name);
        }
        engine = Some(nest::listen(&nest.engine())?);
    }
    let serving = async {
        match engine {
            Some(listener) => serve(listener, global, host).await,
            None => std::future::pending().await,
        }
    };
    let failed = || format!("run {}", plugin.display());
    let mut asked = Asked::new();
    let mut child = command.spawn().map_err(Error::io(failed()))?;
    let mut serving = pin!(serving);
    let mut end = End::default();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(Error::io(failed()))?,
            never = &mut serving => match never {},
            Ok((stream, _)) = notices.accept() => end.listens(stream),
            signal = asked.next() => {
                if end.ask(&mut child, signal) {
                    eprintln!("got {MOST_ASKED} SIGTERM/SIGINTs, forcefully exiting");
                    return Ok(1);
                }
            }
        }
    };
    Ok(status.code().unwrap_or(KILLED))
}

/// What goes before the command, as plugins take it: the flags that Docker's client has as well. Those which
/// say where the engine is are left out where it is this process.
fn flags(global: &Global, is_own: bool) -> Vec<OsString> {
    let text = |value: &Option<String>| value.as_ref().map(OsString::from);
    let switch = |value: Option<bool>| value.map(|value| OsString::from(value.to_string()));
    let path = |value: &Option<std::path::PathBuf>| value.as_ref().map(OsString::from);
    let mut given = vec![
        ("--config=", path(&global.config)),
        ("--log-level=", text(&global.log_level)),
        ("--debug=", switch(global.debug.then_some(true))),
    ];
    if !is_own {
        given.extend([
            ("--host=", text(&global.host)),
            ("--context=", text(&global.context)),
            ("--tls=", switch(global.tls)),
            ("--tlsverify=", switch(global.tlsverify)),
            ("--tlscacert=", path(&global.tlscacert)),
            ("--tlscert=", path(&global.tlscert)),
            ("--tlskey=", path(&global.tlskey)),
        ]);
    }
    let whole = |(name, value): (&str, Option<OsString>)| {
        let mut flag = OsString::from(name);
        flag.push(value?);
        Some(flag)
    };
    given.into_iter().filter_map(whole).collect()
}

/// Serves the engine in this process to all who come. It is opened when the first one does: a plugin that only
/// tells of itself needs none.
async fn serve(listener: UnixListener, global: &Global, host: &impl Host) -> Infallible {
    let mut opened = None;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let open = || host.serve(global).map_err(|why| eprintln!("dhow: {why}"));
        // Where it cannot be opened, nobody gets an answer.
        if let Ok(serve) = opened.get_or_insert_with(open) {
            serve(stream);
        }
    }
}

/// The signals that ask a command to end.
struct Asked(Vec<(Caught, Signal)>);

impl Asked {
    fn new() -> Self {
        let kinds =
            [(SignalKind::interrupt(), Signal::INT), (SignalKind::terminate(), Signal::TERM)];
        let caught = |(kind, number)| Some((signal(kind).ok()?, number));
        Self(kinds.into_iter().filter_map(caught).collect())
    }

    /// The next one that comes.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            let mut all = self.0.iter_mut();
            let come = all.find_map(|(caught, number)| {
                caught.poll_recv(context).is_ready().then_some(*number)
            });
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// How a plugin is asked to end: one that has connected to the socket for that by the end of its connection,
/// any other by the signal itself.
#[derive(Default)]
struct End {
    connected: Vec<UnixStream>,
    has_connected: bool,
    n_asked: u32,
}

impl End {
    fn listens(&mut self, stream: UnixStream) {
        self.has_connected = true;
        if self.n_asked == 0 {
            self.connected.push(stream);
        }
    }

    /// Asks it to end. Whether it was asked so often that it was made to.
    fn ask(&mut self, child: &mut Child, signal: Signal) -> bool {
        // The terminal interrupts all that are in front of it, the plugin as well.
        if signal == Signal::INT && terminal::stdin_is_terminal() {
            return false;
        }
        self.n_asked += 1;
        if self.n_asked >= MOST_ASKED {
            // One that has ended just now needs no more.
            let _ = child.start_kill();
            return true;
        }
        self.connected.clear();
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(pid) = pid.filter(|_| !self.has_connected) {
            // The same.
            let _ = kill_process(pid, signal);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_ours_alone_are_not_passed_on() {
        let global = Global {
            host: Some("tcp://h:1".into()),
            config: Some("/c d".into()),
            debug: true,
            tlsverify: Some(false),
            tlscacert: Some("ca".into()),
            root: Some("/r".into()),
            storage_driver: Some("copy".into()),
            ..Global::default()
        };
        let all = [
            "--config=/c d",
            "--debug=true",
            "--host=tcp://h:1",
            "--tlsverify=false",
            "--tlscacert=ca",
        ];
        assert_eq!(flags(&global, false), all);
        assert_eq!(flags(&global, true), ["--config=/c d", "--debug=true"]);
        assert!(flags(&Global::default(), false).is_empty());
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_sent_the_signal() {
        let start = || Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let mut child = start();
        let mut end = End::default();
        assert!(!end.ask(&mut child, Signal::TERM));
        assert_eq!(child.wait().await.unwrap().code(), None);
        // One that listens is not, and gets the end of its connection.
        let (mut child, mut end) = (start(), End::default());
        let (ours, theirs) = UnixStream::pair().unwrap();
        end.listens(ours);
        assert!(!end.ask(&mut child, Signal::TERM));
        theirs.readable().await.unwrap();
        assert_eq!(theirs.try_read(&mut [0]).unwrap(), 0);
        assert!(child.try_wait().unwrap().is_none());
        assert!(!end.ask(&mut child, Signal::TERM) && child.try_wait().unwrap().is_none());
        assert!(end.ask(&mut child, Signal::TERM));
        assert_eq!(child.wait().await.unwrap().code(), None);
    }
}
