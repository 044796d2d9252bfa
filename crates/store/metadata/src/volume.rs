//! Volumes.

use rusqlite::{Row, params};

use crate::{Error, Read, Write};

/// A volume's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// No two have the same.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Driver, options and labels, JSON.
    pub config: String,
}

fn volume(row: &Row<'_>) -> rusqlite::Result<Volume> {
    Ok(Volume { name: row.get(0)?, created: row.get(1)?, config: row.get(2)? })
}

impl Read {
    /// All volumes, by name.
    pub fn volumes(&self) -> Result<Vec<Volume>, Error> {
        let sql = "SELECT name, created, config FROM volumes ORDER BY name";
        self.all("list volumes", sql, [], volume)
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Result<Option<Volume>, Error> {
        let sql = "SELECT name, created, config FROM volumes WHERE name = ?1";
        self.first("look up a volume", sql, [name], volume)
    }
}

impl Write {
    /// Adds a volume, unless there is one of that name. Whether it was added.
    pub fn insert_volume(&self, new: &Volume) -> Result<bool, Error> {
        let added = self.execute(
            "add a volume",
            "INSERT OR IGNORE INTO volumes (name, created, config) VALUES (?1, ?2, ?3)",
            params![new.name, new.created, new.config],
        )?;
        Ok(added > 0)
    }

    /// Replaces the engine's record of a volume. Whether there was one.
    pub fn set_volume_config(&self, name: &str, config: &str) -> Result<bool, Error> {
        let sql = "UPDATE volumes SET config = ?2 WHERE name = ?1";
        Ok(self.execute("change a volume", sql, [name, config])? > 0)
    }

    /// Gives a volume another name. [`Error::InUse`] where it is taken.
    pub fn rename_volume(&self, name: &str, to: &str) -> Result<(), Error> {
        if self.volume(to)?.is_some() {
            return Err(Error::InUse { what: "volume name", name: to.into(), holder: to.into() });
        }
        let sql = "UPDATE volumes SET name = ?2 WHERE name = ?1";
        match self.execute("rename a volume", sql, [name, to])? {
            0 => Err(Error::NotFound { what: "volume", name: name.into() }),
            _ => Ok(()),
        }
    }

    /// Takes a volume out. Whether there was one.
    pub fn delete_volume(&self, name: &str) -> Result<bool, Error> {
        Ok(self.execute("remove a volume", "DELETE FROM volumes WHERE name = ?1", [name])? > 0)
    }
}
