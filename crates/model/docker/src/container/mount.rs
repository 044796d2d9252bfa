//! Mounts: as asked for, and as they are.

use crate::wire::{List, Map, Words, is_zero};

wire! {
    /// A mount that is asked for (`--mount`).
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe`, `cluster`.
        #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
        pub kind: String,
        /// Path on the host, name of the volume or of the image; empty: anonymous.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub source: String,
        /// Path in the container.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub target: String,
        /// Whether it cannot be written to.
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only: bool,
        /// macOS only.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub consistency: String,
        /// For `bind`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        /// For `volume`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        /// For `image`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions>,
        /// For `tmpfs`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
    }

    /// How a path of the host is mounted.
    pub struct BindOptions {
        /// `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`; empty: `rprivate`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub propagation: String,
        /// Whether mounts below the source stay out.
        #[serde(skip_serializing_if = "is_zero")]
        pub non_recursive: bool,
        /// Whether a source that is missing is made, as a directory.
        #[serde(skip_serializing_if = "is_zero")]
        pub create_mountpoint: bool,
        /// Whether read-only is for the mount itself only, not for those below it.
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only_non_recursive: bool,
        /// Whether it is an error when those below cannot be made read-only.
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only_force_recursive: bool,
        /// How its ids are mapped; absent: not at all. Docker has it from API 1.56 on.
        #[serde(rename = "IDMapping", skip_serializing_if = "Option::is_none")]
        pub id_mapping: Option<IdMapping>,
    }

    /// How the ids of a mount are mapped.
    pub struct IdMapping {
        /// `match-user` (its owner is the container's user; also if empty), `userns` (as in the
        /// container's user namespace); or ours: `uids=FROM-TO-LEN[#...];gids=FROM-TO-LEN[#...]`.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub source: String,
        /// With `match-user`: whose the mount is in the container; empty: whoever the container runs as.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub user: String,
    }

    /// How a volume is made and mounted.
    pub struct VolumeOptions {
        /// Whether the image's content is not copied into a new volume.
        #[serde(skip_serializing_if = "is_zero")]
        pub no_copy: bool,
        /// Labels of a new volume.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub labels: Map<String>,
        /// The path in the volume to mount.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
        /// The driver of a new volume.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<Driver>,
        /// How its ids are mapped; ours.
        #[serde(rename = "IDMapping", skip_serializing_if = "Option::is_none")]
        pub id_mapping: Option<IdMapping>,
    }

    /// A driver and its options.
    pub struct Driver {
        /// Its name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// Its options.
        #[serde(skip_serializing_if = "Map::is_empty")]
        pub options: Map<String>,
    }

    /// How an image is mounted.
    pub struct ImageOptions {
        /// The path in the image to mount.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
    }

    /// How a tmpfs is mounted.
    pub struct TmpfsOptions {
        /// Its size, bytes; 0: half of the memory.
        #[serde(skip_serializing_if = "is_zero")]
        pub size_bytes: i64,
        /// Mode of its root.
        #[serde(skip_serializing_if = "is_zero")]
        pub mode: u32,
        /// Further options, `[KEY]` or `[KEY, VALUE]`.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub options: List<Words>,
    }

    /// A mount as it is.
    pub struct MountPoint {
        /// As in [`Mount::kind`].
        #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
        pub kind: String,
        /// Name of the volume.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// Path on the host.
        pub source: String,
        /// Path in the container.
        pub destination: String,
        /// Driver of the volume.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub driver: String,
        /// The options of `-v`, as given.
        pub mode: String,
        /// Whether it can be written to.
        #[serde(rename = "RW")]
        pub rw: bool,
        /// Its propagation.
        pub propagation: String,
    }
}
