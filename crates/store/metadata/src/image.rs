//! Images, their names, and unpacked layers.

use std::collections::{HashMap, HashSet};

use rusqlite::{Row, params};

use oci::{ChainId, DiffId, Digest};

use crate::text::{Text, after_prefix, is_id_prefix};
use crate::{Error, Read, Write};

/// An image's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Of all layers, unpacked, in bytes.
    pub size: u64,
    /// As the image says, nanoseconds since 1970.
    pub created: i64,
    /// When it came into the store, nanoseconds since 1970.
    pub added: i64,
}

/// One of an image's layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// The layer with those below it.
    pub chain: ChainId,
    /// The layer alone, uncompressed.
    pub diff: DiffId,
    /// Its archive in the content store.
    pub blob: Digest,
}

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// In full, `docker.io/library/debian:12`.
    pub reference: String,
    /// The image's id.
    pub image: Digest,
    /// What it means, where that is not the image's manifest: a [`crate::Target`].
    pub target: Option<Digest>,
    /// Nanoseconds since 1970.
    pub updated: i64,
}

/// A layer that is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in the snapshot store.
    pub chain: ChainId,
    /// The layer alone.
    pub diff: DiffId,
    /// The one below.
    pub parent: Option<ChainId>,
    /// Of its files, in bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
}

/// A root file system archive on the disk, as `stat(2)` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The file system's device number.
    pub device: u64,
    /// The file's number.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of anything, nanoseconds since 1970: no program can set it back.
    pub ctime: i64,
}

const IMAGE: &str = "images.id, images.manifest, images.size, images.created, images.added";

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        id: row.get::<_, Text<Digest>>(0)?.0,
        manifest: row.get::<_, Text<Digest>>(1)?.0,
        size: row.get::<_, i64>(2)? as u64,
        created: row.get(3)?,
        added: row.get(4)?,
    })
}

/// The image that the rest of a query finds by one text.
pub(crate) fn image_by(tx: &Read, rest: &str, text: &str) -> Result<Option<Image>, Error> {
    tx.first("look up an image", &format!("SELECT {IMAGE} FROM images {rest}"), [text], image)
}

fn tag(row: &Row<'_>) -> rusqlite::Result<Tag> {
    Ok(Tag {
        reference: row.get(0)?,
        image: row.get::<_, Text<Digest>>(1)?.0,
        target: row.get::<_, Option<Text<Digest>>>(2)?.map(|text| text.0),
        updated: row.get(3)?,
    })
}

fn layer(row: &Row<'_>) -> rusqlite::Result<Layer> {
    Ok(Layer {
        chain: row.get::<_, Text<ChainId>>(0)?.0,
        diff: row.get::<_, Text<DiffId>>(1)?.0,
        parent: row.get::<_, Option<Text<ChainId>>>(2)?.map(|text| text.0),
        size: row.get::<_, i64>(3)? as u64,
        created: row.get(4)?,
    })
}

impl Read {
    /// All images, the newest first.
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let sql = format!("SELECT {IMAGE} FROM images ORDER BY created DESC, id");
        self.all("list images", &sql, [], image)
    }

    /// The image with exactly this id.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>, Error> {
        let sql = format!("SELECT {IMAGE} FROM images WHERE id = ?1");
        self.first("look up an image", &sql, [Text(id)], image)
    }

    /// The image of this name, which must be given in full.
    pub fn tagged_image(&self, reference: &str) -> Result<Option<Image>, Error> {
        let sql = format!(
            "SELECT {IMAGE} FROM tags JOIN images ON images.id = tags.image WHERE reference = ?1"
        );
        self.first("look up an image", &sql, [reference], image)
    }

    /// The image whose id starts like that: hexadecimal digits, perhaps after `sha256:`.
    pub fn image_by_prefix(&self, prefix: &str) -> Result<Option<Image>, Error> {
        let hex = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if !is_id_prefix(hex) {
            return Ok(None);
        }
        let from = format!("sha256:{hex}");
        let sql = format!("SELECT {IMAGE} FROM images WHERE id >= ?1 AND id < ?2 LIMIT 2");
        let range = [&from, &after_prefix(&from)];
        let mut found = self.all("look up an image", &sql, range, image)?;
        match found.len() {
            2 => Err(Error::Ambiguous { what: "image", prefix: prefix.into() }),
            _ => Ok(found.pop()),
        }
    }

    /// The image with this manifest.
    pub fn image_by_manifest(&self, manifest: &Digest) -> Result<Option<Image>, Error> {
        let sql = format!("SELECT {IMAGE} FROM images WHERE manifest = ?1");
        self.first("look up an image", &sql, [Text(manifest)], image)
    }

    /// An image's layers, lowest first.
    pub fn image_layers(&self, id: &Digest) -> Result<Vec<ImageLayer>, Error> {
        let sql = "SELECT chain, diff, blob FROM image_layers WHERE image = ?1 ORDER BY position";
        self.all("list an image's layers", sql, [Text(id)], |row| {
            Ok(ImageLayer {
                chain: row.get::<_, Text<ChainId>>(0)?.0,
                diff: row.get::<_, Text<DiffId>>(1)?.0,
                blob: row.get::<_, Text<Digest>>(2)?.0,
            })
        })
    }

    /// The image that each image was made of by `commit`, where both are still there.
    pub fn parents(&self) -> Result<HashMap<Digest, Digest>, Error> {
        let sql = "SELECT image, parent FROM image_parents JOIN images ON images.id = parent";
        let parents = self.all("list parents of images", sql, [], |row| {
            Ok((row.get::<_, Text<Digest>>(0)?.0, row.get::<_, Text<Digest>>(1)?.0))
        })?;
        Ok(parents.into_iter().collect())
    }

    /// All names, in order.
    pub fn tags(&self) -> Result<Vec<Tag>, Error> {
        let sql = "SELECT reference, image, target, updated FROM tags ORDER BY reference";
        self.all("list tags", sql, [], tag)
    }

    /// The names of an image, in order.
    pub fn tags_of(&self, id: &Digest) -> Result<Vec<Tag>, Error> {
        let sql = "SELECT reference, image, target, updated FROM tags WHERE image = ?1 ORDER BY reference";
        self.all("list an image's tags", sql, [Text(id)], tag)
    }

    /// All unpacked layers.
    pub fn layers(&self) -> Result<Vec<Layer>, Error> {
        let sql = "SELECT chain, diff, parent, size, created FROM layers ORDER BY chain";
        self.all("list layers", sql, [], layer)
    }

    /// An unpacked layer.
    pub fn layer(&self, chain: &ChainId) -> Result<Option<Layer>, Error> {
        let sql = "SELECT chain, diff, parent, size, created FROM layers WHERE chain = ?1";
        self.first("look up a layer", sql, [Text(chain)], layer)
    }

    /// The archive of a layer that some image has.
    pub fn layer_blob(&self, chain: &ChainId) -> Result<Option<Digest>, Error> {
        let sql = "SELECT blob FROM image_layers WHERE chain = ?1 LIMIT 1";
        self.first("look for a layer's archive", sql, [Text(chain)], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }

    /// The images that have a layer, those first that came first.
    pub fn images_with_layer(&self, chain: &ChainId) -> Result<Vec<Image>, Error> {
        let sql = format!(
            "SELECT {IMAGE} FROM images JOIN image_layers ON image_layers.image = images.id
             WHERE image_layers.chain = ?1 ORDER BY images.added, images.id"
        );
        self.all("list a layer's images", &sql, [Text(chain)], image)
    }

    /// The archive of a layer that some image has, by the layer alone, whatever it lies on there.
    pub fn diff_blob(&self, diff: &DiffId) -> Result<Option<Digest>, Error> {
        let sql = "SELECT blob FROM image_layers WHERE diff = ?1 LIMIT 1";
        self.first("look for a layer's archive", sql, [Text(diff)], |row| {
            Ok(row.get::<_, Text<Digest>>(0)?.0)
        })
    }

    /// A layer and those below it, lowest first; `None` where one of them is not there.
    pub fn layers_below(&self, top: &ChainId) -> Result<Option<Vec<Layer>>, Error> {
        let mut layers = Vec::new();
        let mut next = Some(top.clone());
        while let Some(chain) = next.take() {
            let Some(layer) = self.layer(&chain)? else { return Ok(None) };
            next.clone_from(&layer.parent);
            layers.push(layer);
        }
        layers.reverse();
        Ok(Some(layers))
    }

    /// How many images have this layer.
    pub fn layer_users(&self, chain: &ChainId) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM image_layers WHERE chain = ?1";
        let count =
            self.first("count a layer's images", sql, [Text(chain)], |row| row.get::<_, i64>(0))?;
        Ok(count.unwrap_or(0) as u64)
    }

    /// Whether an image still needs this blob, as layer, configuration or manifest, or a pull, or
    /// what was pushed to our registry.
    pub fn blob_is_used(&self, blob: &Digest) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM image_layers WHERE blob = ?1
                   UNION ALL SELECT 1 FROM images WHERE id = ?1 OR manifest = ?1
                   UNION ALL SELECT 1 FROM served_manifests WHERE digest = ?1
                   UNION ALL SELECT 1 FROM served_parts WHERE part = ?1
                   UNION ALL SELECT 1 FROM target_parts WHERE part = ?1
                   UNION ALL SELECT 1 FROM pull_holds WHERE target = ?1 LIMIT 1";
        Ok(self.first("look for a blob's images", sql, [Text(blob)], |_| Ok(()))?.is_some())
    }

    /// Every blob that an image, a pull, or what was pushed to our registry needs.
    pub fn used_blobs(&self) -> Result<HashSet<Digest>, Error> {
        let sql = "SELECT blob FROM image_layers UNION SELECT id FROM images
                   UNION SELECT manifest FROM images UNION SELECT target FROM pull_holds
                   UNION SELECT digest FROM served_manifests UNION SELECT part FROM served_parts
                   UNION SELECT part FROM target_parts";
        let blobs =
            self.all("list blobs in use", sql, [], |row| Ok(row.get::<_, Text<Digest>>(0)?.0))?;
        Ok(blobs.into_iter().collect())
    }

    /// How many containers are made of each image that has any, or have it mounted.
    pub fn containers_by_image(&self) -> Result<HashMap<Digest, u64>, Error> {
        let sql = "SELECT image, count(*) FROM
                       (SELECT id, image FROM containers WHERE image IS NOT NULL
                        UNION SELECT container, image FROM container_images)
                   GROUP BY image";
        let counts = self.all("count containers", sql, [], |row| {
            Ok((row.get::<_, Text<Digest>>(0)?.0, row.get::<_, i64>(1)? as u64))
        })?;
        Ok(counts.into_iter().collect())
    }

    /// The image that this archive became, if the file is as it was then.
    pub fn archive_image(&self, archive: &Archive) -> Result<Option<Digest>, Error> {
        let sql = "SELECT image FROM archives
                   WHERE device = ?1 AND inode = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5";
        let Archive { device, inode, size, mtime, ctime } = *archive;
        self.first(
            "look up an archive",
            sql,
            params![device as i64, inode as i64, size as i64, mtime, ctime],
            |row| Ok(row.get::<_, Text<Digest>>(0)?.0),
        )
    }
}

impl Write {
    /// Adds an image and the list of its layers; one that is there already is left alone.
    pub fn insert_image(&self, new: &Image, layers: &[ImageLayer]) -> Result<(), Error> {
        let added = self.execute(
            "add an image",
            "INSERT OR IGNORE INTO images (id, manifest, size, created, added)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![Text(&new.id), Text(&new.manifest), new.size as i64, new.created, new.added],
        )?;
        if added == 0 {
            return Ok(());
        }
        self.insert_image_layers(new, layers)
    }

    /// Gives an image that is there another manifest and other archives of its layers. Whether it was
    /// there.
    pub fn replace_image(&self, new: &Image, layers: &[ImageLayer]) -> Result<bool, Error> {
        let sql = "UPDATE images SET manifest = ?2, size = ?3 WHERE id = ?1";
        let values = params![Text(&new.id), Text(&new.manifest), new.size as i64];
        if self.execute("change an image", sql, values)? == 0 {
            return Ok(false);
        }
        let sql = "DELETE FROM image_layers WHERE image = ?1";
        self.execute("change an image's layers", sql, [Text(&new.id)])?;
        self.insert_image_layers(new, layers)?;
        Ok(true)
    }

    fn insert_image_layers(&self, new: &Image, layers: &[ImageLayer]) -> Result<(), Error> {
        for (position, layer) in layers.iter().enumerate() {
            self.execute(
                "add an image's layer",
                "INSERT INTO image_layers (image, position, chain, diff, blob)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    Text(&new.id),
                    position as i64,
                    Text(&layer.chain),
                    Text(&layer.diff),
                    Text(&layer.blob)
                ],
            )?;
        }
        Ok(())
    }

    /// Notes of which image one was made by `commit`.
    pub fn set_parent(&self, id: &Digest, parent: &Digest) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO image_parents (image, parent) VALUES (?1, ?2)";
        self.execute("note an image's parent", sql, [Text(id), Text(parent)])?;
        Ok(())
    }

    /// Takes an image out, with its names, its list of layers, its archives, and the targets in which
    /// it is meant. Whether there was one.
    pub fn delete_image(&self, id: &Digest) -> Result<bool, Error> {
        for tag in self.tags_of(id)? {
            self.delete_tag(&tag.reference)?;
        }
        for target in self.targets_meaning(id)? {
            self.delete_target(&target.digest)?;
        }
        self.unserve_image(id)?;
        Ok(self.execute("remove an image", "DELETE FROM images WHERE id = ?1", [Text(id)])? > 0)
    }

    /// Gives an image a name, which it takes from any other image that has it.
    pub fn set_tag(&self, new: &Tag) -> Result<(), Error> {
        self.retag_served(new)?;
        self.execute(
            "set a tag",
            "INSERT OR REPLACE INTO tags (reference, image, target, updated)
             VALUES (?1, ?2, ?3, ?4)",
            params![new.reference, Text(&new.image), new.target.as_ref().map(Text), new.updated],
        )?;
        Ok(())
    }

    /// Takes a name away, and what was pushed to our registry under it. Whether there was one.
    pub fn delete_tag(&self, reference: &str) -> Result<bool, Error> {
        self.unserve_tag(reference)?;
        Ok(self.execute("remove a tag", "DELETE FROM tags WHERE reference = ?1", [reference])? > 0)
    }

    /// Notes that a layer is unpacked.
    pub fn insert_layer(&self, new: &Layer) -> Result<(), Error> {
        self.execute(
            "add a layer",
            "INSERT OR IGNORE INTO layers (chain, diff, parent, size, created)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                Text(&new.chain),
                Text(&new.diff),
                new.parent.as_ref().map(Text),
                new.size as i64,
                new.created
            ],
        )?;
        Ok(())
    }

    /// Notes when a layer was made, nanoseconds since 1970, where that is known better.
    pub fn set_layer_created(&self, chain: &ChainId, created: i64) -> Result<(), Error> {
        let sql = "UPDATE layers SET created = ?2 WHERE chain = ?1";
        self.execute("note a layer's time", sql, params![Text(chain), created])?;
        Ok(())
    }

    /// Forgets an unpacked layer, unless an image, a pull or the build cache has it or another layer lies
    /// on it.
    /// Whether it was forgotten.
    pub fn delete_unused_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        let sql = "DELETE FROM layers WHERE chain = ?1
                   AND NOT EXISTS (SELECT 1 FROM image_layers WHERE chain = ?1)
                   AND NOT EXISTS (SELECT 1 FROM pull_holds WHERE target = ?1)
                   AND NOT EXISTS (SELECT 1 FROM build_records WHERE chain = ?1)
                   AND NOT EXISTS (SELECT 1 FROM layers WHERE parent = ?1)";
        Ok(self.execute("remove a layer", sql, [Text(chain)])? > 0)
    }

    /// Remembers what an archive became.
    pub fn set_archive(&self, archive: &Archive, id: &Digest) -> Result<(), Error> {
        let Archive { device, inode, size, mtime, ctime } = *archive;
        self.execute(
            "remember an archive",
            "INSERT OR REPLACE INTO archives (device, inode, size, mtime, ctime, image)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![device as i64, inode as i64, size as i64, mtime, ctime, Text(id)],
        )?;
        Ok(())
    }
}
