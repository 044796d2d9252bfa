//! Which image a repository is.
//!
//! The registry has a name, `localhost:5000`. A repository `me/app` is the image
//! `localhost:5000/me/app`: what a client on this machine would call it, and a name that nobody
//! else's image has. To that, one may push. A repository whose name begins with a domain,
//! `docker.io/library/debian`, is the image of that very name, to be read only; so is `library/debian`
//! for who asks on behalf of another registry (`?ns=docker.io`), as mirrors are asked.

use reference::Reference;

/// What a repository is to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The image's name in full, without a tag.
    pub(crate) repository: String,
    /// Whether it is in the registry's own name space.
    pub(crate) is_own: bool,
}

/// The registry's name.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    own: String,
}

impl Names {
    /// `None` where this is no name of a registry.
    pub(crate) fn new(own: &str) -> Option<Self> {
        let reference = whole(&format!("{own}/x"))?;
        (reference.domain() == own && reference.path() == "x").then(|| Self { own: own.into() })
    }

    /// The registry's name.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// What the repository `name` is; `None` where it is no name. `on_behalf` is the registry that
    /// the client thinks of.
    pub(crate) fn place(&self, name: &str, on_behalf: Option<&str>) -> Option<Place> {
        let own = whole(&format!("{}/{name}", self.own)).filter(|own| own.path() == name)?;
        let theirs = match on_behalf.filter(|domain| *domain != self.own) {
            // With a part of a path it could be one of ours by another name.
            Some(domain) if domain.contains('/') => return None,
            Some(domain) => format!("{domain}/{name}"),
            None if begins_with_domain(name) => name.to_owned(),
            None => return Some(Place { repository: own.name(), is_own: true }),
        };
        Some(Place { repository: whole(&theirs)?.name(), is_own: false })
    }

    /// Under which name a client finds an image, if under any.
    pub(crate) fn shown(&self, repository: &str) -> Option<String> {
        let own = repository.strip_prefix(&self.own).and_then(|rest| rest.strip_prefix('/'));
        let name = own.unwrap_or(repository);
        let found = self.place(name, None)?;
        (found.repository == repository).then(|| name.to_owned())
    }
}

/// A name without tag and digest.
fn whole(text: &str) -> Option<Reference> {
    let reference: Reference = text.parse().ok()?;
    (reference.tag().is_none() && reference.digest().is_none()).then_some(reference)
}

fn begins_with_domain(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    name.contains('/') && (first.contains('.') || first == "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_images() {
        let names = Names::new("localhost:5000").unwrap();
        let place = |name: &str, on_behalf| {
            names.place(name, on_behalf).map(|place| (place.repository, place.is_own))
        };
        let own = |name: &str| Some((name.to_owned(), true));
        let theirs = |name: &str| Some((name.to_owned(), false));
        assert_eq!(place("me/app", None), own("localhost:5000/me/app"));
        assert_eq!(place("app", None), own("localhost:5000/app"));
        assert_eq!(place("a.b", None), own("localhost:5000/a.b"));
        assert_eq!(place("docker.io/library/debian", None), theirs("docker.io/library/debian"));
        assert_eq!(place("docker.io/debian", None), theirs("docker.io/library/debian"));
        assert_eq!(place("localhost/app", None), theirs("localhost/app"));
        assert_eq!(place("debian", Some("docker.io")), theirs("docker.io/library/debian"));
        assert_eq!(place("me/app", Some("r:1")), theirs("r:1/me/app"));
        assert_eq!(place("me/app", Some("localhost:5000")), own("localhost:5000/me/app"));
        for wrong in ["", "/", "A", "a//b", "a/", "/a", "a:b", "a/b:c", "a@b", "../a", "a b", "-a"]
        {
            assert_eq!(place(wrong, None), None, "{wrong}");
        }
        assert_eq!(place("a/".repeat(130).trim_end_matches('/'), None), None);
        for wrong in ["", "a", "../..", "x y", "r:1/a"] {
            let found = place("me/app", Some(wrong));
            assert!(found.is_none_or(|(name, own)| !own && !name.contains("..")), "{wrong}");
        }
    }

    #[test]
    fn images_are_shown_as_they_are_found() {
        let names = Names::new("registry.lan").unwrap();
        assert_eq!(names.shown("registry.lan/me/app").as_deref(), Some("me/app"));
        assert_eq!(
            names.shown("docker.io/library/debian").as_deref(),
            Some("docker.io/library/debian")
        );
        // No repository's name has a colon.
        assert_eq!(names.shown("localhost:5000/x"), None);
        assert_eq!(names.shown("registry.lan/quay.io/x"), None);
        for wrong in ["", "x", "a/b", "a b", "x.y/z", "x.y:1:2"] {
            assert!(Names::new(wrong).is_none(), "{wrong}");
        }
    }
}
