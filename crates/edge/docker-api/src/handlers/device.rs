//! The devices that containers can have by name.

use containers::Engine;
use docker::dhow::{CdiDevice, CdiDevices, CdiProblem};

use crate::call::{Call, Reply, ok};
use crate::error::Error;

/// `GET /dhow/cdi`: the devices of the machine's CDI specifications, and what is wrong with those.
pub(crate) async fn list(call: Call) -> Reply {
    ok(&call.engine(|engine| Ok::<_, Error>(devices(engine))).await?)
}

fn devices(engine: &Engine) -> CdiDevices {
    let all = engine.device_specifications();
    let device = |(name, entry): (&cdi::Name, cdi::Entry<'_>)| {
        let common = &entry.file.document.container_edits.device_nodes;
        let nodes = common.iter().chain(&entry.device().container_edits.device_nodes);
        CdiDevice {
            name: name.to_string(),
            file: entry.file.path.clone(),
            device_nodes: nodes.map(|node| node.path.clone()).collect(),
        }
    };
    let problem = |one: devices::Problem| CdiProblem { file: one.path, message: one.why };
    CdiDevices {
        devices: all.catalog.entries().map(device).collect(),
        problems: all.problems.into_iter().map(problem).collect(),
    }
}
