//! Where a benchmark of images takes place.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::shell::{find, run};

/// The registry that has the image, and the one that takes it.
pub(super) const FULL: [&str; 2] = ["127.0.0.1:5000/big:full", "127.0.0.1:5001/big:full"];
/// The image without its top layer.
pub(super) const BASE: &str = "127.0.0.1:5000/big:base";

/// So much can be written, of which little is taken before it is.
const SIZE: &str = "24G";

/// A file system of its own in a file, if there can be one, and two registries.
pub(super) struct Place {
    directory: PathBuf,
    is_mounted: bool,
    registries: Vec<Child>,
}

impl Place {
    pub(super) fn new(root: &Path) -> Result<Self, String> {
        let directory = crate::bench::directory();
        let mut place = Self { directory, is_mounted: false, registries: Vec::new() };
        match place.fill(root) {
            Ok(()) => Ok(place),
            Err(why) => {
                place.clean();
                Err(why)
            }
        }
    }

    fn fill(&mut self, root: &Path) -> Result<(), String> {
        let disk = self.directory.join("disk");
        std::fs::create_dir_all(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
        let file = self.directory.join("disk.ext4");
        let made = run(Command::new("truncate").args(["-s", SIZE]).arg(&file))
            .and_then(|()| run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file)))
            .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&disk)));
        match made {
            Ok(()) => self.is_mounted = true,
            Err(why) => eprintln!("on the file system that is there: {why}"),
        }
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

    /// A path on the file system.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join("disk").join(name)
    }

    /// The folder of all.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Empties the registry that takes images.
    pub(super) fn empty_registry(&self) -> Result<(), String> {
        remove(&self.path("to"))
    }

    /// What was written before is not to be written during what is measured.
    pub(super) fn settle(&self) {
        if let Err(why) = run(Command::new("sync").arg("-f").arg(self.path("."))) {
            eprintln!("{why}");
        }
    }

    /// Removes it all.
    pub(super) fn clean(&self) {
        for registry in &self.registries {
            let pid = rustix::process::Pid::from_child(registry);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let disk = self.directory.join("disk");
        if self.is_mounted
            && let Err(why) = run(Command::new("umount").args(["-R", "-l"]).arg(&disk))
        {
            eprintln!("{why}");
        }
        if let Err(why) = remove(&self.directory) {
            eprintln!("{why}");
        }
    }
}

/// Removes a tree, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
