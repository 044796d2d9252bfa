//! Requests about all else.

use super::containers::ENDPOINT_SETTINGS;
use super::{BOOL, TEXT, TEXT_MAP, Type};

pub(super) static AUTH: Type = Type::Struct(
    "registry.AuthConfig",
    &[
        ("auth", &TEXT),
        ("email", &TEXT),
        ("identitytoken", &TEXT),
        ("password", &TEXT),
        ("registrytoken", &TEXT),
        ("serveraddress", &TEXT),
        ("username", &TEXT),
    ],
);

pub(super) static NETWORK: Type = Type::Struct(
    "network.CreateRequest",
    &[
        ("Attachable", &BOOL),
        ("CheckDuplicate", &BOOL),
        ("ConfigFrom", &CONFIG_REFERENCE),
        ("ConfigOnly", &BOOL),
        ("Driver", &TEXT),
        ("EnableIPv4", &BOOL),
        ("EnableIPv6", &BOOL),
        ("IPAM", &IPAM),
        ("Ingress", &BOOL),
        ("Internal", &BOOL),
        ("Labels", &TEXT_MAP),
        ("Name", &TEXT),
        ("Options", &TEXT_MAP),
        ("Scope", &TEXT),
    ],
);

static CONFIG_REFERENCE: Type = Type::Struct("network.ConfigReference", &[("Network", &TEXT)]);

static IPAM: Type = Type::Struct(
    "network.IPAM",
    &[
        ("Config", &Type::List("[]network.IPAMConfig", &IPAM_CONFIG)),
        ("Driver", &TEXT),
        ("Options", &TEXT_MAP),
    ],
);

static IPAM_CONFIG: Type = Type::Struct(
    "network.IPAMConfig",
    &[("AuxiliaryAddresses", &TEXT_MAP), ("Gateway", &TEXT), ("IPRange", &TEXT), ("Subnet", &TEXT)],
);

pub(super) static CONNECT: Type = Type::Struct(
    "network.ConnectOptions",
    &[("Container", &TEXT), ("EndpointConfig", &ENDPOINT_SETTINGS)],
);

pub(super) static DISCONNECT: Type =
    Type::Struct("network.DisconnectOptions", &[("Container", &TEXT), ("Force", &BOOL)]);

pub(super) static VOLUME: Type = Type::Struct(
    "volume.CreateOptions",
    &[
        ("ClusterVolumeSpec", &CLUSTER_VOLUME),
        ("Driver", &TEXT),
        ("DriverOpts", &TEXT_MAP),
        ("Labels", &TEXT_MAP),
        ("Name", &TEXT),
    ],
);

static CLUSTER_VOLUME: Type = Type::Struct(
    "volume.ClusterVolumeSpec",
    &[
        ("AccessMode", &ACCESS_MODE),
        ("Availability", &Type::Text("volume.Availability")),
        ("Group", &TEXT),
        ("Secrets", &Type::List("[]volume.Secret", &VOLUME_SECRET)),
    ],
);

static ACCESS_MODE: Type =
    Type::Struct("volume.AccessMode", &[("Scope", &Type::Text("volume.Scope"))]);

static VOLUME_SECRET: Type = Type::Struct("volume.Secret", &[]);

pub(super) static SECRET: Type = Type::Struct(
    "swarm.SecretSpec",
    &[
        ("Data", &Type::Text("[]uint8")),
        ("Driver", &DRIVER),
        ("Labels", &TEXT_MAP),
        ("Name", &TEXT),
        ("Templating", &DRIVER),
    ],
);

static DRIVER: Type = Type::Struct("swarm.Driver", &[("Name", &TEXT), ("Options", &TEXT_MAP)]);
