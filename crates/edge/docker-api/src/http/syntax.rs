//! What is wrong with a text that is no JSON, in the words of Go's decoder: clients compare them.

/// Why a text is none, or is none yet; `None` where it is.
pub(crate) fn complaint(text: &[u8]) -> Option<String> {
    let mut reader = Reader { rest: text, open: Vec::new() };
    match reader.document() {
        Ok(()) => None,
        Err(Wrong::Ends) => Some("unexpected EOF".into()),
        Err(Wrong::Byte(byte, place)) => {
            Some(format!("invalid character {} {place}", quoted(byte)))
        }
    }
}

/// What is wrong.
enum Wrong {
    /// It ends too early.
    Ends,
    /// A byte that may not stand where it does.
    Byte(u8, String),
}

/// Goes over a text once; what is open is a list, not the stack, since a text may be as deep as it is
/// long.
struct Reader<'a> {
    rest: &'a [u8],
    /// What is open: objects are true, lists are not.
    open: Vec<bool>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Wrong> {
        loop {
            self.value()?;
            while self.value_ended()? {}
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    /// The beginning of a value, or all of one that is no list and no object.
    fn value(&mut self) -> Result<(), Wrong> {
        loop {
            match self.after_space()? {
                b'{' => {
                    self.open.push(true);
                    if self.peek()? == b'}' {
                        return Ok(());
                    }
                    self.name()?;
                }
                b'[' => {
                    self.open.push(false);
                    if self.peek()? == b']' {
                        return Ok(());
                    }
                }
                b'"' => return self.string(),
                b't' => return self.word("true"),
                b'f' => return self.word("false"),
                b'n' => return self.word("null"),
                byte @ (b'-' | b'0'..=b'9') => return self.number(byte),
                byte => return wrong(byte, "looking for beginning of value"),
            }
        }
    }

    /// What follows a value: whether it closed what was open, so that another end may follow.
    fn value_ended(&mut self) -> Result<bool, Wrong> {
        let Some(is_object) = self.open.last().copied() else { return Ok(false) };
        match (self.after_space()?, is_object) {
            (b'}', true) | (b']', false) => {
                self.open.pop();
                Ok(true)
            }
            (b',', true) => self.name().map(|()| false),
            (b',', false) => Ok(false),
            (byte, true) => wrong(byte, "after object key:value pair"),
            (byte, false) => wrong(byte, "after array element"),
        }
    }

    /// A name in an object, and its colon.
    fn name(&mut self) -> Result<(), Wrong> {
        match self.after_space()? {
            b'"' => self.string()?,
            byte => return wrong(byte, "looking for beginning of object key string"),
        }
        match self.after_space()? {
            b':' => Ok(()),
            byte => wrong(byte, "after object key"),
        }
    }

    fn string(&mut self) -> Result<(), Wrong> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return wrong(byte, "in \\u hexadecimal character escape");
                            }
                        }
                    }
                    byte => return wrong(byte, "in string escape code"),
                },
                byte if byte < b' ' => return wrong(byte, "in string literal"),
                _ => {}
            }
        }
    }

    /// The rest of a word.
    fn word(&mut self, word: &str) -> Result<(), Wrong> {
        for wanted in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != wanted {
                let place = format!("in literal {word} (expecting {})", quoted(wanted));
                return Err(Wrong::Byte(byte, place));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), Wrong> {
        let mut first = first;
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return wrong(first, "in numeric literal");
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.rest.first() == Some(&b'.') {
            self.next()?;
            self.some_digit("after decimal point in numeric literal")?;
        }
        if matches!(self.rest.first(), Some(b'e' | b'E')) {
            self.next()?;
            if matches!(self.rest.first(), Some(b'+' | b'-')) {
                self.next()?;
            }
            self.some_digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn some_digit(&mut self, place: &str) -> Result<(), Wrong> {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return wrong(byte, place);
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        let n = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = &self.rest[n..];
    }

    fn next(&mut self) -> Result<u8, Wrong> {
        let (first, rest) = self.rest.split_first().ok_or(Wrong::Ends)?;
        self.rest = rest;
        Ok(*first)
    }

    fn after_space(&mut self) -> Result<u8, Wrong> {
        self.peek()?;
        self.next()
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Result<u8, Wrong> {
        let n = self.rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        self.rest = &self.rest[n..];
        self.rest.first().copied().ok_or(Wrong::Ends)
    }
}

fn wrong<T>(byte: u8, place: &str) -> Result<T, Wrong> {
    Err(Wrong::Byte(byte, place.to_owned()))
}

/// A byte as Go quotes one.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => "'\\\\'".into(),
        b'\n' => "'\\n'".into(),
        b'\r' => "'\\r'".into(),
        b'\t' => "'\\t'".into(),
        // It takes each byte for a character.
        b' '..=b'~' | 0xa1..=0xac | 0xae..=0xff => format!("'{}'", char::from(byte)),
        0x80.. => format!("'\\u{byte:04x}'"),
        _ => format!("'\\x{byte:02x}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_in_gos_words() {
        for (text, said) in [
            ("{invalid json", "invalid character 'i' looking for beginning of object key string"),
            ("{,}", "invalid character ',' looking for beginning of object key string"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":}"#, "invalid character '}' looking for beginning of value"),
            (r#"{"a":[1 2]}"#, "invalid character '2' after array element"),
            (r#"{"a":[1,]}"#, "invalid character ']' looking for beginning of value"),
            (r#"{"a":[[{}]}"#, "invalid character '}' after array element"),
            ("{\"a\":\"\n\"}", "invalid character '\\n' in string literal"),
            (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
            (r#"{"a":"\u12g4"}"#, "invalid character 'g' in \\u hexadecimal character escape"),
            (r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
            (r#"{"a":-}"#, "invalid character '}' in numeric literal"),
            (r#"{"a":1.}"#, "invalid character '}' after decimal point in numeric literal"),
            (r#"{"a":1e}"#, "invalid character '}' in exponent of numeric literal"),
            (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("{\"a\":\u{fc}}", "invalid character 'Ã' looking for beginning of value"),
            (r#"{"a":[{"b""#, "unexpected EOF"),
            ("", "unexpected EOF"),
        ] {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(said), "{text}");
        }
    }

    #[test]
    fn what_is_right_is_not_complained_of() {
        for text in [
            "{}",
            " [ ] ",
            r#"{"a":[{},[],{"b":[1,-0.5e+3,true,false,null,"\u00e9\n"]}],"c":{}}"#,
            "0",
            "\"a\"",
            "{} {",
        ] {
            assert_eq!(complaint(text.as_bytes()), None, "{text}");
        }
        for deep in ["[", "{\"a\":"] {
            let deep = deep.repeat(1 << 20);
            assert_eq!(complaint(deep.as_bytes()).as_deref(), Some("unexpected EOF"));
        }
    }
}
