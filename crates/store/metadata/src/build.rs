//! The build cache: what builds have made, and what it is found by.

use oci::ChainId;
use rusqlite::{Row, params};

use crate::text::Text;
use crate::{Error, Read, Write};

/// Something that a build has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    /// Its name.
    pub id: String,
    /// `regular` is a layer; other kinds are the builder's own.
    pub kind: String,
    /// The layer, with those below it; none: no layer, or nothing at all.
    pub chain: Option<ChainId>,
    /// What steps that work on it are keyed by.
    pub identity: String,
    /// The step, for people.
    pub description: String,
    /// In bytes, without what is below it.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// When it was used last: nanoseconds since 1970.
    pub used: i64,
    /// How often.
    pub uses: u64,
    /// What the builder wants to know of it, JSON.
    pub detail: String,
}

const RECORD: &str = "build_records.id, kind, chain, identity, description, size, created, used, \
                      uses, detail";

fn record(row: &Row<'_>) -> rusqlite::Result<BuildRecord> {
    Ok(BuildRecord {
        id: row.get(0)?,
        kind: row.get(1)?,
        chain: row.get::<_, Option<Text<ChainId>>>(2)?.map(|text| text.0),
        identity: row.get(3)?,
        description: row.get(4)?,
        size: row.get::<_, i64>(5)? as u64,
        created: row.get(6)?,
        used: row.get(7)?,
        uses: row.get::<_, i64>(8)? as u64,
        detail: row.get(9)?,
    })
}

impl Read {
    /// All that builds have made, the oldest first.
    pub fn build_records(&self) -> Result<Vec<BuildRecord>, Error> {
        let sql = format!("SELECT {RECORD} FROM build_records ORDER BY created, id");
        self.all("list the build cache", &sql, [], record)
    }

    /// The record of this name.
    pub fn build_record(&self, id: &str) -> Result<Option<BuildRecord>, Error> {
        let sql = format!("SELECT {RECORD} FROM build_records WHERE id = ?1");
        self.first("look into the build cache", &sql, [id], record)
    }

    /// What is found by this key.
    pub fn build_record_by_key(&self, key: &str) -> Result<Option<BuildRecord>, Error> {
        let sql = format!(
            "SELECT {RECORD} FROM build_keys JOIN build_records ON build_records.id = record
             WHERE key = ?1"
        );
        self.first("look into the build cache", &sql, [key], record)
    }

    /// What a record is found by.
    pub fn build_keys(&self, id: &str) -> Result<Vec<String>, Error> {
        let sql = "SELECT key FROM build_keys WHERE record = ?1 ORDER BY key";
        self.all("look into the build cache", sql, [id], |row| row.get(0))
    }

    /// What a selection of files of something comes to, if that was asked before.
    pub fn build_digest(&self, identity: &str, selection: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT digest FROM build_digests WHERE identity = ?1 AND selection = ?2";
        self.first("look into the build cache", sql, [identity, selection], |row| row.get(0))
    }
}

impl Write {
    /// Adds a record.
    pub fn insert_build_record(&self, new: &BuildRecord) -> Result<(), Error> {
        self.execute(
            "add to the build cache",
            "INSERT INTO build_records
                 (id, kind, chain, identity, description, size, created, used, uses, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                new.id,
                new.kind,
                new.chain.as_ref().map(Text),
                new.identity,
                new.description,
                new.size as i64,
                new.created,
                new.used,
                new.uses as i64,
                new.detail
            ],
        )?;
        Ok(())
    }

    /// Has a record found by a key, and what was found by it before not any more.
    pub fn set_build_key(&self, key: &str, record: &str) -> Result<(), Error> {
        self.execute(
            "add to the build cache",
            "INSERT OR REPLACE INTO build_keys (key, record) VALUES (?1, ?2)",
            [key, record],
        )?;
        Ok(())
    }

    /// Notes that a record is used at the time `now`, nanoseconds since 1970.
    pub fn note_build_use(&self, id: &str, now: i64) -> Result<(), Error> {
        let sql = "UPDATE build_records SET used = ?2, uses = uses + 1 WHERE id = ?1";
        self.execute("note the use of a build's result", sql, params![id, now])?;
        Ok(())
    }

    /// Notes how large a record has become, and what the builder wants to know of it. Whether there
    /// is one.
    pub fn set_build_detail(&self, id: &str, size: u64, detail: &str) -> Result<bool, Error> {
        let sql = "UPDATE build_records SET size = ?2, detail = ?3 WHERE id = ?1";
        Ok(self.execute("change the build cache", sql, params![id, size as i64, detail])? > 0)
    }

    /// Takes a record out, with its keys. Whether there was one.
    pub fn delete_build_record(&self, id: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM build_records WHERE id = ?1";
        Ok(self.execute("remove from the build cache", sql, [id])? > 0)
    }

    /// Remembers what a selection of files of something comes to.
    pub fn set_build_digest(
        &self,
        identity: &str,
        selection: &str,
        digest: &str,
        now: i64,
    ) -> Result<(), Error> {
        self.execute(
            "add to the build cache",
            "INSERT OR REPLACE INTO build_digests (identity, selection, digest, used)
             VALUES (?1, ?2, ?3, ?4)",
            params![identity, selection, digest, now],
        )?;
        Ok(())
    }

    /// Forgets what selections of files came to that were not asked for since the time `before`.
    pub fn forget_build_digests(&self, before: i64) -> Result<(), Error> {
        let sql = "DELETE FROM build_digests WHERE used < ?1";
        self.execute("tidy the build cache", sql, [before])?;
        Ok(())
    }
}
