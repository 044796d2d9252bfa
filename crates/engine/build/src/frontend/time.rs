//! When something from elsewhere was made (`SOURCE_DATE_EPOCH` by a name).

use std::path::Path;

use buildgraph::Source;

use super::files;
use crate::tell::{Listeners, phase};
use crate::{Build, Error, source};

/// Of a commit its committer's time, of a file what its server says, or the newest that is in the archive; seconds
/// since 1970. `None`: nobody knows.
pub(super) async fn of(build: &Build, what: &Source, shown: &str) -> Result<Option<i64>, Error> {
    match &build.shared.decided(what, None).await? {
        Source::Git(git) => {
            let listeners = Listeners::default();
            let asked = source::commit_time(&build.shared, git, &listeners);
            phase(&build.shared, shown, asked).await.map(Some)
        }
        Source::Http(_) => {
            let directory = files::bring(build, what.clone(), shown);
            let files = build.read_dir(&directory, Path::new("/")).await?;
            let Some(file) = files.first() else { return Ok(None) };
            // One of which the server says nothing has none.
            match file.modified / 1_000_000_000 {
                0 => build.newest(&directory, &file.path).await,
                seconds => Ok(Some(seconds)),
            }
        }
        Source::Image(_)
        | Source::Local(_)
        | Source::Layout(_)
        | Source::Blob(_)
        | Source::Result(_) => Ok(None),
    }
}
