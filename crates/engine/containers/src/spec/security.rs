//! What keeps a container from the kernel: seccomp, privileges, hidden paths.

use docker::HostConfig;
use oci::runtime;

use crate::Error;
use crate::settings::Settings;

/// Paths that tell of the machine, or let it be harmed; hidden. Docker's list, in its order.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that may be read only. Docker's list.
const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The defaults for paths that are hidden, as they are shown.
pub(crate) fn default_masked() -> Vec<String> {
    MASKED.map(str::to_owned).to_vec()
}

/// The defaults for paths that are read-only, as they are shown.
pub(crate) fn default_readonly() -> Vec<String> {
    READONLY.map(str::to_owned).to_vec()
}

/// The paths to hide. The default ones bring those of each CPU with them: when a CPU slows down
/// tells what another container computes.
pub(super) fn masked(host: &HostConfig, possible_cpus: u32) -> Vec<String> {
    if host.privileged {
        return Vec::new();
    }
    let mut paths = host.masked_paths.to_vec();
    if paths == default_masked() {
        paths.extend(
            (0..possible_cpus)
                .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")),
        );
    }
    paths
}

/// The paths to make read-only.
pub(super) fn readonly(host: &HostConfig) -> Vec<String> {
    if host.privileged { Vec::new() } else { host.readonly_paths.to_vec() }
}

/// `--security-opt`, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Security {
    pub(crate) no_new_privileges: bool,
    pub(crate) writable_cgroups: bool,
    profile: Profile,
    /// The `AppArmor` profile that was named; `unconfined` is none.
    apparmor: Option<String>,
    /// What is asked of the label of `SELinux`.
    pub(crate) label: selinux::Options,
}

/// The profile that is none, as it is shown.
const UNCONFINED: &str = "unconfined";

/// A filter of system calls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Profile {
    /// None was named: the administrator's, where there is one.
    Unsaid,
    /// Docker's default.
    Builtin,
    /// None.
    Unconfined,
    /// Docker's JSON.
    Custom(String),
}

impl Profile {
    /// One that somebody has written.
    fn custom(json: String) -> Result<Self, Error> {
        seccomp::Profile::parse(&json).map_err(|err| bad_profile(&err))?;
        Ok(Self::Custom(json))
    }

    /// What `daemon.json` says: the path of a file, or a word.
    pub(crate) fn of_setting(setting: &str) -> Result<Self, Error> {
        match setting {
            "" | "builtin" => Ok(Self::Builtin),
            UNCONFINED => Ok(Self::Unconfined),
            path => {
                let bad = |why: &dyn std::fmt::Display| {
                    Error::Invalid(format!("opening seccomp profile ({path}) failed: {why}"))
                };
                let json = std::fs::read_to_string(path).map_err(|err| bad(&err))?;
                Self::custom(json).map_err(|err| bad(&err))
            }
        }
    }
}

/// The annotation by which programs give up rights to files and to TCP: ours (`--landlock`). The
/// runtime reads it.
pub(crate) const LANDLOCK: &str = "dhow.landlock";

/// Holds that what is to be given up can be understood, by the runtime that is to see to it.
pub(crate) fn check_landlock(host: &docker::HostConfig) -> Result<(), Error> {
    if !host.annotations.contains_key(LANDLOCK) {
        return Ok(());
    }
    if !matches!(host.runtime.as_str(), "" | "dhow") {
        return Err(Error::Invalid(format!(
            "--landlock needs dhow's own runtime: {} does not know it",
            host.runtime
        )));
    }
    plan::landlock(&host.annotations).map(drop).map_err(|err| Error::Invalid(err.to_string()))
}

impl Security {
    /// Reads the options. One that is not known, or cannot be kept, is refused: it was asked for
    /// to hold something back.
    pub(crate) fn parse(options: &[String]) -> Result<Self, Error> {
        let mut security = Self {
            no_new_privileges: false,
            writable_cgroups: false,
            profile: Profile::Unsaid,
            apparmor: None,
            label: selinux::Options::default(),
        };
        for option in options {
            match option.as_str() {
                "no-new-privileges" => security.no_new_privileges = true,
                "writable-cgroups" => security.writable_cgroups = true,
                // Without a name it is the label's.
                "disable" => security.take_label("disable")?,
                option => security.take(option)?,
            }
        }
        Ok(security)
    }

    /// Takes over one option of the form `NAME=VALUE`.
    fn take(&mut self, option: &str) -> Result<(), Error> {
        let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(Error::Invalid(format!("invalid --security-opt 1: {option:?}")));
        };
        match (name, value) {
            ("no-new-privileges", value) => self.no_new_privileges = flag(option, value)?,
            // In words alone, as Docker has it.
            ("writable-cgroups", "true" | "false") => self.writable_cgroups = value == "true",
            ("seccomp", UNCONFINED) => self.profile = Profile::Unconfined,
            ("seccomp", "builtin" | "default") => self.profile = Profile::Builtin,
            ("seccomp", "") => self.profile = Profile::Unsaid,
            ("seccomp", json) => self.profile = Profile::custom(json.to_owned())?,
            ("apparmor", "") => self.apparmor = None,
            ("apparmor", name) => self.apparmor = Some(name.to_owned()),
            ("label", label) => self.take_label(label)?,
            _ => return Err(Error::Invalid(format!("invalid --security-opt 2: {option:?}"))),
        }
        Ok(())
    }

    /// Takes over one option of the label. Where the kernel has no `SELinux` there is nothing to label, and with
    /// Docker, too, any that could be one will do.
    fn take_label(&mut self, option: &str) -> Result<(), Error> {
        if option == "nested" {
            return if selinux::is_enabled() {
                Err(Error::NotYet(format!("an SELinux label (label={option})")))
            } else {
                Ok(())
            };
        }
        let invalid =
            |err: selinux::Error| Error::Invalid(format!("invalid --security-opt 2: {err}"));
        self.label.take(option).map_err(invalid)
    }

    /// What is asked for and has no effect on this machine.
    pub(crate) fn warning(&self) -> Option<String> {
        let name = self.apparmor.as_ref().filter(|name| *name != UNCONFINED)?;
        (!apparmor::is_enabled()).then(|| {
            format!("AppArmor is not enabled on this machine: the profile {name} has no effect")
        })
    }

    /// The name of the `AppArmor` profile; empty where nothing is confined by any.
    pub(crate) fn apparmor(&self, privileged: bool) -> &str {
        if !apparmor::is_enabled() {
            return "";
        }
        match &self.apparmor {
            Some(name) => name,
            None if privileged => UNCONFINED,
            None if apparmor::is_usable() => apparmor::DEFAULT,
            None => "",
        }
    }

    /// The same, of a process that is to start: ours is loaded.
    pub(crate) fn loaded_apparmor(&self, privileged: bool) -> Result<&str, Error> {
        let name = self.apparmor(privileged);
        if name == apparmor::DEFAULT {
            apparmor::load_default()?;
        }
        Ok(name)
    }

    /// Takes the administrator's profile where none was named. Who has all rights is under none.
    pub(crate) fn or_set(&mut self, settings: &Settings, privileged: bool) -> Result<(), Error> {
        if self.profile == Profile::Unsaid && !privileged {
            self.profile = settings.profile()?;
        }
        Ok(())
    }

    /// The filter for a container with these capabilities.
    pub(crate) fn seccomp(
        &self,
        privileged: bool,
        caps: &[String],
    ) -> Result<Option<runtime::Seccomp>, Error> {
        let profile = match &self.profile {
            Profile::Unconfined => return Ok(None),
            Profile::Unsaid | Profile::Builtin if privileged => return Ok(None),
            Profile::Unsaid | Profile::Builtin => seccomp::Profile::docker_default(),
            Profile::Custom(json) => {
                seccomp::Profile::parse(json).map_err(|err| bad_profile(&err))?
            }
        };
        let kernel = kernel_version(&rustix::system::uname().release().to_string_lossy());
        let resolved = seccomp::resolve(profile, caps, seccomp::Arch::NATIVE, kernel)
            .map_err(|err| bad_profile(&err))?;
        Ok(Some(resolved))
    }
}

fn bad_profile(err: &seccomp::Error) -> Error {
    Error::Invalid(format!("seccomp profile: {}", crate::error::chain(err)))
}

fn flag(option: &str, value: &str) -> Result<bool, Error> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::Invalid(format!("invalid --security-opt 2: {option:?}"))),
    }
}

/// Major and minor of `6.18.1-cloud`.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or_default());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Security, Error> {
        Security::parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_kept_or_refused() {
        assert!(parse(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(!parse(&["no-new-privileges:false"]).unwrap().no_new_privileges);
        assert!(parse(&["seccomp=unconfined"]).unwrap().seccomp(false, &[]).unwrap().is_none());
        assert!(parse(&["apparmor=unconfined", "label=disable"]).is_ok());
        assert!(parse(&["label=disable"]).unwrap().warning().is_none());
        for disabled in ["label=disable", "label:disable", "disable"] {
            assert!(parse(&[disabled]).unwrap().label.is_disabled(), "{disabled}");
        }
        let asked = parse(&["label=type:a_t", "label:level:s0:c1,c2"]).unwrap().label;
        assert!(!asked.is_empty() && !asked.is_disabled());
        assert!(parse(&["no-new-privileges"]).unwrap().label.is_empty());
        for bad in [
            "nope",
            "nope=1",
            "seccomp={",
            "label=colour:x",
            "label=off",
            "no-new-privileges=maybe",
        ] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_profile_is_named_only_where_the_kernel_confines_by_one() {
        let security = parse(&["apparmor=strict"]).unwrap();
        if apparmor::is_enabled() {
            assert_eq!(security.apparmor(true), "strict");
            assert_eq!(parse(&[]).unwrap().apparmor(true), "unconfined");
            assert!(security.warning().is_none());
        } else {
            assert_eq!(security.apparmor(false), "");
            assert!(security.warning().unwrap().contains("strict"));
        }
    }

    #[test]
    fn the_default_profile_follows_the_capabilities() {
        let security = parse(&[]).unwrap();
        assert!(security.seccomp(true, &[]).unwrap().is_none());
        let allows = |caps: &[String]| {
            let filter = security.seccomp(false, caps).unwrap().unwrap();
            assert_eq!(filter.default_action, "SCMP_ACT_ERRNO");
            filter.syscalls.iter().any(|rule| {
                rule.action == "SCMP_ACT_ALLOW"
                    && rule.args.is_empty()
                    && rule.names.iter().any(|name| name == "mount")
            })
        };
        assert!(!allows(&[]));
        assert!(allows(&["CAP_SYS_ADMIN".into()]));
    }

    #[test]
    fn an_administrators_profile_is_for_who_names_none() {
        let path = std::env::temp_dir().join(format!("dhow-profile-{}", std::process::id()));
        std::fs::write(&path, r#"{"defaultAction": "SCMP_ACT_LOG"}"#).unwrap();
        let of = |setting: &str, options: &[&str], privileged| {
            let set = serde_json::json!({"seccomp-profile": setting});
            let settings: Settings = serde_json::from_value(set).unwrap();
            let mut security = parse(options)?;
            security.or_set(&settings, privileged)?;
            let filter = security.seccomp(privileged, &[])?;
            Ok::<_, Error>(filter.map(|filter| filter.default_action))
        };
        let file = path.to_str().unwrap();
        let (set, usual) = (Some("SCMP_ACT_LOG".to_owned()), Some("SCMP_ACT_ERRNO".to_owned()));
        assert_eq!(of(file, &[], false).unwrap(), set);
        assert_eq!(of(file, &["seccomp="], false).unwrap(), set);
        assert_eq!(of(file, &["seccomp=builtin"], false).unwrap(), usual);
        assert_eq!(of(file, &["seccomp=unconfined"], false).unwrap(), None);
        assert_eq!(of(file, &[], true).unwrap(), None);
        assert_eq!(of("builtin", &[], false).unwrap(), usual);
        assert_eq!(of("unconfined", &[], false).unwrap(), None);
        assert_eq!(of("unconfined", &["seccomp=builtin"], false).unwrap(), usual);
        std::fs::write(&path, "{").unwrap();
        let why = of(file, &[], false).unwrap_err().to_string();
        let begin = format!("opening seccomp profile ({file}) failed: seccomp profile: ");
        assert!(why.starts_with(&begin), "{why}");
        std::fs::remove_file(&path).unwrap();
        let why = of(file, &[], false).unwrap_err().to_string();
        assert!(why.contains("No such file"), "{why}");
        assert_eq!(of(file, &["seccomp=builtin"], false).unwrap(), usual);
    }

    #[test]
    fn versions() {
        assert_eq!(kernel_version("6.18.1-cloud"), (6, 18));
        assert_eq!(kernel_version("5.4"), (5, 4));
    }
}
