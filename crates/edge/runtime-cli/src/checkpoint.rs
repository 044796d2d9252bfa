//! `checkpoint` and `restore`.

use std::path::PathBuf;

use container::{CgroupMode, CriuOptions};

use crate::args::{Opt, Parsed, flag, value};
use crate::foreground::{Console, Foreground};
use crate::make::{BUNDLE, CONSOLE_SOCKET, DETACH, PID_FILE, create_options, proof};
use crate::{Context, Failure, protect};

const IMAGE_PATH: Opt = value(&["image-path"], "the directory of the images (default: checkpoint)");
const WORK_PATH: Opt = value(&["work-path"], "the directory of criu's log (default: the images')");
const TCP_ESTABLISHED: Opt = flag(&["tcp-established"], "allow open TCP connections");
const EXT_UNIX_SK: Opt = flag(&["ext-unix-sk"], "allow unix sockets of the host's");
const SHELL_JOB: Opt = flag(&["shell-job"], "allow a session and a terminal of the host's");
const FILE_LOCKS: Opt = flag(&["file-locks"], "save and restore file locks");
const CGROUPS: Opt =
    value(&["manage-cgroups-mode"], "cgroups: soft (default), full, strict or ignore");
const EMPTY_NS: Opt = value(&["empty-ns"], "make a namespace and leave it empty: network");
const AUTO_DEDUP: Opt = flag(&["auto-dedup"], "free memory images that newer ones replace");
const LAZY_PAGES: Opt = flag(&["lazy-pages"], "send memory when it is asked for");

pub(crate) const CHECKPOINT: &[Opt] = &[
    IMAGE_PATH,
    WORK_PATH,
    value(&["parent-path"], "the images of an earlier --pre-dump, relative to these"),
    flag(&["leave-running"], "let the container go on"),
    TCP_ESTABLISHED,
    flag(&["tcp-skip-in-flight"], "leave out TCP connections that are not yet accepted"),
    flag(&["link-remap"], "link deleted files back where possible"),
    EXT_UNIX_SK,
    SHELL_JOB,
    LAZY_PAGES,
    value(&["status-fd"], "the descriptor that gets a zero byte when --lazy-pages is ready"),
    value(&["page-server"], "ADDRESS:PORT of the page server"),
    FILE_LOCKS,
    flag(&["pre-dump"], "save only the memory, and let the container go on"),
    CGROUPS,
    EMPTY_NS,
    AUTO_DEDUP,
];

pub(crate) const RESTORE: &[Opt] = &[
    CONSOLE_SOCKET,
    IMAGE_PATH,
    WORK_PATH,
    TCP_ESTABLISHED,
    EXT_UNIX_SK,
    SHELL_JOB,
    FILE_LOCKS,
    CGROUPS,
    BUNDLE,
    DETACH,
    PID_FILE,
    flag(&["no-subreaper"], "do not become the parent of orphans"),
    flag(&["no-pivot"], "changes nothing: criu enters the root in its own way"),
    EMPTY_NS,
    AUTO_DEDUP,
    LAZY_PAGES,
    value(&["lsm-profile"], "TYPE:LABEL for the restored processes"),
    value(&["lsm-mount-context"], "the SELinux context of restored mounts"),
];

pub(crate) fn checkpoint(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let options = options(parsed)?;
    protect()?;
    let warnings = container::checkpoint(&proof()?, &context.store, id, &options)?;
    context.log.warn_all(&warnings);
    Ok(0)
}

pub(crate) fn restore(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    let id = parsed.id()?;
    let criu = options(parsed)?;
    let mut options = create_options(context, parsed)?;
    let detach = parsed.is_set("detach");
    protect()?;
    let proof = proof()?;
    // In the foreground this process itself plays the terminal, unless somebody else does.
    let plays = !detach && options.console_socket.is_none();
    let console = plays.then(Console::new).transpose()?;
    options.console = console.as_ref().map(Console::container_end);
    let foreground = (!detach).then(|| Foreground::start(!parsed.is_set("no-subreaper")));
    let foreground = foreground.transpose()?;
    let mut warnings = Vec::new();
    let restored = container::restore(&proof, &context.store, id, &options, &criu, &mut warnings);
    drop(options);
    context.log.warn_all(&warnings);
    let restored = restored?;
    let Some(foreground) = foreground else { return Ok(0) };
    let relay = console.filter(|_| restored.terminal).map(Console::receive).transpose();
    let status = relay.and_then(|relay| foreground.wait(restored.pid, &restored.handle, relay));
    let warnings = container::delete(&context.store, id, true)?;
    context.log.warn_all(&warnings);
    status
}

fn options(parsed: &Parsed) -> Result<CriuOptions, Failure> {
    let path = |name: &str| parsed.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(namespace) = parsed.all("empty-ns").find(|name| *name != "network") {
        return Err(Failure::from(format!("namespace {namespace:?} is not supported")));
    }
    Ok(CriuOptions {
        image_path: path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")),
        work_path: path("work-path"),
        parent_path: parsed.get("parent-path").filter(|path| !path.is_empty()).map(str::to_owned),
        leave_running: parsed.is_set("leave-running"),
        tcp_established: parsed.is_set("tcp-established"),
        tcp_skip_in_flight: parsed.is_set("tcp-skip-in-flight"),
        link_remap: parsed.is_set("link-remap"),
        ext_unix_sk: parsed.is_set("ext-unix-sk"),
        shell_job: parsed.is_set("shell-job"),
        file_locks: parsed.is_set("file-locks"),
        auto_dedup: parsed.is_set("auto-dedup"),
        lazy_pages: parsed.is_set("lazy-pages"),
        pre_dump: parsed.is_set("pre-dump"),
        status_fd: parsed.number("status-fd")?,
        page_server: parsed.get("page-server").map(page_server).transpose()?,
        cgroups: cgroup_mode(parsed.get("manage-cgroups-mode").unwrap_or_default())?,
        lsm_profile: parsed.get("lsm-profile").map(str::to_owned),
        lsm_mount_context: parsed.get("lsm-mount-context").map(str::to_owned),
    })
}

fn cgroup_mode(text: &str) -> Result<CgroupMode, String> {
    match text {
        "" => Ok(CgroupMode::Default),
        "soft" => Ok(CgroupMode::Soft),
        "full" => Ok(CgroupMode::Full),
        "strict" => Ok(CgroupMode::Strict),
        "ignore" => Ok(CgroupMode::Ignore),
        other => Err(format!("invalid manage-cgroups-mode value {other:?}")),
    }
}

fn page_server(text: &str) -> Result<(String, u16), String> {
    let usage = || format!("Use --page-server ADDRESS:PORT to specify page server, not {text:?}");
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let port = port.parse().map_err(|_| usage())?;
    // An IPv6 address is in brackets, and is not without.
    let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match plain.unwrap_or(address) {
        "" => Err(usage()),
        bare if plain.is_none() && bare.contains(':') => Err(usage()),
        bare => Ok((bare.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        assert_eq!(page_server("0.0.0.0:27277"), Ok(("0.0.0.0".to_owned(), 27277)));
        assert_eq!(page_server("[::1]:1"), Ok(("::1".to_owned(), 1)));
        for bad in ["", "1.2.3.4", ":1", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", "::1:5"] {
            assert!(page_server(bad).is_err(), "{bad:?}");
        }
    }
}
