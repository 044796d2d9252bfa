//! What has crashed other builders (security row H06), and what nobody would write.

use proptest::prelude::*;

use super::*;

fn refused(def: Vec<Vec<u8>>) -> String {
    let definition = pb::Definition { def, ..pb::Definition::default() };
    read(&definition, &mut |_| Ok(String::new())).unwrap_err().to_string()
}

#[test]
fn what_hangs_together_in_no_way_is_refused() {
    let op = |op: pb::Op| op.encode_to_vec();
    let input = |digest: &str, index| pb::Input { digest: digest.to_owned(), index };
    let source = pb::SourceOp { identifier: "docker-image://a".into(), ..Default::default() };
    let source = op(pb::Op { op: Some(PbOp::Source(source)), ..pb::Op::default() });
    let digest = Digest::sha256(&source).to_string();
    let last = |digest: &str, index| {
        op(pb::Op { inputs: vec![input(digest, index)], ..pb::Op::default() })
    };
    assert!(refused(vec![source.clone()]).contains("1 vertexes"));
    assert!(refused(vec![source.clone(), source.clone()]).contains("1 vertexes"));
    assert!(refused(vec![b"\xff\xff\xff".to_vec(), source.clone()]).contains("failed to parse"));
    assert!(refused(vec![source.clone(), Vec::new()]).contains("no inputs on last vertex"));
    assert!(refused(vec![source.clone(), last("sha256:no", 0)]).contains("sha256:no"));
    assert!(refused(vec![source.clone(), last(&digest, -1)]).contains("output index -1"));
    assert!(refused(vec![source.clone(), last(&digest, 1)]).contains("output index 1"));
    let empty = op(pb::Op { inputs: vec![input(&digest, 0)], ..pb::Op::default() });
    let of_empty = last(&Digest::sha256(&empty).to_string(), 0);
    let text = refused(vec![source.clone(), empty, of_empty]);
    assert!(text.contains("nothing of what it does"), "{text}");
    let merge = PbOp::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input: -7 }] });
    let merge = op(pb::Op { op: Some(merge), ..pb::Op::default() });
    let of_merge = last(&Digest::sha256(&merge).to_string(), 0);
    assert!(refused(vec![merge, of_merge]).contains("input index -7"));
    let diff = op(pb::Op { op: Some(PbOp::Diff(pb::DiffOp::default())), ..pb::Op::default() });
    let of_diff = last(&Digest::sha256(&diff).to_string(), 0);
    assert!(refused(vec![diff, of_diff]).contains("nil lower or upper"));
    assert!(refused(vec![Vec::new(); 30_000]).contains("too large"));
    let wide = op(pb::Op { inputs: vec![input("x", 0); 300_000], ..pb::Op::default() });
    assert!(refused(vec![source, wide]).contains("too large"));
}

/// What was given out is its name, whatever it says that it does, and on what.
#[test]
fn an_operation_that_names_a_result_is_that_one() {
    let add = |definition: &mut Definition, names: &[&str]| {
        let filter = names.iter().map(|name| format!("{}{name}", crate::RESULT)).collect();
        let op = pb::Op {
            inputs: vec![pb::Input { digest: "sha256:no".into(), index: -1 }; 3],
            op: Some(PbOp::Build(pb::BuildOp::default())),
            platform: Some(pb::Platform { os: "plan9".into(), ..pb::Platform::default() }),
            constraints: Some(pb::WorkerConstraints { filter }),
        };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        definition.def.push(bytes);
        At(digest, 0)
    };
    let mut definition = Definition::default();
    let first = add(&mut definition, &["b/x"]);
    let exec = pb::ExecOp {
        meta: Some(pb::Meta { args: vec!["a".into()], ..pb::Meta::default() }),
        mounts: vec![pb::Mount { dest: "/".into(), ..pb::Mount::default() }],
        ..pb::ExecOp::default()
    };
    let top = definition.add(PbOp::Exec(exec), &[&first]);
    let read = definition.read(&top).unwrap();
    assert_eq!(read.graph.len(), 3, "the result, as layers, and the program");
    let layers = read.input(read.top(), 0);
    let result = read.input(layers, 0);
    assert_eq!(result.op, Op::Source(Source::Result("own b/x".into())));
    assert_eq!((result.inputs.len(), &result.platform), (0, &None));
    for (names, why) in [
        (&["missing"][..], "there is no such result"),
        (&["a", "b"][..], "output index -1"),
        (&[][..], "output index -1"),
    ] {
        let mut definition = Definition::default();
        let top = add(&mut definition, names);
        let told = definition.error(&top);
        assert!(told.contains(why), "{names:?}: {told}");
    }
    // It has one result.
    let mut definition = Definition::default();
    let top = add(&mut definition, &["b/x"]);
    assert!(definition.error(&top.output(1)).contains("output index 1"));
}

#[test]
fn deep_ones_take_no_stack_and_wide_ones_no_names() {
    let mut definition = Definition::default();
    let mut at = definition.source("docker-image://a");
    let merge = |n: i64| {
        let inputs = (0..n).map(|input| pb::MergeInput { input }).collect();
        PbOp::Merge(pb::MergeOp { inputs })
    };
    // Each twice as long in words as the one before.
    for _ in 0..10_000 {
        at = definition.add(merge(2), &[&at, &at]);
    }
    let read = definition.read(&at).unwrap();
    assert_eq!(read.graph.len(), 10_001);
    assert!(read.graph.vertices().all(|(_, vertex)| vertex.shown.name.len() < 5000));
}

proptest! {
    #[test]
    fn no_bytes_end_the_process(def in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)) {
        let definition = pb::Definition { def, ..pb::Definition::default() };
        let _ = read(&definition, &mut |_| Ok(String::new()));
    }
}
