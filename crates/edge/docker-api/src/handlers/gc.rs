//! Automatic collection of images, and of containers that do not run.

use docker::gc::{Policy, Subject};

use crate::{
    call::{Call, Reply, ok},
    error::Error,
};

/// `POST /dhow/images/gc?policy=WORDS&dry-run=BOOL`: removes the images that the policy wants gone, or
/// says which those are.
pub(crate) async fn collect(call: Call) -> Reply {
    let (policy, dry_run) = asked(&call, Subject::Images)?;
    ok(&call.engine(move |engine| engine.images().gc(&policy, dry_run)).await?)
}

/// `GET /dhow/images/gc`: what went, the oldest first.
pub(crate) async fn log(call: Call) -> Reply {
    ok(&call.engine(|engine| engine.images().gc_log()).await?)
}

/// `POST /dhow/containers/gc?policy=WORDS&dry-run=BOOL`: the same of containers.
pub(crate) async fn collect_containers(call: Call) -> Reply {
    let (policy, dry_run) = asked(&call, Subject::Containers)?;
    ok(&call.engine(move |engine| engine.collect(&policy, dry_run)).await?)
}

/// `GET /dhow/containers/gc`: what went, the oldest first.
pub(crate) async fn containers_log(call: Call) -> Reply {
    ok(&call.engine(containers::Engine::collected).await?)
}

fn asked(call: &Call, subject: Subject) -> Result<(Policy, bool), Error> {
    let policy = Policy::parse(call.query.text("policy"), subject);
    let policy = policy.map_err(|err| Error::invalid(err.to_string()))?;
    Ok((policy, call.query.bool("dry-run")))
}
