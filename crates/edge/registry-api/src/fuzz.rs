//! What a fuzz target asks of the readers of what clients send: there only where it is built
//! (`--cfg fuzzing`).
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a panic is what is looked for")]

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use crate::names::Names;
use crate::query::{Query, decode, encode};
use crate::range::{Wanted, chunk, wanted};
use crate::route::Route;
use crate::{htpasswd, names};

/// `Range` and `Content-Range`: what is sent is within the blob.
pub fn ranges(text: &str, size: u64) {
    if let Wanted::Part(first, last) = wanted(Some(text), size) {
        assert!(first <= last && last < size, "{first}-{last} of {size}");
        let same = wanted(Some(&format!("bytes={first}-{last}")), size);
        assert_eq!(same, Wanted::Part(first, last));
    }
    if let Some((first, len)) = chunk(text) {
        assert!(len > 0 && first.checked_add(len - 1).is_some());
    }
}

/// Queries: what is written is read again.
pub fn query(text: &str) {
    let query = Query::parse(text);
    for key in ["digest", "mount", "from", "n", "last", "ns", text] {
        query.get(key);
        query.all(key).count();
    }
    assert_eq!(decode(&encode(text), true).as_deref(), Some(text));
    assert_eq!(decode(&encode(text), false).as_deref(), Some(text));
}

/// Paths and names: a repository is an image's name, and shown as it is found.
pub fn paths(path: &str, own: &str, on_behalf: Option<&str>) {
    let name = match Route::find(path) {
        Some(
            Route::Manifest(name, _)
            | Route::Blob(name, _)
            | Route::Uploads(name)
            | Route::Upload(name, _)
            | Route::Tags(name)
            | Route::Referrers(name, _),
        ) => name,
        _ => path,
    };
    let fixed = Names::new("localhost:5000").unwrap();
    let names: Vec<names::Names> = Names::new(own).into_iter().chain([fixed]).collect();
    for names in names {
        let Some(place) = names.place(name, on_behalf) else { continue };
        let reference: reference::Reference = place.repository.parse().unwrap();
        assert_eq!(reference.name(), place.repository);
        assert!(reference.tag().is_none() && reference.digest().is_none());
        assert!(reference.path().split('/').all(|part| !matches!(part, "" | "." | "..")));
        // What others may call it as well may only be read.
        assert!(!place.is_own || reference.domain() == names.own());
        if let Some(shown) = names.shown(&place.repository) {
            let again = names.place(&shown, None).map(|place| place.repository);
            assert_eq!(again, Some(place.repository));
        }
    }
}

/// The file of passwords, and what clients say of theirs.
pub fn passwords(file: &str, header: &[u8]) {
    if let Ok(users) = htpasswd::parse(file) {
        assert!(users.keys().all(|name| !name.is_empty() && !name.contains(':')));
    }
    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    if let Some((name, _)) = htpasswd::credentials(&headers) {
        assert!(!name.contains(':'));
    }
}
