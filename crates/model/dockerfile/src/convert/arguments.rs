//! Variables of a build before its first stage: those that are always there, and `ARG`s.

use std::collections::{BTreeMap, BTreeSet};

use oci::image::Platform;

use super::env::Env;
use crate::call::Definition;
use crate::error::Error;
use crate::expand::Expander;
use crate::instruction::{Body, Instruction};

/// Arguments that a step never sees: they are for the builder.
pub(crate) const NOT_IN_ENV: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Those that are always there (reference, "Automatic platform ARGs in the global scope").
pub(crate) fn automatic(
    build: &Platform,
    target: &Platform,
    stage: Option<&str>,
    given: &BTreeMap<String, String>,
) -> Env {
    let mut bare = build.clone();
    bare.os_version = None;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let values = [
        ("BUILDPLATFORM", bare.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", text(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", text(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", text(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", text(&target.variant)),
        ("TARGETSTAGE", stage.filter(|name| !name.is_empty()).unwrap_or("default").to_owned()),
    ];
    let mut env = Env::default();
    for (name, value) in values {
        env.set(name, given.get(name).unwrap_or(&value));
    }
    env
}

/// What is known of arguments.
pub(crate) type Definitions = BTreeMap<String, Definition>;

/// Those that `ARG`s before the first stage define, with the values that a build gives them.
pub(crate) fn globals(
    mut env: Env,
    instructions: &[Instruction],
    given: &BTreeMap<String, String>,
    how: Expander,
) -> Result<(Env, Definitions), Error> {
    let mut all = Definitions::new();
    for one in instructions {
        let Body::Arg(arguments) = &one.body else { continue };
        for argument in arguments {
            let mut uses = BTreeSet::new();
            let value = match (given.get(&argument.key), &argument.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let found = how.expand(default, &env);
                    let found = found.map_err(|error| Error::at(one.lines, error.into()))?;
                    uses = found.matched;
                    if uses.remove(&argument.key)
                        && let Some(old) = all.get(&argument.key)
                    {
                        uses.extend(old.uses.iter().cloned());
                    }
                    Some(found.text)
                }
                (None, None) => None,
            };
            if let Some(value) = &value {
                env.set(&argument.key, value);
            }
            let definition = Definition {
                value: value.unwrap_or_default(),
                description: argument.description.clone(),
                uses,
                lines: one.lines,
            };
            all.insert(argument.key.clone(), definition);
        }
    }
    Ok((env, all))
}

/// `HTTP_PROXY` and kin: a build gives them, steps see them, and they make no difference.
pub(crate) fn proxies(given: &BTreeMap<String, String>) -> Vec<String> {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    let mut out = Vec::new();
    for name in names {
        let value = given.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = value.filter(|(_, value)| !value.is_empty()) {
            out.push(format!("{name}={value}"));
            out.push(format!("{}={value}", name.to_lowercase()));
        }
    }
    out
}
