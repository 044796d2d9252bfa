//! The tables, and how older files get them.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// Step N brings schema N to N+1. Steps are never changed once released, only added.
pub(crate) const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
];

/// Makes the file, unless another process does so first. Nobody ever sees it without its tables:
/// it is made under another name. (Two that set up one file at once get into each other's way:
/// SQLite does not wait for the lock by which it changes to WAL mode.)
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Create { path: path.into(), source };
    remove_leftovers(path).map_err(failed)?;
    let name = format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let new = beside(path, &name);
    // SQLite gives its side files the mode of the main one.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    let filled = fill(&new);
    // The name alone makes it ours or theirs; closing has emptied and removed the log.
    let linked = filled.and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(failed),
    });
    fs::remove_file(&new).map_err(failed)?;
    linked
}

/// Makes names of one process differ.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn fill(new: &Path) -> Result<(), Error> {
    let failed = |source| Error::Open { path: new.into(), source };
    let mut connection = Connection::open_with_flags(new, crate::FLAGS).map_err(failed)?;
    migrate(&mut connection, new)?;
    connection.close().map_err(|(_, source)| failed(source))
}

/// `PATH.new-NAME`.
fn beside(path: &Path, name: &str) -> PathBuf {
    let mut new = path.to_path_buf().into_os_string();
    new.push(format!(".new-{name}"));
    new.into()
}

/// Removes what processes left that died while they made the file.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let prefix = format!("{}.new-", file.to_string_lossy());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        let pid: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !Path::new("/proc").join(pid).exists() {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Makes sure that the tables are there. Of a file that is up to date only one number is read.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Open { path: path.into(), source };
    let known = STEPS.len() as u32;
    let found = version(connection).map_err(failed)?;
    if found == known {
        return Ok(());
    }
    if found > known {
        return Err(Error::TooNew { path: path.into(), found, known });
    }
    if found == 0 {
        // Kept in the file from then on. Cannot be done inside a transaction.
        connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
            .map_err(failed)?;
    }
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

/// What the database says of its schema.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
