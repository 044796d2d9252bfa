//! Manifests: pushed, read, listed, deleted.

use crate::home::{Home, image};
use oci::Digest;
use oci::image::{Descriptor, Index, Manifest, media_type};
use serde_json::json;

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

#[test]
fn end_3_and_7_to_the_byte() {
    let home = Home::new("manifest");
    let manifest = image(&home, "me/app", b"1");
    let digest = Digest::sha256(&manifest).to_string();
    let put = home.put_manifest("me/app", "1", &manifest);
    assert_eq!(put.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(put.header("location"), Some(format!("/v2/me/app/manifests/{digest}").as_str()));
    assert_eq!(put.header("oci-subject"), None);
    for name in ["1", &digest] {
        let path = format!("/v2/me/app/manifests/{name}");
        let answer = home.get(&path);
        assert_eq!((answer.status, answer.body == manifest), (200, true));
        assert_eq!(answer.header("content-type"), Some(media_type::MANIFEST));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        let head = home.call("HEAD", &path, &[], b"");
        let len = manifest.len().to_string();
        assert_eq!((head.status, head.header("content-length")), (200, Some(len.as_str())));
        let etag = answer.header("etag").unwrap();
        assert_eq!(home.call("GET", &path, &[("If-None-Match", etag)], b"").status, 304);
    }
    assert_eq!(home.names(), ["localhost:5000/me/app:1"]);
    for (name, status) in [("2", 404), (".x", 404), ("sha256:x", 404)] {
        home.refused("GET", &format!("/v2/me/app/manifests/{name}"), status, "MANIFEST_UNKNOWN");
    }
    let other = Digest::sha256(b"other");
    home.refused("GET", &format!("/v2/me/app/manifests/{other}"), 404, "MANIFEST_UNKNOWN");
    home.refused("GET", &format!("/v2/me/none/manifests/{digest}"), 404, "MANIFEST_UNKNOWN");
    home.refused("GET", "/v2/a..b/manifests/1", 400, "NAME_INVALID");
}

#[test]
fn end_7_with_several_tags() {
    let home = Home::new("several-tags");
    let manifest = image(&home, "me/app", b"1");
    let digest = Digest::sha256(&manifest);
    let put = home.put_manifest("me/app", &format!("{digest}?tag=1&tag=1.2&tag=latest"), &manifest);
    assert_eq!(put.header("oci-tag"), Some("1, 1.2, latest"));
    let list = home.get("/v2/me/app/tags/list").json();
    assert_eq!(list["tags"], json!(["1", "1.2", "latest"]));
    let path = |query: &str| format!("/v2/me/app/manifests/{digest}?{query}");
    home.call("PUT", &path("tag=-"), &[], &manifest).is_error(400, "MANIFEST_INVALID");
    let many = "tag=a&".repeat(101);
    home.call("PUT", &path(&many), &[], &manifest).is_error(414, "MANIFEST_INVALID");
}

#[test]
fn what_is_no_manifest_is_refused() {
    let home = Home::new("refused");
    let manifest = image(&home, "me/app", b"1");
    let put = |name: &str, kind: &str, bytes: &[u8]| {
        let path = format!("/v2/me/app/manifests/{name}");
        home.call("PUT", &path, &[("Content-Type", kind)], bytes)
    };
    for bytes in [&b"{}"[..], b"", b"null", b"[]", b"{\"schemaVersion\":2", &manifest[1..]] {
        put("1", media_type::MANIFEST, bytes).is_error(400, "MANIFEST_INVALID");
    }
    for kind in [media_type::INDEX, media_type::DOCKER_MANIFEST, "text/plain"] {
        put("1", kind, &manifest).is_error(400, "MANIFEST_INVALID");
    }
    put("-", media_type::MANIFEST, &manifest).is_error(400, "MANIFEST_INVALID");
    put("sha256:x", media_type::MANIFEST, &manifest).is_error(400, "DIGEST_INVALID");
    let other = Digest::sha256(b"x").to_string();
    put(&other, media_type::MANIFEST, &manifest).is_error(400, "DIGEST_INVALID");
    put("1", media_type::MANIFEST, &vec![b' '; (4 << 20) + 1]).is_error(413, "SIZE_INVALID");
    let mut missing: Manifest = serde_json::from_slice(&manifest).unwrap();
    missing.layers[0].size += 1;
    put("1", "", &serde_json::to_vec(&missing).unwrap()).is_error(400, "SIZE_INVALID");
    missing.layers[0].digest = Digest::sha256(b"missing");
    put("1", "", &serde_json::to_vec(&missing).unwrap()).is_error(404, "MANIFEST_BLOB_UNKNOWN");
    assert!(home.names().is_empty());
    home.refused("GET", "/v2/me/app/manifests/1", 404, "MANIFEST_UNKNOWN");
    // Parameters do not count, and what says nothing is found out.
    let with = format!("{}; charset=utf-8", media_type::MANIFEST);
    assert_eq!(put("1", &with, &manifest).status, 201);
    assert_eq!(put("2", "application/json", &manifest).status, 201);
    let answer = home.get("/v2/me/app/manifests/2");
    assert_eq!(answer.header("content-type"), Some(media_type::MANIFEST));
}

#[test]
fn an_index_of_dockers_stays_one() {
    let home = Home::new("index");
    let manifest = image(&home, "me/app", b"1");
    let child = Digest::sha256(&manifest);
    let mut index = Index::new(vec![Descriptor::of(media_type::MANIFEST, &manifest)]);
    index.media_type = Some(media_type::DOCKER_INDEX.into());
    let index = serde_json::to_vec(&index).unwrap();
    let put = || {
        let kind = [("Content-Type", media_type::DOCKER_INDEX)];
        home.call("PUT", "/v2/me/app/manifests/1", &kind, &index)
    };
    put().is_error(404, "MANIFEST_BLOB_UNKNOWN");
    home.put_manifest("me/app", &child.to_string(), &manifest);
    assert_eq!(put().status, 201);
    let answer = home.get("/v2/me/app/manifests/1");
    assert_eq!(answer.header("content-type"), Some(media_type::DOCKER_INDEX));
    assert_eq!(answer.body, index);
}

#[test]
fn end_12_referrers() {
    let home = Home::new("referrers");
    let manifest = image(&home, "me/app", b"1");
    let subject = Digest::sha256(&manifest);
    let path = format!("/v2/me/app/referrers/{subject}");
    let list = |query: &str| home.get(&format!("{path}{query}"));
    let none = list("");
    assert_eq!(none.header("content-type"), Some(media_type::INDEX));
    assert_eq!(none.json()["manifests"], json!([]));
    assert_eq!(home.get(&format!("/v2/me/none/referrers/{subject}")).status, 200);
    home.refused("GET", "/v2/me/app/referrers/sha256:x", 400, "DIGEST_INVALID");

    let empty = home.push_blob("me/app", b"{}");
    let push = |kind: Option<&str>, n: usize| {
        let config = Descriptor::new(EMPTY, empty.clone(), 2);
        let mut about = Manifest::new(config, Vec::new());
        about.artifact_type = kind.map(str::to_owned);
        about.subject = Some(Box::new(Descriptor::of(media_type::MANIFEST, &manifest)));
        about.annotations.insert("n".into(), n.to_string());
        let about = serde_json::to_vec(&about).unwrap();
        let digest = Digest::sha256(&about).to_string();
        let put = home.put_manifest("me/app", &digest, &about);
        assert_eq!(put.header("oci-subject"), Some(subject.to_string().as_str()));
        digest
    };
    // In either order.
    let first = push(Some("application/x+y"), 0);
    home.put_manifest("me/app", "1", &manifest);
    push(None, 1);
    let both = list("").json();
    assert_eq!(both["mediaType"], media_type::INDEX);
    assert_eq!(both["manifests"][0]["digest"], first);
    assert_eq!(both["manifests"][0]["artifactType"], "application/x+y");
    assert_eq!(both["manifests"][0]["annotations"]["n"], "0");
    assert_eq!(both["manifests"][1]["artifactType"], EMPTY);
    let filtered = list("?artifactType=application/x%2By");
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(list("").header("oci-filters-applied"), None);
    for n in 2..102 {
        push(Some("application/x+y"), n);
    }
    let page = list("?artifactType=application/x%2By");
    let link = page.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    assert_eq!(page.json()["manifests"].as_array().unwrap().len(), 100);
    let rest = home.get(&link);
    assert_eq!(
        (rest.json()["manifests"].as_array().unwrap().len(), rest.header("link")),
        (1, None)
    );
    // What is about another one goes with its deletion.
    assert_eq!(home.call("DELETE", &format!("/v2/me/app/manifests/{first}"), &[], b"").status, 202);
    let left = list("?artifactType=application/x%2By").json();
    assert_eq!(left["manifests"].as_array().unwrap().len(), 100);
}

#[test]
fn end_9_deleted() {
    let home = Home::new("delete");
    let manifest = image(&home, "me/app", b"1");
    let digest = Digest::sha256(&manifest);
    home.put_manifest("me/app", "1", &manifest);
    home.put_manifest("me/app", "2", &manifest);
    let read: Manifest = serde_json::from_slice(&manifest).unwrap();
    let layer = format!("/v2/me/app/blobs/{}", read.layers[0].digest);
    home.refused("DELETE", &layer, 405, "UNSUPPORTED");
    let delete =
        |name: &str| home.call("DELETE", &format!("/v2/me/app/manifests/{name}"), &[], b"");
    assert_eq!(delete("1").status, 202);
    delete("1").is_error(404, "MANIFEST_UNKNOWN");
    assert_eq!(home.get(&format!("/v2/me/app/manifests/{digest}")).status, 200);
    assert_eq!(delete(&digest.to_string()).status, 202);
    delete(&digest.to_string()).is_error(404, "MANIFEST_UNKNOWN");
    home.refused("GET", "/v2/me/app/manifests/2", 404, "MANIFEST_UNKNOWN");
    home.refused("GET", &layer, 404, "BLOB_UNKNOWN");
    assert!(home.names().is_empty());
}

#[test]
fn images_of_other_names_can_be_read() {
    let home = Home::new("others");
    let manifest = image(&home, "me/app", b"1");
    home.put_manifest("me/app", "1", &manifest);
    home.images.tag("localhost:5000/me/app:1", "debian:12").unwrap();
    home.images.tag("localhost:5000/me/app:1", "other:5000/x:12").unwrap();
    for path in [
        "/v2/docker.io/library/debian/manifests/12",
        "/v2/docker.io/debian/manifests/12",
        "/v2/library/debian/manifests/12?ns=docker.io",
        "/v2/x/manifests/12?ns=other:5000",
    ] {
        assert_eq!(home.get(path).body, manifest, "{path}");
    }
    home.refused("GET", "/v2/library/debian/manifests/12", 404, "MANIFEST_UNKNOWN");
    let catalog = home.get("/v2/_catalog").json();
    assert_eq!(catalog["repositories"], json!(["docker.io/library/debian", "me/app"]));
    for (method, path) in [
        ("PUT", "/v2/docker.io/library/debian/manifests/12"),
        ("DELETE", "/v2/docker.io/library/debian/manifests/12"),
        ("POST", "/v2/docker.io/library/debian/blobs/uploads/"),
        ("POST", "/v2/library/debian/blobs/uploads/?ns=docker.io"),
    ] {
        home.refused(method, path, 403, "DENIED");
    }
}
