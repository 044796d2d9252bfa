//! nf_tables batches, encoded for netlink.
#![forbid(unsafe_code)]
