//! Texts as Go's `%q` and `%v` print them: BuildKit's messages, and the history of images, have
//! them so.

use std::fmt;

/// A text in double quotes, as Go's `strconv.Quote` writes it.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                c if is_printable(c) => write!(f, "{c}")?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", c as u32)?,
                c if (c as u32) < 0x10000 => write!(f, "\\u{:04x}", c as u32)?,
                c => write!(f, "\\U{:08x}", c as u32)?,
            }
        }
        f.write_str("\"")
    }
}

/// Letters, marks, numbers, punctuation, symbols, and no space but the common one.
fn is_printable(c: char) -> bool {
    // A mark by itself is escaped, one that follows something is not.
    let text = ['a', c].iter().collect::<String>();
    text.escape_debug().count() == 2 || matches!(c, '\'')
}

/// A list as Go's `%v`: `[a b]`.
pub(crate) fn list<T: AsRef<str>>(words: &[T]) -> String {
    format!("[{}]", words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "))
}

/// A list as Go's `%q`: `["a" "b"]`.
pub(crate) fn quoted_list(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| Quoted(word).to_string()).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        for (text, want) in [
            ("a 'b' \"c\"\\", r#""a 'b' \"c\"\\""#),
            ("\n\t\u{1b}\u{7f}", r#""\n\t\x1b\x7f""#),
            ("é\u{301}\u{a0}\u{200b}😀", "\"é\u{301}\\u00a0\\u200b😀\""),
        ] {
            assert_eq!(Quoted(text).to_string(), want);
        }
        assert_eq!(quoted_list(&["a".into(), "b c".into()]), r#"["a" "b c"]"#);
        assert_eq!(list(&["a", "b"]), "[a b]");
        assert_eq!(list::<String>(&[]), "[]");
    }
}
