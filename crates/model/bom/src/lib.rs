//! Bills of materials: what package databases in a tree say is there, as an SPDX document.
//!
//! ```text
//! deb    var/lib/dpkg/status, var/lib/dpkg/status.d/*
//! apk    lib/apk/db/installed, usr/lib/apk/db/installed
//! pypi   *.dist-info/METADATA, *.egg-info/PKG-INFO, *.egg-info
//! npm    node_modules/NAME/package.json, package-lock.json, npm-shrinkwrap.json
//! cargo  Cargo.lock, and programs that were built with cargo-auditable
//! ```
//!
//! Nothing is opened here: who walks a tree asks of each file what it may hold ([`Interest::of`]), and gives what
//! it holds ([`Scan`]). All of it comes from strangers, and is bounded: files that are longer than
//! [`Interest::most`] are not read, what makes no sense is passed over, and there are [`MOST_PACKAGES`] at most.
#![forbid(unsafe_code)]

mod apk;
mod cargo;
mod dpkg;
mod elf;
mod fields;
mod licence;
mod npm;
mod os_release;
mod package;
mod purl;
mod python;
mod scan;
mod spdx;
#[cfg(test)]
mod tests;

pub use package::{Kind, Package};
pub use purl::{escaped, package_url};
pub use scan::{Interest, MOST_PACKAGES, Scan, Scanned};
pub use spdx::{PREDICATE, document};
