//! What `POST /dhow/check` answers: what is wrong with the store. Docker has nothing like it; the
//! names are written as Docker writes its own.

use serde::{Deserialize, Serialize};

/// One line of the answer: how far the check is, something that is wrong, or, at the end, a summary.
/// One field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Line {
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Something that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The last line of a check that came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The last line of one that did not: why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a check is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Progress {
    /// What is being looked at: `blobs`, in bytes, or `layers`, one by one.
    pub what: String,
    /// So many of them were looked at...
    pub current: u64,
    /// ... of so many.
    pub total: u64,
}

/// What kind of thing is wrong. The words are part of the API.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The database is not whole, or a row of it names what is not there.
    Database,
    /// `oci-layout` is missing or says something else.
    Layout,
    /// `index.json` is not what the database says.
    Index,
    /// A blob's bytes are not those of its digest, or cannot be read.
    DamagedBlob,
    /// A blob that an image needs is not there.
    MissingBlob,
    /// A blob that nothing needs.
    OrphanBlob,
    /// Something among the blobs that is none.
    StrayFile,
    /// An image's documents do not fit each other or its record.
    Image,
    /// A layer that an image or a container needs is not unpacked.
    MissingLayer,
    /// An unpacked layer is not what its archive says.
    ChangedLayer,
    /// An unpacked layer that nothing needs.
    OrphanLayer,
    /// Half-written or half-deleted, by a process that is gone.
    LeftOver,
    /// A container's writable layer, or its folder, is not there.
    MissingContainer,
    /// A writable layer, or a container's folder, that no container has.
    OrphanContainer,
    /// A volume's directory is not there.
    MissingVolume,
    /// A volume's directory without a volume.
    OrphanVolume,
    /// A kind that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Kind {
    /// As a person reads it: `damaged blob`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "finding",
            Self::Database => "database",
            Self::Layout => "layout",
            Self::Index => "index",
            Self::DamagedBlob => "damaged blob",
            Self::MissingBlob => "missing blob",
            Self::OrphanBlob => "orphan blob",
            Self::StrayFile => "stray file",
            Self::Image => "image",
            Self::MissingLayer => "missing layer",
            Self::ChangedLayer => "changed layer",
            Self::OrphanLayer => "orphan layer",
            Self::LeftOver => "left over",
            Self::MissingContainer => "missing container",
            Self::OrphanContainer => "orphan container",
            Self::MissingVolume => "missing volume",
            Self::OrphanVolume => "orphan volume",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// Which one: a digest, a layer's chain id, an id or a path.
    pub subject: String,
    /// What is wrong with it, for people; does not repeat the subject.
    pub message: String,
    /// The images that need it: their first name, or their id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The containers that need it, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// What was done about it, or why nothing was; empty where nothing was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repair: String,
    /// It is right now.
    pub fixed: bool,
}

impl Finding {
    /// One that nothing was done about.
    pub fn new(kind: Kind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), message: message.into(), ..Self::default() }
    }

    /// The whole finding in one line, for people.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}: {}", self.kind.words(), self.subject, self.message);
        let users = [("image", &self.images), ("container", &self.containers)];
        for (what, names) in users {
            if let Some((first, rest)) = names.split_first() {
                let plural = if rest.is_empty() { "" } else { "s" };
                let all = [std::slice::from_ref(first), rest].concat().join(", ");
                line.push_str(&format!("; {what}{plural} {all}"));
            }
        }
        if !self.repair.is_empty() {
            line.push_str(&format!(": {}", self.repair));
        }
        line
    }
}

/// What a whole check has looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// Images.
    pub images: u64,
    /// Blobs that were read and hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Unpacked layers that were compared with their archives.
    pub layers: u64,
    /// Containers.
    pub containers: u64,
    /// Findings.
    pub findings: u64,
    /// Those of them that were repaired.
    pub fixed: u64,
    /// What could not be looked at, and why: a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let mut finding =
            Finding::new(Kind::DamagedBlob, "sha256:ab", "content has digest sha256:cd");
        assert_eq!(finding.line(), "damaged blob sha256:ab: content has digest sha256:cd");
        finding.images = vec!["debian:12".into(), "web:1".into()];
        finding.containers = vec!["web".into()];
        finding.repair = "dropped".into();
        assert_eq!(
            finding.line(),
            "damaged blob sha256:ab: content has digest sha256:cd; images debian:12, web:1; \
             container web: dropped"
        );
    }

    #[test]
    fn kinds_that_are_new_can_be_read() {
        let line = r#"{"Finding":{"Kind":"of-tomorrow","Subject":"x","Fixed":true}}"#;
        let line: Line = serde_json::from_str(line).unwrap();
        let finding = line.finding.unwrap();
        assert_eq!((finding.kind, finding.fixed), (Kind::Unknown, true));
        let text = serde_json::to_string(&Kind::OrphanBlob).unwrap();
        assert_eq!(text, "\"orphan-blob\"");
    }
}
