//! What a program has asked for, and what came of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use oci::Digest;
use serde::{Deserialize, Serialize};

/// More is not noted one by one: a program may ask for anything, as often as it likes.
const MAX_NOTED: usize = 10_000;
/// Nor more bytes of them all: addresses may be long.
const MAX_BYTES: usize = 16 << 20;
/// What is said where something was not noted.
const TOO_MANY: &str = "too_many_requests";

/// What is noted of a program's requests while it runs.
#[derive(Debug, Default)]
pub struct Capture(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    all: Captured,
    /// Of their texts.
    n_bytes: usize,
}

/// What was noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Every request that was answered, in that order.
    pub requests: Vec<Request>,
    /// What came whole.
    pub materials: Vec<Material>,
    /// What came, and is not known.
    pub incomplete: Vec<Incomplete>,
    /// What was not asked for as a program meant it.
    #[serde(default)]
    pub ruled: Vec<Ruled>,
}

/// An address that rules have said something of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// It; without who asks.
    pub url: String,
    /// What is in its place; `None`: it may not be asked for.
    pub instead: Option<String>,
}

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `CONNECT`.
    pub method: String,
    /// Where to; without who asks.
    pub url: String,
    /// Where its answer leads instead.
    pub location: Option<String>,
    /// The code of its answer; 0: there was none.
    pub status: u16,
}

/// Something that came whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// From where; without who asks.
    pub url: String,
    /// What it is.
    pub digest: Digest,
}

/// Something of which nobody can say what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// `POST`.
    pub method: String,
    /// Where to; without who asks.
    pub url: String,
    /// Why, in BuildKit's words: `method_not_materializable`, `partial_response`, `body_read_failed`,
    /// `unsuccessful_response`, `upstream_error`.
    pub reason: String,
}

impl Capture {
    pub(crate) fn request(&self, request: Request) {
        let Request { method, url, location, .. } = &request;
        let n_bytes = method.len() + url.len() + location.as_ref().map_or(0, String::len);
        self.note(|all| &mut all.requests, request, n_bytes);
    }

    pub(crate) fn material(&self, material: Material) {
        let n_bytes = material.url.len();
        self.note(|all| &mut all.materials, material, n_bytes);
    }

    pub(crate) fn incomplete(&self, method: &str, url: &str, reason: &str) {
        let n_bytes = method.len() + url.len() + reason.len();
        let [method, url, reason] = [method, url, reason].map(str::to_owned);
        self.note(|all| &mut all.incomplete, Incomplete { method, url, reason }, n_bytes);
    }

    pub(crate) fn ruled(&self, url: &str, instead: Option<&str>) {
        let n_bytes = url.len() + instead.map_or(0, str::len);
        let (url, instead) = (url.to_owned(), instead.map(str::to_owned));
        self.note(|all| &mut all.ruled, Ruled { url, instead }, n_bytes);
    }

    fn note<T>(&self, of: impl FnOnce(&mut Captured) -> &mut Vec<T>, one: T, n_bytes: usize) {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let notes: &mut Notes = &mut locked;
        let list = of(&mut notes.all);
        if list.len() < MAX_NOTED && notes.n_bytes + n_bytes <= MAX_BYTES {
            list.push(one);
            notes.n_bytes += n_bytes;
            return;
        }
        let incomplete = &mut notes.all.incomplete;
        if incomplete.last().is_none_or(|last| last.reason != TOO_MANY) {
            let reason = TOO_MANY.to_owned();
            incomplete.push(Incomplete { reason, ..Incomplete::default() });
        }
    }

    /// What was noted so far. What a request was sent on for is what it came to.
    pub fn captured(&self) -> Captured {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).all.clone();
        Captured { materials: with_redirects(&all), ..all }
    }
}

/// What came, also by the names that led to it.
fn with_redirects(all: &Captured) -> Vec<Material> {
    let mut found: BTreeMap<&str, &Digest> = BTreeMap::new();
    for Material { url, digest } in &all.materials {
        found.insert(url, digest);
    }
    let mut materials = all.materials.clone();
    // Who leads where, from there: each is gone once, in whatever order a program has asked.
    let mut leads: HashMap<&str, Vec<&str>> = HashMap::new();
    for Request { url, location, status, .. } in &all.requests {
        if let (Some(to), 300..=399) = (location, *status) {
            leads.entry(to).or_default().push(url);
        }
    }
    let mut reached: Vec<(&str, &Digest)> = found.iter().map(|(to, of)| (*to, *of)).collect();
    while let Some((to, digest)) = reached.pop() {
        for from in leads.remove(to).unwrap_or_default() {
            if !found.contains_key(from) {
                found.insert(from, digest);
                materials.push(Material { url: from.to_owned(), digest: digest.clone() });
                reached.push((from, digest));
            }
        }
    }
    materials
}

impl Captured {
    /// As people are told it, in BuildKit's form; empty: there is nothing to tell.
    pub fn told(&self) -> String {
        let mut text = String::new();
        if !self.requests.is_empty() {
            text += "proxy network requests:\n";
        }
        for Request { method, url, status, .. } in &self.requests {
            // Writing to a text does not fail.
            _ = match status {
                0 => writeln!(text, "- {method} {url}"),
                status => writeln!(text, "- {method} {url} -> {status}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, location: Option<&str>) -> Request {
        let location = location.map(str::to_owned);
        Request { method: "GET".into(), url: url.into(), location, status: 302 }
    }

    #[test]
    fn what_leads_to_something_is_that() {
        let capture = Capture::default();
        let digest = Digest::sha256(b"x");
        capture.request(asked("a", Some("b")));
        capture.request(asked("b", Some("c")));
        capture.request(asked("loop", Some("loop")));
        capture.request(asked("other", Some("gone")));
        capture.request(Request { status: 0, ..asked("c", None) });
        capture.material(Material { url: "c".into(), digest });
        let found = capture.captured();
        let urls: Vec<_> = found.materials.iter().map(|one| one.url.as_str()).collect();
        assert_eq!(urls, ["c", "b", "a"]);
        let told = found.told();
        assert!(told.starts_with("proxy network requests:\n- GET a -> 302\n"), "{told}");
        assert!(told.ends_with("- GET c\n"), "{told}");
        assert_eq!(Captured::default().told(), "");
    }

    /// However many, and in the order that would be the worst.
    #[test]
    fn long_ways_are_gone_once() {
        let capture = Capture::default();
        for n in 1..MAX_NOTED {
            let (from, to) = (n.to_string(), (n + 1).to_string());
            capture.request(asked(&from, Some(to.as_str())));
        }
        capture.request(Request { status: 201, ..asked("made", Some("1")) });
        capture.material(Material { url: MAX_NOTED.to_string(), digest: Digest::sha256(b"x") });
        let found = capture.captured();
        assert_eq!(found.materials.len(), MAX_NOTED);
        assert!(found.materials.iter().all(|one| one.url != "made"), "it was led to nothing");
    }

    #[test]
    fn a_program_cannot_fill_memory() {
        let capture = Capture::default();
        for _ in 0..MAX_NOTED + 10 {
            capture.request(asked("a", None));
        }
        let found = capture.captured();
        assert_eq!(found.requests.len(), MAX_NOTED);
        let reasons: Vec<_> = found.incomplete.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(reasons, [TOO_MANY]);

        let capture = Capture::default();
        let long = "a".repeat(MAX_BYTES / 8);
        for _ in 0..20 {
            capture.request(asked(&long, None));
            capture.incomplete("GET", &long, "upstream_error");
        }
        let found = capture.captured();
        assert_eq!(found.requests.len() + found.incomplete.len(), 8, "and that there was more");
        assert_eq!(found.incomplete.last().map(|one| one.reason.as_str()), Some(TOO_MANY));
    }
}
