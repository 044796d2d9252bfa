//! JSON as Go's `json.Indent` prints it: the text stays as it is, key by key and digit by digit, only
//! the space between is new.

/// Indents a JSON text, each level by `step`. What is no JSON comes out no better than it was.
pub(crate) fn indent(text: &[u8], step: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        for _ in 0..depth {
            out.extend_from_slice(step.as_bytes());
        }
    };
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if in_string {
            out.push(byte);
            in_string = is_escaped || byte != b'"';
            is_escaped = byte == b'\\' && !is_escaped;
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => {
                out.push(byte);
                while rest.next_if(u8::is_ascii_whitespace).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, b'}' | b']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_space_between_is_new() {
        let text = br#"{"b":1.50,"a":[ ],"s":"x: {\"y\", [z]\\","n":[{},null,
            {"k":"v"}]}"#;
        let want = "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"s\": \"x: {\\\"y\\\", [z]\\\\\",\n  \"n\": [\n    {},\n    \
                    null,\n    {\n      \"k\": \"v\"\n    }\n  ]\n}";
        let got = indent(text, "  ");
        assert_eq!(String::from_utf8(got.clone()).unwrap(), want);
        assert_eq!(indent(&got, "  "), got);
        let same: serde_json::Value = serde_json::from_slice(&got).unwrap();
        assert_eq!(same, serde_json::from_slice::<serde_json::Value>(text).unwrap());
    }
}
