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
/// Set where the network is to share a link: its parent, or nothing for one of its own.
const PARENT: &str = "DHOW_NETWORK_PARENT";
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
    let mut request = CreateRequest { name: "lab".into(), ..CreateRequest::default() };
    if let Ok(parent) = std::env::var(PARENT) {
        request.driver = "macvlan".into();
        let named = Some(parent).filter(|parent| !parent.is_empty());
        request.options.extend(named.map(|parent| ("parent".into(), parent)));
    }
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
fn run_victim(directory: &Path, parent: Option<&str>, failpoints: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, directory)
        .envs(parent.map(|parent| (PARENT, parent)))
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
    let names = links.into_iter().map(|link| link.name);
    found.extend(names.filter(|name| !["lo", "br0", "port0", "lan0"].contains(&name.as_str())));
    if let Ok(entries) = fs::read_dir(directory.join("networks")) {
        found.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    found
}

/// Kills and fails a network's life at each step. The failpoints at which it was killed; `None` where there are none.
fn walk(directory: &Path, parent: Option<&str>) -> Option<Vec<&'static str>> {
    if run_victim(directory, parent, "endpoint.link=kill").signal() != Some(9) {
        println!("skipped: killed_at_any_step: built without failpoints");
        return None;
    }
    recover(directory);
    let mut killed = Vec::new();
    for name in failpoint::ALL.iter().filter(|one| MINE.iter().any(|m| one.starts_with(m))) {
        for action in ["kill", "error"] {
            let status = run_victim(directory, parent, &format!("{name}={action}"));
            match (action, status.signal(), status.code()) {
                ("kill", Some(9), _) => killed.push(*name),
                ("error", _, Some(7)) | (_, _, Some(0)) => {}
                _ => panic!("{name}={action}: {status}"),
            }
            recover(directory);
            assert_eq!(leftovers(directory), [""; 0], "after {name}={action}");
        }
    }
    let status = run_victim(directory, parent, "");
    assert!(status.success(), "{status}");
    assert_eq!(leftovers(directory), [""; 0]);
    Some(killed)
}

const MINE: [&str; 2] = ["endpoint.", "network."];

/// Runs `test` on a thread in a fresh network namespace, with a directory.
fn on_a_host(name: &'static str, test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        let mut requests = Requests::new();
        requests.set_loopback_up();
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let directory: PathBuf =
            std::env::temp_dir().join(format!("dhow-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        test(&directory);
        fs::remove_dir_all(&directory).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn killed_at_any_step_it_can_be_cleaned_up_and_done_again() {
    on_a_host("failpoints", |directory| {
        let Some(killed) = walk(directory, None) else { return };
        // Only a sweep passes these.
        let passed = |one: &&&str| !one.starts_with("network.sw");
        let all = failpoint::ALL.iter().filter(|one| MINE.iter().any(|m| one.starts_with(m)));
        assert_eq!(killed, all.filter(passed).copied().collect::<Vec<_>>());
    });
}

#[test]
fn so_can_one_that_shares_a_link() {
    on_a_host("failpoints-macvlan", |directory| {
        let mut socket = RouteSocket::open().unwrap();
        if !socket.has_kind("macvlan").unwrap() {
            println!("skipped: Macvlan: the kernel has no macvlan");
            return;
        }
        let mut requests = Requests::new();
        requests.add_bridge("br0", [2, 0x43, 0, 0, 0, 1], 1500);
        socket.execute(&requests).unwrap();
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        let mut requests = Requests::new();
        requests.add_veth(&netlink::Veth {
            name: "port0",
            bridge: socket.link("br0").unwrap().unwrap().index,
            peer_netns: here.as_fd(),
            peer_name: "lan0",
            peer_mac: [2, 0x43, 0, 0, 0, 2],
            mtu: 1500,
        });
        socket.execute(&requests).unwrap();
        let Some(killed) = walk(directory, Some("lan0")) else { return };
        assert!(killed.contains(&"endpoint.linked") && killed.contains(&"endpoint.addressed"));
        assert!(socket.link("lan0").unwrap().is_some());
        // One that was made for it goes, too.
        let mut requests = Requests::new();
        requests.add_dummy("probe0");
        requests.delete_link("probe0");
        if socket.execute(&requests).is_err() {
            println!("skipped: Dummy: the kernel has no dummy");
            return;
        }
        let killed = walk(directory, Some("")).unwrap();
        assert!(killed.contains(&"network.bridge") && killed.contains(&"network.unbridge"));
    });
}
