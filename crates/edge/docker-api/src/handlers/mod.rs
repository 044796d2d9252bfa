//! One function per endpoint: from a request to the engine and back.

pub(crate) mod archive;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod container;
pub(crate) mod device;
pub(crate) mod dhow;
pub(crate) mod exec;
pub(crate) mod gc;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod search;
pub(crate) mod secret;
pub(crate) mod stream;
pub(crate) mod system;
pub(crate) mod upgrade;
pub(crate) mod volume;
