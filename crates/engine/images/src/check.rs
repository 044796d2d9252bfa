//! Looking whether all that images are made of is there, and right: beside whoever else uses it.
//!
//! What is missing is asked while nobody can delete (the shared lock), what nothing needs while
//! nobody can add (the lock alone, or it is not asked), and what takes long, reading every blob and
//! unpacking every layer once more, with no lock at all: what has gone meanwhile is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, BufReader, Read};
use std::thread::sleep;
use std::time::{Duration, Instant};

use content::Verdict;
use docker::check::{Finding, Kind, Progress, Summary};
use metadata::{ImageLayer, Layer};
use oci::image::{Index, MAX_CONFIG, MAX_MANIFEST, Manifest};
use oci::{ChainId, Digest};
use reference::Reference;
use snapshot::Form;

use crate::install::parse_config;
use crate::{Error, Images};

/// How long the lock is waited for before what needs it is left out.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many differences of a layer are counted before the comparison ends.
const DIFFERENCES: usize = 100;

/// How to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checking {
    /// Leave out what takes long: hashing blobs and comparing layers.
    pub quick: bool,
    /// Repair what can be repaired without taking anything from anybody.
    pub repair: bool,
}

/// Told how far a check is; its error ends the check.
pub type Tell<'a> = &'a mut dyn FnMut(Progress) -> io::Result<()>;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong, by kind and subject.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub summary: Summary,
}

/// What the database says, of one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) images: Vec<(metadata::Image, Vec<ImageLayer>)>,
    layers: HashMap<ChainId, Layer>,
    /// What images, pulls and whoever else keeps blobs need.
    used: HashSet<Digest>,
    /// Layers that builds have made.
    built: Vec<ChainId>,
    /// What was pushed to the registry of our own: blobs, with the names of repositories.
    served: BTreeMap<Digest, Vec<String>>,
    /// What targets consist of: blobs, with the images that are meant.
    parts: BTreeMap<Digest, BTreeSet<Digest>>,
    names: HashMap<Digest, String>,
    containers: HashMap<Digest, Vec<String>>,
}

impl View {
    fn read(tx: &metadata::Read) -> Result<Self, metadata::Error> {
        let (used, served) = (tx.used_blobs()?, tx.served_blobs()?);
        let mut view = Self { used, served, ..Self::default() };
        view.built = tx.build_records()?.into_iter().filter_map(|record| record.chain).collect();
        for target in tx.targets()? {
            for part in tx.target_parts(&target.digest)? {
                view.parts.entry(part).or_default().insert(target.image.clone());
            }
        }
        for tag in tx.tags()? {
            let name =
                tag.reference.parse().map_or(tag.reference, |name: Reference| name.familiar());
            view.names.entry(tag.image).or_insert(name);
        }
        for container in tx.containers()? {
            if let Some(image) = container.image {
                view.containers.entry(image).or_default().push(container.name);
            }
        }
        for image in tx.images()? {
            let layers = tx.image_layers(&image.id)?;
            view.names.entry(image.id.clone()).or_insert_with(|| image.id.short().to_owned());
            view.images.push((image, layers));
        }
        view.layers = tx.layers()?.into_iter().map(|row| (row.chain.clone(), row)).collect();
        Ok(view)
    }

    /// The ids of the images that `needs` says yes to.
    fn images_that(
        &self,
        needs: impl Fn(&metadata::Image, &[ImageLayer]) -> bool,
    ) -> BTreeSet<Digest> {
        let needing = self.images.iter().filter(|(image, layers)| needs(image, layers));
        needing.map(|(image, _)| image.id.clone()).collect()
    }

    fn images_with_blob(&self, blob: &Digest) -> BTreeSet<Digest> {
        self.images_that(|image, layers| {
            image.id == *blob
                || image.manifest == *blob
                || layers.iter().any(|layer| layer.blob == *blob)
                || self.parts.get(blob).is_some_and(|images| images.contains(&image.id))
        })
    }

    pub(crate) fn images_with_layer(&self, chain: &ChainId) -> BTreeSet<Digest> {
        self.images_that(|_, layers| layers.iter().any(|layer| layer.chain == *chain))
    }

    /// Notes in a finding who needs what it is about.
    fn name_users(&self, finding: &mut Finding, images: &BTreeSet<Digest>) {
        for image in images {
            finding.images.extend(self.names.get(image).cloned());
            finding.containers.extend(self.containers.get(image).into_iter().flatten().cloned());
        }
        finding.images.sort();
        finding.containers.sort();
    }

    /// Unpacked layers that an image, a pull or the build cache needs, and those below them.
    fn needed_layers(&self) -> HashSet<ChainId> {
        let named = self.images.iter().flat_map(|(_, layers)| layers).map(|layer| &layer.chain);
        let held = self.layers.keys().filter(|chain| self.used.contains(chain.digest()));
        let mut rest: Vec<ChainId> = named.chain(held).chain(&self.built).cloned().collect();
        let mut needed = HashSet::new();
        while let Some(chain) = rest.pop() {
            rest.extend(self.layers.get(&chain).and_then(|row| row.parent.clone()));
            needed.insert(chain);
        }
        needed
    }
}

/// A check under way.
pub(crate) struct Check<'a> {
    pub(crate) images: &'a Images,
    pub(crate) view: View,
    findings: BTreeMap<(Kind, String), Finding>,
    /// Damaged blobs, with the number of the file.
    pub(crate) damaged: HashMap<Digest, u64>,
    pub(crate) summary: Summary,
}

impl Images {
    /// Looks whether all that images need is there and right, and that nothing else is.
    pub fn check(&self, checking: Checking, tell: Tell<'_>) -> Result<Checked, Error> {
        let mut check = Check {
            images: self,
            view: self.db.read(View::read)?,
            findings: BTreeMap::new(),
            damaged: HashMap::new(),
            summary: Summary::default(),
        };
        if !checking.quick {
            check.blobs(tell)?;
        }
        check.missing()?;
        if !checking.quick {
            check.layers(tell)?;
        }
        check.unneeded()?;
        let Check { view, findings, damaged, mut summary, .. } = check;
        let mut findings: Vec<Finding> = findings.into_values().collect();
        if checking.repair {
            self.repair(&view, &damaged, &mut findings)?;
        }
        summary.images = view.images.len() as u64;
        Ok(Checked { findings, summary })
    }

    /// The lock alone; `None` where others are at work for long.
    pub(crate) fn lock_alone_soon(&self) -> Result<Option<content::Lock>, Error> {
        let begun = Instant::now();
        loop {
            let lock = self.content.try_lock_alone()?;
            if lock.is_some() || begun.elapsed() > PATIENCE {
                return Ok(lock);
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Reads a layer's archive out of the content store.
    pub(crate) fn archive_of(&self, blob: &Digest) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(BufReader::with_capacity(128 << 10, self.content.reader(blob)?)))
    }
}

impl Check<'_> {
    fn find(&mut self, kind: Kind, subject: &(impl ToString + ?Sized), message: impl Into<String>) {
        let subject = subject.to_string();
        let finding = Finding::new(kind, subject.clone(), message);
        self.findings.entry((kind, subject)).or_insert(finding);
    }

    fn find_blob(&mut self, kind: Kind, blob: &Digest, message: impl Into<String>) {
        let mut finding = Finding::new(kind, blob.to_string(), message);
        finding.images.extend(self.view.served.get(blob).into_iter().flatten().cloned());
        self.view.name_users(&mut finding, &self.view.images_with_blob(blob));
        self.findings.entry((kind, blob.to_string())).or_insert(finding);
    }

    fn find_layer(&mut self, kind: Kind, chain: &ChainId, message: impl Into<String>) {
        let mut finding = Finding::new(kind, chain.to_string(), message);
        self.view.name_users(&mut finding, &self.view.images_with_layer(chain));
        self.findings.entry((kind, chain.to_string())).or_insert(finding);
    }

    /// Reads and hashes every blob.
    fn blobs(&mut self, tell: Tell<'_>) -> Result<(), Error> {
        let content = &self.images.content;
        let mut blobs = content.list()?;
        blobs.sort();
        let total = blobs.iter().map(|(_, size)| size).sum();
        let mut current = 0;
        for (blob, _) in &blobs {
            let verdict = content.verify(blob, &mut |n_bytes| {
                current += n_bytes;
                tell(Progress { what: "blobs".into(), current, total })
            })?;
            match verdict {
                Verdict::Gone => continue,
                Verdict::Whole { size } => self.summary.bytes += size,
                Verdict::Damaged { why, inode } => {
                    self.damaged.insert(blob.clone(), inode);
                    self.find_blob(Kind::DamagedBlob, blob, why);
                }
            }
            self.summary.blobs += 1;
        }
        Ok(())
    }

    /// Looks for all that images need.
    fn missing(&mut self) -> Result<(), Error> {
        let _lock = self.images.content.lock_shared()?;
        self.view = self.images.db.read(View::read)?;
        let images = std::mem::take(&mut self.view.images);
        // Who needs what is asked of the view, in the meantime.
        self.view.images.clone_from(&images);
        for (image, layers) in &images {
            let blobs = layers.iter().map(|layer| &layer.blob);
            let mut whole = true;
            for blob in blobs.chain([&image.manifest, &image.id]) {
                whole &= self.blob(blob)?;
            }
            // Of an artifact there is nothing more to know.
            if whole && image.id != image.manifest {
                self.documents(image, layers)?;
            }
            self.unpacked(layers)?;
        }
        let parts = self.view.served.keys().chain(self.view.parts.keys());
        let parts: BTreeSet<Digest> = parts.cloned().collect();
        for blob in &parts {
            self.blob(blob)?;
        }
        Ok(())
    }

    /// Whether a blob is there and not known to be damaged.
    fn blob(&mut self, blob: &Digest) -> Result<bool, Error> {
        if self.damaged.contains_key(blob) {
            return Ok(false);
        }
        match self.images.content.size(blob) {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => self.find_blob(Kind::MissingBlob, blob, "is not there"),
            Err(content::Error::NotAFile { .. }) => {
                self.find_blob(Kind::DamagedBlob, blob, "is not a regular file");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(false)
    }

    /// A document of at most `max` bytes; what is wrong with it is noted.
    fn document(&mut self, blob: &Digest, max: usize) -> Result<Option<Vec<u8>>, Error> {
        match self.images.content.read(blob, max as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error @ (content::Error::WrongDigest { .. } | content::Error::TooLarge { .. })) => {
                self.find_blob(Kind::DamagedBlob, blob, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether an image's manifest, configuration and record are of one image.
    fn documents(&mut self, image: &metadata::Image, layers: &[ImageLayer]) -> Result<(), Error> {
        let manifest = self.document(&image.manifest, MAX_MANIFEST)?;
        let config = self.document(&image.id, MAX_CONFIG)?;
        let (Some(manifest), Some(config)) = (manifest, config) else { return Ok(()) };
        let name = self.view.names.get(&image.id).cloned().unwrap_or_default();
        let manifest = match Manifest::parse(&manifest) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.find(Kind::Image, &name, format!("its manifest cannot be read: {error}"));
                return Ok(());
            }
        };
        let config = match parse_config(&config) {
            Ok(config) => config,
            Err(error) => {
                self.find(Kind::Image, &name, format!("its configuration cannot be read: {error}"));
                return Ok(());
            }
        };
        if manifest.config.digest != image.id {
            let why = format!("its manifest names configuration {}", manifest.config.digest);
            self.find(Kind::Image, &name, why);
        }
        let recorded = layers.iter().map(|layer| &layer.blob);
        if !manifest.layers.iter().map(|layer| &layer.digest).eq(recorded) {
            self.find(Kind::Image, &name, "its manifest names other layers than its record");
        }
        for layer in &manifest.layers {
            let found = self.images.content.size(&layer.digest)?;
            if let Some(found) = found.filter(|found| *found != layer.size) {
                let why = format!("has {found} bytes, {} in a manifest", layer.size);
                self.find_blob(Kind::DamagedBlob, &layer.digest, why);
            }
        }
        let diffs = &config.rootfs.diff_ids;
        if !layers.iter().map(|layer| &layer.diff).eq(diffs) {
            self.find(Kind::Image, &name, "its configuration has other layers than its record");
        }
        let chain = ChainId::chain(diffs);
        if !layers.iter().map(|layer| &layer.chain).eq(&chain) {
            self.find(Kind::Image, &name, "its record has chain ids of other layers");
        }
        Ok(())
    }

    /// Whether an image's layers are unpacked, one on the other.
    fn unpacked(&mut self, layers: &[ImageLayer]) -> Result<(), Error> {
        let mut below: Option<&ChainId> = None;
        for layer in layers {
            match self.view.layers.get(&layer.chain) {
                None => self.find_layer(Kind::MissingLayer, &layer.chain, "has no record"),
                Some(row) if row.diff != layer.diff || row.parent.as_ref() != below => {
                    let why = "its record says that it lies on another layer";
                    self.find_layer(Kind::Database, &layer.chain, why);
                }
                Some(_) if !self.images.snapshots.has_layer(&layer.chain)? => {
                    self.find_layer(Kind::MissingLayer, &layer.chain, "is not unpacked");
                }
                Some(_) => {}
            }
            below = Some(&layer.chain);
        }
        Ok(())
    }

    fn is_found(&self, kind: Kind, subject: &impl ToString) -> bool {
        self.findings.contains_key(&(kind, subject.to_string()))
    }

    /// Unpacks every layer once more, and compares.
    fn layers(&mut self, tell: Tell<'_>) -> Result<(), Error> {
        let images = self.view.images.clone();
        let mut seen = HashSet::new();
        let total = images.iter().flat_map(|(_, layers)| layers).map(|layer| &layer.chain);
        let total = total.collect::<HashSet<_>>().len() as u64;
        for (_, layers) in &images {
            for layer_idx in 0..layers.len() {
                if seen.insert(layers[layer_idx].chain.clone()) {
                    tell(Progress { what: "layers".into(), current: seen.len() as u64, total })
                        .map_err(Error::Write)?;
                    self.layer(layers, layer_idx)?;
                }
            }
        }
        Ok(())
    }

    fn layer(&mut self, layers: &[ImageLayer], layer_idx: usize) -> Result<(), Error> {
        let layer = &layers[layer_idx];
        let here = &layers[..=layer_idx];
        let known = self.damaged.contains_key(&layer.blob)
            || self.is_found(Kind::MissingBlob, &layer.blob)
            || self.is_found(Kind::DamagedBlob, &layer.blob)
            || here.iter().any(|one| self.is_found(Kind::MissingLayer, &one.chain));
        if known {
            return Ok(());
        }
        // Layers that are whole trees share what is wrong.
        let is_whole = self.images.snapshots.form() == Form::Whole;
        let below = &here[..layer_idx];
        if is_whole && below.iter().any(|one| self.is_found(Kind::ChangedLayer, &one.chain)) {
            let why = "a layer below it is not as it should be, whose files it has";
            self.find_layer(Kind::ChangedLayer, &layer.chain, why);
            return Ok(());
        }
        let chain: Vec<ChainId> = here.iter().map(|one| one.chain.clone()).collect();
        let open = || self.images.archive_of(&layer.blob);
        let unpacked = self.images.unpack_layer(&chain, &layer.diff, layer_idx, open);
        let compared = unpacked.and_then(|(unpacking, _)| {
            let unpacking = self.images.snapshots.finish(unpacking)?;
            let path = &self.images.snapshots.layer_paths(&chain)[layer_idx];
            Ok(diff::compare(&unpacking.path(), path, DIFFERENCES)?)
        });
        // Somebody may have removed it meanwhile, and even made it again.
        let before = self.view.layers.get(&layer.chain).cloned();
        let now = self.images.db.read(|tx| tx.layer(&layer.chain))?;
        if now != before || !self.images.snapshots.has_layer(&layer.chain)? {
            return Ok(());
        }
        match compared {
            Ok(differences) => {
                self.summary.layers += 1;
                let Some(first) = differences.first() else { return Ok(()) };
                let n_more = match differences.len() {
                    1 => String::new(),
                    n if n < DIFFERENCES => format!(", and {} more differences", n - 1),
                    _ => format!(", and {} more differences, at least", DIFFERENCES - 1),
                };
                let path = first.path.display();
                let why = format!("\"/{path}\" {what}{n_more}", what = first.what);
                self.find_layer(Kind::ChangedLayer, &layer.chain, why);
            }
            Err(Error::Content(content::Error::WrongDigest { found, .. })) => {
                let why = format!("its archive {} unpacks to {found}", layer.blob);
                self.find_layer(Kind::Image, &layer.chain, why);
            }
            Err(error) => {
                let why = format!(
                    "layer {} was not compared: {}",
                    layer.chain,
                    docker::error::chain(&error)
                );
                self.summary.skipped.push(why);
            }
        }
        Ok(())
    }

    /// Looks for what nothing needs, and at what is written from all of the records.
    fn unneeded(&mut self) -> Result<(), Error> {
        let images = self.images;
        for path in images.content.strays()? {
            self.find(Kind::StrayFile, &path.display(), "is no blob");
        }
        for path in images.content.left_over()?.into_iter().chain(images.snapshots.left_over()?) {
            self.find(Kind::LeftOver, &path.display(), "was left by a process that is gone");
        }
        if let Some(why) = images.content.layout_fault()? {
            self.find(Kind::Layout, "oci-layout", why);
        }
        let Some(_lock) = images.lock_alone_soon()? else {
            let why = "what nothing needs was not looked for: images are being added or removed";
            self.summary.skipped.push(why.into());
            return Ok(());
        };
        let view = images.db.read(View::read)?;
        match images.content.read_index()? {
            Err(why) => self.find(Kind::Index, "index.json", why),
            Ok(found) if named(&found) != named(&images.index()?) => {
                self.find(Kind::Index, "index.json", "does not name what the database names");
            }
            Ok(_) => {}
        }
        for (blob, size) in images.content.list()? {
            if !view.used.contains(&blob) && !self.damaged.contains_key(&blob) {
                let why = format!("nothing needs its {size} bytes");
                self.find(Kind::OrphanBlob, &blob, why);
            }
        }
        let needed = view.needed_layers();
        for chain in images.snapshots.layers()? {
            let is_held = view.used.contains(chain.digest());
            if !needed.contains(&chain) && !is_held {
                self.find(Kind::OrphanLayer, &chain, "nothing needs it");
            }
        }
        for chain in view.layers.keys().filter(|chain| !needed.contains(*chain)) {
            self.find(Kind::OrphanLayer, chain, "nothing needs it");
        }
        Ok(())
    }
}

/// What an index names, by what names. Of a damaged manifest the size is told with the manifest.
fn named(index: &Index) -> Vec<(&Digest, &BTreeMap<String, String>)> {
    index.manifests.iter().map(|one| (&one.digest, &one.annotations)).collect()
}
