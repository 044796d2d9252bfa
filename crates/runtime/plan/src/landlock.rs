//! Rights that the container's programs give up for good, beyond what the OCI specification knows.
//!
//! The annotation `dhow.landlock` has words, separated by commas: `RIGHTS=PATH`, where the rights are
//! of `r` (read files, list directories), `w` (write, make, remove, rename) and `x` (execute), for all
//! beneath the path; `tcp-bind=PORT` and `tcp-connect=PORT`; `tcp=none`. What no word allows is
//! denied. Without a word about TCP, TCP is as it is. An annotation can only take rights away.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sys::{AccessFs, AccessNet};

use crate::Error;

/// The annotation.
const NAME: &str = "dhow.landlock";

/// What is allowed; all else is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landlock {
    /// Paths in the container, and what may be done beneath them.
    pub paths: Vec<(PathBuf, AccessFs)>,
    /// Whether use of TCP is restricted.
    pub tcp: bool,
    /// Ports, and what may be done with them.
    pub ports: Vec<(u16, AccessNet)>,
}

/// Reads the annotation, if it is there.
pub fn landlock(annotations: &BTreeMap<String, String>) -> Result<Option<Landlock>, Error> {
    annotations.get(NAME).map(|text| parse(text)).transpose()
}

fn parse(text: &str) -> Result<Landlock, Error> {
    let mut all = Landlock { paths: Vec::new(), tcp: false, ports: Vec::new() };
    for word in text.split(',') {
        let bad = |why: &str| Error::invalid(NAME, word.escape_debug(), why.to_owned());
        let (key, value) = word.split_once('=').ok_or_else(|| bad("is not KEY=VALUE"))?;
        let net = match key {
            "tcp-bind" => AccessNet::BIND_TCP,
            "tcp-connect" => AccessNet::CONNECT_TCP,
            "tcp" if value == "none" => {
                all.tcp = true;
                continue;
            }
            _ => {
                let access = rights(key)
                    .ok_or_else(|| bad("is neither RIGHTS=PATH (of r, w, x) nor about TCP"))?;
                if !value.starts_with('/') || value.contains('\0') {
                    return Err(bad("is not an absolute path"));
                }
                all.paths.push((value.into(), access));
                continue;
            }
        };
        all.tcp = true;
        all.ports.push((value.parse().map_err(|_| bad("is not a port"))?, net));
    }
    Ok(all)
}

/// Letters of `rwx`, each once.
fn rights(letters: &str) -> Option<AccessFs> {
    let mut access = AccessFs::empty();
    for letter in letters.chars() {
        let more = match letter {
            'r' => AccessFs::READ_FILE | AccessFs::READ_DIR,
            'x' => AccessFs::EXECUTE,
            'w' => AccessFs::all() - AccessFs::READ_FILE - AccessFs::READ_DIR - AccessFs::EXECUTE,
            _ => return None,
        };
        if access.intersects(more) {
            return None;
        }
        access |= more;
    }
    (!access.is_empty()).then_some(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Landlock, String> {
        let annotations = BTreeMap::from([(NAME.to_owned(), text.to_owned())]);
        landlock(&annotations).map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn words() {
        assert_eq!(landlock(&BTreeMap::new()).unwrap(), None);
        let all = read("rx=/,rwx=/data,tcp-bind=80,tcp-connect=443").unwrap();
        assert_eq!(
            all.paths[0],
            ("/".into(), AccessFs::READ_FILE | AccessFs::READ_DIR | AccessFs::EXECUTE)
        );
        assert_eq!(all.paths[1], ("/data".into(), AccessFs::all()));
        assert!(all.tcp);
        assert_eq!(all.ports, [(80, AccessNet::BIND_TCP), (443, AccessNet::CONNECT_TCP)]);
        let none = read("r=/etc,tcp=none").unwrap();
        assert!(none.tcp && none.ports.is_empty());
        assert!(!read("r=/etc").unwrap().tcp);
        for bad in [
            "",
            "/",
            "rx",
            "rx=data",
            "rr=/",
            "rq=/",
            "=/",
            "tcp=all",
            "tcp-bind=http",
            "tcp-bind=65536",
            "r=/,",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
