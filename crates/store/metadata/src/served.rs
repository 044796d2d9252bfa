//! What the registry of our own was given: manifests of any kind by repository, their tags and
//! their parts.
//!
//! The engine's own images are in the registry by their names, without a row here. A row here is
//! for what the engine has no word for: the exact manifest that was pushed, an index, an artifact.

use std::collections::BTreeSet;

use oci::Digest;
use rusqlite::{Row, params};

use crate::text::Text;
use crate::{Error, Image, Read, Tag, Write};

/// A manifest that was pushed to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The repository: an image's name in full, without a tag.
    pub repository: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// What it was pushed as.
    pub media_type: String,
    /// The type by which referrers are filtered.
    pub artifact: Option<String>,
    /// The manifest that it is about.
    pub subject: Option<Digest>,
    /// The image that the engine has of it, by its id.
    pub image: Option<Digest>,
    /// Nanoseconds since 1970.
    pub added: i64,
}

/// A tag of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedTag {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// What it stands for.
    pub manifest: Digest,
    /// The image that has this name too, by its id. Where the name is given to another one, this row
    /// goes.
    pub image: Option<Digest>,
    /// Nanoseconds since 1970.
    pub updated: i64,
}

const SERVED: &str = "repository, digest, media_type, artifact, subject, image, added";
const TAG: &str = "repository, tag, manifest, image, updated";

/// The images that are called something in a repository: `?2` and `?3` are around its tags, `?4` and
/// `?5` around its digests.
const NAMED: &str = "SELECT image FROM tags WHERE reference > ?2 AND reference < ?3
    UNION SELECT image FROM repo_digests WHERE reference > ?4 AND reference < ?5";

fn served(row: &Row<'_>) -> rusqlite::Result<Served> {
    Ok(Served {
        repository: row.get(0)?,
        digest: row.get::<_, Text<Digest>>(1)?.0,
        media_type: row.get(2)?,
        artifact: row.get(3)?,
        subject: row.get::<_, Option<Text<Digest>>>(4)?.map(|text| text.0),
        image: row.get::<_, Option<Text<Digest>>>(5)?.map(|text| text.0),
        added: row.get(6)?,
    })
}

fn served_tag(row: &Row<'_>) -> rusqlite::Result<ServedTag> {
    Ok(ServedTag {
        repository: row.get(0)?,
        tag: row.get(1)?,
        manifest: row.get::<_, Text<Digest>>(2)?.0,
        image: row.get::<_, Option<Text<Digest>>>(3)?.map(|text| text.0),
        updated: row.get(4)?,
    })
}

/// Texts around all of `REPOSITORY:TAG` and all of `REPOSITORY@DIGEST`: `;` follows `:`, `A`
/// follows `@`.
fn around(repository: &str) -> [String; 4] {
    [":", ";", "@", "A"].map(|end| format!("{repository}{end}"))
}

/// Who holds what was pushed to a repository until a manifest names it.
fn holder(repository: &str) -> String {
    format!("registry-{repository}")
}

impl Read {
    /// A manifest of a repository, if it was pushed.
    pub fn served(&self, repository: &str, digest: &Digest) -> Result<Option<Served>, Error> {
        let sql =
            format!("SELECT {SERVED} FROM served_manifests WHERE repository = ?1 AND digest = ?2");
        self.first("look up a manifest", &sql, params![repository, Text(digest)], served)
    }

    /// What was pushed to a repository as being about another manifest, the oldest first.
    pub fn served_referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Served>, Error> {
        let sql = format!(
            "SELECT {SERVED} FROM served_manifests WHERE repository = ?1 AND subject = ?2
             ORDER BY added, digest"
        );
        self.all("list referrers", &sql, params![repository, Text(subject)], served)
    }

    /// A tag as it was pushed.
    pub fn served_tag(&self, repository: &str, tag: &str) -> Result<Option<ServedTag>, Error> {
        let sql = format!("SELECT {TAG} FROM served_tags WHERE repository = ?1 AND tag = ?2");
        self.first("look up a tag", &sql, [repository, tag], served_tag)
    }

    /// The tags of a repository as they were pushed, in order.
    pub fn served_tags(&self, repository: &str) -> Result<Vec<ServedTag>, Error> {
        let sql = format!("SELECT {TAG} FROM served_tags WHERE repository = ?1 ORDER BY tag");
        self.all("list tags", &sql, [repository], served_tag)
    }

    /// The engine's own tags of a repository, in order, with their images.
    pub fn tags_in(&self, repository: &str) -> Result<Vec<(String, Image)>, Error> {
        let [from, to, ..] = around(repository);
        let sql = "SELECT reference, images.id, manifest, size, created, added
                   FROM tags JOIN images ON images.id = tags.image
                   WHERE reference > ?1 AND reference < ?2 ORDER BY reference";
        self.all("list tags", sql, [&from, &to], |row| {
            let reference: String = row.get(0)?;
            let image = Image {
                id: row.get::<_, Text<Digest>>(1)?.0,
                manifest: row.get::<_, Text<Digest>>(2)?.0,
                size: row.get::<_, i64>(3)? as u64,
                created: row.get(4)?,
                added: row.get(5)?,
            };
            Ok((reference[from.len()..].to_owned(), image))
        })
    }

    /// The engine's image that has this manifest and some name in the repository.
    pub fn image_in(&self, repository: &str, manifest: &Digest) -> Result<Option<Image>, Error> {
        let [a, b, c, d] = around(repository);
        let sql = format!(
            "SELECT images.id, images.manifest, images.size, images.created, images.added
             FROM images WHERE manifest = ?1 AND id IN ({NAMED})"
        );
        self.first("look up an image", &sql, params![Text(manifest), a, b, c, d], |row| {
            Ok(Image {
                id: row.get::<_, Text<Digest>>(0)?.0,
                manifest: row.get::<_, Text<Digest>>(1)?.0,
                size: row.get::<_, i64>(2)? as u64,
                created: row.get(3)?,
                added: row.get(4)?,
            })
        })
    }

    /// Whether a repository has this blob: an image or a manifest in it names it, or it was pushed
    /// and waits for its manifest.
    pub fn has_blob(&self, repository: &str, blob: &Digest) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pull_holds WHERE holder = ?1 AND target = ?2";
        let params = params![holder(repository), Text(blob)];
        let is_held = self.first("look for a blob", sql, params, |_| Ok(()))?;
        Ok(is_held.is_some() || self.blob_is_part(repository, blob)?)
    }

    /// Whether an image or a manifest of a repository names this blob.
    pub fn blob_is_part(&self, repository: &str, blob: &Digest) -> Result<bool, Error> {
        let [a, b, c, d] = around(repository);
        let sql = format!(
            "SELECT 1 FROM served_parts WHERE repository = ?6 AND part = ?1
             UNION ALL SELECT 1 FROM served_manifests WHERE repository = ?6 AND digest = ?1
             UNION ALL SELECT 1 FROM target_parts WHERE part = ?1 AND target IN
                (SELECT target FROM tags WHERE reference > ?2 AND reference < ?3
                 UNION SELECT digest FROM targets
                 JOIN repo_digests ON reference = ?6 || '@' || digest)
             UNION ALL SELECT 1 FROM images
                WHERE (id = ?1 OR manifest = ?1) AND id IN ({NAMED})
             UNION ALL SELECT 1 FROM image_layers WHERE blob = ?1 AND image IN ({NAMED}) LIMIT 1"
        );
        let params = params![Text(blob), a, b, c, d, repository];
        Ok(self.first("look for a blob", &sql, params, |_| Ok(()))?.is_some())
    }

    /// Whether a repository has anything.
    pub fn has_repository(&self, repository: &str) -> Result<bool, Error> {
        let [a, b, c, d] = around(repository);
        let sql = "SELECT 1 FROM served_manifests WHERE repository = ?1
                   UNION ALL SELECT 1 FROM tags WHERE reference > ?2 AND reference < ?3
                   UNION ALL SELECT 1 FROM repo_digests WHERE reference > ?4 AND reference < ?5
                   UNION ALL SELECT 1 FROM pull_holds WHERE holder = ?6 LIMIT 1";
        let params = params![repository, a, b, c, d, holder(repository)];
        Ok(self.first("look for a repository", sql, params, |_| Ok(()))?.is_some())
    }

    /// Every repository that something was pushed to, in order.
    pub fn served_repositories(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT DISTINCT repository FROM served_manifests ORDER BY repository";
        self.all("list repositories", sql, [], |row| row.get(0))
    }

    /// What a manifest that was pushed consists of.
    pub fn served_parts(&self, repository: &str, manifest: &Digest) -> Result<Vec<Digest>, Error> {
        let sql = "SELECT part FROM served_parts WHERE repository = ?1 AND manifest = ?2";
        self.all("list a manifest's parts", sql, params![repository, Text(manifest)], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }
}

impl Write {
    /// Notes a manifest with its parts; one that is there already is left alone, but for its media
    /// type. Its parts need not be held for the repository any more.
    pub fn insert_served(&self, new: &Served, parts: &[Digest]) -> Result<(), Error> {
        self.execute(
            "add a manifest",
            "INSERT INTO served_manifests
                (repository, digest, media_type, artifact, subject, image, added)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET media_type = excluded.media_type",
            params![
                new.repository,
                Text(&new.digest),
                new.media_type,
                new.artifact,
                new.subject.as_ref().map(Text),
                new.image.as_ref().map(Text),
                new.added
            ],
        )?;
        for part in parts {
            self.execute(
                "add a manifest's part",
                "INSERT OR IGNORE INTO served_parts (repository, manifest, part)
                 VALUES (?1, ?2, ?3)",
                params![new.repository, Text(&new.digest), Text(part)],
            )?;
            self.let_go_of(&new.repository, part)?;
        }
        Ok(())
    }

    /// Notes which image the engine has of a manifest.
    pub fn set_served_image(
        &self,
        repository: &str,
        manifest: &Digest,
        image: &Digest,
    ) -> Result<(), Error> {
        self.execute(
            "note a manifest's image",
            "UPDATE served_manifests SET image = ?3 WHERE repository = ?1 AND digest = ?2",
            params![repository, Text(manifest), Text(image)],
        )?;
        Ok(())
    }

    /// Sets a tag, which it takes from whatever has it. The manifest must be there.
    pub fn set_served_tag(&self, new: &ServedTag) -> Result<(), Error> {
        self.execute(
            "set a tag",
            "INSERT OR REPLACE INTO served_tags (repository, tag, manifest, image, updated)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                new.repository,
                new.tag,
                Text(&new.manifest),
                new.image.as_ref().map(Text),
                new.updated
            ],
        )?;
        Ok(())
    }

    /// Takes a tag away, and leaves the manifest. Whether there was one.
    pub fn delete_served_tag(&self, repository: &str, tag: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM served_tags WHERE repository = ?1 AND tag = ?2";
        Ok(self.execute("remove a tag", sql, [repository, tag])? > 0)
    }

    /// Takes a manifest out of a repository, with its tags. Whether there was one.
    pub fn delete_served(&self, repository: &str, digest: &Digest) -> Result<bool, Error> {
        let sql = "DELETE FROM served_manifests WHERE repository = ?1 AND digest = ?2";
        Ok(self.execute("remove a manifest", sql, params![repository, Text(digest)])? > 0)
    }

    /// Has a blob that was pushed to a repository kept until a manifest names it, or the time
    /// `until`, nanoseconds since 1970.
    pub fn hold_for(&self, repository: &str, blob: &Digest, until: i64) -> Result<(), Error> {
        self.execute(
            "hold a blob",
            "INSERT INTO pull_holds (holder, target, until) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            params![holder(repository), Text(blob), until],
        )?;
        Ok(())
    }

    /// Does not hold a blob for a repository any more. Whether it was held.
    pub fn let_go_of(&self, repository: &str, blob: &Digest) -> Result<bool, Error> {
        let sql = "DELETE FROM pull_holds WHERE holder = ?1 AND target = ?2";
        Ok(self.execute("let a blob go", sql, params![holder(repository), Text(blob)])? > 0)
    }

    /// A name means another image from now on: not what was pushed under it any more.
    pub(crate) fn retag_served(&self, new: &Tag) -> Result<(), Error> {
        let Some((repository, tag)) = new.reference.rsplit_once(':') else { return Ok(()) };
        let is_other = |row: &ServedTag| {
            row.image.as_ref() != Some(&new.image)
                || new.target.as_ref().is_some_and(|target| *target != row.manifest)
        };
        match self.served_tag(repository, tag)? {
            Some(row) if is_other(&row) => self.delete_served_tag(repository, tag).map(drop),
            _ => Ok(()),
        }
    }

    /// An image's name has gone from the engine: so has what was pushed under it, unless another
    /// tag or an index of the repository still names it.
    pub(crate) fn unserve_tag(&self, reference: &str) -> Result<(), Error> {
        let Some((repository, tag)) = reference.rsplit_once(':') else { return Ok(()) };
        let Some(row) = self.served_tag(repository, tag)? else { return Ok(()) };
        self.delete_served_tag(repository, tag)?;
        self.unserve(repository, row.manifest)
    }

    /// An image has gone from the engine: so has what was pushed as it.
    pub(crate) fn unserve_image(&self, image: &Digest) -> Result<(), Error> {
        let sql = format!("SELECT {SERVED} FROM served_manifests WHERE image = ?1");
        for row in self.all("look up manifests", &sql, [Text(image)], served)? {
            self.unserve(&row.repository, row.digest)?;
        }
        Ok(())
    }

    /// Takes out a manifest that nothing in its repository names, then what only it named, and what
    /// is about it.
    fn unserve(&self, repository: &str, manifest: Digest) -> Result<(), Error> {
        let mut left = vec![manifest];
        let mut seen = BTreeSet::new();
        while let Some(digest) = left.pop() {
            if !seen.insert(digest.clone()) || self.is_named(repository, &digest)? {
                continue;
            }
            left.extend(self.served_parts(repository, &digest)?);
            let about = self.served_referrers(repository, &digest)?;
            left.extend(about.into_iter().map(|row| row.digest));
            self.delete_served(repository, &digest)?;
        }
        Ok(())
    }

    /// Whether a tag or an index of the repository names a manifest.
    fn is_named(&self, repository: &str, manifest: &Digest) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM served_tags WHERE repository = ?1 AND manifest = ?2
                   UNION ALL SELECT 1 FROM served_parts WHERE repository = ?1 AND part = ?2 LIMIT 1";
        let params = params![repository, Text(manifest)];
        Ok(self.first("look for a manifest's names", sql, params, |_| Ok(()))?.is_some())
    }
}
