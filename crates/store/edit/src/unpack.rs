//! Archives that a copy unpacks.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use fsroot::Root;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;
use crate::owner::open_file;

/// The archive at `path`, opened: a regular file that is a tar archive, plain or compressed, of one entry at
/// least. `None`: it is no archive, or is not there.
pub(crate) fn archive(root: &Root, path: &Path) -> Result<Option<File>, Error> {
    let node = match root.open_path(path) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        node => node.at("open", path)?,
    };
    let stat = rustix::fs::fstat(&node).at("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut file = File::from(open_file(&node, OFlags::RDONLY, path)?);
    if !is_archive(&mut file, path)? {
        return Ok(None);
    }
    let rewound = file.rewind();
    rewound.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).at("lseek", path)?;
    Ok(Some(file))
}

fn is_archive(file: &mut dyn Read, path: &Path) -> Result<bool, Error> {
    let decoder = match diff::decode(file) {
        Err(diff::Error::Unsupported { format: format @ ("xz" | "bzip2") }) => {
            return Err(Error::Compression { path: path.into(), format });
        }
        // What is compressed in any other way is a file like others.
        Err(_) => return Ok(false),
        Ok(decoder) => decoder,
    };
    let mut reader = tarstream::Reader::new(BufReader::new(decoder));
    Ok(matches!(reader.next_entry(), Ok(Some(_))))
}

/// Unpacks an archive into `directory`, which is its root: nothing in it leads out, and links that are there
/// are taken as from that root.
pub(crate) fn unpack(
    mut archive: File,
    directory: OwnedFd,
    owner: Option<(u32, u32)>,
    path: &Path,
) -> Result<(), Error> {
    let how = cp::Extract { owner, whole: true, ..cp::Extract::default() };
    cp::unpack(Root::from_fd(directory), Path::new("/"), how, &mut archive)
        .map_err(|source| Error::Unpack { path: path.into(), source })
}
