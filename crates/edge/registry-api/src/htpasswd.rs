//! Who may: names and passwords, in a file as `htpasswd -B` writes it (basic authentication,
//! RFC 7617).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use oci::{Algorithm, Digest, Hasher};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::bcrypt::Hash;
use crate::error::{Code, Error, chain};

/// A larger file is none of names and passwords.
const MAX_FILE: u64 = 4 << 20;
/// No more passwords are checked at a time: each takes a processor for a while.
const AT_ONCE: usize = 2;
/// So many passwords are known to be right.
const KNOWN: usize = 1024;

/// Why the file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("read \"{path}\"", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not `NAME:HASH`.
    #[error("\"{path}\", line {line}: {why}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It names nobody.
    #[error("\"{path}\" names nobody", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Names and the hashes of their passwords.
pub(crate) struct Htpasswd {
    path: PathBuf,
    state: Mutex<State>,
    turns: Semaphore,
}

struct State {
    stamp: Stamp,
    users: Arc<HashMap<String, Hash>>,
    /// What was found to be right with these users: hashes of names and passwords, so that not each
    /// request of a push costs a check.
    known: HashSet<Digest>,
    /// Makes them worthless to whoever reads our memory's remains.
    secret: [u8; 32],
}

/// By which a file that has changed is told.
type Stamp = (u64, u64, i64, i64);

impl Htpasswd {
    /// Reads the file. It is read again when it changes.
    pub(crate) fn open(path: &Path) -> Result<Self, HtpasswdError> {
        let failed = |source| HtpasswdError::Read { path: path.into(), source };
        let stamp = stamp(path).map_err(failed)?;
        let users = Arc::new(read(path)?);
        let mut secret = [0; 32];
        let flags = rustix::rand::GetRandomFlags::empty();
        let mut filled = 0;
        while filled < secret.len() {
            let n = rustix::rand::getrandom(&mut secret[filled..], flags);
            filled += n.map_err(|error| failed(error.into()))?;
        }
        let state = State { stamp, users, known: HashSet::new(), secret };
        Ok(Self { path: path.into(), state: Mutex::new(state), turns: Semaphore::new(AT_ONCE) })
    }

    /// Whether a request comes from one of them.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let (name, password) = credentials(headers).ok_or_else(refused)?;
        let (users, key) = self.look(&name, &password);
        let Some(key) = key else { return Ok(()) };
        let like = users.values().next().cloned();
        let hash = users.get(&name).cloned();
        let is_user = hash.is_some();
        let hash = hash.or_else(|| like.as_ref().map(Hash::nobody)).ok_or_else(refused)?;
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let is_right = spawn_blocking(move || hash.is_of(password.as_bytes())).await;
        if !is_right.unwrap_or(false) || !is_user {
            return Err(refused());
        }
        self.remember(&users, key);
        Ok(())
    }

    /// Remembers that a password is right, unless the file has changed since it was looked at: then
    /// it may be somebody's who is in it no more.
    fn remember(&self, users: &Arc<HashMap<String, Hash>>, key: Digest) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&state.users, users) {
            return;
        }
        if state.known.len() >= KNOWN {
            state.known.clear();
        }
        state.known.insert(key);
    }

    /// The users, and, unless the password is known to be right, what it is to be known by.
    fn look(&self, name: &str, password: &str) -> (Arc<HashMap<String, Hash>>, Option<Digest>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(found) = stamp(&self.path)
            && found != state.stamp
        {
            state.stamp = found;
            match read(&self.path) {
                Ok(users) => {
                    state.users = Arc::new(users);
                    state.known.clear();
                }
                Err(error) => eprintln!("dhow: registry: {}; what it was counts", chain(&error)),
            }
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&state.secret);
        for part in [name, password] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let key = hasher.finish();
        let is_known = state.known.contains(&key);
        (Arc::clone(&state.users), (!is_known).then_some(key))
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

fn read(path: &Path) -> Result<HashMap<String, Hash>, HtpasswdError> {
    let failed = |source| HtpasswdError::Read { path: path.into(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let users =
        parse(&text).map_err(|(line, why)| HtpasswdError::Line { path: path.into(), line, why })?;
    if users.is_empty() {
        return Err(HtpasswdError::Empty { path: path.into() });
    }
    Ok(users)
}

/// Reads lines of `NAME:HASH`. The first of a name counts.
pub(crate) fn parse(text: &str) -> Result<HashMap<String, Hash>, (usize, String)> {
    let mut users = HashMap::new();
    for (idx, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |why: String| (idx + 1, why);
        let (name, hash) = line.split_once(':').ok_or_else(|| failed("not NAME:HASH".into()))?;
        if name.is_empty() {
            return Err(failed("no name".into()));
        }
        let hash = Hash::parse(hash).map_err(failed)?;
        users.entry(name.to_owned()).or_insert(hash);
    }
    Ok(users)
}

/// The name and the password of a request.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(rest.trim().as_bytes()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.into(), password.into()))
}

fn refused() -> Error {
    Error::new(Code::Unauthorized, "authentication required")
        .with(WWW_AUTHENTICATE, "Basic realm=\"dhow registry\", charset=\"UTF-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

    #[test]
    fn lines() {
        let users = parse(&format!("# people\n\nuser:{HASH}\r\nuser:{HASH}\nother:{HASH}\n"));
        assert_eq!(users.unwrap().len(), 2);
        for (text, line) in [("user", 1), ("\n:x", 2), ("\n\nuser:secret", 3)] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
    }

    #[test]
    fn headers() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            credentials(&headers)
        };
        let encoded = BASE64.encode(b"user:a:b");
        assert_eq!(of(&format!("basic {encoded}")), Some(("user".into(), "a:b".into())));
        for wrong in ["", "Basic", "Basic !", "Bearer x", "Basic dXNlcg=="] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn the_file_may_change() {
        let path = std::env::temp_dir().join(format!("dhow-htpasswd-{}", std::process::id()));
        fs::write(&path, format!("user:{HASH}\n")).unwrap();
        let htpasswd = Htpasswd::open(&path).unwrap();
        let check = async |name: &str, password: &str| {
            let mut headers = HeaderMap::new();
            let text = BASE64.encode(format!("{name}:{password}").as_bytes());
            headers.insert(AUTHORIZATION, format!("Basic {text}").parse().unwrap());
            htpasswd.check(&headers).await.is_ok()
        };
        for _ in 0..2 {
            assert!(check("user", "secret").await);
            assert!(!check("user", "wrong").await);
            assert!(!check("nobody", "secret").await);
        }
        fs::write(&path, format!("another:{HASH}\n")).unwrap();
        assert!(!check("user", "secret").await && check("another", "secret").await);
        // What was being checked when it changed is not known by what it was before.
        let (before, key) = htpasswd.look("another", "other");
        fs::write(&path, format!("# changed\nanother:{HASH}\n")).unwrap();
        assert!(check("another", "secret").await);
        htpasswd.remember(&before, key.unwrap());
        assert!(!check("another", "other").await);
        // One that is broken changes nothing.
        fs::write(&path, "another").unwrap();
        assert!(check("another", "secret").await);
        fs::remove_file(&path).unwrap();
        assert!(check("another", "secret").await);
        assert!(matches!(Htpasswd::open(&path), Err(HtpasswdError::Read { .. })));
    }
}
