//! Bills of materials of images that are being made: of each file they say in which layer it is, as BuildKit's do.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path};

use oci::ChainId;
use oci::image::Descriptor;
use serde_json::Value;

use crate::Images;

/// Of more files in one bill nothing is said.
const MAX_FILES: usize = 100_000;

impl Images {
    /// Says of the files in a document of SPDX in which of these layers, lowest first, they are. Of what a document says
    /// something itself, and of what is in none, nothing is said.
    pub(crate) fn name_layers(&self, says: &mut Value, chain: &[ChainId], archives: &[Descriptor]) {
        let Some(Value::Array(files)) = says.get_mut("files") else { return };
        if self.snapshots.form() != snapshot::Form::Own {
            return;
        }
        let layers = self.snapshots.layer_paths(chain);
        for file in files.iter_mut().take(MAX_FILES) {
            let text = |key: &str| file.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = text("fileName");
            if name.is_empty() || !text("comment").is_empty() {
                continue;
            }
            let found = layers.iter().rposition(|layer| has(layer, Path::new(name)));
            if let Some(archive) = found.and_then(|at| archives.get(at)) {
                file["comment"] = format!("layerID: {}", archive.digest).into();
            }
        }
    }
}

/// Whether a layer has this file, and not that it is gone. No link is followed.
fn has(layer: &Path, name: &Path) -> bool {
    let mut at = layer.to_owned();
    let mut last = None;
    for part in name.components() {
        match part {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(part) => at.push(part),
            Component::ParentDir | Component::Prefix(_) => return false,
        }
        if last.as_ref().is_some_and(|above: &fs::Metadata| !above.is_dir()) {
            return false;
        }
        match fs::symlink_metadata(&at) {
            Ok(found) => last = Some(found),
            Err(_) => return false,
        }
    }
    last.is_some_and(|found| !(found.file_type().is_char_device() && found.rdev() == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_own_path_alone() {
        let dir = std::env::temp_dir().join(format!("dhow-bill-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        for there in ["a/b/c", "/a/b/c", "./a/b/c", "link"] {
            assert!(has(&dir, Path::new(there)), "{there}");
        }
        for other in ["", "/", "a/b/d", "a/b/c/d", "link/b/c", "a/../a/b/c"] {
            assert!(!has(&dir, Path::new(other)), "{other}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
