//! What is made to be read.

use std::io::Cursor;

use super::{package, program, scan, urls};
use crate::{Interest, Kind, MOST_PACKAGES, Scan, document, elf, licence, os_release::OsRelease};

#[test]
fn names_stay_names() {
    assert_eq!(package(Kind::Deb, ""), None);
    assert_eq!(package(Kind::Deb, &"x".repeat(300)), None);
    let odd = package(Kind::Deb, "a\u{1b}[31m/../?x=1#y").unwrap();
    assert_eq!(odd.name, "a[31m/../?x=1#y");
    assert_eq!(odd.url(None), "pkg:deb/debian/a%5B31m%2F..%2F%3Fx%3D1%23y@1");
    for name in ["../x", "a/b", "@/x", "@a/..", "a\\b"] {
        let json = serde_json::json!({ "name": name, "version": "1" }).to_string();
        let found = scan(&[("node_modules/x/package.json", json.as_bytes())]);
        assert_eq!(urls(&found), [""; 0], "{name}");
    }
    assert_eq!(OsRelease::parse(b"ID=../x"), None);
    assert_eq!(OsRelease::parse(b"VERSION_ID=1"), None);
    // A supplier of several lines is one of one.
    let found =
        scan(&[("var/lib/dpkg/status", b"Package: a\nVersion: 1\nMaintainer: b\n c\n\x00\n")]);
    assert_eq!(found.packages[0].supplier.as_deref(), Some("b"));
}

#[test]
fn what_is_no_database_is_none() {
    let noise: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let deep = [b"[".repeat(100_000), b"{\"packages\":".repeat(1000)].concat();
    for bytes in [
        &noise[..],
        &deep,
        b"",
        b"\n\n\n\n",
        b":::\n:\n",
        b"null",
        b"{}",
        b"[]",
        b"{\"packages\":[]}",
    ] {
        let found = scan(&[
            ("var/lib/dpkg/status", bytes),
            ("lib/apk/db/installed", bytes),
            ("x.dist-info/METADATA", bytes),
            ("node_modules/x/package.json", bytes),
            ("package-lock.json", bytes),
            ("Cargo.lock", bytes),
            ("etc/os-release", bytes),
        ]);
        assert_eq!(urls(&found), [""; 0]);
    }
}

#[test]
fn packages_in_packages_have_an_end() {
    let mut lock = String::from("{\"version\":\"1\"}");
    for at in 0..60 {
        lock = format!("{{\"version\":\"1\",\"dependencies\":{{\"p{at}\":{lock}}}}}");
    }
    let found = scan(&[("package-lock.json", lock.as_bytes())]);
    assert!(found.packages.len() < 40 && !found.packages.is_empty(), "{}", found.packages.len());
}

#[test]
fn there_are_not_more_than_there_may_be() {
    let mut whole = String::new();
    for at in 0..MOST_PACKAGES + 10 {
        whole += &format!("P:p{at}\nV:1\n\n");
    }
    let found = scan(&[("lib/apk/db/installed", whole.as_bytes())]);
    assert!(found.is_cut);
    assert_eq!(found.packages.len(), MOST_PACKAGES);
    let document = document(&found, "sbom", "t", "2026-01-31T12:00:00Z").unwrap();
    assert!(String::from_utf8(document).unwrap().contains("more packages than are listed"));
}

#[test]
fn programs_that_lie() {
    let well = program("{\"packages\":[{\"name\":\"a\",\"version\":\"1\"}]}", true);
    let n_found = |bytes: Vec<u8>| {
        let mut scan = Scan::default();
        scan.program("x", &mut Cursor::new(bytes));
        scan.finish().packages.len()
    };
    assert_eq!(n_found(well.clone()), 1);
    // Cut anywhere, and with any byte of its header another one, it is read or not, and that is all.
    for at in 0..well.len() {
        n_found(well[..at].to_vec());
        for value in [0, 1, 0x7f, 0xff] {
            let mut other = well.clone();
            other[at] = value;
            n_found(other);
        }
    }
    // A section that says it is as long as memory.
    let mut long = well.clone();
    let at = long.len() - 64 + 32;
    long[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(elf::section(&mut Cursor::new(&long), b".dep-v0"), None);
    long[at..at + 8].copy_from_slice(&(15u64 << 20).to_le_bytes());
    assert_eq!(elf::section(&mut Cursor::new(&long), b".dep-v0"), None);
    // And a list that unpacks to more than there may be.
    assert_eq!(n_found(program(&" ".repeat(17 << 20), true)), 0);
    assert_eq!(n_found(b"#!/bin/sh\n".to_vec()), 0);
}

#[test]
fn brackets_have_an_end() {
    let deep = format!("{}MIT{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(!licence::is_expression(&deep));
}

#[test]
fn paths_that_are_looked_at() {
    for (path, want) in [
        ("etc/os-release", Some(Interest::OsRelease)),
        ("x/etc/os-release", None),
        ("x/var/lib/dpkg/status", None),
        ("a/node_modules/b/package.json", Some(Interest::Npm)),
        ("a/node_modules/@b/c/package.json", Some(Interest::Npm)),
        ("a/node_modules/package.json", None),
        ("a/node_modules/b/c/package.json", None),
        ("node_modules", None),
        ("METADATA", None),
        ("a.dist-info/METADATA", Some(Interest::Python)),
        ("Cargo.lock", Some(Interest::CargoLock)),
        ("", None),
        ("/", None),
    ] {
        assert_eq!(Interest::of(path, false), want, "{path}");
    }
}
