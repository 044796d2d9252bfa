//! Who makes a container's network namespace.
//!
//! The supervisor does where it can: then it makes the network while the runtime makes the rest, and a
//! start waits for the longer of the two. The runtime makes it where the namespace belongs to a user
//! namespace that the runtime makes, and where it sets parameters that have to be there before the links;
//! also where it is another's, or the engine an ordinary user's (`prepare`).

use std::path::{Path, PathBuf};

use oci::runtime::{NamespaceKind, Spec};

/// Parameters that have nothing to do with links: those that every container has.
const INDEPENDENT: [&str; 2] = ["net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"];

/// Has the runtime find the container's network namespace in `run`, if the supervisor can make it.
pub(crate) fn leave_to_supervisor(spec: &mut Spec, run: &Path) {
    let Some(linux) = &mut spec.linux else { return };
    let is_early = |name: &String| {
        (name.starts_with("net.") || name.starts_with("net/"))
            && !INDEPENDENT.contains(&name.as_str())
    };
    let of_user = linux.namespaces.iter().any(|one| one.kind == NamespaceKind::User);
    if of_user || linux.sysctl.keys().any(is_early) {
        return;
    }
    for namespace in &mut linux.namespaces {
        if namespace.kind == NamespaceKind::Network && namespace.path.is_empty() {
            namespace.path = place(run).to_string_lossy().into_owned();
        }
    }
}

/// Where the supervisor puts it, if it is to make it.
pub(crate) fn left_to_supervisor(spec: &Spec, run: &Path) -> Option<PathBuf> {
    let place = place(run);
    let namespaces = spec.linux.iter().flat_map(|linux| &linux.namespaces);
    let mut paths = namespaces.map(|one| Path::new(&one.path));
    paths.any(|path| path == place).then_some(place)
}

fn place(run: &Path) -> PathBuf {
    run.join("netns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(linux: &str, wanted: bool) {
        let spec = format!(r#"{{"ociVersion":"1.2.0","linux":{linux}}}"#);
        let mut spec: Spec = serde_json::from_str(&spec).unwrap();
        leave_to_supervisor(&mut spec, Path::new("/run/c"));
        let found = left_to_supervisor(&spec, Path::new("/run/c"));
        assert_eq!(found, wanted.then(|| "/run/c/netns".into()), "{linux}");
    }

    #[test]
    fn only_a_plain_namespace_of_its_own() {
        let own = r#""namespaces":[{"type":"mount"},{"type":"network"}]"#;
        check(&format!("{{{own}}}"), true);
        check(&format!(r#"{{{own},"sysctl":{{"net.ipv4.ping_group_range":"0 1"}}}}"#), true);
        check(&format!(r#"{{{own},"sysctl":{{"kernel.shmmax":"1"}}}}"#), true);
        for name in ["net.ipv4.conf.all.forwarding", "net/ipv6/conf/all/disable_ipv6"] {
            check(&format!(r#"{{{own},"sysctl":{{"{name}":"1"}}}}"#), false);
        }
        check(r#"{"namespaces":[{"type":"network"},{"type":"user"}]}"#, false);
        check(r#"{"namespaces":[{"type":"network","path":"/proc/7/ns/net"}]}"#, false);
        check(r#"{"namespaces":[{"type":"mount"}]}"#, false);
    }
}
