//! Requests about containers.

use super::{BOOL, INT, INT64, TEXT, TEXT_MAP, TEXTS, Type, UINT, UINT16, UINT64, WORDS, Width};

/// Nanoseconds.
static DURATION: Type = Type::Int("time.Duration", Width::I64);

pub(super) static CREATE: Type = Type::Struct(
    "container.CreateRequest",
    &[
        ("ArgsEscaped", &BOOL),
        ("AttachStderr", &BOOL),
        ("AttachStdin", &BOOL),
        ("AttachStdout", &BOOL),
        ("Cmd", &WORDS),
        ("Domainname", &TEXT),
        ("Entrypoint", &WORDS),
        ("Env", &TEXTS),
        ("ExposedPorts", &Type::Map("nat.PortSet", &EMPTY)),
        ("Healthcheck", &HEALTH_CHECK),
        ("HostConfig", &HOST_CONFIG),
        ("Hostname", &TEXT),
        ("Image", &TEXT),
        ("Labels", &TEXT_MAP),
        ("MacAddress", &TEXT),
        ("NetworkDisabled", &BOOL),
        ("NetworkingConfig", &NETWORKING_CONFIG),
        ("OnBuild", &TEXTS),
        ("OpenStdin", &BOOL),
        ("Shell", &WORDS),
        ("StdinOnce", &BOOL),
        ("StopSignal", &TEXT),
        ("StopTimeout", &INT),
        ("Tty", &BOOL),
        ("User", &TEXT),
        ("Volumes", &Type::Map("map[string]struct {}", &EMPTY)),
        ("WorkingDir", &TEXT),
    ],
);

static EMPTY: Type = Type::Struct("struct {}", &[]);

static HEALTH_CHECK: Type = Type::Struct(
    "v1.HealthcheckConfig",
    &[
        ("Interval", &DURATION),
        ("Retries", &INT),
        ("StartInterval", &DURATION),
        ("StartPeriod", &DURATION),
        ("Test", &TEXTS),
        ("Timeout", &DURATION),
    ],
);

static HOST_CONFIG: Type = Type::Struct(
    "container.HostConfig",
    &[
        ("", &RESOURCES),
        ("Annotations", &TEXT_MAP),
        ("AutoRemove", &BOOL),
        ("Binds", &TEXTS),
        ("CapAdd", &WORDS),
        ("CapDrop", &WORDS),
        ("Cgroup", &Type::Text("container.CgroupSpec")),
        ("CgroupnsMode", &Type::Text("container.CgroupnsMode")),
        ("ConsoleSize", &Type::List("[2]uint", &UINT)),
        ("ContainerIDFile", &TEXT),
        ("Dns", &TEXTS),
        ("DnsOptions", &TEXTS),
        ("DnsSearch", &TEXTS),
        ("ExtraHosts", &TEXTS),
        ("GroupAdd", &TEXTS),
        ("Init", &BOOL),
        ("IpcMode", &Type::Text("container.IpcMode")),
        ("Isolation", &Type::Text("container.Isolation")),
        ("Links", &TEXTS),
        ("LogConfig", &LOG_CONFIG),
        ("MaskedPaths", &TEXTS),
        ("Mounts", &Type::List("[]mount.Mount", &MOUNT)),
        ("NetworkMode", &Type::Text("container.NetworkMode")),
        ("OomScoreAdj", &INT),
        ("PidMode", &Type::Text("container.PidMode")),
        (
            "PortBindings",
            &Type::Map("nat.PortMap", &Type::List("[]nat.PortBinding", &PORT_BINDING)),
        ),
        ("Privileged", &BOOL),
        ("PublishAllPorts", &BOOL),
        ("ReadonlyPaths", &TEXTS),
        ("ReadonlyRootfs", &BOOL),
        ("RestartPolicy", &RESTART_POLICY),
        ("Runtime", &TEXT),
        ("SecurityOpt", &TEXTS),
        ("ShmSize", &INT64),
        ("StorageOpt", &TEXT_MAP),
        ("Sysctls", &TEXT_MAP),
        ("Tmpfs", &TEXT_MAP),
        ("UTSMode", &Type::Text("container.UTSMode")),
        ("UsernsMode", &Type::Text("container.UsernsMode")),
        ("VolumeDriver", &TEXT),
        ("VolumesFrom", &TEXTS),
    ],
);

/// What a container is limited to; a part of two requests.
static RESOURCES: Type = Type::Struct(
    "container.Resources",
    &[
        ("BlkioDeviceReadBps", &Type::List("[]*blkiodev.ThrottleDevice", &THROTTLE_DEVICE)),
        ("BlkioDeviceReadIOps", &Type::List("[]*blkiodev.ThrottleDevice", &THROTTLE_DEVICE)),
        ("BlkioDeviceWriteBps", &Type::List("[]*blkiodev.ThrottleDevice", &THROTTLE_DEVICE)),
        ("BlkioDeviceWriteIOps", &Type::List("[]*blkiodev.ThrottleDevice", &THROTTLE_DEVICE)),
        ("BlkioWeight", &UINT16),
        ("BlkioWeightDevice", &Type::List("[]*blkiodev.WeightDevice", &WEIGHT_DEVICE)),
        ("CgroupParent", &TEXT),
        ("CpuCount", &INT64),
        ("CpuPercent", &INT64),
        ("CpuPeriod", &INT64),
        ("CpuQuota", &INT64),
        ("CpuRealtimePeriod", &INT64),
        ("CpuRealtimeRuntime", &INT64),
        ("CpuShares", &INT64),
        ("CpusetCpus", &TEXT),
        ("CpusetMems", &TEXT),
        ("DeviceCgroupRules", &TEXTS),
        ("DeviceRequests", &Type::List("[]container.DeviceRequest", &DEVICE_REQUEST)),
        ("Devices", &Type::List("[]container.DeviceMapping", &DEVICE_MAPPING)),
        ("IOMaximumBandwidth", &UINT64),
        ("IOMaximumIOps", &UINT64),
        ("KernelMemory", &INT64),
        ("KernelMemoryTCP", &INT64),
        ("Memory", &INT64),
        ("MemoryReservation", &INT64),
        ("MemorySwap", &INT64),
        ("MemorySwappiness", &INT64),
        ("NanoCpus", &INT64),
        ("OomKillDisable", &BOOL),
        ("PidsLimit", &INT64),
        ("Ulimits", &Type::List("[]*units.Ulimit", &ULIMIT)),
    ],
);

static THROTTLE_DEVICE: Type =
    Type::Struct("blkiodev.ThrottleDevice", &[("Path", &TEXT), ("Rate", &UINT64)]);

static WEIGHT_DEVICE: Type =
    Type::Struct("blkiodev.WeightDevice", &[("Path", &TEXT), ("Weight", &UINT16)]);

static DEVICE_REQUEST: Type = Type::Struct(
    "container.DeviceRequest",
    &[
        ("Capabilities", &Type::List("[][]string", &TEXTS)),
        ("Count", &INT),
        ("DeviceIDs", &TEXTS),
        ("Driver", &TEXT),
        ("Options", &TEXT_MAP),
    ],
);

static DEVICE_MAPPING: Type = Type::Struct(
    "container.DeviceMapping",
    &[("CgroupPermissions", &TEXT), ("PathInContainer", &TEXT), ("PathOnHost", &TEXT)],
);

static LOG_CONFIG: Type =
    Type::Struct("container.LogConfig", &[("Config", &TEXT_MAP), ("Type", &TEXT)]);

static MOUNT: Type = Type::Struct(
    "mount.Mount",
    &[
        ("BindOptions", &BIND_OPTIONS),
        ("Consistency", &Type::Text("mount.Consistency")),
        ("ImageOptions", &IMAGE_OPTIONS),
        ("ReadOnly", &BOOL),
        ("Source", &TEXT),
        ("Target", &TEXT),
        ("TmpfsOptions", &TMPFS_OPTIONS),
        ("Type", &Type::Text("mount.Type")),
        ("VolumeOptions", &VOLUME_OPTIONS),
    ],
);

static BIND_OPTIONS: Type = Type::Struct(
    "mount.BindOptions",
    &[
        ("CreateMountpoint", &BOOL),
        ("NonRecursive", &BOOL),
        ("Propagation", &Type::Text("mount.Propagation")),
        ("ReadOnlyForceRecursive", &BOOL),
        ("ReadOnlyNonRecursive", &BOOL),
    ],
);

static IMAGE_OPTIONS: Type = Type::Struct("mount.ImageOptions", &[("Subpath", &TEXT)]);

static TMPFS_OPTIONS: Type = Type::Struct(
    "mount.TmpfsOptions",
    &[
        ("Mode", &Type::Int("fs.FileMode", Width::U32)),
        ("Options", &Type::List("[][]string", &TEXTS)),
        ("SizeBytes", &INT64),
    ],
);

static VOLUME_OPTIONS: Type = Type::Struct(
    "mount.VolumeOptions",
    &[
        ("DriverConfig", &MOUNT_DRIVER),
        ("Labels", &TEXT_MAP),
        ("NoCopy", &BOOL),
        ("Subpath", &TEXT),
    ],
);

static MOUNT_DRIVER: Type =
    Type::Struct("mount.Driver", &[("Name", &TEXT), ("Options", &TEXT_MAP)]);

static PORT_BINDING: Type =
    Type::Struct("nat.PortBinding", &[("HostIp", &TEXT), ("HostPort", &TEXT)]);

static RESTART_POLICY: Type = Type::Struct(
    "container.RestartPolicy",
    &[("MaximumRetryCount", &INT), ("Name", &Type::Text("container.RestartPolicyMode"))],
);

static ULIMIT: Type =
    Type::Struct("units.Ulimit", &[("Hard", &INT64), ("Name", &TEXT), ("Soft", &INT64)]);

static NETWORKING_CONFIG: Type = Type::Struct(
    "network.NetworkingConfig",
    &[("EndpointsConfig", &Type::Map("map[string]*network.EndpointSettings", &ENDPOINT_SETTINGS))],
);

pub(super) static ENDPOINT_SETTINGS: Type = Type::Struct(
    "network.EndpointSettings",
    &[
        ("Aliases", &TEXTS),
        ("DNSNames", &TEXTS),
        ("DriverOpts", &TEXT_MAP),
        ("EndpointID", &TEXT),
        ("Gateway", &TEXT),
        ("GlobalIPv6Address", &TEXT),
        ("GlobalIPv6PrefixLen", &INT),
        ("GwPriority", &INT),
        ("IPAMConfig", &ENDPOINT_IPAM_CONFIG),
        ("IPAddress", &TEXT),
        ("IPPrefixLen", &INT),
        ("IPv6Gateway", &TEXT),
        ("Links", &TEXTS),
        ("MacAddress", &TEXT),
        ("NetworkID", &TEXT),
    ],
);

static ENDPOINT_IPAM_CONFIG: Type = Type::Struct(
    "network.EndpointIPAMConfig",
    &[("IPv4Address", &TEXT), ("IPv6Address", &TEXT), ("LinkLocalIPs", &TEXTS)],
);

pub(super) static UPDATE: Type =
    Type::Struct("container.UpdateConfig", &[("", &RESOURCES), ("RestartPolicy", &RESTART_POLICY)]);

pub(super) static EXEC: Type = Type::Struct(
    "container.ExecOptions",
    &[
        ("AttachStderr", &BOOL),
        ("AttachStdin", &BOOL),
        ("AttachStdout", &BOOL),
        ("Cmd", &TEXTS),
        ("ConsoleSize", &Type::List("[2]uint", &UINT)),
        ("Detach", &BOOL),
        ("DetachKeys", &TEXT),
        ("Env", &TEXTS),
        ("Privileged", &BOOL),
        ("Tty", &BOOL),
        ("User", &TEXT),
        ("WorkingDir", &TEXT),
    ],
);

pub(super) static EXEC_START: Type = Type::Struct(
    "container.ExecStartOptions",
    &[("ConsoleSize", &Type::List("[2]uint", &UINT)), ("Detach", &BOOL), ("Tty", &BOOL)],
);
