//! Where bridges and rules are: in this process's network namespace, or in that of an ordinary user's
//! engine, which this process is not in.

use std::path::{Path, PathBuf};

use crate::{Error, Networks};

/// The network namespace of an ordinary user's engine.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    place: rootless::Place,
    exe: PathBuf,
}

impl Networks {
    /// The networks of an ordinary user's engine. `exe` is dhow's own program, which keeps their
    /// namespace.
    #[must_use]
    pub fn of_user(mut self, state: &Path, exe: &Path) -> Self {
        self.site = Some(Site { place: rootless::Place::of(state), exe: exe.to_owned() });
        self
    }

    /// Does `work` where the bridges are; that place is made where there is none.
    pub fn inside<T: Send, E: From<Error> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let Some(site) = &self.site else { return work() };
        let namespace = site.place.make_network(&site.exe).map_err(Error::from)?;
        rootless::inside(&namespace, work).map_err(Error::from)?
    }

    /// The same, or `None` where there is no such place and so nothing in it.
    pub fn inside_if_there<T: Send, E: From<Error> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Option<T>, E> {
        let Some(site) = &self.site else { return work().map(Some) };
        let Some(namespace) = site.place.network().map_err(Error::from)? else { return Ok(None) };
        rootless::inside(&namespace, work).map_err(Error::from)?.map(Some)
    }
}
