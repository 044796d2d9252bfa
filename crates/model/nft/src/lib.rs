//! `nf_tables` batches: tables, chains and rules as data, encoded for netlink.
//!
//! It knows the few expressions that container networks need, and makes of each what nft(8) makes
//! of the same words, so that `nft list ruleset` prints them as a person would write them.
//!
//! A batch is a transaction: the kernel does all of it or nothing. What an answer refers to is
//! found by its sequence number in [`Encoded::steps`].
//!
//! See `linux/netfilter/nf_tables.h`, and nft(8) for the meaning.
#![forbid(unsafe_code)]

mod batch;
mod expr;
mod table;

pub use batch::{Batch, Encoded, get_chain, list_tables, table_name};
pub use expr::{Op, Rule, ct_state, ct_status};
pub use table::{Base, Chain, Family, Hook, Kind, Policy, Table, priority};
