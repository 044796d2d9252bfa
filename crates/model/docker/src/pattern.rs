//! Regular expressions, as filters of names and ids take them.

use regex_lite::RegexBuilder;

/// The most that a pattern's program may take, bytes: who filters by name needs a few hundred.
const MAX_PROGRAM: usize = 64 << 10;

/// Whether a value has a match of the wanted pattern in it. As in `dockerd`, what is no regular
/// expression matches nothing.
///
/// Go's syntax is a little wider (`\p{Greek}`, `\Q...\E`); names are ASCII, and nobody writes those.
pub fn matches(wanted: &str, value: &str) -> bool {
    if !wanted.bytes().any(|byte| b"\\.+*?()|[]{}^$".contains(&byte)) {
        return value.contains(wanted);
    }
    let regex = RegexBuilder::new(wanted).size_limit(MAX_PROGRAM).build();
    regex.is_ok_and(|regex| regex.is_match(value))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn values_are_matched_in_part_unless_the_ends_are_pinned() {
        for (wanted, want) in [
            ("web", true),
            ("", true),
            ("^my", true),
            ("web$", true),
            ("^web", false),
            ("^my-web$", true),
            ("^/?(my|your)-[a-z]{3}$", true),
            ("m.*b", true),
            ("WEB", false),
            ("(?i)WEB", true),
            ("(", false),
            ("a{1000}{1000}{1000}", false),
        ] {
            assert_eq!(matches(wanted, "my-web"), want, "{wanted}");
        }
    }
}
