//! Secrets, at the paths that Docker has for those of a swarm; there need not be one.

use data_encoding::{BASE64, BASE64URL};
use docker::IdResponse;
use docker::filters::Filters;
use docker::secret::SecretSpec;
use hyper::StatusCode;

use crate::{
    call::{Call, Reply, created, done, empty, ok},
    error::Error,
};

/// `GET /secrets`
pub(crate) async fn list(call: Call) -> Reply {
    let filters = Filters::parse(call.query.text("filters"))?;
    ok(&call.engine(move |engine| engine.secrets(&filters)).await?)
}

/// `GET /secrets/ID`
pub(crate) async fn inspect(call: Call) -> Reply {
    let id = call.id.clone();
    ok(&call.engine(move |engine| engine.secret_inspect(&id)).await?)
}

/// `POST /secrets/create`
pub(crate) async fn create(mut call: Call) -> Reply {
    let spec: SecretSpec = call.json().await?;
    if spec.driver.is_some() || spec.templating.is_some() {
        return Err(Error::invalid("secrets have no driver and no templating here"));
    }
    // As Go reads it, or as the description has it (RFC 4648, section 5).
    let text = spec.data.as_bytes();
    let data = BASE64.decode(text).or_else(|_| BASE64URL.decode(text));
    let data = data.map_err(|err| Error::invalid(format!("invalid JSON: Data: {err}")))?;
    let id =
        call.engine(move |engine| engine.secret_create(&spec.name, &spec.labels, &data)).await?;
    created(&IdResponse { id })
}

/// `POST /secrets/ID/update?version=N`
pub(crate) async fn update(mut call: Call) -> Reply {
    let text = call.query.text("version").to_owned();
    let version = text.parse().map_err(|_| Error::invalid("invalid secret version"))?;
    let spec: SecretSpec = call.json().await?;
    let id = call.id.clone();
    call.engine(move |engine| engine.secret_update(&id, version, &spec)).await?;
    empty(StatusCode::OK)
}

/// `DELETE /secrets/ID`
pub(crate) async fn remove(call: Call) -> Reply {
    let id = call.id.clone();
    call.engine(move |engine| engine.secret_remove(&id)).await?;
    done()
}
