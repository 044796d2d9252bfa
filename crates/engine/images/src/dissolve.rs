//! Taking targets apart: one platform of them, or all that only they needed.

use std::collections::HashSet;

use oci::Digest;
use oci::image::Platform;

use crate::remove::check_removal;
use crate::resolve::Found;
use crate::target::{Match, attests};
use crate::{Error, Images, Pruned, Removed};

/// What was in targets that are gone.
#[derive(Debug, Default)]
pub(crate) struct Dissolved {
    pub(crate) images: Vec<Digest>,
    pub(crate) parts: Vec<Digest>,
}

impl Images {
    /// Removes what is here of some platforms of what `name` means. The name stays as long as any
    /// platform of it is here, and goes with the last one.
    pub fn remove_platforms(
        &self,
        name: &str,
        platforms: &[Platform],
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        self.with_room(|| {
            let mut removed = Vec::new();
            for platform in platforms {
                removed.extend(self.remove_platform(name, platform, force, is_running)?);
            }
            Ok(removed)
        })
    }

    fn remove_platform(
        &self,
        name: &str,
        platform: &Platform,
        force: bool,
        is_running: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Removed>, Error> {
        // What is meant by the name afterwards has to be unpacked; that takes a lock of its own.
        let (found, _, others) = self.of_platform(name, platform)?;
        if let (Some(target), Some(other)) = (&found.target, others.first()) {
            let mut is_unpacked = false;
            for other in &others {
                is_unpacked |= self.image_of_manifest(other)?.is_some();
            }
            if !is_unpacked {
                self.unpack_manifest(target, other)?;
            }
        }
        let lock = self.content.lock_alone()?;
        let (found, manifest, others) = self.of_platform(name, platform)?;
        let Some(target) = found.target.as_ref().filter(|_| !others.is_empty()) else {
            drop(lock);
            return self.remove_once(name, force, is_running);
        };
        let image = self.image_of_manifest(&manifest)?;
        if let Some(image) = &image {
            let users = self.users(image, &[])?;
            let this = Found { id: image.clone(), ..found.clone() };
            check_removal(&this, None, true, 1, force, &users, is_running)?;
        }
        let meant = self.db.read(|tx| tx.target_images(target))?;
        let next = meant.iter().find(|one| one.manifest != manifest).map(|one| one.image.clone());
        let Some(next) = next else {
            return Err(Error::Conflict(format!("{name} is being changed: try again")));
        };
        let mut kept: HashSet<Digest> = self.index_tree(target)?.0.into_iter().collect();
        for other in &others {
            kept.extend(self.parts_of(other)?);
        }
        // What BuildKit says about it goes with it.
        let mut parts = self.parts_of(&manifest)?;
        for entry in self.entries(&found)? {
            if attests(&entry).as_ref() == Some(&manifest) {
                parts.extend(self.parts_of(&entry.digest)?);
            }
        }
        parts.retain(|part| !kept.contains(part));
        self.with_note(|| {
            self.db.write(|tx| {
                tx.delete_target_image(target, &manifest, &parts)?;
                tx.set_target_image(target, &next)
            })?;
            let mut removed = vec![Removed::Deleted(manifest.clone())];
            let dissolved = Dissolved { images: image.into_iter().collect(), parts: parts.clone() };
            removed.extend(self.delete_dissolved(&dissolved)?.removed);
            self.write_index()?;
            Ok(removed)
        })
    }

    /// What `name` means, its manifest for a platform, and those of its other images that are here.
    fn of_platform(
        &self,
        name: &str,
        platform: &Platform,
    ) -> Result<(Found, Digest, Vec<Digest>), Error> {
        let found = self.find(name)?;
        let Some(manifest) = self.choose_manifest(&found, platform, Match::Same)? else {
            return Err(self.not_for(name, &found, platform)?);
        };
        let mut others = Vec::new();
        for entry in self.entries(&found)? {
            let is_image = attests(&entry).is_none() && entry.digest != manifest;
            if is_image && self.is_available(&entry.digest)? {
                others.push(entry.digest);
            }
        }
        Ok((found, manifest, others))
    }

    /// Takes targets out that no tag means any more.
    pub(crate) fn dissolve(&self, targets: &[Digest]) -> Result<Dissolved, Error> {
        self.db.write(|tx| {
            let mut dissolved = Dissolved::default();
            for target in targets {
                if tx.target_is_named(target)? {
                    continue;
                }
                dissolved.images.extend(tx.target_images(target)?.into_iter().map(|one| one.image));
                dissolved.parts.extend(tx.target_parts(target)?);
                tx.delete_target(target)?;
            }
            Ok(dissolved)
        })
    }

    /// Deletes what was only in targets that are gone: images without a name that no container is
    /// made of, and blobs.
    pub(crate) fn delete_dissolved(&self, dissolved: &Dissolved) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        for image in &dissolved.images {
            let is_wanted = self.db.read(|tx| {
                Ok::<_, Error>(
                    tx.image(image)?.is_none()
                        || !tx.tags_of(image)?.is_empty()
                        || !tx.repo_digests_of(image)?.is_empty()
                        || !tx.targets_with(image)?.is_empty(),
                )
            })?;
            if !is_wanted {
                let deleted = self.delete(image)?;
                pruned.removed.extend(deleted.removed);
                pruned.reclaimed += deleted.reclaimed;
            }
        }
        for part in &dissolved.parts {
            if !self.db.read(|tx| tx.blob_is_used(part))? {
                self.content.delete(part)?;
            }
        }
        Ok(pruned)
    }
}
