//! The Dockerfile language.
//!
//! From text to instructions ([`parse`]), from words with variables to words ([`expand`]), from
//! patterns to what they match ([`ignore`]), and from a Dockerfile and a build's wishes to a graph
//! that can be carried out. All of it is computing: what a build needs from outside (an image's
//! configuration, say) is asked for and given.
//!
//! References: the Dockerfile reference (1.20 and later) with its build checks, and what BuildKit's
//! frontend does (`frontend/dockerfile`), whose words these are.
#![forbid(unsafe_code)]

pub mod call;
pub mod check;
pub mod convert;
mod csv;
mod directive;
mod error;
pub mod expand;
mod flags;
pub mod git;
mod heredoc;
pub mod ignore;
pub mod instruction;
pub mod mount;
mod parse;
mod path;
mod position;
mod problem;
mod quote;
mod scan;
mod split;
mod suggest;

pub use csv::fields as csv_fields;
pub use directive::{Directive, syntax};
pub use error::{Error, snippet};
pub use heredoc::Heredoc;
pub use parse::{Parsed, parse, parse_some};
pub use position::Lines;
pub use problem::Problem;
pub use suggest::Hint;
