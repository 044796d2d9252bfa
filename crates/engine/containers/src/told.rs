//! What was told of a container from one moment on: so it is known how it ended also when nothing of it is there
//! any more.
//!
//! A supervisor tells of each end before it takes anything apart, and recovery does of what it finds dead before
//! it removes that. So whoever finds a container gone finds the event of its end ([`shim_protocol::events`]).

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use docker::event::Message;

use crate::Error;
use crate::error::At as _;

/// The events from one moment on.
#[derive(Debug)]
pub(crate) struct Told {
    path: PathBuf,
    /// The file that they went to in that moment, and its length then, in bytes. `None`: there was none.
    first: Option<(File, u64)>,
}

/// What was told of the lives of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lives {
    /// The exit codes of those that have ended, in their order.
    pub(crate) codes: Vec<i64>,
    /// The last of which a start was told has not ended, as far as was told.
    pub(crate) goes_on: bool,
}

impl Told {
    /// Those that are appended to the file at `path`, and to its successors, from now on.
    pub(crate) fn from_now_on(path: PathBuf) -> Result<Self, Error> {
        let first = match open(&path)? {
            Some(file) => {
                let n_bytes = file.metadata().at("stat", &path)?.len();
                Some((file, n_bytes))
            }
            None => None,
        };
        Ok(Self { path, first })
    }

    /// What was told of the lives of the container `id`.
    pub(crate) fn lives(&self, id: &str) -> Result<Lives, Error> {
        let bytes = self.read()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lives = Lives::default();
        for line in text.lines().filter(|line| line.contains(id)) {
            let Ok(event) = serde_json::from_str::<Message>(line) else { continue };
            if event.kind != "container" || event.actor.id != id {
                continue;
            }
            match event.action.as_str() {
                "start" => lives.goes_on = true,
                "die" => {
                    let code = event.actor.attributes.get("exitCode");
                    let code = code.and_then(|code| code.parse::<i64>().ok());
                    lives.goes_on = code.is_none();
                    lives.codes.extend(code);
                }
                _ => {}
            }
        }
        Ok(lives)
    }

    /// All that was appended since.
    fn read(&self) -> Result<Vec<u8>, Error> {
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        if let Some((file, n_bytes)) = &self.first {
            let mut file = file;
            seen.push(file.metadata().at("stat", &self.path)?.ino());
            file.seek(SeekFrom::Start(*n_bytes)).at("seek", &self.path)?;
            file.read_to_end(&mut bytes).at("read", &self.path)?;
        }
        // It may have made place for others. The present one is opened first: if that makes place in between,
        // it is found once more where the one before is.
        let present = open(&self.path)?;
        let before = open(&self.path.with_extension("jsonl.1"))?;
        for mut file in before.into_iter().chain(present) {
            let number = file.metadata().at("stat", &self.path)?.ino();
            if !seen.contains(&number) {
                seen.push(number);
                file.read_to_end(&mut bytes).at("read", &self.path)?;
            }
        }
        Ok(bytes)
    }
}

/// Opens a file for reading; `None` where there is none.
fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.at("open", path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use shim_protocol::events::{append, container};

    use super::*;

    /// A file of events in a directory of its own, which goes with it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let place =
                std::env::temp_dir().join(format!("dhow-told-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&place).unwrap();
            Self(place)
        }

        fn events(&self) -> PathBuf {
            self.0.join("events.jsonl")
        }

        fn tell(&self, action: &str, id: &str, code: Option<&str>) {
            let code = code.map(|code| ("exitCode".to_owned(), code.to_owned()));
            append(&self.events(), &container(action, id, "image", code, 1)).unwrap();
        }

        /// As [`append`] does where the file is large.
        fn make_place(&self) {
            std::fs::rename(self.events(), self.0.join("events.jsonl.1")).unwrap();
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_lives_of_a_container_from_one_moment_on() {
        let place = Place::new("lives");
        let before = Told::from_now_on(place.events()).unwrap();
        assert_eq!(before.lives("one").unwrap(), Lives::default());
        place.tell("start", "one", None);
        place.tell("die", "one", Some("3"));
        let told = Told::from_now_on(place.events()).unwrap();
        assert_eq!(told.lives("one").unwrap(), Lives::default());
        place.tell("start", "one", None);
        place.tell("die", "another", Some("9"));
        assert_eq!(told.lives("one").unwrap(), Lives { codes: vec![], goes_on: true });
        place.tell("die", "one", Some("7"));
        assert_eq!(told.lives("one").unwrap(), Lives { codes: vec![7], goes_on: false });
        assert_eq!(before.lives("one").unwrap(), Lives { codes: vec![3, 7], goes_on: false });
    }

    #[test]
    fn also_where_the_file_has_made_place() {
        let place = Place::new("place");
        place.tell("create", "one", None);
        let told = Told::from_now_on(place.events()).unwrap();
        place.tell("start", "one", None);
        place.make_place();
        place.tell("die", "one", Some("4"));
        assert_eq!(told.lives("one").unwrap(), Lives { codes: vec![4], goes_on: false });
        // The first of three is in nobody's place any more, and held all the same.
        place.make_place();
        place.tell("start", "one", None);
        assert_eq!(told.lives("one").unwrap(), Lives { codes: vec![4], goes_on: true });
    }
}
