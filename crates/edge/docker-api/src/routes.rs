//! The paths of the API, without their version.

use hyper::Method;

use crate::{
    call::Call,
    error::Error,
    handlers::{
        archive, build, check, container, device, dhow, exec, gc, image, network, process,
        registry, search, secret, stream, system, upgrade, volume,
    },
    http::route::Routes,
    server::Handler,
    swarm::{self, Look},
};

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path,)*) => {
        Routes(&[$((Method::$method, $path, |call| Box::pin($handler(call))),)*])
    };
}

/// What is answered.
pub(crate) static ROUTES: Routes<Handler> = routes! {
    GET "/_ping" => system::ping,
    HEAD "/_ping" => system::ping,
    GET "/version" => system::version,
    GET "/info" => system::info,
    GET "/events" => system::events,
    GET "/system/df" => system::disk_usage,
    POST "/auth" => registry::auth,
    POST "/commit" => image::commit,
    GET "/plugins" => system::plugins,
    GET "/plugins/{}/json" => system::plugin,

    GET "/containers/json" => container::list,
    POST "/containers/create" => container::create,
    POST "/containers/prune" => container::prune,
    GET "/containers/{}/json" => container::inspect,
    GET "/containers/{}/top" => process::top,
    GET "/containers/{}/logs" => stream::logs,
    GET "/containers/{}/changes" => archive::changes,
    GET "/containers/{}/export" => archive::export,
    GET "/containers/{}/stats" => process::stats,
    GET "/containers/{}/archive" => archive::get,
    HEAD "/containers/{}/archive" => archive::head,
    PUT "/containers/{}/archive" => archive::put,
    POST "/containers/{}/start" => container::start,
    POST "/containers/{}/stop" => container::stop,
    POST "/containers/{}/restart" => container::restart,
    POST "/containers/{}/kill" => container::kill,
    POST "/containers/{}/pause" => container::pause,
    POST "/containers/{}/unpause" => container::unpause,
    POST "/containers/{}/wait" => process::wait,
    POST "/containers/{}/rename" => container::rename,
    POST "/containers/{}/update" => container::update,
    POST "/containers/{}/resize" => process::resize,
    POST "/containers/{}/attach" => stream::attach,
    GET "/containers/{}/attach/ws" => stream::attach_over_websocket,
    POST "/containers/{}/exec" => exec::create,
    DELETE "/containers/{}" => container::remove,

    POST "/exec/{}/start" => exec::start,
    POST "/exec/{}/resize" => exec::resize,
    GET "/exec/{}/json" => exec::inspect,

    GET "/images/json" => image::list,
    POST "/images/create" => image::create,
    POST "/images/prune" => image::prune,
    POST "/images/load" => image::load,
    GET "/images/get" => image::save_many,
    GET "/images/search" => search::search,
    GET "/images/{}/get" => image::save,
    GET "/images/{}/json" => image::inspect,
    GET "/images/{}/history" => image::history,
    GET "/images/{}/attestations" => image::attestations,
    POST "/images/{}/tag" => image::tag,
    POST "/images/{}/push" => registry::push,
    GET "/distribution/{}/json" => registry::distribution,
    DELETE "/images/{}" => image::remove,

    GET "/networks" => network::list,
    GET "/networks/" => network::list,
    POST "/networks/create" => network::create,
    POST "/networks/prune" => network::prune,
    POST "/networks/{}/connect" => network::connect,
    POST "/networks/{}/disconnect" => network::disconnect,
    GET "/networks/{}" => network::inspect,
    DELETE "/networks/{}" => network::remove,

    GET "/volumes" => volume::list,
    POST "/volumes/create" => volume::create,
    POST "/volumes/prune" => volume::prune,
    GET "/volumes/{}" => volume::inspect,
    PUT "/volumes/{}" => volume::update,
    DELETE "/volumes/{}" => volume::remove,

    POST "/grpc" => upgrade::grpc,
    POST "/session" => upgrade::session,
    GET "/secrets" => secret::list,
    POST "/secrets/create" => secret::create,
    POST "/secrets/{}/update" => secret::update,
    GET "/secrets/{}" => secret::inspect,
    DELETE "/secrets/{}" => secret::remove,

    POST "/build" => build::build,
    POST "/build/cancel" => build::cancel,
    POST "/build/prune" => build::prune,
    POST "/plugins/{}/enable" => system::plugin,
    POST "/plugins/{}/disable" => system::plugin,
    POST "/plugins/{}/upgrade" => system::plugin,
    POST "/plugins/{}/push" => system::plugin,
    POST "/plugins/{}/set" => system::plugin,
    DELETE "/plugins/{}" => system::plugin,

    POST "/dhow/rootfs" => dhow::rootfs,
    GET "/dhow/cdi" => device::list,
    POST "/dhow/check" => check::check,
    POST "/dhow/images/gc" => gc::collect,
    GET "/dhow/images/gc" => gc::log,
    POST "/dhow/containers/gc" => gc::collect_containers,
    GET "/dhow/containers/gc" => gc::containers_log,
    GET "/dhow/images/{}/explain" => dhow::explain,
    GET "/dhow/containers/{}/explain" => dhow::explain_container,
    POST "/dhow/images/{}/convert" => dhow::convert,
    GET "/dhow/cache-mounts" => build::mounts::list,
    DELETE "/dhow/cache-mounts" => build::mounts::remove,
    GET "/dhow/cache-mounts/archive" => build::mounts::export,
    POST "/dhow/cache-mounts/archive" => build::mounts::import,
    GET "/dhow/layers" => dhow::layers,
    POST "/dhow/volumes/{}/rename" => volume::rename,
    POST "/dhow/volumes/{}/labels" => volume::label,
    POST "/dhow/volumes/{}/copy" => volume::copy,
    GET "/dhow/volumes/{}/archive" => volume::backup,
    POST "/dhow/volumes/{}/archive" => volume::restore,
};

/// What Docker has and we do not.
static NOT_BUILT: &[(Method, &str, Missing)] = &[
    (Method::GET, "/containers/{}/checkpoints", Missing::Experimental),
    (Method::POST, "/containers/{}/checkpoints", Missing::Experimental),
    (Method::GET, "/plugins/privileges", Missing::NotYet("plugins", Look::Away)),
    (Method::POST, "/plugins/pull", Missing::NotYet("plugins", Look::Away)),
    (Method::POST, "/plugins/create", Missing::NotYet("plugins", Look::Away)),
    (Method::POST, "/swarm/init", Missing::NotYet("Swarm", Look::Body(&swarm::INIT))),
    (Method::POST, "/swarm/join", Missing::NotYet("Swarm", Look::Body(&swarm::JOIN))),
    (Method::POST, "/swarm/leave", Missing::NoMember),
    (Method::GET, "/swarm", Missing::NoManager(Look::Away)),
    (Method::POST, "/swarm/update", Missing::NoManager(Look::Swarm)),
    (Method::POST, "/swarm/unlock", Missing::NoManager(Look::Body(&swarm::UNLOCK))),
    (Method::GET, "/swarm/unlockkey", Missing::NoManager(Look::Away)),
    (Method::GET, "/nodes", Missing::NoManager(Look::Filters)),
    (Method::GET, "/nodes/{}", Missing::NoManager(Look::Away)),
    (Method::DELETE, "/nodes/{}", Missing::NoManager(Look::Away)),
    (Method::POST, "/nodes/{}/update", Missing::NoManager(Look::Change(&swarm::NODE, "node"))),
    (Method::GET, "/services", Missing::NoManager(Look::Services)),
    (Method::POST, "/services/create", Missing::NoManager(Look::Body(&swarm::SERVICE))),
    (Method::GET, "/services/{}/logs", Missing::NoManager(Look::Streams)),
    (Method::GET, "/services/{}", Missing::NoManager(Look::Defaults)),
    (
        Method::POST,
        "/services/{}/update",
        Missing::NoManager(Look::Change(&swarm::SERVICE, "service")),
    ),
    (Method::DELETE, "/services/{}", Missing::NoManager(Look::Away)),
    (Method::GET, "/tasks", Missing::NoManager(Look::Filters)),
    (Method::GET, "/tasks/{}/logs", Missing::NoManager(Look::Streams)),
    (Method::GET, "/tasks/{}", Missing::NoManager(Look::Away)),
    (Method::GET, "/configs", Missing::NoManager(Look::Filters)),
    (Method::POST, "/configs/create", Missing::NoManager(Look::Body(&swarm::CONFIG))),
    (Method::GET, "/configs/{}", Missing::NoManager(Look::Away)),
    (Method::DELETE, "/configs/{}", Missing::NoManager(Look::Away)),
    (
        Method::POST,
        "/configs/{}/update",
        Missing::NoManager(Look::Change(&swarm::CONFIG, "config")),
    ),
];

/// Why a path of Docker's is not answered, and what is looked at before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    /// There is nothing like it yet; what it is called.
    NotYet(&'static str, Look),
    /// `dockerd` has it only where it is asked for.
    Experimental,
    /// It is for those who have joined a swarm.
    NoManager(Look),
    /// The same, in other words.
    NoMember,
}

impl Missing {
    /// What is said; or what is wrong with the request itself.
    pub(crate) async fn why(self, call: &mut Call) -> Error {
        let (look, why) = match self {
            Self::NotYet(what, look) => (look, Error::not_there_yet(what)),
            Self::Experimental => (Look::Away, Error::experimental()),
            Self::NoManager(look) => (look, Error::unavailable(swarm::NO_MANAGER)),
            Self::NoMember => (Look::Away, Error::unavailable(swarm::NO_MEMBER)),
        };
        swarm::look(call, look).await.err().unwrap_or(why)
    }
}

/// Whether this is something that Docker has and we do not.
pub(crate) fn not_built(method: &Method, path: &str) -> Option<Missing> {
    let routes: Routes<Missing> = Routes(NOT_BUILT);
    routes.find(method, path).map(|(missing, _)| missing)
}
