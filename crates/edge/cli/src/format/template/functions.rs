//! The functions that a template may call: Go's own, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Error, types};

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

/// Those that the hint of a plugin may call besides: what they ask about is the command that has ended.
pub(super) const OF_HINTS: &[&str] = &["arg", "argValue", "command", "flag", "flagValue"];

/// Whether a function gives back the header of a column as it is.
pub(super) fn leaves_headers(name: &str) -> bool {
    matches!(name, "json" | "lower" | "title" | "truncate" | "upper")
}

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name) || is_of_hints(name)
}

pub(super) fn is_of_hints(name: &str) -> bool {
    OF_HINTS.contains(&name)
}

/// What one of [`OF_HINTS`] says of a command: an object with its `Name`, its `flags` and its `args`.
pub(super) fn of_hint(name: &str, arguments: &[Value], command: &Value) -> Result<Value, Error> {
    // The older ones are told the command first.
    let is_old = matches!(name, "arg" | "flag");
    let arguments = if is_old { arguments.get(1..).unwrap_or_default() } else { arguments };
    let found = match (name, arguments) {
        ("command", []) => command.get("Name"),
        ("flag" | "flagValue", [Value::String(flag)]) => command["flags"].get(flag),
        ("arg" | "argValue", [number]) => command["args"].get(count(number)?),
        _ => None,
    };
    found.cloned().ok_or_else(|| Error::new(format!("{name}: the command has none")))
}

pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let argument = |at: usize| {
        arguments.get(at).ok_or_else(|| {
            Error::new(format!("wrong number of args for {name}: {}", arguments.len()))
        })
    };
    let text = |at: usize| argument(at).map(print);
    Ok(match name {
        "json" => {
            serde_json::to_string(argument(0)?).map_err(|err| Error::new(err.to_string()))?.into()
        }
        "upper" => text(0)?.to_uppercase().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "title" => title(&text(0)?).into(),
        "join" => join(argument(0)?, &text(1)?).into(),
        "split" => text(0)?.split(&text(1)?).map(Value::from).collect(),
        "truncate" => text(0)?.chars().take(count(argument(1)?)?).collect::<String>().into(),
        "pad" => {
            let (before, after) = (count(argument(1)?)?, count(argument(2)?)?);
            match text(0)? {
                text if text.is_empty() => text.into(),
                text => format!("{}{text}{}", " ".repeat(before), " ".repeat(after)).into(),
            }
        }
        "len" => length(argument(0)?)?.into(),
        "index" => {
            let keys = arguments.get(1..).unwrap_or_default();
            keys.iter().try_fold(argument(0)?.clone(), |value, key| index(&value, key))?
        }
        "slice" => slice(argument(0)?, &arguments[1..])?,
        "not" => (!truth(argument(0)?)).into(),
        "eq" => {
            let first = argument(0)?;
            arguments[1..].iter().any(|other| equal(first, other)).into()
        }
        "ne" => (!equal(argument(0)?, argument(1)?)).into(),
        "lt" => (order(argument(0)?, argument(1)?) == Ordering::Less).into(),
        "le" => (order(argument(0)?, argument(1)?) != Ordering::Greater).into(),
        "gt" => (order(argument(0)?, argument(1)?) == Ordering::Greater).into(),
        "ge" => (order(argument(0)?, argument(1)?) != Ordering::Less).into(),
        "print" => print_all(arguments).into(),
        "js" => js(&print_all(arguments)).into(),
        "html" => html(&print_all(arguments)).into(),
        "urlquery" => crate::client::encode(&print_all(arguments))
            .replace("%20", "+")
            .replace('~', "%7E")
            .into(),
        "println" => {
            let words: Vec<_> = arguments.iter().map(print).collect();
            format!("{}\n", words.join(" ")).into()
        }
        "printf" => printf(&text(0)?, &arguments[1..]).into(),
        other => return Err(Error::new(format!("function {other:?} not defined"))),
    })
}

/// A value as Go prints it.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => print_object(map),
        other => other.to_string(),
    }
}

fn print_object(map: &Map<String, Value>) -> String {
    if let Some(fields) = types::order(map) {
        let field = |name: &&str| match types::field(map, name) {
            Some(value) if !value.is_null() => print(&value),
            _ => types::nil(name).to_owned(),
        };
        return format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(" "));
    }
    let item = |(key, value): (&String, &Value)| match value {
        // What is in a map is a struct, even if it is empty: ports that are exposed, say.
        Value::Object(inner) if inner.is_empty() => format!("{key}:{{}}"),
        // A port that nobody publishes: no other map has null in it.
        Value::Null => format!("{key}:[]"),
        value => format!("{key}:{}", print(value)),
    };
    let mut items: Vec<_> = map.iter().map(item).collect();
    items.sort();
    format!("map[{}]", items.join(" "))
}

/// Whether Go takes a value for true: anything but its type's empty one.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    order(one, other) == Ordering::Equal
}

fn order(one: &Value, other: &Value) -> Ordering {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => print(one).cmp(&print(other)),
    }
}

fn count(value: &Value) -> Result<usize, Error> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Error::new(format!("not a count: {value}")))
}

fn length(value: &Value) -> Result<usize, Error> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => Err(Error::new(format!("len of {other}"))),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, Error> {
    match value {
        Value::Object(map) => {
            let found = map.get(&print(key)).cloned();
            Ok(found.unwrap_or_else(|| empty_like(map.values().next())))
        }
        Value::Array(items) => {
            let at = count(key)?;
            let found = items.get(at).cloned();
            found
                .ok_or_else(|| Error::new(format!("error calling index: index out of range: {at}")))
        }
        Value::Null if key.is_string() => Ok(empty_like(None)),
        other => Err(Error::new(format!("error calling index: can't index item of {other}"))),
    }
}

/// What Go gives for a key that a map does not have: the empty value of the type of the others. Where
/// there are none it is that of a text, as most maps are of texts.
fn empty_like(other: Option<&Value>) -> Value {
    match other {
        None | Some(Value::String(_)) => "".into(),
        Some(Value::Bool(_)) => false.into(),
        Some(Value::Number(_)) => 0.into(),
        Some(Value::Array(_)) => Value::Array(Vec::new()),
        Some(Value::Null | Value::Object(_)) => Value::Null,
    }
}

fn slice(whole: &Value, bounds: &[Value]) -> Result<Value, Error> {
    let length = length(whole)?;
    let from = bounds.first().map_or(Ok(0), count)?;
    let to = bounds.get(1).map_or(Ok(length), count)?;
    let part = match whole {
        Value::String(text) => text.get(from..to).map(Value::from),
        Value::Array(items) => items.get(from..to).map(|items| items.to_vec().into()),
        _ => None,
    };
    part.ok_or_else(|| Error::new(format!("error calling slice: out of range: {from}..{to}")))
}

/// Values beside each other, with a space between two of which neither is a text.
fn print_all(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&print(value));
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// Text within a string of JavaScript.
fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' | '\0'..' ' => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn join(value: &Value, separator: &str) -> String {
    match value {
        Value::Array(items) => items.iter().map(print).collect::<Vec<_>>().join(separator),
        other => print(other),
    }
}

fn title(text: &str) -> String {
    let mut at_start = true;
    let upper = |c: char| {
        let first = std::mem::replace(&mut at_start, !c.is_alphanumeric());
        if first { c.to_uppercase().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(upper).collect()
}

/// The verbs `s v d t q f x X c` and `%%`, with the flags `-` and `0`, a width and a precision.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut left, mut zeros) = (false, false);
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0')) {
            left |= flag == '-';
            zeros |= flag == '0';
        }
        let width = number(&mut chars).unwrap_or(0);
        let precision = chars.next_if_eq(&'.').map(|_| number(&mut chars).unwrap_or(0));
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let text = match (arguments.next(), verb) {
            (Some(value), Some(verb)) => verb_of(value, verb, precision),
            (None, verb) => format!("%!{}(MISSING)", verb.unwrap_or(' ')),
            (Some(_), None) => "%!(NOVERB)".to_owned(),
        };
        out.push_str(&match (left, zeros) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        });
    }
    out
}

/// A number within a verb; none is larger than 1000.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(1000));
        chars.next();
    }
    number
}

fn verb_of(value: &Value, verb: char, precision: Option<usize>) -> String {
    let text = print(value);
    let cut = |text: String| match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    match (verb, value) {
        ('q', _) => format!("{:?}", cut(text)),
        ('f', Value::Number(number)) => {
            format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or(0.0))
        }
        ('x', Value::Number(number)) => number.as_i64().map_or(text, |n| format!("{n:x}")),
        ('X', Value::Number(number)) => number.as_i64().map_or(text, |n| format!("{n:X}")),
        ('c', Value::Number(number)) => {
            let code = number.as_u64().and_then(|code| u32::try_from(code).ok());
            code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER).to_string()
        }
        ('s' | 'v', Value::String(_)) => cut(text),
        ('s' | 'v' | 'd' | 't', _) => text,
        _ => format!("%!{verb}({text})"),
    }
}
