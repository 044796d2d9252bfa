//! What another version of this program has made, and would make otherwise.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::engine::Engine;

impl Engine {
    /// Has the rules of all networks be those that this program makes, if it was another file that was here last.
    ///
    /// Whoever needs a network is told what is wrong there; who does not is not kept from anything, and the next one
    /// tries again.
    pub(crate) fn renew_rules(&self) {
        let Some(identity) = identity(&self.exe) else { return };
        let path = self.paths().ruled_by();
        if fs::read_to_string(&path).is_ok_and(|last| last == identity) {
            return;
        }
        if self.networks.renew_rules(&self.shared.db).is_ok() {
            // What cannot be noted, where there is no room say, is only done once more.
            let _ = fs::write(&path, identity);
        }
    }
}

/// What tells a file of a program from one that takes its place.
fn identity(exe: &Path) -> Option<String> {
    let file = fs::metadata(exe).ok()?;
    let (dev, ino, bytes) = (file.dev(), file.ino(), file.len());
    Some(format!("{dev} {ino} {bytes} {} {}", file.mtime(), file.mtime_nsec()))
}
