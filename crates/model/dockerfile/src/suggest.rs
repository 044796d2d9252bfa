//! What somebody may have meant.

use std::fmt;

/// So many letters may differ, as in HCL and BuildKit.
const NEAR: usize = 3;

/// The end of a message: ` (did you mean X?)`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(pub Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

/// The nearest of these; none where one of them is the very word, since then that is not the fault.
pub(crate) fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Hint {
    let mut best = None;
    let mut least = NEAR;
    for one in among {
        if one == word {
            return Hint(None);
        }
        let distance = distance(word, one);
        if distance < least {
            (best, least) = (Some(one.to_owned()), distance);
        }
    }
    Hint(best)
}

/// The same whatever the case, and in the word's own case.
pub(crate) fn nearest_any_case<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Hint {
    let lower: Vec<String> = among.into_iter().map(str::to_lowercase).collect();
    let found = nearest(&word.to_lowercase(), lower.iter().map(String::as_str));
    let is_upper = word == word.to_uppercase() && word != word.to_lowercase();
    Hint(found.0.map(|one| if is_upper { one.to_uppercase() } else { one }))
}

/// How many letters must be put, taken or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) >= NEAR {
        return NEAR;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near() {
        assert_eq!(distance("kitten", "mitten"), 1);
        assert_eq!(distance("ab", "ba"), 2);
        assert_eq!(distance("", "ab"), 2);
        let words = ["RUN", "FROM", "COPY"];
        assert_eq!(nearest_any_case("FRMO", words).to_string(), " (did you mean FROM?)");
        assert_eq!(nearest_any_case("frmo", words).0.as_deref(), Some("from"));
        assert_eq!(nearest_any_case("Rum", words).0.as_deref(), Some("run"));
        assert_eq!(nearest_any_case("ENTRYPOINT", words), Hint(None));
        assert_eq!(nearest("build", ["buld", "build"]), Hint(None));
        assert_eq!(nearest("bild", ["buil", "build"]).0.as_deref(), Some("build"));
    }
}
