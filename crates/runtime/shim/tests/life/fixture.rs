//! What tests share: directories, a root file system, a runtime.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const BUSYBOX: &str = "/bin/busybox";

/// Why nothing can be tested here, if it cannot.
pub(crate) fn missing() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".into());
    }
    if !Path::new(BUSYBOX).exists() {
        return Err(format!("needs {BUSYBOX} (Debian's busybox-static)"));
    }
    if own_runtime().is_none() && foreign_runtime().is_none() {
        return Err("needs dhow-runtime of the same build, or runc".into());
    }
    Ok(())
}

/// The runtime of the same build, if it was built.
///
/// Cargo's own word for where, since the runtime is called from a mount that has no path.
pub(crate) fn own_runtime() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let places = [built.join("debug"), built.join(host).join("debug")];
    places.map(|place| place.join("dhow-runtime")).into_iter().find(|file| file.exists())
}

/// The runtime to be called as a program: another's.
pub(crate) fn foreign_runtime() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DHOW_TEST_RUNTIME") {
        return Some(named.into());
    }
    if own_runtime().is_some() {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("runc")).find(|file| file.exists())
}

/// A directory for everything of this run.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::temp_dir().join(format!("dhow-shim-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        base
    })
}

/// Removes all that the tests made.
pub(crate) fn remove_all() {
    fs::remove_dir_all(base()).unwrap();
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    cgroup::remove_if_empty(&hierarchy, &cgroup_parent()).unwrap();
}

/// The cgroup in which those of all containers are.
pub(crate) fn cgroup_parent() -> String {
    format!("/dhow-shim-test-{}", std::process::id())
}

/// A read-only layer with busybox and its applets.
pub(crate) fn busybox_layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let layer = base().join("busybox");
        for dir in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(layer.join(dir)).unwrap();
        }
        fs::copy(BUSYBOX, layer.join("bin/busybox")).unwrap();
        let applets = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(applets).unwrap().lines().filter(|name| *name != "busybox")
        {
            symlink("busybox", layer.join("bin").join(applet)).unwrap();
        }
        layer
    })
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < until, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}
