//! Where a repository is, and what of it: taken apart, and refused where git could misunderstand it.

use data_encoding::BASE64;

use crate::Error;

/// A repository that git may be pointed at.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Its URL, without a name and a password for HTTP.
    pub(super) url: String,
    /// `https://HOST`, where it is HTTP: whom a header is for.
    pub(super) origin: Option<String>,
    /// It is reached by ssh.
    pub(super) is_ssh: bool,
    /// The header that stands for the name and the password in the URL.
    pub(super) authorization: Option<String>,
}

/// Names no credentials.
impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// Takes a URL (`https`, `http`, `git`, `ssh`) or `USER@HOST:PATH`. Everything else, paths of this machine
    /// and helpers of git's (`ext::`) among it, is refused (security rows H01, H03).
    pub(super) fn new(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::Invalid(format!("git repository {}: {why}", shown(text)));
        if text.starts_with('-') || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(refused("not a URL"));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Self::scp(text) };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
            return Err(refused("no host"));
        }
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => Ok(Self {
                url: format!("{scheme}://{host}/{path}"),
                origin: Some(format!("{scheme}://{host}")),
                is_ssh: false,
                authorization: (!user.is_empty()).then(|| basic(user)),
            }),
            "ssh" => {
                let user = user.split(':').next().unwrap_or_default();
                let at = if user.is_empty() { "" } else { "@" };
                let url = format!("ssh://{user}{at}{host}/{path}");
                Ok(Self { url, origin: None, is_ssh: true, authorization: None })
            }
            "git" => {
                let url = format!("git://{host}/{path}");
                Ok(Self { url, origin: None, is_ssh: false, authorization: None })
            }
            _ => Err(refused("only http, https, ssh and git are possible")),
        }
    }

    fn scp(text: &str) -> Result<Self, Error> {
        let parts = text.split_once('@').and_then(|(user, rest)| {
            let (host, path) = rest.split_once(':')?;
            let is_name = |name: &str| {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits)
            };
            (is_name(user) && is_name(host) && !path.is_empty() && !path.starts_with(':'))
                .then_some(())
        });
        let why = || Error::Invalid(format!("git repository {}: not a URL", shown(text)));
        parts.ok_or_else(why)?;
        Ok(Self { url: text.into(), origin: None, is_ssh: true, authorization: None })
    }
}

/// A URL for people: without what is before `@` in it.
fn shown(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => text.into(),
    }
}

/// The header of a name and a password as a URL has them (`%40`).
fn basic(user: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = user.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    if !bytes.contains(&b':') {
        bytes.push(b':');
    }
    format!("Authorization: basic {}", BASE64.encode(&bytes))
}

/// The header of a token, as GitHub and others take it.
pub(super) fn token(token: &str) -> String {
    let pair = format!("x-access-token:{token}");
    format!("Authorization: basic {}", BASE64.encode(pair.as_bytes()))
}

/// Whether a text is the name of a commit, in full.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Refuses what is no name of a branch or tag (git-check-ref-format(1)): git would take it for an option, or for
/// a rule of what is fetched.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let bad = |byte: u8| byte <= b' ' || byte == 0x7f || b":?*[\\^~+\"'".contains(&byte);
    let is_lock = |part: &str| part.as_bytes().ends_with(b".lock");
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || is_lock(part);
    if name.starts_with('-')
        || name.len() > 1024
        || name.bytes().any(bad)
        || name.contains("..")
        || name.contains("@{")
        || name.ends_with('.')
        || name.split('/').any(bad_part)
    {
        return Err(Error::Invalid(format!("{name:?} is no name of a git branch, tag or commit")));
    }
    Ok(())
}

/// What a name means at a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// In full: `refs/heads/main`; `HEAD`.
    pub(super) name: String,
    /// The commit.
    pub(super) commit: String,
    /// The tag that says so, where it is an object of its own.
    pub(super) tag: Option<String>,
}

/// The names in full that a name may be short for, the one that counts first: tags before branches, as in
/// BuildKit.
pub(super) fn candidates(name: &str) -> Vec<String> {
    match name {
        "" | "HEAD" => vec!["HEAD".into()],
        full if full.starts_with("refs/") => vec![full.into()],
        name => {
            ["refs/tags/", "refs/heads/", "refs/"].map(|prefix| format!("{prefix}{name}")).into()
        }
    }
}

/// Finds a name in what `git ls-remote --symref` says. Only names that we asked for count, and the branch that
/// `HEAD` stands for.
pub(super) fn find(listed: &str, name: &str) -> Option<Tip> {
    let lines = || listed.lines().filter_map(|line| line.split_once('\t'));
    let commit_of = |wanted: &str| {
        let (commit, _) = lines().find(|(what, name)| is_commit(what) && *name == wanted)?;
        Some(commit.to_ascii_lowercase())
    };
    let branch = || {
        let mut links =
            lines().filter_map(|(what, name)| Some((what.strip_prefix("ref: ")?, name)));
        let (branch, _) = links.find(|(_, name)| *name == "HEAD")?;
        (branch.starts_with("refs/heads/") && check_name(branch).is_ok()).then(|| branch.to_owned())
    };
    candidates(name).into_iter().find_map(|name| {
        let found = commit_of(&name)?;
        if let Some(name) = (name == "HEAD").then(branch).flatten() {
            return Some(Tip { name, commit: found, tag: None });
        }
        Some(match commit_of(&format!("{name}^{{}}")) {
            Some(commit) => Tip { name, commit, tag: Some(found) },
            None => Tip { name, commit: found, tag: None },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes() {
        for (text, url, origin, authorization) in [
            ("https://h/o/r.git", "https://h/o/r.git", Some("https://h"), None),
            (
                "https://u:p%40@h:8/r.git",
                "https://h:8/r.git",
                Some("https://h:8"),
                Some("Authorization: basic dTpwQA=="),
            ),
            (
                "HTTP://tok@h/r.git",
                "http://h/r.git",
                Some("http://h"),
                Some("Authorization: basic dG9rOg=="),
            ),
            ("git://h/r", "git://h/r", None, None),
            ("ssh://git:pw@h:22/r", "ssh://git@h:22/r", None, None),
            ("git@h:o/r.git", "git@h:o/r.git", None, None),
        ] {
            let remote = Remote::new(text).unwrap();
            assert_eq!((remote.url.as_str(), remote.origin.as_deref()), (url, origin), "{text}");
            assert_eq!(remote.authorization.as_deref(), authorization, "{text}");
        }
        for bad in [
            "--upload-pack=touch x",
            "-u",
            "file:///etc",
            "/etc",
            "../x",
            "ext::sh -c touch% x",
            "ext::sh",
            "ssh://-oProxyCommand=x/y",
            "ssh://-oProxyCommand=x@h/y",
            "-oProxyCommand=x@h:y",
            "git@-h:y",
            "git@h::y",
            "https://h/r\n",
            "https:///r",
            "h:p",
            "",
        ] {
            assert!(Remote::new(bad).is_err(), "{bad}");
        }
        let error = Remote::new("ftp://u:secret@h/r").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn names_of_references() {
        for good in ["main", "v1.0", "refs/pull/1/head", "feature/x-y", "a@b"] {
            check_name(good).unwrap();
        }
        for bad in [
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a:b",
            "+a",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a.lock",
            "x@{1}",
            "a^",
            "*",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_name_means() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let listed = format!(
            "{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\n{b}\trefs/heads/v1\n\
             {c}\trefs/pull/1/head\nzz\trefs/heads/odd\n{c}\trefs/heads/--upload-pack=x\n"
        );
        let tip = |name: &str| find(&listed, name).map(|tip| (tip.name, tip.commit, tip.tag));
        assert_eq!(tip(""), Some(("HEAD".into(), a.clone(), None)));
        assert_eq!(tip("main"), Some(("refs/heads/main".into(), a, None)));
        assert_eq!(tip("v1"), Some(("refs/tags/v1".into(), c.clone(), Some(b))));
        assert_eq!(tip("pull/1/head"), Some(("refs/pull/1/head".into(), c, None)));
        assert_eq!((tip("odd"), tip("none")), (None, None));
        let link = |branch: &str| find(&format!("ref: {branch}\tHEAD\n{listed}"), "").unwrap().name;
        assert_eq!(link("refs/heads/main"), "refs/heads/main");
        assert_eq!(link("refs/heads/--x:y"), "HEAD");
    }
}
