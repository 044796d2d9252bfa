//! What comes from outside.

use oci::Digest;
use serde::Serialize;

/// Where something comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Source {
    /// An image.
    Image(Image),
    /// A directory of whoever asked for the build.
    Local(Local),
    /// A git repository.
    Git(Git),
    /// A file behind a URL.
    Http(Http),
    /// An image in an OCI layout of whoever asked for the build.
    Layout(Layout),
    /// One blob, as a file.
    Blob(Blob),
    /// What the solver has made before, in the same build.
    Result(String),
}

/// Where an image may be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Resolve {
    /// Here, then at its registry.
    #[default]
    Default,
    /// At its registry, also where one is here (`--pull`).
    Pull,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Image {
    /// In full, with a tag: `docker.io/library/debian:12`.
    pub reference: String,
    /// Its manifest or index, as it was found when the graph was made.
    pub digest: Option<Digest>,
    /// The digest of its configuration, where that is known: two manifests of one image are the same.
    pub id: Option<Digest>,
    /// What its tag has to mean; another manifest or index is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Digest>,
    /// No more than its lowest layers, so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Where to look for it.
    pub resolve: Resolve,
}

impl Image {
    /// One of which no more than its name is known.
    #[must_use]
    pub fn named(reference: String, resolve: Resolve) -> Self {
        Self { reference, digest: None, id: None, checksum: None, layers: None, resolve }
    }
}

/// A directory of whoever asked for the build. Only what the patterns leave in is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Local {
    /// What it is called in the build: `context`, `dockerfile`, or a named context's name.
    pub name: String,
    /// Of several builds the same directory, and so worth keeping for the next one.
    pub shared_key: String,
    /// Patterns of what is wanted; none: all.
    pub include: Vec<String>,
    /// Patterns of what is left out, as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// Paths that are wanted, also where they lead through links.
    pub follow: Vec<String>,
    /// All of it is sent again, also what looks as it did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_anew: bool,
    /// Of what is sent only the files that these patterns name come, and beside them a file with what was told of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_only: Option<Vec<String>>,
    /// The session that it is in, by its id; empty: the build's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
}

impl Local {
    /// Says where it is, as clients do: in the session `ID`, or, where that has it as `PREFIX-NAME`, `PREFIX:ID`.
    pub fn set_session(&mut self, said: &str) {
        let id = match said.split_once(':') {
            Some((prefix, id)) => {
                self.name = format!("{prefix}-{}", self.name);
                id
            }
            None => said,
        };
        id.clone_into(&mut self.session);
    }
}

/// What a file's bytes must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checksum(pub String);

/// A git repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Git {
    /// Its URL, without credentials, reference and directory.
    pub remote: String,
    /// A branch, tag, or commit; empty: the default branch.
    pub reference: String,
    /// The directory in it that is wanted; empty: all.
    pub subdir: String,
    /// With `.git`.
    pub keep_git_dir: bool,
    /// Without submodules.
    pub skip_submodules: bool,
    /// The commit that it must be, or its start.
    pub checksum: Option<Checksum>,
    /// The secret with a token for it, by its id.
    pub token_secret: String,
    /// The secret with a header for it, by its id.
    pub header_secret: String,
    /// The agent for it, by its id.
    pub ssh: String,
    /// What its host may be, as lines of `known_hosts`; empty: what it says the first time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub known_hosts: String,
    /// All of it was written when its commit was made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub commit_times: bool,
    /// The bundle that has its commits, in the place of its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Box<Blob>>,
    /// A bundle comes of it, as a file, and no checkout.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub as_bundle: bool,
    /// Its server is asked for the commit of `checksum` and not what the reference means there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_commit: bool,
    /// How it has to be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<SignedBy>>,
}

/// Who has to have signed a commit, or the tag that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// Public keys: armored ones of OpenPGP's, or a line with one of SSH's.
    pub keys: String,
    /// Neither the key nor the signature may have expired.
    pub reject_expired: bool,
    /// It has to be a tag that is signed.
    pub require_tag: bool,
    /// The commit itself has to be signed, whatever the tag is.
    pub ignore_tag: bool,
}

/// A file behind a URL.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Http {
    /// Where.
    pub url: String,
    /// What it must be: `sha256:…`.
    pub checksum: Option<Checksum>,
    /// Its name in the result; empty: as the server or the URL says.
    pub name: String,
    /// Its mode; `None`: 0600.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The secret with an `Authorization` header, by its id.
    pub auth_secret: String,
    /// Headers that its server is asked with: `Accept`, `User-Agent`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<Detached>>,
}

/// A signature that is beside what is signed, of OpenPGP's, armored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Detached {
    /// The public keys that it may be of.
    pub keys: String,
    /// It.
    pub signature: String,
}

/// An image in an OCI layout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layout {
    /// What the layout is called in the build.
    pub store: String,
    /// What people call it; no part of what it is.
    #[serde(skip)]
    pub name: String,
    /// What of it.
    pub digest: Digest,
    /// The digest of its configuration.
    pub id: Option<Digest>,
    /// No more than its lowest layers, so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
}

/// A blob of a registry, or of an OCI layout of whoever asked for the build.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blob {
    /// The repository that has it, in full, or what people call the layout.
    pub repository: String,
    /// What the layout is called in the build; empty: a registry has it.
    pub store: String,
    /// Which.
    pub digest: Digest,
    /// Its name in the result; empty: its digest, without the algorithm.
    pub name: String,
    /// Its mode; `None`: 0600.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}
