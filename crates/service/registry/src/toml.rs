//! TOML documents, with the line of each key, and of what is wrong. What is neither a text, a truth
//! value, a list nor a table (numbers, dates) is kept as text. The order of keys is kept.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Where, from 1.
    pub(crate) line: usize,
}

/// Why a text is no TOML, and the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Table, Wrong> {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(lines.table(table.into_inner())),
        Err(error) => Err(Wrong {
            line: lines.at(error.span().map_or(0, |span| span.start)),
            why: error.message().replace('\n', ", "),
        }),
    }
}

/// Where the lines of a text begin, the first one aside.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line that has this byte, from 1.
    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= offset)
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
            let line = self.at(key.span().start);
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            Entry { key: key.into_owned(), value: self.value(value.into_inner()), line }
        };
        Table { entries: table.into_iter().map(entry).collect() }
    }

    fn value(&self, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Boolean(bool) => Value::Bool(bool),
            DeValue::Array(list) => {
                Value::List(list.into_iter().map(|one| self.value(one.into_inner())).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Integer(number) => Value::Other(number.as_str().to_owned()),
            DeValue::Float(number) => Value::Other(number.as_str().to_owned()),
            DeValue::Datetime(date) => Value::Other(date.to_string()),
        }
    }
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
                "{host:{https://a.b:1:{x:{y z:{w:1979-05-27T07:32:00Z}}}}}",
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
        for (text, line) in [
            ("a = 1\na = 2", 2),
            ("[a]\n[b]\n[a]", 3),
            ("a = {b = 1}\n[a.c]", 2),
            ("a = b", 1),
            ("\na", 2),
            ("\n\na = 'x", 3),
            ("a = 1 2", 1),
            ("a = \"\\q\"", 1),
            ("[a", 1),
            ("= 1", 1),
        ] {
            let wrong = parse(text).unwrap_err();
            assert_eq!(wrong.line, line, "{text}: {}", wrong.why);
            assert!(!wrong.why.is_empty() && !wrong.why.contains('\n'), "{text}: {:?}", wrong.why);
        }
        assert!(parse(&format!("a={}", "[".repeat(100_000))).is_err());
        assert!(parse(&format!("a={}1", "{a=".repeat(100_000))).is_err());
        assert!(parse(&format!("{}a=1", "a.".repeat(100_000))).is_err());
    }
}
