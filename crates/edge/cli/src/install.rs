//! `system install` and `system uninstall`: the daemon as a service of systemd.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::{Global, InstallArgs};
use crate::error::{Error, Result};

/// Where an administrator's units are: systemd.unit(5).
const UNITS: &str = "/etc/systemd/system";
/// There while systemd is the machine's init: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";
const SOCKET: &str = "dhow.socket";
const SERVICE: &str = "dhow.service";

/// `system install`.
pub(crate) fn install(global: &Global, args: &InstallArgs) -> Result<i32> {
    let exe = std::env::current_exe().map_err(|err| refused("find our own file", &err))?;
    let units = [(SOCKET, socket(global, has_group("docker"))), (SERVICE, service(global, &exe)?)];
    let calls: [&[&str]; 2] = [&["daemon-reload"], &["enable", "--now", SOCKET, SERVICE]];
    if args.dry_run {
        for (name, text) in &units {
            println!("# {UNITS}/{name}\n{text}");
        }
        print_calls(&calls);
        return Ok(0);
    }
    needs_systemd("dhow system install --dry-run")?;
    for (name, text) in &units {
        let path = Path::new(UNITS).join(name);
        // Beside it first: systemd may read at any time.
        let beside = path.with_extension("new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|err| refused(&format!("write {}", path.display()), &err))?;
        println!("wrote {}", path.display());
    }
    call(&calls)?;
    println!("the Docker Engine API is on unix://{}", socket_path(global).display());
    Ok(0)
}

/// `system uninstall`.
pub(crate) fn uninstall(args: &InstallArgs) -> Result<i32> {
    let before: [&[&str]; 1] = [&["disable", "--now", SOCKET, SERVICE]];
    let after: [&[&str]; 1] = [&["daemon-reload"]];
    let paths = [SOCKET, SERVICE].map(|name| Path::new(UNITS).join(name));
    if args.dry_run {
        print_calls(&before);
        for path in &paths {
            println!("rm {}", path.display());
        }
        print_calls(&after);
        return Ok(0);
    }
    needs_systemd("dhow system uninstall --dry-run")?;
    let there: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    if there.is_empty() {
        return Err(Error::Usage(format!("it is not installed: there is no {SERVICE} in {UNITS}")));
    }
    call(&before)?;
    for path in there {
        fs::remove_file(path)
            .map_err(|err| refused(&format!("remove {}", path.display()), &err))?;
        println!("removed {}", path.display());
    }
    call(&after)?;
    Ok(0)
}

fn needs_systemd(instead: &str) -> Result<()> {
    if Path::new(BOOTED).is_dir() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "systemd does not run this machine (there is no {BOOTED}): have its init run `dhow daemon`; \
         `{instead}` prints what would be done"
    )))
}

fn call(calls: &[&[&str]]) -> Result<()> {
    for args in calls {
        let status = Command::new("systemctl").args(*args).status();
        let status = status.map_err(|err| refused("run systemctl", &err))?;
        if !status.success() {
            return Err(Error::Usage(format!("systemctl {}: {status}", args.join(" "))));
        }
    }
    Ok(())
}

fn print_calls(calls: &[&[&str]]) {
    for args in calls {
        println!("systemctl {}", args.join(" "));
    }
}

fn refused(what: &str, err: &std::io::Error) -> Error {
    Error::Usage(format!("{what}: {err}"))
}

fn state(global: &Global) -> PathBuf {
    let named = global.state.clone().or_else(|| std::env::var_os("DHOW_STATE").map(PathBuf::from));
    let path = named.filter(|path| !path.as_os_str().is_empty());
    let path = path.unwrap_or_else(|| "/run/dhow".into());
    std::path::absolute(&path).unwrap_or(path)
}

fn socket_path(global: &Global) -> PathBuf {
    state(global).join("dhow.sock")
}

/// Whether there is such a group on this machine.
fn has_group(name: &str) -> bool {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(name))
}

fn socket(global: &Global, docker_group: bool) -> String {
    let path = socket_path(global);
    let group = if docker_group { "docker" } else { "root" };
    format!(
        "[Unit]\n\
         Description=dhow's Docker Engine API\n\
         \n\
         [Socket]\n\
         ListenStream={}\n\
         SocketMode=0660\n\
         SocketUser=root\n\
         SocketGroup={group}\n\
         DirectoryMode=0711\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n",
        escaped(path.as_os_str(), false)
    )
}

/// The daemon. Supervisors of containers are in its cgroup, and none of its concern when it stops.
fn service(global: &Global, exe: &Path) -> Result<String> {
    let mut words = vec![exe.as_os_str().to_owned()];
    let places = [
        ("--root", global.root.clone().or_else(|| from_environment("DHOW_ROOT"))),
        ("--state", global.state.clone().or_else(|| from_environment("DHOW_STATE"))),
    ];
    for (flag, place) in places {
        if let Some(place) = place {
            let place = std::path::absolute(&place).map_err(|err| refused("resolve", &err))?;
            words.extend([flag.into(), place.into_os_string()]);
        }
    }
    if let Some(driver) = &global.storage_driver {
        words.extend(["--storage-driver".into(), driver.into()]);
    }
    words.extend(["daemon".into(), "--listen".into(), "fd://".into()]);
    let command: Vec<String> = words.iter().map(|word| escaped(word, true)).collect();
    Ok(format!(
        "[Unit]\n\
         Description=dhow, a container engine\n\
         Requires={SOCKET}\n\
         After={SOCKET} network-online.target nss-lookup.target firewalld.service time-set.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart={}\n\
         ExecReload=/bin/kill -s HUP $MAINPID\n\
         Restart=on-failure\n\
         RestartSec=2\n\
         # Containers and their supervisors go on without it.\n\
         KillMode=process\n\
         LimitNOFILE=1048576\n\
         LimitNPROC=infinity\n\
         LimitCORE=infinity\n\
         TasksMax=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        command.join(" ")
    ))
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// As a unit's file has it: `%` begins a specifier, and in a command `$` a variable.
fn escaped(word: &OsStr, in_command: bool) -> String {
    let text = word.to_string_lossy().replace('%', "%%");
    if !in_command {
        return text;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    if text.contains([' ', '"', '\'']) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_name_what_is_not_usual() {
        let global = Global {
            root: Some("/srv/my 100% dhow".into()),
            state: Some("/run/other".into()),
            ..Global::default()
        };
        let text = service(&global, Path::new("/opt/dhow")).unwrap();
        let want = "\nExecStart=/opt/dhow --root \"/srv/my 100%% dhow\" --state /run/other daemon --listen fd://\n";
        assert!(text.contains(want), "{text}");
        assert!(text.contains("\nKillMode=process\n"));
        let text = socket(&global, true);
        assert!(text.contains("\nListenStream=/run/other/dhow.sock\n"), "{text}");
        assert!(text.contains("\nSocketGroup=docker\n"));
        assert!(socket(&global, false).contains("\nSocketGroup=root\n"));
    }
}
