//! `AppArmor`: whether the kernel confines by it, and the profile of containers of which nothing else is
//! said. Documentation/admin-guide/LSM/apparmor.rst of the kernel; apparmor.d(5).
//!
//! Profiles are the machine's: one that was loaded stays until the machine ends. The kernel takes them
//! compiled, and the only compiler is `apparmor_parser`; where there is none, nothing is confined, as
//! with Docker.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of the profile of containers of which nothing else is said.
pub const DEFAULT: &str = "dhow-default";

/// That profile. What it holds back a container of usual capabilities cannot do anyway; it is there
/// for those that were given more, and for faults of the kernel. Files, the network and capabilities
/// are open, as other mechanisms see to them; the kernel's own settings, mounts, and processes outside
/// are not. In `/proc` only processes' own directories and `/proc/sys/kernel/shm*` can be written.
const PROFILE: &str = "\
profile dhow-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send, receive) peer=dhow-default,
  ptrace (trace, read, tracedby, readby) peer=dhow-default,
  deny mount,
  deny /proc/* wkl,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty,sysvipc}/** wklx,
  deny /proc/sys/[^k]** wklx,
  deny /proc/sys/kernel/{[^s],s[^h],sh[^m]}** wklx,
  deny /proc/{sysrq-trigger,kcore,kmem,mem} rwklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";

/// Whose `Y` says that the kernel confines.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The profiles that are loaded, `NAME (MODE)` a line; for those who may administer them.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Where the compiler is, whatever `PATH` says.
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// What went wrong with `AppArmor`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the kernel's, or the compiler, could not be used.
    #[error("{doing} {path:?}")]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The compiler did not load a profile.
    #[error("the AppArmor profile {name} could not be loaded: {said}")]
    Refused {
        /// The profile.
        name: &'static str,
        /// What the compiler said.
        said: String,
    },
}

/// Whether the kernel confines programs by profiles.
#[must_use]
pub fn is_enabled() -> bool {
    fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
}

/// Whether containers can have [`DEFAULT`]: the kernel confines, this process sees which profiles there
/// are, and they can be compiled.
#[must_use]
pub fn is_usable() -> bool {
    is_enabled() && fs::File::open(PROFILES).is_ok() && parser().is_some()
}

fn parser() -> Option<&'static Path> {
    PARSERS.into_iter().map(Path::new).find(|path| path.exists())
}

/// Whether a profile is loaded.
pub fn is_loaded(name: &str) -> Result<bool, Error> {
    let text = fs::read_to_string(PROFILES).map_err(|source| Error::Io {
        doing: "read",
        path: PROFILES.into(),
        source,
    })?;
    Ok(lists(&text, name))
}

fn lists(profiles: &str, name: &str) -> bool {
    profiles.lines().filter_map(|line| line.rsplit_once(" (")).any(|(listed, _)| listed == name)
}

/// Loads [`DEFAULT`], unless it is there. Two who do it at once load the same.
pub fn load_default() -> Result<(), Error> {
    if is_loaded(DEFAULT)? {
        return Ok(());
    }
    let Some(parser) = parser() else {
        let said = "there is no apparmor_parser".to_owned();
        return Err(Error::Refused { name: DEFAULT, said });
    };
    let at = |doing| move |source| Error::Io { doing, path: parser.to_owned(), source };
    failpoint::hit("apparmor.load").map_err(at("run"))?;
    let mut command = Command::new(parser);
    // From standard input, past the cache of compiled profiles.
    command.args(["--replace", "--skip-cache"]).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(at("run"))?;
    // One that ends before it has read all says why, below.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(PROFILE.as_bytes()));
    let output = child.wait_with_output().map_err(at("wait for"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(Error::Refused { name: DEFAULT, said });
    }
    written.unwrap_or(Ok(())).map_err(at("write to"))?;
    failpoint::hit("apparmor.loaded").map_err(at("run"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use testkit::needs;

    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_names() {
        let text = "dhow-default (enforce)\n/usr/bin/man (complain)\na b (unconfined)\n";
        assert!(lists(text, "dhow-default") && lists(text, "/usr/bin/man") && lists(text, "a b"));
        assert!(!lists(text, "dhow") && !lists(text, "default") && !lists("", "a"));
    }

    /// What a shell says that runs with the profile.
    fn confined(script: &str) -> String {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let label = format!("exec {DEFAULT}");
        // The profile that the next exec gives this thread, which is the one that executes.
        let exec = "/proc/thread-self/attr/apparmor/exec";
        let exec = if Path::new(exec).exists() { exec } else { "/proc/thread-self/attr/exec" };
        fs::write(exec, label).unwrap();
        shell.exec().to_string()
    }

    #[test]
    fn the_default_profile_holds_back_what_it_says() {
        needs!(Root, AppArmor);
        load_default().unwrap();
        load_default().unwrap();
        assert!(is_loaded(DEFAULT).unwrap() && is_usable());
        // In a process of its own: what confines it cannot be taken off.
        if std::env::var_os("DHOW_CONFINED").is_some() {
            let script = "cat /proc/self/attr/current
mount -t tmpfs none /mnt 2>/dev/null && echo mounted
echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward && echo wrote a setting
echo 4096 >/proc/sys/kernel/shmmni && echo wrote shm
echo x 2>/dev/null >/sys/kernel/mm/transparent_hugepage/enabled && echo wrote in sys
echo hello >/proc/self/comm && echo wrote its own
head -c 1 /proc/kcore >/dev/null 2>&1 && echo read memory
kill -0 1 2>/dev/null && echo reached outside
sleep 10 & kill $! && echo reached its own";
            panic!("{}", confined(script));
        }
        let this = std::env::current_exe().unwrap();
        let name = "tests::the_default_profile_holds_back_what_it_says";
        let args = ["--exact", name, "--nocapture", "--test-threads=1"];
        let child = Command::new(this).args(args).env("DHOW_CONFINED", "1").output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let (_, said) = said.split_once("dhow-default (enforce)\n").expect(&said);
        assert_eq!(said, "wrote shm\nwrote its own\nreached its own\n");
    }
}
