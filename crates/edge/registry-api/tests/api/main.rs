//! The registry over a socket: every endpoint and every error of the distribution specification,
//! with requests written by hand, and with this project's own client.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod client;
mod differential;
mod home;
mod manifests;
mod uploads;

use home::{Home, image};
use oci::Digest;

#[test]
fn end_1_what_it_is() {
    let home = Home::new("base");
    for path in ["/v2/", "/v2"] {
        let answer = home.get(path);
        assert_eq!((answer.status, answer.text()), (200, "{}".into()));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    }
    home.refused("GET", "/", 404, "NAME_UNKNOWN");
    home.refused("GET", "/v2/x", 404, "NAME_UNKNOWN");
    home.refused("GET", "/v2/%ff/tags/list", 400, "NAME_INVALID");
    let answer = home.refused("POST", "/v2/", 405, "UNSUPPORTED");
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    home.refused("PATCH", "/v2/a/blobs/uploads/", 405, "UNSUPPORTED");
}

#[test]
fn end_2_blobs_and_ranges() {
    let home = Home::new("blobs");
    let blob: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = home.push_blob("me/app", &blob);
    let path = format!("/v2/me/app/blobs/{digest}");
    let answer = home.get(&path);
    assert_eq!((answer.status, answer.body == blob), (200, true));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    let etag = answer.header("etag").unwrap().to_owned();
    let head = home.call("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("700000")));
    assert!(head.body.is_empty());
    let escaped = home.get(&path.replace(':', "%3A"));
    assert_eq!(escaped.status, 200);

    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=699999-", 699_999, 700_000),
        ("bytes=300000-599999", 300_000, 600_000),
        ("bytes=-10", 699_990, 700_000),
    ] {
        let answer = home.call("GET", &path, &[("Range", range)], b"");
        assert_eq!((answer.status, answer.body == blob[from..to]), (206, true), "{range}");
        let want = format!("bytes {from}-{}/700000", to - 1);
        assert_eq!(answer.header("content-range"), Some(want.as_str()));
    }
    let answer = home.call("GET", &path, &[("Range", "bytes=700000-")], b"");
    assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */700000")));
    let old = [("Range", "bytes=1-"), ("If-Range", "\"other\"")];
    assert_eq!(home.call("GET", &path, &old, b"").status, 200);
    assert_eq!(home.call("GET", &path, &[("If-None-Match", &etag)], b"").status, 304);

    let other = Digest::sha256(b"other");
    home.refused("GET", &format!("/v2/me/app/blobs/{other}"), 404, "BLOB_UNKNOWN");
    home.refused("GET", &format!("/v2/me/other/blobs/{digest}"), 404, "BLOB_UNKNOWN");
    home.refused("GET", "/v2/me/app/blobs/sha256:x", 400, "DIGEST_INVALID");
    home.refused("GET", "/v2/me/app/blobs/md5:00", 400, "DIGEST_INVALID");
    home.refused("GET", &format!("/v2/Me/app/blobs/{digest}"), 400, "NAME_INVALID");
    let head = home.call("HEAD", &format!("/v2/me/app/blobs/{other}"), &[], b"");
    assert_eq!((head.status, head.body.len()), (404, 0));
}

#[test]
fn a_blob_that_rots_is_not_sent_whole() {
    let home = Home::new("rotten");
    let digest = home.push_blob("me/app", &vec![7; 600_000]);
    let file = home.root().join("content/blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1000] = 8;
    std::fs::write(&file, bytes).unwrap();
    let answer = home.get(&format!("/v2/me/app/blobs/{digest}"));
    assert!(answer.status == 200 && answer.body.len() < 600_000, "{}", answer.body.len());
}

#[test]
fn end_8_tags_by_pages() {
    let home = Home::new("tags");
    let one = image(&home, "me/app", b"1");
    for tag in ["b", "a", "C", "a.1"] {
        home.put_manifest("me/app", tag, &one);
    }
    let list = home.get("/v2/me/app/tags/list").json();
    assert_eq!(list, serde_json::json!({ "name": "me/app", "tags": ["C", "a", "a.1", "b"] }));
    let first = home.get("/v2/me/app/tags/list?n=3");
    assert_eq!(first.json()["tags"], serde_json::json!(["C", "a", "a.1"]));
    let link = first.header("link").unwrap().to_owned();
    assert_eq!(link, "</v2/me/app/tags/list?n=3&last=a.1>; rel=\"next\"");
    let rest = home.get(link.split(['<', '>']).nth(1).unwrap());
    assert_eq!((rest.json()["tags"][0].as_str(), rest.header("link")), (Some("b"), None));
    let none = home.get("/v2/me/app/tags/list?n=0");
    assert_eq!((none.json()["tags"].as_array().unwrap().len(), none.header("link")), (0, None));
    home.refused("GET", "/v2/me/app/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID");
    home.refused("GET", "/v2/me/other/tags/list", 404, "NAME_UNKNOWN");

    image(&home, "another", b"1");
    home.put_manifest("another", "1", &one);
    let catalog = home.get("/v2/_catalog?n=1");
    assert_eq!(catalog.json(), serde_json::json!({ "repositories": ["another"] }));
    assert_eq!(catalog.header("link"), Some("</v2/_catalog?n=1&last=another>; rel=\"next\""));
}
