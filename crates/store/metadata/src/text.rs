//! Values that are kept as text, and the few shapes that queries have.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Params, Row};

use crate::{Error, Read};

/// A value that is kept as it prints.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.to_string()))
    }
}

impl<T> FromSql for Text<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

impl Read {
    /// All rows.
    pub(crate) fn all<T>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let all = || {
            let mut statement = self.0.prepare_cached(sql)?;
            let rows = statement.query_map(params, row)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        all().map_err(|source| Error::Sqlite { doing, source })
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let first = || self.0.prepare_cached(sql)?.query_row(params, row).optional();
        first().map_err(|source| Error::Sqlite { doing, source })
    }

    /// Changes rows; how many.
    pub(crate) fn execute(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<usize, Error> {
        let execute = || self.0.prepare_cached(sql)?.execute(params);
        execute().map_err(|source| Error::Sqlite { doing, source })
    }
}

/// The first text after all those that start with `prefix`, for hexadecimal ids: a range of the
/// index instead of a pattern that would read the whole table.
pub(crate) fn after_prefix(prefix: &str) -> String {
    format!("{prefix}g")
}

/// Whether this can be the start of a hexadecimal id.
pub(crate) fn is_id_prefix(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
