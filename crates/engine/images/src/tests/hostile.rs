//! Archives of images that lie.

use super::*;

fn refused(what: &str, files: &[(&str, &str)], want: &str) {
    let home = Home::new(&format!("hostile-{}", what.replace(' ', "-")));
    let error = home.images.load(&mut tar(files).as_slice()).unwrap_err();
    assert!(chain(&error).contains(want), "{what}: {}", chain(&error));
    home.images.sweep().unwrap();
    home.check();
    assert!(home.list(&[]).is_empty(), "{what}");
}

#[test]
fn what_is_no_archive_of_images_is_refused() {
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    refused("nothing", &[("a", "x")], "neither index.json nor manifest.json");
    refused("empty index", &[("index.json", index)], "no image for linux/");
    refused("broken index", &[("index.json", "{")], "read \"index.json\"");
    refused("out", &[("../index.json", index)], "leads out of the archive");
    let names = r#"{"x":{"1":"a"}}"#;
    refused("broken names", &[("repositories", "[1]")], "read \"repositories\"");
    refused("no step", &[("repositories", names)], "no file \"a/json\"");
    let round = [("a/json", r#"{"parent":"a"}"#), ("repositories", names)];
    refused("round", &round, "more than 127 layers");
    refused("broken list", &[("manifest.json", "{}")], "read \"manifest.json\"");
    let list = |config: &str| format!(r#"[{{"Config":"{config}","Layers":["../../etc/passwd"]}}]"#);
    refused("no config", &[("manifest.json", &list("none"))], "no file \"none\"");
    refused("config out", &[("manifest.json", &list("/etc/passwd"))], "no file \"/etc/passwd\"");
    refused("layer out", &[("manifest.json", &list("c")), ("c", "{}")], "no file \"../../etc");
}

#[test]
fn a_digest_that_does_not_match_is_refused() {
    let home = Home::new("digest-maker");
    home.import("x", &tar(&[("a", "hello")]));
    let mut saved = Vec::new();
    home.images.save(&["x"], &mut saved).unwrap();
    let find = |needle: &[u8]| saved.windows(needle.len()).position(|at| at == needle).unwrap();
    for (what, at) in [
        ("layer", find(b"hello")),
        ("config", find(br#""os":"linux""#) + 7),
        (
            "manifest",
            find(br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest"#) + 40,
        ),
    ] {
        let mut changed = saved.clone();
        changed[at] ^= 1;
        let other = Home::new(&format!("digest-{what}"));
        let error = other.images.load(&mut changed.as_slice()).unwrap_err();
        assert!(chain(&error).contains("content has digest"), "{what}: {}", chain(&error));
        other.images.sweep().unwrap();
        other.check();
    }
    // A layer that is what the manifest says, but not what the configuration says.
    let layer = String::from_utf8(tar(&[("a", "x")])).unwrap();
    let config = format!(
        r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::sha256(b"something else")
    );
    let list = r#"[{"Config":"c","Layers":["l"]}]"#;
    refused("diff id", &[("manifest.json", list), ("c", &config), ("l", &layer)], "has digest");
    let list = r#"[{"Config":"c","Layers":[]}]"#;
    refused("count", &[("manifest.json", list), ("c", &config)], "has 1 layers, its manifest 0");
}

#[test]
fn indexes_that_go_in_circles_end() {
    // An index cannot hold its own digest; but it can list the same ones very often.
    let mut inner = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    let mut files = Vec::new();
    for _ in 0..12 {
        let digest = Digest::sha256(inner.as_bytes());
        let one = format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#,
            media_type::INDEX,
            inner.len()
        );
        files.push((format!("blobs/sha256/{}", digest.hex()), inner));
        inner = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            std::iter::repeat_n(one, 20).collect::<Vec<_>>().join(",")
        );
    }
    files.push(("index.json".into(), inner));
    let files: Vec<_> = files.iter().map(|(path, data)| (path.as_str(), data.as_str())).collect();
    refused("deep", &files, "too many indexes");
    refused(
        "shared",
        &files[..4].iter().copied().chain([("index.json", files[4].1)]).collect::<Vec<_>>(),
        "no image for",
    );
}

#[test]
fn an_artifact_without_its_blobs_is_refused() {
    let config = "{}";
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.example","digest":"{}","size":2}},"layers":[]}}"#,
        Digest::sha256(config.as_bytes())
    );
    let digest = Digest::sha256(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{}}}]}}"#,
        media_type::MANIFEST,
        manifest.len()
    );
    let path = format!("blobs/sha256/{}", digest.hex());
    refused("artifact", &[("index.json", &index), (&path, &manifest)], "has no file");
}
