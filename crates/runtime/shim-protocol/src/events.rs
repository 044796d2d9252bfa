//! What has happened, for whoever wants to follow it.
//!
//! One file, `STATE/events.jsonl`, to which every process appends whole lines: an event of any
//! process is seen by all. It begins anew when it has grown large; the one before is kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use docker::event::{Actor, Message};

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
    if fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(&line)
}
