//! `--cache-mount`: where caches of `RUN --mount=type=cache` are for one build. A directory or an archive of this
//! machine is brought to the engine before the build, as a cache that only this build has, and gets what is there when it
//! has ended well.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use docker::volume::CreateRequest;
use hyper::Method;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{csv, random_id};
use crate::args::CacheMountLook;
use crate::builder::{import_mount, mount_path};
use crate::client::{Client, empty};
use crate::error::{Error, Result};
use crate::{archive, cp};

/// The label by which volumes are meant for that.
const LABEL: &str = "dhow.cache-mount";

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct CacheMounts {
    all: Vec<One>,
    /// Where the engine has those that are this build's own, for as long as it goes on.
    space: String,
}

#[derive(Debug, PartialEq)]
struct One {
    id: String,
    place: Place,
    look: CacheMountLook,
}

#[derive(Debug, PartialEq)]
enum Place {
    Volume(String),
    Directory(PathBuf),
    Archive(PathBuf),
}

/// Reads the flags.
pub(super) fn parse(flags: &[String]) -> Result<CacheMounts> {
    let all = flags.iter().map(|text| one(text)).collect::<Result<_>>()?;
    Ok(CacheMounts { all, space: random_id()? })
}

fn one(text: &str) -> Result<One> {
    let usage = |why: &str| Error::Usage(format!("--cache-mount {text}: {why}"));
    let mut fields = csv::fields("cache-mount", text)?.into_iter();
    let first = fields.next().unwrap_or_default();
    let named = first.split_once('=').filter(|(id, place)| !id.is_empty() && !place.is_empty());
    let (id, place) = named.ok_or_else(|| usage("give ID=DIR, ID=FILE.tar or ID=volume:NAME"))?;
    let place = match place.strip_prefix("volume:") {
        Some(name) => Place::Volume(name.to_owned()),
        None if Path::new(place).extension().is_some_and(|end| end == "tar") => {
            Place::Archive(place.into())
        }
        None => Place::Directory(place.into()),
    };
    let mut look = CacheMountLook::default();
    for field in fields {
        let wrong = || usage(&format!("{field}: give uid=N, gid=N or mode=OCTAL"));
        let (key, value) = field.split_once('=').ok_or_else(wrong)?;
        let number = || value.parse().map(Some).map_err(|_| wrong());
        match key {
            "uid" => look.uid = number()?,
            "gid" => look.gid = number()?,
            "mode" if u32::from_str_radix(value, 8).is_ok() => look.mode = Some(value.to_owned()),
            _ => return Err(wrong()),
        }
    }
    if matches!(place, Place::Volume(_)) && look != CacheMountLook::default() {
        return Err(usage("a volume has its own owner and mode"));
    }
    Ok(One { id: id.to_owned(), place, look })
}

impl CacheMounts {
    /// What the builder is told.
    pub(super) fn attrs(&self) -> impl Iterator<Item = (String, String)> {
        self.all.iter().map(|one| {
            let place = match &one.place {
                Place::Volume(name) => format!("volume:{name}"),
                Place::Directory(_) | Place::Archive(_) => format!("own:{}", self.space),
            };
            (format!("dhow.cache-mount:{}", one.id), place)
        })
    }

    /// Where the engine has one that is this build's own.
    fn path(&self, one: &One, look: &CacheMountLook) -> String {
        mount_path(&format!("{}/{}", self.space, one.id), look)
    }

    /// Before the build: the caches have what is in their places.
    pub(super) async fn bring(&self, client: &Client) -> Result<()> {
        for one in &self.all {
            match &one.place {
                Place::Volume(name) => make_volume(client, name).await?,
                Place::Directory(path) if is_empty(path)? => {}
                Place::Archive(path) if !path.exists() => {}
                Place::Directory(path) | Place::Archive(path) => {
                    import_mount(client, path, &self.path(one, &one.look)).await?;
                }
            }
        }
        Ok(())
    }

    /// When it has ended well: the places have what is in the caches.
    pub(super) async fn keep(&self, client: &Client) -> Result<()> {
        for one in &self.all {
            let path = self.path(one, &one.look);
            let kept = match &one.place {
                Place::Volume(_) => continue,
                Place::Archive(file) => archive::fetch(client, &path, Some(file)).await.map(drop),
                Place::Directory(directory) => fetch(client, &path, directory).await,
            };
            match kept {
                // No step has had it.
                Err(Error::Api { status: 404, .. }) => {}
                kept => kept?,
            }
        }
        Ok(())
    }
}

impl CacheMounts {
    /// At its end: the engine has none of them any more. What is left goes in time, as all that no build uses.
    pub(super) async fn leave(&self, client: &Client) {
        let own = self.all.iter().filter(|one| !matches!(one.place, Place::Volume(_)));
        for one in own {
            let path = self.path(one, &CacheMountLook::default()).replacen("/archive?", "?", 1);
            _ = client.call(Method::DELETE, &path, empty()).await;
        }
    }
}

async fn make_volume(client: &Client, name: &str) -> Result<()> {
    let labels = std::collections::BTreeMap::from([(LABEL.to_owned(), String::new())]).into();
    let wanted = CreateRequest { name: name.to_owned(), labels, ..CreateRequest::default() };
    client.post_json("/volumes/create", &wanted).await
}

/// Whether there is nothing to begin with.
fn is_empty(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        entries => {
            let mut entries = entries.map_err(Error::io(format!("read {}", path.display())))?;
            Ok(entries.next().is_none())
        }
    }
}

/// Has a directory hold what is in a cache: all of it, or what was there.
async fn fetch(client: &Client, path: &str, directory: &Path) -> Result<()> {
    let response = client.call(Method::GET, path, empty()).await?;
    let (Some(name), Some(parent)) = (directory.file_name(), directory.parent()) else {
        return Err(Error::Usage(format!("{}: no name of a directory", directory.display())));
    };
    let beside = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let failed = |what: &str| Error::io(format!("{what} {}", beside.display()));
    DirBuilder::new().mode(0o755).create(&beside).map_err(failed("make"))?;
    let mut done = cp::unpack_directory(client, response, &beside).await;
    if done.is_ok() {
        done = replace(&beside, directory);
    }
    // What is there now is what is not wanted any more, either way.
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            done.and(Err(failed("remove")(error)))
        }
        _ => done,
    }
}

fn replace(new: &Path, old: &Path) -> Result<()> {
    let failed = |error: rustix::io::Errno| Error::Io {
        what: format!("rename to {}", old.display()),
        source: error.into(),
    };
    if old.exists() {
        return renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).map_err(failed);
    }
    fs::rename(new, old).map_err(Error::io(format!("rename to {}", old.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_which_and_where() {
        let parsed = |text: &str| one(text).map(|one| (one.id, one.place));
        let is = |text: &str, id: &str, place| {
            assert_eq!(parsed(text).unwrap(), (id.to_owned(), place), "{text}");
        };
        is("npm=cache/npm", "npm", Place::Directory("cache/npm".into()));
        is("/root/.npm=x.tar", "/root/.npm", Place::Archive("x.tar".into()));
        is("npm=volume:n", "npm", Place::Volume("n".into()));
        let look = one("npm=d,uid=7,mode=0700").unwrap().look;
        assert_eq!(look, CacheMountLook { uid: Some(7), gid: None, mode: Some("0700".into()) });
        for wrong in
            ["npm", "=d", "npm=", "npm=d,uid=x", "npm=d,mode=9", "npm=d,x", "n=volume:n,uid=7"]
        {
            assert!(one(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_places_of_this_machine_are_told_to_nobody() {
        let asked = parse(&["npm=d".to_owned(), "go=volume:g".to_owned()]).unwrap();
        let own = format!("own:{}", asked.space);
        let told = [("npm", own.as_str()), ("go", "volume:g")]
            .map(|(id, place)| (format!("dhow.cache-mount:{id}"), place.to_owned()));
        assert_eq!(asked.attrs().collect::<Vec<_>>(), told);
        assert!(asked.path(&asked.all[0], &CacheMountLook::default()).contains(&asked.space));
    }
}
