//! What Docker has for those who have joined a swarm. Nobody has here; but as in `dockerd`, a request that makes no
//! sense is told so before that.

use docker::filters::Filters;
use docker::go::{Type, mismatch};
use serde::Deserialize as _;
use serde::de::IgnoredAny;

use crate::{call::Call, error::Error, http::query::go_bool};

/// What a `dockerd` says that has not joined a swarm; no engine of ours ever has.
pub(crate) const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \
                          \"docker swarm join\" to connect this node to swarm and try again.";
/// The same of who wants to leave one.
pub(crate) const NO_MEMBER: &str = "This node is not part of a swarm";

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// Nothing.
    Away,
    /// The filters of a list.
    Filters,
    /// And whether their status is wanted: of services.
    Services,
    /// Whether defaults are wanted: of a service.
    Defaults,
    /// Which streams: of logs.
    Streams,
    /// The body.
    Body(&'static Type),
    /// The body, and which version of what is changed by it.
    Change(&'static Type, &'static str),
    /// And what is to be renewed: of the swarm.
    Swarm,
}

// What is in these is not looked at: nobody reads it.
pub(crate) static INIT: Type = Type::Struct("swarm.InitRequest", &[]);
pub(crate) static JOIN: Type = Type::Struct("swarm.JoinRequest", &[]);
pub(crate) static SPEC: Type = Type::Struct("swarm.Spec", &[]);
pub(crate) static UNLOCK: Type = Type::Struct("swarm.UnlockRequest", &[]);
pub(crate) static SERVICE: Type = Type::Struct("swarm.ServiceSpec", &[]);
pub(crate) static NODE: Type = Type::Struct("swarm.NodeSpec", &[]);
pub(crate) static CONFIG: Type = Type::Struct("swarm.ConfigSpec", &[]);

/// What may be renewed with a swarm.
const RENEWED: &[&str] = &["rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"];

/// Refuses a request that makes no sense.
pub(crate) async fn look(call: &mut Call, at: Look) -> Result<(), Error> {
    match at {
        Look::Away => Ok(()),
        Look::Filters => filters(call),
        Look::Services => {
            filters(call)?;
            go_bool(call.query.text("status"), "status")
        }
        Look::Defaults => go_bool(call.query.text("insertDefaults"), "insertDefaults"),
        Look::Streams => {
            if call.query.bool("stdout") || call.query.bool("stderr") {
                return Ok(());
            }
            Err(Error::invalid("Bad parameters: you must choose at least one stream"))
        }
        Look::Body(of) => body(call, of).await,
        Look::Change(of, what) => {
            body(call, of).await?;
            version(call.query.text("version"), what)
        }
        Look::Swarm => {
            body(call, &SPEC).await?;
            version(call.query.text("version"), "swarm")?;
            for name in RENEWED {
                go_bool(call.query.text(name), name).map_err(|_| {
                    let text = call.query.text(name);
                    Error::invalid(format!("invalid value for {name}: {text}"))
                })?;
            }
            Ok(())
        }
    }
}

fn filters(call: &Call) -> Result<(), Error> {
    Filters::parse(call.query.text("filters"))?;
    Ok(())
}

/// Which version of something is to be changed.
fn version(text: &str, what: &str) -> Result<(), Error> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = match (is_number, text.parse::<u64>()) {
        (true, Ok(_)) => return Ok(()),
        (true, Err(_)) => "value out of range",
        (false, _) => "invalid syntax",
    };
    Err(Error::invalid(match what {
        "config" => "invalid config version".to_owned(),
        what => {
            format!("invalid {what} version '{text}': strconv.ParseUint: parsing {text:?}: {why}")
        }
    }))
}

/// Whether the body, if there is one, is an object.
async fn body(call: &mut Call, of: &'static Type) -> Result<(), Error> {
    let Some(body) = call.json_text().await? else { return Ok(()) };
    let mut read = serde_json::Deserializer::from_slice(&body);
    IgnoredAny::deserialize(&mut read)
        .map_err(|err| Error::unreadable(&body, Some(of), &err.to_string()))?;
    if let Some(why) = mismatch(&body, of) {
        return Err(Error::invalid(format!("invalid JSON: {why}")));
    }
    read.end().map_err(|_| Error::invalid("unexpected content after JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_go_reads_them() {
        let said = |text, what| version(text, what).map_err(|err| err.message);
        assert_eq!(said("18446744073709551615", "node"), Ok(()));
        for (text, why) in [
            ("", "invalid syntax"),
            ("x", "invalid syntax"),
            ("-1", "invalid syntax"),
            ("+1", "invalid syntax"),
            ("99999999999999999999", "value out of range"),
        ] {
            let want = format!(
                "invalid node version '{text}': strconv.ParseUint: parsing {text:?}: {why}"
            );
            assert_eq!(said(text, "node"), Err(want));
            assert_eq!(said(text, "config"), Err("invalid config version".to_owned()));
        }
    }
}
