//! TOML 1.0, as far as files of configuration here need it: what is neither a text, a truth value, a
//! list nor a table (numbers, dates) is kept as it is written. The order of keys is kept.

use std::iter::Peekable;
use std::str::Chars;

/// Lists and tables go no deeper.
const MAX_DEPTH: usize = 64;

/// What a key has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    List(Vec<Value>),
    Table(Table),
    /// A number or a date.
    Other(String),
}

/// Keys with their values, in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
    kind: Kind,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Where, from 1.
    pub(crate) line: usize,
}

/// By what a table came to be: that says how it may be added to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    /// As the parent of one that has a header.
    #[default]
    Implied,
    /// `[a.b]`, or one of `[[a.b]]`.
    Header,
    /// `a.b = 1`
    Dotted,
    /// `{ a = 1 }`, also all that is within.
    Inline,
}

/// Why a text is no TOML, and the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: usize,
    pub(crate) why: String,
}

type Result<T> = std::result::Result<T, Wrong>;

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Table> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { chars: text.chars().peekable(), line: 1 };
    let mut root = Table::default();
    // Where the current header leads.
    let mut at: Vec<String> = Vec::new();
    loop {
        parser.skip_blank_lines()?;
        match parser.peek() {
            None => return Ok(root),
            Some('[') => {
                let line = parser.line;
                parser.next();
                let is_list = parser.take('[');
                at = parser.keys()?;
                parser.expect(']')?;
                if is_list {
                    parser.expect(']')?;
                }
                open(&mut root, &at, is_list, line).map_err(|why| Wrong { line, why })?;
            }
            Some(_) => {
                let line = parser.line;
                let keys = parser.keys()?;
                parser.expect('=')?;
                parser.skip_spaces();
                let value = parser.value(0)?;
                let table = find(&mut root, &at, line).map_err(|why| Wrong { line, why })?;
                set(table, &keys, value, Kind::Dotted, line).map_err(|why| Wrong { line, why })?;
            }
        }
        parser.end_of_line()?;
    }
}

/// Makes the table of a header.
fn open(
    root: &mut Table,
    keys: &[String],
    is_list: bool,
    line: usize,
) -> std::result::Result<(), String> {
    let Some((last, before)) = keys.split_last() else {
        return Err("a header without a name".into());
    };
    let parent = find(root, before, line)?;
    let twice = || Err(format!("`{}` is there twice", keys.join(".")));
    match parent.entries.iter_mut().find(|entry| entry.key == *last).map(|entry| &mut entry.value) {
        None => {
            let table = Table { kind: Kind::Header, ..Table::default() };
            let value = Value::Table(table);
            let value = if is_list { Value::List(vec![value]) } else { value };
            parent.entries.push(Entry { key: last.clone(), value, line });
        }
        Some(Value::Table(table)) if !is_list && table.kind == Kind::Implied => {
            table.kind = Kind::Header;
        }
        Some(Value::List(list)) if is_list && is_of_tables(list) => {
            list.push(Value::Table(Table { kind: Kind::Header, ..Table::default() }));
        }
        Some(_) => return twice(),
    }
    Ok(())
}

/// Whether a list is one of `[[a]]`, and not one that was written as a value.
fn is_of_tables(list: &[Value]) -> bool {
    matches!(list.last(), Some(Value::Table(Table { kind: Kind::Header, .. })))
}

/// The table that the keys of a header lead to; made where there is none.
fn find<'t>(
    mut table: &'t mut Table,
    keys: &[String],
    line: usize,
) -> std::result::Result<&'t mut Table, String> {
    for key in keys {
        let known = table.entries.iter().position(|entry| entry.key == *key);
        let idx = known.unwrap_or_else(|| {
            let value = Value::Table(Table::default());
            table.entries.push(Entry { key: key.clone(), value, line });
            table.entries.len() - 1
        });
        let value = &mut table.entries[idx].value;
        let is_list = matches!(value, Value::List(list) if is_of_tables(list));
        let found = match value {
            Value::List(list) => list.last_mut().filter(|_| is_list),
            value => Some(value),
        };
        table = match found {
            Some(Value::Table(table)) if table.kind != Kind::Inline => table,
            _ => return Err(format!("`{key}` is no table that can be added to")),
        };
    }
    Ok(table)
}

/// Sets `a.b.c` of a table. The tables that have to be made for it are of this kind.
fn set(
    mut table: &mut Table,
    keys: &[String],
    value: Value,
    kind: Kind,
    line: usize,
) -> std::result::Result<(), String> {
    let Some((last, before)) = keys.split_last() else {
        return Err("a value without a key".into());
    };
    for key in before {
        let known = table.entries.iter().position(|entry| entry.key == *key);
        let idx = known.unwrap_or_else(|| {
            let value = Value::Table(Table { kind: Kind::Dotted, ..Table::default() });
            table.entries.push(Entry { key: key.clone(), value, line });
            table.entries.len() - 1
        });
        table = match &mut table.entries[idx].value {
            Value::Table(table) if table.kind == Kind::Dotted => table,
            _ => return Err(format!("`{key}` is no table that can be added to")),
        };
    }
    if table.entries.iter().any(|entry| entry.key == *last) {
        return Err(format!("`{}` is there twice", keys.join(".")));
    }
    let value = if kind == Kind::Inline { sealed(value) } else { value };
    table.entries.push(Entry { key: last.clone(), value, line });
    Ok(())
}

/// What is within an inline table can never be added to.
fn sealed(value: Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(Table {
            kind: Kind::Inline,
            entries: table
                .entries
                .into_iter()
                .map(|entry| Entry { value: sealed(entry.value), ..entry })
                .collect(),
        }),
        value => value,
    }
}

struct Parser<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
}

impl Parser<'_> {
    fn wrong<T>(&self, why: impl Into<String>) -> Result<T> {
        Err(Wrong { line: self.line, why: why.into() })
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn take(&mut self, wanted: char) -> bool {
        self.chars.next_if_eq(&wanted).is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        self.skip_spaces();
        if self.take(wanted) { Ok(()) } else { self.wrong(format!("`{wanted}` is missing")) }
    }

    fn skip_spaces(&mut self) {
        while self.chars.next_if(|char| matches!(char, ' ' | '\t')).is_some() {}
    }

    fn comment(&mut self) -> Result<()> {
        if self.take('#') {
            while let Some(char) = self.chars.next_if(|char| *char != '\n') {
                // A carriage return only ends a line.
                if is_control(char) && !(char == '\r' && self.peek() == Some('\n')) {
                    return self.wrong("a control character in a comment");
                }
            }
        }
        Ok(())
    }

    /// One line's end, if there is one.
    fn newline(&mut self) -> Result<bool> {
        if self.take('\r') && self.peek() != Some('\n') {
            return self.wrong("a carriage return without a line's end");
        }
        Ok(self.peek() == Some('\n') && self.next().is_some())
    }

    fn skip_blank_lines(&mut self) -> Result<()> {
        loop {
            self.skip_spaces();
            self.comment()?;
            if !self.newline()? {
                return Ok(());
            }
        }
    }

    fn end_of_line(&mut self) -> Result<()> {
        self.skip_spaces();
        self.comment()?;
        if self.newline()? || self.peek().is_none() {
            return Ok(());
        }
        self.wrong("more on the line than there should be")
    }

    /// `a."b".'c'`
    fn keys(&mut self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        loop {
            self.skip_spaces();
            keys.push(match self.peek() {
                Some('"') => self.basic(false)?,
                Some('\'') => self.literal(false)?,
                _ => self.bare()?,
            });
            if keys.len() > MAX_DEPTH {
                return self.wrong("nested too deeply");
            }
            self.skip_spaces();
            if !self.take('.') {
                return Ok(keys);
            }
        }
    }

    fn bare(&mut self) -> Result<String> {
        let mut key = String::new();
        while let Some(char) =
            self.chars.next_if(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
        {
            key.push(char);
        }
        if key.is_empty() { self.wrong("a key is missing") } else { Ok(key) }
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return self.wrong("nested too deeply");
        }
        match self.peek() {
            Some('"') => self.basic(true).map(Value::Text),
            Some('\'') => self.literal(true).map(Value::Text),
            Some('[') => self.list(depth),
            Some('{') => self.inline(depth),
            _ => self.word(),
        }
    }

    /// `true`, `false`, a number or a date.
    fn word(&mut self) -> Result<Value> {
        let mut word = String::new();
        let is_part = |char: &char| {
            char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '+' | '.' | ':')
        };
        while let Some(char) = self.chars.next_if(is_part) {
            word.push(char);
        }
        match word.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            text if text.starts_with(|c: char| {
                c.is_ascii_digit() || matches!(c, '+' | '-' | 'i' | 'n')
            }) =>
            {
                // Between a date and a time there may be a space.
                let is_date = word.len() == 10 && word.as_bytes()[4] == b'-';
                let mut ahead = self.chars.clone();
                if is_date
                    && ahead.next() == Some(' ')
                    && ahead.next().is_some_and(|char| char.is_ascii_digit())
                {
                    self.chars.next();
                    word.push(' ');
                    while let Some(char) = self.chars.next_if(is_part) {
                        word.push(char);
                    }
                }
                Ok(Value::Other(word))
            }
            "" => self.wrong("a value is missing"),
            _ => self.wrong(format!("`{word}` is no value: a text has to be quoted")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value> {
        self.next();
        let mut list = Vec::new();
        loop {
            self.skip_blank_lines()?;
            if self.take(']') {
                return Ok(Value::List(list));
            }
            list.push(sealed(self.value(depth + 1)?));
            self.skip_blank_lines()?;
            if !self.take(',') && self.peek() != Some(']') {
                return self.wrong("a list has no end");
            }
        }
    }

    fn inline(&mut self, depth: usize) -> Result<Value> {
        self.next();
        let mut table = Table { kind: Kind::Inline, ..Table::default() };
        self.skip_spaces();
        if self.take('}') {
            return Ok(Value::Table(table));
        }
        loop {
            let keys = self.keys()?;
            self.expect('=')?;
            self.skip_spaces();
            let value = self.value(depth + keys.len())?;
            let line = self.line;
            set(&mut table, &keys, value, Kind::Inline, line).map_err(|why| Wrong { line, why })?;
            self.skip_spaces();
            if self.take('}') {
                return Ok(sealed(Value::Table(table)));
            }
            self.expect(',')?;
        }
    }

    /// Whether a text begins with three quotes, which are taken then; or with one. An empty one is
    /// taken as a whole.
    fn quotes(&mut self, quote: char, may_be_long: bool) -> Quotes {
        self.next();
        if !self.take(quote) {
            return Quotes::One;
        }
        if may_be_long && self.take(quote) { Quotes::Three } else { Quotes::Empty }
    }

    fn basic(&mut self, may_be_long: bool) -> Result<String> {
        let is_long = match self.quotes('"', may_be_long) {
            Quotes::Empty => return Ok(String::new()),
            quotes => quotes == Quotes::Three,
        };
        let mut text = String::new();
        if is_long {
            self.newline()?;
        }
        loop {
            match self.next() {
                Some('"') if !is_long => return Ok(text),
                Some('"') => {
                    if self.ends('"', &mut text) {
                        return Ok(text);
                    }
                }
                Some('\\') => self.escape(is_long, &mut text)?,
                char => self.plain(char, is_long, &mut text)?,
            }
        }
    }

    fn literal(&mut self, may_be_long: bool) -> Result<String> {
        let is_long = match self.quotes('\'', may_be_long) {
            Quotes::Empty => return Ok(String::new()),
            quotes => quotes == Quotes::Three,
        };
        let mut text = String::new();
        if is_long {
            self.newline()?;
        }
        loop {
            match self.next() {
                Some('\'') if !is_long => return Ok(text),
                Some('\'') => {
                    if self.ends('\'', &mut text) {
                        return Ok(text);
                    }
                }
                char => self.plain(char, is_long, &mut text)?,
            }
        }
    }

    /// After one quote of a long text: whether it ends here. Up to two quotes before the three that
    /// end it are part of it.
    fn ends(&mut self, quote: char, text: &mut String) -> bool {
        let mut n = 1;
        while n < 5 && self.take(quote) {
            n += 1;
        }
        if n < 3 {
            text.extend(std::iter::repeat_n(quote, n));
            return false;
        }
        text.extend(std::iter::repeat_n(quote, n - 3));
        true
    }

    fn plain(&mut self, char: Option<char>, is_long: bool, text: &mut String) -> Result<()> {
        match char {
            None => self.wrong("a text has no end"),
            Some('\n') if is_long => {
                text.push('\n');
                Ok(())
            }
            Some('\r') if is_long && self.peek() == Some('\n') => Ok(()),
            Some(char) if is_control(char) => self.wrong("a control character in a text"),
            Some(char) => {
                text.push(char);
                Ok(())
            }
        }
    }

    fn escape(&mut self, is_long: bool, text: &mut String) -> Result<()> {
        let line = self.line;
        let n_digits = match self.next() {
            Some('b') => return text_of('\u{8}', text),
            Some('t') => return text_of('\t', text),
            Some('n') => return text_of('\n', text),
            Some('f') => return text_of('\u{c}', text),
            Some('r') => return text_of('\r', text),
            Some('"') => return text_of('"', text),
            Some('\\') => return text_of('\\', text),
            Some('u') => 4,
            Some('U') => 8,
            // The end of a line, and all that is blank after it, is nothing.
            Some('\r') if is_long && self.peek() == Some('\n') => return self.fold(line),
            Some(' ' | '\t' | '\n') if is_long => return self.fold(line),
            _ => return self.wrong("an escape that there is not"),
        };
        let mut code = 0;
        for _ in 0..n_digits {
            let Some(digit) = self.next().and_then(|char| char.to_digit(16)) else {
                return self.wrong("an escape that there is not");
            };
            code = code << 4 | digit;
        }
        match char::from_u32(code) {
            Some(char) => text_of(char, text),
            None => self.wrong("an escape of no character"),
        }
    }

    /// What is blank after the backslash at a line's end; the line was this one.
    fn fold(&mut self, line: usize) -> Result<()> {
        while let Some(char) = self.peek().filter(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
            if char == '\r' {
                self.newline()?;
            } else {
                self.next();
            }
        }
        if self.line > line { Ok(()) } else { self.wrong("an escape that there is not") }
    }
}

#[derive(PartialEq)]
enum Quotes {
    Empty,
    One,
    Three,
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of each arm of a match")]
fn text_of(char: char, text: &mut String) -> Result<()> {
    text.push(char);
    Ok(())
}

fn is_control(char: char) -> bool {
    char != '\t' && (char < ' ' || char == '\u{7f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On one line, so that it can be seen at a glance.
    fn shown(value: &Value) -> String {
        match value {
            Value::Text(text) => format!("{text:?}"),
            Value::Bool(bool) => bool.to_string(),
            Value::Other(text) => text.clone(),
            Value::List(list) => {
                format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            Value::Table(table) => table_shown(table),
        }
    }

    fn table_shown(table: &Table) -> String {
        let entries = table.entries.iter();
        let entries = entries.map(|entry| format!("{}:{}", entry.key, shown(&entry.value)));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn documents() {
        for (text, want) in [
            ("", "{}"),
            ("a = 1 # c\r\n\n b= 'x' \n", r#"{a:1,b:"x"}"#),
            ("[b.c]\nx=true\n[b]\ny=false\n[a]\n", "{b:{c:{x:true},y:false},a:{}}"),
            (
                "[host.\"https://a.b:1\"]\nx.'y z'.w = 1979-05-27 07:32:00Z\n",
                "{host:{https://a.b:1:{x:{y z:{w:1979-05-27 07:32:00Z}}}}}",
            ),
            (
                "a=[ 1, 'b' # c\n , [ { c = true, d.e = [] } ,],\n]",
                r#"{a:[1,"b",[{c:true,d:{e:[]}}]]}"#,
            ),
            ("[[a]]\nb=1\n[a.c]\nd=2\n[[a]]\n", "{a:[{b:1,c:{d:2}},{}]}"),
            (r#"a="\u00e9\t\"\\""#, r#"{a:"é\t\"\\"}"#),
            ("a=\"\"\"\nx\\\n  y \"\" z\"\"\"\"\nb='''\nc\\'''", r#"{a:"xy \"\" z\"",b:"c\\"}"#),
            ("a=\"\"\nb=''\nc=''''''", r#"{a:"",b:"",c:""}"#),
        ] {
            let found = parse(text).map(|table| table_shown(&table));
            assert_eq!(found, Ok(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_said_with_its_line() {
        for (text, line, why) in [
            ("a = 1\na = 2", 2, "`a` is there twice"),
            ("[a]\n[b]\n[a]", 3, "`a` is there twice"),
            ("a.b = 1\n[a]", 2, "`a` is there twice"),
            ("a = {b = 1}\na.c = 2", 2, "`a` is no table that can be added to"),
            ("a = {b = 1}\n[a.c]", 2, "`a` is no table that can be added to"),
            ("a = [{}]\n[[a]]", 2, "`a` is there twice"),
            ("[a.b]\n[a]\nb.c = 1", 3, "`b` is no table that can be added to"),
            ("a = b", 1, "`b` is no value: a text has to be quoted"),
            ("\na", 2, "`=` is missing"),
            ("a = 'x", 1, "a text has no end"),
            ("a = 'x\u{1}'", 1, "a control character in a text"),
            ("a = 1 2", 1, "more on the line than there should be"),
            ("a = [1", 1, "a list has no end"),
            ("a = \"\\q\"", 1, "an escape that there is not"),
            ("a = \"\\ud800\"", 1, "an escape of no character"),
            ("[a", 1, "`]` is missing"),
            ("= 1", 1, "a key is missing"),
        ] {
            assert_eq!(parse(text), Err(Wrong { line, why: why.into() }), "{text}");
        }
        assert!(parse(&format!("a={}", "[".repeat(100_000))).is_err());
        assert!(parse(&format!("a={}1", "{a=".repeat(100_000))).is_err());
        assert!(parse(&format!("{}a=1", "a.".repeat(100_000))).is_err());
    }
}
