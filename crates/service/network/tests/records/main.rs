//! What is recorded and computed: networks, addresses, ports, plans. In a network namespace of its
//! own, so that the machine's own addresses do not matter.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in what its tests share")]

mod connect;
mod create;
mod parents;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use endpoint::Protocol;
use metadata::{Container, Db};
use netlink::{Requests, RouteSocket};
use network::{
    Attachment, Connected, CreateRequest, Error, Leased, Member, Networks, PoolRequest, PortRequest,
};

struct Engine {
    db: Db,
    networks: Networks,
    /// Where what may vanish at a reboot is kept.
    state: PathBuf,
}

/// A folder that goes when the test ends, however it does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn with_an_engine(name: &'static str, test: impl FnOnce(&Engine) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        sys::unshare(sys::CloneFlags::NEWNET).unwrap();
        let mut requests = Requests::new();
        requests.set_loopback_up();
        RouteSocket::open().unwrap().execute(&requests).unwrap();
        let directory: PathBuf =
            std::env::temp_dir().join(format!("dhow-records-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let directory = Scratch(directory);
        let db = Db::open(&directory.0.join("dhow.db")).unwrap();
        let networks = Networks::new("dhow", &directory.0);
        networks.ensure_predefined(&db).unwrap();
        test(&Engine { db, networks, state: directory.0.clone() });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Engine {
    fn create(&self, request: &CreateRequest) -> Result<network::Network, Error> {
        self.networks.create(&self.db, request)
    }

    fn container(&self, id: &str) {
        let record = Container {
            id: id.into(),
            name: format!("name-of-{id}"),
            image: None,
            snapshot: None,
            auto_remove: false,
            created: 0,
            config: "{}".into(),
        };
        self.db.write(|tx| tx.insert_container(&record)).unwrap();
    }

    fn lease(&self, id: &str, attachments: &[Attachment]) -> Result<Vec<Leased>, Error> {
        self.db.write(|tx| self.networks.lease(tx, id, attachments))
    }

    /// The addresses of a container that joins one network.
    fn address(&self, id: &str, network: &str) -> String {
        let leased = self.lease(id, &[attachment(network)]).unwrap();
        leased[0].addresses[0].0.to_string()
    }

    fn connect(
        &self,
        id: &str,
        attachments: &[Attachment],
        ports: &[PortRequest],
        running: &dyn Fn(&str) -> bool,
    ) -> Result<Connected, Error> {
        let member = Member { id, name: "Web", hostname: "www" };
        let upstream = ["9.9.9.9:53".parse().unwrap()];
        self.networks.connect(&self.db, &member, attachments, ports, &upstream, running)
    }
}

fn named(name: &str) -> CreateRequest {
    CreateRequest { name: name.into(), ..CreateRequest::default() }
}

fn pool(subnet: &str, range: &str, gateway: &str) -> PoolRequest {
    PoolRequest {
        subnet: subnet.into(),
        range: range.into(),
        gateway: gateway.into(),
        reserved: BTreeMap::new(),
    }
}

fn attachment(network: &str) -> Attachment {
    Attachment { network: network.into(), ..Attachment::default() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

fn port(host: Option<(u16, u16)>, container: u16) -> PortRequest {
    PortRequest {
        container,
        protocol: Protocol::Tcp,
        host_address: Some(ip("0.0.0.0")),
        host_ports: host.map(|(first, last)| first..=last),
    }
}
