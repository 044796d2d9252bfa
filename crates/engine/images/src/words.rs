//! The words of a Dockerfile's instruction: quotes, escapes and variables.

use std::collections::HashMap;

/// Splits text at white space, except inside quotes, and fills in `$VAR`, `${VAR}`, `${VAR:-word}`
/// and `${VAR:+word}`. In single quotes nothing has a meaning; a backslash takes it from the next
/// character. The error says what is wrong.
pub(crate) fn split(text: &str, variables: &HashMap<&str, &str>) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = rest.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None) => word.get_or_insert_default().extend(rest.next()),
            // In double quotes only these lose their meaning; else the backslash stays.
            ('\\', Some('"')) => {
                let word = word.get_or_insert_default();
                match rest.next_if(|next| matches!(next, '"' | '\\' | '$')) {
                    Some(next) => word.push(next),
                    None => word.push('\\'),
                }
            }
            ('$', None | Some('"')) => {
                let value = variable(&mut rest, variables)?;
                word.get_or_insert_default().push_str(&value);
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("unexpected end of statement while looking for matching {quote}"));
    }
    words.extend(word);
    Ok(words)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn variable(rest: &mut Chars<'_>, variables: &HashMap<&str, &str>) -> Result<String, String> {
    let value = |name: &str| variables.get(name).copied().unwrap_or_default();
    if rest.next_if_eq(&'{').is_none() {
        let name = name(rest);
        return Ok(if name.is_empty() { "$".into() } else { value(&name).into() });
    }
    let name = name(rest);
    let mut modifier = String::new();
    loop {
        match rest.next() {
            Some('}') => break,
            Some(c) => modifier.push(c),
            None => return Err("syntax error: missing '}'".into()),
        }
    }
    let value = value(&name);
    match (modifier.get(..2), modifier.as_str()) {
        _ if name.is_empty() => Err("syntax error: bad substitution".into()),
        (_, "") => Ok(value.into()),
        (Some(":-"), _) => Ok(if value.is_empty() { &modifier[2..] } else { value }.into()),
        (Some(":+"), _) => Ok(if value.is_empty() { "" } else { &modifier[2..] }.into()),
        _ => Err(format!("unsupported modifier ({modifier}) in substitution")),
    }
}

fn name(rest: &mut Chars<'_>) -> String {
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_escapes_and_variables() {
        let variables = HashMap::from([("A", "a b"), ("EMPTY", "")]);
        for (text, want) in [
            ("", &[][..]),
            ("  one  two\t", &["one", "two"]),
            ("'one two' th\"r e\"e", &["one two", "thr ee"]),
            (r"one\ two \$A", &["one two", "$A"]),
            (r#""\"\\\n""#, &[r#""\\n"#]),
            ("x$A/y ${A}z", &["xa b/y", "a bz"]),
            ("'$A' \"$A\"", &["$A", "a b"]),
            ("${NONE:-d} ${A:-d} ${A:+s} x${EMPTY:+s}", &["d", "a b", "s", "x"]),
            ("$ $$ \"\"", &["$", "$$", ""]),
        ] {
            assert_eq!(split(text, &variables).unwrap(), want, "{text}");
        }
        for bad in ["'a", "\"a", "${A", "${}", "${A%b}"] {
            assert!(split(bad, &variables).is_err(), "{bad}");
        }
    }
}
