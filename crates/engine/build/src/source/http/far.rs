//! How far a file is that comes.

use registry::WebFile;

use crate::cache::now;
use crate::event::Status;
use crate::tell::Listeners;

/// How far it is, said now and then.
pub(super) struct Far {
    status: Status,
    n_bytes: u64,
    said: u64,
}

/// After so many bytes it is said again.
const SAY_EACH: u64 = 1 << 20;

impl Far {
    pub(super) fn new(file: &WebFile, name: &str) -> Self {
        let total = file.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Self::of(name, total)
    }

    pub(super) fn of(name: &str, total: i64) -> Self {
        let time = now();
        let name = format!("downloading {name}");
        let (started, completed) = (Some(time), None);
        let status = Status {
            id: name.clone(),
            vertex: None,
            name,
            current: 0,
            total,
            time,
            started,
            completed,
        };
        Self { status, n_bytes: 0, said: 0 }
    }

    pub(super) fn come(&mut self, n_bytes: usize, listeners: &Listeners) {
        self.n_bytes += n_bytes as u64;
        if self.n_bytes - self.said >= SAY_EACH {
            self.say(listeners, None);
        }
    }

    pub(super) fn end(&mut self, listeners: &Listeners) {
        self.say(listeners, Some(now()));
    }

    fn say(&mut self, listeners: &Listeners, completed: Option<i64>) {
        self.said = self.n_bytes;
        let current = i64::try_from(self.n_bytes).unwrap_or(i64::MAX);
        listeners.status(Status { current, time: now(), completed, ..self.status.clone() });
    }
}
