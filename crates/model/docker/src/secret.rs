//! Secrets, in the shapes that Docker has for those of a swarm.

use crate::wire::Map;

wire! {
    /// A secret, without what it holds.
    pub struct Secret {
        /// 25 letters and digits.
        #[serde(rename = "ID")]
        pub id: String,
        /// Which of its states this is.
        pub version: Version,
        /// RFC 3339.
        pub created_at: String,
        /// RFC 3339.
        pub updated_at: String,
        /// What was asked for.
        pub spec: SecretSpec,
    }

    /// A number that grows with each change.
    pub struct Version {
        /// It.
        pub index: u64,
    }

    /// `POST /secrets/create`, `POST /secrets/ID/update`.
    pub struct SecretSpec {
        /// Letters, digits, `-`, `_` and `.`; at most 64.
        pub name: String,
        /// Labels.
        pub labels: Map<String>,
        /// What it holds, in base64; only ever sent to the engine.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub data: String,
        /// Where else it would be kept: refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver: Option<serde_json::Value>,
        /// Words to be filled in: refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub templating: Option<serde_json::Value>,
    }

    /// A secret that a container has; `HostConfig.Secrets`, of our own.
    pub struct SecretMount {
        /// The secret's name.
        pub source: String,
        /// A path, below `/run/secrets` unless it is absolute, or a variable's name; empty: the secret's.
        pub target: String,
        /// `mount` (or empty), `env`.
        #[serde(rename = "Type")]
        pub kind: String,
        /// The owner in the container, as Docker has it: a number as text; empty: 0.
        #[serde(rename = "UID")]
        pub uid: String,
        /// The group.
        #[serde(rename = "GID")]
        pub gid: String,
        /// The mode; absent: 0444.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub mode: Option<u32>,
    }
}
