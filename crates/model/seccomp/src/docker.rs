//! Docker's profiles: rules that depend on the container and the machine.
//!
//! The format is that of `docker run --security-opt seccomp=FILE`.

use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use serde::{Deserialize, Deserializer};

use crate::arch::Arch;
use crate::error::Error;

/// Docker's default profile (moby/profiles, Apache License 2.0, see NOTICE). To be used without being
/// read, it is [`Profile::docker_default`].
pub const DOCKER_DEFAULT: &str = include_str!("default.json");

/// A profile as Docker writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens to calls that no rule names.
    pub default_action: String,
    /// Its errno.
    #[serde(default)]
    pub default_errno_ret: Option<u32>,
    /// The architectures, where they do not depend on the machine.
    #[serde(default, deserialize_with = "nullable")]
    pub architectures: Vec<String>,
    /// The architectures for each machine.
    #[serde(default, deserialize_with = "nullable")]
    pub arch_map: Vec<ArchMapping>,
    /// Flags of seccomp(2).
    #[serde(default, deserialize_with = "nullable")]
    pub flags: Vec<String>,
    /// Where the listener goes.
    #[serde(default, deserialize_with = "nullable")]
    pub listener_path: String,
    /// What is sent with it.
    #[serde(default, deserialize_with = "nullable")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(default, deserialize_with = "nullable")]
    pub syscalls: Vec<Rule>,
}

/// A machine's architecture and those that its programs may have besides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMapping {
    /// The machine's own.
    pub architecture: String,
    /// The others.
    #[serde(default, deserialize_with = "nullable")]
    pub sub_architectures: Vec<String>,
}

/// A rule, and when it counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The calls.
    #[serde(default, deserialize_with = "nullable")]
    pub names: Vec<String>,
    /// One call, in old profiles.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// What happens to them.
    pub action: String,
    /// Its errno.
    #[serde(default)]
    pub errno_ret: Option<u32>,
    /// Conditions on their arguments.
    #[serde(default, deserialize_with = "nullable")]
    pub args: Vec<SyscallArg>,
    /// It counts only where all of this is so.
    #[serde(default, deserialize_with = "nullable")]
    pub includes: Filter,
    /// It does not count where any of this is so.
    #[serde(default, deserialize_with = "nullable")]
    pub excludes: Filter,
}

/// What a rule may depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Capabilities of the container.
    #[serde(default, deserialize_with = "nullable")]
    pub caps: Vec<String>,
    /// Architectures of the machine, by Go's names.
    #[serde(default, deserialize_with = "nullable")]
    pub arches: Vec<String>,
    /// The oldest kernel, `MAJOR.MINOR`.
    #[serde(default)]
    pub min_kernel: Option<String>,
}

/// Go writes an empty list as null.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Profile {
    /// Reads a profile.
    pub fn parse(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(Error::Json)
    }
}

/// What `profile` means for a container whose bounding set is `caps` (names with `CAP_`), on a
/// machine with the architecture `arch` and a kernel of version `kernel` (major, minor).
pub fn resolve(
    profile: Profile,
    caps: &[String],
    arch: Arch,
    kernel: (u32, u32),
) -> Result<Seccomp, Error> {
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::BothArchitectures);
    }
    let architectures = architectures(&profile, arch);
    let mut syscalls = Vec::with_capacity(profile.syscalls.len());
    for (number, rule) in profile.syscalls.into_iter().enumerate() {
        if !rule.names.is_empty() && !rule.name.is_empty() {
            return Err(Error::BothNames(number));
        }
        if counts(&rule, caps, arch, kernel)? {
            let Rule { names, name, action, errno_ret, args, .. } = rule;
            let names = if names.is_empty() { vec![name] } else { names };
            syscalls.push(SyscallRule { names, action, errno_ret, args });
        }
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags,
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls,
    })
}

fn architectures(profile: &Profile, arch: Arch) -> Vec<String> {
    let mapped = profile.arch_map.iter().find(|mapping| mapping.architecture == arch.name());
    match mapped {
        Some(mapping) => {
            let subordinate = mapping.sub_architectures.iter().cloned();
            [mapping.architecture.clone()].into_iter().chain(subordinate).collect()
        }
        None => profile.architectures.clone(),
    }
}

fn counts(rule: &Rule, caps: &[String], arch: Arch, kernel: (u32, u32)) -> Result<bool, Error> {
    let is_this = |name: &String| name == arch.go_name();
    let is_new_enough = |version: &Option<String>| {
        version.as_ref().map(|text| Ok(kernel >= parse_version(text)?)).transpose()
    };
    let Filter { caps: wanted, arches, min_kernel } = &rule.includes;
    let included = (arches.is_empty() || arches.iter().any(is_this))
        && wanted.iter().all(|cap| caps.contains(cap))
        && is_new_enough(min_kernel)?.unwrap_or(true);
    let Filter { caps: unwanted, arches, min_kernel } = &rule.excludes;
    let excluded = arches.iter().any(is_this)
        || unwanted.iter().any(|cap| caps.contains(cap))
        || is_new_enough(min_kernel)?.unwrap_or(false);
    Ok(included && !excluded)
}

fn parse_version(text: &str) -> Result<(u32, u32), Error> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| Error::KernelVersion(text.to_owned()))
}
