//! Processes of dhow's own that outlived who started them.
//!
//! A supervisor that is killed while the runtime makes the container leaves that runtime behind,
//! which would go on making a cgroup after recovery has looked for one. A supervisor whose engine
//! was killed as it started may not have taken its lock yet. Both are found by their command line,
//! which only they have; it is the last thing asked, since it means to look at every process.

use std::fs;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Error;
use crate::error::At as _;

/// How long a killed process may take to end, seconds.
const PATIENCE_S: i64 = 10;

/// Kills the supervisor and the runtime of the container `id`, whose run's folder is `run`, and
/// waits for their end.
pub(crate) fn kill(id: &str, run: &Path) -> Result<(), Error> {
    let proc = Path::new("/proc");
    for entry in fs::read_dir(proc).at("readdir", proc)? {
        let Ok(entry) = entry else { continue };
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        // The handle first: what is read afterwards is of this process, not of a later one.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        if !is_ours(&line, id, run) {
            continue;
        }
        // It may have ended in this moment.
        let _ended = pidfd_send_signal(&handle, Signal::KILL);
        let timeout = Timespec { tv_sec: PATIENCE_S, tv_nsec: 0 };
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).at("poll", &entry.path())?;
    }
    Ok(())
}

/// Whether a command line is that of this container's supervisor or runtime.
fn is_ours(line: &[u8], id: &str, run: &Path) -> bool {
    let words: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
    let Some((first, rest)) = words.split_first() else { return false };
    let name = first.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let has = |wanted: &[u8]| rest.contains(&wanted);
    match name {
        b"dhow-shim" => has(run.as_os_str().as_encoded_bytes()),
        // The same id may be in another root only by being copied there. One that was started ahead has
        // nothing but the run in its line, also when it creates.
        b"dhow-runtime" => {
            has(run.as_os_str().as_encoded_bytes())
                || has(id.as_bytes()) && rest.iter().any(|word| starts(word, run))
        }
        // Another runtime, called with our folder of states.
        _ => has(id.as_bytes()) && is_root(rest, run),
    }
}

/// Whether the runtime's folder of states is ours: `--root STATE/runtime`.
fn is_root(words: &[&[u8]], run: &Path) -> bool {
    let states = run.parent().and_then(Path::parent).unwrap_or(run).join("runtime");
    let states = states.as_os_str().as_encoded_bytes();
    words.windows(2).any(|pair| pair[0] == b"--root" && pair[1] == states)
}

/// Whether an argument is a path in the folder of all runs' parent: `--root STATE/runtime`, or
/// `--bundle STATE/containers/ID/bundle`.
fn starts(word: &[u8], run: &Path) -> bool {
    let state = run.parent().and_then(Path::parent).unwrap_or(run);
    word.starts_with(state.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_of_this_container() {
        let run = Path::new("/run/dhow/containers/abc");
        for (line, want) in [
            ("dhow-shim\0/run/dhow/containers/abc\0", true),
            ("/usr/bin/dhow-shim\0/run/dhow/containers/abc\0", true),
            ("dhow-shim\0ahead\0/run/dhow/containers/abc\0", true),
            ("dhow-shim\0/run/dhow/containers/abcd\0", false),
            ("dhow-shim\0/run/other/containers/abc\0", false),
            ("dhow-runtime\0--root\0/run/dhow/runtime\0create\0abc\0", true),
            ("dhow-runtime\0ahead\0/run/dhow/containers/abc\0", true),
            ("dhow-runtime\0ahead\0/run/dhow/containers/abcd\0", false),
            ("/usr/bin/crun\0--root\0/run/dhow/runtime\0create\0abc\0", true),
            ("/usr/bin/crun\0--root\0/run/other/runtime\0create\0abc\0", false),
            ("dhow\0internal-remove\0abc\0/var/lib/dhow\0/run/dhow\0", false),
            ("dhow-runtime\0--root\0/run/other/runtime\0create\0abc\0", false),
            ("dhow-runtime\0--root\0/run/dhow/runtime\0create\0abcd\0", false),
            ("vi\0/run/dhow/containers/abc\0", false),
            ("", false),
        ] {
            assert_eq!(is_ours(line.as_bytes(), "abc", run), want, "{line:?}");
        }
    }
}
