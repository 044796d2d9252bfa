//! Makes the image `hello`: compiles its program, and puts it into an OCI image layout, as one
//! archive that the binary carries. The same source and compiler give the same bytes. And has the linker
//! put together what is executed together.

#[path = "../order.rs"]
mod order;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use oci::digest::Digest;
use serde_json::{Value, json};
use tarstream::{Entry, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=hello/main.rs");
    println!("cargo::rerun-if-changed=build.rs");
    order::tell_linker()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let program = compile(&out)?;
    fs::write(out.join("hello.oci.tar"), layout(&program)?)?;
    Ok(())
}

/// A static program for the machine that dhow itself is built for.
fn compile(out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let program = out.join("hello");
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .args(["--edition", "2024", "--crate-name", "hello", "hello/main.rs"])
        .args(["--target", &env::var("TARGET")?])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "lto=fat"])
        .args(["-C", "codegen-units=1", "-C", "target-feature=+crt-static"])
        .args(["-C", "relocation-model=static", "-o"])
        .arg(&program);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("{rustc:?}: {status}").into());
    }
    Ok(fs::read(program)?)
}

/// `oci-layout`, `index.json` and the blobs (image-spec, "Image Layout Specification").
fn layout(program: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let layer = archive(&[("hello", 0o755, program)])?;
    let layer_digest = Digest::sha256(&layer);
    let architecture = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => return Err(format!("no name for the architecture {other} in OCI's world").into()),
    };
    let config = bytes(&json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["/hello"], "WorkingDir": "/", "Labels": { "dev.dhow.hello": "1" } },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest.to_string()] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "dhow", "comment": "the image in the binary" }],
    }));
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }));
    let mut in_index = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    in_index["annotations"] = json!({ "org.opencontainers.image.ref.name": "hello:latest" });
    let index = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [in_index],
    }));
    let blob = |content: &[u8]| format!("blobs/sha256/{}", Digest::sha256(content).hex());
    let names = (blob(&config), blob(&manifest), blob(&layer));
    archive(&[
        ("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", 0o644, &index),
        (&names.0, 0o644, &config),
        (&names.1, 0o644, &manifest),
        (&names.2, 0o644, &layer),
    ])
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::sha256(content).to_string(),
        "size": content.len(),
    })
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A tar archive of files that belong to root and are as old as time.
fn archive(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::new(Vec::new());
    for (name, mode, content) in files {
        let entry = Entry {
            path: name.as_bytes().to_vec(),
            mode: *mode,
            size: content.len() as u64,
            ..Entry::default()
        };
        writer.append(&entry, &mut &**content)?;
    }
    Ok(writer.finish()?)
}
