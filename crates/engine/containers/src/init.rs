//! `--init`: dhow's own file as the first process of a container.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::runtime::{Mount, Spec};

use crate::Error;
use crate::engine::{Engine, make_dir};
use crate::error::At as _;
use crate::record::Container;
use crate::spec::namespaces::{Mode, mode};

impl Engine {
    /// Puts an init before a container's program, where it is to have one. As in Docker, there is none
    /// in a PID namespace that it shares: there is one already.
    pub(crate) fn add_init(&self, container: &Container, spec: &mut Spec) -> Result<(), Error> {
        let host = &container.record.host;
        let own = matches!(mode(&host.pid_mode), Mode::Private | Mode::Other(_));
        if !own || !host.init.unwrap_or(self.settings().init) {
            return Ok(());
        }
        let Some(process) = &mut spec.process else { return Ok(()) };
        let before = [pid1::PATH, "--"].map(str::to_owned);
        process.args.splice(0..0, before);
        spec.mounts.push(Mount {
            destination: pid1::PATH.into(),
            kind: "bind".into(),
            source: self.init_program()?.to_string_lossy().into_owned(),
            options: ["bind", "ro"].map(str::to_owned).to_vec(),
            ..Mount::default()
        });
        Ok(())
    }

    /// A copy of our own file: whoever opens for writing what is mounted in a container keeps the host
    /// from executing that file in the same instant. It is made anew when ours is another one.
    fn init_program(&self) -> Result<PathBuf, Error> {
        let exe = fs::read_link(&self.exe).unwrap_or_else(|_| self.exe.clone());
        let ours = fs::metadata(&self.exe).at("stat", &exe)?;
        let modified = ours.modified().at("stat", &exe)?;
        let dir = self.root().join("init");
        let path = dir.join(pid1::NAME);
        if fs::metadata(&path).is_ok_and(|there| {
            there.len() == ours.len() && there.modified().is_ok_and(|time| time == modified)
        }) {
            return Ok(path);
        }
        make_dir(&dir, 0o711)?;
        let beside = dir.join(format!("{}.{}", pid1::NAME, std::process::id()));
        failpoint::hit("engine.init").at("write", &beside)?;
        copy(&self.exe, &beside, modified).at("write", &beside)?;
        fs::rename(&beside, &path).at("rename", &path)?;
        failpoint::hit("engine.init-made").at("rename", &path)?;
        forget_others(&dir);
        Ok(path)
    }
}

fn copy(from: &Path, to: &Path, modified: SystemTime) -> io::Result<()> {
    let mut file = File::create(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(0o555))?;
    file.set_modified(modified)?;
    // The length is looked at, and a crash may leave less behind it.
    file.sync_all()
}

/// Removes copies that somebody began who died.
fn forget_others(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let is_dead = |name: &str| {
        let pid = name.rsplit_once('.').map(|(_, pid)| pid);
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_dead)) {
        // The next one who makes a copy tries again.
        let _ = fs::remove_file(entry.path());
    }
}
