//! Beside the registry that the distribution project makes, where Debian's package is installed:
//! the same requests get the same answers, where the specification does not leave them open.

use std::net::SocketAddr;

use crate::home::{Answer, Home, call, image};
use oci::Digest;
use oci::image::{Index, media_type};
use testkit::{Distribution, needs};

/// What has to be the same of an answer.
#[derive(Debug, PartialEq)]
struct Essence {
    status: u16,
    code: Option<String>,
    content: Option<Vec<u8>>,
    headers: Vec<Option<String>>,
}

fn essence(answer: &Answer) -> Essence {
    let code = serde_json::from_slice::<serde_json::Value>(&answer.body)
        .ok()
        .and_then(|body| body["errors"][0]["code"].as_str().map(str::to_owned));
    let is_content = code.is_none() && matches!(answer.status, 200 | 206);
    let names = ["docker-content-digest", "content-range", "content-length", "content-type"];
    let names =
        names.iter().filter(|name| is_content && !(**name == "content-length" && is_json(answer)));
    let header = |name: &&str| {
        let value = answer.header(name)?;
        Some(value.split(';').next().unwrap_or_default().to_owned())
    };
    let content = is_content.then(|| answer.body.trim_ascii_end().to_vec());
    Essence { status: answer.status, code, content, headers: names.map(header).collect() }
}

/// Lists end with a line break there, and not here.
fn is_json(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"))
}

#[test]
fn the_same_requests_get_the_same_answers() {
    needs!(Registry);
    let theirs = Distribution::start("differential", "");
    let address: SocketAddr = theirs.host().parse().unwrap();
    let home = Home::new("differential");
    let both = [home.address, address];
    let same = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let answers = both.map(|address| call(address, method, path, headers, body));
        let [ours, other] = answers.each_ref().map(essence);
        assert!(ours == other, "{method} {path}: {ours:?}, theirs: {other:?}");
        answers
    };
    // Where an upload goes on differs: each its own.
    let begin = || {
        same("POST", "/v2/me/app/blobs/uploads/", &[], b"").map(|answer| {
            let location = answer.header("location").unwrap();
            location.split_once("/v2/").map(|(_, path)| format!("/v2/{path}")).unwrap()
        })
    };
    let go_on = |method: &str, places: &[String; 2], query: &str, range: &str, body: &[u8]| {
        let headers = [("Content-Range", range)];
        let headers = if range.is_empty() { &[][..] } else { &headers };
        let mut answers = both.iter().zip(places).map(|(address, place)| {
            let separator = if place.contains('?') { '&' } else { '?' };
            call(*address, method, &format!("{place}{separator}{query}"), headers, body)
        });
        let (ours, other) = (answers.next().unwrap(), answers.next().unwrap());
        assert_eq!(ours.status, other.status, "{method} {range}: {} {}", ours.text(), other.text());
        assert_eq!(ours.header("range"), other.header("range"), "{method} {range}");
        [ours, other].map(|answer| {
            let location = answer.header("location").unwrap_or_default();
            location.split_once("/v2/").map(|(_, path)| format!("/v2/{path}")).unwrap_or_default()
        })
    };
    same("GET", "/v2/", &[], b"");
    same("GET", "/v2/me/app/tags/list", &[], b"");
    let manifest = image(&home, "me/app", b"1");
    let read: oci::image::Manifest = serde_json::from_slice(&manifest).unwrap();
    let blobs = [&read.config, &read.layers[0]].map(|blob| {
        let path = format!("/v2/me/app/blobs/{}", blob.digest);
        (blob.digest.clone(), home.get(&path).body)
    });
    for (digest, bytes) in &blobs {
        let places = begin();
        go_on("PUT", &places, &format!("digest={digest}"), "", bytes);
    }
    let (digest, bytes) = &blobs[1];
    let last = bytes.len() - 1;
    let blob = format!("/v2/me/app/blobs/{digest}");
    for (method, range) in [
        ("GET", String::new()),
        ("HEAD", String::new()),
        ("GET", "bytes=0-9".into()),
        ("GET", format!("bytes={last}-")),
        ("GET", "bytes=-5".into()),
    ] {
        let headers = [("Range", range.as_str())];
        same(method, &blob, if range.is_empty() { &[] } else { &headers }, b"");
    }
    let none = Digest::sha256(b"none");
    same("GET", &format!("/v2/me/app/blobs/{none}"), &[], b"");
    same("HEAD", &format!("/v2/me/app/blobs/{none}"), &[], b"");

    let places = begin();
    let places = go_on("PATCH", &places, "", "0-4", b"hello");
    // A chunk out of order it takes, which the specification forbids: that is not compared.
    go_on("GET", &places, "", "", b"");
    let places = go_on("PATCH", &places, "", "5-5", b" ");
    let hello = Digest::sha256(b"hello world");
    go_on("PUT", &places, &format!("digest={hello}"), "", b"world");
    same("GET", &format!("/v2/me/app/blobs/{hello}"), &[], b"");
    let places = begin();
    go_on("PUT", &places, &format!("digest={hello}"), "", b"other");
    let places = begin();
    go_on("DELETE", &places, "", "", b"");
    go_on("GET", &places, "", "", b"");
    let mount = format!("/v2/me/other/blobs/uploads/?mount={hello}&from=me/app");
    let [ours, other] = both.map(|address| call(address, "POST", &mount, &[], b"").status);
    assert_eq!((ours, other), (201, 201));
    same("GET", &format!("/v2/me/other/blobs/{hello}"), &[], b"");

    let kind = [("Content-Type", media_type::MANIFEST)];
    let path = |name: &str| format!("/v2/me/app/manifests/{name}");
    for name in ["1", "2", "latest"] {
        same("PUT", &path(name), &kind, &manifest);
    }
    let digest = Digest::sha256(&manifest).to_string();
    let accept = [("Accept", media_type::MANIFEST)];
    for name in ["1", &digest, "none", &none.to_string()] {
        same("GET", &path(name), &accept, b"");
        same("HEAD", &path(name), &accept, b"");
    }
    let index = serde_json::to_vec(&Index::new(vec![oci::image::Descriptor::of(
        media_type::MANIFEST,
        &manifest,
    )]));
    let index = index.unwrap();
    let kind = [("Content-Type", media_type::INDEX)];
    same("PUT", &path("index"), &kind, &index);
    same("GET", &path("index"), &[("Accept", media_type::INDEX)], b"");
    same("PUT", &path("bad"), &kind, b"{");
    same("PUT", &path(&none.to_string()), &kind, &index);
    // Its tags are in no order.
    let tags = both.map(|address| {
        let mut list = call(address, "GET", "/v2/me/app/tags/list", &[], b"").json();
        let mut tags: Vec<String> = serde_json::from_value(list["tags"].take()).unwrap();
        tags.sort();
        tags
    });
    assert_eq!(tags[0], tags[1]);
    same("GET", "/v2/me/none/tags/list", &[], b"");
    same("DELETE", &path(&digest), &[], b"");
    same("GET", &path(&digest), &accept, b"");
    same("GET", &path("1"), &accept, b"");
    same("DELETE", &path(&digest), &[], b"");
}
