//! Documents that others wrote: `config.json`, and the descriptions of processes.

use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use serde::de::DeserializeOwned;
use sys::Call;

use crate::error::{Doing, Error};

/// The largest document, in bytes: what is larger is a mistake or an attack.
const LARGEST: u64 = 16 << 20;

/// Reads the document at `path`; an error says that it is about `what`, and which field is wrong.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, Error> {
    let json = bytes(path, what)?;
    serde_json::from_slice(&json).map_err(|source| Error::Document {
        path: path.to_owned(),
        field: oci::runtime::field_at(&json, source.line(), source.column()),
        source,
    })
}

/// The file, which may be anything: nothing is waited for, and no more is read than may be.
fn bytes(path: &Path, what: &'static str) -> Result<Vec<u8>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .call(|| format!("open({path:?})"))
        .doing(|| what)?;
    let stat = rustix::fs::fstat(&file).call(|| format!("fstat({path:?})")).doing(|| what)?;
    match FileType::from_raw_mode(stat.st_mode) {
        // A pipe is what a shell's `<(...)` is.
        FileType::RegularFile | FileType::Fifo => {}
        _ => return Err(Error::Refused(format!("{what}: {path:?} is not a file"))),
    }
    // Reading waits again, for a pipe's writer.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).call(|| "fcntl(F_SETFL)").doing(|| what)?;
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 20));
    std::fs::File::from(file)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .call(|| format!("read({path:?})"))
        .doing(|| what)?;
    if bytes.len() as u64 > LARGEST {
        let limit = LARGEST >> 20;
        return Err(Error::Refused(format!("{what}: {path:?} is larger than {limit} MiB")));
    }
    Ok(bytes)
}
