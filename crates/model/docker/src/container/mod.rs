//! Containers: what one is made from, and what is told of it.

mod config;
mod create;
mod host;
mod inspect;
mod mount;
mod resources;
mod summary;

pub use config::{ContainerConfig, HealthConfig};
pub use create::{
    Applied, Changes, CreateRequest, CreateResponse, FilesystemChange, NetworkingConfig, PathStat,
    PruneResponse, TopResponse, UpdateRequest, UpdateResponse, WaitError, WaitResponse,
};
pub use host::{HostConfig, LogConfig, PortBinding, PortMap, RestartPolicy};
pub use inspect::{
    DriverData, Health, HealthResult, Inspect, NetworkSettings, Platform, State, Storage,
    StorageRootFs, StorageSnapshot,
};
pub use mount::{
    BindOptions, Driver, IdMapping, ImageOptions, Mount, MountPoint, TmpfsOptions, VolumeOptions,
};
pub use resources::{
    DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice,
};
pub use summary::{HealthSummary, Port, Summary, SummaryHostConfig, SummaryNetworkSettings};
