//! What BuildKit says about an image: statements (in-toto) in a manifest of their own beside it.

use oci::image::{Descriptor, Platform};

use crate::target::{Match, attests};
use crate::{Error, Images, host};

/// The annotation of a layer that says what kind of statement it is.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// No statement that is taken is larger, in bytes.
const MAX_STATEMENT: u64 = 64 << 20;

/// A statement about an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Attestation {
    /// The blob that it is in.
    pub descriptor: Descriptor,
    /// What kind of statement it is, as a URI.
    pub predicate_type: String,
    /// The statement, JSON, where it was asked for.
    pub statement: Option<Vec<u8>>,
}

impl Images {
    /// What is said about the image that `name` means for a platform (this machine's where it is
    /// `None`): of these kinds, or of all where none is named; with the statements themselves where
    /// `whole` asks for them.
    pub fn attestations(
        &self,
        name: &str,
        wanted: Option<&Platform>,
        kinds: &[String],
        whole: bool,
    ) -> Result<Vec<Attestation>, Error> {
        self.ensure_embedded(name)?;
        let found = self.find(name)?;
        let entries = self.entries(&found)?;
        let platform = wanted.unwrap_or(host::platform());
        let how = if wanted.is_some() { Match::Same } else { Match::Runs };
        let Some(manifest) = self.choose_manifest(&found, platform, how)? else {
            return Err(self.not_for(name, &found, platform)?);
        };
        let mut attestations = Vec::new();
        for entry in entries.iter().filter(|entry| attests(entry).as_ref() == Some(&manifest)) {
            let Some((read, _)) = self.manifest(&entry.digest)? else { continue };
            for layer in read.layers {
                let kind = layer.annotations.get(PREDICATE_TYPE).cloned().unwrap_or_default();
                if !kinds.is_empty() && !kinds.contains(&kind) {
                    continue;
                }
                let read = || self.content.read(&layer.digest, MAX_STATEMENT);
                let statement = whole.then(read).transpose()?;
                attestations.push(Attestation {
                    descriptor: layer,
                    predicate_type: kind,
                    statement,
                });
            }
        }
        Ok(attestations)
    }
}
