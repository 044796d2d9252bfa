#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;

use crate::{Error, HEADER, Kind, LONGEST, Message, Type, Value, text};

/// From the specification's words: a call of `Hello`, byte by byte.
#[test]
fn a_call_is_the_bytes_that_the_specification_says() {
    let mut call = Message::call("org.a", "/", "org.a", "Hi");
    call.serial = 7;
    call.body = vec![Value::U64(3), Value::string("x")];
    let bytes = call.encode().unwrap();
    let expected: &[&[u8]] = &[
        b"l\x01\x00\x01",
        &[14, 0, 0, 0, 7, 0, 0, 0],
        &[0x48, 0, 0, 0],
        b"\x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0",
        b"\x02\x01s\0\x05\0\0\0org.a\0\0\0",
        b"\x03\x01s\0\x02\0\0\0Hi\0\0\0\0\0\0",
        b"\x06\x01s\0\x05\0\0\0org.a\0\0\0",
        b"\x08\x01g\0\x02ts\0",
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'x', 0],
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(Message::length(bytes.first_chunk().unwrap()), Ok(bytes.len()));
    assert_eq!(Message::decode(&bytes), Ok(call));
}

#[test]
fn the_other_end_first_is_read_too() {
    let bytes = [
        &b"B\x02\x01\x01"[..],
        &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 16],
        &[5, 1, b'u', 0, 0, 0, 0, 4, 8, 1, b'g', 0, 2, b'q', b'i', 0],
        &[0, 5, 0, 0, 0xff, 0xff, 0xff, 0xfe],
    ]
    .concat();
    let message = Message::decode(&bytes).unwrap();
    assert_eq!((message.kind, message.serial, message.reply_to), (Kind::Reply, 9, 4));
    assert_eq!(message.body, [Value::U16(5), Value::I32(-2)]);
}

#[test]
fn signatures_are_read_as_they_are_written_or_not_at_all() {
    for good in ["", "s", "a(sv)", "a{sv}", "aa{oa{s(ib)}}", "(ybnqiuxtdsogvh)"] {
        let types = Type::parse_all(good).unwrap();
        assert_eq!(types.iter().map(Type::signature).collect::<String>(), good);
    }
    let deep =
        |open: &str, n: usize, close: &str| format!("{}i{}", open.repeat(n), close.repeat(n));
    assert!(Type::parse(&deep("a", 32, "")).is_ok());
    assert!(Type::parse(&deep("(", 32, ")")).is_ok());
    for bad in [
        "a",
        "(",
        ")",
        "()",
        "{sv}",
        "a{vs}",
        "a{s}",
        "a{svs}",
        "a{sv",
        "z",
        "(i",
        "i)",
        &deep("a", 33, ""),
        &deep("(", 33, ")"),
        &"i".repeat(256),
    ] {
        assert!(matches!(Type::parse_all(bad), Err(Error::Signature(_))), "{bad}");
    }
    assert!(Type::parse("ss").is_err());
}

#[test]
fn what_is_wrong_is_told() {
    let mut reply = Message::new(Kind::Reply);
    reply.reply_to = 1;
    reply.body = vec![Value::Bool(true)];
    let good = reply.encode().unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Message::decode(&bytes)
    };
    assert_eq!(
        changed(good.len() - 4, 2),
        Err(Error::Malformed("a boolean that is neither 0 nor 1"))
    );
    assert!(matches!(changed(0, b'x'), Err(Error::Malformed(_))));
    assert!(matches!(changed(3, 2), Err(Error::Malformed(_))));
    assert_eq!(changed(1, 5), Err(Error::Malformed("a kind that is none")));
    assert_eq!(changed(8, 0), Err(Error::Malformed("the serial number 0")));
    assert_eq!(changed(7, 0xff), Err(Error::Long(0xff00_0000 + good.len())));
    assert_eq!(Message::decode(&good[..good.len() - 1]), Err(Error::Short));
    assert_eq!(Message::decode(&[]), Err(Error::Short));
    // A reply to nothing.
    reply.reply_to = 0;
    assert!(matches!(Message::decode(&reply.encode().unwrap()), Err(Error::Malformed(_))));
    reply.body = vec![Value::string("x".repeat(LONGEST))];
    assert!(matches!(reply.encode(), Err(Error::Long(_))));
    reply.body = vec![Value::string("a\0b")];
    assert!(reply.encode().is_err());
    reply.body = vec![Value::Array(Type::Byte, vec![Value::Bool(true)])];
    assert!(reply.encode().is_err());
}

#[test]
fn variants_in_variants_end_somewhere() {
    let mut value = Value::Byte(1);
    for _ in 0..100 {
        value = value.variant();
    }
    let mut reply = Message::new(Kind::Reply);
    reply.reply_to = 1;
    reply.body = vec![value];
    let bytes = reply.encode().unwrap();
    assert_eq!(Message::decode(&bytes), Err(Error::Malformed("values nested too deep")));
}

#[test]
fn text_is_read_as_gvariant_says() {
    let strings =
        |all: &[&str]| Value::Array(Type::Str, all.iter().map(|one| Value::string(*one)).collect());
    for (words, value) in [
        ("true", Value::Bool(true)),
        (" 5 ", Value::I32(5)),
        ("-0x10", Value::I32(-16)),
        ("010", Value::I32(8)),
        ("uint64 123456789", Value::U64(123_456_789)),
        ("uint64 0xffffffffffffffff", Value::U64(u64::MAX)),
        ("int64 -9223372036854775808", Value::I64(i64::MIN)),
        ("byte 255", Value::Byte(255)),
        ("@q 7", Value::U16(7)),
        ("1.5", Value::Double(1.5)),
        ("double 2", Value::Double(2.0)),
        ("'inactive-or-failed'", Value::string("inactive-or-failed")),
        (r#""a\tb\"\u00e9""#, Value::string("a\tb\"é")),
        ("b'ab'", Value::bytes(b"ab\0")),
        ("['a', 'b']", strings(&["a", "b"])),
        ("@as []", strings(&[])),
        ("[uint16 1, 2]", Value::Array(Type::U16, vec![Value::U16(1), Value::U16(2)])),
        (
            "@a(ss) [('a', 'b')]",
            Value::Array(
                Type::parse("(ss)").unwrap(),
                vec![Value::Struct(vec![Value::string("a"), Value::string("b")])],
            ),
        ),
        ("<'x'>", Value::string("x").variant()),
        ("objectpath '/a/b'", Value::Path("/a/b".into())),
    ] {
        assert_eq!(text::parse(words), Ok(value), "{words}");
    }
    for bad in [
        "",
        "x",
        "5 6",
        "uint64 -1",
        "byte 256",
        "'a",
        "[]",
        "[1, 'a']",
        "[1 2]",
        "()",
        "5x",
        "-",
        "@zz 1",
        "@s 5",
        "uint32 'a'",
        "objectpath 'a'",
        "'\\ud800'",
        "'\\u12'",
        "<5",
        "0b1",
        "é",
        "3000000000",
        "boolean 1",
        "byte",
        &"[".repeat(5000),
        &"<".repeat(5000),
        &"@v".repeat(5000),
    ] {
        assert!(text::parse(bad).is_err(), "{bad}");
    }
}

fn value_of(of: &Type) -> BoxedStrategy<Value> {
    match of {
        Type::Byte => any::<u8>().prop_map(Value::Byte).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::I16 => any::<i16>().prop_map(Value::I16).boxed(),
        Type::U16 => any::<u16>().prop_map(Value::U16).boxed(),
        Type::I32 => any::<i32>().prop_map(Value::I32).boxed(),
        Type::U32 => any::<u32>().prop_map(Value::U32).boxed(),
        Type::I64 => any::<i64>().prop_map(Value::I64).boxed(),
        Type::U64 => any::<u64>().prop_map(Value::U64).boxed(),
        Type::Double => any::<i32>().prop_map(|n| Value::Double(f64::from(n) / 8.0)).boxed(),
        Type::Str => "[^\0]{0,9}".prop_map(Value::Str).boxed(),
        Type::Path => "(/[A-Za-z0-9_]{1,5}){1,3}".prop_map(Value::Path).boxed(),
        Type::Signature => "[a]{0,2}[ybnqiuxtdsogvh]".prop_map(Value::Signature).boxed(),
        Type::Fd => any::<u32>().prop_map(Value::Fd).boxed(),
        Type::Variant => {
            a_type().prop_flat_map(|of| value_of(&of)).prop_map(Value::variant).boxed()
        }
        Type::Array(item) => {
            let of = (**item).clone();
            let items = prop::collection::vec(value_of(item), 0..4);
            items.prop_map(move |items| Value::Array(of.clone(), items)).boxed()
        }
        Type::Struct(fields) => {
            fields.iter().map(value_of).collect::<Vec<_>>().prop_map(Value::Struct).boxed()
        }
        Type::Entry(both) => (value_of(&both.0), value_of(&both.1))
            .prop_map(|both| Value::Entry(Box::new(both)))
            .boxed(),
    }
}

/// A type without a variant in it, which could go on for ever.
fn a_type() -> BoxedStrategy<Type> {
    let basic =
        prop::sample::select(vec!["y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g", "h"]);
    let basic = basic.prop_map(|one| Type::parse(one).unwrap());
    let key = basic.clone();
    basic
        .prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                inner.clone().prop_map(|item| Type::Array(Box::new(item))),
                prop::collection::vec(inner.clone(), 1..4).prop_map(Type::Struct),
                (key.clone(), inner)
                    .prop_map(|both| Type::Array(Box::new(Type::Entry(Box::new(both))))),
            ]
        })
        .boxed()
}

fn a_message() -> impl Strategy<Value = Message> {
    let types = prop::collection::vec(prop_oneof![a_type(), Just(Type::Variant)], 0..4);
    let body = types.prop_flat_map(|types| types.iter().map(value_of).collect::<Vec<_>>());
    (1..u32::MAX, any::<u8>(), body).prop_map(|(serial, flags, body)| {
        let mut message = Message::call("a.b", "/c", "d.e", "F");
        message.serial = serial;
        message.flags = crate::Flags(flags);
        message.body = body;
        message
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in a_message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(Message::length(bytes.first_chunk::<HEADER>().unwrap()), Ok(bytes.len()));
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn damaged_messages_are_refused_or_read_as_what_they_say(
        message in a_message(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in 0..9_usize,
    ) {
        let mut bytes = message.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(read) = Message::decode(&bytes) {
            // As bytes: a number may have become one that equals nothing.
            let again = read.encode().unwrap();
            prop_assert_eq!(Message::decode(&again).unwrap().encode().unwrap(), again);
        }
    }

    #[test]
    fn any_bytes_and_texts_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), words in "\\PC{0,40}") {
        let _ = Message::decode(&bytes);
        let _ = text::parse(&words);
        let _ = Type::parse_all(&words);
    }
}
