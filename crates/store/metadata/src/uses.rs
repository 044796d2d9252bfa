//! When images were last used, and when somebody last gave them names.

use std::collections::HashMap;

use oci::Digest;
use rusqlite::params;

use crate::text::Text;
use crate::{Error, Read, Write};

impl Read {
    /// When each image was last used, nanoseconds since 1970: came, got a name, or a container was
    /// made of it or went.
    pub fn last_uses(&self) -> Result<HashMap<Digest, i64>, Error> {
        let sql = "SELECT id, max(added,
                       coalesce((SELECT max(updated) FROM tags WHERE image = id), 0),
                       coalesce((SELECT used FROM image_uses WHERE image = id), 0))
                   FROM images";
        let uses = self.all("list uses of images", sql, [], |row| {
            Ok((row.get::<_, Text<Digest>>(0)?.0, row.get(1)?))
        })?;
        Ok(uses.into_iter().collect())
    }

    /// When somebody last gave an image a name, nanoseconds since 1970.
    pub fn last_tagged(&self, image: &Digest) -> Result<Option<i64>, Error> {
        let sql = "SELECT at FROM image_tagged WHERE image = ?1";
        let found =
            self.all("look for an image's last tag", sql, [Text(image)], |row| row.get(0))?;
        Ok(found.first().copied())
    }

    /// The images of which something was pushed to the registry of our own.
    pub fn served_images(&self) -> Result<Vec<Digest>, Error> {
        let sql = "SELECT DISTINCT image FROM served_manifests WHERE image IS NOT NULL";
        self.all("list what is served", sql, [], |row| Ok(row.get::<_, Text<Digest>>(0)?.0))
    }
}

impl Write {
    /// Notes that an image, if it is there, is used at the time `now`, nanoseconds since 1970.
    pub fn note_use(&self, image: &Digest, now: i64) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO image_uses (image, used)
                   SELECT id, ?2 FROM images WHERE id = ?1";
        self.execute("note the use of an image", sql, params![Text(image), now])?;
        Ok(())
    }

    /// Notes that somebody gave an image, if it is there, a name at the time `now`, nanoseconds since 1970.
    pub fn note_tagging(&self, image: &Digest, now: i64) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO image_tagged (image, at)
                   SELECT id, ?2 FROM images WHERE id = ?1";
        self.execute("note the tagging of an image", sql, params![Text(image), now])?;
        Ok(())
    }
}
