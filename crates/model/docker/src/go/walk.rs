//! Going over a text for the first value that is of another type.

use super::{Type, Width};

/// What Go's decoder says of the first value in `text` that is of another type than `of`; `None` where there is none.
/// The text begins with a value that is JSON, with fields as [`crate::fold_keys`] writes them. Of what is no JSON
/// something is said, or nothing.
pub fn mismatch(text: &[u8], of: &Type) -> Option<String> {
    let root = match of {
        // Go is given a pointer to a pointer here, and names no type then.
        Type::Struct("container.CreateRequest" | "registry.AuthConfig", _) => "",
        of => of.name().rsplit('.').next().unwrap_or_default(),
    };
    let mut walk = Walk { rest: text, root, place: Vec::new() };
    walk.value(of).err()
}

impl Type {
    fn name(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            // What it is tried as last.
            Self::Words => "string",
            Self::Text(name)
            | Self::Int(name, _)
            | Self::List(name, _)
            | Self::Map(name, _)
            | Self::Struct(name, _) => name,
        }
    }

    /// The type of a field.
    fn field(&self, wanted: &str) -> Option<&'static Self> {
        let Self::Struct(_, fields) = self else { return None };
        fields.iter().find_map(|(name, of)| {
            if name.is_empty() { of.field(wanted) } else { (*name == wanted).then_some(*of) }
        })
    }
}

impl Width {
    /// Whether a number of JSON is one of these.
    fn holds(self, number: &str) -> bool {
        match self {
            Self::I64 => number.parse::<i64>().is_ok(),
            Self::U64 => number.parse::<u64>().is_ok(),
            Self::U32 => number.parse::<u32>().is_ok(),
            Self::U16 => number.parse::<u16>().is_ok(),
        }
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    /// The name of the outermost type.
    root: &'static str,
    /// Where we are: fields, keys and numbers of elements.
    place: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Goes over a value. It is as deep as its type at most; deeper ones are passed over.
    fn value(&mut self, of: &Type) -> Result<(), String> {
        let Some(first) = self.peek() else { return Ok(()) };
        match (first, of) {
            (b'n', _) | (b'"', Type::Text(_) | Type::Words) | (b't' | b'f', Type::Bool) => {
                self.skip();
                Ok(())
            }
            (b'-' | b'0'..=b'9', Type::Int(name, width)) => {
                let number = String::from_utf8_lossy(self.skip());
                if width.holds(&number) {
                    return Ok(());
                }
                Err(self.says(&format!("number {number}"), name))
            }
            (b'[', Type::List(_, of)) => self.list(of),
            (b'[', Type::Words) => self.words(),
            (b'{', Type::Map(..) | Type::Struct(..)) => self.object(of),
            (_, Type::Words) => Err(says_of_words(kind(first))),
            (_, of) => Err(self.says(kind(first), of.name())),
        }
    }

    fn list(&mut self, of: &Type) -> Result<(), String> {
        self.next();
        for index in 0_usize.. {
            match self.peek() {
                None => break,
                Some(b']') => {
                    self.next();
                    break;
                }
                Some(b',') => _ = self.next(),
                Some(_) => {}
            }
            self.place.push(index.to_string());
            self.value(of)?;
            self.place.pop();
        }
        Ok(())
    }

    /// A list of texts. Where it is none, Go tries to read one text.
    fn words(&mut self) -> Result<(), String> {
        self.next();
        loop {
            match self.peek() {
                None => return Ok(()),
                Some(b']') => {
                    self.next();
                    return Ok(());
                }
                Some(b',') => _ = self.next(),
                Some(b'"' | b'n') => _ = self.skip(),
                Some(_) => return Err(says_of_words("array")),
            }
        }
    }

    fn object(&mut self, of: &Type) -> Result<(), String> {
        self.next();
        loop {
            match self.peek() {
                None => return Ok(()),
                Some(b'}') => {
                    self.next();
                    return Ok(());
                }
                Some(b',') => _ = self.next(),
                Some(_) => {}
            }
            self.peek();
            let name: String = serde_json::from_slice(self.skip()).unwrap_or_default();
            self.peek();
            self.next();
            let inner = match of {
                Type::Map(_, of) => Some(*of),
                of => of.field(&name),
            };
            let Some(inner) = inner else {
                self.peek();
                self.skip();
                continue;
            };
            // As in a JSON pointer.
            self.place.push(name.replace('~', "~0").replace('/', "~1"));
            self.value(inner)?;
            self.place.pop();
        }
    }

    fn says(&self, value: &str, name: &str) -> String {
        let Some(last) = self.place.last() else {
            return format!("json: cannot unmarshal {value} into Go value of type {name}");
        };
        // What is a number is no field, to Go.
        let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        let field = if is_number { "" } else { "Go struct field " };
        let (root, place) = (self.root, self.place.join("."));
        format!("json: cannot unmarshal {value} into {field}{root}.{place} of type {name}")
    }

    /// Goes over the value that is next, whatever it is, or at least one byte. Its text.
    fn skip(&mut self) -> &'a [u8] {
        let all = self.rest;
        let mut depth = 0_usize;
        while let Some(byte) = self.next() {
            match byte {
                b'"' => self.string(),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {
                    let is_end = |byte: &u8| b" \t\r\n,:[]{}\"".contains(byte);
                    let length = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                    self.rest = &self.rest[length..];
                }
            }
            if depth == 0 {
                break;
            }
        }
        &all[..all.len() - self.rest.len()]
    }

    /// The rest of a text that has begun.
    fn string(&mut self) {
        while let Some(byte) = self.next() {
            match byte {
                b'"' => return,
                b'\\' => _ = self.next(),
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next byte that is no space, which stays.
    fn peek(&mut self) -> Option<u8> {
        let n = self.rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        self.rest = &self.rest[n..];
        self.rest.first().copied()
    }
}

/// What begins with this byte, in Go's words.
fn kind(first: u8) -> &'static str {
    match first {
        b'"' => "string",
        b'[' => "array",
        b'{' => "object",
        b't' | b'f' => "bool",
        _ => "number",
    }
}

/// They are read by a decoder of their own, which does not know where they are.
fn says_of_words(value: &str) -> String {
    format!("json: cannot unmarshal {value} into Go value of type string")
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;
    use crate::container::{CreateRequest, UpdateRequest};
    use crate::fold_keys;

    fn said<T: Request>(text: &str) -> Option<String> {
        let mut text = text.as_bytes().to_vec();
        fold_keys(&mut text);
        mismatch(&text, T::go().unwrap())
    }

    #[test]
    fn words_are_gos() {
        for (text, want) in [
            ("[]", "array into Go value of type container.CreateRequest"),
            (" 5 5", "number into Go value of type container.CreateRequest"),
            (r#"{"Hostname":5}"#, "number into Go struct field .Hostname of type string"),
            (r#"{"Tty":"x"}"#, "string into Go struct field .Tty of type bool"),
            (
                r#"{"hostconfig":{"MEMORY":true}}"#,
                "bool into Go struct field .HostConfig.Memory of type int64",
            ),
            (
                r#"{"HostConfig":{"Memory":1e3}}"#,
                "number 1e3 into Go struct field .HostConfig.Memory of type int64",
            ),
            (
                r#"{"HostConfig":{"BlkioWeight":99999999}}"#,
                "number 99999999 into Go struct field .HostConfig.BlkioWeight of type uint16",
            ),
            (
                r#"{"HostConfig":{"IOMaximumIOps":-1}}"#,
                "number -1 into Go struct field .HostConfig.IOMaximumIOps of type uint64",
            ),
            (
                r#"{"HostConfig":[]}"#,
                "array into Go struct field .HostConfig of type container.HostConfig",
            ),
            (
                r#"{"HostConfig":{"NetworkMode":{}}}"#,
                "object into Go struct field .HostConfig.NetworkMode of type container.NetworkMode",
            ),
            (r#"{"Cmd":5}"#, "number into Go value of type string"),
            (r#"{"Entrypoint":["a",null,5]}"#, "array into Go value of type string"),
            (r#"{"Env":5}"#, "number into Go struct field .Env of type []string"),
            (r#"{"Env":["a",null,[]]}"#, "array into .Env.2 of type string"),
            (
                r#"{"Labels":{"a~b/c":5}}"#,
                "number into Go struct field .Labels.a~0b~1c of type string",
            ),
            (r#"{"Labels":{"0":5}}"#, "number into .Labels.0 of type string"),
            (
                r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":80}]}}}"#,
                "number into Go struct field .HostConfig.PortBindings.80~1tcp.0.HostPort of type string",
            ),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"a":{"IPAMConfig":{"IPv4Address":5}}}}}"#,
                "number into Go struct field .NetworkingConfig.EndpointsConfig.a.IPAMConfig.IPv4Address of type string",
            ),
            // The first of several.
            (
                r#"{"Nope":[{"a":"}"},5],"HostConfig":{"Memory":"x"},"Image":5}"#,
                "string into Go struct field .HostConfig.Memory of type int64",
            ),
        ] {
            let want = format!("json: cannot unmarshal {want}");
            assert_eq!(said::<CreateRequest>(text).as_deref(), Some(&*want), "{text}");
        }
        for (text, want) in [
            (
                r#"{"RestartPolicy":{"Name":5}}"#,
                "number into Go struct field UpdateConfig.RestartPolicy.Name of type container.RestartPolicyMode",
            ),
            (
                r#"{"":{"Memory":5},"Memory":"x"}"#,
                "string into Go struct field UpdateConfig.Memory of type int64",
            ),
        ] {
            let want = format!("json: cannot unmarshal {want}");
            assert_eq!(said::<UpdateRequest>(text).as_deref(), Some(&*want), "{text}");
        }
    }

    #[test]
    fn what_is_right_is_not_complained_of() {
        for text in [
            "null",
            r#"{"Image":null,"Cmd":["a",null],"Entrypoint":"x","Tty":false,"HostConfig":{"Memory":-1}}"#,
            r#"{"Unknown":{"Memory":"x"},"Volumes":{"/a":{}},"HostConfig":{"BlkioWeight":65535}} x"#,
            r#"{"Labels":{"a\"}":"\\"},"HostConfig":{"Mounts":[{"Type":"bind"},null],"Init":null}}"#,
        ] {
            assert_eq!(said::<CreateRequest>(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_ends() {
        let whole =
            r#"{"HostConfig":{"Mounts":[{"Type":"a"}],"Memory":1},"Cmd":["a"],"Labels":{"a":"b"}}"#;
        for end in 0..whole.len() {
            said::<CreateRequest>(&whole[..end]);
            for byte in "{}[]:,\"\\ 1tn\0".chars() {
                said::<CreateRequest>(&format!("{}{byte}{}", &whole[..end], &whole[end + 1..]));
                said::<CreateRequest>(&format!("{}{byte}", &whole[..end]));
            }
        }
        for deep in ["[", "{\"a\":", "{\"Labels\":"] {
            said::<CreateRequest>(&deep.repeat(100_000));
        }
    }
}
