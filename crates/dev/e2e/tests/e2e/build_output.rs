//! What builds give: the same twice, in one layer, compressed otherwise, from layouts.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::needs;

use crate::build_cache::{Machine, context};
use crate::registry_serve::{HOST, Server};
use crate::{busybox, inspect};

const DOCKERFILE: &str = "\
FROM busybox
ARG SOURCE_DATE_EPOCH
COPY a.txt /
RUN mkdir -p /deep/er && echo x > /deep/er/x && ln -s x /deep/er/y && touch /now
RUN rm /a.txt && ln /now /again
";

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_same_build_twice_is_the_same_bit_by_bit() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("reproducible");
    let mut results = Vec::new();
    for nth in 0..2 {
        let machine = Machine::new(&sandbox, &format!("machine{nth}"));
        // The files of the context are written anew, too.
        let context = context(&sandbox, DOCKERFILE);
        let tar = sandbox.work().join(format!("{nth}.tar"));
        let files = sandbox.work().join(format!("{nth}.files.tar"));
        let iid = sandbox.work().join("iid");
        let oci = format!("type=oci,dest={},rewrite-timestamp=true", tar.display());
        let plain = format!("type=tar,dest={}", files.display());
        let epoch = "SOURCE_DATE_EPOCH=1700000000";
        let more = ["--no-cache", "--build-arg", epoch, "-t", "app", "--iidfile"];
        let local = format!("type=local,dest={}", sandbox.work().join("local").display());
        let outputs = [iid.to_str().unwrap(), "-o", &oci, "-o", &plain, "-o", &local];
        machine.build(&context, &[&more[..], &outputs].concat());
        results.push((fs::read(&tar).unwrap(), fs::read(&files).unwrap(), fs::read(&iid).unwrap()));
        if nth == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
    }
    assert_eq!(results[0].2, results[1].2, "the image's id");
    assert!(results[0].0 == results[1].0, "the archives differ");
    assert!(results[0].1 == results[1].1, "the files differ");
    // Of files in a directory every time is that one, as in BuildKit.
    for name in ["deep/er/x", "deep/er/y", "deep", "now"] {
        let found = fs::symlink_metadata(sandbox.work().join("local").join(name)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&found), 1_700_000_000, "{name}");
    }
    // Nothing is later than it should be, and what is older stays.
    let machine = Machine::new(&sandbox, "reader");
    machine.ok(&["load", "-i", sandbox.work().join("0.tar").to_str().unwrap()]);
    let times =
        machine.ok(&["run", "--rm", "app", "stat", "-c", "%Y", "/deep/er/x", "/now", "/deep"]);
    assert_eq!(times, ["1700000000"; 3].join("\n"));
    let list: Value = serde_json::from_str(&machine.ok(&["inspect", "app"])).unwrap();
    assert_eq!(list[0]["Created"], "2023-11-14T22:13:20Z");
    sandbox.discard();
}

#[test]
fn a_squashed_image_has_one_layer_above_its_base() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("squash");
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, DOCKERFILE);
    machine.build(&context, &["-t", "plain"]);
    machine.build(&context, &["-t", "squashed", "--squash"]);
    machine.build(&context, &["-o", "type=image,name=other,squash=true"]);
    let of = |name: &str| -> Value {
        let list: Value = serde_json::from_str(&machine.ok(&["inspect", name])).unwrap();
        list[0].clone()
    };
    let n_layers = |image: &Value| image["RootFS"]["Layers"].as_array().unwrap().len();
    assert_eq!((n_layers(&of("plain")), n_layers(&of("squashed"))), (4, 2));
    assert_eq!(of("other")["Id"], of("squashed")["Id"]);
    assert_eq!(of("plain")["RootFS"]["Layers"][0], of("squashed")["RootFS"]["Layers"][0]);
    let history = machine.ok(&["history", "--format", "{{.Comment}}", "squashed"]);
    assert!(history.contains("layers as one"), "{history}");
    // The files are the same; of what was removed above the base nothing is left.
    let list = ["run", "--rm"];
    let find = "find / -xdev | sort; cat /deep/er/y; stat -c '%h %a %Y' /now /again /deep";
    let files = |image| machine.ok(&[&list[..], &[image, "sh", "-c", find]].concat());
    assert_eq!(files("plain"), files("squashed"));
    let tar = sandbox.work().join("squashed.tar");
    machine.ok(&["save", "-o", tar.to_str().unwrap(), "squashed"]);
    let bytes = fs::read(&tar).unwrap();
    let held = |what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
    assert!(held(b"deep/er/x") && !held(b".wh."), "what was hidden was above the base");
    // What hides something of the base still does.
    let hiding =
        crate::build_cache::context(&sandbox, "FROM plain\nRUN rm -r /deep\nRUN echo 1 > /one\n");
    machine.build(&hiding, &["-t", "hiding", "--squash"]);
    assert_eq!(
        machine.ok(&["run", "--rm", "hiding", "sh", "-c", "ls /deep 2>/dev/null; cat /one"]),
        "1"
    );
    assert_eq!(n_layers(&of("hiding")), 5);
    sandbox.discard();
}

#[test]
fn images_go_out_compressed_and_come_in_from_layouts() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("layouts");
    let server = Server::start(&sandbox, &[]);
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, DOCKERFILE);
    let work = sandbox.work();
    let layout = work.join("layout");
    fs::create_dir_all(&layout).unwrap();
    for (kind, more, want) in [
        ("gzip", "compression=gzip,force-compression=true", "tar+gzip"),
        ("uncompressed", "compression=uncompressed,force-compression=true", ".tar"),
        ("zstd", "compression=zstd,force-compression=true,compression-level=5", "tar+zstd"),
        ("usual", "name=app:1,force-compression=true", "tar+gzip"),
    ] {
        let tar = work.join(format!("{kind}.tar"));
        let output = format!("type=oci,dest={},{more}", tar.display());
        machine.build(&context, &["-o", &output]);
        let unpack = format!("rm -rf {0}/*; tar xf {1} -C {0}", layout.display(), tar.display());
        assert_eq!(sandbox.sh(&unpack).code, 0);
        let index = json(&layout.join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
        let manifest = json(&layout.join("blobs/sha256").join(digest));
        for layer in manifest["layers"].as_array().unwrap() {
            assert!(layer["mediaType"].as_str().unwrap().ends_with(want), "{kind}: {layer}");
        }
    }
    let refused =
        machine.dhow(&["build", context.to_str().unwrap(), "-o", "type=image,compression=estargz"]);
    assert!(refused.code == 1 && refused.stderr.contains("estargz"), "{refused:?}");

    // The layout is what another machine builds on, without a name of it anywhere.
    let other = Machine::new(&sandbox, "other");
    let on = crate::build_cache::context(&sandbox, "FROM app\nRUN cat /deep/er/y > /read\n");
    let named = format!("app=oci-layout://{}", layout.display());
    other.build(&on, &["-t", "on", "--build-context", &named]);
    assert_eq!(other.ok(&["run", "--rm", "on", "cat", "/read"]), "x");
    let missing =
        format!("app=oci-layout://{}:nothing@sha256:{}", layout.display(), "0".repeat(64));
    let failed = other.dhow(&["build", on.to_str().unwrap(), "--build-context", &missing]);
    assert!(failed.code == 1 && failed.stderr.contains("not found"), "{failed:?}");
    // A layer that was changed is an error, by its digest.
    let third = Machine::new(&sandbox, "third");
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            fs::write(&path, b"x").unwrap();
        }
    }
    let failed = third.dhow(&["build", on.to_str().unwrap(), "--build-context", &named]);
    assert!(failed.code == 1 && failed.stderr.contains("sha256:"), "{failed:?}");

    // Pushed without a name it is known by its digest; notes are in its manifest.
    let context = crate::build_cache::context(&sandbox, DOCKERFILE);
    let metadata = work.join("metadata.json");
    let output = format!("type=image,name={HOST}/app/app,push=true,push-by-digest=true");
    let note =
        ["--annotation", "org.example.note=hi", "--metadata-file", metadata.to_str().unwrap()];
    // Nothing is attested of it: it is no index.
    let plain = ["-o", &output, "--provenance=false"];
    machine.build(&context, &[&plain, &note[..]].concat());
    let digest = json(&metadata)["containerimage.digest"].as_str().unwrap().to_owned();
    let name = format!("{HOST}/app/app@{digest}");
    let raw = sandbox.ok(&["manifest", "inspect", "--insecure", &name]);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["annotations"]["org.example.note"], "hi", "{raw}");
    assert!(sandbox.dhow(&["pull", &format!("{HOST}/app/app")]).code != 0, "it has no tag");
    sandbox.ok(&["pull", "-q", &name]);
    assert_eq!(inspect(&sandbox, &name)["RepoDigests"][0], name.as_str());
    sandbox.ok(&["rmi", "-f", &name]);
    // By its name it goes with gzip, as others send it.
    let named = format!("{HOST}/app/named:1");
    machine.build(&context, &["-t", &named, "--push", "--provenance=false"]);
    let raw = sandbox.ok(&["manifest", "inspect", "--insecure", &format!("{HOST}/app/named:1")]);
    assert!(raw.contains("tar+gzip") || raw.contains("tar.gzip"), "{raw}");
    drop(server);
    sandbox.discard();
}
