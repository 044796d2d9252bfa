//! One record of comma-separated values (RFC 4180), as flags hold them.

/// Why a text is no such record, in the words of Go's `encoding/csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A quote inside of a field that does not begin with one.
    #[error("parse error on line 1, column {0}: bare \" in non-quoted field")]
    Bare(usize),
    /// A quoted field goes on after its end, or has none.
    #[error("parse error on line 1, column {0}: extraneous or missing \" in quoted-field")]
    Quote(usize),
}

/// The fields of a record.
///
/// # Errors
///
/// It is none: a quote is where none can be.
pub fn fields(record: &str) -> Result<Vec<String>, Error> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let column = record.len() - rest.len();
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, column + 1)?,
            None => plain_field(rest, column)?,
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

type Field<'a> = (String, Option<&'a str>);

fn plain_field(text: &str, column: usize) -> Result<Field<'_>, Error> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    match field.find('"') {
        Some(at) => Err(Error::Bare(column + at + 1)),
        None => Ok((field.into(), after)),
    }
}

fn quoted_field(text: &str, column: usize) -> Result<Field<'_>, Error> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err(Error::Quote(column + text.len() + 1));
        };
        field += before;
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(after) = after.strip_prefix(',') {
            return Ok((field, Some(after)));
        } else {
            return Err(Error::Quote(column + text.len() - after.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_quotes() {
        for (record, want) in [
            ("", vec![""]),
            ("a", vec!["a"]),
            ("a,b=c,", vec!["a", "b=c", ""]),
            (r#""a,b",c"#, vec!["a,b", "c"]),
            (r#""a""b","""#, vec!["a\"b", ""]),
            (r#""a""b",c"#, vec!["a\"b", "c"]),
            (r#"a"b"#, vec![]),
            (r#""a"b,c"#, vec![]),
            ("\"", vec![]),
        ] {
            let got = fields(record);
            assert_eq!(got.is_err(), want.is_empty(), "{record}");
            assert_eq!(got.unwrap_or_default(), want, "{record}");
        }
        assert_eq!(fields(r#"x,a"b"#).unwrap_err(), Error::Bare(4));
    }
}
