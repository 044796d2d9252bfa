//! Events.

use crate::wire::Map;

wire! {
    /// Something that happened.
    pub struct Message {
        /// The action, as before v1.22 (left out from v1.52 on).
        #[serde(rename = "status", skip_serializing_if = "String::is_empty")]
        pub status: String,
        /// The id, as before v1.22 (left out from v1.52 on).
        #[serde(rename = "id", skip_serializing_if = "String::is_empty")]
        pub id: String,
        /// The image, as before v1.22 (left out from v1.52 on).
        #[serde(rename = "from", skip_serializing_if = "String::is_empty")]
        pub from: String,
        /// `container`, `image`, `volume`, `network`, `daemon`, …
        #[serde(rename = "Type")]
        pub kind: String,
        /// `create`, `start`, `die`, `exec_create: CMD`, …
        pub action: String,
        /// To whom.
        pub actor: Actor,
        /// `local` or `swarm`.
        #[serde(rename = "scope", skip_serializing_if = "String::is_empty")]
        pub scope: String,
        /// Seconds since the epoch.
        #[serde(rename = "time", skip_serializing_if = "crate::wire::is_zero")]
        pub time: i64,
        /// Nanoseconds since the epoch.
        #[serde(rename = "timeNano", skip_serializing_if = "crate::wire::is_zero")]
        pub time_nano: i64,
    }

    /// What an event happened to.
    pub struct Actor {
        /// Id or name.
        #[serde(rename = "ID")]
        pub id: String,
        /// Labels, name, exit code, …
        pub attributes: Map<String>,
    }
}
