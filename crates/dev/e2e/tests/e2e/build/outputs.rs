//! What comes out of a build: trees of several platforms, layers through zstd, notes.

use std::fs;
use std::path::Path;

use oci::image::media_type;
use serde_json::{Value, json};
use testkit::{Sandbox, needs};

use super::{built, context, dhow, tidy};
use crate::busybox;

/// What is in each platform's image has its name, and one file is in all.
const DOCKERFILE: &str = "\
FROM scratch
ARG TARGETARCH
COPY $TARGETARCH /only-$TARGETARCH
COPY $TARGETARCH /deep/er/$TARGETARCH
";
const BOTH: [&str; 2] = ["--platform", "linux/amd64,linux/arm64"];

fn two_platforms(sandbox: &Sandbox) -> std::path::PathBuf {
    let files = [("Dockerfile", DOCKERFILE), ("amd64", "one"), ("arm64", "other")];
    context(sandbox, "platforms", &files)
}

/// The files below a directory, in order.
fn files(sandbox: &Sandbox, dir: &std::path::Path) -> String {
    let find = format!("cd {} && find . -type f | sort | tr '\\n' ' '", dir.display());
    sandbox.sh(&find).success().trim().to_owned()
}

#[test]
fn platforms_have_a_directory_each_or_one_for_all() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-outputs-platforms");
    let dir = two_platforms(&sandbox);
    let out = sandbox.work().join("out");
    let output = |more: &str| format!("type=local,dest={}{more}", out.display());
    let build = |output: &str| built(&sandbox, &dir, &[&BOTH[..], &["-o", output]].concat());

    build(&output(",platform-split=false"));
    let all = "./deep/er/amd64 ./deep/er/arm64 ./only-amd64 ./only-arm64";
    assert_eq!(files(&sandbox, &out), all);

    // What was there goes, and what all platforms have stays.
    fs::write(out.join("stale"), "").unwrap();
    let delete = ["--allow", "buildx.local.delete", "-o"];
    let split = output(",mode=delete");
    built(&sandbox, &dir, &[&BOTH[..], &delete, &[&split]].concat());
    let each = "./linux_amd64/deep/er/amd64 ./linux_amd64/only-amd64 \
                ./linux_arm64/deep/er/arm64 ./linux_arm64/only-arm64";
    assert_eq!(files(&sandbox, &out), each);

    let tar = sandbox.work().join("out.tar");
    build(&format!("type=tar,dest={},platform-split=false", tar.display()));
    let listed = sandbox.sh(&format!("tar tf {} | grep -v '/$' | sort", tar.display())).success();
    assert_eq!(listed, "deep/er/amd64\ndeep/er/arm64\nonly-amd64\nonly-arm64\n");

    // A file of one does not take the place of another's.
    let same = format!("{DOCKERFILE}COPY $TARGETARCH /same\n");
    fs::write(dir.join("Same"), same).unwrap();
    let file = dir.join("Same");
    for kind in ["local", "tar"] {
        let output = format!("type={kind},dest={},platform-split=false", out.join(kind).display());
        let args = [&BOTH[..], &["-f", file.to_str().unwrap(), "-o", &output]].concat();
        let refused = dhow(&sandbox, &dir, &args);
        let why = "cannot overwrite same from linux/amd64 with linux/arm64";
        assert!(refused.code == 1 && refused.stderr.contains(why), "{kind}: {refused:?}");
    }
    tidy(&sandbox);
    sandbox.finish();
}

#[test]
fn an_archive_says_what_is_in_it() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-outputs-archive");
    let dir = two_platforms(&sandbox);
    let tar = sandbox.work().join("out.tar").display().to_string();
    let index = |platforms: &[&str], more: &str| {
        let output = format!("type=oci,dest={tar},{more}");
        built(&sandbox, &dir, &[platforms, &["-o", &output]].concat());
        let text = sandbox.sh(&format!("tar xOf {tar} index.json")).success();
        let index: serde_json::Value = serde_json::from_str(&text).unwrap();
        index["manifests"][0].clone()
    };
    // Docker's types, also of a layer through zstd, for which its schema has no word.
    let entry = index(&[], "oci-mediatypes=false,compression=zstd,force-compression=true");
    assert_eq!(entry["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let digest = entry["digest"].as_str().unwrap().replace(':', "/");
    let manifest = sandbox.sh(&format!("tar xOf {tar} blobs/{digest}")).success();
    assert!(manifest.contains("application/vnd.docker.image.rootfs.diff.tar.zstd"), "{manifest}");
    let names = sandbox.sh(&format!("tar tf {tar}")).success();
    assert!(names.contains("\nblobs/sha256/\n"), "{names}");
    sandbox.ok(&["load", "-i", &tar]);

    // Notes for what names an image, or an index, elsewhere.
    let entry = index(&[], "annotation-manifest-descriptor.a=1");
    assert_eq!(entry["annotations"]["a"], "1");
    let entry = index(&BOTH, "annotation-index-descriptor.b=2");
    assert_eq!(entry["annotations"]["b"], "2");
    let refused = dhow(
        &sandbox,
        &dir,
        &["-o", &format!("type=oci,dest={tar},annotation-index-descriptor.b=2")],
    );
    assert!(refused.stderr.contains("not supported for single platform export"), "{refused:?}");
    // They may name the platform also where there is one alone.
    let here = oci::image::Platform::native().normalized();
    let notes = format!("annotation-manifest[{here}].c=3,annotation-manifest[linux/s390x].d=4");
    built(&sandbox, &dir, &["-o", &format!("type=oci,dest={tar},{notes}")]);
    let text = sandbox.sh(&format!("tar xOf {tar} index.json")).success();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = sandbox.sh(&format!("tar xOf {tar} blobs/{digest}")).success();
    assert!(manifest.contains(r#""c":"3""#) && !manifest.contains(r#""d":"4""#), "{manifest}");
    sandbox.discard();
}

/// What is told of an image without a name is what it is found by, also where it was here with another manifest.
#[test]
fn an_image_without_a_name_is_found_by_its_digest() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-outputs-digest");
    let files = [("Dockerfile", "FROM busybox\nCOPY a /\n"), ("a", "a")];
    let dir = context(&sandbox, "one", &files);
    let told = sandbox.work().join("told.json");
    let file = told.display().to_string();
    let same = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--metadata-file", &file];
    let mut configs = Vec::new();
    for output in ["type=image", "type=image,oci-mediatypes=false"] {
        built(&sandbox, &dir, &[&same[..], &["-o", output]].concat());
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
        configs.push(told["containerimage.config.digest"].clone());
        let digest = told["containerimage.digest"].as_str().unwrap();
        let said = sandbox.ok(&["run", "--rm", digest, "cat", "/a"]);
        assert_eq!(said, "a", "{output}");
    }
    assert_eq!(configs[0], configs[1]);
    tidy(&sandbox);
    sandbox.discard();
}

/// Where a layer is to be had.
const ELSEWHERE: &str = "https://layers.test/base";

/// Has the lowest layer of the image in an archive be one that is to be had elsewhere, and loads it.
fn load_with_foreign(sandbox: &Sandbox, archive: &str) {
    let layout = sandbox.work().join("layout");
    fs::create_dir_all(&layout).unwrap();
    sandbox.sh(&format!("tar xf {archive} -C {}", layout.display())).success();
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let mut index = read(&layout.join("index.json"));
    let entry = &mut index["manifests"][0];
    let mut manifest = read(&blob(entry["digest"].as_str().unwrap()));
    manifest["layers"][0]["mediaType"] = media_type::FOREIGN_GZIP.into();
    manifest["layers"][0]["urls"] = json!([ELSEWHERE]);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = oci::Digest::sha256(&bytes).to_string();
    fs::write(blob(&digest), &bytes).unwrap();
    entry["size"] = bytes.len().into();
    entry["digest"] = digest.into();
    fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    sandbox.sh(&format!("tar cf {archive} -C {} .", layout.display())).success();
    sandbox.ok(&["load", "-i", archive]);
}

/// Layers of the base that are to be had elsewhere stay there, where that is asked for.
#[test]
fn layers_stay_elsewhere() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-outputs-foreign");
    let tar = sandbox.work().join("out.tar").display().to_string();
    let base = [("Dockerfile", "FROM scratch\nCOPY a /base\n"), ("a", "base")];
    let base = context(&sandbox, "base", &base);
    built(&sandbox, &base, &["-o", &format!("type=oci,dest={tar},name=foreign:1")]);
    load_with_foreign(&sandbox, &tar);

    let files = [("Dockerfile", "FROM foreign:1\nCOPY a /\n"), ("a", "a")];
    let dir = context(&sandbox, "on-it", &files);
    let output = |more: &str| format!("type=oci,dest={tar},{more}");
    let layers = |more: &str| -> Value {
        built(&sandbox, &dir, &["-o", &output(more)]);
        let text = sandbox.sh(&format!("tar xOf {tar} index.json")).success();
        let index: Value = serde_json::from_str(&text).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
        let text = sandbox.sh(&format!("tar xOf {tar} blobs/{digest}")).success();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        manifest["layers"].clone()
    };
    let asked = layers("prefer-nondist-layers=true");
    assert_eq!(asked[0]["mediaType"], media_type::FOREIGN_GZIP, "{asked}");
    assert_eq!(asked[0]["urls"], json!([ELSEWHERE]));
    assert_eq!(asked[1]["mediaType"], media_type::LAYER_GZIP);
    assert_eq!(asked[1]["urls"], Value::Null);
    // It is in the archive all the same.
    let digest = asked[0]["digest"].as_str().unwrap().replace(':', "/");
    sandbox.sh(&format!("tar xOf {tar} blobs/{digest}")).success();
    let usual = layers("prefer-nondist-layers=false");
    assert_eq!(usual[0]["mediaType"], media_type::LAYER_GZIP);
    assert_eq!((&usual[0]["urls"], &usual[0]["digest"]), (&Value::Null, &asked[0]["digest"]));
    let docker = layers("prefer-nondist-layers=true,oci-mediatypes=false");
    assert_eq!(docker[0]["mediaType"], media_type::DOCKER_FOREIGN_GZIP);
    assert_eq!(docker[0]["urls"], json!([ELSEWHERE]));
    // What is compressed anew is not what is there.
    let zstd = "prefer-nondist-layers=true,compression=zstd,force-compression=true";
    assert_eq!(layers(zstd)[0]["mediaType"], media_type::LAYER_ZSTD);
    let refused = dhow(&sandbox, &dir, &["-o", &output("prefer-nondist-layers=perhaps")]);
    assert!(refused.code == 1 && refused.stderr.contains("prefer-nondist-layers"), "{refused:?}");
    tidy(&sandbox);
    sandbox.finish();
}
