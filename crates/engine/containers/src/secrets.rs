//! Secrets: small files that containers have in memory only.
//!
//! One is a directory `ROOT/secrets/NAME` for root alone: `data`, and `secret.json` without it. It is
//! filled under a name of no secret (`.new-...`) and then takes its own; one that goes loses its name
//! first (`.gone-...`). Names change while the directory of all is locked, and what a process left that
//! died is found by the dot.
//!
//! A container's record has the secret's name. The supervisor copies what it holds into a tmpfs in its
//! own mount namespace, as it begins: so it is there too for who is started again with no engine around.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use docker::filters::Filters;
use docker::secret::{Secret, SecretSpec, Version};

use crate::engine::Engine;
use crate::error::At as _;
use crate::lock::Lock;
use crate::record::Container;
use crate::remove::remove_dir;
use crate::{Error, clock, events, name};

/// The most that one holds, in bytes; Docker's.
const MAX_BYTES: usize = 500 * 1024;
/// The longest name.
const MAX_NAME: usize = 64;
/// The file that holds it.
const DATA: &str = "data";
/// All else.
const RECORD: &str = "secret.json";

impl Engine {
    /// Keeps a secret. Returns its id.
    pub fn secret_create(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        data: &[u8],
    ) -> Result<String, Error> {
        check_name(name)?;
        if data.is_empty() || data.len() > MAX_BYTES {
            return Err(Error::Invalid(format!(
                "secret data must be larger than 0 and less than {MAX_BYTES} bytes"
            )));
        }
        let now = clock::print(clock::now());
        let secret = Secret {
            id: name::hex::<13>()?[..25].to_owned(),
            version: Version { index: 1 },
            created_at: now.clone(),
            updated_at: now,
            spec: SecretSpec {
                name: name.to_owned(),
                labels: labels.clone().into(),
                ..SecretSpec::default()
            },
        };
        let all = self.paths().secrets();
        let target = all.join(name);
        let _lock = self.lock_secrets()?;
        if target.exists() {
            return Err(Error::Conflict(format!("secret {name} already exists")));
        }
        let beside = all.join(format!(".new-{}", name::hex::<8>()?));
        failpoint::hit("engine.secret").at("mkdir", &target)?;
        let made = fill(&beside, &secret, data).and_then(|()| {
            failpoint::hit("engine.secret-filled").at("rename", &target)?;
            fs::rename(&beside, &target).at("rename", &target)?;
            sync(&all)
        });
        if let Err(first) = made {
            return Err(match remove_dir(&beside) {
                Ok(()) => first,
                Err(undo) => Error::Undo { first: Box::new(first), undo: Box::new(undo) },
            });
        }
        failpoint::hit("engine.secret-made").at("rename", &target)?;
        self.emit(&events::of("secret", "create", &secret.id, &[("name", name)]));
        Ok(secret.id)
    }

    /// The secret that a person means: by id, name, or the start of an id.
    pub fn secret_inspect(&self, wanted: &str) -> Result<Secret, Error> {
        let all = self.all_secrets()?;
        let exact = |one: &&Secret| one.id == wanted || one.spec.name == wanted;
        let mut found: Vec<_> = all.iter().filter(exact).collect();
        if found.is_empty() && !wanted.is_empty() {
            found = all.iter().filter(|one| one.id.starts_with(wanted)).collect();
        }
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(Error::NotFound(format!("secret {wanted} not found"))),
            more => Err(Error::Invalid(format!(
                "secret {wanted} is ambiguous ({} matches found)",
                more.len()
            ))),
        }
    }

    /// All secrets that `filters` want, by name.
    pub fn secrets(&self, filters: &Filters) -> Result<Vec<Secret>, Error> {
        let filters = filters
            .clone()
            .only(&["id", "label", "name", "names"])
            .map_err(|err| Error::Invalid(err.to_string()))?;
        let mut all = self.all_secrets()?;
        all.retain(|one| {
            filters.any("id", |id| one.id.starts_with(id))
                && filters.any("name", |name| one.spec.name.starts_with(name))
                && filters.exact("names", &one.spec.name)
                && filters.labels("label", &one.spec.labels)
        });
        Ok(all)
    }

    /// Changes a secret's labels, if `version` is its present one; nothing else of it ever changes.
    pub fn secret_update(
        &self,
        wanted: &str,
        version: u64,
        spec: &SecretSpec,
    ) -> Result<(), Error> {
        let _lock = self.lock_secrets()?;
        let mut secret = self.secret_inspect(wanted)?;
        if version != secret.version.index {
            return Err(Error::Invalid("update out of sequence".into()));
        }
        if spec.name != secret.spec.name || !spec.data.is_empty() {
            return Err(Error::Invalid("only updates to Labels are allowed".into()));
        }
        secret.spec.labels = spec.labels.clone();
        secret.version.index += 1;
        secret.updated_at = clock::print(clock::now());
        let directory = self.paths().secrets().join(&secret.spec.name);
        let beside = directory.join("secret.json.new");
        failpoint::hit("engine.secret-change").at("write", &directory)?;
        write(&beside, &print(&secret)?)?;
        fs::rename(&beside, directory.join(RECORD)).at("rename", &beside)?;
        failpoint::hit("engine.secret-changed").at("write", &directory)?;
        self.emit(&events::of("secret", "update", &secret.id, &[("name", &secret.spec.name)]));
        Ok(())
    }

    /// Removes a secret that no container names.
    pub fn secret_remove(&self, wanted: &str) -> Result<(), Error> {
        let lock = self.lock_secrets()?;
        let secret = self.secret_inspect(wanted)?;
        let name = &secret.spec.name;
        let mut users = Vec::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            if container.record.host.secrets.iter().any(|one| one.source == *name) {
                users.push(container.name);
            }
        }
        if !users.is_empty() {
            return Err(Error::Conflict(format!(
                "secret '{name}' is in use by the following containers: {}",
                users.join(", ")
            )));
        }
        let all = self.paths().secrets();
        let beside = all.join(format!(".gone-{}", name::hex::<8>()?));
        failpoint::hit("engine.secret-remove").at("rename", &all)?;
        fs::rename(all.join(name), &beside).at("rename", &beside)?;
        failpoint::hit("engine.secret-removing").at("rmdir", &beside)?;
        remove_dir(&beside)?;
        failpoint::hit("engine.secret-removed").at("rmdir", &beside)?;
        drop(lock);
        self.emit(&events::of("secret", "remove", &secret.id, &[("name", name)]));
        Ok(())
    }

    /// The file that holds it.
    pub(crate) fn secret_path(&self, name: &str) -> PathBuf {
        self.paths().secrets().join(name).join(DATA)
    }

    /// What a secret holds.
    pub(crate) fn secret_data(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.secret_path(name);
        match fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Err(missing(name)),
            read => read.at("read", &path),
        }
    }

    /// Holds that a secret is there, with a container that names it in its record: from then on nobody
    /// removes it.
    pub(crate) fn hold_secrets(&self, container: &Container) -> Result<(), Error> {
        if container.record.host.secrets.is_empty() {
            return Ok(());
        }
        let _lock = self.lock_secrets()?;
        for secret in &container.record.host.secrets {
            if !self.secret_path(&secret.source).exists() {
                return Err(missing(&secret.source));
            }
        }
        Ok(())
    }

    /// Removes what a process left that died as it made or removed a secret.
    pub(crate) fn sweep_secrets(&self) -> Result<(), Error> {
        let all = self.paths().secrets();
        let left: Vec<_> = names(&all)?.into_iter().filter(|name| name.starts_with('.')).collect();
        if left.is_empty() {
            return Ok(());
        }
        // Whoever has it locked is at it, or sweeps as well.
        if let Some(_lock) = Lock::attempt(&all)? {
            for name in left {
                remove_dir(&all.join(name))?;
            }
        }
        Ok(())
    }

    fn lock_secrets(&self) -> Result<Option<Lock>, Error> {
        Lock::wait(&self.paths().secrets())
    }

    fn all_secrets(&self) -> Result<Vec<Secret>, Error> {
        let all = self.paths().secrets();
        let mut secrets = Vec::new();
        for name in names(&all)?.into_iter().filter(|name| !name.starts_with('.')) {
            let path = all.join(name).join(RECORD);
            match fs::read(&path) {
                // Removed in this moment.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                read => secrets.push(
                    serde_json::from_slice(&read.at("read", &path)?)
                        .map_err(io::Error::from)
                        .at("read", &path)?,
                ),
            }
        }
        secrets.sort_by(|a: &Secret, b| a.spec.name.cmp(&b.spec.name));
        Ok(secrets)
    }
}

fn missing(name: &str) -> Error {
    // Not as something that is not found: a client would look for the image.
    Error::Invalid(format!("secret {name} not found"))
}

/// The names in a directory; none where there is none.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    match fs::read_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let entries = entries.at("readdir", directory)?.collect::<io::Result<Vec<_>>>();
            let entries = entries.at("readdir", directory)?;
            Ok(entries.into_iter().filter_map(|one| one.file_name().into_string().ok()).collect())
        }
    }
}

fn print(secret: &Secret) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(secret)
        .map_err(|source| Error::Record { id: secret.spec.name.clone(), source })
}

fn fill(directory: &Path, secret: &Secret, data: &[u8]) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(directory).at("mkdir", directory)?;
    write(&directory.join(RECORD), &print(secret)?)?;
    write(&directory.join(DATA), data)?;
    sync(directory)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).at("open", path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at("write", path)
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|file| file.sync_all()).at("fsync", directory)
}

/// Docker's rule, which is also that of a directory's name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = ends(name.bytes().next())
        && ends(name.bytes().last())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.len() <= MAX_NAME;
    if good {
        return Ok(());
    }
    Err(Error::Invalid(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_and_no_path() {
        for good in ["a", "db-password", "x.509_key"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "-a", "a.", "a b", "a\0", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
