//! What a fuzz target asks of the readers of what clients send: there only where it is built
//! (`--cfg fuzzing`).
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a panic is what is looked for")]

use std::cell::OnceCell;
use std::path::PathBuf;

use buildkit::fsutil::Packet;
use buildkit::{control, filesync, gateway, pb};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::Streaming;
use tonic::codec::Codec as _;
use tonic_prost::ProstCodec;

use crate::definition::result_of;
use crate::fsutil::Receiver;
use crate::request;
use crate::session::Announced;
use crate::transport::MESSAGE;

/// A directory with one for what comes, and with what nobody may touch beside it.
struct Place(PathBuf);

/// What is in the file beside it.
const OTHERS: &[u8] = b"somebody else's";

impl Place {
    fn new() -> Self {
        let base = std::env::temp_dir().join(format!("dhow-fuzz-session-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("into/old/a")).unwrap();
        std::fs::create_dir_all(base.join("into/a")).unwrap();
        std::fs::create_dir(base.join("other")).unwrap();
        std::fs::write(base.join("other/file"), OTHERS).unwrap();
        std::fs::write(base.join("into/old/file"), b"old").unwrap();
        // What the last transfer has left may point anywhere.
        std::os::unix::fs::symlink("../other", base.join("into/out")).unwrap();
        std::os::unix::fs::symlink("../../other/file", base.join("into/a/b")).unwrap();
        Self(base)
    }

    fn check(&self) {
        let names = |path: &str| {
            let mut names: Vec<_> = std::fs::read_dir(self.0.join(path))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("."), ["into", "other"]);
        assert_eq!(names("other"), ["file"]);
        assert_eq!(std::fs::read(self.0.join("other/file")).unwrap(), OTHERS);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Packets of a tree of files: whatever they say, only the directory that they are for is changed.
pub fn tree(packets: impl IntoIterator<Item = Packet>) {
    let place = Place::new();
    let mut receiver = Receiver::new(&place.0.join("into")).unwrap();
    for packet in packets {
        match receiver.take(packet) {
            Ok(_) => assert!(receiver.received().is_none_or(|it| it.n_bytes_sent < 1 << 40)),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
        if receiver.received().is_some() {
            break;
        }
    }
    place.check();
}

thread_local! {
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

/// All messages of a stream of frames, up to the first that is none.
fn messages<M: Message + Default + 'static>(bytes: &[u8], piece: usize) -> Vec<M> {
    let pieces: Vec<Result<Frame<Bytes>, tonic::Status>> =
        bytes.chunks(piece).map(|one| Ok(Frame::data(Bytes::copy_from_slice(one)))).collect();
    let body = StreamBody::new(tokio_stream::iter(pieces));
    let decoder = ProstCodec::<M, M>::default().decoder();
    let mut stream = Streaming::new_request(decoder, body, None, Some(MESSAGE));
    RUNTIME.with(|runtime| {
        let runtime =
            runtime.get_or_init(|| Builder::new_current_thread().enable_all().build().unwrap());
        runtime.block_on(async {
            let mut all = Vec::new();
            while let Ok(Some(message)) = stream.message().await {
                all.push(message);
            }
            all
        })
    })
}

/// Frames of gRPC as calls have them, cut into pieces, and what the services make of the messages.
pub fn frames(service: u8, bytes: &[u8], piece: usize) {
    match service % 6 {
        0 => messages::<control::SolveRequest>(bytes, piece).iter().for_each(|asked| {
            let built = request::build(asked);
            if let Ok(built) = &built {
                assert!(!built.id.contains(['/', '.', '\0']) && !built.id.is_empty());
            }
            let _ = request::frontend(
                &asked.frontend,
                &asked.frontend_attrs,
                &[],
                std::collections::BTreeMap::new(),
            );
            asked.definition.iter().chain(asked.frontend_inputs.values()).for_each(definition);
        }),
        1 => messages::<gateway::SolveRequest>(bytes, piece).iter().for_each(|asked| {
            let _ = request::frontend(
                &asked.frontend,
                &asked.frontend_opt,
                &asked.cache_imports,
                std::collections::BTreeMap::new(),
            );
            asked.definition.iter().chain(asked.frontend_inputs.values()).for_each(definition);
        }),
        2 => messages::<control::PruneRequest>(bytes, piece).iter().for_each(|asked| {
            let _ = crate::cache::pruning(asked);
            let _ = crate::cache::filters(&asked.filter);
        }),
        3 => tree(messages::<Packet>(bytes, piece)),
        4 => drop(messages::<filesync::BytesMessage>(bytes, piece)),
        _ => messages::<pb::Definition>(bytes, piece).iter().for_each(definition),
    }
}

fn definition(definition: &pb::Definition) {
    if let Some(name) = result_of(definition) {
        assert!(!definition.def.is_empty(), "{name}");
    }
    crate::places::Places::default().add(definition);
    if let Ok(read) = llb::read(definition, &mut |name| Ok(name.to_owned())) {
        assert_eq!(read.is_none(), definition.def.is_empty());
    }
}

/// A graph of a client's own, of operations as they come; and of the same, each with inputs that are there, so that
/// they hang together.
pub fn graph(operations: &[&[u8]]) {
    let def = operations.iter().map(|bytes| bytes.to_vec()).collect();
    definition(&pb::Definition { def, ..pb::Definition::default() });
    let mut def = Vec::new();
    let mut digests: Vec<String> = Vec::new();
    let last = pb::Op { inputs: vec![pb::Input::default()], ..pb::Op::default() }.encode_to_vec();
    for bytes in operations.iter().copied().chain([last.as_slice()]) {
        let Ok(mut op) = pb::Op::decode(bytes) else { continue };
        if digests.is_empty() {
            op.inputs.clear();
        }
        for input in &mut op.inputs {
            // The last is what most of them are of.
            let at = digests.len() - 1 - input.digest.len() % digests.len();
            input.digest.clone_from(&digests[at]);
        }
        let bytes = op.encode_to_vec();
        digests.push(oci::Digest::sha256(&bytes).to_string());
        def.push(bytes);
    }
    definition(&pb::Definition { def, ..pb::Definition::default() });
}

/// Headers of a session that begins: its id is one that can be a name.
pub fn headers(given: &[(u8, &[u8])]) {
    const NAMES: [&str; 4] = [
        "x-docker-expose-session-uuid",
        "x-docker-expose-session-sharedkey",
        "x-docker-expose-session-grpc-method",
        "x-docker-expose-session-name",
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let _ = Announced::read(&headers);
}
