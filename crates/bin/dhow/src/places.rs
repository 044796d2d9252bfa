//! Where an engine keeps its things, unless it is told otherwise: root's in the system's folders, an
//! ordinary user's in that user's own, by the XDG Base Directory Specification.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cli::Global;
use containers::Settings;
use serde::de::DeserializeOwned;

/// The places of whoever started this process.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    root: PathBuf,
    state: PathBuf,
    settings: PathBuf,
    /// The socket of the daemon, where it is not in the state directory.
    socket: Option<PathBuf>,
}

impl Places {
    /// Root's.
    pub(crate) fn of_system() -> Self {
        Self {
            root: "/var/lib/dhow".into(),
            state: "/run/dhow".into(),
            settings: Settings::FILE.into(),
            socket: None,
        }
    }

    /// An ordinary user's, who is of this number.
    pub(crate) fn of_user(uid: u32) -> Self {
        Self::of(uid, |name| env::var_os(name))
    }

    fn of(uid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = directory("HOME").unwrap_or_else(|| "/".into());
        let data = directory("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let config = directory("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let given = directory("XDG_RUNTIME_DIR");
        // A session that did not come through PAM (cron, su) has the folder, if not the variable.
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let is_own = |path: &Path| path.metadata().is_ok_and(|found| found.uid() == uid);
        let runtime = given.or_else(|| Some(usual).filter(|path| is_own(path)));
        let runtime = runtime.unwrap_or_else(|| env::temp_dir().join(format!("dhow-run-{uid}")));
        Self {
            root: data.join("dhow"),
            state: runtime.join("dhow"),
            settings: config.join("dhow/daemon.json"),
            socket: Some(runtime.join("dhow.sock")),
        }
    }

    pub(crate) fn root(&self, global: &Global) -> PathBuf {
        place(global.root.as_ref(), "DHOW_ROOT", &self.root)
    }

    pub(crate) fn state(&self, global: &Global) -> PathBuf {
        place(global.state.as_ref(), "DHOW_STATE", &self.state)
    }

    /// The file of settings.
    pub(crate) fn settings(&self) -> PathBuf {
        place(None, "DHOW_CONFIG", &self.settings)
    }

    /// Where the daemon listens.
    pub(crate) fn socket(&self, global: &Global) -> PathBuf {
        let state = self.state(global);
        match &self.socket {
            Some(socket) if state == self.state => socket.clone(),
            _ => state.join("dhow.sock"),
        }
    }
}

/// What the file of settings says of some keys; nothing where there is none.
pub(crate) fn read_settings<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    let failed = |why: String| format!("\"{}\": {why}", path.display());
    match std::fs::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(err) => Err(failed(err.to_string())),
        // An empty file sets nothing, as with Docker (it may be /dev/null).
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(T::default()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|err| failed(err.to_string())),
    }
}

/// Makes a user's directory of what may vanish; in one that everybody can write to it must be the
/// user's own, and no link.
pub(crate) fn make_state(state: &Path, uid: u32) -> Result<(), String> {
    let failed = |doing: &str, err: std::io::Error| format!("{doing} {}: {err}", state.display());
    let parent = state.parent().unwrap_or(state);
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(parent).map_err(|err| failed("create", err))?;
    let found = parent.symlink_metadata().map_err(|err| failed("stat", err))?;
    if parent.starts_with(env::temp_dir()) && parent.ends_with(format!("dhow-run-{uid}")) {
        let is_own = found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0;
        if !is_own {
            return Err(format!(
                "{} is not a directory of this user's alone: set XDG_RUNTIME_DIR",
                parent.display()
            ));
        }
    }
    builder.create(state).map_err(|err| failed("create", err))
}

/// Of the flag, the environment and the default, the first that says something.
fn place(flag: Option<&PathBuf>, variable: &str, default: &Path) -> PathBuf {
    let from_environment = || env::var_os(variable).filter(|path| !path.is_empty());
    flag.cloned()
        .or_else(|| from_environment().map(PathBuf::from))
        .unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_things_are_where_xdg_says() {
        let of = |set: &[(&str, &str)]| {
            Places::of(u32::MAX - 2, |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        let plain = of(&[("HOME", "/home/ada"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(plain.root, Path::new("/home/ada/.local/share/dhow"));
        assert_eq!(plain.state, Path::new("/run/user/7/dhow"));
        assert_eq!(plain.settings, Path::new("/home/ada/.config/dhow/daemon.json"));
        assert_eq!(plain.socket.as_deref(), Some(Path::new("/run/user/7/dhow.sock")));
        let moved = of(&[("HOME", "/h"), ("XDG_DATA_HOME", "/data"), ("XDG_CONFIG_HOME", "rel")]);
        assert_eq!(moved.root, Path::new("/data/dhow"));
        assert_eq!(moved.settings, Path::new("/h/.config/dhow/daemon.json"));
        assert!(moved.state.ends_with(format!("dhow-run-{}/dhow", u32::MAX - 2)));
    }
}
