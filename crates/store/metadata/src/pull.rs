use oci::Digest;
use rusqlite::params;

use crate::image::image_by;
use crate::text::Text;
use crate::{Error, Image, Read, Write};

/// What an image is called at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoDigest {
    /// In full, `docker.io/library/debian@sha256:…`.
    pub reference: String,
    /// The image's id.
    pub image: Digest,
}

impl Read {
    /// What all images are called at registries, in order.
    pub fn repo_digests(&self) -> Result<Vec<RepoDigest>, Error> {
        let sql = "SELECT reference, image FROM repo_digests ORDER BY reference";
        self.all("list digests", sql, [], |row| {
            Ok(RepoDigest { reference: row.get(0)?, image: row.get::<_, Text<Digest>>(1)?.0 })
        })
    }

    /// What an image is called at registries, in order.
    pub fn repo_digests_of(&self, id: &Digest) -> Result<Vec<String>, Error> {
        let sql = "SELECT reference FROM repo_digests WHERE image = ?1 ORDER BY reference";
        self.all("list an image's digests", sql, [Text(id)], |row| row.get(0))
    }

    /// Whether something is held that nobody holds any more at the time `now`.
    pub fn has_old_holds(&self, now: i64) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pull_holds WHERE until <= ?1 LIMIT 1";
        Ok(self.first("look for old holds", sql, [now], |_| Ok(()))?.is_some())
    }

    /// Whether somebody holds this: a blob, or a layer by its chain id.
    pub fn is_held(&self, target: &Digest) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pull_holds WHERE target = ?1 LIMIT 1";
        Ok(self.first("look for holds", sql, [Text(target)], |_| Ok(()))?.is_some())
    }

    /// Who holds something.
    pub fn holders(&self) -> Result<Vec<String>, Error> {
        self.all("list holders", "SELECT DISTINCT holder FROM pull_holds", [], |row| row.get(0))
    }

    /// The image that a registry calls so: `NAME@DIGEST`, in full.
    pub fn image_by_repo_digest(&self, reference: &str) -> Result<Option<Image>, Error> {
        image_by(
            self,
            "JOIN repo_digests ON repo_digests.image = images.id WHERE reference = ?1",
            reference,
        )
    }
}

impl Write {
    /// Notes what a registry calls an image.
    pub fn set_repo_digest(&self, reference: &str, image: &Digest) -> Result<(), Error> {
        self.execute(
            "note a digest",
            "INSERT OR REPLACE INTO repo_digests (reference, image) VALUES (?1, ?2)",
            params![reference, Text(image)],
        )?;
        Ok(())
    }

    /// Forgets what a registry calls an image. Whether that was known.
    pub fn delete_repo_digest(&self, reference: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM repo_digests WHERE reference = ?1";
        Ok(self.execute("forget a digest", sql, [reference])? > 0)
    }

    /// Has nothing of `targets` (blobs, and layers by their chain ids) deleted until the time
    /// `until`, nanoseconds since 1970. What the holder held before it does not hold any more.
    pub fn hold<'a>(
        &self,
        holder: &str,
        targets: impl IntoIterator<Item = &'a Digest>,
        until: i64,
    ) -> Result<(), Error> {
        self.let_go(holder)?;
        self.hold_more(holder, targets, until)
    }

    /// The same, beside what the holder holds already.
    pub fn hold_more<'a>(
        &self,
        holder: &str,
        targets: impl IntoIterator<Item = &'a Digest>,
        until: i64,
    ) -> Result<(), Error> {
        for target in targets {
            self.execute(
                "hold blobs and layers",
                "INSERT OR REPLACE INTO pull_holds (holder, target, until) VALUES (?1, ?2, ?3)",
                params![holder, Text(target), until],
            )?;
        }
        Ok(())
    }

    /// Lets go of what `holder` held.
    pub fn let_go(&self, holder: &str) -> Result<(), Error> {
        self.execute(
            "let blobs and layers go",
            "DELETE FROM pull_holds WHERE holder = ?1",
            [holder],
        )?;
        Ok(())
    }

    /// Lets go of what nobody holds any more at the time `now`. Whether there was any.
    pub fn let_go_of_old(&self, now: i64) -> Result<bool, Error> {
        let sql = "DELETE FROM pull_holds WHERE until <= ?1";
        Ok(self.execute("let old blobs and layers go", sql, [now])? > 0)
    }
}
