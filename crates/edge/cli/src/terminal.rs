//! The terminal that a person sits at, and the signals that it sends.

use std::io::IsTerminal as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::error::{Error, Result};

/// The signals that an attached command passes on: all that can be caught and mean something to a
/// program, but those of the terminal's size and of our own children and pipes.
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
];
/// SIGWINCH.
const WINCH: i32 = 28;

/// Whose terminal is resized.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A container, by id.
    Container(String),
    /// An exec, by id.
    Exec(String),
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Rows and columns of our terminal; `None` where the output is none.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// Refuses `-t` where standard input is no terminal, in Docker's words.
pub(crate) fn check_tty(tty: bool, stdin: bool) -> Result<()> {
    if tty && stdin && !stdin_is_terminal() {
        return Err(Error::Early("the input device is not a TTY".to_owned()));
    }
    Ok(())
}

/// Puts our terminal into raw mode until the guard is dropped.
pub(crate) fn raw_mode() -> Result<Option<pty::RawGuard>> {
    if !stdin_is_terminal() {
        return Ok(None);
    }
    let guard = pty::raw_mode(rustix::stdio::stdin())
        .map_err(|err| Error::io("set the terminal to raw mode")(err.errno().into()))?;
    Ok(Some(guard))
}

/// Keeps the target's terminal as large as ours, from now on.
pub(crate) async fn follow_size(client: Client, target: Target) {
    resize(&client, &target).await;
    let Ok(mut changed) = signal(SignalKind::from_raw(WINCH)) else { return };
    while changed.recv().await.is_some() {
        resize(&client, &target).await;
    }
}

async fn resize(client: &Client, target: &Target) {
    let Some((rows, columns)) = size() else { return };
    let what = match target {
        Target::Container(id) => format!("/containers/{id}"),
        Target::Exec(id) => format!("/exec/{id}"),
    };
    // It may have ended meanwhile, and a wrong size is no reason to stop.
    let _ = client.post_empty(&format!("{what}/resize?h={rows}&w={columns}")).await;
}

/// Catches the signals that are passed on, from the moment of the call.
pub(crate) fn catch_signals() -> mpsc::UnboundedReceiver<&'static str> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for &(number, name) in FORWARDED {
        let Ok(mut caught) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        tokio::spawn(async move {
            while caught.recv().await.is_some() {
                let _ = sender.send(name);
            }
        });
    }
    receiver
}

/// Passes on what is caught to a container's init, for as long as this runs.
pub(crate) async fn proxy_signals(
    client: Client,
    container: String,
    mut caught: mpsc::UnboundedReceiver<&'static str>,
) {
    while let Some(name) = caught.recv().await {
        // It may have ended meanwhile; then the wait for its exit code ends as well.
        let _ = client.post_empty(&format!("/containers/{container}/kill?signal={name}")).await;
    }
}
