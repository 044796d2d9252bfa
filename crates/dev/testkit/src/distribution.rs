//! The registry that the distribution project makes, as Debian has it: `docker-registry`.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::output::poll_until;
use crate::{Sandbox, wait_until};

/// `user:secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `docker-registry`, until it is dropped.
#[derive(Debug)]
pub struct Distribution {
    child: Child,
    dir: PathBuf,
    host: String,
    /// Its folder is its own, and goes with it.
    is_own: bool,
}

impl Drop for Distribution {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.is_own {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Distribution {
    /// One on this machine's loopback, at a port that is free, with a folder of its own; call
    /// [`needs!(Registry)`](crate::needs) before. `more` are lines of its configuration below
    /// `http:`, in which `DIR` is its folder.
    pub fn start(name: &str, more: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("dhow-distribution-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("make a temporary directory");
        // The port is free again when the registry asks for it, unless somebody was very quick.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        drop(listener);
        let config = configure(&dir, &address.to_string(), more);
        let mut command = Command::new("docker-registry");
        let child = spawn(&mut command, &dir, &config);
        let registry = Self { child, dir, host: address.to_string(), is_own: true };
        let is_up = poll_until(PATIENCE, || TcpStream::connect(address).is_ok());
        assert!(is_up, "the registry does not come up: {}", registry.log());
        registry
    }

    /// One in a sandbox, at `localhost:5000` there, with its folder in the sandbox's.
    pub fn start_in(sandbox: &Sandbox, more: &str) -> Self {
        let dir = sandbox.work();
        let config = configure(&dir, "127.0.0.1:5000", more);
        let child = spawn(&mut sandbox.command("docker-registry"), &dir, &config);
        let registry = Self { child, dir, host: "localhost:5000".into(), is_own: false };
        // 127.0.0.1:5000 in a state of `LISTEN`: proc_net_tcp.rst.
        let listens = "grep -q ' 0100007F:1388 00000000:0000 0A' /proc/net/tcp";
        wait_until("the registry listens", || sandbox.sh(listens).code == 0);
        registry
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it keeps what it is given.
    pub fn data(&self) -> PathBuf {
        self.dir.join("registry")
    }

    /// What it complained of.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("registry.log")).unwrap_or_default()
    }
}

/// Writes its configuration and its passwords. Where the former is.
fn configure(dir: &Path, address: &str, more: &str) -> PathBuf {
    let shown = dir.display().to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: \
         {shown}/registry}}\n  delete: {{enabled: true}}\nhttp:\n  addr: '{address}'\n{}",
        more.replace("DIR", &shown)
    );
    let path = dir.join("registry.yml");
    std::fs::write(&path, config).expect("write a configuration");
    std::fs::write(dir.join("htpasswd"), HTPASSWD).expect("write passwords");
    path
}

fn spawn(command: &mut Command, dir: &Path, config: &Path) -> Child {
    let log = File::create(dir.join("registry.log")).expect("make a log");
    command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("needs!(Registry)")
}
