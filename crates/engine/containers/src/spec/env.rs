//! The environment of a container's processes.

use docker::ContainerConfig;

/// Where programs are looked for when nobody says.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's defaults, then what the image and the request say. A name alone takes a default away.
pub(crate) fn of(config: &ContainerConfig, home: &str, links: &[String]) -> Vec<String> {
    let mut env = vec![PATH.to_owned()];
    if !config.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", config.hostname));
    }
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend_from_slice(links);
    let mut env = replace(env, &config.env);
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The environment of a step of a build: what the builder says, and a PATH and a HOME where it does not.
pub(crate) fn step(config: &ContainerConfig, home: &str) -> Vec<String> {
    let mut env = replace(Vec::new(), &config.env);
    let has = |env: &[String], name: &str| env.iter().any(|entry| name_of(entry) == Some(name));
    if !has(&env, "PATH") {
        env.push(PATH.to_owned());
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The environment of a further process: the container's, and what its request adds.
pub(crate) fn exec(container: &[String], tty: bool, more: &[String]) -> Vec<String> {
    let mut env = container.to_vec();
    if tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    replace(env, more)
}

/// `changes` put over `env`: `NAME=VALUE` sets, `NAME` unsets. Nothing is ever taken from the
/// environment of this process.
fn replace(mut env: Vec<String>, changes: &[String]) -> Vec<String> {
    for change in changes {
        let name = change.split('=').next().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let old = env.iter().position(|entry| name_of(entry) == Some(name));
        match (old, change.contains('=')) {
            (Some(at), true) => change.clone_into(&mut env[at]),
            (Some(at), false) => {
                env.remove(at);
            }
            (None, true) => env.push(change.clone()),
            (None, false) => {}
        }
    }
    env
}

/// A request's environment with what only the image sets. An image's entry that is no
/// `NAME=VALUE` is dropped: elsewhere such ones have imported the engine's own environment
/// (CVE-2026-57231).
pub(crate) fn merge(request: &[String], image: &[String]) -> Vec<String> {
    let mut env = request.to_vec();
    for entry in image {
        let Some(name) = name_of(entry) else { continue };
        if !request.iter().any(|own| own.split('=').next() == Some(name)) {
            env.push(entry.clone());
        }
    }
    env
}

fn name_of(entry: &str) -> Option<&str> {
    entry.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn an_image_cannot_import_the_hosts_environment() {
        let image = words(&["PATH", "*", "SECRET", "=x", "", "A=1", "B=2"]);
        assert_eq!(merge(&words(&["B=3", "C"]), &image), ["B=3", "C", "A=1"]);
    }

    #[test]
    fn defaults_are_set_and_may_be_taken_away() {
        let mut config = ContainerConfig { hostname: "h".into(), tty: true, ..Default::default() };
        assert_eq!(of(&config, "/root", &[]), [PATH, "HOSTNAME=h", "TERM=xterm", "HOME=/root"]);
        config.env = words(&["TERM", "PATH=/bin", "X=1=2", "HOME=/x", "Y"]).into();
        assert_eq!(of(&config, "/root", &[]), ["PATH=/bin", "HOSTNAME=h", "X=1=2", "HOME=/x"]);
    }

    #[test]
    fn a_step_has_what_its_builder_says() {
        let config = ContainerConfig { env: words(&["A=1", "A=2"]).into(), ..Default::default() };
        assert_eq!(step(&config, "/root"), ["A=2", PATH, "HOME=/root"]);
        let config =
            ContainerConfig { env: words(&["PATH=", "HOME=/x"]).into(), ..Default::default() };
        assert_eq!(step(&config, "/root"), ["PATH=", "HOME=/x"]);
    }

    #[test]
    fn an_exec_adds_to_the_containers() {
        assert_eq!(exec(&words(&["A=1"]), true, &words(&["A=2", "B"])), ["A=2", "TERM=xterm"]);
    }
}
