//! Changes to a JSON document that leave it one: bytes changed at random hardly ever do.

use serde_json::{Map, Value};

/// A generator of numbers: xorshift.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) << 1 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 8) as usize % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Keys and values that are likely to matter.
pub struct Words {
    pub keys: &'static [&'static str],
    pub values: &'static [&'static str],
}

/// Changes one place of `value`.
pub fn mutate(value: &mut Value, words: &Words, random: &mut Random) {
    let places = count(value);
    let mut place = random.below(places);
    change(value, &mut place, words, random);
}

/// How many values there are in it, itself among them.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn change(value: &mut Value, place: &mut usize, words: &Words, random: &mut Random) -> bool {
    if *place == 0 {
        here(value, words, random);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|one| change(one, place, words, random)),
        Value::Object(map) => map.values_mut().any(|one| change(one, place, words, random)),
        _ => false,
    }
}

fn here(value: &mut Value, words: &Words, random: &mut Random) {
    let other = random.below(12) == 0;
    match value {
        _ if other => *value = new(words, random, 0),
        Value::Null => *value = new(words, random, 0),
        Value::Bool(is) => *is = !*is,
        Value::Number(_) => *value = number(random),
        Value::String(text) => string(text, words, random),
        Value::Array(list) => array(list, words, random),
        Value::Object(map) => object(map, words, random),
    }
}

fn number(random: &mut Random) -> Value {
    let bits = random.next();
    match random.below(6) {
        0 => Value::from(random.below(8)),
        1 => Value::from(1_u64 << (bits % 64)),
        2 => Value::from((1_u64 << (bits % 64)) - 1),
        3 => Value::from(-(random.below(5000) as i64)),
        4 => Value::from(bits as u32),
        _ => Value::from(i64::MIN >> (bits % 64)),
    }
}

fn string(text: &mut String, words: &Words, random: &mut Random) {
    let at = text.char_indices().map(|(at, _)| at).nth(random.below(text.len().max(1)));
    let at = at.unwrap_or(0);
    match random.below(6) {
        0 => text.insert_str(at, random.pick(words.values)),
        1 => text.truncate(at),
        2 => text.insert(at, char::from_u32(random.below(0x180) as u32).unwrap_or('/')),
        3 => *text = text.repeat(2),
        _ => *text = random.pick(words.values).to_owned(),
    }
    text.truncate((0..=text.len().min(600)).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0));
}

fn array(list: &mut Vec<Value>, words: &Words, random: &mut Random) {
    let at = random.below(list.len().max(1));
    match random.below(4) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 if !list.is_empty() && list.len() < 40 => list.push(list[at].clone()),
        2 if !list.is_empty() => {
            let last = list.len() - 1;
            list.swap(at, last);
        }
        _ => list.push(new(words, random, 0)),
    }
}

fn object(map: &mut Map<String, Value>, words: &Words, random: &mut Random) {
    let key = map.keys().nth(random.below(map.len().max(1))).cloned();
    match (random.below(4), key) {
        (0, Some(key)) => drop(map.remove(&key)),
        (1, Some(key)) => {
            let value = map.get(&key).cloned().unwrap_or_default();
            map.insert(random.pick(words.keys).to_owned(), value);
        }
        _ => drop(map.insert(random.pick(words.keys).to_owned(), new(words, random, 0))),
    }
}

fn new(words: &Words, random: &mut Random, depth: usize) -> Value {
    match random.below(if depth < 3 { 10 } else { 6 }) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 => number(random),
        3..=5 => Value::from(random.pick(words.values)),
        6 | 7 => (0..random.below(3)).map(|_| new(words, random, depth + 1)).collect(),
        _ => (0..random.below(4))
            .map(|_| (random.pick(words.keys).to_owned(), new(words, random, depth + 1)))
            .collect(),
    }
}
