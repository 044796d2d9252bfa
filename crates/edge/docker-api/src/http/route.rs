//! Which handler answers which path.

use hyper::Method;

/// A table of routes. The first that matches wins.
///
/// A pattern has at most one `{}`, which stands for one or more characters, slashes included: names
/// of images have them, and clients may write a container's name with the slash that `dockerd` puts
/// before it.
pub(crate) struct Routes<H: 'static>(pub(crate) &'static [(Method, &'static str, H)]);

impl<H: Copy> Routes<H> {
    /// The pattern that a path without its version matches.
    pub(crate) fn pattern(&self, method: &Method, path: &str) -> Option<&'static str> {
        let found = self
            .0
            .iter()
            .find(|(known, pattern, _)| known == method && capture(pattern, path).is_some());
        found.map(|(_, pattern, _)| *pattern)
    }

    /// The handler of a path without its version, and what its `{}` stands for.
    pub(crate) fn find<'p>(&self, method: &Method, path: &'p str) -> Option<(H, &'p str)> {
        self.0.iter().find_map(|(known, pattern, handler)| {
            (known == method).then(|| capture(pattern, path)).flatten().map(|id| (*handler, id))
        })
    }
}

fn capture<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.split_once("{}") {
        None => (pattern == path).then_some(""),
        Some((before, after)) => path
            .strip_prefix(before)?
            .strip_suffix(after)
            .map(|id| id.strip_prefix('/').unwrap_or(id))
            .filter(|id| !id.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: Routes<u8> = Routes(&[
        (Method::GET, "/images/json", 1),
        (Method::GET, "/images/{}/json", 2),
        (Method::DELETE, "/images/{}", 3),
    ]);

    #[test]
    fn names_may_have_slashes() {
        let find = |method: Method, path| ROUTES.find(&method, path);
        assert_eq!(find(Method::GET, "/images/json"), Some((1, "")));
        assert_eq!(find(Method::GET, "/images/a/b:c/json"), Some((2, "a/b:c")));
        assert_eq!(find(Method::GET, "/images//a/json"), Some((2, "a")));
        assert_eq!(find(Method::DELETE, "/images/a/b"), Some((3, "a/b")));
        assert_eq!(find(Method::POST, "/images/json"), None);
        assert_eq!(find(Method::GET, "/images//json"), None);
    }
}
