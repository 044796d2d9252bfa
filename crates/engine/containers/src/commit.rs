//! Making an image of what a container has become.

use docker::ContainerConfig;
use oci::Digest;
use reference::Reference;
use serde_json::Value;
use shim_protocol::Phase;

use crate::engine::Engine;
use crate::{Error, events};

/// What image to make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitOptions {
    /// The image's name.
    pub reference: Option<Reference>,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// Who makes it.
    pub author: Option<String>,
    /// A note for the history.
    pub message: Option<String>,
    /// Freeze the container meanwhile, if it runs; one without a cgroup cannot be.
    pub pause: bool,
    /// What of the container's configuration is to be different: fields that are set.
    pub config: ContainerConfig,
}

impl Engine {
    /// Makes an image of a container: its writable layer on its image's. The image's id.
    pub fn commit(&self, wanted: &str, options: &CommitOptions) -> Result<Digest, Error> {
        // Held: nobody starts or removes it meanwhile.
        let (container, lock) = self.find_locked(wanted)?;
        let Some(mounts) = self.layers(&container)? else {
            return Err(Error::NotYet("an image of a container of the host's root".into()));
        };
        let phase = self.status_locked(&container.id, &lock)?.phase;
        let record = &container.record;
        let record_error = |source| Error::Record { id: container.id.clone(), source };
        let config = configuration(&record.config, &options.config).map_err(record_error)?;
        let commit = images::Commit {
            reference: options.reference.clone(),
            config,
            changes: options.changes.clone(),
            author: options.author.clone(),
            message: options.message.clone(),
            created_by: Some(container.command().join(" ")),
            container: Some(container.id.clone()),
        };
        let frozen =
            options.pause && phase == Phase::Running && self.freeze(&container, "commit")?;
        let mountpoints = self.lowest_layer(&container);
        let made = mountpoints.and_then(|mountpoints| {
            let base = container.image.as_ref();
            Ok(self.images.commit(&mounts, Some(&mountpoints), base, &commit)?)
        });
        if frozen {
            self.thaw(std::slice::from_ref(&container.id))?;
        }
        drop(lock);
        let image = made?;
        let comment = options.message.as_deref().unwrap_or_default();
        let id = image.id.to_string();
        self.tell_of("image", "create", &id, &[("name", &id)]);
        let mut event = events::with(events::container("commit", &container), "comment", comment);
        event = events::with(event, "imageID", &id);
        if let Some(reference) = &options.reference {
            let name = reference.clone().with_default_tag().familiar();
            self.tell_of("image", "tag", &id, &[("name", &name)]);
            event = events::with(event, "imageRef", &name);
        }
        self.emit(&event);
        Ok(image.id)
    }
}

/// The container's configuration as an image's: both have Docker's names, an image has fewer.
fn configuration(
    own: &ContainerConfig,
    other: &ContainerConfig,
) -> Result<oci::image::Config, serde_json::Error> {
    let mut config = serde_json::to_value(own)?;
    if let (Value::Object(config), Value::Object(other)) =
        (&mut config, serde_json::to_value(other)?)
    {
        for (name, value) in other {
            // As Docker: of these what is said is beside what there is.
            let joins = matches!(name.as_str(), "Labels" | "ExposedPorts" | "Volumes");
            match (config.get_mut(&name), value) {
                (Some(Value::Object(own)), Value::Object(more)) if joins => own.extend(more),
                (_, value) if is_set(&value) => _ = config.insert(name, value),
                _ => {}
            }
        }
        config.retain(|_, value| is_set(value));
    }
    serde_json::from_value(config)
}

/// Whether a value is not Go's zero value.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0),
        Value::Bool(true) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_what_makes_a_container() {
        let own = serde_json::from_str(
            r#"{"Hostname":"h","Image":"i","Tty":true,"Env":["A=1"],"Cmd":["sh"],
                "ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},"Labels":{"a":"b"}}"#,
        )
        .unwrap();
        let other = r#"{"Cmd":["true"],"User":"me","Env":null,"Labels":{"c":"d"}}"#;
        let other = serde_json::from_str(other).unwrap();
        let config = configuration(&own, &other).unwrap();
        assert_eq!(
            serde_json::to_string(&config).unwrap(),
            r#"{"User":"me","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Cmd":["true"],"Volumes":{"/data":{}},"Labels":{"a":"b","c":"d"}}"#
        );
    }
}
