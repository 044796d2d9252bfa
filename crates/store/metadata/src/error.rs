//! What can go wrong.

use std::path::PathBuf;

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be made.
    #[error("create database \"{path}\"", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be opened or prepared.
    #[error("open database \"{path}\"", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A later version of this program has written it.
    #[error("database \"{path}\" has schema {found}, this program knows up to {known}: use the newer program", path = path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is none of that name.
    #[error("no such {what}: {name}")]
    NotFound {
        /// `container`, `image`, ...
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Several ids start like that.
    #[error("{what} id prefix `{prefix}` fits several")]
    Ambiguous {
        /// `container`, `image`, ...
        what: &'static str,
        /// What was asked for.
        prefix: String,
    },
    /// A name, address or port that belongs to another.
    #[error("{what} `{name}` is already in use by `{holder}`")]
    InUse {
        /// `container name`, `network name`, `address`, `port`, ...
        what: &'static str,
        /// What was wanted.
        name: String,
        /// The id of who has it.
        holder: String,
    },
    /// SQLite refused.
    #[error("database: {doing}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Nobody wrote for so long because others kept the database locked.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } | Self::Open { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
            }
            _ => false,
        }
    }

    /// There was no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } | Self::Open { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }

    /// There is none of that name.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
