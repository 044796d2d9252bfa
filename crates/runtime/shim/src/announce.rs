//! Telling a container's neighbours where its addresses are, shortly after it has them.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use endpoint::{Advertise, Announcements};

use crate::error::{Error, report};
use crate::setup::network_of;
use crate::supervisor::Supervisor;

/// Until the first time: a bridge forwards what comes from a new port a moment after it is there. And who
/// ends at once has told nobody, and waited for nothing.
const FIRST: Duration = Duration::from_millis(50);

/// What is still to be told.
#[derive(Debug)]
pub(crate) struct Announcing {
    /// When it is due.
    pub(crate) at: Instant,
    /// How often it was told.
    told: u8,
    how: Advertise,
    ready: Option<Announcements>,
}

impl Supervisor {
    /// The container has its addresses from now on: has its neighbours told, where they may know others.
    pub(crate) fn begin_announcing(&mut self) {
        let wanted = Announcements::wanted(&self.config.network);
        self.announcing =
            wanted.map(|how| Announcing { at: Instant::now() + FIRST, told: 0, how, ready: None });
    }

    /// Tells them, if it is time.
    pub(crate) fn pass_announcing(&mut self, now: Instant) {
        let due = self.announcing.take_if(|announcing| announcing.at <= now);
        let Some(mut announcing) = due else { return };
        if let Err(err) = self.announce(&mut announcing) {
            // They find out by themselves, later.
            report("tell the neighbours of its addresses", &err);
            return;
        }
        announcing.told += 1;
        announcing.at = now + Duration::from_millis(announcing.how.period_ms.into());
        self.announcing = Some(announcing).filter(|one| one.told < one.how.times);
    }

    fn announce(&self, announcing: &mut Announcing) -> Result<(), Error> {
        if announcing.ready.is_none() {
            let Some((pid, _)) = &self.init else { return Err(Error::NotRunning) };
            let inside = network_of(*pid)?;
            let ready = Announcements::prepare(&self.config.network, inside.as_fd());
            announcing.ready = Some(ready.map_err(Error::Network)?);
        }
        let sent = announcing.ready.as_ref().map_or(Ok(()), |ready| ready.send(announcing.told));
        sent.map_err(Error::Network)
    }
}
