use super::*;

const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn manifest(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{c}","digest":"{D}","size":1}},
        "layers":[{{"mediaType":"{l}","digest":"{D}","size":2,"urls":null}}]{extra}}}"#,
        c = media_type::CONFIG,
        l = media_type::LAYER_GZIP,
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

#[test]
fn a_manifest_is_read_and_written() {
    let read = Manifest::parse(manifest("").as_bytes()).unwrap();
    assert_eq!(read.layers[0].size, 2);
    let written = serde_json::to_vec(&read).unwrap();
    assert_eq!(Manifest::parse(&written).unwrap(), read);
}

#[test]
fn what_is_not_a_manifest_is_refused_with_a_reason() {
    let cases = [
        (manifest(r#","manifests":[]"#), "key `manifests`"),
        (manifest(r#","layers":[]"#), "duplicate field `layers`"),
        (manifest(r#","mediaType":"application/vnd.oci.image.index.v1+json""#), "media type"),
        (manifest("").replace("\"schemaVersion\":2", "\"schemaVersion\":1"), "schema version 1"),
        (manifest("").replace(D, "sha256:../../../etc/passwd"), "hexadecimal"),
        (manifest("").replace(":2,\"urls", ":-2,\"urls"), "expected u64"),
        ("[2]".into(), "not a JSON object"),
        (format!("{{\"config\":{}", "[".repeat(100_000)), "EOF while parsing a list"),
        ("{".into(), "EOF"),
        (" ".repeat(MAX_MANIFEST + 1), "more than"),
    ];
    for (text, want) in cases {
        let error = chain(&Manifest::parse(text.as_bytes()).unwrap_err());
        assert!(error.contains(want), "{error} should say {want}");
    }
}

#[test]
fn an_index_with_layers_is_refused() {
    let text = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
    assert!(Index::parse(text.as_bytes()).unwrap_err().to_string().contains("`layers`"));
    Index::parse(br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    Index::parse(br#"{"schemaVersion":0,"manifests":[]}"#).unwrap();
}

#[test]
fn a_config_as_sparse_as_go_may_write_it_is_read() {
    for text in [
        "{}",
        r#"{"config":null,"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#,
        r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Labels":null,
            "ExposedPorts":null,"Volumes":null,"OnBuild":null,"Hostname":"x","Tty":false},
            "container":"abc","rootfs":{"type":"layers"}}"#,
    ] {
        ImageConfig::parse(text.as_bytes()).unwrap();
    }
}

#[test]
fn all_of_dockers_keys_are_kept() {
    let text = r#"{"created":"2024-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{
        "User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],
        "Healthcheck":{"Test":["CMD","x"],"Interval":5,"Retries":3},"ArgsEscaped":true,
        "Volumes":{"/v":{}},"WorkingDir":"/w","OnBuild":["RUN x"],"Labels":{"a":"b"},
        "StopSignal":"SIGINT","StopTimeout":3,"Shell":["/bin/bash","-c"]},
        "rootfs":{"type":"layers","diff_ids":[]},
        "history":[{"created_by":"x","empty_layer":true}],"comment":"c"}"#;
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    let again: serde_json::Value = serde_json::to_value(&config).unwrap();
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
}

#[test]
fn a_root_of_another_type_is_refused() {
    let text = r#"{"rootfs":{"type":"base","diff_ids":[]}}"#;
    assert!(ImageConfig::parse(text.as_bytes()).is_err());
}

#[test]
fn layers_that_few_may_pass_on_are_layers() {
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        media_type::LAYER,
    ] {
        assert!(media_type::is_layer(kind), "{kind}");
    }
    assert!(!media_type::is_layer(media_type::CONFIG));
}

#[test]
fn such_a_layer_has_an_ordinary_one_of_the_same_form() {
    for (foreign, ordinary) in [
        (media_type::FOREIGN, media_type::LAYER),
        (media_type::FOREIGN_GZIP, media_type::LAYER_GZIP),
        (media_type::FOREIGN_ZSTD, media_type::LAYER_ZSTD),
        (media_type::DOCKER_FOREIGN, media_type::DOCKER_LAYER),
        (media_type::DOCKER_FOREIGN_GZIP, media_type::DOCKER_LAYER_GZIP),
    ] {
        assert_eq!(media_type::ordinary(foreign), ordinary);
        assert_eq!(media_type::foreign(ordinary), foreign);
        for name in [foreign, media_type::foreign(foreign)] {
            assert!(media_type::is_foreign(name), "{name}");
        }
        assert!(!media_type::is_foreign(media_type::ordinary(ordinary)), "{ordinary}");
    }
    // Docker has no such word for one through zstd.
    assert_eq!(media_type::foreign(media_type::DOCKER_LAYER_ZSTD), media_type::DOCKER_LAYER_ZSTD);
    let mut layer = Descriptor::of(media_type::FOREIGN_GZIP, b"x");
    assert!(!layer.is_foreign(), "it is to be had nowhere else");
    layer.urls.push("https://layers.test/x".into());
    assert!(layer.is_foreign());
    let ordinary = layer.into_ordinary();
    assert_eq!(ordinary, Descriptor::of(media_type::LAYER_GZIP, b"x"));
}
