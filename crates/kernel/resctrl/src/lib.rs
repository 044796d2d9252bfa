//! resctrl: which shares of caches and of memory bandwidth processes get, by classes of service, and
//! how much they use, by monitoring groups. Documentation/filesystems/resctrl.rst of the kernel.
//!
//! A class is a directory in the root of the file system (the root itself is the default class), a
//! monitoring group one in `mon_groups` of its class. The kernel makes their files with them.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

mod schema;

pub use schema::agrees;

/// What went wrong with resctrl.
#[derive(Debug, thiserror::Error)]
#[error("{doing}{}", in_its_words(.said))]
pub struct Error {
    /// The call.
    doing: String,
    /// What the kernel has to say: `info/last_cmd_status`.
    said: String,
    /// Why not.
    #[source]
    source: io::Error,
}

fn in_its_words(said: &str) -> String {
    match said.trim() {
        "" | "ok" => String::new(),
        said => format!(" ({})", said.replace('\n', "; ")),
    }
}

/// The variable that names the directory of a test's own.
#[cfg(feature = "fake")]
const FAKE: &str = "DHOW_FAKE_RESCTRL";

/// A mounted resctrl.
#[derive(Clone, Debug)]
pub struct Resctrl {
    root: PathBuf,
    #[cfg(any(test, feature = "fake"))]
    fake: bool,
}

impl Resctrl {
    /// The one that is mounted. `None`: none is.
    pub fn find() -> Result<Option<Self>, Error> {
        #[cfg(feature = "fake")]
        if let Some(root) = std::env::var_os(FAKE) {
            return Ok(Some(Self { root: root.into(), fake: true }));
        }
        let path = "/proc/self/mountinfo";
        let text = std::fs::read(path).map_err(|source| Error {
            doing: format!("read({path:?})"),
            said: String::new(),
            source,
        })?;
        Ok(mount_point(&text).map(|root| Self {
            root,
            #[cfg(any(test, feature = "fake"))]
            fake: false,
        }))
    }

    /// The directory of a class; empty is the default class.
    fn class(&self, class: &str) -> PathBuf {
        if class.is_empty() { self.root.clone() } else { self.root.join(class) }
    }

    fn monitor(&self, class: &str, name: &str) -> PathBuf {
        self.class(class).join("mon_groups").join(name)
    }

    fn failed(&self, doing: String) -> impl FnOnce(io::Error) -> Error {
        move |source| {
            let said = std::fs::read_to_string(self.root.join("info/last_cmd_status"));
            Error { doing, said: said.unwrap_or_default(), source }
        }
    }

    /// Whether a class is there.
    pub fn exists(&self, class: &str) -> bool {
        self.class(class).join("schemata").exists()
    }

    /// Makes a class. It is fine when it is there already.
    pub fn create(&self, class: &str) -> Result<(), Error> {
        failpoint("resctrl.create")?;
        self.make(&self.class(class))?;
        failpoint("resctrl.created")
    }

    /// Makes a monitoring group in a class. It is fine when it is there already.
    pub fn create_monitor(&self, class: &str, name: &str) -> Result<(), Error> {
        failpoint("resctrl.create")?;
        self.make(&self.monitor(class, name))?;
        failpoint("resctrl.created")
    }

    /// What a class gets: the lines of `schemata`.
    pub fn schemata(&self, class: &str) -> Result<String, Error> {
        let path = self.class(class).join("schemata");
        std::fs::read_to_string(&path).map_err(self.failed(format!("read({path:?})")))
    }

    /// Writes one line of `schemata`.
    pub fn write_schema(&self, class: &str, line: &str) -> Result<(), Error> {
        self.write(&self.class(class).join("schemata"), line)
    }

    /// Moves a task to a class, and in that to a monitoring group. What it makes later is there too.
    pub fn assign(&self, class: &str, monitor: Option<&str>, pid: i32) -> Result<(), Error> {
        self.write(&self.class(class).join("tasks"), &pid.to_string())?;
        match monitor {
            Some(name) => self.write(&self.monitor(class, name).join("tasks"), &pid.to_string()),
            None => Ok(()),
        }
    }

    /// Removes a class with its monitoring groups; its tasks are then in the default class. That it
    /// is not there is fine.
    pub fn remove(&self, class: &str) -> Result<(), Error> {
        self.unmake(&self.class(class))
    }

    /// Removes a monitoring group. That it is not there is fine.
    pub fn remove_monitor(&self, class: &str, name: &str) -> Result<(), Error> {
        self.unmake(&self.monitor(class, name))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Error> {
        use std::io::Write;
        // One write(2): what is in it is taken or refused as a whole.
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            options.write(true);
            #[cfg(any(test, feature = "fake"))]
            options.append(self.fake);
            options.open(path)
        };
        open()
            .and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
            .map_err(self.failed(format!("write({path:?}, {text:?})")))
    }

    fn make(&self, path: &Path) -> Result<(), Error> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other.map_err(self.failed(format!("mkdir({path:?})")))?,
        }
        #[cfg(any(test, feature = "fake"))]
        if self.fake {
            let filled = std::fs::write(path.join("tasks"), "")
                .and_then(|()| std::fs::write(path.join("schemata"), ""))
                .and_then(|()| std::fs::create_dir(path.join("mon_groups")));
            filled.map_err(self.failed(format!("fill({path:?})")))?;
        }
        Ok(())
    }

    fn unmake(&self, path: &Path) -> Result<(), Error> {
        failpoint("resctrl.remove")?;
        #[cfg(any(test, feature = "fake"))]
        let removed =
            if self.fake { std::fs::remove_dir_all(path) } else { std::fs::remove_dir(path) };
        #[cfg(not(any(test, feature = "fake")))]
        let removed = std::fs::remove_dir(path);
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(self.failed(format!("rmdir({path:?})")))?,
        }
        failpoint("resctrl.removed")
    }
}

/// Passes a failpoint.
fn failpoint(name: &str) -> Result<(), Error> {
    failpoint::hit(name).map_err(|source| Error {
        doing: format!("failpoint: {name}"),
        said: String::new(),
        source,
    })
}

/// Where resctrl is mounted.
fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    let mut mounts = mount::mountinfo::mounts(mountinfo);
    mounts.find(|line| line.kind == b"resctrl").map(|line| line.point())
}

#[cfg(test)]
mod tests;
