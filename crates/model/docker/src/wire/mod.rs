//! Go's JSON on serde: `null` is a zero value everywhere, nil and empty lists differ.

mod fold;
mod list;
mod map;
mod words;

pub use fold::fold_keys;
pub use list::List;
pub use map::Map;
pub use words::{StrSlice, Words};

use serde::{Deserialize, Deserializer, Serialize};

/// Declares structs that read as Go's `encoding/json` reads them: absent and `null` fields are the
/// zero value, unknown fields are ignored. Names are `PascalCase` unless a field says otherwise.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty, )*
            $( @flatten $(#[$xmeta:meta])* pub $xfield:ident : $xty:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        $vis struct $name {
            $(
                $(#[$fmeta])*
                #[serde(deserialize_with = "crate::wire::null_is_zero")]
                pub $field: $ty,
            )*
            $(
                $(#[$xmeta])*
                #[serde(flatten)]
                pub $xfield: $xty,
            )*
        }
    )*};
}

/// Reads `null` as the zero value.
pub(crate) fn null_is_zero<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Whether a value is the zero value that Go's `omitempty` leaves out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Go's `struct{}`: `{}` on the wire. It is what Docker's sets map their keys to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    wire! {
        /// A struct with each kind of field.
        struct Sample {
            /// Text.
            pub text: String,
            /// A list.
            pub list: List<String>,
            /// A map.
            pub map: Map<String>,
            /// A set.
            #[serde(skip_serializing_if = "Map::is_empty")]
            pub set: Map<Empty>,
            /// Words.
            pub words: StrSlice,
        }
    }

    fn read(json: &str) -> Sample {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn null_and_absent_are_zero() {
        assert_eq!(read(r#"{"Text":null,"List":null,"Map":null,"Set":null}"#), Sample::default());
        assert_eq!(read(r#"{"Unknown":[1,{"a":2}]}"#), Sample::default());
    }

    #[test]
    fn nil_and_empty_differ_when_written() {
        let json = serde_json::to_string(&Sample::default()).unwrap();
        assert_eq!(json, r#"{"Text":"","List":null,"Map":null,"Words":null}"#);
        let json = serde_json::to_string(&read(r#"{"List":[],"Map":{},"Words":[]}"#)).unwrap();
        assert_eq!(json, r#"{"Text":"","List":[],"Map":{},"Words":[]}"#);
    }

    #[test]
    fn null_inside_a_list_or_a_map_is_zero() {
        let sample = read(r#"{"List":[null,"a"],"Map":{"k":null},"Set":{"80/tcp":null}}"#);
        assert_eq!(&*sample.list, ["", "a"]);
        assert_eq!(sample.map["k"], "");
        assert!(sample.set.contains_key("80/tcp"));
    }

    #[test]
    fn words_may_be_one_string() {
        assert_eq!(read(r#"{"Words":"top -b"}"#).words[..], ["top -b"]);
        assert!(serde_json::from_str::<Sample>(r#"{"List":"top"}"#).is_err());
    }
}
