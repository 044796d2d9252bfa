//! Capabilities: those that are asked for and can be had.

use caps::{CapSet, Capability, Sets};
use oci::runtime::Capabilities;

use crate::{Error, Facts};

/// The sets for `spec`. What is not known, or not held by this process, is left out with a warning,
/// as the specification asks. Without `spec` nothing is kept. The kernel lets nothing be inheritable
/// that is not in the bounding set, see capabilities(7).
pub(crate) fn sets(
    spec: Option<&Capabilities>,
    own_user_namespace: bool,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<Sets, Error> {
    let none = Capabilities::default();
    let spec = spec.unwrap_or(&none);
    // A new user namespace starts with all capabilities, which are good only inside it.
    let known = CapSet(facts.known);
    let (may_bound, may_permit) = if own_user_namespace {
        (known, known)
    } else {
        (CapSet(facts.bounding) & known, CapSet(facts.permitted) & known)
    };
    let mut unknown: Vec<String> = Vec::new();
    let mut read = |set: &str, names: &[String], limit: CapSet, why: &str| {
        let mut kept = CapSet::EMPTY;
        for name in names {
            match name.parse::<Capability>() {
                Err(_) if unknown.contains(name) => {}
                Err(_) => unknown.push(name.clone()),
                Ok(cap) if limit.contains(cap) => kept.insert(cap),
                // In runc's words.
                Ok(_) if set == "ambient" => {
                    warnings.push(format!("can't raise ambient capability {name}: it {why}"));
                }
                Ok(_) => {
                    warnings.push(format!("process.capabilities.{set}: {name} {why}: left out"));
                }
            }
        }
        kept
    };
    let bounding = read("bounding", &spec.bounding, may_bound, "is not in this process's own");
    let permitted = read("permitted", &spec.permitted, may_permit, "is not held");
    let effective = read("effective", &spec.effective, permitted, "is not permitted");
    let inheritable =
        read("inheritable", &spec.inheritable, bounding, "is not in the bounding set");
    // Buildah empties the inheritable set of what it asks for and leaves the ambient one as it is
    // (CVE-2022-27651). Nothing can be ambient then, and to say so of each would fill its output.
    let ambient = read(
        "ambient",
        if spec.inheritable.is_empty() { &[] } else { &spec.ambient },
        permitted & inheritable,
        "is not both permitted and inheritable",
    );
    if !unknown.is_empty() {
        let names = unknown.join(" ");
        // In runc's words.
        warnings.push(format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            names.escape_debug()
        ));
    }
    let outside = |name: &&String| {
        !spec.bounding.contains(name)
            && name.parse::<Capability>().is_ok_and(|cap| known.contains(cap))
    };
    if let Some(name) = spec.inheritable.iter().find(outside) {
        let why = "is not in the bounding set: operation not permitted";
        return Err(Error::invalid("process.capabilities.inheritable", name, why));
    }
    Ok(Sets { bounding, effective, permitted, inheritable, ambient })
}
