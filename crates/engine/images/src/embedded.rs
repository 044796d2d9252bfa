//! Images that the program carries with it.

use reference::Reference;

use crate::archive::Pieces;
use crate::{Error, Images};

/// An image in the binary.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedImage {
    /// Its name, with a tag: `hello:latest`.
    pub reference: &'static str,
    /// An OCI image layout as a tar archive, `index.json` among its first entries.
    pub layout: &'static [u8],
}

/// Labels of images that came with a program begin with this: a newer program may replace them.
const LABEL: &str = "dev.dhow.";

impl Images {
    /// Whether no registry has what is meant: an image that this program carries, or the machine's
    /// own root.
    pub fn is_built_in(&self, reference: &Reference) -> bool {
        let name = reference.familiar();
        name == format!("{}:{}", crate::HOST, reference::DEFAULT_TAG)
            || self.embedded.iter().any(|embedded| embedded.reference == name)
    }

    /// Makes sure that the image is there, if `name` is the name of one that this program carries.
    /// An image that a person gave the name to is left alone; that of an older program is replaced.
    pub(crate) fn ensure_embedded(&self, name: &str) -> Result<(), Error> {
        let Ok(wanted) = name.parse::<Reference>().map(Reference::with_default_tag) else {
            return Ok(());
        };
        for embedded in self.embedded {
            let reference: Reference = embedded.reference.parse()?;
            if wanted != reference {
                continue;
            }
            let there = self.db.read(|tx| tx.tagged_image(&reference.to_string()))?;
            if let Some(there) = there {
                let index = crate::archive::first_index(embedded.layout)?;
                let is_same = index.manifests.iter().any(|one| one.digest == there.manifest);
                if is_same || !self.came_with_a_program(&there)? {
                    return Ok(());
                }
            }
            let pieces = Pieces::read(&mut &*embedded.layout, &self.content)?;
            self.load_pieces(&pieces, Some(&reference), &[])?;
        }
        Ok(())
    }

    fn came_with_a_program(&self, row: &metadata::Image) -> Result<bool, Error> {
        let image = self.get(&row.id)?;
        Ok(image.config.config.labels.keys().any(|label| label.starts_with(LABEL)))
    }
}
