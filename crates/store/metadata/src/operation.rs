//! Intents: what a process is about to make or unmake outside the database.
//!
//! An intent is written before the first step and deleted after the last, so that whoever comes
//! after a process that died knows what may be half made. `owner` tells a living process from a
//! dead one; what it holds is the engine's affair (it writes the pid and its start time).

use rusqlite::{Row, params};

use crate::{Error, Read, Write};

/// Something that is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The id of the container, network or image that it is done to.
    pub subject: String,
    /// `create`, `start`, `remove`, ...
    pub kind: String,
    /// The process that does it.
    pub owner: String,
    /// More, for those who undo it; may be empty.
    pub detail: String,
    /// Nanoseconds since 1970.
    pub started: i64,
}

fn operation(row: &Row<'_>) -> rusqlite::Result<Operation> {
    Ok(Operation {
        subject: row.get(0)?,
        kind: row.get(1)?,
        owner: row.get(2)?,
        detail: row.get(3)?,
        started: row.get(4)?,
    })
}

impl Read {
    /// All that is under way, the oldest first.
    pub fn operations(&self) -> Result<Vec<Operation>, Error> {
        let sql = "SELECT subject, kind, owner, detail, started FROM operations ORDER BY started";
        self.all("list operations", sql, [], operation)
    }

    /// What is under way with this one.
    pub fn operations_on(&self, subject: &str) -> Result<Vec<Operation>, Error> {
        let sql = "SELECT subject, kind, owner, detail, started FROM operations
                   WHERE subject = ?1 ORDER BY started";
        self.all("list operations", sql, [subject], operation)
    }
}

impl Write {
    /// Notes an intent; one of the same kind on the same subject is replaced.
    pub fn begin_operation(&self, new: &Operation) -> Result<(), Error> {
        self.execute(
            "note an operation",
            "INSERT OR REPLACE INTO operations (subject, kind, owner, detail, started)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![new.subject, new.kind, new.owner, new.detail, new.started],
        )?;
        Ok(())
    }

    /// Forgets an intent. Whether there was one.
    pub fn end_operation(&self, subject: &str, kind: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM operations WHERE subject = ?1 AND kind = ?2";
        Ok(self.execute("forget an operation", sql, [subject, kind])? > 0)
    }
}
