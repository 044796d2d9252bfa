//! Python's packages: core metadata, of wheels and of what is older.

use crate::fields::{fields, get};
use crate::package::{Kind, Package, text};

/// The package of a metadata file.
pub(crate) fn package(whole: &str, path: &str) -> Option<Package> {
    // The description follows after an empty line.
    let head = whole.split("\n\n").next().unwrap_or(whole);
    let head = head.split("\r\n\r\n").next().unwrap_or(head);
    let all = fields(head);
    let get = |name: &str| get(&all, name);
    let mut package = Package::new(Kind::Python, get("Name")?, get("Version")?, path)?;
    let classified = || {
        let of = |(key, value): &(&str, String)| {
            let classifier = value.strip_prefix("License :: ")?;
            let licence = classifier.strip_prefix("OSI Approved :: ").unwrap_or(classifier);
            (key.eq_ignore_ascii_case("Classifier") && licence != "OSI Approved")
                .then(|| spdx(licence).to_owned())
        };
        all.iter().find_map(of)
    };
    // The text of a whole licence is no name of one.
    let short = |text: &String| text.len() <= 100 && !text.eq_ignore_ascii_case("unknown");
    let stated = get("License").filter(|value| !value.contains('\n')).and_then(text).filter(short);
    package.licence = get("License-Expression").and_then(text).or_else(classified).or(stated);
    package.supplier = get("Author").or(get("Author-email")).and_then(text);
    let project = || {
        let of = |(key, value): &(&str, String)| {
            let (label, url) = value.split_once(',')?;
            let is_home = label.trim().eq_ignore_ascii_case("homepage");
            (is_home && key.eq_ignore_ascii_case("Project-URL")).then(|| url.trim().to_owned())
        };
        all.iter().find_map(of)
    };
    package.homepage = get("Home-page").and_then(text).or_else(project);
    package.summary = get("Summary").and_then(text);
    Some(package)
}

/// A classifier's licence, by SPDX's name where that is the same.
fn spdx(classifier: &str) -> &str {
    match classifier {
        "MIT License" => "MIT",
        "MIT No Attribution License (MIT-0)" => "MIT-0",
        "Apache Software License" => "Apache-2.0",
        "ISC License (ISCL)" => "ISC",
        "Mozilla Public License 2.0 (MPL 2.0)" => "MPL-2.0",
        "The Unlicense (Unlicense)" => "Unlicense",
        "Python Software Foundation License" => "PSF-2.0",
        "Zero-Clause BSD (0BSD)" => "0BSD",
        "GNU General Public License v2 (GPLv2)" => "GPL-2.0-only",
        "GNU General Public License v2 or later (GPLv2+)" => "GPL-2.0-or-later",
        "GNU General Public License v3 (GPLv3)" => "GPL-3.0-only",
        "GNU General Public License v3 or later (GPLv3+)" => "GPL-3.0-or-later",
        "GNU Lesser General Public License v2 or later (LGPLv2+)" => "LGPL-2.0-or-later",
        "GNU Lesser General Public License v3 (LGPLv3)" => "LGPL-3.0-only",
        "GNU Lesser General Public License v3 or later (LGPLv3+)" => "LGPL-3.0-or-later",
        "Boost Software License 1.0 (BSL-1.0)" => "BSL-1.0",
        // `BSD License` may be any of several.
        other => other,
    }
}
