//! Files whose size the kernel does not tell.

use std::io::Read;
use std::path::Path;

/// The whole of a file of procfs, which mostly has no more than `expected` bytes: then it is read in
/// one go, where `std::fs::read_to_string` would begin with 32 bytes and double them.
pub fn read_file(path: impl AsRef<Path>, expected: usize) -> std::io::Result<String> {
    let mut text = String::with_capacity(expected);
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}
