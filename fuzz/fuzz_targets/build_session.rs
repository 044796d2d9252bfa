//! What clients of the builder send: packets of a tree of files change nothing but the directory that they
//! are received into; frames of gRPC, their messages and graphs are refused or read.
#![no_main]

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use buildkit_api::fuzz;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Tree(Vec<Told<'a>>),
    Frames(u8, &'a [u8], u8),
    Graph(Vec<&'a [u8]>),
    Headers(Vec<(u8, &'a [u8])>),
}

/// A packet. Paths are mostly of few parts, so that some fit to others.
#[derive(Arbitrary, Debug)]
enum Told<'a> {
    Entry {
        path: Path<'a>,
        kind: u8,
        permissions: u16,
        size: u8,
        link: Path<'a>,
        time: i64,
    },
    AnyEntry {
        mode: u32,
        path: &'a [u8],
        link: &'a [u8],
        size: i64,
        xattr: Option<(&'a str, &'a [u8])>,
    },
    Data(u8, &'a [u8]),
    End,
    Other(i32),
}

#[derive(Arbitrary, Debug)]
enum Path<'a> {
    Parts(u8, u8, u8),
    Any(&'a [u8]),
}

const PARTS: [&str; 8] = ["a", "b", "file", "old", "out", "z", "..", ""];
/// A directory, a link, a named pipe, a device, a file.
const KINDS: [u32; 5] = [1 << 31, 1 << 27, 1 << 25, 1 << 26, 0];

impl Path<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Any(bytes) => bytes.to_vec(),
            Self::Parts(first, second, third) => {
                // The last part of a path is rarely one of nothing, the others often.
                let part = |at: u8| PARTS[usize::from(at) % PARTS.len()];
                let all = [part(*first), part(*second), part(*third)];
                let n = 1 + usize::from(*third) / 100;
                all[3 - n..].join("/").into_bytes()
            }
        }
    }
}

fn packet(told: Told) -> Packet {
    let (kind, stat) = match told {
        Told::Entry { path, kind, permissions, size, link, time } => {
            let kind = KINDS[usize::from(kind) % KINDS.len()];
            let stat = Stat {
                path: path.bytes(),
                mode: kind | u32::from(permissions & 0o777) | 0o400,
                size: if kind == 0 { i64::from(size) } else { 0 },
                linkname: if kind == 0 && size % 2 == 0 { Vec::new() } else { link.bytes() },
                mod_time: time,
                ..Stat::default()
            };
            (PacketType::PacketStat, Some(stat))
        }
        Told::AnyEntry { mode, path, link, size, xattr } => {
            let stat = Stat {
                path: path.to_vec(),
                mode,
                size,
                linkname: link.to_vec(),
                xattrs: xattr
                    .into_iter()
                    .map(|(key, value)| (key.into(), value.to_vec()))
                    .collect(),
                ..Stat::default()
            };
            (PacketType::PacketStat, Some(stat))
        }
        Told::Data(id, bytes) => {
            let data = bytes.to_vec().into();
            return Packet {
                r#type: PacketType::PacketData.into(),
                id: id.into(),
                data,
                ..Packet::default()
            };
        }
        Told::End => (PacketType::PacketStat, None),
        Told::Other(r#type) => return Packet { r#type, ..Packet::default() },
    };
    Packet { r#type: kind.into(), stat, ..Packet::default() }
}

fuzz_target!(|input: Input| match input {
    Input::Tree(told) => fuzz::tree(told.into_iter().map(packet)),
    Input::Frames(service, bytes, piece) => fuzz::frames(service, bytes, usize::from(piece) + 1),
    Input::Graph(operations) => fuzz::graph(&operations),
    Input::Headers(headers) => fuzz::headers(&headers),
});
