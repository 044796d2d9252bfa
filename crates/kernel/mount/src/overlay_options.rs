//! Options that every overlay of ours has, whatever the kernel's own defaults are.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::overlay::is_before;

/// Whether this process is in a user namespace that is not the initial one. Attributes of overlayfs are
/// those of users there (`userxattr`, Linux 5.11): nobody can set the others, nor make devices.
pub fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        // The initial one maps every number to itself. Without procfs: not to be known.
        !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
    })
}

/// The extended attribute in which overlayfs keeps `name` here: `opaque`, for example.
pub fn overlay_attribute(name: &str) -> String {
    format!("{}.overlay.{name}", if in_user_namespace() { "user" } else { "trusted" })
}

/// What is said at every mount.
pub(crate) fn usual() -> &'static [(&'static str, &'static str)] {
    static OPTIONS: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        options(in_user_namespace(), |name| {
            fs::read_to_string(format!("/sys/module/overlay/parameters/{name}"))
        })
    })
}

/// With a directory that was renamed, or a file whose mode was changed, what is written would hold
/// no more than a note that the rest is in another layer (`redirect_dir`, `metacopy`), and be a layer
/// no more. They are turned off where the kernel would turn them on; one that does not know them is
/// not asked.
fn options(
    in_user_namespace: bool,
    parameter: impl Fn(&str) -> io::Result<String>,
) -> Vec<(&'static str, &'static str)> {
    if in_user_namespace {
        return vec![("userxattr", "")];
    }
    let on = |name: &&str| parameter(name).is_ok_and(|value| value.trim() == "Y");
    ["redirect_dir", "metacopy"].into_iter().filter(on).map(|name| (name, "off")).collect()
}

/// Whether an overlay can be `volatile` (Linux 5.10): what is written to it is not brought to the
/// disk for the sake of anybody who asks for that, nor when it is unmounted.
pub fn has_volatile_overlay() -> bool {
    !is_before((5, 10))
}

/// Takes back that an overlay with this work directory was `volatile`: the kernel mounts none again
/// of which something may be lost, and does not know that nothing is.
pub fn forget_volatile(work: &Path) -> io::Result<()> {
    match fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_spoil_layers_is_turned_off() {
        let with = |on: &'static [&'static str]| {
            options(false, |name| match name {
                name if on.contains(&name) => Ok("Y\n".into()),
                "metacopy" => Ok("N\n".into()),
                _ => Err(io::ErrorKind::NotFound.into()),
            })
        };
        assert_eq!(with(&[]), []);
        assert_eq!(with(&["redirect_dir"]), [("redirect_dir", "off")]);
        assert_eq!(
            with(&["redirect_dir", "metacopy"]),
            [("redirect_dir", "off"), ("metacopy", "off")]
        );
        assert_eq!(options(true, |_| Ok("Y".into())), [("userxattr", "")]);
    }
}
