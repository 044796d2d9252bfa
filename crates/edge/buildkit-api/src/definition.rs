//! Graphs of the low-level builder, of which only those are taken that were given out here: a source that
//! names a result. Clients pass them on where one build is the context of another one.

use buildkit::pb::{self, op::Op};
use oci::Digest;
use prost::Message;

/// What the source of such a graph begins with.
const SCHEME: &str = "dhow-result://";
/// A graph of one source is two operations; a client may have put a few more around it.
const OPERATIONS: usize = 16;

/// The graph whose result is the one of this name.
pub(crate) fn of_result(name: &str) -> pb::Definition {
    let source = pb::SourceOp { identifier: format!("{SCHEME}{name}"), ..pb::SourceOp::default() };
    let source = pb::Op { op: Some(Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let digest = Digest::sha256(&source).to_string();
    let input = pb::Input { digest: digest.clone(), index: 0 };
    let last = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let metadata = [(digest, pb::OpMetadata::default())].into();
    pb::Definition { def: vec![source, last], metadata, source: None }
}

/// The name of the result that a graph leads to; `None`: an empty root.
///
/// # Errors
///
/// It is another graph.
pub(crate) fn result_of(definition: &pb::Definition) -> Result<Option<String>, String> {
    let other = || {
        "a definition of the low-level builder (LLB): only those that name a result of this builder \
         are supported"
            .to_owned()
    };
    if definition.def.is_empty() {
        return Ok(None);
    }
    if definition.def.len() > OPERATIONS {
        return Err(other());
    }
    let decode = |bytes: &Vec<u8>| pb::Op::decode(bytes.as_slice()).map_err(|_| other());
    let mut last = decode(&definition.def[definition.def.len() - 1])?;
    if last.op.is_none() {
        let [input] = last.inputs.as_slice() else { return Err(other()) };
        let named = |bytes: &&Vec<u8>| Digest::sha256(bytes).to_string() == input.digest;
        let found = definition.def.iter().find(named).filter(|_| input.index == 0);
        last = decode(found.ok_or_else(other)?)?;
    }
    match &last.op {
        Some(Op::Source(source)) if last.inputs.is_empty() => {
            let name = source.identifier.strip_prefix(SCHEME).ok_or_else(other)?;
            Ok(Some(name.to_owned()))
        }
        _ => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_out_comes_back() {
        let definition = of_result("abc");
        assert_eq!(result_of(&definition), Ok(Some("abc".to_owned())));
        assert_eq!(result_of(&pb::Definition::default()), Ok(None));
    }

    /// What has crashed other builders (security row H06).
    #[test]
    fn other_graphs_are_refused() {
        let good = of_result("abc");
        let op = |op: pb::Op| op.encode_to_vec();
        let input = |digest: &str, index| pb::Input { digest: digest.to_owned(), index };
        let merge = Op::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: -7 }] });
        for def in [
            vec![Vec::new()],
            vec![b"\xff\xff\xff".to_vec()],
            vec![op(pb::Op { inputs: vec![input("sha256:no", 0)], ..pb::Op::default() })],
            vec![op(pb::Op { inputs: vec![input("", -1); 3], ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(merge), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Build(pb::BuildOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::File(pb::FileOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Exec(pb::ExecOp::default())), ..pb::Op::default() })],
            vec![op(pb::Op { op: Some(Op::Source(pb::SourceOp::default())), ..pb::Op::default() })],
            vec![good.def[1].clone()],
            vec![good.def[0].clone(); 100],
            vec![good.def[1].clone(), good.def[0].clone(), Vec::new()],
        ] {
            let definition = pb::Definition { def, ..pb::Definition::default() };
            assert!(result_of(&definition).is_err(), "{definition:?}");
        }
    }
}
