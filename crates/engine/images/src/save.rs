//! Writing images as an archive that every engine loads: an OCI image layout, with the
//! `manifest.json` and `repositories` of older ones beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use oci::Digest;
use oci::image::{ANNOTATION_REF_NAME, Descriptor, Index, Platform, media_type};
use reference::Reference;
use serde::Serialize;
use tarstream::{Entry, Kind, Writer};

use crate::archive::blob_path;
use crate::install::to_json;
use crate::resolve::Found;
use crate::target::Match;
use crate::{Error, Images, InstalledBuilt, named_descriptor};

/// One image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// What is to be in an archive.
#[derive(Default)]
struct Contents {
    manifests: Vec<Descriptor>,
    docker: Vec<DockerImage>,
    /// Name, tag, the topmost layer.
    repositories: BTreeMap<String, BTreeMap<String, String>>,
    blobs: BTreeSet<Digest>,
}

impl Images {
    /// Writes the images of these names, of all their platforms that are here: the same bytes for the
    /// same images. A name without a tag means all tags of it.
    pub fn save(&self, names: &[&str], out: &mut dyn Write) -> Result<(), Error> {
        self.save_for(names, &[], out)
    }

    /// The same, but only what is for these platforms, where any are named.
    pub fn save_for(
        &self,
        names: &[&str],
        platforms: &[Platform],
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        // Nothing of it may go while it is written.
        let _lock = self.content.lock_shared()?;
        let contents = self.contents(names, platforms)?;
        self.write_contents(contents, out)
    }

    /// Writes them. Only with the lock.
    fn write_contents(&self, contents: Contents, out: &mut dyn Write) -> Result<(), Error> {
        let mut writer = Writer::new(out);
        let index = to_json("the index", &Index::new(contents.manifests))?;
        let docker = to_json("the manifest", &contents.docker)?;
        let repositories = to_json("the repositories", &contents.repositories)?;
        let mut documents = vec![
            ("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]),
            ("index.json", &index),
            ("manifest.json", &docker),
        ];
        if !contents.repositories.is_empty() {
            documents.push(("repositories", &repositories));
        }
        for (name, bytes) in documents {
            append(&mut writer, name, bytes.len() as u64, &mut &*bytes)?;
        }
        for directory in blob_directories(&contents.blobs) {
            append_directory(&mut writer, &directory)?;
        }
        for blob in contents.blobs {
            self.append_blob(&mut writer, &blob)?;
        }
        writer.finish().map_err(Error::Write)?;
        Ok(())
    }

    /// The same of what a build has just made, with the manifest that it has made, under these names.
    pub fn save_built(
        &self,
        made: &InstalledBuilt,
        names: &[Reference],
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let _lock = self.content.lock_shared()?;
        let mut contents = Contents::default();
        let references: Vec<_> = match names {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for reference in references {
            let target = Some(made.root.digest.clone());
            let found = Found { id: made.image.id.clone(), reference, target };
            self.add("", &found, &[], &mut contents)?;
        }
        for named in &mut contents.manifests {
            named.annotations.extend(made.root.annotations.clone());
        }
        self.write_contents(contents, out)
    }

    /// What of such an image is here: its documents and archives.
    pub fn blobs_of_built(&self, made: &InstalledBuilt) -> Result<Vec<Descriptor>, Error> {
        let _lock = self.content.lock_shared()?;
        let target = Some(made.root.digest.clone());
        let found = Found { id: made.image.id.clone(), reference: None, target };
        let mut contents = Contents::default();
        self.add("", &found, &[], &mut contents)?;
        let mut blobs = Vec::new();
        for digest in contents.blobs {
            let size = self.content.size(&digest)?.unwrap_or(0);
            blobs.push(Descriptor::new("application/octet-stream", digest, size));
        }
        Ok(blobs)
    }

    /// Whether all of it could be saved.
    pub fn check_save(&self, names: &[&str], platforms: &[Platform]) -> Result<(), Error> {
        for name in names {
            self.ensure_embedded(name)?;
        }
        let _lock = self.content.lock_shared()?;
        self.contents(names, platforms).map(drop)
    }

    fn contents(&self, names: &[&str], platforms: &[Platform]) -> Result<Contents, Error> {
        let mut contents = Contents::default();
        for name in names {
            for found in self.all_of(name)? {
                self.add(name, &found, platforms, &mut contents)?;
            }
        }
        Ok(contents)
    }

    /// What a name means; without a tag all tags of it.
    fn all_of(&self, name: &str) -> Result<Vec<Found>, Error> {
        let bare = |name: &Reference| name.tag().is_none() && name.digest().is_none();
        let reference = name.parse::<Reference>().ok().filter(bare);
        let tags = match &reference {
            Some(reference) => self.db.read(|tx| tx.tags_in(&reference.name()))?,
            None => Vec::new(),
        };
        if tags.is_empty() {
            return Ok(vec![self.find(name)?]);
        }
        let name = reference.map(|reference| reference.name()).unwrap_or_default();
        tags.iter().map(|(tag, _)| self.find(&format!("{name}:{tag}"))).collect()
    }

    fn add(
        &self,
        name: &str,
        found: &Found,
        platforms: &[Platform],
        contents: &mut Contents,
    ) -> Result<(), Error> {
        let Some(row) = self.db.read(|tx| tx.image(&found.id))? else {
            return Err(Error::NoImage(name.into()));
        };
        let mut root = found.target.clone().unwrap_or_else(|| row.manifest.clone());
        let target = self.db.read(|tx| tx.target(&root))?;
        let is_index = target.as_ref().is_some_and(|one| media_type::is_index(&one.media_type));
        let mut wanted = Vec::new();
        for platform in platforms {
            let Some(manifest) = self.choose_manifest(found, platform, Match::Same)? else {
                return Err(self.not_for(name, found, platform)?);
            };
            wanted.push(manifest);
        }
        // What older engines load: the image that is meant on this machine.
        let mut shown = match &target {
            _ if !is_index => root.clone(),
            _ => row.manifest.clone(),
        };
        match wanted.as_slice() {
            [] => {}
            [one] => (root, shown) = (one.clone(), one.clone()),
            [first, ..] => shown = first.clone(),
        }
        let mut kind = media_type::MANIFEST.to_owned();
        if is_index && Some(&root) == target.as_ref().map(|target| &target.digest) {
            kind = target.map(|target| target.media_type).unwrap_or_default();
            let (documents, entries) = self.index_tree(&root)?;
            contents.blobs.extend(documents);
            for entry in entries {
                if wanted.is_empty() || wanted.contains(&entry.digest) {
                    self.add_parts(&entry.digest, contents)?;
                }
            }
        } else {
            self.add_parts(&root, contents)?;
            let stated = self.manifest(&root)?.and_then(|(manifest, _)| manifest.media_type);
            kind = stated.filter(|kind| media_type::is_manifest(kind)).unwrap_or(kind);
        }
        let size = self.content.size(&root)?.unwrap_or(0);
        let plain = Descriptor::new(&kind, root, size);
        let reference = found.reference.as_ref().filter(|reference| reference.tag().is_some());
        let mut named = plain;
        if let Some(reference) = reference {
            named = named_descriptor(named, &reference.to_string());
            // As Docker and BuildKit have it; the other name is whole.
            let tag = reference.tag().unwrap_or_default();
            named.annotations.insert(ANNOTATION_REF_NAME.into(), tag.into());
        }
        contents.manifests.push(named);
        if row.id != row.manifest {
            self.add_for_docker(&shown, reference, contents)?;
        }
        Ok(())
    }

    /// A manifest and what of its blobs is here.
    fn add_parts(&self, manifest: &Digest, contents: &mut Contents) -> Result<(), Error> {
        for part in self.parts_of(manifest)? {
            if self.content.size(&part)?.is_some() {
                contents.blobs.insert(part);
            }
        }
        Ok(())
    }

    fn add_for_docker(
        &self,
        manifest: &Digest,
        reference: Option<&Reference>,
        contents: &mut Contents,
    ) -> Result<(), Error> {
        let Some((manifest, _)) = self.manifest(manifest)? else { return Ok(()) };
        let config = blob_path(&manifest.config.digest);
        let tags = reference.map(Reference::familiar);
        if let (Some(reference), Some(top)) = (reference, manifest.layers.last()) {
            let of_name = contents.repositories.entry(reference.familiar_name()).or_default();
            let tag = reference.tag().unwrap_or_default();
            of_name.insert(tag.to_owned(), top.digest.hex().to_owned());
        }
        match contents.docker.iter_mut().find(|one| one.config == config) {
            Some(known) => known.repo_tags.extend(tags),
            None => contents.docker.push(DockerImage {
                config,
                repo_tags: tags.into_iter().collect(),
                layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
            }),
        }
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

/// The directories that blobs are in, each after the one that it is in.
fn blob_directories(blobs: &BTreeSet<Digest>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for blob in blobs {
        let path = blob_path(blob);
        let parents = std::path::Path::new(&path).ancestors().skip(1);
        let named = parents.filter_map(|parent| parent.to_str()).filter(|name| !name.is_empty());
        all.extend(named.map(|name| format!("{name}/")));
    }
    all
}

fn append_directory<W: Write>(writer: &mut Writer<W>, path: &str) -> Result<(), Error> {
    let entry = Entry { path: path.into(), kind: Kind::Directory, mode: 0o755, ..Entry::default() };
    writer.append(&entry, &mut io::empty()).map_err(Error::Write)
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
