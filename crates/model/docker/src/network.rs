//! Networks.

use crate::wire::{List, Map, Words, is_zero};

wire! {
    /// `POST /networks/create`.
    pub struct CreateRequest {
        /// Name.
        pub name: String,
        /// Ignored since v1.44: names are unique.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub check_duplicate: Option<bool>,
        /// `bridge`, `host`, `null`, `macvlan`, `ipvlan`, `overlay`; empty: `bridge`.
        pub driver: String,
        /// `local` or `swarm`.
        pub scope: String,
        /// Absent: yes.
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        /// Absent: no.
        #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool>,
        /// Addresses.
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        /// Whether there is no way out.
        pub internal: bool,
        /// Swarm only.
        pub attachable: bool,
        /// Swarm only.
        pub ingress: bool,
        /// Whether it is a template only.
        pub config_only: bool,
        /// The template.
        pub config_from: Option<ConfigReference>,
        /// The driver's options.
        pub options: Map<String>,
        /// Labels.
        pub labels: Map<String>,
    }

    /// A network was made.
    pub struct CreateResponse {
        /// Its id.
        pub id: String,
        /// What was not taken as asked.
        pub warning: String,
    }

    /// `GET /networks` (without containers) and `GET /networks/ID`.
    pub struct Inspect {
        /// Name.
        pub name: String,
        /// 64 hex digits.
        pub id: String,
        /// RFC 3339.
        pub created: String,
        /// `local` or `swarm`.
        pub scope: String,
        /// The driver.
        pub driver: String,
        /// Whether it has IPv4.
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        /// Whether it has IPv6.
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        /// Addresses.
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        /// Whether there is no way out.
        pub internal: bool,
        /// Swarm only.
        pub attachable: bool,
        /// Swarm only.
        pub ingress: bool,
        /// The template.
        pub config_from: ConfigReference,
        /// Whether it is a template only.
        pub config_only: bool,
        /// Who is in it, by container id.
        pub containers: Map<EndpointResource>,
        /// The driver's options.
        pub options: Map<String>,
        /// Labels.
        pub labels: Map<String>,
        /// How many addresses are in use (v1.52, inspect only).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<Status>,
    }

    /// Another network by name.
    pub struct ConfigReference {
        /// Its name.
        pub network: String,
    }

    /// Addresses of a network.
    pub struct Ipam {
        /// `default`.
        pub driver: String,
        /// The driver's options.
        pub options: Map<String>,
        /// The subnets.
        pub config: List<IpamConfig>,
    }

    /// One subnet.
    pub struct IpamConfig {
        /// `ADDRESS/BITS`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subnet: String,
        /// The part that addresses are taken from.
        #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
        pub ip_range: String,
        /// The host's own address in it.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub gateway: String,
        /// Addresses not to give out, by name.
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Map::is_empty")]
        pub auxiliary_addresses: Map<String>,
    }

    /// How a network is used.
    pub struct Status {
        /// Its addresses.
        #[serde(rename = "IPAM")]
        pub ipam: IpamStatus,
    }

    /// Addresses in use.
    pub struct IpamStatus {
        /// By subnet.
        pub subnets: Map<SubnetStatus>,
    }

    /// Addresses of one subnet in use.
    pub struct SubnetStatus {
        /// In use or reserved.
        #[serde(rename = "IPsInUse")]
        pub ips_in_use: u64,
        /// Still to give out.
        #[serde(rename = "DynamicIPsAvailable")]
        pub dynamic_ips_available: u64,
    }

    /// A container in a network.
    pub struct EndpointResource {
        /// The container's name.
        pub name: String,
        /// 64 hex digits.
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        /// Hardware address.
        pub mac_address: String,
        /// `ADDRESS/BITS`.
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        /// `ADDRESS/BITS`.
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// One network of a container: what is asked for, and what it got.
    pub struct EndpointSettings {
        /// Addresses that are asked for.
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        /// `CONTAINER:ALIAS`.
        pub links: Words,
        /// Further names.
        pub aliases: Words,
        /// The driver's options.
        pub driver_opts: Map<String>,
        /// The network with the highest has the default route.
        pub gw_priority: i64,
        /// Id of the network.
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        /// 64 hex digits; empty while it does not run.
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        /// The default route.
        pub gateway: String,
        /// Address.
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        /// Hardware address: asked for, or got.
        pub mac_address: String,
        /// Bits of the subnet.
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        /// The IPv6 default route.
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        /// IPv6 address.
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        /// Bits of the IPv6 subnet.
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        /// Names it answers to.
        #[serde(rename = "DNSNames")]
        pub dns_names: Words,
    }

    /// Addresses that a container asks for.
    pub struct EndpointIpamConfig {
        /// IPv4.
        #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
        pub ipv4_address: String,
        /// IPv6.
        #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
        pub ipv6_address: String,
        /// Link-local ones.
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_zero")]
        pub link_local_ips: Words,
    }

    /// `POST /networks/ID/connect`.
    pub struct ConnectRequest {
        /// Name or id.
        pub container: String,
        /// What is asked for.
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// `POST /networks/ID/disconnect`.
    pub struct DisconnectRequest {
        /// Name or id.
        pub container: String,
        /// Whether to go on when the container is gone.
        pub force: bool,
    }

    /// `POST /networks/prune`.
    pub struct PruneResponse {
        /// Names of what was removed.
        pub networks_deleted: Words,
    }
}
