//! The programs that keep secrets: `docker-credential-NAME get|store|erase`. What it is about goes
//! in, what it keeps comes out.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};

use super::MAX_BYTES;
use crate::Error;

pub(crate) fn name_of(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// What a helper says; `None` where it does not know the server.
pub(crate) fn run(name: &str, action: &str, input: &str) -> Result<Option<Vec<u8>>, Error> {
    let program = name_of(name);
    let failed = |why: String| Error::Helper { program: program.clone(), why };
    let is_name = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_name {
        return Err(failed("not the name of a helper".into()));
    }
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut pipe) = child.stdin.take() {
        match pipe.write_all(format!("{input}\n").as_bytes()) {
            // One that knows what to say without having read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| failed(error.to_string()))?,
        }
    }
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        let read = output.take(MAX_BYTES).read_to_end(&mut said);
        read.map_err(|error| failed(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(Some(said));
    }
    let why = String::from_utf8_lossy(&said).trim().to_owned();
    if why.starts_with("credentials not found") {
        return Ok(None);
    }
    Err(failed(if why.is_empty() { status.to_string() } else { why }))
}
