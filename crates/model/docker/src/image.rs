//! Images.

use crate::{
    container::{ContainerConfig, DriverData, Platform},
    manifest::{Identity, ManifestSummary},
    wire::{List, Map, Words, is_zero},
};

wire! {
    /// One line of `images`.
    pub struct Summary {
        /// How many containers use it; -1: not counted.
        pub containers: i64,
        /// Seconds since the epoch.
        pub created: i64,
        /// Digest.
        pub id: String,
        /// Labels.
        pub labels: Map<String>,
        /// Digest of the parent, of the legacy builder.
        pub parent_id: String,
        /// What the image is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
        /// What it consists of, where that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub manifests: Option<List<ManifestSummary>>,
        /// `NAME@sha256:…`.
        pub repo_digests: Words,
        /// `NAME:TAG`.
        pub repo_tags: Words,
        /// Bytes shared with other images; -1: not counted.
        pub shared_size: i64,
        /// Bytes.
        pub size: i64,
    }

    /// `GET /images/NAME/json`.
    pub struct Inspect {
        /// Digest.
        pub id: String,
        /// `NAME:TAG`.
        pub repo_tags: Words,
        /// `NAME@sha256:…`.
        pub repo_digests: Words,
        /// Digest of the parent, of the legacy builder (before v1.52 also when empty).
        pub parent: String,
        /// Of the import or commit.
        pub comment: String,
        /// RFC 3339.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub created: String,
        /// The engine that built it (before v1.52 also when empty).
        pub docker_version: String,
        /// Who made it.
        pub author: String,
        /// What a container of it runs.
        pub config: Option<ContainerConfig>,
        /// `amd64`.
        pub architecture: String,
        /// `v7`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub variant: String,
        /// `linux`.
        pub os: String,
        /// Windows only.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub os_version: String,
        /// Bytes.
        pub size: i64,
        /// Where its layers are.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub graph_driver: Option<DriverData>,
        /// Its layers.
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        /// What is known of it here only.
        pub metadata: Metadata,
        /// What the image is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<Descriptor>,
        /// What it consists of, where that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub manifests: Option<List<ManifestSummary>>,
        /// Where it comes from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub identity: Option<Identity>,
    }

    /// An image's layers.
    pub struct RootFs {
        /// `layers`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// Digests of the layers as tar files, lowest first.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub layers: Words,
    }

    /// What is known of an image here only.
    pub struct Metadata {
        /// RFC 3339.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub last_tag_time: String,
    }

    /// An OCI descriptor.
    pub struct Descriptor {
        /// What it is.
        #[serde(rename = "mediaType")]
        pub media_type: String,
        /// Its digest.
        #[serde(rename = "digest")]
        pub digest: String,
        /// Bytes.
        #[serde(rename = "size")]
        pub size: i64,
        /// Where else it is.
        #[serde(rename = "urls", skip_serializing_if = "List::is_empty")]
        pub urls: Words,
        /// Annotations.
        #[serde(rename = "annotations", skip_serializing_if = "Map::is_empty")]
        pub annotations: Map<String>,
        /// The content itself, in base64.
        #[serde(rename = "data", skip_serializing_if = "String::is_empty")]
        pub data: String,
        /// For which platform.
        #[serde(rename = "platform", skip_serializing_if = "Option::is_none")]
        pub platform: Option<Platform>,
        /// Kind of artifact.
        #[serde(rename = "artifactType", skip_serializing_if = "String::is_empty")]
        pub artifact_type: String,
    }

    /// One line of `history`.
    pub struct History {
        /// Of the import or commit.
        pub comment: String,
        /// Seconds since the epoch.
        pub created: i64,
        /// The instruction.
        pub created_by: String,
        /// Digest of the image, or `<missing>`.
        pub id: String,
        /// Bytes.
        pub size: i64,
        /// `NAME:TAG`; nil when there is none.
        pub tags: Words,
    }

    /// One step of `rmi`.
    pub struct DeleteResponse {
        /// Digest of an image or layer that is gone.
        #[serde(skip_serializing_if = "is_zero")]
        pub deleted: String,
        /// Name that is gone.
        #[serde(skip_serializing_if = "is_zero")]
        pub untagged: String,
    }

    /// `POST /images/prune`.
    pub struct PruneResponse {
        /// What was removed.
        pub images_deleted: List<DeleteResponse>,
        /// Bytes.
        pub space_reclaimed: u64,
    }

    /// `GET /images/search`.
    pub struct SearchResult {
        /// Stars.
        #[serde(rename = "star_count")]
        pub star_count: i64,
        /// Whether it is one of Docker's own.
        #[serde(rename = "is_official")]
        pub is_official: bool,
        /// Name.
        #[serde(rename = "name")]
        pub name: String,
        /// Always false.
        #[serde(rename = "is_automated")]
        pub is_automated: bool,
        /// Description.
        #[serde(rename = "description")]
        pub description: String,
    }
}
