//! Sources as operations: the other way of `source`.

use std::collections::BTreeMap;

use buildgraph::{Blob, Resolve, Source};
use buildkit::pb;

/// A source as a definition names it. What is of this build itself is nobody's to allow.
pub fn source_op(source: &Source) -> Option<pb::SourceOp> {
    let mut attrs = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            attrs.insert(key.to_owned(), value.to_owned());
        }
    };
    let identifier = match source {
        Source::Image(image) => {
            set("image.layerlimit", &image.layers.map_or(String::new(), |most| most.to_string()));
            set(
                "image.checksum",
                &image.checksum.as_ref().map_or(String::new(), ToString::to_string),
            );
            set("image.resolvemode", if image.resolve == Resolve::Pull { "pull" } else { "" });
            format!("docker-image://{}", image.reference)
        }
        Source::Local(local) => {
            let texts = |all: &[String]| match all {
                [] => String::new(),
                all => serde_json::to_string(all).unwrap_or_default(),
            };
            set("local.includepattern", &texts(&local.include));
            set("local.excludepatterns", &texts(&local.exclude));
            set("local.followpaths", &texts(&local.follow));
            set("local.sharedkeyhint", &local.shared_key);
            if let Some(files) = &local.told_only {
                set("local.metadatatransfer", "true");
                set("local.metadatatransferexclude", &texts(files));
            }
            set("local.session", &local.session);
            set("local.differ", if local.all_anew { "none" } else { "" });
            format!("local://{}", local.name)
        }
        Source::Http(http) => {
            set("http.perm", &http.mode.map_or(String::new(), |mode| format!("0{mode:o}")));
            set("http.uid", &number(http.uid));
            set("http.gid", &number(http.gid));
            set("http.authheadersecret", &http.auth_secret);
            for (name, value) in &http.headers {
                set(&format!("http.header.{name}"), value);
            }
            set("http.filename", &http.name);
            set("http.checksum", http.checksum.as_ref().map_or("", |sum| &sum.0));
            if let Some(signed) = &http.signed {
                set("http.sig.pubkey", &signed.keys);
                set("http.sig.signature", &signed.signature);
            }
            http.url.clone()
        }
        Source::Git(git) => {
            set("git.fullurl", &git.remote);
            set("git.keepgitdir", if git.keep_git_dir { "true" } else { "" });
            set("git.checksum", git.checksum.as_ref().map_or("", |sum| &sum.0));
            set("git.skipsubmodules", if git.skip_submodules { "true" } else { "" });
            set("git.authtokensecret", &git.token_secret);
            set("git.authheadersecret", &git.header_secret);
            set("git.mountsshsock", &git.ssh);
            set("git.knownsshhosts", &git.known_hosts);
            set("git.mtime", if git.commit_times { "commit" } else { "" });
            set("git.checkoutbundle", if git.as_bundle { "true" } else { "" });
            set("git.fetchbycommit", if git.by_commit { "true" } else { "" });
            if let Some(signed) = &git.signed {
                // Said also where it says no: so it is verified all the same.
                set("git.sig.rejectexpired", &signed.reject_expired.to_string());
                set("git.sig.pubkey", &signed.keys);
                set("git.sig.requiresignedtag", if signed.require_tag { "true" } else { "" });
                set("git.sig.ignoresignedtag", if signed.ignore_tag { "true" } else { "" });
            }
            if let Some(bundle) = &git.bundle {
                set("git.bundle", &place(bundle));
                set("oci.store", &bundle.store);
            }
            let bare = git.remote.split_once("://").map_or(git.remote.as_str(), |(_, rest)| rest);
            let part = match plain(&git.subdir).as_str() {
                "" => String::new(),
                part => format!(":{part}"),
            };
            match (git.reference.as_str(), part.as_str()) {
                ("", "") => format!("git://{bare}"),
                (reference, part) => format!("git://{bare}#{reference}{part}"),
            }
        }
        Source::Layout(layout) => {
            set("oci.layerlimit", &layout.layers.map_or(String::new(), |most| most.to_string()));
            format!("oci-layout://{}@{}", layout.store, layout.digest)
        }
        Source::Blob(blob) => {
            set("http.filename", &blob.name);
            set("http.perm", &blob.mode.map_or(String::new(), |mode| format!("0{mode:o}")));
            set("http.uid", &number(blob.uid));
            set("http.gid", &number(blob.gid));
            set("oci.store", &blob.store);
            place(blob)
        }
        Source::Result(_) => return None,
    };
    Some(pb::SourceOp { identifier, attrs })
}

/// Where a blob is.
fn place(blob: &Blob) -> String {
    let scheme = if blob.store.is_empty() { "docker-image" } else { "oci-layout" };
    format!("{scheme}+blob://{}@{}", blob.repository, blob.digest)
}

/// A number that is another one than usual.
fn number(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// A directory of a repository, by its one name: however it is written, it is inside.
fn plain(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use buildgraph::{Git, Http, SignedBy};

    use super::*;
    use crate::source as read;

    #[test]
    fn sources_are_called_as_in_definitions() {
        let git = Git {
            remote: "https://h/x.git".into(),
            reference: "main".into(),
            subdir: "a".into(),
            ..Git::default()
        };
        let op = source_op(&Source::Git(git.clone())).unwrap();
        assert_eq!(op.identifier, "git://h/x.git#main:a");
        assert_eq!(op.attrs["git.fullurl"], "https://h/x.git");
        let bundle = Blob {
            repository: "x/y".into(),
            store: "s".into(),
            digest: oci::Digest::sha256(b"x"),
            name: String::new(),
            mode: None,
            uid: 0,
            gid: 0,
        };
        let git = Git { bundle: Some(Box::new(bundle)), commit_times: true, ..git };
        let signed = SignedBy { keys: "k".into(), require_tag: true, ..SignedBy::default() };
        let git = Git { signed: Some(Box::new(signed)), by_commit: true, ..git };
        let op = source_op(&Source::Git(git.clone())).unwrap();
        assert_eq!(read(&op).unwrap(), Source::Git(git));
        let http = Http { url: "https://h/f".into(), ..Http::default() };
        assert_eq!(source_op(&Source::Http(http)).unwrap().identifier, "https://h/f");
        assert!(source_op(&Source::Result("x".into())).is_none());
    }

    #[test]
    fn a_directory_of_a_repository_is_inside() {
        assert_eq!((plain("../a/./b/").as_str(), plain("a/../../b").as_str()), ("a/b", "b"));
    }
}
