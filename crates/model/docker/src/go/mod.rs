//! The types that `dockerd` reads requests as, and what Go's decoder says of a value that is of another one:
//! clients show it.
//!
//! What a request says is read by the other types of this crate; these are asked for words where those have
//! refused it. Names, fields and words are those of `dockerd` 28.5.2 with the decoder of Go 1.27, which was asked
//! for each of them. (Older ones name places less exactly.)

mod containers;
mod others;
mod walk;

pub use walk::mismatch;

use crate::{ContainerConfig, container, exec, network, secret, system, volume};

/// A type of Go's, with its name as Go prints it.
#[derive(Debug)]
pub enum Type {
    /// Texts.
    Text(&'static str),
    /// Truth values.
    Bool,
    /// Whole numbers.
    Int(&'static str, Width),
    /// Lists.
    List(&'static str, &'static Type),
    /// Objects with keys of people's own.
    Map(&'static str, &'static Type),
    /// Objects with these fields, by the names that they have in JSON; one without a name is a struct whose fields
    /// are theirs, as one that is embedded in Go.
    Struct(&'static str, &'static [(&'static str, &'static Type)]),
    /// Lists of texts, or one text (`strslice.StrSlice`).
    Words,
}

/// Which whole numbers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Signed, of 64 bits.
    I64,
    /// Unsigned, of 64 bits.
    U64,
    /// Unsigned, of 32 bits.
    U32,
    /// Unsigned, of 16 bits.
    U16,
}

static BOOL: Type = Type::Bool;
static TEXT: Type = Type::Text("string");
static WORDS: Type = Type::Words;
static TEXTS: Type = Type::List("[]string", &TEXT);
static TEXT_MAP: Type = Type::Map("map[string]string", &TEXT);
static INT: Type = Type::Int("int", Width::I64);
static INT64: Type = Type::Int("int64", Width::I64);
static UINT: Type = Type::Int("uint", Width::U64);
static UINT64: Type = Type::Int("uint64", Width::U64);
static UINT16: Type = Type::Int("uint16", Width::U16);

/// A request.
pub trait Request {
    /// The type that `dockerd` reads it as; none where it is ours alone.
    fn go() -> Option<&'static Type>;
}

macro_rules! requests {
    ($($request:ty => $of:expr,)*) => {$(
        impl Request for $request {
            fn go() -> Option<&'static Type> {
                Some(&$of)
            }
        }
    )*};
}

requests! {
    container::CreateRequest => containers::CREATE,
    // What is committed may be told as a request for a container.
    ContainerConfig => containers::CREATE,
    container::UpdateRequest => containers::UPDATE,
    exec::CreateRequest => containers::EXEC,
    exec::StartRequest => containers::EXEC_START,
    network::CreateRequest => others::NETWORK,
    network::ConnectRequest => others::CONNECT,
    network::DisconnectRequest => others::DISCONNECT,
    volume::CreateRequest => others::VOLUME,
    secret::SecretSpec => others::SECRET,
    system::AuthConfig => others::AUTH,
}

impl<T: Request> Request for Option<T> {
    fn go() -> Option<&'static Type> {
        T::go()
    }
}
