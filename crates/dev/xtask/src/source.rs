//! Rust source as text: what is code in it.

/// A line of code without what follows `//`, strings kept. Rough: a `//` inside a string cuts too.
pub(crate) fn code(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

/// Whether `word` stands in `line`, not as a part of a longer one.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// The strings in a text, without their quotes; escapes are left as they are.
pub(crate) fn strings(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}
