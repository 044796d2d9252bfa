//! Whether a commit, or the tag that names it, is signed by who has to have signed it.
//!
//! The programs of those who sign do the reckoning, as `git` has them do it: `gpgv` and `ssh-keygen`. They are given
//! files with names of ours, no options and no environment, keys and signatures that were taken apart before (the crate
//! `signatures`), and half a minute.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use buildgraph::SignedBy;
use signatures::object::{Kind, Signature, Signed, signed};
use signatures::{pgp, ssh};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::objects::Objects;
use super::program::Group;
use crate::Error;
use crate::cache::now;
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

/// Refuses what is not signed as it has to be. `room` is a folder that there is not, for the programs' files.
pub(super) async fn check(objects: &Objects, by: &SignedBy, room: &Path) -> Result<(), Error> {
    let by_sha256 = objects.commit.0.len() == 64;
    let one = async |object: &[u8], kind: Kind| {
        let signed = signed(object, kind, by_sha256).map_err(invalid)?;
        verify(&signed, by, room).await
    };
    let of_tag = match &objects.tag {
        Some((_, tag)) if !by.ignore_tag => Some(one(tag, Kind::Tag).await),
        _ => None,
    };
    match of_tag {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) if by.require_tag => return Err(error),
        None if by.require_tag => {
            let why = "signed tag required but no signed tag found";
            return Err(Error::Invalid(why.into()));
        }
        Some(Err(_)) | None => {}
    }
    one(&objects.commit.1, Kind::Commit).await
}

fn invalid(error: signatures::Error) -> Error {
    Error::Invalid(error.to_string())
}

async fn verify(signed: &Signed, by: &SignedBy, room: &Path) -> Result<(), Error> {
    let room = Room::make(room)?;
    match &signed.signature {
        Signature::Pgp(signature) => by_pgp(&signed.payload, signature, by, &room).await,
        Signature::Ssh(signature) => by_ssh(&signed.payload, signature, by, &room).await,
    }
}

async fn by_pgp(payload: &[u8], signature: &[u8], by: &SignedBy, room: &Room) -> Result<(), Error> {
    let keyring = pgp::keyring(by.keys.as_bytes()).map_err(invalid)?;
    room.write("keys", &keyring.packets)?;
    room.write("signature", signature)?;
    room.write("payload", payload)?;
    let home = ["--homedir", "/nonexistent", "--status-fd", "1"];
    let files = ["--keyring", "./keys", "--", "signature", "payload"];
    let said = run(&GPGV, &[&home[..], &files].concat(), room, Stdio::null()).await?;
    let rules =
        pgp::Rules { reject_expired: by.reject_expired, now: u64::try_from(now()).unwrap_or(0) };
    match (pgp::verdict(&said.answer, rules), keyring.short) {
        (Ok(_), _) if said.code == Some(0) => Ok(()),
        (Ok(_), _) => Err(Error::Invalid(format!("gpgv: {}", said.complaint))),
        (Err(error), None) => Err(invalid(error)),
        (Err(error), Some(bits)) => {
            let why = format!("{error} (an RSA key of {bits} bits is too short, and left out)");
            Err(Error::Invalid(why))
        }
    }
}

async fn by_ssh(payload: &[u8], signature: &[u8], by: &SignedBy, room: &Room) -> Result<(), Error> {
    let key = ssh::Key::parse(by.keys.as_bytes()).map_err(invalid)?;
    key.check(signature).map_err(invalid)?;
    room.write("signers", key.allowed_signers().as_bytes())?;
    room.write("signature", signature)?;
    let payload = File::open(room.write("payload", payload)?).at("open", &room.0)?;
    let how = ["-Y", "verify", "-f", "signers", "-I", ssh::WHO, "-n", ssh::NAMESPACE];
    let said = run(&SSH, &[&how[..], &["-s", "signature"]].concat(), room, payload.into()).await?;
    if said.code == Some(0) {
        return Ok(());
    }
    Err(invalid(signatures::Error::Ssh(said.complaint)))
}

/// A folder of a program's, which goes with this.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Room {
    fn make(path: &Path) -> Result<Self, Error> {
        // Of a process that was killed.
        let _ = fs::remove_dir_all(path);
        DirBuilder::new().mode(0o700).create(path).at("mkdir", path)?;
        Ok(Self(path.to_owned()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        fs::write(&path, bytes).at("write", &path)?;
        Ok(path)
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
        let none = Verifier { name: "no-such-program", package: "a-package", of: "OpenPGP" };
        let Err(error) = run(&none, &[], &room, Stdio::null()).await else { panic!("it ran") };
        let error = error.to_string();
        assert!(error.contains("no-such-program (in Debian's package a-package)"), "{error}");
        drop(room);
        assert!(!dir.exists());
    }
}
