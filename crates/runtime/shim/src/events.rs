//! Telling of what happens to the container.

use std::path::Path;

use docker::event::Message;

use crate::clock::Timestamp;
use crate::error::{Error, report};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// Appends an event of the container, with these attributes besides its own. One that cannot be
    /// written is lost: what it tells of has happened.
    pub(crate) fn emit(&self, action: &str, more: &[(&str, &str)]) {
        let Some(events) = &self.config.events else { return };
        let time = Timestamp::now().nanos();
        for one in &events.companions {
            let (told, attributes) = match action {
                "start" => &one.begin,
                "die" => &one.end,
                _ => break,
            };
            let event =
                shim_protocol::events::of(&one.kind, told, &one.id, attributes.clone(), time);
            append(&events.path, &event);
        }
        let own = events.attributes.iter().map(|(name, value)| (name.clone(), value.clone()));
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = Timestamp::now().nanos();
        let all = own.chain(more);
        let event =
            shim_protocol::events::container(action, &self.config.id, &events.image, all, now);
        append(&events.path, &event);
    }
}

fn append(path: &Path, event: &Message) {
    if let Err(err) = shim_protocol::events::append(path, event) {
        report("tell of an event", &Error::file("write", path)(err));
    }
}
