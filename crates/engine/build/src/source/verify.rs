//! Verifying signatures.
//!
//! The programs of those who sign do the reckoning, as `git` has them do it: `gpgv` and `ssh-keygen`. They are given
//! files with names of ours, no options and no environment, keys and signatures that were taken apart before (the crate
//! `signatures`), what is signed as their standard input, and half a minute.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use signatures::{pgp, ssh};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::group::Group;
use crate::Error;
use crate::error::At as _;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that is read of what a program says, bytes.
const MAX_SAID: u64 = 64 << 10;

/// A program that verifies.
struct Verifier {
    name: &'static str,
    /// Debian's package that has it.
    package: &'static str,
    /// What it is for.
    of: &'static str,
}

const GPGV: Verifier = Verifier { name: "gpgv", package: "gpgv", of: "OpenPGP" };
const SSH: Verifier = Verifier { name: "ssh-keygen", package: "openssh-client", of: "SSH" };

pub(super) fn invalid(error: &signatures::Error) -> Error {
    Error::Invalid(error.to_string())
}

/// Refuses an armored signature of OpenPGP's that is not of these keys, or not of what is in the file.
pub(super) async fn by_pgp(
    payload: File,
    signature: &[u8],
    keys: &str,
    reject_expired: bool,
    room: &Room,
) -> Result<(), Error> {
    let keyring = pgp::keyring(keys.as_bytes()).map_err(|error| invalid(&error))?;
    room.write("keys", &keyring.packets)?;
    room.write("signature", signature)?;
    let home = ["--homedir", "/nonexistent", "--status-fd", "1"];
    let files = ["--keyring", "./keys", "--", "signature", "-"];
    let said = run(&GPGV, &[&home[..], &files].concat(), room, payload.into()).await?;
    let rules = pgp::Rules { reject_expired, now: seconds() };
    match (pgp::verdict(&said.answer, rules), keyring.short) {
        (Ok(_), _) if said.code == Some(0) => Ok(()),
        (Ok(_), _) => Err(Error::Invalid(format!("gpgv: {}", said.complaint))),
        (Err(error), None) => Err(invalid(&error)),
        (Err(error), Some(bits)) => {
            let why = format!("{error} (an RSA key of {bits} bits is too short, and left out)");
            Err(Error::Invalid(why))
        }
    }
}

/// The same of SSH's, of the first key.
pub(super) async fn by_ssh(
    payload: File,
    signature: &[u8],
    keys: &str,
    room: &Room,
) -> Result<(), Error> {
    let key = ssh::Key::parse(keys.as_bytes()).map_err(|error| invalid(&error))?;
    key.check(signature).map_err(|error| invalid(&error))?;
    room.write("signers", key.allowed_signers().as_bytes())?;
    room.write("signature", signature)?;
    let how = ["-Y", "verify", "-f", "signers", "-I", ssh::WHO, "-n", ssh::NAMESPACE];
    let said = run(&SSH, &[&how[..], &["-s", "signature"]].concat(), room, payload.into()).await?;
    if said.code == Some(0) {
        return Ok(());
    }
    Err(invalid(&signatures::Error::Ssh(said.complaint)))
}

/// A folder of a program's, which goes with this.
pub(super) struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Room {
    /// Makes one, called so and something more.
    pub(super) fn make(place: &Path) -> Result<Self, Error> {
        loop {
            let mut path = place.as_os_str().to_owned();
            path.push(format!("-{}", snapshot::unique_name()));
            let path = PathBuf::from(path);
            match DirBuilder::new().mode(0o700).create(&path) {
                // Of a process that was killed, and had the number of this one.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => return made.at("mkdir", &path).map(|()| Self(path)),
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        fs::write(&path, bytes).at("write", &path)?;
        Ok(path)
    }

    /// A file with these bytes, to be read.
    pub(super) fn read(&self, name: &str, bytes: &[u8]) -> Result<File, Error> {
        let path = self.write(name, bytes)?;
        File::open(&path).at("open", &path)
    }
}

/// What a program has said.
struct Said {
    /// `None`: a signal ended it.
    code: Option<i32>,
    answer: String,
    /// The first line of it.
    complaint: String,
}

async fn run(by: &Verifier, arguments: &[&str], room: &Room, input: Stdio) -> Result<Said, Error> {
    let Some(path) = located(by.name) else {
        let Verifier { name, package, of } = by;
        let why = format!(
            "verifying a signature of {of} needs the program {name} (in Debian's package \
             {package}), which is not in PATH"
        );
        return Err(Error::Invalid(why));
    };
    let failed = |why: String| Error::Invalid(format!("{}: {why}", by.name));
    let mut command = Command::new(path);
    command.args(arguments).current_dir(&room.0).env_clear().env("LC_ALL", "C");
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut group = Group::of(&child);
    let (Some(answer), Some(complaint)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::Lost(by.name));
    };
    let ends = async {
        let (answer, complaint) = tokio::join!(read(answer), read(complaint));
        let status = child.wait().await?;
        Ok::<_, std::io::Error>((answer?, complaint?, status))
    };
    let ended = tokio::time::timeout(LIMIT, ends).await;
    let ended = ended.map_err(|_| failed(format!("it took more than {} s", LIMIT.as_secs())))?;
    let (answer, complaint, status) = ended.map_err(|error| failed(error.to_string()))?;
    group.has_ended();
    let complaint = complaint.lines().find(|line| !line.trim().is_empty());
    let complaint = complaint.map_or_else(|| status.to_string(), |line| line.trim().to_owned());
    Ok(Said { code: status.code(), answer, complaint })
}

/// Now, since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The first program of this name in `PATH`.
fn located(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).filter(|place| place.is_absolute());
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// What was said until it was too much: then nobody listens any more.
async fn read(from: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(MAX_SAID).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_is_named_with_its_package() {
        let dir = std::env::temp_dir().join(format!("dhow-signed-{}", std::process::id()));
        let room = Room::make(&dir).unwrap();
        let path = room.0.clone();
        let none = Verifier { name: "no-such-program", package: "a-package", of: "OpenPGP" };
        let Err(error) = run(&none, &[], &room, Stdio::null()).await else { panic!("it ran") };
        let error = error.to_string();
        assert!(error.contains("no-such-program (in Debian's package a-package)"), "{error}");
        drop(room);
        assert!(!path.exists());
    }
}
