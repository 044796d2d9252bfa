//! Patterns of paths: Go's `path.Match`, and what in a tree they match.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::Error;
use crate::cursor::Cursor;
use crate::error::At as _;
use crate::names::Named;
use crate::place;

/// A pattern is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad;

/// Whether there is something in it that is more than a name.
pub(crate) fn is_pattern(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether `name` as a whole is as `pattern` says: `*` any sequence without `/`, `?` one character but `/`,
/// `[a-z]` and `[^a-z]` one of a set, `\` takes the next as it is. Bad patterns are found also where the
/// answer is known before (Go's `path.Match`). Time is at most the product of both lengths.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, Bad> {
    check(pattern)?;
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last star does not fit.
    let mut again: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            again = Some((p, n));
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return Ok(true);
        }
        if let Some((next, len)) = one(&pattern[p..], &name[n..])? {
            p += next;
            n += len;
            continue;
        }
        match again {
            Some((star, at)) if at < name.len() && name[at] != b'/' => {
                let skipped = rune(&name[at..]).1;
                again = Some((star, at + skipped));
                (p, n) = (star, at + skipped);
            }
            _ => return Ok(false),
        }
    }
}

/// Whether the pattern is one at all.
fn check(pattern: &[u8]) -> Result<(), Bad> {
    let mut rest = pattern;
    while let Some(first) = rest.first() {
        let len = match first {
            b'[' => class(rest, '\0')?.1,
            b'\\' if rest.len() == 1 => return Err(Bad),
            b'\\' => 2,
            _ => 1,
        };
        rest = &rest[len..];
    }
    Ok(())
}

/// The first of a pattern (no star) and the first of a name: how long both are, where they fit.
fn one(pattern: &[u8], name: &[u8]) -> Result<Option<(usize, usize)>, Bad> {
    let (Some(first), false) = (pattern.first(), name.is_empty()) else { return Ok(None) };
    let (character, len) = rune(name);
    Ok(match first {
        b'?' => (name[0] != b'/').then_some((1, len)),
        b'[' => {
            let (fits, end) = class(pattern, character)?;
            fits.then_some((end, len))
        }
        b'\\' => {
            let escaped = pattern.get(1).ok_or(Bad)?;
            (*escaped == name[0]).then_some((2, 1))
        }
        literal => (*literal == name[0]).then_some((1, 1)),
    })
}

/// A set, which `pattern` begins with: whether `character` is in it, and how long it is.
fn class(pattern: &[u8], character: char) -> Result<(bool, usize), Bad> {
    let mut at = 1;
    let is_negated = pattern.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let (mut found, mut n_ranges) = (false, 0);
    loop {
        if pattern.get(at) == Some(&b']') && n_ranges > 0 {
            return Ok((found != is_negated, at + 1));
        }
        let (low, len) = bound(&pattern[at..])?;
        at += len;
        let mut high = low;
        if pattern.get(at) == Some(&b'-') {
            let (bound, len) = bound(&pattern[at + 1..])?;
            high = bound;
            at += 1 + len;
        }
        found |= low <= character && character <= high;
        n_ranges += 1;
    }
}

/// One end of a range in a set.
fn bound(pattern: &[u8]) -> Result<(char, usize), Bad> {
    let (escape, rest) = match pattern {
        [] | [b'-' | b']', ..] | [b'\\'] => return Err(Bad),
        [b'\\', rest @ ..] => (1, rest),
        rest => (0, rest),
    };
    let (character, len) = rune(rest);
    if character == char::REPLACEMENT_CHARACTER && len == 1 || rest.len() == len {
        return Err(Bad); // No character, or the end before the set's.
    }
    Ok((character, escape + len))
}

/// The first character, and its length in bytes. A byte that begins none is U+FFFD of length 1.
fn rune(bytes: &[u8]) -> (char, usize) {
    let chunk = bytes.get(..bytes.len().min(4)).unwrap_or(bytes);
    match chunk.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
        Some(character) => (character, character.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// What in `root` the pattern `named` matches, in order. What is in a directory that matches is not looked
/// at. A path without a pattern is its own match, whether it is there or not.
pub(crate) fn resolve(root: &Root, named: &Named, follow: bool) -> Result<Vec<PathBuf>, Error> {
    let is_plain = |component: &&OsStr| !is_pattern(component.as_bytes());
    let components: Vec<_> = named.path.iter().collect();
    let n_plain = components.iter().take_while(|component| is_plain(component)).count();
    if n_plain == components.len() {
        return Ok(vec![named.path.clone()]);
    }
    let base: PathBuf = components[..n_plain].iter().collect();
    let pattern: PathBuf = components[n_plain..].iter().collect();
    let found = place::find(root, &base, follow)?.at("lstat", &base)?;
    let mut matched = Vec::new();
    if found.kind() == FileType::Directory {
        let mut walk = Walk { base: &base, pattern: &pattern, matched: &mut matched };
        walk.directory(&found.open_directory(&base)?)?;
    }
    Ok(matched)
}

struct Walk<'a> {
    base: &'a Path,
    pattern: &'a Path,
    matched: &'a mut Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, top: &OwnedFd) -> Result<(), Error> {
        let mut cursor = Cursor::new(top).at("open", self.base)?;
        let mut relative = PathBuf::new();
        let mut levels = vec![cursor.names().at("open", self.base)?.into_iter()];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.next() else {
                levels.pop();
                if levels.is_empty() {
                    break;
                }
                cursor.leave().at("open", self.base.join(&relative))?;
                relative.pop();
                continue;
            };
            relative.push(&name);
            if !self.is_match(&relative) && self.may_hold(&relative) {
                let entered = enter(&mut cursor, &name).at("open", self.base.join(&relative))?;
                if let Some(names) = entered {
                    levels.push(names.into_iter());
                    continue;
                }
            }
            relative.pop();
        }
        Ok(())
    }

    fn is_match(&mut self, relative: &Path) -> bool {
        let (pattern, name) = (self.pattern.as_os_str(), relative.as_os_str());
        let is_match = matches(pattern.as_bytes(), name.as_bytes()) == Ok(true);
        if is_match {
            self.matched.push(self.base.join(relative));
        }
        is_match
    }

    /// Whether something below may match: a star goes over no `/`, a set may.
    fn may_hold(&self, relative: &Path) -> bool {
        if self.pattern.as_os_str().as_bytes().contains(&b'[') {
            return true;
        }
        let n_components = relative.iter().count();
        if self.pattern.iter().count() <= n_components {
            return false;
        }
        let beginning: PathBuf = self.pattern.iter().take(n_components).collect();
        let (beginning, name) = (beginning.as_os_str(), relative.as_os_str());
        matches(beginning.as_bytes(), name.as_bytes()) == Ok(true)
    }
}

/// What is in the directory `name`, where it is one and not a link.
fn enter(cursor: &mut Cursor, name: &OsStr) -> Result<Option<Vec<OsString>>, Errno> {
    let stat = rustix::fs::statat(cursor.here(), name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    cursor.enter(name)?;
    cursor.names().map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table of Go's own `path/match_test.go`.
    const TABLE: [(&str, &str, Result<bool, Bad>); 54] = [
        ("abc", "abc", Ok(true)),
        ("*", "abc", Ok(true)),
        ("*c", "abc", Ok(true)),
        ("a*", "a", Ok(true)),
        ("a*", "abc", Ok(true)),
        ("a*", "ab/c", Ok(false)),
        ("a*/b", "abc/b", Ok(true)),
        ("a*/b", "a/c/b", Ok(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Ok(true)),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Ok(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Ok(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
        ("ab[c]", "abc", Ok(true)),
        ("ab[b-d]", "abc", Ok(true)),
        ("ab[e-g]", "abc", Ok(false)),
        ("ab[^c]", "abc", Ok(false)),
        ("ab[^b-d]", "abc", Ok(false)),
        ("ab[^e-g]", "abc", Ok(true)),
        ("a\\*b", "a*b", Ok(true)),
        ("a\\*b", "ab", Ok(false)),
        ("a?b", "a☺b", Ok(true)),
        ("a[^a]b", "a☺b", Ok(true)),
        ("a???b", "a☺b", Ok(false)),
        ("a[^a][^a][^a]b", "a☺b", Ok(false)),
        ("[a-ζ]*", "α", Ok(true)),
        ("*[a-ζ]", "A", Ok(false)),
        ("a?b", "a/b", Ok(false)),
        ("a*b", "a/b", Ok(false)),
        ("[\\]a]", "]", Ok(true)),
        ("[\\-]", "-", Ok(true)),
        ("[x\\-]", "x", Ok(true)),
        ("[x\\-]", "-", Ok(true)),
        ("[x\\-]", "z", Ok(false)),
        ("[\\-x]", "x", Ok(true)),
        ("[\\-x]", "-", Ok(true)),
        ("[\\-x]", "a", Ok(false)),
        ("[]a]", "]", Err(Bad)),
        ("[-]", "-", Err(Bad)),
        ("[x-]", "x", Err(Bad)),
        ("[x-]", "-", Err(Bad)),
        ("[x-]", "z", Err(Bad)),
        ("[-x]", "x", Err(Bad)),
        ("[-x]", "-", Err(Bad)),
        ("[-x]", "a", Err(Bad)),
        ("\\", "a", Err(Bad)),
        ("[a-b-c]", "a", Err(Bad)),
        ("[", "a", Err(Bad)),
        ("[^", "a", Err(Bad)),
        ("[^bc", "a", Err(Bad)),
        ("a[", "a", Err(Bad)),
        ("a[", "ab", Err(Bad)),
        ("*x", "xxx", Ok(true)),
    ];

    #[test]
    fn as_go_does() {
        for (pattern, name, want) in TABLE {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), want, "{pattern:?} {name:?}");
        }
        assert_eq!(matches(b"a?b", b"a\xffb"), Ok(true));
        assert_eq!(matches(b"", b""), Ok(true));
        // In linear memory and polynomial time.
        assert_eq!(matches("a*".repeat(60).as_bytes(), "a".repeat(59).as_bytes()), Ok(false));
    }

    /// The same, plainly: every way to go on is tried.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.iter().take_while(|byte| **byte != b'/').count())
                .any(|n| slow(rest, &name[n..])),
            _ => one(pattern, name)
                .unwrap_or(None)
                .is_some_and(|(next, len)| slow(&pattern[next..], &name[len..])),
        }
    }

    proptest! {
        #[test]
        fn as_the_plain_way(pattern in "[ab*?/\\\\\\[\\]^-]{0,9}", name in "[ab/*]{0,9}") {
            let fast = matches(pattern.as_bytes(), name.as_bytes());
            let want = check(pattern.as_bytes());
            let want = want.map(|()| slow(pattern.as_bytes(), name.as_bytes()));
            prop_assert_eq!(fast, want);
        }
    }
}
