//! `-v` and `--mount`.

use docker::container::{BindOptions, IdMapping, ImageOptions, TmpfsOptions, VolumeOptions};
use docker::{List, Mount};

use super::csv;
use crate::error::{Error, Result};

/// Makes the source of `-v` absolute where it is a relative path of the host (`./data`).
pub(super) fn volume(text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Error::Flag("invalid empty volume spec".to_owned()));
    }
    if text.contains(':') && text.split(':').any(str::is_empty) {
        return Err(Error::Flag(format!(
            "invalid volume specification {text:?}: empty section between colons"
        )));
    }
    let Some((source, rest)) = text.split_once(':') else { return Ok(text.to_owned()) };
    if rest.is_empty() || !rest.starts_with('/') {
        return Err(Error::Usage(format!(
            "invalid volume specification {text:?}: give SOURCE:/TARGET[:OPTIONS]"
        )));
    }
    if !source.starts_with('.') && !source.starts_with('~') {
        return Ok(text.to_owned());
    }
    let absolute = std::path::absolute(source).map_err(Error::io(format!("resolve {source}")))?;
    Ok(format!("{}:{rest}", absolute.display()))
}

/// Parses one `--mount`: `KEY[=VALUE]` pairs, separated by commas.
pub(super) fn mount(text: &str) -> Result<Mount> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    let mut subpath = String::new();
    let (mut is_bind, mut is_volume, mut is_tmpfs, mut is_image) = (false, false, false, false);
    let mut id_mapping = None;
    let wrong = || Error::Usage(format!("invalid --mount {text:?}: {}", csv::BAD_QUOTE));
    for field in &csv::fields(text).ok_or_else(wrong)? {
        let field = field.as_str();
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let needed = || {
            value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(|| {
                Error::Usage(format!(
                    "invalid field {field:?} in --mount {text:?}: must be a key=value pair"
                ))
            })
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Error::Usage(format!(
                "invalid value for {key} in --mount {text:?}: {other:?} is neither true nor false"
            ))),
        };
        match key.to_ascii_lowercase().as_str() {
            "type" => mount.kind = needed()?.to_ascii_lowercase(),
            "source" | "src" => mount.source = source(needed()?)?,
            "target" | "dst" | "destination" => mount.target = needed()?,
            "readonly" | "ro" => mount.read_only = flag()?,
            "consistency" => mount.consistency = needed()?,
            "bind-propagation" => (bind.propagation, is_bind) = (needed()?, true),
            "bind-nonrecursive" => (bind.non_recursive, is_bind) = (flag()?, true),
            "bind-create-src" => (bind.create_mountpoint, is_bind) = (flag()?, true),
            "bind-recursive" => {
                is_bind = true;
                match needed()?.as_str() {
                    "enabled" => {}
                    "disabled" => bind.non_recursive = true,
                    "writable" => bind.read_only_non_recursive = true,
                    "readonly" => bind.read_only_force_recursive = true,
                    other => {
                        return Err(Error::Usage(format!(
                            "invalid value for bind-recursive: {other:?} (must be enabled, disabled, writable or readonly)"
                        )));
                    }
                }
            }
            "volume-nocopy" => (volume.no_copy, is_volume) = (flag()?, true),
            "volume-label" => {
                is_volume = true;
                volume.labels.extend(super::key_values(&[needed()?]));
            }
            "volume-driver" => {
                is_volume = true;
                volume.driver_config.get_or_insert_default().name = needed()?;
            }
            "volume-opt" => {
                is_volume = true;
                let driver = volume.driver_config.get_or_insert_default();
                driver.options.extend(super::key_values(&[needed()?]));
            }
            "volume-subpath" => (volume.subpath, is_volume) = (needed()?, true),
            "image-subpath" => (subpath, is_image) = (needed()?, true),
            // Ours for binds and volumes; as the first, Docker is to have it (API 1.56).
            "idmap" | "bind-idmap" => {
                id_mapping = Some(idmap(value.unwrap_or_default()));
                is_bind |= key == "bind-idmap";
            }
            "tmpfs-size" => {
                (tmpfs.size_bytes, is_tmpfs) =
                    (super::values::bytes("mount tmpfs-size", &needed()?)?, true);
            }
            "tmpfs-mode" => {
                let mode = needed()?;
                is_tmpfs = true;
                tmpfs.mode = u32::from_str_radix(&mode, 8).map_err(|_| {
                    Error::Usage(format!("invalid value for tmpfs-mode: {mode:?} is not octal"))
                })?;
            }
            other => {
                return Err(Error::Usage(format!("unknown option {other:?} in --mount {text:?}")));
            }
        }
    }
    if mount.target.is_empty() {
        return Err(Error::Usage(format!("invalid --mount {text:?}: target is required")));
    }
    for (given, kind, prefix) in [
        (is_bind, "bind", "bind"),
        (is_volume, "volume", "volume"),
        (is_image, "image", "image"),
        (is_tmpfs, "tmpfs", "tmpfs"),
    ] {
        if given && mount.kind != kind {
            return Err(Error::Usage(format!(
                "cannot mix '{prefix}-*' options with mount type '{}'",
                mount.kind
            )));
        }
    }
    if bind.read_only_non_recursive && !mount.read_only {
        return Err(together("writable", "'readonly'"));
    }
    if bind.read_only_force_recursive {
        if !mount.read_only {
            return Err(together("readonly", "'readonly'"));
        }
        if bind.propagation != "rprivate" {
            return Err(together("readonly", "'bind-propagation=rprivate'"));
        }
    }
    match (id_mapping, mount.kind.as_str()) {
        (None, _) => {}
        (mapping, "bind") => (bind.id_mapping, is_bind) = (mapping, true),
        (mapping, "volume") => (volume.id_mapping, is_volume) = (mapping, true),
        (Some(_), other) => {
            return Err(Error::Usage(format!("cannot mix 'idmap' with mount type '{other}'")));
        }
    }
    mount.bind_options = is_bind.then_some(bind);
    mount.volume_options = is_volume.then_some(volume);
    mount.tmpfs_options = is_tmpfs.then_some(TmpfsOptions { options: List::NIL, ..tmpfs });
    mount.image_options = (!subpath.is_empty()).then_some(ImageOptions { subpath });
    Ok(mount)
}

fn together(recursive: &str, with: &str) -> Error {
    Error::Usage(format!(
        "option 'bind-recursive={recursive}' requires {with} to be specified in conjunction"
    ))
}

/// What stands after `idmap=`.
fn idmap(text: &str) -> IdMapping {
    match text.split_once(':') {
        Some((source, user)) => IdMapping { source: source.to_owned(), user: user.to_owned() },
        None => IdMapping { source: text.to_owned(), user: String::new() },
    }
}

fn source(text: String) -> Result<String> {
    if !text.starts_with('.') {
        return Ok(text);
    }
    let absolute = std::path::absolute(&text).map_err(Error::io(format!("resolve {text}")))?;
    Ok(absolute.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_parsed() {
        let got = mount("type=bind,src=/srv,dst=/data,ro,bind-propagation=rslave").unwrap();
        assert_eq!(
            (got.kind.as_str(), got.source.as_str(), got.target.as_str()),
            ("bind", "/srv", "/data")
        );
        assert!(got.read_only);
        let quoted = mount("type=tmpfs,\"dst=/a,b\"").unwrap();
        assert_eq!(quoted.target, "/a,b");
        assert_eq!(got.bind_options.unwrap().propagation, "rslave");
        let got = mount("type=bind,src=/a,dst=/b,idmap").unwrap().bind_options.unwrap();
        assert_eq!(got.id_mapping, Some(IdMapping::default()));
        let got = mount("src=a,dst=/b,idmap=match-user:www").unwrap().volume_options.unwrap();
        assert_eq!(got.id_mapping.unwrap().user, "www");
        let got = mount("type=tmpfs,destination=/tmp,tmpfs-size=64m,tmpfs-mode=1777").unwrap();
        let tmpfs = got.tmpfs_options.unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (64 << 20, 0o1777));
    }

    #[test]
    fn a_wrong_mount_says_what_is_wrong() {
        for (text, want) in [
            ("type=bind,src=/x", "target is required"),
            ("type=bind,dst=/x,nope=1", "unknown option \"nope\""),
            ("type=tmpfs,dst=/x,bind-propagation=shared", "cannot mix"),
            ("dst=/x,ro=maybe", "neither true nor false"),
            ("dst", "must be a key=value pair"),
            ("type=bind,src=/x,dst=/x,bind-recursive=writable", "requires 'readonly'"),
            ("type=bind,src=/x,dst=/x,ro,bind-recursive=readonly", "bind-propagation=rprivate"),
            ("type=tmpfs,dst=/x,idmap", "cannot mix 'idmap'"),
            ("type=volume,dst=/x,image-subpath=y", "cannot mix 'image-*'"),
            ("dst=\"/x", "a quote is not where a field begins or ends"),
        ] {
            let err = mount(text).unwrap_err().to_string();
            assert!(err.contains(want), "{text}: {err}");
        }
    }

    #[test]
    fn a_relative_source_becomes_absolute() {
        assert_eq!(volume("name:/data:ro").unwrap(), "name:/data:ro");
        assert!(volume("./x:/data").unwrap().starts_with('/'));
        assert!(matches!(volume("a:b"), Err(Error::Usage(_))));
        for text in ["", ":/data", "a:", "a::ro", "/a:/b:"] {
            assert!(matches!(volume(text), Err(Error::Flag(_))), "{text}");
        }
    }
}
