//! Writing images as an archive that every engine loads: an OCI image layout, with the
//! `manifest.json` of older ones beside it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use oci::Digest;
use oci::image::{Descriptor, Index, MAX_MANIFEST, Manifest, media_type};
use serde::Serialize;
use tarstream::{Entry, Kind, Writer};

use crate::archive::blob_path;
use crate::install::to_json;
use crate::{Error, Images, named_descriptor};

/// One image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Images {
    /// Writes the images of these names: the same bytes for the same images.
    pub fn save(&self, names: &[&str], out: &mut dyn Write) -> Result<(), Error> {
        // Nothing of it may go while it is written.
        let _lock = self.content.lock_shared()?;
        let mut blobs = BTreeSet::new();
        let mut manifests = Vec::new();
        let mut docker: Vec<DockerImage> = Vec::new();
        for name in names {
            let found = self.find(name)?;
            let image = self.get(&found.id)?;
            let Some(digest) = image.manifest else { continue };
            let bytes = self.content.read(&digest, MAX_MANIFEST as u64)?;
            let manifest = Manifest::parse(&bytes)
                .map_err(|source| Error::Format { what: format!("read {digest}"), source })?;
            blobs.insert(digest.clone());
            blobs.insert(image.id.clone());
            blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
            let plain = Descriptor::new(media_type::MANIFEST, digest, bytes.len() as u64);
            let mut tags = Vec::new();
            match found.reference.filter(|reference| reference.tag().is_some()) {
                None => manifests.push(plain),
                Some(reference) => {
                    tags.push(reference.familiar());
                    manifests.push(named_descriptor(plain, &reference.to_string()));
                }
            }
            let config = blob_path(&image.id);
            match docker.iter_mut().find(|one| one.config == config) {
                Some(known) => known.repo_tags.extend(tags),
                None => docker.push(DockerImage {
                    config,
                    repo_tags: tags,
                    layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
                }),
            }
        }
        let mut writer = Writer::new(out);
        let index = to_json("the index", &Index::new(manifests))?;
        let docker = to_json("the manifest", &docker)?;
        for (name, bytes) in [
            ("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]),
            ("index.json", &index),
            ("manifest.json", &docker),
        ] {
            append(&mut writer, name, bytes.len() as u64, &mut &*bytes)?;
        }
        for blob in blobs {
            self.append_blob(&mut writer, &blob)?;
        }
        writer.finish().map_err(Error::Write)?;
        Ok(())
    }

    fn append_blob<W: Write>(&self, writer: &mut Writer<W>, digest: &Digest) -> Result<(), Error> {
        let mut reader = self.content.reader(digest)?;
        let size = reader.size();
        append(writer, &blob_path(digest), size, &mut reader)?;
        // The read that finds the end also finds a changed blob.
        io::copy(&mut reader, &mut io::sink()).map_err(Error::Write)?;
        Ok(())
    }
}

fn append<W: Write>(
    writer: &mut Writer<W>,
    name: &str,
    size: u64,
    data: &mut dyn Read,
) -> Result<(), Error> {
    let entry =
        Entry { path: name.into(), kind: Kind::File, mode: 0o644, size, ..Entry::default() };
    writer.append(&entry, data).map_err(Error::Write)
}
