//! Containers.

use rusqlite::{Row, params};

use oci::Digest;

use crate::text::{Text, after_prefix, is_id_prefix};
use crate::{Error, Read, Write};

/// A container's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without a slash; no two have the same.
    pub name: String,
    /// What it was made of; the image itself may be gone.
    pub image: Option<Digest>,
    /// The key of its writable layer.
    pub snapshot: Option<String>,
    /// To be removed when it ends.
    pub auto_remove: bool,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The engine's record, JSON.
    pub config: String,
}

const COLUMNS: &str = "id, name, image, snapshot, auto_remove, created, config";

/// What the names of containers begin with that are steps of a build. No name that a person may give
/// has a colon; such a container is found by its id in full alone.
pub const STEP: &str = "step:";

/// Those that people know of.
const IS_NO_STEP: &str = "name NOT GLOB 'step:*'";

fn container(row: &Row<'_>) -> rusqlite::Result<Container> {
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        image: row.get::<_, Option<Text<Digest>>>(2)?.map(|text| text.0),
        snapshot: row.get(3)?,
        auto_remove: row.get(4)?,
        created: row.get(5)?,
        config: row.get(6)?,
    })
}

impl Read {
    /// All containers but steps of builds, the newest first.
    pub fn containers(&self) -> Result<Vec<Container>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM containers WHERE {IS_NO_STEP} ORDER BY created DESC, id"
        );
        self.all("list containers", &sql, [], container)
    }

    /// The containers that are steps of builds, the newest first.
    pub fn steps(&self) -> Result<Vec<Container>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM containers WHERE NOT {IS_NO_STEP} ORDER BY created DESC, id"
        );
        self.all("list steps of builds", &sql, [], container)
    }

    /// The container with exactly this id.
    pub fn container(&self, id: &str) -> Result<Option<Container>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE id = ?1");
        self.first("look up a container", &sql, [id], container)
    }

    /// The container with exactly this name (no slash before it).
    pub fn container_named(&self, name: &str) -> Result<Option<Container>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE name = ?1");
        self.first("look up a container", &sql, [name], container)
    }

    /// The container that a person means: by its id, else by its name (a slash before it is
    /// ignored), else by the start of its id, as Docker looks.
    pub fn find_container(&self, wanted: &str) -> Result<Container, Error> {
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(found) = self.container(wanted)? {
            return Ok(found);
        }
        if let Some(found) = self.container_named(name)?.filter(|one| !one.name.starts_with(STEP)) {
            return Ok(found);
        }
        let not_found = || Error::NotFound { what: "container", name: wanted.into() };
        if !is_id_prefix(wanted) {
            return Err(not_found());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM containers WHERE id >= ?1 AND id < ?2 AND {IS_NO_STEP} LIMIT 2"
        );
        let range = [wanted, &after_prefix(wanted)];
        let mut found = self.all("look up a container", &sql, range, container)?;
        match found.len() {
            2 => Err(Error::Ambiguous { what: "container", prefix: wanted.into() }),
            _ => found.pop().ok_or_else(not_found),
        }
    }

    /// The containers made of this image, or that have it mounted.
    pub fn containers_of_image(&self, image: &Digest) -> Result<Vec<Container>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM containers WHERE image = ?1
             OR id IN (SELECT container FROM container_images WHERE image = ?1) ORDER BY created"
        );
        self.all("list an image's containers", &sql, [Text(image)], container)
    }
}

impl Write {
    /// Adds a container, and notes that its image is used. [`Error::InUse`] where its name is taken.
    pub fn insert_container(&self, new: &Container) -> Result<(), Error> {
        self.check_container_name(&new.name)?;
        self.execute(
            "add a container",
            "INSERT INTO containers (id, name, image, snapshot, auto_remove, created, config)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                new.id,
                new.name,
                new.image.as_ref().map(Text),
                new.snapshot,
                new.auto_remove,
                new.created,
                new.config
            ],
        )?;
        new.image.as_ref().map_or(Ok(()), |image| self.note_use(image, new.created))
    }

    /// Notes that a container has an image mounted: it is held as if it were made of it.
    pub fn mount_image(&self, container: &str, image: &Digest) -> Result<(), Error> {
        let sql = "INSERT OR IGNORE INTO container_images (container, image) VALUES (?1, ?2)";
        self.execute("note a mounted image", sql, params![container, Text(image)])?;
        Ok(())
    }

    /// Gives a container another name. [`Error::InUse`] where it is taken.
    pub fn rename_container(&self, id: &str, name: &str) -> Result<(), Error> {
        self.check_container_name(name)?;
        let sql = "UPDATE containers SET name = ?2 WHERE id = ?1";
        let changed = self.execute("rename a container", sql, [id, name])?;
        one_container(id, changed)
    }

    /// Replaces the engine's record of a container.
    pub fn set_container_config(&self, id: &str, config: &str) -> Result<(), Error> {
        let sql = "UPDATE containers SET config = ?2 WHERE id = ?1";
        let changed = self.execute("change a container", sql, [id, config])?;
        one_container(id, changed)
    }

    /// Notes the key of a container's writable layer.
    pub fn set_container_snapshot(&self, id: &str, key: Option<&str>) -> Result<(), Error> {
        let sql = "UPDATE containers SET snapshot = ?2 WHERE id = ?1";
        let changed = self.execute("change a container", sql, params![id, key])?;
        one_container(id, changed)
    }

    /// Takes a container out, with its addresses' leases released as of `now` (nanoseconds since
    /// 1970), its ports and its pending operations. Whether there was one.
    pub fn delete_container(&self, id: &str, now: i64) -> Result<bool, Error> {
        if let Some(image) = self.container(id)?.and_then(|container| container.image) {
            self.note_use(&image, now)?;
        }
        self.release_addresses(id, now)?;
        self.release_ports(id)?;
        self.execute("forget operations", "DELETE FROM operations WHERE subject = ?1", [id])?;
        let sql = "DELETE FROM containers WHERE id = ?1";
        Ok(self.execute("remove a container", sql, [id])? > 0)
    }

    fn check_container_name(&self, name: &str) -> Result<(), Error> {
        match self.container_named(name)? {
            None => Ok(()),
            Some(other) => {
                Err(Error::InUse { what: "container name", name: name.into(), holder: other.id })
            }
        }
    }
}

/// Holds that the container was there to be changed.
fn one_container(id: &str, changed: usize) -> Result<(), Error> {
    match changed {
        0 => Err(Error::NotFound { what: "container", name: id.into() }),
        _ => Ok(()),
    }
}
