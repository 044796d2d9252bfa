//! What an image consists of, where it is one for several platforms; and where it comes from.

use crate::container::Platform;
use crate::image::Descriptor;
use crate::wire::{List, Words};

wire! {
    /// One manifest of an image.
    pub struct ManifestSummary {
        /// The manifest's digest.
        #[serde(rename = "ID")]
        pub id: String,
        /// As the index names it.
        pub descriptor: Descriptor,
        /// Whether all that it names is here.
        pub available: bool,
        /// How much is here.
        pub size: Size,
        /// `image`, `attestation` or `unknown`.
        pub kind: String,
        /// Of an image.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_data: Option<ImageData>,
        /// Of an attestation.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attestation_data: Option<AttestationData>,
    }

    /// How much of a manifest is here, in bytes.
    pub struct Size {
        /// Archives and documents.
        pub content: i64,
        /// These, and what is unpacked.
        pub total: i64,
    }

    /// A manifest that is an image's.
    pub struct ImageData {
        /// What it runs on.
        pub platform: Platform,
        /// Where it comes from.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub identity: Option<Identity>,
        /// Ids of the containers made of it.
        pub containers: Words,
        /// How much is unpacked.
        pub size: UnpackedSize,
    }

    /// How much of an image is unpacked, in bytes.
    pub struct UnpackedSize {
        /// Its files.
        pub unpacked: i64,
    }

    /// A manifest that is BuildKit's, about another one.
    pub struct AttestationData {
        /// The digest of that one.
        #[serde(rename = "For")]
        pub about: String,
    }

    /// Where an image comes from, as far as it can be told.
    pub struct Identity {
        /// The repositories that it was pulled from, or pushed to.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub pull: List<PullIdentity>,
        /// The builds that made it.
        #[serde(skip_serializing_if = "List::is_empty")]
        pub build: List<BuildIdentity>,
    }

    /// A repository.
    pub struct PullIdentity {
        /// Its name in full.
        pub repository: String,
    }

    /// A build.
    pub struct BuildIdentity {
        /// Its id.
        #[serde(rename = "Ref")]
        pub reference: String,
        /// RFC 3339.
        pub created_at: String,
    }

    /// An in-toto statement about an image.
    pub struct AttestationStatement {
        /// The blob that it is in.
        pub descriptor: Descriptor,
        /// What kind of statement it is, as a URI.
        pub predicate_type: String,
        /// The statement, where it was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub statement: Option<serde_json::Value>,
    }
}
