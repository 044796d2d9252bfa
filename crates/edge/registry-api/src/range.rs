//! Ranges of bytes: those that clients want (RFC 9110, 14.2) and those that they send
//! (distribution-spec, "Pushing a blob in chunks").

/// What a client wants of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// From the first of these bytes to the last.
    Part(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// Reads a `Range` header. What is no range of bytes, or several, is as if it were not there.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = range.split_once('-') else { return Wanted::Whole };
    let (from, to) = (number(first), number(last));
    if from.is_none() != first.is_empty() || to.is_none() != last.is_empty() {
        return Wanted::Whole;
    }
    match (from, to) {
        (None, None) => Wanted::Whole,
        (Some(from), Some(to)) if to < from => Wanted::Whole,
        (Some(from), _) if from >= size => Wanted::Nothing,
        (Some(from), to) => Wanted::Part(from, to.map_or(size - 1, |to| to.min(size - 1))),
        (None, Some(n)) if n == 0 || size == 0 => Wanted::Nothing,
        (None, Some(n)) => Wanted::Part(size.saturating_sub(n), size - 1),
    }
}

/// Reads the `Content-Range` of a chunk: `FIRST-LAST`, or as RFC 9110 has it,
/// `bytes FIRST-LAST/*`. The first byte, and how many there are.
pub(crate) fn chunk(header: &str) -> Option<(u64, u64)> {
    let range = header.trim();
    let range =
        range.strip_prefix("bytes").map_or(range, |rest| rest.trim_start_matches([' ', '=']));
    let range = range.split('/').next()?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let len = last.checked_sub(first)?.checked_add(1)?;
    Some((first, len))
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        for (header, want) in [
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("bytes=2-", Wanted::Part(2, 9)),
            ("bytes=2-5", Wanted::Part(2, 5)),
            ("bytes=2-500", Wanted::Part(2, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-30", Wanted::Part(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(header), 10), want, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_sent() {
        for (header, want) in [
            ("0-9", Some((0, 10))),
            ("10-10", Some((10, 1))),
            ("bytes 5-9/*", Some((5, 5))),
            ("bytes=5-9", Some((5, 5))),
            ("9-5", None),
            ("0-18446744073709551615", None),
            ("-5", None),
            ("5-", None),
            ("+1-2", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(chunk(header), want, "{header}");
        }
    }
}
