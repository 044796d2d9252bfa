//! A whole Debian, with systemd as its init.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use crate::shell::{find, run};

const PACKAGES: &str = "busybox-static,dbus,dbus-user-session,e2fsprogs,iproute2,kmod,\
    libpam-systemd,nftables,systemd,systemd-sysv,uidmap,util-linux,bsdextrautils,attr,procps";

/// What of it the guest can do without.
const LEFT_OUT: [&str; 7] = [
    "proc",
    "sys",
    "var/cache",
    "var/lib/apt",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
];

/// The tests, once systemd is up, and a session of the user's for theirs.
const SERVICE: &str = "[Unit]
Description=the tests
After=dbus.service systemd-logind.service
Wants=dbus.service systemd-logind.service

[Service]
Type=oneshot
Delegate=yes
TasksMax=infinity
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin:/guest/busybox HOME=/root
ExecStartPre=/bin/busybox --install -s /guest/busybox
ExecStartPre=-/usr/bin/loginctl enable-linger user
ExecStart=/guest/tests
ExecStopPost=/bin/busybox poweroff -f
StandardOutput=file:/dev/console
StandardError=inherit
";

/// A Debian in a directory of `place`, made unless it is there.
pub(crate) fn get(place: &Path) -> Result<PathBuf, String> {
    let directory = place.join("debian");
    if directory.join("etc").is_dir() {
        return Ok(directory);
    }
    if find("mmdebstrap").is_none() {
        return Err("--systemd needs mmdebstrap (Debian, as root)".to_owned());
    }
    println!("unpacking a Debian with systemd");
    let new = place.join("debian.new");
    _ = std::fs::remove_dir_all(&new);
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\""]);
    command.arg(format!("--include={PACKAGES}")).arg("bookworm").arg(&new);
    command.arg("http://deb.debian.org/debian");
    run(&mut command)?;
    std::fs::rename(&new, &directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(directory)
}

/// Adds it, and the unit that runs the tests.
pub(crate) fn pack(archive: &mut Archive<BufWriter<File>>, debian: &Path) -> Result<(), String> {
    const UNITS: &str = "/etc/systemd/system";
    archive.file(&format!("{UNITS}/tests.service"), 0o644, SERVICE.as_bytes())?;
    archive.link(&format!("{UNITS}/default.target.wants/tests.service"), "../tests.service")?;
    archive.link(&format!("{UNITS}/default.target"), "/lib/systemd/system/multi-user.target")?;
    archive.link(&format!("{UNITS}/multi-user.target.wants/tests.service"), "../tests.service")?;
    archive.file("/etc/fstab", 0o644, b"")?;
    // The workspace may be beneath /tmp.
    archive.file("/etc/tmpfiles.d/tmp.conf", 0o644, b"")?;
    archive.file("/etc/hostname", 0o644, b"guest\n")?;
    archive.file("/etc/machine-id", 0o644, b"00000000000000000000000000000001\n")?;
    archive.directory("/guest/busybox", 0o755)?;
    for (file, line) in [
        ("etc/passwd", "user:x:1000:1000::/home:/bin/sh\n"),
        ("etc/group", "user:x:1000:\n"),
        ("etc/shadow", "user:*:19000:0:99999:7:::\n"),
        ("etc/subuid", "user:100000:65536\n"),
        ("etc/subgid", "user:100000:65536\n"),
    ] {
        let text = std::fs::read_to_string(debian.join(file)).unwrap_or_default();
        archive.file(&format!("/{file}"), 0o644, (text + line).as_bytes())?;
    }
    // Nobody logs in, and nothing is to be done by the clock.
    for unit in ["getty.target", "tmp.mount", "timers.target", "systemd-journal-flush.service"] {
        archive.link(&format!("{UNITS}/{unit}"), "/dev/null")?;
    }
    walk(archive, debian, debian)
}

fn walk(
    archive: &mut Archive<BufWriter<File>>,
    top: &Path,
    directory: &Path,
) -> Result<(), String> {
    let wrong = |path: &Path, error| format!("{}: {error}", path.display());
    let entries = std::fs::read_dir(directory).map_err(|error| wrong(directory, error))?;
    for entry in entries {
        let path = entry.map_err(|error| wrong(directory, error))?.path();
        let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
        let metadata = path.symlink_metadata().map_err(|error| wrong(&path, error))?;
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|error| wrong(&path, error))?;
            archive.link(&name, &target.to_string_lossy())?;
        } else if kind.is_dir() {
            archive.directory(&name, metadata.mode() & 0o7777)?;
            if !LEFT_OUT.contains(&name.as_str()) {
                walk(archive, top, &path)?;
            }
        } else if kind.is_file() {
            archive.copy_to(&path, &name)?;
        }
    }
    archive.device("/dev/console", 5, 1)?;
    archive.device("/dev/null", 1, 3)
}
