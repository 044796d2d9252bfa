//! Secrets of a container: files in memory, or variables.

use std::path::Path;

use docker::HostConfig;
use docker::secret::SecretMount;
use oci::runtime::{IdMapping as Extent, Mount, Spec};
use volume::{Secret, Source, Supply};

use crate::engine::Engine;
use crate::idmap::Maps;
use crate::mounting::{self, Mounting};
use crate::record::Container;
use crate::{Error, labelling};

/// Where those are that name no other place.
const DIRECTORY: &str = "/run/secrets";
/// What the supervisor calls the tmpfs that holds them all.
const SUPPLY: &str = "secrets";
/// Who may read them: everybody in the container; Docker's.
const MODE: u32 = 0o444;

/// How a container has a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    File { path: String, uid: u32, gid: u32, mode: u32 },
    Variable(String),
}

fn target(secret: &SecretMount) -> Result<Target, Error> {
    let bad = |why: String| Error::Invalid(format!("secret {}: {why}", secret.source));
    let name = if secret.target.is_empty() { &secret.source } else { &secret.target };
    let number = |what: &str, text: &str| match text {
        "" => Ok(0),
        text => text.parse::<u32>().map_err(|_| bad(format!("invalid {what} {text:?}"))),
    };
    match secret.kind.as_str() {
        "" | "mount" => {
            let path = if name.starts_with('/') {
                mounting::destination(name)?
            } else {
                mounting::destination(&format!("{DIRECTORY}/{name}"))?
            };
            let mode = secret.mode.unwrap_or(MODE);
            if mode > 0o777 {
                return Err(bad(format!("invalid mode {mode:o}")));
            }
            let (uid, gid) = (number("uid", &secret.uid)?, number("gid", &secret.gid)?);
            Ok(Target::File { path, uid, gid, mode })
        }
        "env" => {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(bad(format!("{name:?} is no name of a variable")));
            }
            if !(secret.uid.is_empty() && secret.gid.is_empty() && secret.mode.is_none()) {
                return Err(bad("a variable has no uid, gid and mode".into()));
            }
            Ok(Target::Variable(name.clone()))
        }
        other => Err(bad(format!("type {other:?} is neither mount nor env"))),
    }
}

/// Refuses what could not be had later.
pub(crate) fn check(host: &HostConfig, mounts: &[Mounting]) -> Result<(), Error> {
    let mut places: Vec<String> = mounts.iter().map(|one| one.point.destination.clone()).collect();
    for secret in &host.secrets {
        crate::secrets::check_name(&secret.source)?;
        if let Target::File { path, .. } = target(secret)? {
            if places.contains(&path) {
                return Err(Error::Invalid(format!("Duplicate mount point: {path}")));
            }
            places.push(path);
        }
    }
    Ok(())
}

/// An id of the container's, by the host's count.
fn outside(extents: &[Extent], id: u32) -> Result<u32, Error> {
    if extents.is_empty() {
        return Ok(id);
    }
    let host = |one: &Extent| {
        let offset = id.checked_sub(one.container_id).filter(|offset| *offset < one.size)?;
        one.host_id.checked_add(offset)
    };
    let missing =
        || Error::Invalid(format!("secret: the user namespace does not have the id {id}"));
    extents.iter().find_map(host).ok_or_else(missing)
}

impl Engine {
    /// Gives a container its secrets: what the supervisor is to mount, and what the runtime binds from
    /// there; and variables, which are in no record.
    pub(crate) fn give_secrets(
        &self,
        container: &Container,
        spec: &mut Spec,
    ) -> Result<Option<Supply>, Error> {
        let Maps { uids, gids } = container.record.user_namespace.clone().unwrap_or_default();
        let mut files = Vec::new();
        for (at, secret) in container.record.host.secrets.iter().enumerate() {
            match target(secret)? {
                Target::File { path, uid, gid, mode } => {
                    // Who comes too late hears it from us, and not from the supervisor.
                    self.secret_data(&secret.source)?;
                    let name = at.to_string();
                    let source = self.paths().supplies().join(SUPPLY).join(&name);
                    spec.mounts.push(bind(&path, &source));
                    files.push(Secret {
                        name,
                        path: self.secret_path(&secret.source),
                        uid: outside(&uids, uid)?,
                        gid: outside(&gids, gid)?,
                        mode,
                    });
                }
                Target::Variable(name) => {
                    let text = String::from_utf8(self.secret_data(&secret.source)?).ok();
                    let text = text.filter(|text| !text.contains('\0')).ok_or_else(|| {
                        Error::Invalid(format!(
                            "secret {}: it holds bytes that a variable cannot have",
                            secret.source
                        ))
                    })?;
                    let Some(process) = &mut spec.process else { continue };
                    process.env.retain(|one| one.split('=').next() != Some(&name));
                    process.env.push(format!("{name}={text}"));
                }
            }
        }
        Ok((!files.is_empty()).then(|| Supply {
            name: SUPPLY.to_owned(),
            source: Source::Secrets { files },
            subpath: String::new(),
            holders: None,
            label: labelling::labels(&container.record).mount,
        }))
    }
}

fn bind(destination: &str, source: &Path) -> Mount {
    let options = ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"];
    Mount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.to_string_lossy().into_owned(),
        options: options.map(str::to_owned).to_vec(),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let show = |json: &str| match target(&serde_json::from_str(json).unwrap()) {
            Ok(Target::File { path, uid, gid, mode }) => format!("{path} {uid}:{gid} {mode:o}"),
            Ok(Target::Variable(name)) => format!("${name}"),
            Err(err) => err.to_string(),
        };
        for (json, want) in [
            (r#"{"Source":"db"}"#, "/run/secrets/db 0:0 444"),
            (
                r#"{"Source":"db","Target":"a/b","UID":"7","GID":"8","Mode":256}"#,
                "/run/secrets/a/b 7:8 400",
            ),
            (r#"{"Source":"db","Target":"/etc/key"}"#, "/etc/key 0:0 444"),
            (r#"{"Source":"db","Type":"env","Target":"PASSWORD"}"#, "$PASSWORD"),
            (
                r#"{"Source":"db","Type":"env","Target":"A=B"}"#,
                "secret db: \"A=B\" is no name of a variable",
            ),
            (
                r#"{"Source":"db","Type":"env","UID":"1"}"#,
                "secret db: a variable has no uid, gid and mode",
            ),
            (r#"{"Source":"db","UID":"www"}"#, "secret db: invalid uid \"www\""),
            (r#"{"Source":"db","Mode":2541}"#, "secret db: invalid mode 4755"),
            (r#"{"Source":"db","Type":"x"}"#, "secret db: type \"x\" is neither mount nor env"),
            (
                r#"{"Source":"db","Target":"/proc/x"}"#,
                "\"/proc/x\" cannot be mounted because it is inside /proc",
            ),
        ] {
            assert_eq!(show(json), want, "{json}");
        }
    }

    #[test]
    fn ids_are_those_of_the_host() {
        let extents = [Extent { container_id: 0, host_id: 100_000, size: 1000 }];
        assert_eq!(outside(&extents, 33).unwrap(), 100_033);
        assert_eq!(outside(&[], 33).unwrap(), 33);
        assert!(outside(&extents, 1000).is_err());
    }
}
