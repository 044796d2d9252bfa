//! Looking at images.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use docker::filters::Filters;
use docker::timestamp::Timestamp;
use metadata::Tag;
use oci::Digest;
use oci::image::{Descriptor, MAX_CONFIG, Platform, media_type};
use reference::Reference;

use crate::install::parse_config;
use crate::target::Match;
use crate::{Error, Image, Images, created};

/// The filters that a list of images knows.
const FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

/// One line of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The image's row: id, manifest, size, times.
    pub row: metadata::Image,
    /// The image that it was made of, if that is known, and still there.
    pub parent: Option<Digest>,
    /// `NAME:TAG`, short.
    pub repo_tags: Vec<String>,
    /// `NAME@DIGEST`, short.
    pub repo_digests: Vec<String>,
    /// The image's labels.
    pub labels: BTreeMap<String, String>,
    /// How many containers are made of it, or of another platform's image of the same name.
    pub containers: u64,
    /// The images of all its platforms that are here, itself among them.
    pub images: Vec<Digest>,
    /// Of the files of all its platforms that are unpacked, in bytes; a layer that several have counts
    /// once.
    pub size: u64,
    /// What it is: the index, or the manifest.
    pub descriptor: Descriptor,
    /// Repositories that it was pulled from or pushed to, in full.
    pub origins: Vec<String>,
}

/// All that is known of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// The image.
    pub image: Image,
    /// The image that it was made of, if that is known, and still there.
    pub parent: Option<Digest>,
    /// `NAME:TAG`, short.
    pub repo_tags: Vec<String>,
    /// `NAME@DIGEST`, short.
    pub repo_digests: Vec<String>,
    /// What the name means: the index, or the manifest. Where a platform was asked for the manifest that is
    /// for it, with the platform.
    pub descriptor: Option<Descriptor>,
    /// Repositories that it was pulled from or pushed to, in full.
    pub origins: Vec<String>,
    /// When somebody last gave it a name, nanoseconds since 1970; coming with one does not count.
    pub last_tag_time: Option<i64>,
    /// When it came into the store, nanoseconds since 1970.
    pub added: i64,
}

/// One step of an image's making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image, at its last step; of the others nothing is known.
    pub id: Option<Digest>,
    /// Nanoseconds since 1970; 0 where it is not known.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// The image's names, at its last step.
    pub tags: Vec<String>,
    /// Bytes of the files of its layer.
    pub size: u64,
    /// A note.
    pub comment: String,
}

impl Images {
    /// The images that `filters` want, the newest first. Known are `before`, `since` (images),
    /// `dangling`, `label`, `label!`, `reference` (patterns) and `until` (a time).
    pub fn list(&self, filters: &Filters) -> Result<Vec<Summary>, Error> {
        let filters = filters.clone().only(FILTERS).map_err(|error| invalid(&error))?;
        let dangling = filters.bool("dangling").map_err(|error| invalid(&error))?;
        let moment = |key: &str| {
            let bounds = filters.get(key).map(|name| {
                let found = self.find(name)?;
                Ok(self.get(&found.id)?.created)
            });
            bounds.collect::<Result<Vec<i64>, Error>>()
        };
        let before = moment("before")?.into_iter().min();
        let since = moment("since")?.into_iter().max();
        let until = filters.get("until").map(|text| {
            Timestamp::parse(text)
                .map(Timestamp::as_nanos)
                .map_err(|error| Error::Invalid(error.to_string()))
        });
        let until = until.collect::<Result<Vec<i64>, Error>>()?.into_iter().min();

        let (rows, mut parents, mut tags, mut called, containers, targets, within) =
            self.db.read(|tx| {
                let mut tags: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
                for tag in tx.tags()? {
                    tags.entry(tag.image.clone()).or_default().push(tag);
                }
                let mut called: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
                for digest in tx.repo_digests()? {
                    called.entry(digest.image).or_default().push(digest.reference);
                }
                let targets = (tx.targets()?, tx.images_of_targets()?);
                Ok::<_, Error>((
                    tx.images()?,
                    tx.parents()?,
                    tags,
                    called,
                    tx.containers_by_image()?,
                    targets.0,
                    targets.1,
                ))
            })?;
        let sizes: BTreeMap<Digest, u64> =
            rows.iter().map(|row| (row.id.clone(), row.size)).collect();
        let mut summaries = Vec::new();
        for row in rows {
            let tags = tags.remove(&row.id).unwrap_or_default();
            let called = called.remove(&row.id).unwrap_or_default();
            let meant: Vec<_> = targets.iter().filter(|target| target.image == row.id).collect();
            let is_of_another = meant.is_empty() && within.iter().any(|one| one.image == row.id);
            if is_of_another && tags.is_empty() && called.is_empty() {
                continue;
            }
            let mut group: BTreeSet<&Digest> = within
                .iter()
                .filter(|one| meant.iter().any(|target| target.digest == one.target))
                .map(|one| &one.image)
                .collect();
            group.insert(&row.id);
            let is_alone = tags.iter().any(|tag| tag.target.is_none());
            let target = meant.first().copied().filter(|_| !is_alone);
            let names = names(&tags);
            let is_dangling = names.is_empty() && called.is_empty();
            let wanted = dangling.is_none_or(|dangling| is_dangling == dangling)
                && before.is_none_or(|before| row.created < before)
                && since.is_none_or(|since| row.created > since)
                && until.is_none_or(|until| row.created < until);
            if !wanted {
                continue;
            }
            let shown: Vec<_> = names
                .iter()
                .filter(|name| filters.any("reference", |pattern| fits(pattern, name)))
                .collect();
            if shown.is_empty() && filters.get("reference").next().is_some() {
                continue;
            }
            let labels = if row.id == row.manifest {
                // What an artifact says of itself are annotations.
                self.labels_of_artifact(&row.id, &filters)?
            } else {
                self.labels(&row.id, &filters)?
            };
            let Some(labels) = labels else { continue };
            let repo_tags = shown.iter().map(|name| name.familiar()).collect();
            let repo_digests = digests(&called);
            let sum = |of: &dyn Fn(&Digest) -> Option<u64>| {
                group.iter().map(|id| of(id).unwrap_or(0)).sum::<u64>()
            };
            let size = sum(&|id| sizes.get(id).copied()) - self.in_common(&group)?;
            let containers = sum(&|id| containers.get(id).copied());
            let descriptor = self.descriptor_of(target, &row)?;
            summaries.push(Summary {
                images: group.into_iter().cloned().collect(),
                parent: parents.remove(&row.id),
                row,
                repo_tags,
                repo_digests,
                labels,
                containers,
                size,
                descriptor,
                origins: origins(&called),
            });
        }
        Ok(summaries)
    }

    /// Bytes of files of layers that several of these images have, beyond the first of them.
    fn in_common(&self, images: &BTreeSet<&Digest>) -> Result<u64, Error> {
        if images.len() < 2 {
            return Ok(0);
        }
        Ok(self.db.read(|tx| {
            let (mut seen, mut n_bytes) = (BTreeSet::new(), 0);
            for id in images {
                for layer in tx.image_layers(id)? {
                    if !seen.insert(layer.chain.clone()) {
                        n_bytes += tx.layer(&layer.chain)?.map_or(0, |layer| layer.size);
                    }
                }
            }
            Ok::<_, metadata::Error>(n_bytes)
        })?)
    }

    /// The image that each image was made of by `commit`, where both are still there.
    pub fn parents(&self) -> Result<HashMap<Digest, Digest>, Error> {
        Ok(self.db.read(metadata::Read::parents)?)
    }

    /// What a target is, or else an image's own manifest.
    fn descriptor_of(
        &self,
        target: Option<&metadata::Target>,
        row: &metadata::Image,
    ) -> Result<Descriptor, Error> {
        let (kind, digest) = match target {
            Some(target) => (target.media_type.clone(), &target.digest),
            None => (String::new(), &row.manifest),
        };
        let size = self.content.size(digest)?.unwrap_or(0);
        let mut descriptor = Descriptor::new(&kind, digest.clone(), size);
        if kind.is_empty() {
            let read = match self.manifest(digest) {
                Ok(read) => read,
                // A damaged one is still listed.
                Err(Error::Content(content::Error::WrongDigest { .. })) => None,
                Err(error) => return Err(error),
            };
            let stated = read.and_then(|(manifest, _)| manifest.media_type);
            descriptor.media_type = stated.unwrap_or_else(|| media_type::MANIFEST.into());
        }
        Ok(descriptor)
    }

    /// An image's labels, if the filters want them. One whose configuration is damaged, or gone, is
    /// still listed; but nobody knows its labels, so no filter for labels wants it.
    fn labels(
        &self,
        id: &Digest,
        filters: &Filters,
    ) -> Result<Option<BTreeMap<String, String>>, Error> {
        let labels = match self.content.read(id, MAX_CONFIG as u64) {
            Ok(bytes) => parse_config(&bytes)?.config.labels,
            Err(content::Error::WrongDigest { .. } | content::Error::NotFound { .. }) => {
                let asks = ["label", "label!"].iter().any(|key| filters.get(key).next().is_some());
                return Ok((!asks).then(BTreeMap::new));
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = filters.labels("label", &labels) && filters.not_labels(&labels);
        Ok(wanted.then_some(labels))
    }

    /// All about the image that `name` means.
    pub fn details(&self, name: &str) -> Result<Details, Error> {
        self.details_for(name, None)
    }

    /// All about the image that `name` means for a platform.
    pub fn details_for(&self, name: &str, wanted: Option<&Platform>) -> Result<Details, Error> {
        if name == crate::HOST {
            let image = self.resolve(name)?;
            return Ok(Details {
                parent: None,
                repo_tags: vec![crate::HOST.into()],
                repo_digests: Vec::new(),
                descriptor: None,
                origins: Vec::new(),
                last_tag_time: None,
                added: image.created,
                image,
            });
        }
        self.ensure_embedded(name)?;
        let found = self.find(name)?;
        let mut image = self.image_for(name, &found, wanted)?;
        let (row, parent, target, tags, called, last_tag_time) = self.db.read(|tx| {
            let id = &found.id;
            let target = found.target.as_ref().map(|target| tx.target(target)).transpose()?;
            let parent = tx.parents()?.remove(&image.id);
            let (tags, called) = (tx.tags_of(id)?, tx.repo_digests_of(id)?);
            Ok::<_, Error>((tx.image(id)?, parent, target, tags, called, tx.last_tagged(id)?))
        })?;
        image.reference.clone_from(&found.reference);
        let row = row.ok_or_else(|| Error::NoImage(name.into()))?;
        let origins = origins(&called);
        let descriptor = match wanted {
            None => Some(self.descriptor_of(target.flatten().as_ref(), &row)?),
            Some(wanted) => self.choose_entry(&found, wanted, Match::Same)?,
        };
        Ok(Details {
            parent,
            repo_tags: names(&tags).iter().map(Reference::familiar).collect(),
            repo_digests: digests(&called),
            descriptor,
            origins,
            last_tag_time,
            added: row.added,
            image,
        })
    }

    /// How the image that `name` means was made, the last step first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>, Error> {
        self.history_for(name, None)
    }

    /// The same of its image for a platform.
    pub fn history_for(
        &self,
        name: &str,
        wanted: Option<&Platform>,
    ) -> Result<Vec<HistoryEntry>, Error> {
        let Details { image, parent, repo_tags, .. } = self.details_for(name, wanted)?;
        let mut sizes = self.db.read(|tx| {
            let layers = image.chain.iter().map(|chain| tx.layer(chain));
            let sizes = layers.map(|layer| layer.map(|layer| layer.map_or(0, |layer| layer.size)));
            sizes.collect::<Result<Vec<u64>, metadata::Error>>()
        })?;
        sizes.reverse();
        let mut entries = Vec::new();
        for step in &image.config.history {
            // Stated by a stranger: more steps than layers is his mistake, not ours.
            let size = if step.empty_layer { 0 } else { sizes.pop().unwrap_or(0) };
            let stated = oci::image::ImageConfig {
                created: step.created.clone(),
                ..oci::image::ImageConfig::default()
            };
            entries.push(HistoryEntry {
                id: None,
                created: created(&stated),
                created_by: step.created_by.clone().unwrap_or_default(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone().unwrap_or_default(),
            });
        }
        entries.reverse();
        if let Some(last) = entries.first_mut() {
            last.id = Some(image.id);
            last.tags = repo_tags;
        }
        self.name_ancestors(&mut entries, parent)?;
        Ok(entries)
    }

    /// Says of the steps that an image has from others it was made of which these are.
    fn name_ancestors(
        &self,
        entries: &mut [HistoryEntry],
        parent: Option<Digest>,
    ) -> Result<(), Error> {
        let Some(mut next) = parent else { return Ok(()) };
        let mut parents = self.db.read(metadata::Read::parents)?;
        loop {
            let n_steps = self.get(&next)?.config.history.len();
            let at = entries.len().checked_sub(n_steps).and_then(|at| entries.get_mut(at));
            if let Some(entry) = at.filter(|entry| entry.id.is_none()) {
                let tags = self.db.read(|tx| tx.tags_of(&next))?;
                entry.tags = names(&tags).iter().map(Reference::familiar).collect();
                entry.id = Some(next.clone());
            }
            // Each is asked for once: whatever the rows say, this ends.
            match parents.remove(&next) {
                Some(above) => next = above,
                None => return Ok(()),
            }
        }
    }
}

/// The repositories that know an image.
fn origins(called: &[String]) -> Vec<String> {
    let names = called.iter().filter_map(|name| name.split_once('@'));
    let mut origins: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
    origins.dedup();
    origins
}

fn invalid(error: &docker::filters::Error) -> Error {
    Error::Invalid(error.to_string())
}

/// The names of an image; what is no name any more, after an update, is not shown.
fn names(tags: &[Tag]) -> Vec<Reference> {
    tags.iter().filter_map(|tag| tag.reference.parse().ok()).collect()
}

/// What registries call an image. One that no registry has is called nothing, as with Docker's graph drivers.
fn digests(called: &[String]) -> Vec<String> {
    let called = called.iter().filter_map(|text| text.parse::<Reference>().ok());
    called.map(|called| called.familiar()).collect()
}

/// Whether a name fits a pattern of `--filter reference=`: `NAME`, `NAME:TAG`, with `*`, `?` and
/// `[a-z]` that do not cross a slash.
fn fits(pattern: &str, name: &Reference) -> bool {
    [name.familiar(), name.familiar_name(), name.to_string(), name.name()]
        .iter()
        .any(|text| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `path.Match` of Go, which Docker uses.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            let reach = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            (0..=reach).any(|at| glob(rest, &text[at..]))
        }
        Some((b'?', rest)) => {
            text.split_first().is_some_and(|(byte, text)| *byte != b'/' && glob(rest, text))
        }
        Some((b'[', rest)) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            text.split_first().is_some_and(|(byte, text)| in_set(set, *byte) && glob(rest, text))
        }
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(found, text)| found == byte && glob(rest, text))
        }
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (negated, mut set) = match set.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    while let Some((low, rest)) = set.split_first() {
        set = rest;
        let mut high = low;
        if let [b'-', end, rest @ ..] = rest {
            (high, set) = (end, rest);
        }
        found |= (*low..=*high).contains(&byte);
    }
    found != negated && byte != b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names() {
        let name: Reference = "me/app-web:1.2".parse().unwrap();
        for (pattern, want) in [
            ("me/app-web", true),
            ("me/app-web:1.2", true),
            ("me/app-web:1.?", true),
            ("me/*", true),
            ("*/*:1.*", true),
            ("docker.io/me/app-web", true),
            ("me/app-[u-x]eb", true),
            ("me/app-[^w]eb", false),
            ("*", false),
            ("app-web", false),
            ("me/app", false),
            ("[", false),
        ] {
            assert_eq!(fits(pattern, &name), want, "{pattern}");
        }
    }
}
