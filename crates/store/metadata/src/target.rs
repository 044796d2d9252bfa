//! Targets: what a name means that is more than the manifest of one image. An index with all its
//! platforms, another manifest of an image that is there, an artifact.

use oci::Digest;
use rusqlite::{Row, params};

use crate::text::Text;
use crate::{Error, Image, Read, Write};

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of the index or the manifest.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// Of its images the one that is meant on this machine, by its id.
    pub image: Digest,
    /// Nanoseconds since 1970.
    pub added: i64,
}

/// An image of a target that is here and unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetImage {
    /// The target.
    pub target: Digest,
    /// The image's manifest there.
    pub manifest: Digest,
    /// The image's id.
    pub image: Digest,
}

const TARGET: &str = "digest, media_type, image, added";

fn target(row: &Row<'_>) -> rusqlite::Result<Target> {
    Ok(Target {
        digest: row.get::<_, Text<Digest>>(0)?.0,
        media_type: row.get(1)?,
        image: row.get::<_, Text<Digest>>(2)?.0,
        added: row.get(3)?,
    })
}

fn target_image(row: &Row<'_>) -> rusqlite::Result<TargetImage> {
    Ok(TargetImage {
        target: row.get::<_, Text<Digest>>(0)?.0,
        manifest: row.get::<_, Text<Digest>>(1)?.0,
        image: row.get::<_, Text<Digest>>(2)?.0,
    })
}

impl Read {
    /// All targets, in order.
    pub fn targets(&self) -> Result<Vec<Target>, Error> {
        let sql = format!("SELECT {TARGET} FROM targets ORDER BY digest");
        self.all("list targets", &sql, [], target)
    }

    /// The target of this digest.
    pub fn target(&self, digest: &Digest) -> Result<Option<Target>, Error> {
        let sql = format!("SELECT {TARGET} FROM targets WHERE digest = ?1");
        self.first("look up a target", &sql, [Text(digest)], target)
    }

    /// The targets in which an image is the one that is meant, the oldest first.
    pub fn targets_meaning(&self, image: &Digest) -> Result<Vec<Target>, Error> {
        let sql = format!("SELECT {TARGET} FROM targets WHERE image = ?1 ORDER BY added, digest");
        self.all("list an image's targets", &sql, [Text(image)], target)
    }

    /// The images of a target that are here.
    pub fn target_images(&self, digest: &Digest) -> Result<Vec<TargetImage>, Error> {
        let sql = "SELECT target, manifest, image FROM target_images WHERE target = ?1";
        self.all("list a target's images", sql, [Text(digest)], target_image)
    }

    /// The images of all targets that are here.
    pub fn images_of_targets(&self) -> Result<Vec<TargetImage>, Error> {
        let sql = "SELECT target, manifest, image FROM target_images";
        self.all("list the images of targets", sql, [], target_image)
    }

    /// The targets that have an image, whether it is the one that is meant there or not.
    pub fn targets_with(&self, image: &Digest) -> Result<Vec<TargetImage>, Error> {
        let sql = "SELECT target, manifest, image FROM target_images WHERE image = ?1";
        self.all("list an image's targets", sql, [Text(image)], target_image)
    }

    /// The image that some target has by this manifest.
    pub fn image_with_manifest(&self, manifest: &Digest) -> Result<Option<Digest>, Error> {
        let sql = "SELECT image FROM target_images WHERE manifest = ?1 LIMIT 1";
        self.first("look up an image", sql, [Text(manifest)], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }

    /// What of a target is here.
    pub fn target_parts(&self, digest: &Digest) -> Result<Vec<Digest>, Error> {
        let sql = "SELECT part FROM target_parts WHERE target = ?1";
        self.all("list a target's parts", sql, [Text(digest)], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }

    /// What is named by tags of images as being in a repository, by targets.
    pub fn targets_in(&self, repository: &str) -> Result<Vec<Digest>, Error> {
        let (tags, digests) = (format!("{repository}:"), format!("{repository}@"));
        let sql = "SELECT DISTINCT target FROM tags
                       WHERE target IS NOT NULL AND substr(reference, 1, ?3) = ?1
                   UNION SELECT digest FROM targets
                       JOIN repo_digests ON repo_digests.reference = ?2 || digest";
        let params = params![tags, digests, tags.len() as i64];
        self.all("list a repository's targets", sql, params, |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }

    /// Whether a name means a target: a tag, or what a registry calls it.
    pub fn target_is_named(&self, digest: &Digest) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM tags WHERE target = ?1
                   UNION ALL SELECT 1 FROM repo_digests WHERE reference LIKE '%@' || ?1 LIMIT 1";
        Ok(self.first("look for a target's names", sql, [Text(digest)], |_| Ok(()))?.is_some())
    }

    /// What is meant by an image's id: its own manifest (`None`) where a tag says so or there is
    /// nothing else, or else the first target in which it is meant.
    pub fn target_of_image(&self, image: &Digest) -> Result<Option<Digest>, Error> {
        if self.tags_of(image)?.iter().any(|tag| tag.target.is_none()) {
            return Ok(None);
        }
        Ok(self.targets_meaning(image)?.into_iter().next().map(|target| target.digest))
    }

    /// The image of this name, which must be given in full, and the target that it means.
    pub fn tagged(&self, reference: &str) -> Result<Option<(Image, Option<Digest>)>, Error> {
        let Some(image) = self.tagged_image(reference)? else { return Ok(None) };
        let sql = "SELECT target FROM tags WHERE reference = ?1 AND target IS NOT NULL";
        let target = self.first("look up a target", sql, [reference], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })?;
        Ok(Some((image, target)))
    }
}

impl Write {
    /// Notes a target, or more of one that is there: parts, and images. Its names mean the image
    /// `new.image` from now on.
    pub fn insert_target(
        &self,
        new: &Target,
        parts: &[Digest],
        images: &[(Digest, Digest)],
    ) -> Result<(), Error> {
        self.execute(
            "add a target",
            "INSERT INTO targets (digest, media_type, image, added) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET image = excluded.image",
            params![Text(&new.digest), new.media_type, Text(&new.image), new.added],
        )?;
        for part in parts {
            self.execute(
                "add a target's part",
                "INSERT OR IGNORE INTO target_parts (target, part) VALUES (?1, ?2)",
                params![Text(&new.digest), Text(part)],
            )?;
        }
        for (manifest, image) in images {
            self.execute(
                "add a target's image",
                "INSERT OR REPLACE INTO target_images (target, manifest, image)
                 VALUES (?1, ?2, ?3)",
                params![Text(&new.digest), Text(manifest), Text(image)],
            )?;
        }
        self.set_target_image(&new.digest, &new.image)
    }

    /// Says which image a target means on this machine; its names follow.
    pub fn set_target_image(&self, digest: &Digest, image: &Digest) -> Result<(), Error> {
        let params = params![Text(digest), Text(image)];
        for sql in [
            "UPDATE targets SET image = ?2 WHERE digest = ?1 AND image <> ?2",
            "UPDATE tags SET image = ?2 WHERE target = ?1 AND image <> ?2",
            "UPDATE repo_digests SET image = ?2 WHERE reference LIKE '%@' || ?1 AND image <> ?2",
        ] {
            self.execute("change a target's image", sql, params)?;
        }
        Ok(())
    }

    /// Takes an image and these blobs out of a target, which stays.
    pub fn delete_target_image(
        &self,
        digest: &Digest,
        manifest: &Digest,
        parts: &[Digest],
    ) -> Result<(), Error> {
        let sql = "DELETE FROM target_images WHERE target = ?1 AND manifest = ?2";
        let params = params![Text(digest), Text(manifest)];
        self.execute("remove a target's image", sql, params)?;
        for part in parts {
            let sql = "DELETE FROM target_parts WHERE target = ?1 AND part = ?2";
            self.execute("remove a target's part", sql, params![Text(digest), Text(part)])?;
        }
        Ok(())
    }

    /// Takes a target out, which no tag may mean any more. Whether there was one.
    pub fn delete_target(&self, digest: &Digest) -> Result<bool, Error> {
        let sql = "DELETE FROM targets WHERE digest = ?1";
        Ok(self.execute("remove a target", sql, [Text(digest)])? > 0)
    }
}
