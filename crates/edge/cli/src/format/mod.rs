//! How results look: tables as Docker's, templates as Go's, times and sizes as people say them.

pub(crate) mod human;
pub(crate) mod table;
pub(crate) mod template;
