//! Values of flags that are fields: `type=local,dest="a,b"`.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The fields of one record (RFC 4180).
pub(crate) fn fields(flag: &str, record: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = record.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err(Error::Usage(format!("--{flag} {record}: a quote is not closed")));
    }
    fields.push(field);
    Ok(fields)
}

/// `KEY=VALUE` fields. Keys are in lower case.
pub(crate) fn pairs(flag: &str, record: &str) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for field in fields(flag, record)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(Error::Usage(format!("--{flag}: invalid value {field}: give KEY=VALUE")));
        };
        pairs.insert(key.trim().to_lowercase(), value.to_owned());
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas() {
        let pairs = pairs("output", "type=local,\"dest=a,\"\"b\"").unwrap();
        assert_eq!(pairs["dest"], "a,\"b");
        assert!(fields("x", "\"a").is_err());
        assert_eq!(fields("x", "a,,b").unwrap(), ["a", "", "b"]);
    }
}
