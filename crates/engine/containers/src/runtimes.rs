//! Which OCI runtime makes a container (`--runtime`).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shim_protocol::Runtime;

use crate::Error;
use crate::engine::Engine;

/// Ours.
pub(crate) const OWN: &str = "dhow";
/// What containerd calls the one that Docker has; here it is ours.
const CONTAINERDS: &str = "io.containerd.runc.v2";
/// Those that are looked for as programs, without being named in the settings.
const KNOWN: [&str; 2] = ["runc", "crun"];
/// What a specification for another's runtime calls itself: crun before 1.9 refuses all that is not 1.0,
/// though it knows what came later.
pub(crate) const FOREIGN_VERSION: &str = "1.0.2";
/// Where programs are, whatever the environment says.
const PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A runtime of `daemon.json`, under Docker's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeSetting {
    /// The program: a path, or a name that is looked for.
    pub path: String,
    /// Global arguments of every call.
    pub runtime_args: Vec<String>,
}

impl Engine {
    /// The runtime of this name, for the supervisor to call. The name is one of `daemon.json`'s
    /// `runtimes`, `runc`, `crun`, a path, or ours.
    pub(crate) fn runtime(&self, name: &str) -> Result<Runtime, Error> {
        let (program, args) = self.program(name)?;
        Ok(Runtime { program, root: self.paths().runtime(), args })
    }

    fn program(&self, name: &str) -> Result<(Option<PathBuf>, Vec<String>), Error> {
        if let Some(setting) = self.settings().runtimes.get(name) {
            let program = look_for(&setting.path).ok_or_else(|| {
                let path = &setting.path;
                Error::Invalid(format!(
                    "runtime {name}: fork/exec {path}: no such file or directory"
                ))
            })?;
            return Ok((Some(program), setting.runtime_args.clone()));
        }
        let found = match name {
            "" | OWN | CONTAINERDS => return Ok((None, Vec::new())),
            name if KNOWN.contains(&name) || name.starts_with('/') => look_for(name),
            _ => None,
        };
        match found {
            Some(program) => Ok((Some(program), Vec::new())),
            // Ours has runc's command line, and takes its place where there is none.
            None if name == "runc" => Ok((None, Vec::new())),
            None => Err(Error::Invalid(format!("unknown or invalid runtime name: {name}"))),
        }
    }

    /// All that can be named here, with their programs, for information.
    pub fn runtimes(&self) -> BTreeMap<String, RuntimeSetting> {
        let ours = RuntimeSetting { path: "dhow-runtime".into(), ..RuntimeSetting::default() };
        let mut all = BTreeMap::from([(OWN.to_owned(), ours)]);
        for name in KNOWN {
            if let Some(path) = look_for(name) {
                let path = path.display().to_string();
                all.insert(name.to_owned(), RuntimeSetting { path, runtime_args: Vec::new() });
            }
        }
        all.extend(self.settings().runtimes.clone());
        all
    }

    /// The name of the runtime where none is asked for.
    pub fn default_runtime(&self) -> String {
        self.settings().default_runtime.clone().unwrap_or_else(|| OWN.to_owned())
    }
}

/// A program, by its path or its name.
fn look_for(program: &str) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        PLACES.iter().map(|place| Path::new(place).join(program)).collect()
    };
    candidates.into_iter().find(|path| {
        path.is_absolute()
            && std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}
