//! What has happened, for whoever wants to follow it: see [`shim_protocol::events`].
//!
//! What happens to a container that has a supervisor, its supervisor tells.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use docker::event::{Actor, Message};
use docker::filters::Filters;
use network::Endpoint;
use reference::Reference;
use shim_protocol::Companion;

use crate::engine::Engine;
use crate::error::At as _;
use crate::mounting::VOLUME;
use crate::record::Container;
use crate::shim::{Ready, first_ready};
use crate::watch::Watch;
use crate::{Error, clock};

/// The attributes of a container's events: its labels, its image and its name.
pub(crate) fn attributes(of: &Container) -> BTreeMap<String, String> {
    let config = &of.record.config;
    let labels = config.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let own = [("image".to_owned(), config.image.clone()), ("name".to_owned(), of.name.clone())];
    labels.chain(own).collect()
}

/// An event of a container, with its name, image and labels.
pub(crate) fn container(action: &str, container: &Container) -> Message {
    let image = &container.record.config.image;
    let attributes = attributes(container);
    shim_protocol::events::container(action, &container.id, image, attributes, clock::now())
}

/// An event with one more attribute.
pub(crate) fn with(mut event: Message, name: &str, value: &str) -> Message {
    event.actor.attributes.insert(name.into(), value.to_owned());
    event
}

/// The end of a container's program.
pub(crate) fn died(of: &Container, exit_code: i32) -> Message {
    with(container("die", of), "exitCode", &exit_code.to_string())
}

/// An event of a network or volume.
pub(crate) fn of(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Message {
    let now = clock::now();
    let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Message {
        kind: kind.into(),
        action: action.into(),
        actor: Actor { id: id.into(), attributes },
        scope: "local".into(),
        time: now / 1_000_000_000,
        time_nano: now,
        ..Message::default()
    }
}

/// What a container has while it runs, for its supervisor to tell of.
pub(crate) fn companions(container: &Container, endpoints: &[Endpoint]) -> Vec<Companion> {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let record = &container.record;
    let id = container.id.as_str();
    let mut all = Vec::new();
    for point in
        record.mounts.iter().map(|mounting| &mounting.point).filter(|one| one.kind == VOLUME)
    {
        let begin = text(&[
            ("container", id),
            ("destination", &point.destination),
            ("driver", "local"),
            ("propagation", &point.propagation),
            ("read/write", if point.rw { "true" } else { "false" }),
        ]);
        all.push(Companion {
            kind: "volume".into(),
            id: point.name.clone(),
            begin: ("mount".into(), begin),
            end: ("unmount".into(), text(&[("container", id), ("driver", "local")])),
        });
    }
    for (name, settings) in &record.connected {
        let driver = match name.as_str() {
            "host" => "host",
            "none" => "null",
            _ => {
                let its = endpoints.iter().find(|one| one.network.id == settings.network_id);
                its.map_or("bridge", |one| one.network.driver().name())
            }
        };
        let attributes = text(&[("container", id), ("name", name), ("type", driver)]);
        all.push(Companion {
            kind: "network".into(),
            id: settings.network_id.clone(),
            begin: ("connect".into(), attributes.clone()),
            end: ("disconnect".into(), attributes),
        });
    }
    all
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    watch: Option<Watch>,
    file: Option<File>,
    /// Read, and not yet given out.
    buffer: Vec<u8>,
    since: Option<i64>,
    until: Option<i64>,
    filters: Filters,
}

impl Engine {
    /// Appends an event. One that cannot be written is lost: what it tells of has happened, and
    /// must not fail for it.
    pub(crate) fn emit(&self, event: &Message) {
        // Nobody is left to be told: see above.
        let _lost = shim_protocol::events::append(&self.paths().events(), event);
    }

    /// Tells of what happened to something that is no container.
    pub fn tell_of(&self, kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) {
        let mut event = of(kind, action, id, attributes);
        if kind == "image"
            && !matches!(action, "delete" | "prune")
            && let Ok(found) = self.images.details(id)
        {
            // Filters for labels are for these.
            for (label, value) in found.image.config.config.labels {
                event.actor.attributes.entry(label).or_insert(value);
            }
        }
        self.emit(&event);
    }

    /// Tells of an image that came from a registry or went there, by the name that it has there.
    pub fn tell_of_reference(&self, action: &str, reference: &Reference) {
        let whole = reference.familiar();
        let end = whole.len() - reference.tag().map_or(0, |tag| tag.len() + 1);
        let name = if reference.digest().is_some() { &whole[..] } else { &whole[..end] };
        self.tell_of("image", action, &whole, &[("name", name)]);
    }

    /// Tells of what was done with a container.
    pub fn tell_of_container(&self, wanted: &str, action: &str) {
        // One that is gone in this moment is told of as that.
        if let Ok(found) = self.find(wanted) {
            self.emit(&container(action, &found));
        }
    }

    /// Events from `since` (or, without an end, from now on) until `until` (or for ever); nanoseconds since 1970.
    pub fn events(
        &self,
        since: Option<i64>,
        until: Option<i64>,
        filters: Filters,
    ) -> Result<Events, Error> {
        let path = self.paths().events();
        let watch = Watch::files(self.state())?;
        // What has yet to happen is told in any case: a client's clock may be ahead of ours.
        let since = since.map(|since| since.min(clock::now()));
        let mut events =
            Events { path, watch, file: None, buffer: Vec::new(), since, until, filters };
        if since.is_some() || until.is_some() {
            let old = events.path.with_extension("jsonl.1");
            events.buffer = fs::read(old).unwrap_or_default();
        } else if let Ok(mut file) = File::open(&events.path) {
            file.seek(SeekFrom::End(0)).at("seek", &events.path)?;
            events.file = Some(file);
        }
        Ok(events)
    }
}

impl Events {
    /// The next event; `None` at the end, or when `gone` hangs up.
    pub fn next(&mut self, gone: Option<BorrowedFd<'_>>) -> Result<Option<Message>, Error> {
        loop {
            while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let Ok(event) = serde_json::from_slice::<Message>(&line) else { continue };
                if self.until.is_some_and(|until| event.time_nano > until) {
                    return Ok(None);
                }
                if self.wants(&event) {
                    return Ok(Some(event));
                }
            }
            if self.fill()? {
                continue;
            }
            let left = self.until.map(|until| until - clock::now());
            if left.is_some_and(|left| left <= 0) {
                return Ok(None);
            }
            let left = left.and_then(|left| u64::try_from(left).ok()).map(Duration::from_nanos);
            let fds: Vec<BorrowedFd<'_>> = self.watch.iter().map(|watch| watch.as_fd()).collect();
            if first_ready(&fds, gone, left)? == Ready::Gone {
                return Ok(None);
            }
            if let Some(watch) = &mut self.watch {
                watch.drain();
            }
        }
    }

    /// Reads more. Whether there was more.
    fn fill(&mut self) -> Result<bool, Error> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        let before = self.buffer.len();
        file.read_to_end(&mut self.buffer).at("read", &self.path)?;
        if self.buffer.len() > before {
            return Ok(true);
        }
        // It began anew: this one is at its end for good.
        let same = fs::metadata(&self.path)
            .is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
        if !same && self.path.exists() {
            // But for what came to it between the last look and then.
            file.read_to_end(&mut self.buffer).at("read", &self.path)?;
            self.file = None;
            return if self.buffer.len() > before { Ok(true) } else { self.fill() };
        }
        Ok(false)
    }

    fn wants(&self, event: &Message) -> bool {
        let attributes = &event.actor.attributes;
        let named = |kind: &str, name: &str| {
            self.filters.any(kind, |wanted| {
                event.kind == kind
                    && (event.actor.id.starts_with(wanted)
                        || attributes.get(name).is_some_and(|have| have == wanted))
            })
        };
        self.since.is_none_or(|since| event.time_nano >= since)
            && self.filters.exact("type", &event.kind)
            && self.filters.any("event", |wanted| {
                event.action == wanted || event.action.starts_with(&format!("{wanted}:"))
            })
            && self.filters.exact("scope", &event.scope)
            && self.filters.labels("label", attributes)
            && named("container", "name")
            && named("network", "name")
            && named("volume", "name")
            && named("daemon", "name")
            && self.filters.any("image", |wanted| {
                let name = if event.kind == "image" { "name" } else { "image" };
                let is_meant = |name: &str| name == wanted || without_tag(name) == wanted;
                is_meant(&event.actor.id) || attributes.get(name).is_some_and(|name| is_meant(name))
            })
    }
}

/// The name of an image, whatever its tag.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::without_tag;

    #[test]
    fn names_of_images_without_their_tags() {
        for (name, want) in [
            ("busybox:latest", "busybox"),
            ("busybox", "busybox"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("localhost:5000/a:1", "localhost:5000/a"),
        ] {
            assert_eq!(without_tag(name), want);
        }
    }
}
