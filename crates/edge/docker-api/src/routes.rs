//! The paths of the API, without their version.

use hyper::Method;

use crate::{
    handlers::{
        archive, check, container, device, dhow, exec, gc, image, network, process, registry,
        search, stream, system, volume,
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
    DELETE "/volumes/{}" => volume::remove,

    POST "/dhow/rootfs" => dhow::rootfs,
    GET "/dhow/cdi" => device::list,
    POST "/dhow/check" => check::check,
    POST "/dhow/images/gc" => gc::collect,
    GET "/dhow/images/gc" => gc::log,
    GET "/dhow/images/{}/explain" => dhow::explain,
    POST "/dhow/images/{}/convert" => dhow::convert,
    GET "/dhow/layers" => dhow::layers,
};

/// What Docker has and we do not, and how it is called in the answer.
const NOT_BUILT: &[(Method, &str, &str)] = &[
    (Method::GET, "/containers/{}/attach/ws", "attaching over a WebSocket"),
    (Method::POST, "/build", "building images (build)"),
    (Method::POST, "/build/prune", "building images (build prune)"),
    (Method::POST, "/build/cancel", "building images (build cancel)"),
    (Method::POST, "/session", "building images (BuildKit's session)"),
    (Method::POST, "/grpc", "building images (BuildKit's API)"),
    (Method::PUT, "/volumes/{}", "updating volumes (cluster volumes)"),
    (Method::GET, "/plugins/privileges", "plugins"),
    (Method::POST, "/plugins/pull", "plugins"),
    (Method::POST, "/plugins/create", "plugins"),
    (Method::POST, "/plugins/{}/enable", "plugins"),
    (Method::POST, "/plugins/{}/disable", "plugins"),
    (Method::POST, "/plugins/{}/upgrade", "plugins"),
    (Method::POST, "/plugins/{}/push", "plugins"),
    (Method::POST, "/plugins/{}/set", "plugins"),
    (Method::DELETE, "/plugins/{}", "plugins"),
    (Method::GET, "/swarm", "Swarm"),
    (Method::POST, "/swarm/{}", "Swarm"),
    (Method::GET, "/swarm/unlockkey", "Swarm"),
    (Method::GET, "/nodes", "Swarm (nodes)"),
    (Method::GET, "/nodes/{}", "Swarm (nodes)"),
    (Method::DELETE, "/nodes/{}", "Swarm (nodes)"),
    (Method::POST, "/nodes/{}/update", "Swarm (nodes)"),
    (Method::GET, "/services", "Swarm (services)"),
    (Method::POST, "/services/create", "Swarm (services)"),
    (Method::GET, "/services/{}/logs", "Swarm (services)"),
    (Method::GET, "/services/{}", "Swarm (services)"),
    (Method::POST, "/services/{}/update", "Swarm (services)"),
    (Method::DELETE, "/services/{}", "Swarm (services)"),
    (Method::GET, "/tasks", "Swarm (tasks)"),
    (Method::GET, "/tasks/{}/logs", "Swarm (tasks)"),
    (Method::GET, "/tasks/{}", "Swarm (tasks)"),
    (Method::GET, "/secrets", "Swarm (secrets)"),
    (Method::POST, "/secrets/create", "Swarm (secrets)"),
    (Method::GET, "/secrets/{}", "Swarm (secrets)"),
    (Method::DELETE, "/secrets/{}", "Swarm (secrets)"),
    (Method::POST, "/secrets/{}/update", "Swarm (secrets)"),
    (Method::GET, "/configs", "Swarm (configs)"),
    (Method::POST, "/configs/create", "Swarm (configs)"),
    (Method::GET, "/configs/{}", "Swarm (configs)"),
    (Method::DELETE, "/configs/{}", "Swarm (configs)"),
    (Method::POST, "/configs/{}/update", "Swarm (configs)"),
];

/// How something that Docker has and we do not is called.
pub(crate) fn not_built(method: &Method, path: &str) -> Option<&'static str> {
    let routes: Routes<&str> = Routes(NOT_BUILT);
    routes.find(method, path).map(|(what, _)| what)
}
