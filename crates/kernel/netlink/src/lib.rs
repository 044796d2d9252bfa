//! Route and netfilter netlink, synchronous.
#![forbid(unsafe_code)]
