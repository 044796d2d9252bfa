//! Paths of a build: `/` separates, whatever the machine (Go's package `path`).

/// The shortest path of the same meaning; `.` for nothing.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// The parts that are not empty, behind each other; nothing where all are.
pub(crate) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { clean(&parts.join("/")) }
}

/// The last part; `.` of nothing, `/` of the root.
pub(crate) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (false, true) => "/",
        (false, false) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// An absolute path: `path` as seen from `parent`. What ends in `/` or `/.` keeps that, if asked for:
/// it says that it is a directory.
pub(crate) fn absolute(parent: &str, path: &str, keep_slash: bool) -> String {
    let parent = if parent.starts_with('/') { parent.to_owned() } else { join(&["/", parent]) };
    let mut out = match path {
        "" => parent,
        path if path.starts_with('/') => path.to_owned(),
        path => join(&[&parent, path]),
    };
    if keep_slash && path.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    } else if keep_slash && path.ends_with("/.") {
        if out != "/" {
            out.push('/');
        }
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, want) in [
            ("", "."),
            ("a//b/./c", "a/b/c"),
            ("/..", "/"),
            ("a/../..", ".."),
            ("/a/../b/", "/b"),
            ("./", "."),
            ("../../a", "../../a"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
        assert_eq!((join(&["", ""]), join(&["/", "", "a/"])), (String::new(), "/a".into()));
        for (path, want) in [("", "."), ("//", "/"), ("a/b/", "b"), ("a", "a")] {
            assert_eq!(base(path), want);
        }
    }

    #[test]
    fn absolute_paths() {
        for (parent, path, want) in [
            ("/", "a", "/a"),
            ("", "a/", "/a/"),
            ("/w", "./", "/w/"),
            ("/w", "", "/w"),
            ("w", "a/.", "/w/a/."),
            ("/w", "/a/", "/a/"),
            ("/w", "/x/.", "/x/./."),
            ("/w", "../b", "/b"),
        ] {
            assert_eq!(absolute(parent, path, true), want, "{parent} {path}");
        }
        assert_eq!(absolute("/w", "a/", false), "/w/a");
    }
}
