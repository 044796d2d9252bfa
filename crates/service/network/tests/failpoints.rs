//! Killed at every step, a container's network leaves nothing that recovery does not take away,
//! and the next start works.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use endpoint::Protocol;
use metadata::{Container, Db};
use netlink::{FilterSocket, Requests, RouteSocket};
use network::{Attachment, Connected, CreateRequest, Error, Member, Networks, PortRequest};
use nft::Family;

/// Set for the process that is to be killed: its directory.
const VICTIM: &str = "DHOW_NETWORK_VICTIM";
const PREFIX: &str = "dhow-0a1b2c3d";

fn id() -> String {
    "c".repeat(64)
}

fn open(directory: &Path) -> (Db, Networks) {
    let db = Db::open(&directory.join("dhow.db")).unwrap();
    (db, Networks::new(PREFIX, directory))
}

/// The life of a network with a container in it.
fn live(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (db, networks) = open(directory);
    networks.ensure_predefined(&db)?;
    let request = CreateRequest { name: "lab".into(), ..CreateRequest::default() };
    match networks.create(&db, &request) {
        Ok(_) | Err(Error::NameInUse { .. }) => {}
        Err(err) => return Err(err.into()),
    }
    let connected = plan(&db, &networks)?;
    let container = new_namespace();
    endpoint::apply(&connected.plan, container.as_fd())?;
    drop(endpoint::undo(&connected.plan)?);
    endpoint::remove_links(&connected.plan)?;
    networks.remove(&db, "lab", &|_| false)?;
    Ok(())
}

fn plan(db: &Db, networks: &Networks) -> Result<Connected, Error> {
    let record = Container {
        id: id(),
        name: "web".into(),
        image: None,
        snapshot: None,
        auto_remove: false,
        created: 0,
        config: "{}".into(),
    };
    db.write(|tx| match tx.container(&record.id)? {
        None => tx.insert_container(&record),
        Some(_) => Ok(()),
    })?;
    let ports = [PortRequest {
        container: 80,
        protocol: Protocol::Tcp,
        host_address: None,
        host_ports: Some(8080..=8080),
    }];
    let member = Member { id: &record.id, name: "web", hostname: "" };
    let attachments = [Attachment { network: "lab".into(), ..Attachment::default() }];
    networks.connect(db, &member, &attachments, &ports, &[], &|_| false)
}

fn new_namespace() -> File {
    let thread = std::thread::spawn(|| {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    thread.join().unwrap()
}

#[test]
fn victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let failed = live(Path::new(&directory)).inspect_err(|err| eprintln!("{err}")).is_err();
    // Neither a success nor the code of a test that failed.
    std::process::exit(if failed { 7 } else { 0 });
}

/// Runs [`victim`] in this thread's network namespace.
fn run_victim(directory: &Path, failpoints: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, directory)
        .env("DHOW_FAILPOINTS", failpoints)
        .output()
        .unwrap()
        .status
}

/// What a recovery does with a container that has lost its shim.
fn recover(directory: &Path) {
    let (db, networks) = open(directory);
    let shown = networks.list(&db).unwrap();
    if shown.iter().any(|one| one.name == "lab") {
        let connected = plan(&db, &networks).unwrap();
        drop(endpoint::undo(&connected.plan).unwrap());
        endpoint::remove_links(&connected.plan).unwrap();
    }
    networks.sweep(&db, &|_| false).unwrap();
    if shown.iter().any(|one| one.name == "lab") {
        networks.remove(&db, "lab", &|_| false).unwrap();
    }
}

/// Everything that there is in this thread's network namespace and in the directory.
fn leftovers(directory: &Path) -> Vec<String> {
    let mut filter = FilterSocket::open().unwrap();
    let mut found = filter.tables(Family::Ip).unwrap();
    found.extend(filter.tables(Family::Ip6).unwrap());
    let links = RouteSocket::open().unwrap().links().unwrap();
    found.extend(links.into_iter().map(|link| link.name).filter(|name| name != "lo"));
    if let Ok(entries) = fs::read_dir(directory.join("networks")) {
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    found
}

#[test]
fn killed_at_any_step_it_can_be_cleaned_up_and_done_again() {
    let thread = std::thread::spawn(|| {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        let mut requests = Requests::new();
        requests.set_loopback_up();
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let directory: PathBuf =
            std::env::temp_dir().join(format!("dhow-failpoints-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        if run_victim(&directory, "endpoint.link=kill").signal() != Some(9) {
            println!("skipped: killed_at_any_step: built without failpoints");
            fs::remove_dir_all(&directory).unwrap();
            return;
        }
        recover(&directory);
        let mine = ["endpoint.", "network."];
        let mut killed = Vec::new();
        for name in failpoint::ALL.iter().filter(|one| mine.iter().any(|m| one.starts_with(m))) {
            for action in ["kill", "error"] {
                let status = run_victim(&directory, &format!("{name}={action}"));
                match (action, status.signal(), status.code()) {
                    ("kill", Some(9), _) => killed.push(*name),
                    ("error", _, Some(7)) | (_, _, Some(0)) => {}
                    _ => panic!("{name}={action}: {status}"),
                }
                recover(&directory);
                assert_eq!(leftovers(&directory), [""; 0], "after {name}={action}");
            }
        }
        let status = run_victim(&directory, "");
        assert!(status.success(), "{status}");
        assert_eq!(leftovers(&directory), [""; 0]);
        // Only a sweep passes these.
        let passed = |one: &&&str| !one.starts_with("network.sw");
        let all = failpoint::ALL.iter().filter(|one| mine.iter().any(|m| one.starts_with(m)));
        assert_eq!(killed, all.filter(passed).copied().collect::<Vec<_>>());
        fs::remove_dir_all(&directory).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
