//! A registry that has what a test wants.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use oci::image::Index;

use super::*;
use crate::tests::Home;

/// Paths, and the type and the bytes that are there.
type Files = BTreeMap<String, (&'static str, Vec<u8>)>;

/// Serves files, until the test ends; the name of the registry.
fn serve(files: Files) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let (status, kind, bytes) = match files.get(path) {
                Some((kind, bytes)) => ("200 OK", *kind, bytes.as_slice()),
                None => ("404 Not Found", "text/plain", b"".as_slice()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                bytes.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), bytes].concat());
        }
    });
    address
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Puts a document or a blob there, by its digest.
fn put(files: &mut Files, place: &str, kind: &'static str, bytes: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(kind, &bytes);
    files.insert(format!("/v2/x/app/{place}/{}", descriptor.digest), (kind, bytes));
    descriptor
}

/// A manifest with one layer, of some type.
fn manifest(files: &mut Files, layer: &str, artifact: Option<&str>) -> Descriptor {
    let layer = put(files, "blobs", "text/plain", layer.into());
    let config = put(files, "blobs", media_type::CONFIG, b"{}".to_vec());
    let mut manifest = Manifest::new(config, vec![layer]);
    manifest.artifact_type = artifact.map(str::to_owned);
    let descriptor = put(files, "manifests", media_type::MANIFEST, json(&manifest));
    Descriptor { artifact_type: artifact.map(str::to_owned), ..descriptor }
}

/// An image with statements, and manifests of these types that are about those; the list of them is at `list`.
fn image(types: &[&str], list: impl Fn(&Digest) -> String) -> (Files, Digest) {
    let mut files = Files::new();
    let image = manifest(&mut files, "layer", None);
    let image = Descriptor { platform: Some(Platform::native()), ..image };
    let statements = manifest(&mut files, "statements", None);
    let notes = [(KIND, STATEMENTS.to_owned()), (ABOUT, image.digest.to_string())];
    let annotations = notes.map(|(key, value)| (key.to_owned(), value)).into();
    let statements = Descriptor { annotations, ..statements };
    let about = statements.digest.clone();
    let index = Index::new(vec![image, statements]);
    files.insert("/v2/x/app/manifests/latest".into(), (media_type::INDEX, json(&index)));
    let listed = types.iter().map(|kind| manifest(&mut files, kind, Some(kind)));
    let listed = Index::new(listed.collect());
    files.insert(list(&about), (media_type::INDEX, json(&listed)));
    (files, about)
}

async fn found(files: Files) -> Chain {
    let home = Home::new("chain");
    let (build, _) = home.begin();
    let name = format!("{}/x/app", serve(files));
    chain(&build.shared, &name, None, &[]).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_signature_is_found_by_what_it_is_about() {
    let referrers = |about: &Digest| format!("/v2/x/app/referrers/{about}");
    // A registry that keeps no list has it under a tag.
    let tag = |about: &Digest| format!("/v2/x/app/manifests/sha256-{}", about.hex());
    for (types, wanted) in [
        (&["x/other", COSIGN, BUNDLE][..], Some(BUNDLE)),
        (&[COSIGN, "x/other"][..], Some(COSIGN)),
        (&["x/other"][..], None),
        (&[][..], None),
    ] {
        for at_tag in [false, true] {
            let (files, about) = if at_tag { image(types, tag) } else { image(types, referrers) };
            let chain = found(files).await;
            assert_eq!(chain.statements, Some(about));
            let of = |digest: &Digest| chain.blobs.iter().find(|(one, _)| one.digest == *digest);
            let kind = chain.signature.as_ref().map(|one| of(one).unwrap().0.artifact_type.clone());
            assert_eq!(kind.flatten().as_deref(), wanted);
            // With what it says.
            let layer = wanted.map(|kind| Digest::sha256(kind.as_bytes()));
            assert!(layer.is_none_or(|layer| of(&layer).is_some()));
            assert_eq!(chain.blobs.len(), if wanted.is_some() { 4 } else { 2 });
        }
    }
}
