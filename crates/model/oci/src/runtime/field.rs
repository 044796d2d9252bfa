//! Which field of a document an error is about.

/// Where in `json` the position is that an error of `serde_json` has: the field, as a path from the
/// top such as `process.rlimits[0].soft`. Empty for the top itself, and for what is no JSON.
///
/// `line` begins at 1; `column` is the number of bytes of that line that were read.
pub fn field_at(json: &[u8], line: usize, column: usize) -> String {
    let begin: usize = json
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let end = begin.saturating_add(column).min(json.len());
    let mut scan = Scan { rest: &json[..end], frames: Vec::new() };
    scan.run();
    // An opening bracket at the very end is the value that is wrong, and not something in it.
    if matches!(json[..end].last(), Some(b'{' | b'[')) {
        scan.frames.pop();
    }
    scan.path()
}

/// The longest path, in bytes, but for its last name: what is nested deeper is nobody's field.
const LONGEST: usize = 200;

/// An object or array that is not closed yet.
enum Frame {
    /// The name that was read last.
    Object(Option<String>),
    /// The number of the present element.
    Array(usize),
}

struct Scan<'a> {
    rest: &'a [u8],
    frames: Vec<Frame>,
}

impl Scan<'_> {
    fn run(&mut self) {
        // Whether the next text in an object is a name.
        let mut name = true;
        while let Some((byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'{' => {
                    self.frames.push(Frame::Object(None));
                    name = true;
                }
                b'[' => self.frames.push(Frame::Array(0)),
                b'}' | b']' => {
                    self.frames.pop();
                    name = false;
                }
                b':' => name = false,
                b',' => {
                    name = true;
                    if let Some(Frame::Array(number)) = self.frames.last_mut() {
                        *number += 1;
                    }
                }
                b'"' => {
                    let text = self.text();
                    if let (true, Some(Frame::Object(last))) = (name, self.frames.last_mut()) {
                        *last = Some(text);
                    }
                }
                _ => {}
            }
        }
    }

    /// The rest of a text after its quotation mark.
    fn text(&mut self) -> String {
        let mut escaped = false;
        let end = self.rest.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let (text, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            if path.len() > LONGEST {
                return path + "...";
            }
            match frame {
                Frame::Object(Some(name)) if path.is_empty() => path.push_str(name),
                Frame::Object(Some(name)) => path += &format!(".{name}"),
                Frame::Object(None) => {}
                Frame::Array(number) => path += &format!("[{number}]"),
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::field_at;
    use crate::runtime::Spec;

    fn field(json: &str) -> String {
        let error = serde_json::from_str::<Spec>(json).unwrap_err();
        field_at(json.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn the_field_is_found() {
        for (json, want) in [
            (r#"{"ociVersion":1}"#, "ociVersion"),
            (r#"{"ociVersion":"1","process":{"args":["x"]}}"#, "process"),
            (r#"{"ociVersion":"1","process":{"cwd":"/","args":["x",{}]}}"#, "process.args[1]"),
            (r#"{"ociVersion":"1","process":{"cwd":"/","args":{}}}"#, "process.args"),
            (r#"{"ociVersion":"1","process":{"cwd":"/","args":"x"}}"#, "process.args"),
            (r#"{"ociVersion":"1","process":{"cwd":[]}}"#, "process.cwd"),
            (r#"{"ociVersion":"1","process":{"cwd":"/","user":{"uid":-1}}}"#, "process.user.uid"),
            (r#"{"ociVersion":"1","process":{"cwd":"/","terminal":null}}"#, "process.terminal"),
            (
                "{\"ociVersion\":\"1\",\n\"process\":{\n \"rlimits\":[{\"type\":\"a\",\"soft\":1,\"hard\":2},\n  {\"type\":\"b\",\"soft\":1.5}]}}",
                "process.rlimits[1].soft",
            ),
            (r#"{"ociVersion":"1","mounts":[{"destination":"/a"},{"type":"proc"}]}"#, "mounts[1]"),
            (
                r#"{"ociVersion":"1","linux":{"namespaces":[{"type":"pid"},{"type":"net"}]}}"#,
                "linux.namespaces[1].type",
            ),
            (r#"{"ociVersion":"1","annotations":{"a\"b":"x","c":7}}"#, "annotations.c"),
            ("{}", ""),
            ("", ""),
            ("[", ""),
            (r#"{"ociVersion":"1","ociVersion":"1"}"#, "ociVersion"),
        ] {
            assert_eq!(field(json), want, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_and_any_position_will_do(json: Vec<u8>, line: u8, column: u8) {
            let _ = field_at(&json, line.into(), column.into());
        }
    }
}
