//! QEMU, and what comes out of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::Test;
use super::results::Outcome;

/// How long a guest may take, from its start to its end.
const PATIENCE: Duration = Duration::from_mins(20);

/// Starts the guest, shows how its tests go, and waits for its end, or makes it.
pub(crate) fn boot(
    kernel: &Path,
    initrd: &Path,
    append: &str,
    tests: &[Test],
) -> Result<Outcome, String> {
    let console = initrd.with_extension("console");
    let mut guest = start(kernel, initrd, append, &console)?;
    let outcome = watch(&mut guest, tests);
    // It has powered off, or its time is over.
    if outcome.is_err() || !matches!(guest.try_wait(), Ok(Some(_))) {
        std::thread::sleep(Duration::from_secs(1));
        _ = guest.kill();
    }
    _ = guest.wait();
    let said = std::fs::read(&console).unwrap_or_default();
    _ = std::fs::remove_file(&console);
    let outcome = outcome?;
    if outcome.ended {
        return Ok(outcome);
    }
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    for line in &lines[lines.len().saturating_sub(60)..] {
        println!("guest: {}", line.trim_end());
    }
    Ok(outcome)
}

fn start(kernel: &Path, initrd: &Path, append: &str, console: &Path) -> Result<Child, String> {
    // Ends with this program, however that ends.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config"]);
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35", "-smp", "2"]);
    qemu.args(["-m", "4096", "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"]);
    qemu.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    qemu.args(["-append", append]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu.spawn().map_err(|error| format!("start QEMU: {error}"))
}

/// Reads the results until the guest ends.
fn watch(guest: &mut Child, tests: &[Test]) -> Result<Outcome, String> {
    let output = guest.stdout.take().ok_or("QEMU has no output")?;
    let (send, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut outcome = Outcome::new(tests);
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => outcome.take(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                println!("guest: still runs after {PATIENCE:?}");
                return Ok(outcome);
            }
        }
        if outcome.ended {
            break;
        }
    }
    drop(lines);
    // Ends with the pipe, which QEMU closes.
    drop(reader);
    Ok(outcome)
}
