//! ASCII armor (RFC 9580, section 6): base64 between two lines.

use data_encoding::BASE64;

/// The lines of a text, without what ends them. What is behind a last line end is no line.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

/// The line that begins or ends a block.
pub(crate) fn is_edge(line: &[u8], edge: &str, kind: &str) -> bool {
    let inside = line.strip_prefix(b"-----").and_then(|line| line.strip_suffix(b"-----"));
    let rest = inside.and_then(|line| line.strip_prefix(edge.as_bytes()));
    rest.is_some_and(|rest| rest.strip_prefix(b" ") == Some(kind.as_bytes()))
}

/// Whether a text is one block of a kind and nothing else, blank lines behind it aside.
pub(crate) fn is_one_block(text: &[u8], kind: &str) -> bool {
    let mut lines = lines(text);
    let mut begins = lines.next().is_some_and(|line| is_edge(line, "BEGIN", kind));
    let mut has_ended = false;
    for line in lines {
        if has_ended {
            begins &= line.is_empty();
        } else if is_edge(line, "END", kind) {
            has_ended = true;
        } else {
            begins &= !line.starts_with(b"-----");
        }
    }
    begins && has_ended
}

/// What is in the blocks of a text, each with its kind (`PGP PUBLIC KEY BLOCK`). What is between blocks is nobody's.
///
/// # Errors
///
/// A block does not end, or is not base64: why.
pub(crate) fn blocks(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
    let mut blocks = Vec::new();
    let mut lines = lines(text);
    while let Some(line) = lines.next() {
        let inside = line.strip_prefix(b"-----BEGIN ".as_slice());
        let Some(kind) = inside.and_then(|line| line.strip_suffix(b"-----")) else { continue };
        let kind = String::from_utf8_lossy(kind).into_owned();
        let mut base64 = Vec::new();
        // Headers (`Version: …`) end with a blank line; where there are none, that may be missing.
        let (mut in_headers, mut has_ended) = (true, false);
        for line in lines.by_ref() {
            if is_edge(line, "END", &kind) {
                has_ended = true;
                break;
            }
            if in_headers && line.contains(&b':') {
                continue;
            }
            in_headers = false;
            // The check sum (`=` and four letters) says nothing: no reader may heed it (section 6.1). What ends base64
            // is shorter.
            if !(line.starts_with(b"=") && line.len() == 5) {
                base64.extend_from_slice(line);
            }
        }
        if !has_ended {
            return Err("a block does not end");
        }
        let bytes = BASE64.decode(&base64).map_err(|_| "a block is not base64")?;
        blocks.push((kind, bytes));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_text() {
        let text = b"junk\n-----BEGIN A B-----\r\nVersion: 1\r\n\r\naGVs\r\nbG8=\r\n=abcd\r\n-----END A B-----\n\
            \n-----BEGIN C-----\naGk=\n-----END C-----";
        let wanted = [("A B".to_owned(), b"hello".to_vec()), ("C".to_owned(), b"hi".to_vec())];
        assert_eq!(blocks(text).unwrap(), wanted);
        assert_eq!(blocks(b"no block").unwrap(), []);
        for bad in ["-----BEGIN A-----\n\naGk=\n", "-----BEGIN A-----\n\na!k=\n-----END A-----\n"] {
            assert!(blocks(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_block_and_nothing_else() {
        let one = "-----BEGIN A-----\n\naGk=\n-----END A-----\n";
        assert!(is_one_block(one.as_bytes(), "A"));
        assert!(is_one_block(format!("{one}\n\n").as_bytes(), "A"));
        let others = [
            "",
            "-----BEGIN A-----\n",
            &format!("\n{one}"),
            &format!("{one}x"),
            &format!("{one}{one}"),
            "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----\n",
            "-----BEGIN A-----\n-----END B-----\n",
        ];
        for other in others {
            assert!(!is_one_block(other.as_bytes(), "A"), "{other}");
        }
        assert!(!is_one_block(one.as_bytes(), "B"));
    }
}
