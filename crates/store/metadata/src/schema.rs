//! The tables, and how older files get them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// Step N brings schema N to N+1. Steps are never changed once released, only added.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// Makes sure that the tables are there. Of a file that is up to date only one number is read.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Open { path: path.into(), source };
    let known = STEPS.len() as u32;
    let found = version(connection).map_err(failed)?;
    if found == known {
        return Ok(());
    }
    if found > known {
        return Err(Error::TooNew { path: path.into(), found, known });
    }
    // Kept in the file from then on. Cannot be done inside a transaction.
    connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
        .map_err(failed)?;
    let tx =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been first.
    let found = version(&tx).map_err(failed)?;
    for (step, sql) in STEPS.iter().enumerate().skip(found as usize) {
        tx.execute_batch(sql).map_err(failed)?;
        tx.pragma_update(None, "user_version", step as u32 + 1).map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
