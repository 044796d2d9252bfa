//! Here-documents (reference, "Here-documents").

use crate::expand::{ExpandError, Expander, NoVariables};

/// A here-document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, which is its file's name for COPY and ADD.
    pub name: String,
    /// Of which descriptor it is the input (`3<<EOF`); nothing makes use of it here.
    pub descriptor: u32,
    /// Variables in it are replaced: no part of its word was quoted.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines go.
    pub chomp: bool,
    /// What is in it, as it stands.
    pub content: String,
}

impl Heredoc {
    /// What is in it, without the tabs that `<<-` takes away.
    pub fn text(&self) -> String {
        if self.chomp { chomp(&self.content) } else { self.content.clone() }
    }
}

fn chomp(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

/// The here-document that a word begins: `[N]<<[-]NAME`, the name perhaps quoted.
pub(crate) fn of_word(word: &str) -> Result<Option<Heredoc>, ExpandError> {
    let Some(split) = split(word) else { return Ok(None) };
    let (descriptor, chomp, rest) = split;
    if rest.is_empty() {
        return Ok(None);
    }
    // Once with its quotes and once without: where there are fewer now, something was quoted.
    let plain = Expander { keep_unset: true, ..Expander::new('\\') };
    let words = plain.expand(rest, &NoVariables)?.words;
    let [name] = words.as_slice() else { return Ok(None) };
    let raw = Expander { raw_quotes: true, ..plain }.expand(rest, &NoVariables)?.text;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(name) == quotes(raw.trim());
    Ok(Some(Heredoc { name: name.clone(), descriptor, expand, chomp, content: String::new() }))
}

fn split(word: &str) -> Option<(u32, bool, &str)> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = word[digits..].strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    (!rest.contains('<')).then(|| (word[..digits].parse().unwrap_or(0), chomp, rest))
}

/// All that a line begins, in order.
pub(crate) fn of_line(line: &str) -> Result<Vec<Heredoc>, ExpandError> {
    let lexer =
        Expander { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Expander::new('\\') };
    // What a shell may make sense of need not make sense here.
    let words = lexer.expand(line, &NoVariables).map(|found| found.words).unwrap_or_default();
    words.iter().filter_map(|word| of_word(word).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_one() {
        for (word, want) in [
            ("<<EOF", Some(("EOF", 0, true, false))),
            ("<<-EOF", Some(("EOF", 0, true, true))),
            ("3<<EOF", Some(("EOF", 3, true, false))),
            ("<<'EOF'", Some(("EOF", 0, false, false))),
            ("<<\"EOF\"", Some(("EOF", 0, false, false))),
            ("<<E'O'F", Some(("EOF", 0, false, false))),
            ("<< EOF", Some(("EOF", 0, true, false))),
            ("<<$EOF", Some(("$EOF", 0, true, false))),
            ("<<", None),
            ("<EOF", None),
            ("<<<EOF", None),
            ("<<a b", None),
            ("x<<EOF", None),
        ] {
            let found = of_word(word).unwrap();
            let found = found.as_ref().map(|h| (h.name.as_str(), h.descriptor, h.expand, h.chomp));
            assert_eq!(found, want, "{word}");
        }
        assert!(of_word("<<'EOF").is_err());
    }

    #[test]
    fn lines_with_several() {
        let names = |line| of_line(line).unwrap().into_iter().map(|h| h.name).collect::<Vec<_>>();
        assert_eq!(names("RUN <<A cat <<-'B' | 3<<C sh"), ["A", "B", "C"]);
        assert_eq!(names("RUN echo \"<<A\" '<<B' a<<C"), [] as [&str; 0]);
        assert_eq!(names("RUN it's <<A"), [] as [&str; 0]);
        assert_eq!(names("COPY << A << B /x/"), ["A", "B"]);
    }

    #[test]
    fn tabs_go() {
        let doc =
            Heredoc { chomp: true, content: "\t\ta\n\tb\tc\n d\n".into(), ..Heredoc::default() };
        assert_eq!(doc.text(), "a\nb\tc\n d\n");
    }
}
