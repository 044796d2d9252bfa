//! Streams of bytes between a client and a container.

pub(crate) mod detach;
pub(crate) mod frames;
pub(crate) mod relay;
