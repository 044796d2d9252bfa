//! Networks.

use containers::{Engine, ListOptions};
use docker::{
    Map,
    filters::Filters,
    network::{
        ConfigReference, ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest,
        EndpointResource, Inspect, Ipam, IpamConfig, IpamStatus, PruneResponse, Status,
        SubnetStatus,
    },
    timestamp::Timestamp,
};
use hyper::StatusCode;
use network::{Network, Pool, PoolRequest};

use crate::{
    call::{Call, Reply, created, done, empty, ok},
    error::Error,
    http::query::go_bool,
    until::Until,
    version::Version,
};

const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`
pub(crate) async fn list(call: Call) -> Reply {
    let filters = call.query.filters(FILTERS)?;
    let kind = filters.get("type").find(|kind| !matches!(*kind, "builtin" | "custom"));
    if let Some(kind) = kind {
        return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let dangling = filters.bool("dangling").map_err(|_| {
        Error::invalid(
            "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
        )
    })?;
    let version = call.version;
    let list = call
        .engine(move |engine| {
            let mut list = Vec::new();
            for network in engine.networks().list(engine.db())? {
                let is_dangling = network.is_user_defined()
                    && engine.networks().leases(engine.db(), &network)?.is_empty()
                    && engine.members_without_address(&network)?.is_empty();
                if matches(&network, &filters) && dangling.is_none_or(|want| want == is_dangling) {
                    // Then with those who are in it.
                    let is_whole = version < Version(28);
                    list.push(if is_whole {
                        look(engine, &network.id, version)?
                    } else {
                        view(&network)
                    });
                }
            }
            Ok::<_, Error>(list)
        })
        .await?;
    ok(&list)
}

/// `GET /networks/ID`
pub(crate) async fn inspect(call: Call) -> Reply {
    let id = call.id.clone();
    let version = call.version;
    go_bool(call.query.text("verbose"), "verbose")?;
    if !matches!(call.query.text("scope"), "" | "local") {
        return Err(Error::not_found(format!("network {id} not found")));
    }
    let inspect = call.engine(move |engine| look(engine, &id, version)).await?;
    ok(&inspect)
}

/// `POST /networks/create`
pub(crate) async fn create(mut call: Call) -> Reply {
    let request: CreateRequest = call.json().await?;
    let mut request = wanted(request)?;
    if call.version < Version(48) {
        // Of those days' clients none means it.
        request.ipv4 = None;
    }
    let network = call
        .engine(move |engine| {
            let network = engine.network_create(&request)?;
            let attributes = [("name", network.name.as_str()), ("type", network.driver().name())];
            engine.tell_of("network", "create", &network.id, &attributes);
            Ok::<_, Error>(network)
        })
        .await?;
    created(&CreateResponse { id: network.id, warning: String::new() })
}

/// `DELETE /networks/ID`
pub(crate) async fn remove(call: Call) -> Reply {
    let id = call.id.clone();
    call.engine(move |engine| engine.network_remove(&id)).await?;
    done()
}

/// `POST /networks/prune`
pub(crate) async fn prune(call: Call) -> Reply {
    let filters = call.query.filters(&["label", "label!", "until"])?;
    let until = Until::of(&filters)?;
    let removed = call
        .engine(move |engine| {
            let removed = engine.network_prune(&|network| {
                filters.labels("label", network.labels())
                    && filters.not_labels(network.labels())
                    && until.covers(network.created)
            })?;
            for network in &removed {
                let attributes =
                    [("name", network.name.as_str()), ("type", network.driver().name())];
                engine.tell_of("network", "destroy", &network.id, &attributes);
            }
            engine.tell_of("network", "prune", "", &[("reclaimed", "0")]);
            Ok::<_, Error>(removed)
        })
        .await?;
    let names: Vec<String> = removed.into_iter().map(|network| network.name).collect();
    let networks_deleted = if names.is_empty() { docker::List::NIL } else { names.into() };
    ok(&PruneResponse { networks_deleted })
}

/// `POST /networks/ID/connect`
pub(crate) async fn connect(mut call: Call) -> Reply {
    let request: ConnectRequest = call.json().await?;
    let network = call.id.clone();
    call.engine(move |engine| {
        let settings = request.endpoint_config.unwrap_or_default();
        engine.network_connect(&network, &request.container, &settings)
    })
    .await?;
    empty(StatusCode::OK)
}

/// `POST /networks/ID/disconnect`
pub(crate) async fn disconnect(mut call: Call) -> Reply {
    let request: DisconnectRequest = call.json().await?;
    let network = call.id.clone();
    call.engine(move |engine| {
        engine.network_disconnect(&network, &request.container, request.force)
    })
    .await?;
    empty(StatusCode::OK)
}

/// What a request asks for, in the service's words.
fn wanted(request: CreateRequest) -> Result<network::CreateRequest, Error> {
    if request.name.trim().is_empty() {
        return Err(Error::invalid("invalid name: name is empty"));
    }
    if request.ingress {
        return Err(Error::forbidden("Ingress network can only be global scope network"));
    }
    if request.scope == "swarm" {
        let why = "cannot create a swarm scoped network when swarm is not active";
        return Err(Error::forbidden(why));
    }
    let ipam = request.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Error::not_found(format!("plugin {:?} not found", ipam.driver)));
    }
    let ipam_options = (!ipam.options.is_nil()).then(|| ipam.options.into_map());
    let pools = ipam.config.into_iter().map(|config| network::PoolRequest {
        subnet: config.subnet,
        range: config.ip_range,
        gateway: config.gateway,
        reserved: config.auxiliary_addresses.into_map(),
    });
    Ok(network::CreateRequest {
        name: request.name,
        driver: request.driver,
        pools: pools.collect(),
        ipam_options,
        ipv4: request.enable_ipv4,
        ipv6: request.enable_ipv6,
        internal: request.internal,
        attachable: request.attachable,
        options: request.options.into_map(),
        labels: request.labels.into_map(),
        config_only: request.config_only,
        config_from: request.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
    })
}

fn matches(network: &Network, filters: &Filters) -> bool {
    filters.matches("name", &network.name)
        && filters.matches("id", &network.id)
        && filters.exact("driver", network.driver().name())
        && filters.exact("scope", "local")
        && filters.exact("type", if network.is_user_defined() { "custom" } else { "builtin" })
        && filters.labels("label", network.labels())
}

/// A network without those who are in it.
fn view(network: &Network) -> Inspect {
    let pools = network.idle_pools().iter().chain(network.pools()).map(view_pool);
    let mut config: Vec<IpamConfig> =
        pools.chain(network.configured_pools().iter().map(view_configured)).collect();
    // IPv4 comes first, in whatever order they were asked for.
    config.sort_by_key(|one| one.subnet.contains(':'));
    let plain = !network.driver().has_links() && !network.is_configuration();
    Inspect {
        name: network.name.clone(),
        id: network.id.clone(),
        created: Timestamp::from_nanos(network.created).to_string(),
        scope: "local".to_owned(),
        driver: network.driver().name().to_owned(),
        enable_ipv4: network.has_ipv4(),
        enable_ipv6: network.has_ipv6(),
        ipam: Ipam {
            driver: "default".to_owned(),
            options: network.ipam_options().cloned().map_or(Map::NIL, Into::into),
            config: if plain || config.is_empty() { docker::List::NIL } else { config.into() },
        },
        internal: network.is_internal(),
        attachable: network.is_attachable(),
        config_from: ConfigReference {
            network: network.configured_by().unwrap_or_default().to_owned(),
        },
        config_only: network.is_configuration(),
        containers: Map::empty(),
        options: network.options().clone().into(),
        labels: network.labels().clone().into(),
        ..Inspect::default()
    }
}

fn view_configured(pool: &PoolRequest) -> IpamConfig {
    IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.range.clone(),
        gateway: pool.gateway.clone(),
        auxiliary_addresses: pool.reserved.clone().into(),
    }
}

fn view_pool(pool: &Pool) -> IpamConfig {
    let reserved = pool.reserved.iter().map(|(name, ip)| (name.clone(), ip.to_string()));
    IpamConfig {
        subnet: pool.subnet.to_string(),
        ip_range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: reserved.collect(),
    }
}

/// A network with those who are in it.
fn look(engine: &Engine, id: &str, version: Version) -> Result<Inspect, Error> {
    let network = engine.networks().inspect(engine.db(), id)?;
    let leases = engine.networks().leases(engine.db(), &network)?;
    let mut inspect = view(&network);
    for container in engine.list(&ListOptions::default())? {
        let endpoints = container.network_settings.iter().flat_map(|all| &all.networks);
        for (_, endpoint) in endpoints.filter(|(_, endpoint)| {
            endpoint.network_id == network.id && !endpoint.endpoint_id.is_empty()
        }) {
            let cidr = |address: &str, bits: i64| match address {
                "" => String::new(),
                address => format!("{address}/{bits}"),
            };
            let resource = EndpointResource {
                name: container.names.first().map_or("", |name| &name[1..]).to_owned(),
                endpoint_id: endpoint.endpoint_id.clone(),
                mac_address: endpoint.mac_address.clone(),
                ipv4_address: cidr(&endpoint.ip_address, endpoint.ip_prefix_len),
                ipv6_address: cidr(&endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len),
            };
            inspect.containers.insert(container.id.clone(), resource);
        }
    }
    if version.0 >= 52 {
        let subnets = network.pools().iter().map(|pool| {
            // The network's own address, the gateway's, and for IPv4 the broadcast address.
            let own = if pool.subnet.is_ipv4() { 2 } else { 1 };
            let own = own + u64::from(pool.gateway.is_some());
            let leased = leases.iter().filter(|lease| pool.subnet.contains(lease.address)).count();
            let used = leased as u64 + own;
            let all = u64::try_from(pool.subnet.size()).unwrap_or(u64::MAX);
            let status =
                SubnetStatus { ips_in_use: used, dynamic_ips_available: all.saturating_sub(used) };
            (pool.subnet.to_string(), status)
        });
        inspect.status = Some(Status { ipam: IpamStatus { subnets: subnets.collect() } });
    }
    Ok(inspect)
}
