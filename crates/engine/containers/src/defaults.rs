//! What an administrator has set for containers that do not say otherwise.

use std::net::IpAddr;
use std::path::PathBuf;

use docker::HostConfig;
use docker::container::Ulimit;
use serde_json::Value;

use crate::Error;
use crate::etc::Resolv;
use crate::runtimes::OWN;
use crate::settings::{AddressPool, Settings};
use crate::spec::resources::Machine;
use crate::spec::security::Profile;

impl Settings {
    /// Refuses what no container could be made with.
    ///
    /// # Errors
    ///
    /// Which key it is, and why.
    pub fn check(&self) -> Result<(), Error> {
        let one_of = |key: &str, value: &str, known: &[&str]| {
            if value.is_empty() || known.contains(&value) {
                return Ok(());
            }
            let known = known.join("` or `");
            Err(Error::Invalid(format!("\"{key}\": `{value}` is not `{known}`")))
        };
        one_of("default-cgroupns-mode", &self.default_cgroupns_mode, &["private", "host"])?;
        check_ipc_mode(&self.default_ipc_mode)?;
        self.host_gateways()?;
        self.profile()?;
        self.networks()?.bridge.check()?;
        self.shm_size().map(drop)
    }

    /// The profile of system calls of containers that name none.
    pub(crate) fn profile(&self) -> Result<Profile, Error> {
        Profile::of_setting(&self.seccomp_profile)
    }

    /// The same, as `info` shows it.
    pub fn shown_profile(&self) -> &str {
        if self.seccomp_profile.is_empty() { "builtin" } else { &self.seccomp_profile }
    }

    /// What `host-gateway` stands for; nothing: what the container's network has.
    pub(crate) fn host_gateways(&self) -> Result<Vec<IpAddr>, Error> {
        let one = Some(&self.host_gateway_ip).filter(|address| !address.is_empty());
        let all = one.into_iter().chain(&self.host_gateway_ips);
        let parse = |address: &String| {
            let bad = |_| Error::Invalid(format!("\"host-gateway-ip\": {address} is no address"));
            address.parse().map_err(bad)
        };
        all.map(parse).collect()
    }

    /// What is set for networks, in the service's words.
    pub(crate) fn networks(&self) -> Result<network::Defaults, Error> {
        let set = &self.networks;
        let pool = |pool: &AddressPool| network::SplitPool::new(&pool.base, pool.size);
        let pools: Result<_, network::Error> = set.default_address_pools.iter().map(pool).collect();
        if !set.ip.is_empty() && set.ip.parse::<IpAddr>().is_err() {
            return Err(Error::Invalid(format!("\"ip\": {} is no address", set.ip)));
        }
        let bridge = network::DefaultBridge {
            name: set.bridge.clone(),
            address: set.bip.clone(),
            address6: set.bip6.clone(),
            range: set.fixed_cidr.clone(),
            range6: set.fixed_cidr_v6.clone(),
            gateway: set.default_gateway.clone(),
            gateway6: set.default_gateway_v6.clone(),
            mtu: set.mtu,
            ipv6: set.ipv6,
            isolated: set.icc == Some(false),
            unmasked: set.ip_masq == Some(false),
            binding: set.ip.clone(),
        };
        Ok(network::Defaults {
            pools: pools?,
            options: set.default_network_opts.clone(),
            bridge,
            direct: set.allow_direct_routing,
            forward: set.ip_forward != Some(false),
        })
    }

    fn shm_size(&self) -> Result<i64, Error> {
        let text = self.default_shm_size.as_str();
        if text.is_empty() {
            return Ok(0);
        }
        let bytes = docker::units::ram_in_bytes(text)
            .map_err(|err| Error::Invalid(format!("\"default-shm-size\": {err}")))?;
        if bytes <= 0 {
            return Err(Error::Invalid(format!("\"default-shm-size\": {text} is nothing")));
        }
        Ok(bytes)
    }

    /// Gives a container what it does not say itself.
    pub(crate) fn fill(&self, host: &mut HostConfig, machine: &Machine) -> Result<(), Error> {
        self.check()?;
        if host.shm_size == 0 {
            host.shm_size = self.shm_size()?;
        }
        if host.ipc_mode.is_empty() {
            host.ipc_mode.clone_from(&self.default_ipc_mode);
        }
        if host.cgroupns_mode.is_empty() {
            // As Docker has it: who has all rights looks for the machine's trees of v1.
            if host.privileged && !machine.cgroup_v2 {
                "host".clone_into(&mut host.cgroupns_mode);
            } else {
                host.cgroupns_mode.clone_from(&self.default_cgroupns_mode);
            }
        }
        if host.resources.cgroup_parent.is_empty() {
            host.resources.cgroup_parent.clone_from(&self.cgroup_parent);
        }
        for (name, limit) in &self.default_ulimits {
            if !host.resources.ulimits.iter().any(|own| own.name == *name) {
                let name = name.clone();
                host.resources.ulimits.push(Ulimit { name, hard: limit.hard, soft: limit.soft });
            }
        }
        let says = |option: &String| option.starts_with(NO_NEW_PRIVILEGES);
        if self.no_new_privileges && !host.security_opt.iter().any(says) {
            host.security_opt.push(NO_NEW_PRIVILEGES.to_owned());
        }
        Ok(())
    }

    /// What is told of them when they were read again: names and values as in Docker's event. Keys that have
    /// no effect here are as in the file as well.
    pub fn told(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let or = |text: &str, usual: &str| {
            let text = if text.is_empty() { usual } else { text };
            text.to_owned()
        };
        let number = |key: &str, usual: u64| {
            let set = self.other(key).and_then(Value::as_u64).filter(|number| *number != 0);
            set.unwrap_or(usual).to_string()
        };
        let is_debug = self.other("debug").and_then(Value::as_bool).unwrap_or_default();
        let shm_size = Some(self.shm_size()?).filter(|size| *size != 0).unwrap_or(64 << 20);
        let features = self.features.iter().map(|(name, is_on)| format!("{name}:{is_on}"));
        let runtimes = self.runtimes.iter().map(|(name, one)| format!("{name}:{}", one.path));
        Ok(vec![
            ("debug", is_debug.to_string()),
            ("default-cgroupns-mode", or(&self.default_cgroupns_mode, "private")),
            ("default-ipc-mode", or(&self.default_ipc_mode, "private")),
            ("default-runtime", self.default_runtime.clone().unwrap_or_else(|| OWN.to_owned())),
            ("default-shm-size", shm_size.to_string()),
            ("features", format!("map[{}]", features.collect::<Vec<_>>().join(" "))),
            ("labels", serde_json::to_string(&self.labels).unwrap_or_default()),
            ("live-restore", true.to_string()),
            ("max-concurrent-downloads", number("max-concurrent-downloads", 3)),
            ("max-concurrent-uploads", number("max-concurrent-uploads", 5)),
            ("max-download-attempts", number("max-download-attempts", 5)),
            ("runtimes", runtimes.collect::<Vec<_>>().join(" ")),
            ("shutdown-timeout", number("shutdown-timeout", 15)),
        ])
    }

    /// The name servers of the machine, or those that were set in their place.
    pub(crate) fn resolv(&self) -> Resolv {
        let mut resolv = Resolv::of_host();
        let set = [
            (&self.dns, &mut resolv.servers),
            (&self.dns_search, &mut resolv.search),
            (&self.dns_opts, &mut resolv.options),
        ];
        for (own, found) in set {
            if !own.is_empty() {
                found.clone_from(own);
            }
        }
        resolv
    }

    /// Where specifications of CDI are looked for; nowhere where that is turned off.
    pub fn cdi_dirs(&self) -> Vec<PathBuf> {
        if self.features.get("cdi") == Some(&false) {
            return Vec::new();
        }
        self.cdi_spec_dirs.iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect()
    }
}

/// As `dockerd` has it, in its words.
fn check_ipc_mode(mode: &str) -> Result<(), Error> {
    if matches!(mode, "" | "private" | "shareable") {
        return Ok(());
    }
    let hint = "use \"shareable\" or \"private\"";
    let is_one = matches!(mode, "host" | "none") || mode.starts_with("container:");
    Err(Error::Invalid(if is_one {
        format!("IPC mode \"{mode}\" is not supported as default value; {hint}")
    } else {
        format!("default IPC mode setting ({mode}) is invalid; {hint}")
    }))
}

const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_a_container_says_itself_wins() {
        let settings = settings(
            r#"{"default-shm-size": "1G", "default-ipc-mode": "shareable", "no-new-privileges": true,
                "default-cgroupns-mode": "host", "cgroup-parent": "/all", "features": {"x": true},
                "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64, "Soft": 32}}}"#,
        );
        let machine = Machine { cgroup_v2: true, ..Machine::default() };
        let mut host = HostConfig::default();
        settings.fill(&mut host, &machine).unwrap();
        assert_eq!((host.shm_size, host.ipc_mode.as_str()), (1 << 30, "shareable"));
        assert_eq!((host.cgroupns_mode.as_str(), host.security_opt.len()), ("host", 1));
        assert_eq!(host.resources.cgroup_parent, "/all");
        assert_eq!(host.resources.ulimits[0].soft, 32);
        let own = r#"{"ShmSize": 5, "IpcMode": "none", "CgroupnsMode": "private", "CgroupParent": "/own",
            "SecurityOpt": ["no-new-privileges=false"],
            "Ulimits": [{"Name": "nofile", "Hard": 1, "Soft": 1}]}"#;
        let mut host: HostConfig = serde_json::from_str(own).unwrap();
        let before = host.clone();
        settings.fill(&mut host, &machine).unwrap();
        assert_eq!(host, before);
    }

    #[test]
    fn who_has_all_rights_sees_the_trees_of_v1() {
        let mut host = HostConfig { privileged: true, ..HostConfig::default() };
        let settings = Settings::default();
        settings.fill(&mut host, &Machine { cgroup_v2: true, ..Machine::default() }).unwrap();
        assert_eq!(host.cgroupns_mode, "");
        settings.fill(&mut host, &Machine::default()).unwrap();
        assert_eq!(host.cgroupns_mode, "host");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (json, why) in [
            (
                r#"{"default-cgroupns-mode": "x"}"#,
                "\"default-cgroupns-mode\": `x` is not `private` or `host`",
            ),
            (
                r#"{"default-ipc-mode": "host"}"#,
                "IPC mode \"host\" is not supported as default value; use \"shareable\" or \"private\"",
            ),
            (
                r#"{"default-ipc-mode": "nosuchmode"}"#,
                "default IPC mode setting (nosuchmode) is invalid; use \"shareable\" or \"private\"",
            ),
            (r#"{"host-gateway-ip": "x"}"#, "\"host-gateway-ip\": x is no address"),
            (
                r#"{"seccomp-profile": "/nowhere.json"}"#,
                "opening seccomp profile (/nowhere.json) failed: No such file or directory (os error 2)",
            ),
            (r#"{"default-shm-size": "0"}"#, "\"default-shm-size\": 0 is nothing"),
        ] {
            assert_eq!(settings(json).check().unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn cdi_can_be_turned_off() {
        let dirs = |json: &str| settings(json).cdi_dirs().len();
        assert_eq!([dirs("{}"), dirs(r#"{"cdi-spec-dirs": [""]}"#)], [2, 0]);
        assert_eq!(dirs(r#"{"features": {"cdi": false}, "cdi-spec-dirs": ["/a"]}"#), 0);
        assert_eq!(dirs(r#"{"features": {"cdi": true}, "cdi-spec-dirs": ["/a", "/b"]}"#), 2);
    }
}
