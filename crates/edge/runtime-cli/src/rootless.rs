//! What is different for an ordinary user, and for root in a user namespace.

use std::ffi::OsStr;
use std::path::PathBuf;

use container::Store;

/// Where containers are kept when `--root` does not say it.
const DEFAULT_ROOT: &str = "/run/dhow-runtime";

/// `--rootless`: whether a container goes without the cgroup that this user may not make. `auto` is
/// yes for everybody but the machine's own root.
pub(crate) fn cgroups(option: Option<&str>) -> Result<bool, String> {
    match option {
        // The values of Go's `ParseBool`, which runc takes.
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        None | Some("" | "auto") => Ok(!is_machine_root()),
        Some(other) => Err(format!("--rootless: {other:?} is not true, false or auto")),
    }
}

fn is_machine_root() -> bool {
    rustix::process::geteuid().is_root() && !container::in_user_namespace()
}

/// The store of a user: in `XDG_RUNTIME_DIR`, except of the machine's root; and of root in a user
/// namespace that calls itself so, as runc has it.
pub(crate) fn default_store() -> Store {
    let is_user = || {
        !rustix::process::geteuid().is_root()
            || container::in_user_namespace()
                && std::env::var_os("USER").as_deref() != Some(OsStr::new("root"))
    };
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty() && is_user());
    match user {
        Some(dir) => Store::of_user(PathBuf::from(dir).join("dhow-runtime")),
        None => Store::new(PathBuf::from(DEFAULT_ROOT)),
    }
}

#[cfg(test)]
mod tests {
    use super::cgroups;

    #[test]
    fn the_option_takes_what_runc_takes() {
        for (value, want) in [("true", true), ("1", true), ("false", false), ("F", false)] {
            assert_eq!(cgroups(Some(value)), Ok(want), "{value}");
        }
        assert_eq!(cgroups(Some("auto")), cgroups(None));
        assert_eq!(
            cgroups(Some("yes")).unwrap_err(),
            "--rootless: \"yes\" is not true, false or auto"
        );
    }
}
