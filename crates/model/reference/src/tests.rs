use proptest::prelude::*;

use super::*;

const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_short_name_means_a_long_one() {
    for (text, full, familiar) in [
        ("docker.io/x.io/a", "docker.io/x.io/a", "docker.io/x.io/a"),
        ("docker.io/localhost/a:1", "docker.io/localhost/a:1", "docker.io/localhost/a:1"),
        ("debian", "docker.io/library/debian", "debian"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("library/debian", "docker.io/library/debian", "debian"),
        ("docker.io/debian", "docker.io/library/debian", "debian"),
        ("index.docker.io/debian", "docker.io/library/debian", "debian"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("ghcr.io/a/b/c:x_Y.z-1", "ghcr.io/a/b/c:x_Y.z-1", "ghcr.io/a/b/c:x_Y.z-1"),
        ("Host/app", "Host/app", "Host/app"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("[fd00::1]/app", "[fd00::1]/app", "[fd00::1]/app"),
        ("a__b/c-----d.e_f", "docker.io/a__b/c-----d.e_f", "a__b/c-----d.e_f"),
        ("1.2.3.4:80/x", "1.2.3.4:80/x", "1.2.3.4:80/x"),
        ("host:5000", "docker.io/library/host:5000", "host:5000"),
    ] {
        let parsed: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.to_string(), full);
        assert_eq!(parsed.familiar(), familiar);
    }
    let text = format!("debian:12@{D}");
    let parsed: Reference = text.parse().unwrap();
    assert_eq!(parsed.familiar(), text);
    assert_eq!(parsed.digest().unwrap().to_string(), D);
    assert_eq!(parsed.with_tag("13").unwrap().familiar(), "debian:13");
}

#[test]
fn a_name_like_an_id_is_not_shortened_to_one() {
    let name = format!("library/{}", "0a".repeat(32));
    let parsed: Reference = name.parse().unwrap();
    assert_eq!(parsed.familiar(), name);
    assert_eq!(parsed.familiar().parse::<Reference>().unwrap(), parsed);
}

#[test]
fn what_is_not_a_name_is_refused_in_dockers_words() {
    let long_tag = format!("a:{}", "t".repeat(129));
    let long_name = "a/".repeat(130) + "a";
    let id = "a".repeat(64);
    for (text, want) in [
        ("", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a-", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a.-b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("../a", "invalid reference format"),
        ("a/../b", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("ä", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:-t", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a@", "invalid reference format"),
        ("http://a/b", "invalid reference format"),
        ("-host.x/a", "invalid reference format"),
        ("host.x:port/a", "invalid reference format"),
        ("[::1/a", "invalid reference format"),
        (&long_tag, "invalid reference format"),
        ("Debian", "invalid reference format: repository name (library/Debian) must be lowercase"),
        ("a/B:x", "invalid reference format: repository name (a/B) must be lowercase"),
        (&long_name, "repository name must not be more than 255 characters"),
        ("a@sha256:abc", "lower-case hexadecimal"),
        ("a@md5:ba7816bf8f01cfea414140de5dae2223", "algorithm"),
        (&id, "cannot specify 64-byte hexadecimal strings"),
    ] {
        let error = text.parse::<Reference>().expect_err(text).to_string();
        assert!(error.contains(want), "{text}: {error}");
        assert!(want != "invalid reference format" || error == want, "{text}: {error}");
    }
}

#[test]
fn latest_is_added_only_where_nothing_says_which() {
    let default = |text: &str| text.parse::<Reference>().unwrap().with_default_tag().familiar();
    assert_eq!(default("a"), "a:latest");
    assert_eq!(default("a:1"), "a:1");
    assert_eq!(default(&format!("a@{D}")), format!("a@{D}"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,80}") {
        let _ = text.parse::<Reference>();
    }

    #[test]
    fn what_is_parsed_prints_as_itself(text in "[a-z0-9./:_@-]{1,40}") {
        if let Ok(parsed) = text.parse::<Reference>() {
            prop_assert_eq!(parsed.to_string().parse::<Reference>().unwrap(), parsed.clone());
            prop_assert_eq!(parsed.familiar().parse::<Reference>().unwrap(), parsed);
        }
    }
}
