//! The patterns that filters of names take.

/// Whether a value has the wanted one in it. `dockerd` takes it as a regular expression; these are
/// the ones that people write: a part of the name, with `^` and `$` for its ends.
pub(crate) fn matches(wanted: &str, value: &str) -> bool {
    let (wanted, at_start) = match wanted.strip_prefix('^') {
        Some(rest) => (rest, true),
        None => (wanted, false),
    };
    match (at_start, wanted.strip_suffix('$')) {
        (true, Some(whole)) => value == whole,
        (false, Some(end)) => value.ends_with(end),
        (true, None) => value.starts_with(wanted),
        (false, None) => value.contains(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn ends_can_be_pinned() {
        for (wanted, want) in
            [("web", true), ("^my", true), ("web$", true), ("^web", false), ("^my-web$", true)]
        {
            assert_eq!(matches(wanted, "my-web"), want, "{wanted}");
        }
    }
}
