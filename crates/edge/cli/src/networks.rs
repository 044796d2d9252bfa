//! Commands on networks.

use docker::network::{
    ConfigReference, ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Inspect,
    Ipam, IpamConfig,
};
use docker::{EndpointIpamConfig, EndpointSettings, Map};
use serde_json::{Value, json};

use crate::almost;
use crate::args::{ConnectArgs, ListArgs, NetworkCreateArgs};
use crate::client::{Client, encode};
use crate::config;
use crate::containers;
use crate::error::{Error, Result};
use crate::format::human;
use crate::list::{self, Column};
use crate::request;

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "NETWORK ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "Driver", header: "DRIVER" },
    Column { field: "Scope", header: "SCOPE" },
];
const MORE: &[Column] = &[
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Internal", header: "INTERNAL" },
    Column { field: "IPv4", header: "IPV4" },
    Column { field: "IPv6", header: "IPV6" },
    Column { field: "Labels", header: "LABELS" },
];

/// `--format raw`.
const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

/// Those of the addresses that are set aside that are of this subnet's family. Of one that is outside the
/// engine says so.
fn aux_addresses(all: &[String], subnet: &str) -> Map<String> {
    let pairs = request::key_values(all).into_iter();
    pairs.filter(|(_, address)| address.contains(':') == subnet.contains(':')).collect()
}

/// `network create`: prints the new network's id.
pub(crate) async fn create(client: &Client, args: NetworkCreateArgs) -> Result<i32> {
    let mut config = Vec::new();
    for (at, subnet) in args.subnet.iter().enumerate() {
        config.push(IpamConfig {
            subnet: subnet.clone(),
            ip_range: args.ip_range.get(at).cloned().unwrap_or_default(),
            gateway: args.gateway.get(at).cloned().unwrap_or_default(),
            auxiliary_addresses: aux_addresses(&args.aux_address, subnet),
        });
    }
    if args.subnet.is_empty() && !(args.gateway.is_empty() && args.ip_range.is_empty()) {
        return Err(Error::Usage("--gateway and --ip-range need a --subnet".to_owned()));
    }
    let request = CreateRequest {
        name: args.name,
        driver: args.driver,
        enable_ipv4: args.ipv4,
        enable_ipv6: args.ipv6,
        ipam: Some(Ipam {
            driver: args.ipam_driver,
            options: request::key_values(&args.ipam_opt).into(),
            config: config.into(),
        }),
        scope: args.scope,
        ingress: args.ingress,
        internal: args.internal,
        attachable: args.attachable,
        config_only: args.config_only,
        config_from: Some(args.config_from)
            .filter(|name| !name.is_empty())
            .map(|network| ConfigReference { network }),
        options: request::key_values(&args.opt).into(),
        labels: request::key_values(&args.label).into(),
        ..CreateRequest::default()
    };
    let created: CreateResponse = client.post("/networks/create", &request).await?;
    if !created.warning.is_empty() {
        eprintln!("WARNING: {}", created.warning);
    }
    println!("{}", created.id);
    Ok(0)
}

/// `network ls`.
pub(crate) async fn list(client: &Client, args: &ListArgs) -> Result<i32> {
    let filters = request::filters(&args.filter)?;
    let networks: Vec<Inspect> =
        client.get(&format!("/networks?filters={}", encode(&filters.to_json()))).await?;
    let id = |network: &Inspect| {
        if args.no_trunc { network.id.clone() } else { network.id.chars().take(12).collect() }
    };
    let format = config::format(args.format.as_deref(), &config::get().networks_format);
    if args.quiet {
        let before = list::quiet(format, "network_id: ");
        for network in &networks {
            println!("{before}{}", id(network));
        }
        return Ok(0);
    }
    let rows: Vec<Value> = networks
        .iter()
        .map(|network| {
            let row = json!({
                "ID": id(network),
                "Name": network.name,
                "Driver": network.driver,
                "Scope": network.scope,
                "CreatedAt": human::go_time(&network.created),
                "Internal": network.internal.to_string(),
                "IPv4": network.enable_ipv4.to_string(),
                "IPv6": network.enable_ipv6.to_string(),
            });
            list::with_labels(row, network.labels.iter())
        })
        .collect();
    list::print(list::or_raw(format, RAW), COLUMNS, MORE, &rows)
}

/// `network rm`.
pub(crate) async fn rm(client: &Client, networks: &[String], force: bool) -> Result<i32> {
    containers::each(networks, async |name: &str| {
        match client.delete(&format!("/networks/{}", encode(name))).await {
            Err(err) if force && err.is_not_found() => Err(Error::AsItShouldBe(String::new())),
            removed => almost::told(client, removed).await.map(drop),
        }
    })
    .await
}

/// `network connect`.
pub(crate) async fn connect(client: &Client, args: ConnectArgs) -> Result<i32> {
    let ipam = EndpointIpamConfig {
        ipv4_address: args.ip,
        ipv6_address: args.ip6,
        link_local_ips: args.link_local_ip.into(),
    };
    let endpoint = EndpointSettings {
        aliases: args.alias.into(),
        links: args.link.into(),
        driver_opts: request::key_values(&args.driver_opt).into(),
        gw_priority: args.gw_priority,
        mac_address: args.mac_address,
        ipam_config: (ipam != EndpointIpamConfig::default()).then_some(ipam),
        ..EndpointSettings::default()
    };
    let request = ConnectRequest { container: args.container, endpoint_config: Some(endpoint) };
    client.post_json(&format!("/networks/{}/connect", encode(&args.network)), &request).await?;
    Ok(0)
}

/// `network disconnect`.
pub(crate) async fn disconnect(
    client: &Client,
    network: &str,
    container: String,
    force: bool,
) -> Result<i32> {
    let request = DisconnectRequest { container, force };
    client.post_json(&format!("/networks/{}/disconnect", encode(network)), &request).await?;
    Ok(0)
}
