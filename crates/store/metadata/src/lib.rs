//! The database: which images, containers, networks, volumes and reservations there are.
//!
//! One SQLite file in WAL mode, used by several processes at once. A reader never waits; a writer
//! waits for the one before it, up to ten seconds. Every change is one short transaction that
//! takes the write lock at its start ([`Db::write`]), so that what it reads is still true when it
//! writes. Nothing else (no file, no network) is done while one is open.
//!
//! What it does not do: it names blobs, snapshots and containers, and never looks at them. Text
//! that others define (a container's record, a network's) is kept as JSON and not understood.
//!
//! ```no_run
//! # fn main() -> Result<(), metadata::Error> {
//! let db = metadata::Db::open("/var/lib/dhow/dhow.db".as_ref())?;
//! let id = db.read(|tx| tx.find_container("web"))?.id;
//! db.write(|tx| tx.rename_container(&id, "www"))?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod build;
mod check;
mod container;
mod error;
mod image;
mod network;
mod operation;
mod pull;
mod schema;
mod served;
mod target;
mod text;
mod uses;
mod volume;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use build::BuildRecord;
pub use check::Dangling;
pub use container::{Container, STEP};
pub use error::Error;
pub use image::{Archive, Image, ImageLayer, Layer, Tag};
pub use network::{Lease, Network, Port};
pub use operation::Operation;
pub use pull::RepoDigest;
pub use served::{Served, ServedTag};
pub use target::{Target, TargetImage};
pub use volume::Volume;

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one who tidies waits for those who read, while nobody can write.
const TIDY_PATIENCE: Duration = Duration::from_millis(20);

/// Pages in the log before a writer moves them into the main file. Small, because the first
/// process to open the database reads the whole log; not tiny, because moving costs two syncs.
const CHECKPOINT_PAGES: u32 = 512;

/// The file must be there; who uses a connection is for [`Db`] to say.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// A log smaller than this is not worth moving, in bytes. Some six starts of containers write so much.
pub const TIDY_BYTES: u64 = 512 << 10;

/// The open database. Threads may share it; they take turns, so what is given to [`Db::read`] or
/// [`Db::write`] must not call either again.
#[derive(Debug)]
pub struct Db {
    connection: Mutex<Write>,
    path: PathBuf,
}

/// A look at the database: all its answers are of one moment. Only [`Db::read`] hands it out.
#[derive(Debug)]
pub struct Read(Connection);

/// A change of the database, which happens as a whole or not at all. Reads as well. Only
/// [`Db::write`] and [`Db::write_durable`] hand it out.
#[derive(Debug)]
pub struct Write(Read);

impl Deref for Write {
    type Target = Read;

    fn deref(&self) -> &Read {
        &self.0
    }
}

impl Db {
    /// Opens the database at `path`; makes it, with mode 0600, where there is none. Its folder
    /// must exist.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.into(), source };
        if !path.exists() {
            schema::create(path)?;
        }
        let mut connection = Connection::open_with_flags(path, FLAGS).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // The last one to leave would move the log into the main file, with two syncs.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failed)?;
        schema::migrate(&mut connection, path)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
        // A log that starts anew is cut, so that its size says how much there is to read.
        connection.pragma_update(None, "journal_size_limit", 0).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection: Mutex::new(Write(Read(connection))), path: path.into() })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its log, which grows until [`Db::tidy`].
    pub fn log(&self) -> PathBuf {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        log.into()
    }

    /// Looks at the database.
    pub fn read<T, E: From<Error>>(
        &self,
        look: impl FnOnce(&Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let write = self.lock();
        let _tx = Transaction::new_unchecked(&write.0.0, TransactionBehavior::Deferred)
            .map_err(|source| Error::Sqlite { doing: "begin to read", source })?;
        look(&write.0)
    }

    /// Changes the database: all of what `change` does, or, if it fails, nothing of it. A loss of
    /// power may take the last changes back, never a part of one.
    pub fn write<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&Write) -> Result<T, E>,
    ) -> Result<T, E> {
        Self::change(&self.lock(), change)
    }

    /// As [`Self::write`], and when it returns not even a loss of power takes the change back: for
    /// what names something durable, an image or a volume.
    pub fn write_durable<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let write = self.lock();
        let set = |level| {
            let connection = &write.0.0;
            connection
                .pragma_update(None, "synchronous", level)
                .map_err(|source| Error::Sqlite { doing: "set the durability", source })
        };
        set("FULL")?;
        let result = Self::change(&write, change);
        set("NORMAL")?;
        result
    }

    fn change<T, E: From<Error>>(
        write: &Write,
        change: impl FnOnce(&Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let tx = Transaction::new_unchecked(&write.0.0, TransactionBehavior::Immediate)
            .map_err(|source| Error::Sqlite { doing: "begin to write", source })?;
        let value = change(write)?;
        tx.commit().map_err(|source| Error::Sqlite { doing: "commit", source })?;
        Ok(value)
    }

    /// Moves the log into the main file and begins it anew, if it has grown. That costs some syncs, which
    /// otherwise whoever writes next would wait for, and who opens the database after it saves the reading of the
    /// log: for moments when nobody waits.
    pub fn tidy(&self) -> Result<(), Error> {
        let size = std::fs::metadata(self.log()).map_or(0, |found| found.len());
        if size < TIDY_BYTES {
            return Ok(());
        }
        let write = self.lock();
        let connection = &write.0.0;
        let failed = |source| Error::Sqlite { doing: "tidy up", source };
        let checkpoint = |how| connection.query_row(how, [], |_| Ok(())).map_err(failed);
        // Nearly all of it, while others read and write; then what they have written meanwhile, while they wait.
        checkpoint("PRAGMA wal_checkpoint(PASSIVE)")?;
        connection.busy_timeout(TIDY_PATIENCE).map_err(failed)?;
        let begun = checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        begun?;
        // The first change of a log syncs it: let it be this one, which changes nothing.
        Self::change(&write, |tx| {
            let version = schema::version(&tx.0.0).map_err(failed)?;
            tx.0.0.pragma_update(None, "user_version", version).map_err(failed)
        })
    }

    /// A panic of another thread rolled its transaction back, so the connection is as good as new.
    fn lock(&self) -> MutexGuard<'_, Write> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
