//! Values of a call's headers, as BuildKit's session has them: several under one name, escaped as in a
//! URL's query where `NAME-encoded` says so.

use tonic::metadata::MetadataMap;

/// All values of a header. What is no text is left out.
pub(super) fn values(metadata: &MetadataMap, name: &str) -> Vec<String> {
    let is_escaped = metadata.get(format!("{name}-encoded")).is_some();
    let texts = metadata.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.map(|text| if is_escaped { unescape(text) } else { text.to_owned() }).collect()
}

/// The first value of a header; empty where there is none.
pub(super) fn value(metadata: &MetadataMap, name: &str) -> String {
    values(metadata, name).into_iter().next().unwrap_or_default()
}

/// As Go's `url.QueryUnescape`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (first, escaped) {
            (_, Some((high, low))) => {
                out.push(high << 4 | low);
                rest = &after[2..];
                continue;
            }
            (b'+', None) => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unescaped_where_that_is_said() {
        let mut metadata = MetadataMap::new();
        metadata.append("a", "x+y%20".parse().unwrap());
        metadata.append("b", "gr%C3%B6%C3%9Fe+%25%".parse().unwrap());
        metadata.append("b", "%zz".parse().unwrap());
        metadata.insert("b-encoded", "1".parse().unwrap());
        assert_eq!(values(&metadata, "a"), ["x+y%20"]);
        assert_eq!(values(&metadata, "b"), ["größe %%", "%zz"]);
        assert_eq!(value(&metadata, "c"), "");
    }
}
