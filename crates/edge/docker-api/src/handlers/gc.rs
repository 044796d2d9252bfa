//! Automatic collection of images.

use docker::gc::Policy;

use crate::{
    call::{Call, Reply, ok},
    error::Error,
};

/// `POST /dhow/images/gc?policy=WORDS&dry-run=BOOL`: removes the images that the policy wants gone, or
/// says which those are.
pub(crate) async fn collect(call: Call) -> Reply {
    let policy = Policy::parse(call.query.text("policy"));
    let policy = policy.map_err(|err| Error::invalid(err.to_string()))?;
    let dry_run = call.query.bool("dry-run");
    ok(&call.engine(move |engine| engine.images().gc(&policy, dry_run)).await?)
}

/// `GET /dhow/images/gc`: what went, the oldest first.
pub(crate) async fn log(call: Call) -> Reply {
    ok(&call.engine(|engine| engine.images().gc_log()).await?)
}
