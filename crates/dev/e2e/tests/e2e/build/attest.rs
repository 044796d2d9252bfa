//! What is attested of builds, as Buildx asks for it and reads it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::needs;

use super::{Docker, context, registry, tidy};
use crate::busybox;

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn buildx_reads_what_it_asked_for() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("buildx-attest");
    let server = registry(&sandbox);
    let docker = Docker::start(&sandbox);
    let dockerfile = "FROM busybox\nARG WHAT=that\nRUN echo $WHAT > /x\n\
        RUN mkdir -p /lib/apk/db && printf 'P:musl\\nV:1.2.5\\n' > /lib/apk/db/installed\n";
    let dir = context(&sandbox, "attested", &[("Dockerfile", dockerfile)]);
    let login = "login -u user --password-stdin localhost:5000";
    let host = docker.daemon.socket();
    let script = format!("echo secret | docker-client -H unix://{host} {login}");
    sandbox.sh(&script).success();
    let name = |tag: &str| format!("localhost:5000/me/app:{tag}");
    let build = |tag: &str, more: &[&str]| {
        let usual = ["buildx", "build", "--build-arg", "WHAT=this", "--push", "-t", tag];
        docker.ok(&dir, &[&usual[..], more, &["."]].concat())
    };
    let look = |tag: &str, what: &str| -> Value {
        let format = format!("{{{{json {what}}}}}");
        let said =
            docker.ok(&dir, &["buildx", "imagetools", "inspect", &name(tag), "--format", &format]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };

    build(&name("max"), &["--provenance", "mode=max,version=v1"]);
    let says = look("max", ".Provenance.SLSA");
    let request = &says["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:WHAT"], "this", "{says}");
    let steps = &says["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
    assert!(steps.as_array().is_some_and(|steps| steps.len() >= 2), "{says}");
    let index = look("max", ".Manifest");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index}");

    build(&name("min"), &["--attest", "type=provenance,mode=min,version=v0.2"]);
    let says = look("min", ".Provenance.SLSA");
    assert_eq!(says["buildType"], "https://mobyproject.org/buildkit@v1", "{says}");
    assert_eq!(says["buildConfig"], Value::Null, "{says}");

    // Unasked, it is the least of it; and none where none is wanted.
    build(&name("usual"), &[]);
    let says = look("usual", ".Provenance.SLSA");
    assert!(says["runDetails"]["metadata"]["invocationId"].is_string(), "{says}");
    build(&name("none"), &["--provenance=false"]);
    assert_eq!(look("none", ".Manifest")["manifests"], Value::Null);

    build(&name("bill"), &["--sbom=true"]);
    let bill = look("bill", ".SBOM.SPDX");
    assert_eq!(bill["spdxVersion"], "SPDX-2.3", "{bill}");
    assert_eq!(bill["packages"][1]["name"], "musl", "{bill}");

    // Among files.
    let out = ["buildx", "build", "-o", "../out", "--provenance", "mode=max", "."];
    docker.ok(&dir, &out);
    let statement = json_of(&sandbox.work().join("out/provenance.json"));
    let subjects = statement["subject"].as_array().unwrap();
    assert!(subjects.iter().any(|one| one["name"] == "x"), "{statement}");

    // What stays here has none, but the history of builds knows where it came from.
    let told = sandbox.work().join("told.json");
    let plain = ["buildx", "build", "--metadata-file", told.to_str().unwrap(), "-t", "plain", "."];
    docker.ok(&dir, &plain);
    assert!(!sandbox.ok(&["image", "ls", "--tree"]).contains("attestation of"));
    let says = &json_of(&told)["buildx.build.provenance"];
    assert_eq!(says["buildType"], "https://mobyproject.org/buildkit@v1", "{says}");
    let materials = says["materials"].as_array().unwrap();
    assert!(materials.iter().any(|one| one["uri"].as_str().unwrap().contains("busybox")), "{says}");
    let inspected = docker.ok(&dir, &["buildx", "history", "inspect", "--format", "json"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert!(inspected["Materials"].to_string().contains("busybox"), "{inspected}");
    let attachment = ["buildx", "history", "inspect", "attachment", "--type", "provenance"];
    let attached: Value = serde_json::from_str(&docker.ok(&dir, &attachment)).unwrap();
    let definition = &attached["buildDefinition"]["internalParameters"]["buildConfig"];
    assert!(definition["llbDefinition"].is_array(), "{attached}");

    docker.ok(&dir, &["pull", "-q", &name("max")]);
    assert_eq!(docker.ok(&dir, &["run", "--rm", &name("max"), "cat", "/x"]), "this");
    drop(docker);
    tidy(&sandbox);
    drop(server);
    sandbox.finish();
}
