//! The Container Device Interface, version 1.1: what a vendor says a container needs for a device
//! (`/etc/cdi/*.json`, `*.yaml`), and the change that this makes to the container's configuration.
//!
//! A [`Document`] is one file, read strictly: a field that is not known, or a version that does not
//! have a field that is used, is an error, since a device that is given in part is worse than none.
//! [`Catalog`] has all of the machine, and knows which file a [`Name`] means. [`Edits::apply`]
//! changes an OCI specification; what it has to know of the machine's device files it is told by
//! the caller.
//!
//! Source: the CDI specification, `SPEC.md`; where that leaves a case open, the order and the rules
//! of its reference implementation (`tags.cncf.io/container-device-interface`).
#![forbid(unsafe_code)]

mod apply;
mod catalog;
mod document;
mod error;
mod name;
mod validate;
mod version;

pub use apply::{DeviceFile, FileKind};
pub use catalog::{Catalog, Entry, File};
pub use document::{Device, DeviceNode, Document, Edits, Hook, IntelRdt, Mount, NetDevice, Syntax};
pub use error::Error;
pub use name::{Kind, Name};
pub use version::Version;

#[cfg(test)]
mod tests;
