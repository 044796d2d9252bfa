//! The options of the volume driver `local`: `type`, `device`, `o`, `size`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use volume::FileSystem;

use crate::Error;

/// What each one needs beside it.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];
/// File systems of other machines: `addr=` may be a name.
const REMOTE: [&str; 3] = ["nfs", "nfs4", "cifs"];

/// Refuses what is no option, or not all of them.
pub(crate) fn check(options: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in options {
        match name.as_str() {
            "type" | "device" | "o" => {}
            "size" => drop(bytes(value)?),
            other => return Err(Error::Invalid(format!("invalid option: \"{other}\""))),
        }
        if value.contains('\0') {
            return Err(Error::Invalid(format!("option \"{name}\" holds a NUL byte")));
        }
    }
    let has = |wanted: &str| options.contains_key(wanted);
    for (name, needed) in NEEDS {
        if let Some(missing) = needed.iter().find(|needed| has(name) && !has(needed)) {
            return Err(Error::Invalid(format!("missing required option: \"{missing}\"")));
        }
    }
    if has("size") && has("type") {
        return Err(Error::Invalid(
            "option \"size\" is for volumes that are directories: a file system has its own (o=size=)"
                .into(),
        ));
    }
    Ok(())
}

/// How many bytes a volume may hold; none: any number.
pub(crate) fn size<'a>(
    mut options: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<Option<u64>, Error> {
    let value = options.find_map(|(name, value)| (name == "size").then_some(value));
    Ok(value.map(|value| bytes(value)).transpose()?.filter(|bytes| *bytes > 0))
}

fn bytes(value: &str) -> Result<u64, Error> {
    let bytes = docker::units::ram_in_bytes(value)
        .map_err(|err| Error::Invalid(format!("invalid size '{value}': {err}")))?;
    u64::try_from(bytes).map_err(|_| Error::Invalid(format!("invalid size '{value}'")))
}

/// The file system that a volume of these options consists of; none: a directory of ours.
pub(crate) fn file_system(options: &BTreeMap<String, String>) -> Option<FileSystem> {
    let get = |name: &str| options.get(name).cloned().unwrap_or_default();
    let (kind, device) = (get("type"), get("device"));
    if kind.is_empty() && device.is_empty() {
        return None;
    }
    let words = get("o");
    let options = words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Some(FileSystem { kind, device, options })
}

/// The same with the names of other machines looked up: the kernel knows none.
pub(crate) fn resolved(mut of: FileSystem) -> Result<FileSystem, Error> {
    if !REMOTE.contains(&of.kind.as_str()) {
        return Ok(of);
    }
    for option in &mut of.options {
        if let Some(name) = option.strip_prefix("addr=") {
            *option = format!("addr={}", address(name)?);
        }
    }
    Ok(of)
}

fn address(name: &str) -> Result<IpAddr, Error> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    crate::lookup::address(name).map_err(|err| {
        Error::Invalid(format!("error resolving passed in network volume address: {name}: {err}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|word| word.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn options_go_together() {
        for (text, want) in [
            ("", "fine"),
            ("type=tmpfs device=tmpfs o=size=1m,uid=1000", "fine"),
            ("size=10m", "fine"),
            ("size=many", "invalid size 'many': invalid size: 'many'"),
            ("type=tmpfs", "missing required option: \"device\""),
            ("device=/x", "missing required option: \"type\""),
            ("o=bind", "missing required option: \"device\""),
            ("o=bind device=/x", "missing required option: \"type\""),
            ("foo=1", "invalid option: \"foo\""),
        ] {
            let got = check(&options(text)).map_or_else(|err| err.to_string(), |()| "fine".into());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn a_file_system_is_what_has_a_type() {
        assert_eq!(file_system(&options("size=1m")), None);
        let nfs = options("type=nfs device=:/srv o=addr=192.0.2.7,nolock,,soft");
        let found = resolved(file_system(&nfs).unwrap()).unwrap();
        assert_eq!((found.kind.as_str(), found.device.as_str()), ("nfs", ":/srv"));
        assert_eq!(found.options, ["addr=192.0.2.7", "nolock", "soft"]);
        assert_eq!(size(options("size=2m").iter()).unwrap(), Some(2 << 20));
        assert_eq!(size(options("size=0").iter()).unwrap(), None);
    }
}
