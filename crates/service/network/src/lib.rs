//! Networks, addresses, and the firewall rules of both.
#![forbid(unsafe_code)]
