//! `update`: what is changed of what a container was made with.

use docker::container::Changes;
use docker::nat;

use super::{devices, mounts, values};
use crate::args::ChangeArgs;
use crate::error::{Error, Result};

/// The changes that are asked for, if any are.
pub(crate) fn changes(args: &ChangeArgs) -> Result<Option<Changes>> {
    if let Some(device) = args.device.iter().find(|device| devices::is_cdi(device)) {
        return Err(Error::Usage(format!(
            "--device {device}: devices of CDI specifications are given when a container is made"
        )));
    }
    let (_, publish) = nat::port_maps(args.publish.iter().map(String::as_str))
        .map_err(|err| Error::Usage(format!("invalid value for --publish: {err}")))?;
    let changes = Changes {
        publish,
        publish_remove: args.publish_rm.clone().into(),
        mounts: args.mount.iter().map(|mount| mounts::mount(mount)).collect::<Result<_>>()?,
        mounts_remove: args.mount_rm.clone().into(),
        env: values::environment(&args.env, &[])?.into(),
        env_remove: args.env_rm.clone().into(),
        labels: values::key_values(&args.label).into(),
        labels_remove: args.label_rm.clone().into(),
        devices: args.device.iter().map(|device| values::device(device)).collect::<Result<_>>()?,
        devices_remove: args.device_rm.clone().into(),
    };
    let is_empty = args.publish.is_empty()
        && args.publish_rm.is_empty()
        && args.mount.is_empty()
        && args.mount_rm.is_empty()
        && args.env.is_empty()
        && args.env_rm.is_empty()
        && args.label.is_empty()
        && args.label_rm.is_empty()
        && args.device.is_empty()
        && args.device_rm.is_empty();
    Ok((!is_empty).then_some(changes))
}
