//! Uploads: at once, in two steps, in chunks, from another repository.

use std::io::Write as _;

use crate::home::{Answer, Home};
use oci::{Algorithm, Digest, Hasher};

const UPLOADS: &str = "/v2/me/app/blobs/uploads/";

/// Begins an upload. Where it goes on.
fn begin(home: &Home) -> String {
    let answer = home.call("POST", UPLOADS, &[], b"");
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-0")));
    let location = answer.header("location").unwrap().to_owned();
    let id = answer.header("docker-upload-uuid").unwrap();
    assert_eq!(location, format!("{UPLOADS}{id}"));
    location
}

fn patch(home: &Home, location: &str, range: &str, bytes: &[u8]) -> Answer {
    home.call("PATCH", location, &[("Content-Range", range)], bytes)
}

fn put(home: &Home, location: &str, digest: &Digest, bytes: &[u8]) -> Answer {
    home.call("PUT", &format!("{location}?digest={digest}"), &[], bytes)
}

fn has(home: &Home, digest: &Digest) -> bool {
    home.get(&format!("/v2/me/app/blobs/{digest}")).status == 200
}

/// Files that are being written.
fn n_files(home: &Home) -> usize {
    std::fs::read_dir(home.root().join("content/ingest")).unwrap().count()
}

#[test]
fn end_4_and_6_at_once_and_in_two_steps() {
    let home = Home::new("monolithic");
    let digest = Digest::sha256(b"hello");
    let location = begin(&home);
    let done = put(&home, &location, &digest, b"hello");
    assert_eq!(done.status, 201);
    assert_eq!(done.header("location"), Some(format!("/v2/me/app/blobs/{digest}").as_str()));
    assert!(has(&home, &digest));
    home.push_blob("me/app", b"");
    // What is not what was announced is gone, and so is the upload.
    let wrong = Digest::sha256(b"wrong");
    let location = begin(&home);
    put(&home, &location, &wrong, b"hello").is_error(400, "DIGEST_INVALID");
    put(&home, &location, &digest, b"hello").is_error(404, "BLOB_UPLOAD_UNKNOWN");
    let once = home.call("POST", &format!("{UPLOADS}?digest={wrong}"), &[], b"hello");
    once.is_error(400, "DIGEST_INVALID");
    assert!(!has(&home, &wrong));
    let location = begin(&home);
    home.refused("PUT", &location, 400, "DIGEST_INVALID");
    for bad in ["sha256:1", "md5:d41d8cd98f00b204e9800998ecf8427e", "../x"] {
        home.refused("PUT", &format!("{location}?digest={bad}"), 400, "DIGEST_INVALID");
        home.refused("POST", &format!("{UPLOADS}?digest={bad}"), 400, "DIGEST_INVALID");
    }
    home.refused("POST", &format!("{UPLOADS}?digest-algorithm=md5"), 400, "DIGEST_INVALID");
    assert_eq!(n_files(&home), 1);
}

#[test]
fn end_5_and_13_in_chunks() {
    let home = Home::new("chunked");
    let digest = Digest::sha256(b"hello world");
    let location = begin(&home);
    let first = patch(&home, &location, "0-4", b"hello");
    assert_eq!((first.status, first.header("range")), (202, Some("0-4")));
    assert_eq!(first.header("location"), Some(location.as_str()));
    assert!(!has(&home, &digest));
    for (range, bytes) in [("0-4", &b"hello"[..]), ("6-10", b"world"), ("4-4", b"o")] {
        let refused = patch(&home, &location, range, bytes);
        refused.is_error(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(refused.header("range"), Some("0-4"));
        assert_eq!(refused.header("location"), Some(location.as_str()));
    }
    let status = home.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-4")));
    patch(&home, &location, "5-7", b" worl").is_error(400, "SIZE_INVALID");
    patch(&home, &location, "x", b"x").is_error(400, "BLOB_UPLOAD_INVALID");
    // Without a range it is what comes next; a range may have its unit.
    assert_eq!(home.call("PATCH", &location, &[], b" ").header("range"), Some("0-5"));
    assert_eq!(patch(&home, &location, "bytes 6-9/*", b"worl").header("range"), Some("0-9"));
    let path = format!("{location}?digest={digest}");
    let out_of_order = home.call("PUT", &path, &[("Content-Range", "5-5")], b"d");
    out_of_order.is_error(416, "BLOB_UPLOAD_INVALID");
    let done = home.call("PUT", &path, &[("Content-Range", "10-10")], b"d");
    assert_eq!(done.status, 201);
    assert!(has(&home, &digest));
    home.refused("GET", &location, 404, "BLOB_UPLOAD_UNKNOWN");
    // All in chunks, and nothing with the last request.
    let location = begin(&home);
    assert_eq!(patch(&home, &location, "0-1", b"ab").status, 202);
    assert_eq!(put(&home, &location, &Digest::sha256(b"ab"), b"").status, 201);
}

#[test]
fn a_line_that_is_cut_is_gone_on_with() {
    let home = Home::new("cut");
    let location = begin(&home);
    let mut stream = home.connect();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Range: 0-99\r\n\
         Content-Length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[1; 40]).unwrap();
    // Some of it has come when the line is cut.
    let came = || home.get(&location).header("range").unwrap().to_owned();
    drop(stream);
    while came() != "0-39" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(patch(&home, &location, "40-99", &[1; 60]).header("range"), Some("0-99"));
    assert_eq!(put(&home, &location, &Digest::sha256(&[1; 100]), b"").status, 201);
}

#[test]
fn end_14_cancelled() {
    let home = Home::new("cancel");
    let location = begin(&home);
    patch(&home, &location, "0-4", b"hello");
    assert_eq!(n_files(&home), 1);
    assert_eq!(home.call("DELETE", &location, &[], b"").status, 204);
    assert_eq!(n_files(&home), 0);
    for method in ["DELETE", "GET", "PATCH"] {
        home.refused(method, &location, 404, "BLOB_UPLOAD_UNKNOWN");
    }
    // Of another repository it is not.
    let location = begin(&home).replace("me/app", "me/other");
    home.refused("GET", &location, 404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn end_11_from_another_repository() {
    let home = Home::new("mount");
    let digest = home.push_blob("me/app", b"hello");
    let path = |from: &str| format!("/v2/me/other/blobs/uploads/?mount={digest}{from}");
    // It is not said from where: then it is an upload like any other.
    assert_eq!(home.call("POST", &path(""), &[], b"").status, 202);
    assert_eq!(home.call("POST", &path("&from=me/none"), &[], b"").status, 202);
    home.refused("POST", &path("&from=../x"), 400, "NAME_INVALID");
    let there = format!("/v2/me/other/blobs/{digest}");
    assert_eq!(home.get(&there).status, 404);
    let mounted = home.call("POST", &path("&from=me/app"), &[], b"");
    assert_eq!((mounted.status, mounted.header("location")), (201, Some(there.as_str())));
    assert_eq!(home.get(&there).text(), "hello");
    assert_eq!(home.call("POST", &path(""), &[], b"").status, 201);
}

#[test]
fn sha512_too() {
    let home = Home::new("sha512");
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"hello");
    let digest = hasher.finish();
    let path = format!("{UPLOADS}?digest-algorithm=sha512");
    let answer = home.call("POST", &path, &[], b"");
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(put(&home, &location, &digest, b"hello").status, 201);
    assert!(has(&home, &digest));
    // One that was not told of beforehand is hashed again.
    let location = begin(&home);
    assert_eq!(put(&home, &location, &digest, b"hello").status, 201);
    let manifest = br#"{"schemaVersion":2,"manifests":[]}"#;
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(manifest);
    let path = format!("/v2/me/app/manifests/{}", hasher.finish());
    assert_eq!(home.call("PUT", &path, &[], manifest).status, 201);
    assert_eq!(home.get(&path).body, manifest);
}

#[test]
fn end_10_deleted() {
    let home = Home::new("delete-blob");
    let digest = home.push_blob("me/app", b"hello");
    let path = format!("/v2/me/app/blobs/{digest}");
    assert_eq!(home.call("DELETE", &path, &[], b"").status, 202);
    home.refused("GET", &path, 404, "BLOB_UNKNOWN");
    home.refused("DELETE", &path, 404, "BLOB_UNKNOWN");
    home.refused("DELETE", "/v2/me/app/blobs/x", 400, "DIGEST_INVALID");
}

#[test]
fn there_is_an_end_to_uploads() {
    let home = Home::new("many");
    for _ in 0..256 {
        begin(&home);
    }
    let refused = home.refused("POST", UPLOADS, 429, "TOOMANYREQUESTS");
    assert!(refused.header("retry-after").is_some());
    let huge = [("Content-Length", "99999999999999")];
    home.call("POST", &format!("{UPLOADS}?digest={}", Digest::sha256(b"")), &huge, b"")
        .is_error(413, "SIZE_INVALID");
}
