//! Answers of our own, for which Docker's API has no words. Sizes are bytes.

use serde::{Deserialize, Serialize};

/// `GET /dhow/cdi`: the devices that containers can have by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CdiDevices {
    /// Sorted by name.
    pub devices: Vec<CdiDevice>,
    /// Files that cannot be read, and devices that two files have.
    pub problems: Vec<CdiProblem>,
}

/// A device of a CDI specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CdiDevice {
    /// `VENDOR/CLASS=DEVICE`.
    pub name: String,
    /// The specification that has it.
    pub file: String,
    /// The device files that it brings, by their paths in the container.
    pub device_nodes: Vec<String>,
}

/// What is wrong with a specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CdiProblem {
    /// The file or folder.
    pub file: String,
    /// What.
    pub message: String,
}

/// `GET /dhow/images/NAME/explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explained {
    /// Digest of the image.
    pub id: String,
    /// `NAME:TAG`, short.
    pub repo_tags: Vec<String>,
    /// Lowest first.
    pub layers: Vec<ExplainedLayer>,
}

/// What one layer does to the files below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExplainedLayer {
    /// Digest of the layer, uncompressed.
    pub digest: String,
    /// The instruction that made it; may be empty.
    pub created_by: String,
    /// Its archive as it is stored.
    pub stored: u64,
    /// All files in it.
    pub size: u64,
    /// Of those, what a later layer hides.
    pub wasted: u64,
    /// Files that were not there.
    pub added: Tally,
    /// Files with other content than below.
    pub changed: Tally,
    /// Files with the content that they had, stored again for other metadata.
    pub touched: Tally,
    /// Files of the layers below that are not there any more.
    pub removed: Tally,
    /// All that it does, or those of it that hide most, by the query.
    pub changes: Vec<FileChange>,
}

/// A number of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tally {
    /// How many.
    pub files: u64,
    /// What they hold; of removed ones, what they held.
    pub bytes: u64,
}

/// What is done to one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileChange {
    /// `A` added, `C` changed, `T` stored again with the content that it had, `D` removed.
    pub act: String,
    /// Absolute.
    pub path: String,
    /// The file in this layer.
    pub size: u64,
    /// What was there, and is hidden by it.
    pub hidden: u64,
}

/// One of `GET /dhow/layers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Layer {
    /// Chain id: the layer with all below it.
    pub chain: String,
    /// Chain id of the one below; empty for the lowest.
    pub parent: String,
    /// All files in it.
    pub size: u64,
    /// The images that end with it, by their names; by its id one that has none.
    pub images: Vec<String>,
}

/// `GET /dhow/cache-mounts`: directories that steps of builds keep (`RUN --mount=type=cache`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CacheMount {
    /// Its name in a Dockerfile: what `id=` says, or the target.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name in the build cache.
    pub record: String,
    /// It began with files of a stage or an image.
    pub from: bool,
    /// The owner that steps ask for.
    #[serde(rename = "UID")]
    pub uid: u32,
    /// The group that steps ask for.
    #[serde(rename = "GID")]
    pub gid: u32,
    /// The mode that steps ask for, octal.
    pub mode: String,
    /// A step has it.
    pub in_use: bool,
    /// Bytes.
    pub size: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When a step had it last, RFC 3339.
    pub last_used_at: String,
}
