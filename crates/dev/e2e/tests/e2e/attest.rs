//! What is attested of results: provenance and bills of materials, beside images and among files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Sandbox, needs};

use crate::build_cache::{Machine, context};
use crate::busybox;
use crate::registry_serve::{HOST, Server};

const DOCKERFILE: &str = "\
FROM busybox
ARG WHAT
ARG API_TOKEN
ENV HELD=$API_TOKEN
COPY a.txt /
RUN --mount=type=secret,id=word test \"$(wc -c < /run/secrets/word)\" = 11
";
/// What is not to be told: a secret, an argument that is one by its name, who asks a proxy.
const NOT_TOLD: [&str; 3] = ["open-sesame", "correct-horse", "let-me-in"];

fn json_of(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_slice(&bytes).unwrap()
}

/// An image in an archive, unpacked.
pub(crate) struct Layout(PathBuf);

impl Layout {
    pub(crate) fn unpack(sandbox: &Sandbox, archive: &Path) -> Self {
        let dir = archive.with_extension("d");
        fs::create_dir_all(&dir).unwrap();
        let unpack = format!("tar xf {} -C {}", archive.display(), dir.display());
        assert_eq!(sandbox.sh(&unpack).code, 0);
        Self(dir)
    }

    pub(crate) fn root(&self) -> Value {
        json_of(&self.0.join("index.json"))["manifests"][0].clone()
    }

    pub(crate) fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().unwrap().replace("sha256:", "");
        let path = self.0.join("blobs/sha256").join(digest);
        assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
        json_of(&path)
    }

    /// The manifests of statements, each with its statements by their kinds, looked through: they are as
    /// BuildKit stores them, about manifests of the same index.
    pub(crate) fn attested(&self) -> Vec<(Value, Vec<(String, Value)>)> {
        let index = self.blob(&self.root());
        let all = index["manifests"].as_array().unwrap();
        let is_about = |one: &&Value| {
            one["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
        };
        let about = all.iter().filter(is_about).map(|entry| {
            let of = &entry["annotations"]["vnd.docker.reference.digest"];
            let target = all.iter().find(|one| one["digest"] == *of).unwrap();
            assert_eq!(entry["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
            let manifest = self.blob(entry);
            let layers = manifest["layers"].as_array().unwrap();
            let statements = layers.iter().map(|layer| {
                assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
                let (kind, says) =
                    (&layer["annotations"]["in-toto.io/predicate-type"], self.blob(layer));
                assert_eq!(says["_type"], "https://in-toto.io/Statement/v1");
                assert_eq!(says["predicateType"], *kind);
                for subject in says["subject"].as_array().unwrap() {
                    let digest = subject["digest"]["sha256"].as_str().unwrap();
                    assert_eq!(*of, format!("sha256:{digest}"));
                }
                (kind.as_str().unwrap().to_owned(), says)
            });
            let statements = statements.collect();
            (json!({ "manifest": manifest, "target": target }), statements)
        });
        about.collect()
    }
}

/// `dhow build` with what the Dockerfile wants.
fn build(machine: &Machine, sandbox: &Sandbox, context: &Path, more: &[&str]) -> String {
    let word = sandbox.work().join("word");
    fs::write(&word, NOT_TOLD[0]).unwrap();
    let secret = format!("id=word,src={}", word.display());
    let token = format!("API_TOKEN={}", NOT_TOLD[1]);
    let proxy = format!("HTTPS_PROXY=http://me:{}@localhost:1", NOT_TOLD[2]);
    let usual = ["--secret", &secret, "--build-arg", "WHAT=this", "--build-arg", &token];
    let usual = [&usual[..], &["--build-arg", &proxy]].concat();
    machine.build(context, &[&usual, more].concat())
}

fn tells_no_secret(said: &Value) {
    let text = said.to_string();
    for word in NOT_TOLD {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn an_image_comes_with_its_provenance() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("provenance");
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, DOCKERFILE);
    let work = sandbox.work();
    let (tar, told) = (work.join("image.tar"), work.join("told.json"));
    let output = format!("type=oci,dest={},name=app:1", tar.display());
    let provenance = "--provenance=mode=max,builder-id=https://us,reproducible=true";
    let most = ["-o", &output, "--metadata-file", told.to_str().unwrap()];
    build(&machine, &sandbox, &context, &[&most[..], &[provenance]].concat());

    let layout = Layout::unpack(&sandbox, &tar);
    let [(about, statements)] = &layout.attested()[..] else { panic!("{:?}", layout.root()) };
    let manifest = &about["manifest"];
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(manifest["subject"]["digest"], about["target"]["digest"]);
    let [(kind, statement)] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!(kind, "https://slsa.dev/provenance/v1");
    let platform = format!("linux%2F{}", oci_architecture(&about["target"]));
    let name = format!("pkg:docker/app@1?platform={platform}");
    assert_eq!(statement["subject"][0]["name"], name);
    let says = &statement["predicate"];
    tells_no_secret(says);
    // What was made of the base and of two steps is named; the archives are those of the image.
    let mut says = says.clone();
    let details = says.pointer_mut("/runDetails/metadata/buildkit_metadata").unwrap();
    let layers = details.as_object_mut().unwrap().remove("layers").unwrap();
    let mut n_layers: Vec<usize> =
        layers.as_object().unwrap().values().map(|all| all[0].as_array().unwrap().len()).collect();
    n_layers.sort_unstable();
    let image = layout.blob(&about["target"]);
    assert_eq!(n_layers.last(), Some(&image["layers"].as_array().unwrap().len()));
    assert_eq!((n_layers.len(), n_layers[0]), (3, 1), "{layers}");
    assert_eq!(layers["step0:0"][0][0]["digest"], image["layers"][0]["digest"], "{layers}");
    let says = &says;
    assert_eq!(json_of(&told)["buildx.build.provenance"], *says);

    let definition = &says["buildDefinition"];
    assert!(definition["buildType"].as_str().unwrap().contains("slsa-definitions"), "{says}");
    assert_eq!(definition["externalParameters"]["configSource"]["path"], "Dockerfile");
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["frontend"], "dockerfile.v0");
    assert_eq!(request["args"]["build-arg:WHAT"], "this", "{says}");
    assert_eq!(request["args"]["build-arg:API_TOKEN"], Value::Null, "{says}");
    assert_eq!(request["secrets"], json!([{ "id": "word", "optional": true }]), "{says}");
    assert_eq!(request["locals"], json!([{ "name": "context" }, { "name": "dockerfile" }]));
    let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
    let steps = steps.as_array().unwrap();
    assert!(steps.len() >= 4, "{says}");
    let program = steps.iter().find(|step| step["op"]["Op"]["exec"].is_object()).unwrap();
    let env = program["op"]["Op"]["exec"]["meta"]["env"].as_array().unwrap();
    assert!(
        env.contains(&"WHAT=this".into()) && env.contains(&"API_TOKEN=xxxxx".into()),
        "{env:?}"
    );
    assert!(program["inputs"].as_array().is_some_and(|inputs| !inputs.is_empty()), "{program}");
    let base = &definition["resolvedDependencies"][0];
    assert!(base["uri"].as_str().unwrap().starts_with("pkg:docker/busybox@latest"), "{says}");
    let details = &says["runDetails"];
    assert_eq!(details["builder"]["id"], "https://us");
    let metadata = &details["metadata"];
    assert!(metadata["startedOn"].as_str() <= metadata["finishedOn"].as_str(), "{metadata}");
    assert!(metadata["invocationId"].as_str().is_some_and(|id| !id.is_empty()), "{metadata}");
    assert_eq!(metadata["buildkit_reproducible"], true);
    // A secret one is missing from the arguments; a directory is of nobody knows where.
    let complete = json!({ "request": false, "resolvedDependencies": false });
    assert_eq!(metadata["buildkit_completeness"], complete);
    let source = &metadata["buildkit_metadata"]["source"];
    assert_eq!(source["infos"][0]["filename"], "Dockerfile");
    assert!(source["locations"].as_object().is_some_and(|all| all.len() >= 2), "{source}");

    // The least of it, in the older version, and stored in the older form.
    let output = format!("{output},oci-artifact=false");
    let least = ["-o", &output, "--attest", "type=provenance,mode=min,version=v0.2"];
    build(&machine, &sandbox, &context, &least);
    let layout = Layout::unpack(&sandbox, &tar);
    let [(about, statements)] = &layout.attested()[..] else { panic!("{:?}", layout.root()) };
    assert_eq!(about["manifest"]["artifactType"], Value::Null);
    let config = layout.blob(&about["manifest"]["config"]);
    assert_eq!(config["rootfs"]["diff_ids"][0], about["manifest"]["layers"][0]["digest"]);
    let [(kind, statement)] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!(kind, "https://slsa.dev/provenance/v0.2");
    let says = &statement["predicate"];
    assert_eq!(says["buildType"], "https://mobyproject.org/buildkit@v1");
    assert_eq!(says["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    let parameters = &says["invocation"]["parameters"];
    assert_eq!((&parameters["secrets"], &parameters["args"]), (&Value::Null, &Value::Null));
    assert_eq!(says["buildConfig"], Value::Null, "{says}");
    assert_eq!(says["metadata"]["completeness"]["parameters"], false);
    tells_no_secret(says);

    // What is not complete is not made where it is to be.
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY a.txt /\n").unwrap();
    let whole = ["--provenance=complete-materials=true"];
    let refused = machine.dhow(&[&["build", context.to_str().unwrap()], &whole[..]].concat());
    assert!(refused.code == 1 && refused.stderr.contains("\"context\""), "{refused:?}");
    sandbox.discard();
}

fn oci_architecture(descriptor: &Value) -> &str {
    descriptor["platform"]["architecture"].as_str().unwrap()
}

#[test]
fn provenance_of_two_platforms_and_of_the_same_image_twice() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("provenance-platforms");
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, "FROM scratch\nARG TARGETARCH\nCOPY a.txt /$TARGETARCH\n");
    let work = sandbox.work();
    let mut targets = Vec::new();
    for nth in 0..2 {
        let (tar, told) = (work.join(format!("{nth}.tar")), work.join("told.json"));
        let output = format!("type=oci,dest={},rewrite-timestamp=true", tar.display());
        let platforms = ["--platform", "linux/amd64,linux/arm64", "--no-cache"];
        let more = ["-o", &output, "--provenance=true", "--metadata-file"];
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
        let more = [&platforms[..], &more, &[told.to_str().unwrap()], &epoch].concat();
        machine.build(&context, &more);
        let layout = Layout::unpack(&sandbox, &tar);
        let attested = layout.attested();
        assert_eq!(attested.len(), 2, "{:?}", layout.blob(&layout.root()));
        let told = json_of(&told);
        let mut images = Vec::new();
        for (about, statements) in attested {
            let platform = format!("linux/{}", oci_architecture(&about["target"]));
            let says = &statements[0].1["predicate"];
            let same = &told[format!("buildx.build.provenance/{platform}")];
            assert_eq!(same["runDetails"]["builder"], says["runDetails"]["builder"]);
            assert_eq!(same["buildDefinition"], says["buildDefinition"]);
            images.push(about["target"].clone());
        }
        targets.push(images);
    }
    // The statements have times; what they are about has none.
    assert_eq!(targets[0], targets[1]);
    sandbox.discard();
}

#[test]
fn provenance_lies_among_files_and_goes_to_registries_unasked() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("provenance-files");
    let server = Server::start(&sandbox, &[]);
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, "FROM scratch\nCOPY a.txt /deep/a.txt\n");
    let work = sandbox.work();
    let (dir, tar) = (work.join("files"), work.join("files.tar"));
    let local = format!("type=local,dest={},attestation-prefix=of-", dir.display());
    let archive = format!("type=tar,dest={}", tar.display());
    machine.build(&context, &["-o", &local, "-o", &archive, "--provenance=mode=min"]);
    let statement = json_of(&dir.join("of-provenance.json"));
    assert_eq!(statement["subject"][0]["name"], "deep/a.txt");
    // The digest of `a`.
    let digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert!(!statement["predicate"]["runDetails"].is_null());
    let unpacked = work.join("unpacked");
    fs::create_dir_all(&unpacked).unwrap();
    let unpack = format!("tar xf {} -C {}", tar.display(), unpacked.display());
    assert_eq!(sandbox.sh(&unpack).code, 0);
    let same = json_of(&unpacked.join("provenance.json"));
    assert_eq!(same["subject"], statement["subject"]);
    assert!(unpacked.join("deep/a.txt").exists());
    let platforms = ["--platform", "linux/amd64,linux/arm64", "--provenance=mode=min"];
    let split = format!("type=local,dest={}", work.join("split").display());
    machine.build(&context, &[&platforms[..], &["-o", &split]].concat());
    for platform in ["linux_amd64", "linux_arm64"] {
        let statement = json_of(&work.join("split").join(platform).join("provenance.json"));
        assert_eq!(statement["subject"][0]["name"], "deep/a.txt");
    }

    // Unasked there is none of what stays here, and the least of what is pushed.
    let name = format!("{HOST}/me/app:1");
    machine.build(&context, &["-t", "plain"]);
    assert!(!machine.ok(&["image", "ls", "--tree"]).contains("attestation of"));
    machine.build(&context, &["-t", &name, "--push", "--provenance=false"]);
    let there = || server.ok(&["manifest", "inspect", "--insecure", &name]);
    assert!(!there().contains("attestation-manifest"), "{}", there());
    machine.build(&context, &["-t", &name, "--push"]);
    assert!(there().contains("attestation-manifest"), "{}", there());
    // It comes back as any other image.
    let other = Machine::new(&sandbox, "other");
    other.ok(&["pull", &name]);
    assert!(other.ok(&["image", "ls", "--tree"]).contains("me/app"));
    drop(server);
    sandbox.discard();
}

const SCANNED: &str = "\
FROM busybox AS build
ARG BUILDKIT_SBOM_SCAN_STAGE=true
COPY app /app
RUN touch /x
FROM busybox AS left-out
COPY app /left
FROM busybox
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
COPY root /
COPY --from=build /x /x
RUN mkdir -p /usr/lib/apk/db && ln -s /not-followed /usr/lib/apk/db/installed
";

/// The package URLs that a bill names, without what holds them all.
fn urls(bill: &Value) -> Vec<String> {
    let packages = bill["packages"].as_array().unwrap();
    let url = |one: &Value| one["externalRefs"][0]["referenceLocator"].as_str().map(str::to_owned);
    packages.iter().filter_map(url).collect()
}

#[test]
fn results_come_with_bills_of_materials() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("sbom");
    let machine = Machine::new(&sandbox, "machine");
    let context = context(&sandbox, SCANNED);
    for (path, text) in [
        (
            "root/var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\n",
        ),
        ("root/usr/lib/os-release", "ID=debian\nVERSION_ID=13\n"),
        ("root/not-followed", "P:no\nV:1\n"),
        ("app/node_modules/express/package.json", r#"{"name":"express","version":"5.1.0"}"#),
        ("Cargo.lock", "[[package]]\nname = \"serde\"\nversion = \"1.0.219\"\n"),
    ] {
        let path = context.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let work = sandbox.work();
    let (tar, dir) = (work.join("image.tar"), work.join("files"));
    let image = format!("type=oci,dest={}", tar.display());
    let files = format!("type=local,dest={}", dir.display());
    let more = ["-o", &image, "-o", &files, "--provenance=true", "--sbom=true"];
    machine
        .build(&context, &[&more[..], &["--build-arg", "SOURCE_DATE_EPOCH=1700000000"]].concat());
    let layout = Layout::unpack(&sandbox, &tar);
    let [(_, statements)] = &layout.attested()[..] else { panic!("{:?}", layout.root()) };
    let bills: Vec<&Value> = statements
        .iter()
        .filter(|(kind, _)| kind == "https://spdx.dev/Document")
        .map(|(_, says)| &says["predicate"])
        .collect();
    assert_eq!((bills.len(), statements.len()), (3, 4), "{statements:?}");
    let libc = "pkg:deb/debian/libc6@2.41-12?distro=debian-13";
    for (bill, name, want) in [
        (bills[0], "sbom", vec![libc]),
        (bills[1], "sbom-context", vec!["pkg:npm/express@5.1.0", "pkg:cargo/serde@1.0.219"]),
        (bills[2], "sbom-build", vec!["pkg:npm/express@5.1.0"]),
    ] {
        assert_eq!(
            (&bill["name"], urls(bill)),
            (&name.into(), want.iter().map(ToString::to_string).collect())
        );
        assert_eq!(bill["spdxVersion"], "SPDX-2.3");
        assert_eq!(bill["creationInfo"]["created"], "2023-11-14T22:13:20Z");
        let among = json_of(&dir.join(format!("{name}.spdx.json")));
        assert_eq!(among["predicate"], *bill);
        assert!(among["subject"].as_array().unwrap().iter().any(|one| one["name"] == "x"));
    }
    assert!(dir.join("provenance.json").exists());

    sandbox.discard();
}

/// A generator, which looks at what it is given, tries to write to it, and says what it saw.
const GENERATOR: &str = r#"
set -e
cd "$BUILDKIT_SCAN_SOURCE"
test "$(ls /run/src/extras)" = "$(printf 'sbom-build\nsbom-context')"
touch x /run/src/extras/sbom-build/x && exit 3
test "$LEVEL$BUILDKIT_SCAN_LEVEL" = 7
said="$(cat ./var/lib/dpkg/status | head -1)"
test "$said" || exit 4
echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document",
"predicate":{"name":"'$said'"}}' > "$BUILDKIT_SCAN_DESTINATION/own.spdx.json"
"#;

#[test]
fn bills_are_written_by_an_image_where_one_is_named() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("sbom-generator");
    let machine = Machine::new(&sandbox, "machine");
    let scanner =
        context(&sandbox, "FROM busybox\nCOPY scan /\nENTRYPOINT [\"sh\"]\nCMD [\"/scan\"]\n");
    fs::write(scanner.join("scan"), GENERATOR).unwrap();
    machine.build(&scanner, &["-t", "scan"]);
    let context = context(&sandbox, SCANNED);
    for (path, text) in [
        ("root/var/lib/dpkg/status", "seen\n"),
        ("root/usr/lib/os-release", "ID=debian\n"),
        ("root/not-followed", "x"),
        ("app/node_modules/express/package.json", "{}"),
        ("Cargo.lock", ""),
    ] {
        let path = context.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let dir = sandbox.work().join("files");
    let files = format!("type=local,dest={}", dir.display());
    let how = "--attest=type=sbom,generator=scan,LEVEL=7";
    let said = machine.build(&context, &["-o", &files, how]);
    assert!(said.contains("generating sbom using scan"), "{said}");
    assert_eq!(json_of(&dir.join("own.spdx.json"))["predicate"]["name"], "seen");
    assert!(!dir.join("sbom.spdx.json").exists(), "one of the two writes them");
    // In an image, too; one that fails, or is not there, is named.
    let tar = sandbox.work().join("image.tar");
    machine.build(&context, &["-o", &format!("type=oci,dest={}", tar.display()), how]);
    let layout = Layout::unpack(&sandbox, &tar);
    let [(_, statements)] = &layout.attested()[..] else { panic!("{:?}", layout.root()) };
    assert!(statements.iter().any(|(_, says)| says["predicate"]["name"] == "seen"));
    for (how, why) in [
        ("--attest=type=sbom,generator=scan,LEVEL=8", "the SBOM generator scan"),
        ("--sbom=generator=localhost:1/me/scan:1", "localhost:1/me/scan:1"),
    ] {
        let failed = machine.dhow(&["build", context.to_str().unwrap(), how, "-o", &files]);
        assert!(failed.code != 0 && failed.stderr.contains(why), "{failed:?}");
    }
    sandbox.discard();
}
