use buildgraph::{Detached, Git, Http, Image, Local, Resolve, SignedBy, Source};

use super::*;

fn of(identifier: &str, attributes: &[(&str, &str)]) -> Result<Source, Error> {
    let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    let op = pb::SourceOp { identifier: identifier.into(), attrs: attributes.collect() };
    let mut definition = Definition::default();
    let at = definition.add(PbOp::Source(op), &[]);
    let read = definition.read(&at)?;
    let Op::Source(source) = &read.top().op else { panic!("{:?}", read.top()) };
    Ok(source.clone())
}

#[test]
fn images() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let found = of("docker-image://debian", &[("image.resolvemode", "pull")]).unwrap();
    let Source::Image(image) = found else { panic!("{found:?}") };
    assert_eq!(image.reference, "docker.io/library/debian:latest");
    assert_eq!((image.resolve, image.digest), (Resolve::Pull, None));
    let found = of("docker-image://debian:12", &[("image.checksum", &digest)]).unwrap();
    let Source::Image(image) = found else { panic!("{found:?}") };
    assert_eq!(image.reference, "docker.io/library/debian:12");
    assert_eq!(image.checksum.map(|sum| sum.to_string()).as_ref(), Some(&digest));
    let found = of("docker-image://debian:12", &[("image.layerlimit", "2")]).unwrap();
    assert!(matches!(found, Source::Image(Image { layers: Some(2), .. })), "{found:?}");
    let other = format!("docker-image://debian@sha256:{}", "b".repeat(64));
    assert!(of(&other, &[("image.checksum", &digest)]).is_err());
    for (key, value) in [("image.layerlimit", "0"), ("image.resolvemode", "x"), ("other", "")] {
        assert!(of("docker-image://debian", &[(key, value)]).is_err(), "{key}");
    }
    assert!(of("docker-image://Debian", &[]).is_err());
}

#[test]
fn blobs_are_files() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let blob = |name: &str, attributes: &[(&str, &str)]| match of(name, attributes) {
        Ok(Source::Blob(blob)) => Some((blob.repository, blob.store, blob.name, blob.uid)),
        _ => None,
    };
    let attributes = [("http.filename", "f"), ("http.uid", "7"), ("oci.store", "s")];
    let found = blob(&format!("docker-image+blob://debian@{digest}"), &attributes);
    let repository = "docker.io/library/debian".to_owned();
    assert_eq!(found, Some((repository, String::new(), "f".into(), 7)));
    let layout = format!("oci-layout+blob://x/y@{digest}");
    let found = blob(&layout, &attributes);
    assert_eq!(found, Some(("x/y".into(), "s".into(), "f".into(), 7)));
    assert!(blob(&layout, &[]).is_none(), "it is nowhere");
    assert!(blob("docker-image+blob://debian", &[]).is_none());
    assert!(blob(&layout, &[("oci.store", "s"), ("oci.layerlimit", "1")]).is_none());
}

#[test]
fn directories_of_the_client() {
    let attributes = [
        ("local.session", "s"),
        ("local.unique", "u"),
        ("local.differ", "none"),
        ("local.metadatatransfer", "true"),
        ("local.metadatatransferexclude", r#"["e"]"#),
        ("local.includepattern", r#"["a","b"]"#),
        ("local.excludepatterns", r#"["c"]"#),
        ("local.followpaths", r#"["d"]"#),
        ("local.sharedkeyhint", "hint"),
    ];
    let local = Local {
        all_anew: true,
        session: "s".into(),
        told_only: Some(vec!["e".into()]),
        name: "src".into(),
        shared_key: "hint".into(),
        include: vec!["a".into(), "b".into()],
        exclude: vec!["c".into()],
        follow: vec!["d".into()],
    };
    assert_eq!(of("local://src", &attributes), Ok(Source::Local(local)));
    let Ok(Source::Local(local)) = of("local://src", &[("local.session", "a:s")]) else { panic!() };
    assert_eq!((local.name.as_str(), local.session.as_str()), ("a-src", "s"));
    assert!(of("local://src", &[("local.followpaths", "d")]).is_err());
    assert!(of("local://src", &[("local.metadatatransfer", "yes")]).is_err());
    assert!(of("local://src", &[("local.other", "")]).is_err());
}

#[test]
fn repositories() {
    let git = Git {
        remote: "https://example.com/a/b.git".into(),
        reference: "v1".into(),
        subdir: "sub".into(),
        ..Git::default()
    };
    let found = of("git://example.com/a/b.git#v1:sub", &[]);
    assert_eq!(found, Ok(Source::Git(git.clone())));
    let attributes = [
        ("git.fullurl", "git@example.com:a/b.git"),
        ("git.keepgitdir", "true"),
        ("git.checksum", "abcdef0"),
        ("git.skipsubmodules", "true"),
        ("git.authtokensecret", "T"),
        ("git.authheadersecret", "H"),
        ("git.mountsshsock", "default"),
        ("git.knownsshhosts", "example.com ssh-ed25519 AAAA"),
        ("git.mtime", "commit"),
    ];
    let Ok(Source::Git(found)) = of("git://example.com/a/b.git#v1:sub", &attributes) else {
        panic!()
    };
    assert_eq!(found.remote, "git@example.com:a/b.git");
    assert!(found.keep_git_dir && found.skip_submodules && found.commit_times);
    assert_eq!(found.checksum.unwrap().0, "abcdef0");
    assert_eq!(found.known_hosts, "example.com ssh-ed25519 AAAA");
    assert!(of("git://example.com/a", &[("git.mtime", "now")]).is_err());
    assert!(found.signed.is_none() && !found.by_commit);
    let attributes = [
        ("git.fetchbycommit", "true"),
        ("git.sig.pubkey", "KEY"),
        ("git.sig.rejectexpired", "true"),
        ("git.sig.requiresignedtag", "false"),
        ("git.sig.ignoresignedtag", "true"),
    ];
    let Ok(Source::Git(found)) = of("git://example.com/a", &attributes) else { panic!() };
    let signed =
        SignedBy { keys: "KEY".into(), reject_expired: true, require_tag: false, ignore_tag: true };
    assert_eq!((found.signed.as_deref(), found.by_commit), (Some(&signed), true));
    // Whoever says anything of it has it verified.
    let Ok(Source::Git(found)) = of("git://example.com/a", &[("git.sig.rejectexpired", "false")])
    else {
        panic!()
    };
    assert_eq!(found.signed.as_deref(), Some(&SignedBy::default()));
    assert!(of("git://example.com/a", &[("git.sig.requiresignedtag", "yes")]).is_err());
    let digest = format!("sha256:{}", "a".repeat(64));
    let bundle = |place: &str, more: &[(&str, &str)]| {
        let place = format!("{place}@{digest}");
        let attributes = [&[("git.bundle", place.as_str())][..], more].concat();
        match of("git://example.com/a", &attributes) {
            Ok(Source::Git(Git { bundle: Some(found), .. })) => {
                let found = *found;
                Some((found.repository, found.store, found.digest.to_string() == digest))
            }
            _ => None,
        }
    };
    let found = bundle("docker-image+blob://h:5000/a/b", &[]);
    assert_eq!(found, Some(("h:5000/a/b".into(), String::new(), true)));
    let found = bundle("oci-layout+blob://x/y", &[("oci.store", "s"), ("oci.session", "")]);
    assert_eq!(found, Some(("x/y".into(), "s".into(), true)));
    assert_eq!(bundle("oci-layout+blob://x/y", &[]), Some(("x/y".into(), "x/y".into(), true)));
    for other in ["https://h/x", "docker-image://h/x", "file:///x", "/x", ""] {
        assert_eq!(bundle(other, &[]), None, "{other}");
    }
    assert!(of("git://example.com/a", &[("git.bundle", "docker-image+blob://h/x")]).is_err());
    let as_bundle = ("git.checkoutbundle", "true");
    let Ok(Source::Git(found)) = of("git://example.com/a", &[as_bundle]) else { panic!() };
    assert!(found.as_bundle && found.bundle.is_none());
    assert!(of("git://example.com/a#v1:sub", &[as_bundle]).is_err());
    assert!(of("git://example.com/a", &[as_bundle, ("git.keepgitdir", "true")]).is_err());
}

#[test]
fn files_behind_urls() {
    let attributes = [
        ("http.checksum", "sha256:a"),
        ("http.filename", "f"),
        ("http.perm", "0755"),
        ("http.uid", "5"),
        ("http.gid", "6"),
        ("http.header.Accept", "text/plain"),
        ("http.header.x-other", "dropped"),
        ("http.authheadersecret", "A"),
        ("http.sig.pubkey", "K"),
        ("http.sig.signature", "S"),
    ];
    let http = Http {
        url: "https://example.com/x?y#z".into(),
        checksum: Some(buildgraph::Checksum("sha256:a".into())),
        name: "f".into(),
        mode: Some(0o755),
        uid: 5,
        gid: 6,
        auth_secret: "A".into(),
        headers: vec![("accept".into(), "text/plain".into())],
        signed: Some(Box::new(Detached { keys: "K".into(), signature: "S".into() })),
    };
    for one in ["http.sig.pubkey", "http.sig.signature"] {
        let error = of("https://example.com/x", &[(one, "x")]).unwrap_err().to_string();
        assert!(error.contains("requires both pubkey and signature"), "{error}");
    }
    assert_eq!(of("https://example.com/x?y#z", &attributes), Ok(Source::Http(http)));
    for value in ["", "x", "-1", "+7", "0x", "99999999999"] {
        assert!(of("https://example.com/x", &[("http.uid", value)]).is_err(), "{value}");
    }
    assert!(of("https://example.com/x", &[("http.sig.pubkey", "k")]).is_err());
    let mut definition = Definition::default();
    let at = definition.source("https://me:secret@example.com/x?token=1");
    let read = definition.read(&at).unwrap();
    assert_eq!(read.top().shown.name, "https://example.com/x", "no password is shown");
}

#[test]
fn layouts_results_and_others() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let id = format!("oci-layout://name/x@{digest}");
    let found = of(&id, &[("oci.store", "one"), ("oci.session", "s")]).unwrap();
    let Source::Layout(layout) = found else { panic!("{found:?}") };
    assert_eq!((layout.store.as_str(), layout.digest.to_string()), ("one", digest));
    assert!(of("oci-layout://name", &[]).is_err());
    assert_eq!(of("dhow-result://b/r", &[]), Ok(Source::Result("own b/r".into())));
    assert_eq!(
        of("dhow-result://missing", &[]).unwrap_err().to_string(),
        "there is no such result"
    );
    for identifier in ["", "x", "docker-image+blob://a", "file:///etc/passwd"] {
        assert!(of(identifier, &[]).is_err(), "{identifier}");
    }
}

#[test]
fn something_else_may_be_put_in_the_place_of_a_source() {
    let op = pb::SourceOp {
        identifier: "docker-image://docker.io/library/a:1".into(),
        ..pb::SourceOp::default()
    };
    let op = pb::Op { op: Some(pb::op::Op::Source(op)), ..pb::Op::default() };
    let op = prost::Message::encode_to_vec(&op);
    let input = pb::Input { digest: oci::Digest::sha256(&op).to_string(), index: 0 };
    let last = pb::Op { inputs: vec![input], ..pb::Op::default() };
    let def = vec![op, prost::Message::encode_to_vec(&last)];
    let definition = pb::Definition { def, ..pb::Definition::default() };
    let mut none = |_: &str| Err("no result".to_owned());
    let read = crate::read_with(&definition, &mut none, &mut |source| {
        source.identifier = source.identifier.replace("a:1", "b:1");
        Ok(())
    });
    let read = read.unwrap().unwrap();
    let buildgraph::Op::Source(Source::Image(image)) = &read.graph.get(read.top).op else {
        panic!("{:?}", read.graph.get(read.top));
    };
    assert_eq!(image.reference, "docker.io/library/b:1");
    let denied = crate::read_with(&definition, &mut none, &mut |_| Err("denied".to_owned()));
    assert!(denied.unwrap_err().to_string().contains("denied"));
}
