//! Making an image of a root file system archive.

use std::io::{self, Read, Write};

use diff::{Limits, Options, Origin};
use docker::timestamp::Timestamp;
use oci::image::{Config, History, ImageConfig, Platform, RootFs};
use reference::Reference;

use crate::install::NewLayer;
use crate::{Error, Image, Images, change, check_target, now};

/// What to make of an archive.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The image's name; the tag is `latest` where it has none.
    pub reference: Option<Reference>,
    /// Instructions of a Dockerfile: `CMD ["sh"]`, `ENV A=b`, ...
    pub changes: Vec<String>,
    /// A note for the history.
    pub message: Option<String>,
    /// What the programs in it run on; this machine's where it is left out.
    pub platform: Option<Platform>,
    /// When it was made, nanoseconds since 1970; now where it is left out.
    pub created: Option<i64>,
}

impl Images {
    /// Makes an image of one layer from an archive (tar, tar.gz or tar.zst), which is read to its
    /// end. `progress` is told how many bytes were read so far. Where it fails nothing is left.
    pub fn import(
        &self,
        archive: &mut dyn Read,
        import: &Import,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Image, Error> {
        let reference = match &import.reference {
            Some(reference) if reference.digest().is_some() => {
                return Err(Error::Invalid("cannot import digest reference".into()));
            }
            Some(reference) => Some(check_target(reference.clone())?),
            None => None,
        };
        // Before the archive is read: a mistake here should not cost minutes.
        let mut config = Config::default();
        change::apply_all(&mut config, &import.changes)?;
        let layer = self.unpack_new(archive, progress)?;
        let created = Timestamp::from_nanos(import.created.unwrap_or_else(now)).to_string();
        let platform = import.platform.clone().unwrap_or_else(Platform::native);
        let config = ImageConfig {
            created: Some(created.clone()),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            os_version: platform.os_version,
            config,
            rootfs: RootFs { diff_ids: vec![layer.diff()], ..RootFs::default() },
            history: vec![History {
                created: Some(created),
                comment: import.message.clone(),
                ..History::default()
            }],
            comment: import.message.clone(),
            ..ImageConfig::default()
        };
        let image = self.install_new(layer, &config, reference.as_ref())?;
        if reference.is_some() {
            self.note_tagging(&image.id)?;
        }
        Ok(image)
    }

    /// Reads an archive once: into a blob, and unpacked.
    fn unpack_new(
        &self,
        archive: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<NewLayer, Error> {
        let limits = Limits::default();
        let mut blob = self.content.writer(limits.stream)?;
        let unpacking = self.snapshots.begin(&[])?;
        let whiteouts = self.whiteouts();
        let options = Options { origin: Origin::Archive, below: &[], whiteouts, limits };
        let mut tee = Tee { input: archive, copy: &mut blob, n_read: 0, progress };
        let applied = diff::apply(&mut tee, &unpacking.path(), &options)?;
        // What follows a compressed stream counts for the blob's digest too.
        io::copy(&mut tee, &mut io::sink()).map_err(diff::Error::Read)?;
        let blob = blob.finish()?;
        Ok(NewLayer { unpacking, blob, applied })
    }
}

/// Copies what is read.
struct Tee<'a> {
    input: &'a mut dyn Read,
    copy: &'a mut dyn Write,
    n_read: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.input.read(buffer)?;
        self.copy.write_all(&buffer[..n_read])?;
        self.n_read += n_read as u64;
        (self.progress)(self.n_read);
        Ok(n_read)
    }
}
