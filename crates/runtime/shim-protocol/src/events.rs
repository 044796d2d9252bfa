//! What has happened, for whoever wants to follow it.
//!
//! One file, `STATE/events.jsonl`, to which every process appends whole lines: an event of any
//! process is seen by all. It begins anew when it has grown large; the one before is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use docker::event::{Actor, Message};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// When the file begins anew, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// An event of the container `id` at `time_nano`, nanoseconds since 1970. `image` is as it was asked
/// for.
pub fn container(
    action: &str,
    id: &str,
    image: &str,
    attributes: impl IntoIterator<Item = (String, String)>,
    time_nano: i64,
) -> Message {
    Message {
        status: action.into(),
        id: id.into(),
        from: image.into(),
        kind: "container".into(),
        action: action.into(),
        actor: Actor { id: id.into(), attributes: attributes.into_iter().collect() },
        scope: "local".into(),
        time: time_nano / 1_000_000_000,
        time_nano,
    }
}

/// An event of something else: a network, a volume, an image.
pub fn of(
    kind: &str,
    action: &str,
    id: &str,
    attributes: impl IntoIterator<Item = (String, String)>,
    time_nano: i64,
) -> Message {
    Message {
        kind: kind.into(),
        action: action.into(),
        actor: Actor { id: id.into(), attributes: attributes.into_iter().collect() },
        scope: "local".into(),
        time: time_nano / 1_000_000_000,
        time_nano,
        ..Message::default()
    }
}

/// Appends an event to the file at `path`.
pub fn append(path: &Path, event: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let mut file = open()?;
    if file.metadata()?.len() > MAX_BYTES {
        make_place(&file, path)?;
        file = open()?;
    }
    file.write_all(&line)
}

/// Has a file make place for its successor, unless it has already or somebody is at it: of many who find it
/// too large one renames it. A second one would put the successor in its place, and all that it holds were lost.
fn make_place(file: &File, path: &Path) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Ok(()),
        locked => locked?,
    }
    let ours = file.metadata()?.ino();
    if fs::metadata(path).is_ok_and(|now| now.ino() == ours) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_makes_place_once() {
        let dir = std::env::temp_dir().join(format!("dhow-events-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("events.jsonl");
        let n_bytes = usize::try_from(MAX_BYTES).unwrap() + 1;
        fs::write(&path, vec![b'\n'; n_bytes]).unwrap();
        // Two find it too large; the second comes to it when it has made place.
        let second = File::open(&path).unwrap();
        let event = of("network", "create", "id", [], 1);
        append(&path, &event).unwrap();
        make_place(&second, &path).unwrap();
        append(&path, &event).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        let before = fs::metadata(dir.join("events.jsonl.1")).unwrap().len();
        assert_eq!(before, n_bytes as u64);
        fs::remove_dir_all(&dir).unwrap();
    }
}
