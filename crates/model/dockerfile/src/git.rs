//! Names of git repositories: URLs with a branch and a directory behind `#`, or both as parameters.
//!
//! ```text
//! https://HOST/PATH.git[?ref=…&subdir=…][#REF[:DIR]]    also http
//! git://HOST/PATH   ssh://[USER@]HOST/PATH              the same way
//! USER@HOST:PATH                                        as ssh has it
//! github.com/OWNER/NAME                                 a context only: it may be a path
//! ```

use crate::mount::go_bool;
use crate::path;
use crate::quote::Quoted;

/// A repository, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRef {
    /// Its URL, without what follows `?` and `#`.
    pub remote: String,
    /// A branch, tag or commit; empty: the default branch.
    pub reference: String,
    /// A directory in it; empty: all.
    pub subdir: String,
    /// The commit that it must be, or its start.
    pub checksum: String,
    /// With `.git`.
    pub keep_git_dir: Option<bool>,
    /// With submodules.
    pub submodules: Option<bool>,
    /// What times files get: `checkout` or `commit`.
    pub mtime: String,
    /// The commit is fetched, whatever the branch has.
    pub fetch_by_commit: bool,
    /// It could be a path as well.
    pub maybe_local: bool,
}

/// Why a repository's URL makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Error {
    #[error("query {q} has no value", q = Quoted(.0))]
    NoValue(String),
    #[error("query {q} has multiple values", q = Quoted(.0))]
    Several(String),
    #[error("unexpected query {q}", q = Quoted(.0))]
    Unexpected(String),
    #[error("{0} conflicts: {q} vs {r}", q = Quoted(.1), r = Quoted(.2))]
    Conflict(&'static str, String, String),
    #[error("branch conflicts with tag")]
    BranchAndTag,
    #[error("invalid {0} value: {q}", q = Quoted(.1))]
    Value(&'static str, String),
    #[error("invalid mtime value: {q} (must be \"checkout\" or \"commit\")", q = Quoted(.0))]
    Mtime(String),
    #[error("git {0} {q} begins with a dash", q = Quoted(.1))]
    Option(&'static str, String),
}

impl GitRef {
    /// The repository that a text names; `None` where it names none.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let Some(url) = Url::parse(text) else { return Ok(None) };
        let (reference, subdir) = url.fragment.split_once(':').unwrap_or((&url.fragment, ""));
        let mut git = Self {
            remote: url.remote,
            reference: reference.into(),
            subdir: path::join(&["/", subdir]).trim_start_matches('/').into(),
            maybe_local: url.maybe_local,
            ..Self::default()
        };
        git.parameters(&url.query)?;
        git.refuse_options()?;
        Ok(Some(git))
    }

    /// Git would take these for its own options.
    fn refuse_options(&self) -> Result<(), Error> {
        let parts =
            [("remote", &self.remote), ("ref", &self.reference), ("checksum", &self.checksum)];
        match parts.iter().find(|(_, value)| value.starts_with('-')) {
            Some((name, value)) => Err(Error::Option(name, (*value).clone())),
            None => Ok(()),
        }
    }

    fn parameters(&mut self, query: &[(String, String)]) -> Result<(), Error> {
        let (mut tag, mut branch) = (String::new(), String::new());
        for (at, (key, value)) in query.iter().enumerate() {
            if query[..at].iter().any(|(before, _)| before == key) {
                return Err(Error::Several(key.clone()));
            }
            let is_flag = matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_flag {
                return Err(Error::NoValue(key.clone()));
            }
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value)?,
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "tag" => tag = prefixed("refs/tags/", value),
                "branch" => branch = prefixed("refs/heads/", value),
                "checksum" | "commit" => self.checksum.clone_from(value),
                "keep-git-dir" => self.keep_git_dir = Some(flag("keep-git-dir", value)?),
                "submodules" => self.submodules = Some(flag("submodules", value)?),
                "fetch-by-commit" => self.fetch_by_commit = flag("fetch-by-commit", value)?,
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => {
                    self.mtime.clone_from(value);
                }
                "mtime" => return Err(Error::Mtime(value.clone())),
                _ => return Err(Error::Unexpected(key.clone())),
            }
        }
        if !tag.is_empty() && !branch.is_empty() {
            return Err(Error::BranchAndTag);
        }
        if tag.is_empty() && branch.is_empty() {
            return Ok(());
        }
        agree("ref", &mut self.reference, &(tag + &branch))
    }
}

fn prefixed(prefix: &str, value: &str) -> String {
    if value.starts_with(prefix) { value.into() } else { format!("{prefix}{value}") }
}

fn agree(name: &'static str, known: &mut String, value: &str) -> Result<(), Error> {
    if !known.is_empty() && known != value {
        return Err(Error::Conflict(name, known.clone(), value.into()));
    }
    value.clone_into(known);
    Ok(())
}

fn flag(name: &'static str, value: &str) -> Result<bool, Error> {
    if value.is_empty() {
        return Ok(true);
    }
    go_bool(value).ok_or_else(|| Error::Value(name, value.into()))
}

struct Url {
    remote: String,
    query: Vec<(String, String)>,
    fragment: String,
    maybe_local: bool,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with("./") || text.starts_with("../") || text.contains(char::is_control) {
            return None;
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        let maybe_local = text.starts_with("github.com/");
        if !maybe_local && !is_remote(remote) {
            return None;
        }
        let query = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(key, true), decoded(value, true))
        });
        let is_scp = !remote.contains("://");
        let fragment = if is_scp { fragment.into() } else { decoded(fragment, false) };
        Some(Self { remote: remote.into(), query: query.collect(), fragment, maybe_local })
    }
}

fn is_remote(remote: &str) -> bool {
    if let Some((scheme, rest)) = remote.split_once("://") {
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        return has_port(host)
            && match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => rest.contains('/') && remote.strip_suffix(".git").is_some(),
                "git" | "ssh" => true,
                _ => false,
            };
    }
    let Some((user, rest)) = remote.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let is_word = |text: &str, more: &[u8]| {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || more.contains(&b);
        !text.is_empty() && text.bytes().all(is_part)
    };
    is_word(user, b"_") && is_word(host, b".")
}

/// What follows a colon is a number, if there is one.
fn has_port(host: &str) -> bool {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

/// `%20` and, in parameters, `+`. What is no such code stays.
fn decoded(text: &str, plus: bool) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if code.is_some() { &after[2..] } else { after };
        bytes.push(code.unwrap_or(if plus && first == b'+' { b' ' } else { first }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> Option<GitRef> {
        GitRef::parse(text).unwrap()
    }

    #[test]
    fn what_is_a_repository() {
        for (text, remote, reference, subdir) in [
            ("https://example.com/foo.git", "https://example.com/foo.git", "", ""),
            (
                "https://example.com/foo.git#release/1.2",
                "https://example.com/foo.git",
                "release/1.2",
                "",
            ),
            ("https://u:p@example.com/b.git", "https://u:p@example.com/b.git", "", ""),
            ("https://h/b.git#baz/qux:quux/quuz", "https://h/b.git", "baz/qux", "quux/quuz"),
            ("https://h/b.git#:my/../dir", "https://h/b.git", "", "dir"),
            ("git://example.com/foo", "git://example.com/foo", "", ""),
            ("git@github.com:moby/buildkit", "git@github.com:moby/buildkit", "", ""),
            ("git@h:a/b.git#v1:d", "git@h:a/b.git", "v1", "d"),
            ("ssh://git@h:22/a#v1", "ssh://git@h:22/a", "v1", ""),
            ("https://h/b.git?ref=v1&subdir=a%2Fb", "https://h/b.git", "v1", "a/b"),
            ("https://h/b.git?tag=v1", "https://h/b.git", "refs/tags/v1", ""),
            ("https://h/b.git?branch=v1", "https://h/b.git", "refs/heads/v1", ""),
        ] {
            let found = git(text).unwrap_or_else(|| panic!("{text}"));
            let got = (found.remote.as_str(), found.reference.as_str(), found.subdir.as_str());
            assert_eq!(got, (remote, reference, subdir), "{text}");
        }
        assert!(git("github.com/moby/buildkit#master").unwrap().maybe_local);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "a",
            "./git@h:a",
            "../x",
            "https://h/foo",
            "https://h/foo.git/",
            "https://h.git",
            "https://h/foo.git.bar",
            "http://h/d.git:#branch",
            "custom.xyz/a/b.git",
            "ftp://h/a.git",
            "https://h:x/a.git",
            "a b@h:c",
            "/a@b:c/d",
            "git@h",
        ] {
            assert_eq!(git(text), None, "{text}");
        }
    }

    #[test]
    fn parameters() {
        let found =
            git("https://h/b.git?keep-git-dir&submodules=false&checksum=ab&mtime=commit").unwrap();
        assert_eq!((found.keep_git_dir, found.submodules), (Some(true), Some(false)));
        assert_eq!((found.checksum.as_str(), found.mtime.as_str()), ("ab", "commit"));
        for (text, want) in [
            ("ref=", "query \"ref\" has no value"),
            ("ref=a&ref=b", "query \"ref\" has multiple values"),
            ("x=a", "unexpected query \"x\""),
            ("ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("tag=a&ref=b", "ref conflicts: \"b\" vs \"refs/tags/a\""),
            ("tag=a&branch=b", "branch conflicts with tag"),
            ("submodules=maybe", "invalid submodules value: \"maybe\""),
            ("mtime=x", "invalid mtime value: \"x\" (must be \"checkout\" or \"commit\")"),
            ("ref=--upload-pack=x", "git ref \"--upload-pack=x\" begins with a dash"),
        ] {
            let error = GitRef::parse(&format!("https://h/b.git?{text}")).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
