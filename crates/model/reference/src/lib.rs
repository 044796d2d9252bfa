//! Names of images: parsing and printing of Docker references.
#![forbid(unsafe_code)]
