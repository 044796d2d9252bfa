//! Sockets that allow less than all: whoever reads statistics need not be root.
//!
//! Every route is in one group, and a socket allows groups by their names; what is in none is allowed
//! nowhere. It may be narrowed to the containers of a label or a name: then all that is about no container
//! is closed as well, and others are not there.

use std::collections::BTreeSet;

use containers::Engine;
use docker::filters::Filters;
use hyper::Method;

use crate::error::Error;

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// That there is an engine.
    Always,
    /// The engine, disk usage.
    Info,
    /// Which containers, images, networks and volumes there are.
    List,
    /// All that is known of one; environments may hold secrets.
    Inspect,
    /// What a container uses, and its processes.
    Stats,
    /// What a container wrote.
    Logs,
    /// What happens.
    Events,
    /// Files of containers and images, to read.
    Files,
    /// Starting, stopping, and what is in between.
    Lifecycle,
    /// Programs in containers, their streams, their files.
    Exec,
    /// Making, changing and removing containers.
    Create,
    /// Images come, go and get names.
    Images,
    Networks,
    Volumes,
    /// Building images: steps are programs, and may have the machine's network.
    Build,
    /// The engine's own upkeep.
    System,
}

use Group::{
    Always, Build, Create, Events, Exec, Files, Images, Info, Inspect, Lifecycle, List, Logs,
    Networks, Stats, System, Volumes,
};

/// By their names on the command line.
const NAMES: &[(&str, &[Group])] = &[
    ("info", &[Info]),
    ("list", &[List]),
    ("inspect", &[Inspect]),
    ("stats", &[Stats]),
    ("logs", &[Logs]),
    ("events", &[Events]),
    ("files", &[Files]),
    ("lifecycle", &[Lifecycle]),
    ("exec", &[Exec]),
    ("create", &[Create]),
    ("images", &[Images]),
    ("networks", &[Networks]),
    ("volumes", &[Volumes]),
    ("build", &[Build]),
    ("system", &[System]),
    ("read", &[Info, List, Inspect, Stats, Logs, Events]),
];

/// The groups of all routes: a method, a pattern as in the table of routes, and the group.
const GROUPS: &[(&str, &str, Group)] = &[
    ("GET", "/_ping", Always),
    ("HEAD", "/_ping", Always),
    ("GET", "/version", Always),
    ("GET", "/info", Info),
    ("GET", "/system/df", Info),
    ("GET", "/plugins", Info),
    ("GET", "/plugins/{}/json", Info),
    ("GET", "/dhow/cdi", Info),
    ("GET", "/dhow/images/gc", Info),
    ("GET", "/dhow/containers/gc", Info),
    ("GET", "/dhow/layers", Info),
    ("GET", "/dhow/cache-mounts", Info),
    ("GET", "/events", Events),
    ("GET", "/containers/json", List),
    ("GET", "/images/json", List),
    ("GET", "/networks", List),
    ("GET", "/networks/", List),
    ("GET", "/volumes", List),
    ("GET", "/secrets", List),
    ("GET", "/secrets/{}", Inspect),
    ("GET", "/containers/{}/json", Inspect),
    ("GET", "/containers/{}/changes", Inspect),
    ("GET", "/dhow/containers/{}/explain", Inspect),
    ("POST", "/containers/{}/wait", Inspect),
    ("GET", "/exec/{}/json", Inspect),
    ("GET", "/images/{}/json", Inspect),
    ("GET", "/images/{}/history", Inspect),
    ("GET", "/images/{}/attestations", Inspect),
    ("GET", "/dhow/images/{}/explain", Inspect),
    ("GET", "/networks/{}", Inspect),
    ("GET", "/volumes/{}", Inspect),
    ("GET", "/containers/{}/stats", Stats),
    ("GET", "/containers/{}/top", Stats),
    ("GET", "/containers/{}/logs", Logs),
    ("GET", "/containers/{}/export", Files),
    ("GET", "/containers/{}/archive", Files),
    ("HEAD", "/containers/{}/archive", Files),
    ("GET", "/dhow/volumes/{}/archive", Files),
    ("GET", "/images/get", Files),
    ("GET", "/images/{}/get", Files),
    ("GET", "/dhow/cache-mounts/archive", Files),
    ("POST", "/containers/{}/start", Lifecycle),
    ("POST", "/containers/{}/stop", Lifecycle),
    ("POST", "/containers/{}/restart", Lifecycle),
    ("POST", "/containers/{}/kill", Lifecycle),
    ("POST", "/containers/{}/pause", Lifecycle),
    ("POST", "/containers/{}/unpause", Lifecycle),
    ("POST", "/containers/{}/resize", Exec),
    ("POST", "/containers/{}/attach", Exec),
    ("GET", "/containers/{}/attach/ws", Exec),
    ("POST", "/containers/{}/exec", Exec),
    ("PUT", "/containers/{}/archive", Exec),
    ("POST", "/exec/{}/start", Exec),
    ("POST", "/exec/{}/resize", Exec),
    ("POST", "/containers/create", Create),
    ("POST", "/containers/prune", Create),
    ("POST", "/containers/{}/rename", Create),
    ("POST", "/containers/{}/update", Create),
    ("DELETE", "/containers/{}", Create),
    ("POST", "/secrets/create", Create),
    ("POST", "/secrets/{}/update", Create),
    ("DELETE", "/secrets/{}", Create),
    ("POST", "/auth", Images),
    ("POST", "/commit", Images),
    ("POST", "/images/create", Images),
    ("POST", "/images/prune", Images),
    ("POST", "/images/load", Images),
    ("GET", "/images/search", Images),
    ("POST", "/images/{}/tag", Images),
    ("POST", "/images/{}/push", Images),
    ("DELETE", "/images/{}", Images),
    ("GET", "/distribution/{}/json", Images),
    ("POST", "/dhow/rootfs", Images),
    ("POST", "/dhow/images/{}/convert", Images),
    ("POST", "/networks/create", Networks),
    ("POST", "/networks/prune", Networks),
    ("POST", "/networks/{}/connect", Networks),
    ("POST", "/networks/{}/disconnect", Networks),
    ("DELETE", "/networks/{}", Networks),
    ("POST", "/volumes/create", Volumes),
    ("POST", "/volumes/prune", Volumes),
    ("PUT", "/volumes/{}", Volumes),
    ("DELETE", "/volumes/{}", Volumes),
    ("POST", "/dhow/volumes/{}/rename", Volumes),
    ("POST", "/dhow/volumes/{}/labels", Volumes),
    ("POST", "/dhow/volumes/{}/copy", Volumes),
    ("POST", "/dhow/volumes/{}/archive", Volumes),
    ("POST", "/grpc", Build),
    ("POST", "/session", Build),
    ("POST", "/build", Build),
    ("POST", "/build/cancel", Build),
    ("POST", "/dhow/cache-mounts/archive", Build),
    ("POST", "/build/prune", System),
    ("DELETE", "/dhow/cache-mounts", System),
    ("POST", "/plugins/{}/enable", System),
    ("POST", "/plugins/{}/disable", System),
    ("POST", "/plugins/{}/upgrade", System),
    ("POST", "/plugins/{}/push", System),
    ("POST", "/plugins/{}/set", System),
    ("DELETE", "/plugins/{}", System),
    ("POST", "/dhow/check", System),
    ("POST", "/dhow/images/gc", System),
    ("POST", "/dhow/containers/gc", System),
];

/// The list of containers, which can be narrowed.
const CONTAINERS: &str = "/containers/json";

fn group_of(method: &Method, pattern: &str) -> Option<Group> {
    let found = GROUPS.iter().find(|(known, at, _)| *known == method.as_str() && *at == pattern);
    found.map(|(_, _, group)| *group)
}

/// What a socket allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// As it was said.
    text: String,
    groups: BTreeSet<Group>,
    /// `KEY=VALUE` or `KEY`: all of them.
    labels: Vec<String>,
    /// The container's name or id.
    container: Option<String>,
}

impl Scope {
    /// Reads `allow=GROUP`, `label=KEY[=VALUE]` and `container=NAME`, of which the first two may be said
    /// several times.
    ///
    /// # Errors
    ///
    /// One line for people.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut scope = Self {
            text: String::new(),
            groups: [Always].into(),
            labels: Vec::new(),
            container: None,
        };
        let mut said = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match (key, value) {
                (_, "") => return Err(format!("`{word}` has no value")),
                ("allow", name) => {
                    let Some((_, groups)) = NAMES.iter().find(|(known, _)| *known == name) else {
                        let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                        return Err(format!(
                            "allow={name}: there is no such group: {}",
                            known.join(", ")
                        ));
                    };
                    scope.groups.extend(*groups);
                    said.push(name.to_owned());
                }
                ("label", label) => scope.labels.push(label.to_owned()),
                ("container", name) if scope.container.is_none() => {
                    scope.container = Some(name.trim_start_matches('/').to_owned());
                }
                ("container", _) => return Err("only one container can be named".into()),
                _ => return Err(format!("`{word}`: known are allow, label and container")),
            }
        }
        if said.is_empty() {
            return Err("it allows nothing: give allow=read, or another group".into());
        }
        scope.text = said.join(", ");
        Ok(scope)
    }

    fn is_narrow(&self) -> bool {
        !self.labels.is_empty() || self.container.is_some()
    }

    /// Whether a request may go on. Blocks.
    pub(crate) fn check(
        &self,
        engine: &Engine,
        method: &Method,
        pattern: &str,
        id: &str,
    ) -> Result<Allowed, Error> {
        let refuse = |why: &str| {
            Err(Error::forbidden(format!("{method} {pattern} is not allowed on this socket{why}")))
        };
        match group_of(method, pattern) {
            Some(group) if self.groups.contains(&group) => {
                if !self.is_narrow() || group == Always {
                    return Ok(Allowed::AsItIs);
                }
            }
            _ => return refuse(&format!(", which allows: {}", self.text)),
        }
        if pattern == CONTAINERS {
            return Ok(Allowed::Filtered(self.filter(engine)));
        }
        let is_about_one = ["/containers/{}", "/dhow/containers/{}"]
            .iter()
            .any(|start| pattern.starts_with(start));
        if is_about_one {
            return self.own(engine, id, id).map(Allowed::Of);
        }
        if pattern.starts_with("/exec/{}") {
            let exec = engine.exec_inspect(id)?;
            self.own(engine, &exec.container_id, id)?;
            return Ok(Allowed::AsItIs);
        }
        refuse(", which is for some containers alone")
    }

    /// The full id of a container, if it is one of those. Others are not there.
    fn own(&self, engine: &Engine, wanted: &str, shown: &str) -> Result<String, Error> {
        let found = engine.inspect(wanted, false)?;
        let has = |label: &String| match label.split_once('=') {
            Some((key, value)) => found.config.labels.get(key).is_some_and(|has| has == value),
            None => found.config.labels.contains_key(label),
        };
        let is_named = self.container.as_ref().is_none_or(|name| {
            found.name.trim_start_matches('/') == name
                || (name.len() >= 12 && found.id.starts_with(name))
        });
        if is_named && self.labels.iter().all(has) {
            return Ok(found.id);
        }
        Err(Error::not_found(format!("No such container: {shown}")))
    }

    /// What is added to the filters of a list.
    fn filter(&self, engine: &Engine) -> Narrowed {
        let none = || "0".repeat(64);
        let id = self
            .container
            .as_ref()
            .map(|name| engine.inspect(name, false).map_or_else(|_| none(), |found| found.id));
        Narrowed { id, labels: self.labels.clone() }
    }
}

/// How a request goes on.
#[derive(Debug)]
pub(crate) enum Allowed {
    AsItIs,
    /// About the container of this id.
    Of(String),
    /// With more filters.
    Filtered(Narrowed),
}

/// More filters of a list of containers.
#[derive(Debug)]
pub(crate) struct Narrowed {
    id: Option<String>,
    labels: Vec<String>,
}

impl Narrowed {
    /// The filters of a request, as JSON, and these: labels have all to be there, and an id is put in
    /// the place of others, any of which would do.
    pub(crate) fn over(&self, filters: &str) -> Result<String, Error> {
        let mut filters = Filters::parse(filters).map_err(|err| Error::invalid(err.to_string()))?;
        for label in &self.labels {
            filters.add("label", label.as_str());
        }
        if let Some(id) = &self.id {
            filters.replace("id", id.as_str());
        }
        Ok(filters.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn every_route_is_in_one_group() {
        for (method, pattern, _) in ROUTES.0 {
            let n = GROUPS.iter().filter(|(m, p, _)| *m == method.as_str() && p == pattern).count();
            assert_eq!(n, 1, "{method} {pattern} is in {n} groups: say in scope.rs what it is for");
        }
        for (method, pattern, _) in GROUPS {
            let is_route = |(m, p, _): &(Method, &str, _)| m.as_str() == *method && p == pattern;
            assert!(ROUTES.0.iter().any(is_route), "{method} {pattern} is no route any more");
        }
    }

    #[test]
    fn every_group_but_the_first_has_a_name() {
        for (method, pattern, group) in GROUPS {
            let named = NAMES.iter().any(|(_, groups)| *groups == [*group]);
            assert!(named || *group == Always, "{method} {pattern}: {group:?}");
        }
    }

    /// What only reads may neither change nor make anything, nor show files.
    #[test]
    fn reading_is_reading() {
        let read = Scope::parse(["allow=read"]).unwrap();
        for (method, pattern, group) in GROUPS.iter().filter(|(_, _, g)| read.groups.contains(g)) {
            let waits = *pattern == "/containers/{}/wait";
            assert!(matches!(*method, "GET" | "HEAD") || waits, "{method} {pattern}: {group:?}");
            for no in ["archive", "export", "/get", "attach"] {
                assert!(!pattern.contains(no), "{method} {pattern}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_socket() {
        let said = |text: &str| Scope::parse(text.split(','));
        let scope = said("allow=stats,allow=logs,label=team=a,label=x,container=/web").unwrap();
        assert_eq!(scope.groups, BTreeSet::from([Always, Stats, Logs]));
        assert_eq!((scope.labels.len(), scope.container.as_deref()), (2, Some("web")));
        for (text, want) in [
            ("label=a", "it allows nothing"),
            ("allow=everything", "no such group: info, list"),
            ("allow", "has no value"),
            ("allow=", "has no value"),
            ("allow=read,frob=1", "known are allow"),
            ("allow=read,container=a,container=b", "only one container"),
        ] {
            let error = said(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn filters_are_narrowed_and_never_widened() {
        let narrowed = Narrowed { id: Some("aa".into()), labels: vec!["team=a".into()] };
        let over =
            narrowed.over(r#"{"id":["bb"],"label":["team=b"],"status":["exited"]}"#).unwrap();
        let filters = Filters::parse(&over).unwrap();
        assert_eq!(filters.get("id").collect::<Vec<_>>(), ["aa"]);
        assert_eq!(filters.get("label").collect::<Vec<_>>(), ["team=a", "team=b"]);
        assert_eq!(filters.get("status").collect::<Vec<_>>(), ["exited"]);
        assert!(narrowed.over("{").is_err());
    }
}
