//! Values that are a line of CSV (RFC 4180), as Docker's client reads them with Go's `encoding/csv`.

/// What is wrong where there are no fields.
pub(crate) const BAD_QUOTE: &str = "a quote is not where a field begins or ends";

/// The fields of a line of CSV. `None`: a quote where none may be.
pub(crate) fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (text, after) = quoted.split_once('"')?;
                field.push_str(text);
                let Some(more) = after.strip_prefix('"') else {
                    rest = after;
                    break;
                };
                field.push('"');
                quoted = more;
            }
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            if field.contains('"') {
                return None;
            }
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_comma_is_quoted() {
        for (line, want) in [
            ("a,b=c", Some(&["a", "b=c"][..])),
            ("\"a=1,2\",b", Some(&["a=1,2", "b"])),
            ("\"a\"\"b\"", Some(&["a\"b"])),
            ("", Some(&[""])),
            ("a\"b", None),
            ("\"a", None),
            ("\"a\"b", None),
        ] {
            let got = fields(line);
            assert_eq!(
                got.as_ref().map(|all| all.iter().map(String::as_str).collect::<Vec<_>>()),
                want.map(<[_]>::to_vec),
                "{line}"
            );
        }
    }
}
