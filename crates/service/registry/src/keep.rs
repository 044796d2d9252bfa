//! Keeping credentials where Docker keeps them: in `config.json`, or with the program that it names.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::credentials::{Credentials, Keys, program, server_key};
use crate::{Error, base64};

/// Where credentials went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Into the file, as good as in the clear.
    InFile(PathBuf),
    /// To a program.
    With(String),
}

/// Keeps the credentials for the registry `domain`, by what the file `config` says.
pub fn keep(config: &Path, domain: &str, credentials: &Credentials) -> Result<Kept, Error> {
    let server = server_key(domain);
    let helper = Keys::read(config)?.helper_for(domain).map(str::to_owned);
    let Some(name) = helper else {
        let mut entry = Map::new();
        if let Some(token) = &credentials.identity_token {
            entry.insert("identitytoken".into(), json!(token));
        }
        let pair = format!("{}:{}", credentials.username, credentials.password);
        entry.insert("auth".into(), json!(base64::encode(pair.as_bytes())));
        change(config, |auths| drop(auths.insert(server.to_owned(), entry.into())))?;
        return Ok(Kept::InFile(config.into()));
    };
    let (user, secret) = match &credentials.identity_token {
        Some(token) => ("<token>", token),
        None => (credentials.username.as_str(), &credentials.password),
    };
    let document = json!({ "ServerURL": server, "Username": user, "Secret": secret });
    program::run(&name, "store", &document.to_string())?;
    // As Docker marks a registry whose credentials are elsewhere.
    change(config, |auths| drop(auths.insert(server.to_owned(), json!({}))))?;
    Ok(Kept::With(name))
}

/// Forgets the credentials for the registry `domain`. Whether there were any.
pub fn forget(config: &Path, domain: &str) -> Result<bool, Error> {
    let keys = Keys::read(config)?;
    let server = server_key(domain);
    let mut was_there = false;
    if let Some(name) = keys.helper_for(domain) {
        program::run(name, "erase", server)?;
        was_there = true;
    }
    if config.exists() {
        change(config, |auths| {
            was_there |= auths.remove(server).is_some() | auths.remove(domain).is_some();
        })?;
    }
    Ok(was_there)
}

/// Changes the entries of registries in the file, and nothing else of it.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Error> {
    change_config(path, |settings| {
        let auths = settings.entry("auths").or_insert_with(|| json!({}));
        let odd = || Error::Config {
            what: format!("\"{}\"", path.display()),
            why: "`auths` is not an object".to_owned(),
        };
        change(auths.as_object_mut().ok_or_else(odd)?);
        Ok(())
    })
}

/// Changes settings of the file `config.json` at `path`, and keeps all others. It is replaced as a whole, and made
/// where it is not there.
///
/// # Errors
///
/// The file cannot be read or written, or holds something else; what `change` says.
pub fn change_config(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), Error>,
) -> Result<(), Error> {
    // Many keep the file elsewhere, and a link to it here.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let failed = |source| Error::File { path: path.into(), source };
    let odd =
        |why: &str| Error::Config { what: format!("\"{}\"", path.display()), why: why.to_owned() };
    let mut document: Value = match fs::read(path) {
        // As good as none: it sets nothing.
        Ok(bytes) if bytes.trim_ascii().is_empty() => json!({}),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| odd(&error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({}),
        Err(source) => return Err(failed(source)),
    };
    change(document.as_object_mut().ok_or_else(|| odd("not an object"))?)?;
    let mut text =
        serde_json::to_string_pretty(&document).map_err(|error| odd(&error.to_string()))?;
    text.push('\n');
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed)?;
    }
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        // The first error says why.
        _ = fs::remove_file(&new);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let dir = std::env::temp_dir().join(format!("dhow-registry-{}-keep", std::process::id()));
        let path = dir.join("config.json");
        let user = |name: &str| Credentials {
            username: name.into(),
            password: "a:b".into(),
            ..Credentials::default()
        };
        assert!(!forget(&path, "docker.io").unwrap() && !path.exists());
        assert_eq!(keep(&path, "docker.io", &user("x")).unwrap(), Kept::InFile(path.clone()));
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen('{', r#"{"other":[1],"#, 1))
            .unwrap();
        keep(&path, "r.test:5000", &user("y")).unwrap();
        let keys = Keys::read(&path).unwrap();
        assert_eq!(keys.of("docker.io").unwrap(), Some(user("x")));
        assert_eq!(keys.of("r.test:5000").unwrap(), Some(user("y")));
        assert!(forget(&path, "docker.io").unwrap() && !forget(&path, "docker.io").unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""other""#) && !text.contains("index.docker.io"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::write(&path, "[]").unwrap();
        assert!(keep(&path, "docker.io", &user("x")).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
