//! Names of images: refused in one line, or read; every way to print one is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reference::Reference;

fuzz_target!(|text: &str| {
    let reference: Reference = match text.parse() {
        Ok(reference) => reference,
        Err(error) => {
            assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error:?}");
            return;
        }
    };
    let same = |printed: String| assert_eq!(printed.parse().as_ref(), Ok(&reference), "{printed}");
    same(reference.to_string());
    same(reference.familiar());
    // It becomes a part of URLs and of file names.
    let path = reference.path();
    assert!(!path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")));
    assert!(
        path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b))
    );
    let tagged = reference.clone().with_default_tag();
    assert!(tagged.tag().is_some() || tagged.digest().is_some());
    assert!(reference.domain().len() + 1 + path.len() <= 255);
});
