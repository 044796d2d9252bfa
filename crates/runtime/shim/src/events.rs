//! Telling of what happens to the container.

use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Appends an event of the container, with these attributes besides its own. One that cannot be
    /// written is lost: what it tells of has happened.
    pub(crate) fn emit(&self, action: &str, more: &[(&str, &str)]) {
        let Some(events) = &self.config.events else { return };
        let own = events.attributes.iter().map(|(name, value)| (name.clone(), value.clone()));
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = Timestamp::now().nanos();
        let all = own.chain(more);
        let event =
            shim_protocol::events::container(action, &self.config.id, &events.image, all, now);
        if let Err(err) = shim_protocol::events::append(&events.path, &event) {
            report("tell of an event", &Error::file("write", &events.path)(err));
        }
    }
}
