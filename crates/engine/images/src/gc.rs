//! Automatic collection: images that nobody has used for long, or for which there is no room.
//!
//! Only where a policy asks for it. An image that a container is made of never goes, whether it runs
//! or not, nor one that a pull or a push counts on, nor one that was pushed to the registry of our
//! own, nor one that was used just now.

use std::collections::{HashMap, HashSet};

use docker::gc::{Collected, Policy, Report, Room};
use docker::timestamp::Timestamp;
use oci::{ChainId, Digest};

use crate::{CollectionLog, Error, Images, Summary, now};

/// A blob or an unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Blob(Digest),
    Layer(ChainId),
}

/// What is on the disk for images, and for how many of them.
#[derive(Debug, Default)]
struct Ledger {
    pieces: HashMap<Piece, (u64, usize)>,
    images: HashMap<Digest, HashSet<Piece>>,
    /// Bytes of all pieces.
    total: u64,
}

impl Ledger {
    /// Takes an image out. Bytes that nobody needs any more.
    fn remove(&mut self, image: &Digest) -> u64 {
        let mut freed = 0;
        for piece in self.images.remove(image).unwrap_or_default() {
            if let Some((size, users)) = self.pieces.get_mut(&piece) {
                *users -= 1;
                if *users == 0 {
                    freed += *size;
                }
            }
        }
        self.total -= freed;
        freed
    }
}

impl Images {
    /// Removes the images that the policy wants gone, those first that were not used for longest; or
    /// only says which those are.
    pub fn gc(&self, policy: &Policy, dry_run: bool) -> Result<Report, Error> {
        if dry_run {
            return self.collect_by(policy, &mut |_| Ok(true));
        }
        self.with_room(|| self.gc_once(policy))
    }

    fn gc_once(&self, policy: &Policy) -> Result<Report, Error> {
        let _lock = self.content.lock_alone()?;
        let mut report = self.with_note(|| {
            let report = self.collect_by(policy, &mut |image| {
                let (_, deleted) = self.take_away(image)?;
                Ok(!deleted.removed.is_empty())
            })?;
            self.write_index()?;
            Ok(report)
        })?;
        report.dry_run = false;
        self.gc_journal().append(&report.removed)?;
        Ok(report)
    }

    /// Goes through the images in order, and has those removed that are to go. `remove` says whether it
    /// could.
    fn collect_by(
        &self,
        policy: &Policy,
        remove: &mut dyn FnMut(&Digest) -> Result<bool, Error>,
    ) -> Result<Report, Error> {
        let mut ledger = self.ledger()?;
        let (free, disk) = self.content.disk()?;
        let now = now();
        let (uses, kept) = self.db.read(|tx| {
            let kept: HashSet<Digest> = tx.served_images()?.into_iter().collect();
            Ok::<_, Error>((tx.last_uses()?, kept))
        })?;
        let last_use = |image: &Summary| uses.get(&image.row.id).copied().unwrap_or(now);
        let mut images = self.list(&policy.filters)?;
        images.sort_by_key(|image| (last_use(image), image.row.id.clone()));
        let mut room = Room { what: "images", held: ledger.total, free, disk };
        let mut report = Report { dry_run: true, ..Report::default() };
        for image in images {
            let used = last_use(&image);
            let Some(reason) = policy.reason(now.saturating_sub(used), &room) else {
                break; // Those that follow were used later.
            };
            let stays = kept.contains(&image.row.id) || self.stays(policy, &image)?;
            if stays || !remove(&image.row.id)? {
                continue;
            }
            let freed = ledger.remove(&image.row.id);
            room.gain(freed);
            report.space_reclaimed += freed;
            report.removed.push(Collected {
                time: Timestamp::from_nanos(now).to_string(),
                id: image.row.id.to_string(),
                names: image.repo_tags,
                size: freed,
                last_used: Timestamp::from_nanos(used).to_string(),
                reason,
            });
        }
        report.unmet = policy.unmet(&room);
        Ok(report)
    }

    /// Whether an image is in use; or has a name that the policy does not mean.
    fn stays(&self, policy: &Policy, image: &Summary) -> Result<bool, Error> {
        if image.containers > 0 {
            return Ok(true);
        }
        let by_name = policy.filters.get("reference").next().is_some();
        self.db.read(|tx| {
            let other_name = by_name && tx.tags_of(&image.row.id)?.len() > image.repo_tags.len();
            Ok(other_name || !tx.holders_of(&image.row.id)?.is_empty())
        })
    }

    fn ledger(&self) -> Result<Ledger, Error> {
        let sizes: HashMap<Digest, u64> = self.content.list()?.into_iter().collect();
        self.db.read(|tx| {
            let layers: HashMap<ChainId, u64> =
                tx.layers()?.into_iter().map(|row| (row.chain, row.size)).collect();
            let mut ledger = Ledger::default();
            for image in tx.images()? {
                let mut pieces =
                    HashSet::from([Piece::Blob(image.id.clone()), Piece::Blob(image.manifest)]);
                for layer in tx.image_layers(&image.id)? {
                    pieces.insert(Piece::Blob(layer.blob));
                    pieces.insert(Piece::Layer(layer.chain));
                }
                for target in tx.targets_meaning(&image.id)? {
                    let parts = tx.target_parts(&target.digest)?;
                    pieces.extend(parts.into_iter().map(Piece::Blob));
                    for other in tx.target_images(&target.digest)? {
                        let layers = tx.image_layers(&other.image)?;
                        pieces.extend(layers.into_iter().map(|layer| Piece::Layer(layer.chain)));
                    }
                }
                for piece in &pieces {
                    let size = match piece {
                        Piece::Blob(blob) => sizes.get(blob),
                        Piece::Layer(chain) => layers.get(chain),
                    };
                    let size = size.copied().unwrap_or(0);
                    let (_, users) = ledger.pieces.entry(piece.clone()).or_insert((size, 0));
                    *users += 1;
                    if *users == 1 {
                        ledger.total += size;
                    }
                }
                ledger.images.insert(image.id, pieces);
            }
            Ok(ledger)
        })
    }

    fn gc_journal(&self) -> CollectionLog {
        CollectionLog::new(self.content.root().with_file_name("image-gc.log"))
    }

    /// What collections have removed, the oldest first.
    pub fn gc_log(&self) -> Result<Vec<Collected>, Error> {
        self.gc_journal().read()
    }
}
