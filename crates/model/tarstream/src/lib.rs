//! A tar reader and writer for hostile input.
#![forbid(unsafe_code)]
