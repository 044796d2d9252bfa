//! Where a benchmark of images takes place.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bench::disk::{Disk, remove};
use crate::shell::find;

/// The registry that has the image, and the one that takes it.
pub(super) const FULL: [&str; 2] = ["127.0.0.1:5000/big:full", "127.0.0.1:5001/big:full"];
/// The image without its top layer.
pub(super) const BASE: &str = "127.0.0.1:5000/big:base";

/// A file system of its own in a file, if there can be one, and two registries.
pub(super) struct Place {
    disk: Disk,
    registries: Vec<Child>,
}

impl Place {
    pub(super) fn new(root: &Path) -> Result<Self, String> {
        let mut place = Self { disk: Disk::new()?, registries: Vec::new() };
        match place.fill(root) {
            Ok(()) => Ok(place),
            Err(why) => {
                place.clean();
                Err(why)
            }
        }
    }

    fn fill(&mut self, root: &Path) -> Result<(), String> {
        let unpacked = root.join("target/unpacked/usr/bin/docker-registry");
        let program = find("docker-registry").unwrap_or(unpacked);
        for (name, port) in [("from", 5000), ("to", 5001)] {
            self.registry(&program, name, port)?;
        }
        Ok(())
    }

    fn registry(&mut self, program: &Path, name: &str, port: u16) -> Result<(), String> {
        let data = self.path(name);
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            data.display()
        );
        let config = self.path(&format!("{name}.yml"));
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        self.registries.push(child.map_err(|error| format!("{}: {error}", program.display()))?);
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("{} does not answer", program.display()))
    }

    /// The file system.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// A path on it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }

    /// Empties the registry that takes images.
    pub(super) fn empty_registry(&self) -> Result<(), String> {
        remove(&self.path("to"))
    }

    /// Removes it all.
    pub(super) fn clean(&self) {
        for registry in &self.registries {
            let pid = rustix::process::Pid::from_child(registry);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        self.disk.clean();
    }
}
