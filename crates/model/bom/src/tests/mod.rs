//! Databases as they are, and as somebody made them to be read.

mod hostile;

use std::io::{Cursor, Write};

use serde_json::Value;

use crate::{Interest, Kind, Package, Scan, Scanned, document};

const DEBIAN: &str = "\
PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"
NAME=\"Debian GNU/Linux\"
VERSION_ID=\"13\"
ID=debian
";

const DPKG: &str = "\
Package: libc6
Status: install ok installed
Priority: optional
Section: libs
Installed-Size: 13285
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.41-12+deb13u1
Depends: libgcc-s1
Conffiles:
 /etc/ld.so.conf.d/x86_64-linux-gnu.conf d4e7a7b88a71b5ffd9e2644e71a0cfab
Description: GNU C Library: Shared libraries
 Contains the standard libraries that are used by nearly all programs on
 the system.
 .
 More.
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: passwd
Status: install ok installed
Architecture: amd64
Source: shadow (1:4.17.4-1)
Version: 1:4.17.4-2
";

const ALPINE: &str = "ID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME='Alpine Linux v3.22'\n";

const APK: &str = "\
C:Q1gUCEPuwmyJKS8rkfTxvHM6rXVAc=
P:musl
V:1.2.5-r10
A:x86_64
S:403448
I:667648
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Natanael Copa <ncopa@alpinelinux.org>
t:1739552413
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755

P:musl-utils
V:1.2.5-r10
A:x86_64
L:MIT AND BSD-2-Clause AND GPL-2.0-or-later
o:musl

P:ssl_client
V:1.37.0-r18
A:x86_64
L:Custom thing
o:busybox
";

const WHEEL: &str = "\
Metadata-Version: 2.4
Name: typing_extensions
Version: 4.14.1
Summary: Backported and Experimental Type Hints for Python 3.9+
Author-email: \"Guido van Rossum\" <levkivskyi@gmail.com>
License-Expression: PSF-2.0
Project-URL: Homepage, https://github.com/python/typing_extensions
Classifier: Programming Language :: Python :: 3

# Typing Extensions
Name: not-this-one
";

/// A scan of these files.
fn scan(files: &[(&str, &[u8])]) -> Scanned {
    let mut scan = Scan::default();
    for (path, bytes) in files {
        let interest = Interest::of(path, false);
        if let Some(interest) = interest.filter(|one| bytes.len() as u64 <= one.most()) {
            scan.file(path, interest, bytes);
        }
    }
    scan.finish()
}

fn urls(scanned: &Scanned) -> Vec<String> {
    scanned.packages.iter().map(|one| one.url(scanned.os.as_ref())).collect()
}

#[test]
fn debian() {
    let part = "Package: tzdata\nVersion: 2025b-4\nArchitecture: all\n";
    let found = scan(&[
        ("var/lib/dpkg/status", DPKG.as_bytes()),
        ("var/lib/dpkg/status.d/tzdata", part.as_bytes()),
        ("var/lib/dpkg/status.d/tzdata.md5sums", b"Package: no\nVersion: 1\n"),
        ("usr/lib/os-release", DEBIAN.as_bytes()),
    ]);
    assert_eq!(
        urls(&found),
        [
            "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13&upstream=glibc",
            "pkg:deb/debian/passwd@1:4.17.4-2?arch=amd64&distro=debian-13\
             &upstream=shadow%401:4.17.4-1",
            "pkg:deb/debian/tzdata@2025b-4?arch=all&distro=debian-13",
        ]
    );
    let libc = &found.packages[0];
    assert_eq!(libc.summary.as_deref(), Some("GNU C Library: Shared libraries"));
    assert_eq!(libc.homepage.as_deref(), Some("https://www.gnu.org/software/libc/libc.html"));
    assert_eq!(libc.found_in, ["var/lib/dpkg/status"]);
}

#[test]
fn alpine() {
    let found =
        scan(&[("lib/apk/db/installed", APK.as_bytes()), ("etc/os-release", ALPINE.as_bytes())]);
    assert_eq!(
        urls(&found),
        [
            "pkg:apk/alpine/musl@1.2.5-r10?arch=x86_64&distro=alpine-3.22.1",
            "pkg:apk/alpine/musl-utils@1.2.5-r10?arch=x86_64&distro=alpine-3.22.1&upstream=musl",
            "pkg:apk/alpine/ssl_client@1.37.0-r18?arch=x86_64&distro=alpine-3.22.1\
             &upstream=busybox",
        ]
    );
    let licences: Vec<_> =
        found.packages.iter().map(|one| one.licence.as_deref().unwrap()).collect();
    assert_eq!(licences, ["MIT", "MIT AND BSD-2-Clause AND GPL-2.0-or-later", "Custom thing"]);
}

#[test]
fn python() {
    let older = "Metadata-Version: 1.2\nName: Flask\nVersion: 1.0\nLicense: UNKNOWN\n\
        Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License\n";
    let long =
        "Name: long\nVersion: 1\nLicense: Permission is hereby granted,\n        free of charge\n";
    let lib = "usr/lib/python3/dist-packages";
    let found = scan(&[
        (&format!("{lib}/typing_extensions-4.14.1.dist-info/METADATA"), WHEEL.as_bytes()),
        (&format!("{lib}/Flask.egg-info/PKG-INFO"), older.as_bytes()),
        (&format!("{lib}/long-1.egg-info"), long.as_bytes()),
        (&format!("{lib}/other/METADATA"), WHEEL.as_bytes()),
    ]);
    assert_eq!(
        urls(&found),
        ["pkg:pypi/flask@1.0", "pkg:pypi/long@1", "pkg:pypi/typing-extensions@4.14.1"]
    );
    let licence = |at: usize| found.packages[at].licence.as_deref();
    assert_eq!((licence(0), licence(1), licence(2)), (Some("MIT"), None, Some("PSF-2.0")));
    assert_eq!(
        found.packages[2].homepage.as_deref(),
        Some("https://github.com/python/typing_extensions")
    );
}

#[test]
fn npm() {
    let express = r#"{"name":"express","version":"5.1.0","license":"MIT","author":
        "TJ Holowaychuk <tj@vision-media.ca>","homepage":"https://expressjs.com/"}"#;
    let scoped = r#"{"name":"@babel/core","version":"7.28.0","licenses":[{"type":"MIT"},
        {"type":"Apache-2.0"}]}"#;
    let lock = r#"{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{
        "":{"name":"app","version":"1.0.0"},
        "node_modules/express":{"version":"5.1.0","integrity":
            "sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="},
        "node_modules/a/node_modules/b":{"version":"2.0.0","dev":true},
        "node_modules/here":{"link":true,"resolved":"packages/here"},
        "packages/here":{"version":"9.9.9"}}}"#;
    let older = r#"{"lockfileVersion":1,"dependencies":{"c":{"version":"1.0.0","dependencies":
        {"d":{"version":"2.0.0"}}}}}"#;
    let found = scan(&[
        ("app/node_modules/express/package.json", express.as_bytes()),
        ("app/node_modules/@babel/core/package.json", scoped.as_bytes()),
        ("app/node_modules/express/lib/package.json", b"{\"name\":\"x\",\"version\":\"1\"}"),
        ("app/package.json", b"{\"name\":\"app\",\"version\":\"1\"}"),
        ("app/package-lock.json", lock.as_bytes()),
        ("old/npm-shrinkwrap.json", older.as_bytes()),
    ]);
    assert_eq!(
        urls(&found),
        [
            "pkg:npm/%40babel/core@7.28.0",
            "pkg:npm/b@2.0.0",
            "pkg:npm/c@1.0.0",
            "pkg:npm/d@2.0.0",
            "pkg:npm/express@5.1.0",
        ]
    );
    assert_eq!(found.packages[0].licence.as_deref(), Some("MIT OR Apache-2.0"));
    // What lies there and what locks it are one.
    let express = &found.packages[4];
    assert_eq!(express.licence.as_deref(), Some("MIT"));
    assert_eq!(express.checksum, Some(("SHA512", "00".repeat(64))));
    assert_eq!(express.found_in.len(), 2);
}

/// A program with the section `.dep-v0`.
fn program(json: &str, is_64: bool) -> Vec<u8> {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    stream.write_all(json.as_bytes()).unwrap();
    let section = stream.finish().unwrap();
    let names = b"\0.shstrtab\0.dep-v0\0";
    let head = if is_64 { 64 } else { 52 };
    let (names_at, section_at) = (head, head + names.len());
    let table_at = section_at + section.len();
    let mut file = vec![0; head];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1]);
    let width = if is_64 { 8 } else { 4 };
    let put = |file: &mut Vec<u8>, at: usize, width: usize, value: usize| {
        file[at..at + width].copy_from_slice(&(value as u64).to_le_bytes()[..width]);
    };
    let (table, size, count, names_idx) = if is_64 { (40, 58, 60, 62) } else { (32, 46, 48, 50) };
    let entry = if is_64 { 64 } else { 40 };
    put(&mut file, table, width, table_at);
    put(&mut file, size, 2, entry);
    put(&mut file, count, 2, 3);
    put(&mut file, names_idx, 2, 1);
    file.extend(names);
    file.extend(&section);
    for (name, offset, size) in
        [(0, 0, 0), (1, names_at, names.len()), (11, section_at, section.len())]
    {
        let at = file.len();
        file.resize(at + entry, 0);
        put(&mut file, at, 4, name);
        let (offset_at, size_at) = if is_64 { (24, 32) } else { (16, 20) };
        put(&mut file, at + offset_at, width, offset);
        put(&mut file, at + size_at, width, size);
    }
    file
}

#[test]
fn cargo() {
    let lock = "\
version = 4

[[package]]
name = \"app\"
version = \"0.1.0\"
dependencies = [
 \"serde\",
]

[[package]]
name = \"serde\"
version = \"1.0.219\"
source = \"registry+https://github.com/rust-lang/crates.io-index\"
checksum = \"5F0E2C6ED6606019B4E29E69DBABA3E0A0B2A8F0D4B5E8F5F0A0E1F0B2C3D4E5\"

[metadata]
name = \"no\"
version = \"1\"
";
    let audited = r#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,
        "dependencies":[1]},{"name":"libc","version":"0.2.174","source":"crates.io"},
        {"name":"cc","version":"1.2.0","source":"crates.io","kind":"build"}]}"#;
    for is_64 in [true, false] {
        let mut scan = Scan::default();
        scan.file("src/Cargo.lock", Interest::CargoLock, lock.as_bytes());
        assert_eq!(Interest::of("usr/bin/app", true), Some(Interest::Program));
        scan.program("usr/bin/app", &mut Cursor::new(program(audited, is_64)));
        let found = scan.finish();
        assert_eq!(
            urls(&found),
            ["pkg:cargo/app@0.1.0", "pkg:cargo/libc@0.2.174", "pkg:cargo/serde@1.0.219"]
        );
        assert_eq!(found.packages[0].found_in, ["src/Cargo.lock", "usr/bin/app"]);
        assert_eq!(found.packages[2].checksum.as_ref().unwrap().0, "SHA256");
    }
}

#[test]
fn a_document_says_all_of_it_and_is_the_same_for_the_same() {
    let found =
        scan(&[("lib/apk/db/installed", APK.as_bytes()), ("etc/os-release", ALPINE.as_bytes())]);
    let made = |created| document(&found, "sbom", "dhow-0.1.0", created).unwrap();
    let time = "2026-01-31T12:00:00Z";
    assert_eq!(made(time), made(time));
    let says: Value = serde_json::from_slice(&made(time)).unwrap();
    let other: Value = serde_json::from_slice(&made("2026-01-31T12:00:01Z")).unwrap();
    assert_ne!(says["documentNamespace"], other["documentNamespace"]);
    assert_eq!(says["spdxVersion"], "SPDX-2.3");
    assert_eq!(says["dataLicense"], "CC0-1.0");
    assert_eq!(says["SPDXID"], "SPDXRef-DOCUMENT");
    assert_eq!(says["creationInfo"]["creators"][0], "Tool: dhow-0.1.0");
    assert_eq!(says["comment"], Value::Null);
    let packages = says["packages"].as_array().unwrap();
    assert_eq!(packages.len(), 4);
    assert_eq!(packages[0]["sourceInfo"], "the system is Alpine Linux v3.22");
    let musl = &packages[1];
    assert_eq!((&musl["name"], &musl["versionInfo"]), (&"musl".into(), &"1.2.5-r10".into()));
    assert_eq!(musl["licenseDeclared"], "MIT");
    assert_eq!(musl["supplier"], "Organization: Natanael Copa <ncopa@alpinelinux.org>");
    assert_eq!(musl["sourceInfo"], "found in lib/apk/db/installed");
    assert_eq!(musl["externalRefs"][0]["referenceType"], "purl");
    // What SPDX does not name is in its own words.
    let own = &says["hasExtractedLicensingInfos"];
    assert_eq!(own[0]["extractedText"], "Custom thing");
    assert_eq!(packages[3]["licenseDeclared"], own[0]["licenseId"]);
    let relations = says["relationships"].as_array().unwrap();
    assert_eq!(relations[0]["relationshipType"], "DESCRIBES");
    let contained: Vec<_> = relations[1..].iter().map(|one| &one["relatedSpdxElement"]).collect();
    let ids: Vec<_> = packages[1..].iter().map(|one| &one["SPDXID"]).collect();
    assert_eq!(contained, ids);
}

#[test]
fn an_empty_tree_has_a_document() {
    let says: Value =
        serde_json::from_slice(&document(&scan(&[]), "sbom", "t", "2026-01-31T12:00:00Z").unwrap())
            .unwrap();
    assert_eq!(says["packages"].as_array().unwrap().len(), 1);
    assert_eq!(says["hasExtractedLicensingInfos"], Value::Null);
}

#[test]
fn licences_that_spdx_names() {
    for well in
        ["MIT", "MIT AND (Apache-2.0 OR GPL-2.0-only WITH Classpath-exception-2.0)", "((MIT))"]
    {
        assert!(crate::licence::is_expression(well), "{well}");
    }
    for wrong in
        ["", "AND", "MIT AND", "MIT MIT", "(MIT", "MIT)", "mit", "MIT WITH no", "()", "custom"]
    {
        assert!(!crate::licence::is_expression(wrong), "{wrong}");
    }
}

fn package(kind: Kind, name: &str) -> Option<Package> {
    Package::new(kind, name, "1", "x")
}
