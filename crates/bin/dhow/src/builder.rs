//! The builder, behind BuildKit's API.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use build::Builder;
use buildkit_api::{Service, Worker};
use containers::Engine;
use docker_api::{Io, Relay, Session, Upgrade, Upgrades};
use hyper::HeaderMap;

use crate::host::chain;

/// Where records of builds are, in the engine's root.
const HISTORY: &str = "build-history";

/// The builder of an engine, which begins when somebody builds.
pub(crate) struct Building {
    engine: Arc<Engine>,
    service: OnceLock<Result<Service, String>>,
}

impl Building {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, service: OnceLock::new() }
    }

    fn service(&self) -> Result<Service, String> {
        self.service.get_or_init(|| begin(&self.engine)).clone()
    }
}

impl Upgrades for Building {
    fn builder(&self) -> Result<Arc<Builder>, String> {
        Ok(Arc::clone(self.service()?.builder()))
    }

    fn find_session(&self, id: &str) -> Session {
        let (service, id) = (self.service(), id.to_owned());
        Box::pin(async move { service?.find_session(&id).await })
    }

    fn trace(&self, told: Vec<build::Event>) -> Vec<u8> {
        buildkit_api::trace(told)
    }

    fn open(&self, upgrade: Upgrade, headers: &HeaderMap) -> Result<Relay, String> {
        let service = self.service()?;
        Ok(match upgrade {
            Upgrade::Grpc => Box::new(|io| Box::pin(service.grpc(io))),
            Upgrade::Session => {
                let session = service.session::<Box<dyn Io>>(headers)?;
                Box::new(session)
            }
        })
    }
}

fn begin(engine: &Arc<Engine>) -> Result<Service, String> {
    let settings = registry::Settings::of_this_machine(&|name| std::env::var(name).ok());
    let settings = settings.map_err(|error| chain(&error))?;
    let builder = Builder::new(Arc::clone(engine), settings).map_err(|error| chain(&error))?;
    let worker = Worker {
        id: oci::Digest::sha256(engine.root().as_os_str().as_encoded_bytes()).hex()[..25]
            .to_owned(),
        snapshotter: engine.images().snapshots().name().to_owned(),
        host_gateway: host_gateway(engine),
    };
    Ok(Service::new(builder, worker, engine.root().join(HISTORY)))
}

/// The machine's address in the default network, once there is one. Clients put it in place of `host-gateway`.
fn host_gateway(engine: &Engine) -> String {
    let found = engine.networks().inspect(engine.db(), network::DEFAULT);
    let Ok(found) = found else { return String::new() };
    let mut gateways = found.pools().iter().filter_map(|pool| pool.gateway);
    gateways.find(IpAddr::is_ipv4).map(|address| address.to_string()).unwrap_or_default()
}
