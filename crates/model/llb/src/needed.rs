//! What operations need of whoever carries them out, as BuildKit's client names it (`client/llb`, `addCap`), by what
//! they say. Who reads a definition refuses what it needs and does not know.
//!
//! Of changes of files BuildKit's client looks for it before it has any of them, and so names `file.base` alone. Here
//! the rest of what it means to name is named, too.

use std::collections::BTreeMap;

use buildkit::pb::{self, MountType, file_action, op::Op as PbOp};

use crate::read::EMPTY;

/// What the last operation needs, which says what the result is, whatever is said of the others.
const OF_LAST: [&str; 2] = ["constraints", "platform"];

/// What is asked of a source of this scheme, whatever its attributes are.
const SOURCES: [(&str, &str); 8] = [
    ("docker-image://", "source.image"),
    ("docker-image+blob://", "source.imageblob"),
    ("oci-layout+blob://", "source.imageblob"),
    ("oci-layout://", "source.ocilayout"),
    ("local://", "source.local"),
    ("git://", "source.git"),
    ("http://", "source.http"),
    ("https://", "source.http"),
];

/// What an attribute of such a source needs; one that ends with a dot is the start of several. (`local.differ` is not
/// among them: BuildKit's front end does not insist on it.)
const ATTRIBUTES: [(&str, &str, &str); 28] = [
    ("source.image", "image.layerlimit", "source.image.layerlimit"),
    ("source.image", "image.checksum", "source.image.checksum"),
    ("source.local", "local.session", "source.local.sessionid"),
    ("source.local", "local.unique", "source.local.unique"),
    ("source.local", "local.includepattern", "source.local.includepatterns"),
    ("source.local", "local.followpaths", "source.local.followpaths"),
    ("source.local", "local.excludepatterns", "source.local.excludepatterns"),
    ("source.local", "local.sharedkeyhint", "source.local.sharedkeyhint"),
    ("source.local", "local.metadatatransfer", "source.local.metadatatransfer"),
    ("source.git", "git.keepgitdir", "source.git.keepgitdir"),
    ("source.git", "git.fullurl", "source.git.fullurl"),
    ("source.git", "git.knownsshhosts", "source.git.knownsshhosts"),
    ("source.git", "git.mountsshsock", "source.git.mountsshsock"),
    ("source.git", "git.checksum", "source.git.checksum"),
    ("source.git", "git.skipsubmodules", "source.git.skipsubmodules"),
    ("source.git", "git.mtime", "source.git.mtime"),
    ("source.git", "git.fetchbycommit", "source.git.fetchbycommit"),
    ("source.git", "git.bundle", "source.git.bundle"),
    ("source.git", "git.checkoutbundle", "source.git.checkoutbundle"),
    ("source.git", "git.sig.pubkey", "source.git.signatureverify"),
    ("source.http", "http.checksum", "source.http.checksum"),
    ("source.http", "http.perm", "source.http.perm"),
    // Spelled so in BuildKit.
    ("source.http", "http.uid", "soruce.http.uidgid"),
    ("source.http", "http.gid", "soruce.http.uidgid"),
    ("source.http", "http.authheadersecret", "source.http.auth"),
    ("source.http", "http.sig.pubkey", "source.http.signatureverify"),
    ("source.http", "http.sig.signature", "source.http.signatureverify"),
    ("source.http", "http.header.", "source.http.header"),
];

/// The secrets that a repository may be asked with whoever wants it: only others have to be understood.
const USUAL_SECRETS: [(&str, &str); 2] =
    [("git.authtokensecret", "GIT_AUTH_TOKEN"), ("git.authheadersecret", "GIT_AUTH_HEADER")];

/// Capabilities on their way, by name.
#[derive(Default)]
struct Needed(BTreeMap<String, bool>);

impl Needed {
    fn add(&mut self, cap: &str) {
        self.0.insert(cap.to_owned(), true);
    }

    fn add_if(&mut self, is_used: bool, cap: &str) {
        if is_used {
            self.add(cap);
        }
    }
}

/// What an operation needs, of which this is said besides.
pub(crate) fn needed(op: &pb::Op, about: &pb::OpMetadata) -> BTreeMap<String, bool> {
    let mut all = Needed::default();
    match &op.op {
        Some(PbOp::Source(source)) => of_source(source, &mut all),
        Some(PbOp::Exec(exec)) => {
            all.add_if(about.linux_resources.is_some(), "exec.meta.linux.resources");
            of_program(exec, &mut all);
        }
        Some(PbOp::File(file)) => {
            all.add("file.base");
            for action in file.actions.iter().filter_map(|one| one.action.as_ref()) {
                of_action(action, &mut all);
            }
        }
        Some(PbOp::Merge(_)) => all.add("mergeop"),
        Some(PbOp::Diff(_)) => all.add("diffop"),
        Some(PbOp::Passthrough(_)) => all.add("passthroughop"),
        // No graph has a build inside it.
        Some(PbOp::Build(_)) | None => {}
    }
    all.0
}

/// What the last operation needs, where this is said of those before it.
pub(crate) fn of_last<'a>(
    others: impl Iterator<Item = &'a pb::OpMetadata>,
) -> BTreeMap<String, bool> {
    let mut all = Needed::default();
    for cap in OF_LAST {
        all.add(cap);
    }
    for one in others {
        all.add_if(one.ignore_cache, "meta.ignorecache");
        all.add_if(!one.description.is_empty(), "meta.description");
    }
    all.0
}

fn of_source(source: &pb::SourceOp, all: &mut Needed) {
    let identifier = source.identifier.as_str();
    let known = SOURCES.iter().find(|(scheme, _)| identifier.starts_with(scheme));
    let Some((_, kind)) = known else { return };
    all.add(kind);
    let has = |wanted: &str| {
        let is_start = wanted.ends_with('.');
        source.attrs.keys().any(|key| key == wanted || (is_start && key.starts_with(wanted)))
    };
    for (of, attribute, cap) in ATTRIBUTES {
        all.add_if(of == *kind && has(attribute), cap);
    }
    let is = |key: &str, value: &str| source.attrs.get(key).is_some_and(|said| said == value);
    all.add_if(is("image.resolvemode", "pull"), "source.image.resolvemode");
    for (secret, usual) in USUAL_SECRETS {
        let is_other = source.attrs.contains_key(secret) && !is(secret, usual);
        all.add_if(is_other, "source.git.httpauth");
    }
}

fn of_program(exec: &pb::ExecOp, all: &mut Needed) {
    all.add("exec.meta.base");
    // Whoever runs it gives it a `PATH` where it has none.
    all.add("exec.meta.setsdefaultpath");
    if let Some(meta) = &exec.meta {
        all.add_if(!meta.valid_exit_codes.is_empty(), "exec.validexitcode");
        all.add_if(!meta.ulimit.is_empty(), "exec.meta.ulimit");
        all.add_if(meta.proxy_env.is_some(), "exec.meta.proxyenv");
    }
    all.add_if(exec.network != 0, "exec.meta.network");
    all.add_if(exec.security != 0, "exec.meta.security");
    all.add_if(!exec.cdi_devices.is_empty(), "exec.meta.cdi");
    if !exec.secretenv.is_empty() {
        all.add("exec.mount.secret");
        all.add("exec.secretenv");
    }
    for mount in &exec.mounts {
        of_mount(mount, all);
    }
}

fn of_mount(mount: &pb::Mount, all: &mut Needed) {
    all.add_if(!mount.selector.is_empty(), "exec.mount.selector");
    all.add_if(mount.content_cache != 0, "exec.mount.cache.content");
    match MountType::try_from(mount.mount_type) {
        Ok(MountType::Cache) => {
            all.add("exec.mount.cache");
            all.add("exec.mount.cache.sharing");
        }
        Ok(MountType::Tmpfs) => {
            all.add("exec.mount.tmpfs");
            let size = mount.tmpfs_opt.as_ref().map_or(0, |tmpfs| tmpfs.size);
            all.add_if(size > 0, "exec.mount.tmpfs.size");
        }
        Ok(MountType::Bind) => all.add_if(mount.input != EMPTY, "exec.mount.bind"),
        Ok(MountType::Secret) => all.add("exec.mount.secret"),
        Ok(MountType::Ssh) => all.add("exec.mount.ssh"),
        Err(_) => {}
    }
}

fn of_action(action: &file_action::Action, all: &mut Needed) {
    match action {
        file_action::Action::Copy(copy) => {
            let has_patterns =
                !copy.include_patterns.is_empty() || !copy.exclude_patterns.is_empty();
            all.add_if(has_patterns, "file.copy.includeexcludepatterns");
            all.add_if(!copy.required_paths.is_empty(), "file.copy.requiredpaths");
            let replaces = copy.always_replace_existing_dest_paths;
            all.add_if(replaces, "file.copy.alwaysreplaceexistingdestpaths");
            all.add_if(!copy.mode_str.is_empty(), "file.copy.modestring");
        }
        file_action::Action::Symlink(_) => all.add("file.symlink.create"),
        file_action::Action::Mkfile(_)
        | file_action::Action::Mkdir(_)
        | file_action::Action::Rm(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CAPS;

    #[track_caller]
    fn check(identifier: &str, attrs: &[(&str, &str)], want: &str) {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let source = pb::SourceOp { identifier: identifier.into(), attrs: attrs.collect() };
        let op = pb::Op { op: Some(PbOp::Source(source)), ..pb::Op::default() };
        let all = needed(&op, &pb::OpMetadata::default());
        assert_eq!(all.into_keys().collect::<Vec<_>>().join(" "), want, "{identifier}");
    }

    #[test]
    fn sources_need_what_they_say() {
        check("docker-image://a", &[("image.resolvemode", "default")], "source.image");
        let pulled = [("image.checksum", "x"), ("image.resolvemode", "pull")];
        let want = "source.image source.image.checksum source.image.resolvemode";
        check("docker-image://a", &pulled, want);
        check("oci-layout://a@x", &[("oci.layerlimit", "1")], "source.ocilayout");
        // What is no file behind a URL needs nothing of those that are.
        check("docker-image+blob://a@x", &[("http.perm", "0600")], "source.imageblob");
        let usual = [("git.authtokensecret", "GIT_AUTH_TOKEN"), ("git.fullurl", "x")];
        check("git://h/x", &usual, "source.git source.git.fullurl");
        let own = [("git.authheadersecret", "MINE"), ("git.keepgitdir", "true")];
        check("git://h/x", &own, "source.git source.git.httpauth source.git.keepgitdir");
        let owned = [("http.uid", "1"), ("http.header.accept", "x"), ("http.filename", "f")];
        check("https://h/f", &owned, "soruce.http.uidgid source.http source.http.header");
        check("dhow-result://x", &[], "");
    }

    #[test]
    fn all_of_it_is_here() {
        let named = SOURCES.iter().map(|(_, cap)| cap);
        let all = named.chain(ATTRIBUTES.iter().map(|(_, _, cap)| cap)).chain(&OF_LAST);
        for cap in all {
            assert!(CAPS.contains(cap), "{cap}");
        }
    }

    #[test]
    fn changes_of_files_need_what_they_do() {
        let copy = pb::FileActionCopy {
            exclude_patterns: vec!["a".into()],
            required_paths: vec!["/b".into()],
            mode_str: "u+x".into(),
            ..pb::FileActionCopy::default()
        };
        let link = pb::FileActionSymlink::default();
        let actions = [file_action::Action::Copy(copy), file_action::Action::Symlink(link)];
        let actions = actions
            .map(|action| pb::FileAction { action: Some(action), ..pb::FileAction::default() });
        let file = PbOp::File(pb::FileOp { actions: actions.into() });
        let op = pb::Op { op: Some(file), ..pb::Op::default() };
        let all: Vec<_> = needed(&op, &pb::OpMetadata::default()).into_keys().collect();
        let want = [
            "file.base",
            "file.copy.includeexcludepatterns",
            "file.copy.modestring",
            "file.copy.requiredpaths",
            "file.symlink.create",
        ];
        assert_eq!(all, want);
        assert!(want.iter().all(|cap| CAPS.contains(cap)));
    }
}
