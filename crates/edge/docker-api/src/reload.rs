//! Settings that are read again while a daemon runs.

use containers::{Engine, Error, Settings};

use crate::handlers::system;
use crate::machine::Machine;

/// The engine takes these settings from now on, which is told as `dockerd` tells it. `registries` is what the
/// file says of those: they are read at each call.
///
/// # Errors
///
/// Something is set to what it cannot be; then all stays as it was, and nothing is told.
pub fn reload(
    engine: &Engine,
    settings: Settings,
    registries: &::registry::Settings,
) -> Result<(), Error> {
    let mut told = settings.told()?;
    engine.set_settings(settings)?;
    let list = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    told.extend([
        ("insecure-registries", list(&registries.insecure)),
        ("name", Machine::read().host_name),
        ("registry-mirrors", list(&registries.mirrors)),
    ]);
    let told: Vec<(&str, &str)> =
        told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    engine.tell_of("daemon", "reload", &system::id(engine), &told);
    Ok(())
}
