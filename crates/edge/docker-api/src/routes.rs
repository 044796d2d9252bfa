//! The paths of the API, without their version.

use hyper::Method;

use crate::{
    error::Error,
    handlers::{
        archive, build, check, container, device, dhow, exec, gc, image, network, process,
        registry, search, secret, stream, system, upgrade, volume,
    },
    http::route::Routes,
    server::Handler,
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
    POST "/dhow/volumes/{}/copy" => volume::copy,
    GET "/dhow/volumes/{}/archive" => volume::backup,
    POST "/dhow/volumes/{}/archive" => volume::restore,
};

/// What Docker has and we do not, and how it is called in the answer.
const NOT_BUILT: &[(Method, &str, Missing)] = &[
    (Method::GET, "/containers/{}/checkpoints", Missing::Experimental),
    (Method::POST, "/containers/{}/checkpoints", Missing::Experimental),
    (Method::GET, "/plugins/privileges", Missing::NotYet("plugins")),
    (Method::POST, "/plugins/pull", Missing::NotYet("plugins")),
    (Method::POST, "/plugins/create", Missing::NotYet("plugins")),
    (Method::POST, "/swarm/init", Missing::NotYet("Swarm")),
    (Method::POST, "/swarm/join", Missing::NotYet("Swarm")),
    (Method::POST, "/swarm/leave", Missing::NoSwarm("This node is not part of a swarm")),
    (Method::GET, "/swarm", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/swarm/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/swarm/unlockkey", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/nodes", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/nodes/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::DELETE, "/nodes/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/nodes/{}/update", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/services", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/services/create", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/services/{}/logs", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/services/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/services/{}/update", Missing::NoSwarm(NO_MANAGER)),
    (Method::DELETE, "/services/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/tasks", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/tasks/{}/logs", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/tasks/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/configs", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/configs/create", Missing::NoSwarm(NO_MANAGER)),
    (Method::GET, "/configs/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::DELETE, "/configs/{}", Missing::NoSwarm(NO_MANAGER)),
    (Method::POST, "/configs/{}/update", Missing::NoSwarm(NO_MANAGER)),
];

/// What a `dockerd` says that has not joined a swarm; no engine of ours ever has.
pub(crate) const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \
                          \"docker swarm join\" to connect this node to swarm and try again.";

/// Why a path of Docker's is not answered.
#[derive(Clone, Copy, Debug)]
enum Missing {
    /// There is nothing like it yet; what it is called.
    NotYet(&'static str),
    /// `dockerd` has it only where it is asked for.
    Experimental,
    /// It is for those who have joined a swarm; in Docker's words.
    NoSwarm(&'static str),
}

/// What is said of something that Docker has and we do not.
pub(crate) fn not_built(method: &Method, path: &str) -> Option<Error> {
    let routes: Routes<Missing> = Routes(NOT_BUILT);
    routes.find(method, path).map(|(missing, _)| match missing {
        Missing::NotYet(what) => Error::not_there_yet(what),
        Missing::Experimental => Error::experimental(),
        Missing::NoSwarm(words) => Error::unavailable(words),
    })
}
