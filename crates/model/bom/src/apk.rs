//! Alpine's packages: `installed`, fields of one letter.

use crate::fields::paragraphs;
use crate::package::{Kind, Package, text};

pub(crate) fn packages(whole: &str, path: &str) -> impl Iterator<Item = Package> {
    paragraphs(whole).filter_map(move |paragraph| package(paragraph, path))
}

fn package(paragraph: &str, path: &str) -> Option<Package> {
    let get = |letter: char| {
        let of = |line: &'_ str| line.strip_prefix(letter)?.strip_prefix(':').and_then(text);
        // What follows the first file is about files.
        paragraph.lines().take_while(|line| !line.starts_with("F:")).find_map(of)
    };
    let mut package = Package::new(Kind::Apk, &get('P')?, &get('V')?, path)?;
    package.architecture = get('A');
    package.source = get('o').filter(|origin| *origin != package.name);
    package.licence = get('L');
    package.supplier = get('m');
    package.homepage = get('U');
    package.summary = get('T');
    Some(package)
}
