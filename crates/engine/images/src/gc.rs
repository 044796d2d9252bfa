//! Automatic collection: images that nobody has used for long, or for which there is no room.
//!
//! Only where a policy asks for it. An image that a container is made of never goes, whether it runs
//! or not, nor one that a pull or a push counts on, nor one that was pushed to the registry of our
//! own, nor one that was used just now.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use docker::gc::{Collected, Free, Policy, Report};
use docker::timestamp::Timestamp;
use docker::units;
use oci::{ChainId, Digest};

use crate::{Error, Images, Summary, now};

/// The log is begun anew when it is larger, and the one before it kept.
const LOG_BYTES: u64 = 1 << 20;

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
        self.log(&report.removed)?;
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
        let (mut free, disk) = self.content.disk()?;
        let now = now();
        let (uses, kept) = self.db.read(|tx| {
            let kept: HashSet<Digest> = tx.served_images()?.into_iter().collect();
            Ok::<_, Error>((tx.last_uses()?, kept))
        })?;
        let last_use = |image: &Summary| uses.get(&image.row.id).copied().unwrap_or(now);
        let mut images = self.list(&policy.filters)?;
        images.sort_by_key(|image| (last_use(image), image.row.id.clone()));
        let wanted_free = policy.min_free.map(|wanted| match wanted {
            Free::Bytes(bytes) => bytes,
            Free::Percent(percent) => disk / 100 * u64::from(percent),
        });
        let size = |bytes: u64| units::human_size_with_precision(bytes as f64, 3);
        let too_much = |total: u64| {
            let max = policy.max_size.filter(|max| total > *max)?;
            Some(format!("images hold {}, more than {}", size(total), size(max)))
        };
        let too_full = |free: u64| {
            let wanted = wanted_free.filter(|wanted| free < *wanted)?;
            Some(format!("{} of the disk are free, less than {}", size(free), size(wanted)))
        };
        let mut report = Report { dry_run: true, ..Report::default() };
        for image in images {
            let used = last_use(&image);
            if now.saturating_sub(used) < policy.min_age {
                break; // So were all that follow.
            }
            let is_old = policy.max_age.filter(|max| now.saturating_sub(used) > *max).map(|max| {
                format!("not used for more than {}", units::human_duration(max / 1_000_000_000))
            });
            let Some(reason) = is_old.or_else(|| too_much(ledger.total)).or_else(|| too_full(free))
            else {
                break;
            };
            let stays = kept.contains(&image.row.id) || self.stays(policy, &image)?;
            if stays || !remove(&image.row.id)? {
                continue;
            }
            let freed = ledger.remove(&image.row.id);
            free = free.saturating_add(freed);
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
        report.unmet = too_much(ledger.total).into_iter().chain(too_full(free)).collect();
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

    /// Where it is written down what went: a line of JSON for each image.
    fn log_path(&self) -> PathBuf {
        self.content.root().with_file_name("image-gc.log")
    }

    fn log(&self, removed: &[Collected]) -> Result<(), Error> {
        if removed.is_empty() {
            return Ok(());
        }
        let path = self.log_path();
        let at = |call| {
            let path = path.clone();
            move |source| Error::Io { call, path, source }
        };
        if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_BYTES) {
            fs::rename(&path, path.with_extension("log.1")).map_err(at("rename"))?;
        }
        let mut options = OpenOptions::new();
        let mut log =
            options.append(true).create(true).mode(0o600).open(&path).map_err(at("open"))?;
        for one in removed {
            let mut line = crate::install::to_json("a line of the log", one)?;
            line.push(b'\n');
            log.write_all(&line).map_err(at("write"))?;
        }
        Ok(())
    }

    /// What collections have removed, the oldest first.
    pub fn gc_log(&self) -> Result<Vec<Collected>, Error> {
        let path = self.log_path();
        let mut collected = Vec::new();
        for path in [path.with_extension("log.1"), path] {
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text.map_err(|source| Error::Io { call: "read", path, source })?,
            };
            // The last line may be cut, where the machine lost power.
            collected.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        Ok(collected)
    }
}
