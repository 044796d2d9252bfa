//! Statements beside files: where a result is a directory or an archive, they lie at its top.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use fsroot::Root;
use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{Mode, OFlags};

use super::Attested;
use super::walk::{Found, walk};
use crate::Error;
use crate::error::At as _;

/// A directory that holds the statements about all files of `tree`, whose names begin with `prefix`, and
/// have `suffix`, where it is not empty, before what they end in. Only in a room.
pub(crate) fn beside(
    tree: &Root,
    all: &[Attested],
    prefix: &str,
    suffix: &str,
) -> Result<Root, Error> {
    let mut subjects = Vec::new();
    walk(tree, &mut |found| {
        let digest = digest(found).at("read", found.path)?;
        subjects.push((found.path.to_string_lossy().into_owned(), digest));
        Ok(())
    })?;
    let options = [("mode", Some("0755"))];
    let dir = mount::fs_mount("tmpfs", Some("dhow"), &options, sys::MountAttr::empty())?;
    let dir = Root::from_fd(dir);
    for one in all {
        let name = named(&format!("{prefix}{}", one.filename), suffix);
        let bytes = images::statement(&one.predicate_type, &one.says, &one.subjects, &subjects)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = dir.open_with(&name, flags, Mode::from_raw_mode(0o600))?;
        std::fs::File::from(file).write_all(&bytes).at("write", Path::new(&name))?;
    }
    Ok(dir)
}

/// `NAME.SUFFIX.json`.
fn named(name: &str, suffix: &str) -> String {
    match name.rsplit_once('.') {
        _ if suffix.is_empty() => name.to_owned(),
        Some((stem, kind)) => format!("{stem}.{suffix}.{kind}"),
        None => format!("{name}.{suffix}"),
    }
}

fn digest(found: &Found<'_>) -> io::Result<Digest> {
    let (mut file, mut hasher) = (found.open()?, Hasher::new(Algorithm::Sha256));
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&piece[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn statements_of_several_platforms_have_names_of_their_own() {
        assert_eq!(named("provenance.json", ""), "provenance.json");
        assert_eq!(named("sbom.spdx.json", "linux_amd64"), "sbom.spdx.linux_amd64.json");
        assert_eq!(named("plain", "linux_arm64"), "plain.linux_arm64");
    }
}
