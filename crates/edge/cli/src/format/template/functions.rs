//! The functions that a template may call: Go's own, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::Error;

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
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
            format!("{}{}{}", " ".repeat(before), text(0)?, " ".repeat(after)).into()
        }
        "len" => length(argument(0)?)?.into(),
        "index" => {
            let keys = arguments.get(1..).unwrap_or_default();
            keys.iter().try_fold(argument(0)?.clone(), |value, key| index(&value, key))?
        }
        "slice" => {
            let whole = text(0)?;
            let from = arguments.get(1).map_or(Ok(0), count)?;
            let to = arguments.get(2).map_or(Ok(whole.len()), count)?;
            let part = whole.get(from..to);
            part.ok_or_else(|| Error::new(format!("slice out of range: {from}..{to}")))?.into()
        }
        "not" => (!truth(argument(0)?)).into(),
        "and" => first_that(arguments, |value| !truth(value)),
        "or" => first_that(arguments, truth),
        "eq" => {
            let first = argument(0)?;
            arguments[1..].iter().any(|other| equal(first, other)).into()
        }
        "ne" => (!equal(argument(0)?, argument(1)?)).into(),
        "lt" => (order(argument(0)?, argument(1)?) == Ordering::Less).into(),
        "le" => (order(argument(0)?, argument(1)?) != Ordering::Greater).into(),
        "gt" => (order(argument(0)?, argument(1)?) == Ordering::Greater).into(),
        "ge" => (order(argument(0)?, argument(1)?) != Ordering::Less).into(),
        "print" => arguments.iter().map(print).collect::<String>().into(),
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
        Value::Object(map) => {
            let mut items: Vec<_> =
                map.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
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

/// The first value of which `stops` is true, else the last.
fn first_that(arguments: &[Value], stops: impl Fn(&Value) -> bool) -> Value {
    let found = arguments.iter().find(|value| stops(value)).or(arguments.last());
    found.cloned().unwrap_or(Value::Null)
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
        other => Err(Error::new(format!("len of {other}"))),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, Error> {
    match value {
        Value::Object(map) => Ok(map.get(&print(key)).cloned().unwrap_or(Value::Null)),
        Value::Array(items) => {
            let at = count(key)?;
            let found = items.get(at).cloned();
            found
                .ok_or_else(|| Error::new(format!("error calling index: index out of range: {at}")))
        }
        Value::Null => Ok(Value::Null),
        other => Err(Error::new(format!("error calling index: can't index item of {other}"))),
    }
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

/// `%s`, `%v`, `%d`, `%q` and `%%`, with the flag `-` and a width.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let left = chars.next_if_eq(&'-').is_some();
        let mut width = 0;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            width = (width * 10 + digit as usize).min(1000);
            chars.next();
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let text = match (arguments.next(), verb) {
            (Some(value), Some('q')) => format!("{:?}", print(value)),
            (Some(value), Some('s' | 'v' | 'd' | 't' | 'f')) => print(value),
            (_, verb) => format!("%!{}(MISSING)", verb.unwrap_or(' ')),
        };
        let padded = if left { format!("{text:<width$}") } else { format!("{text:>width$}") };
        out.push_str(&padded);
    }
    out
}
