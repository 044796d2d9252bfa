//! Volumes.

use crate::wire::{List, Map, Words};

wire! {
    /// A volume.
    pub struct Volume {
        /// RFC 3339.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub created_at: String,
        /// The driver.
        pub driver: String,
        /// Labels.
        pub labels: Map<String>,
        /// Path on the host.
        pub mountpoint: String,
        /// Name.
        pub name: String,
        /// The driver's options.
        pub options: Map<String>,
        /// `local` or `global`.
        pub scope: String,
        /// The driver's own words.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub status: Map<serde_json::Value>,
        /// Size and use, in `system df` only.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<UsageData>,
    }

    /// Size and use of a volume.
    pub struct UsageData {
        /// Containers that name it; -1: not counted.
        pub ref_count: i64,
        /// Bytes; -1: not counted.
        pub size: i64,
    }

    /// `POST /volumes/create`.
    pub struct CreateRequest {
        /// Name; empty: one is made up.
        pub name: String,
        /// Empty: `local`.
        pub driver: String,
        /// The driver's options.
        pub driver_opts: Map<String>,
        /// Labels.
        pub labels: Map<String>,
    }

    /// `GET /volumes`.
    pub struct ListResponse {
        /// The volumes.
        pub volumes: List<Volume>,
        /// What could not be listed.
        pub warnings: Words,
    }

    /// `POST /volumes/prune`.
    pub struct PruneResponse {
        /// Names of what was removed.
        pub volumes_deleted: Words,
        /// Bytes.
        pub space_reclaimed: u64,
    }
}
