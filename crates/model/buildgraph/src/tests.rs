use crate::*;

fn image(reference: &str) -> Op {
    Op::Source(Source::Image(Image::named(reference.to_owned(), Resolve::Default)))
}

fn named(name: &str) -> Shown {
    Shown { name: name.into(), ..Shown::default() }
}

fn run(program: &str) -> Op {
    Op::Exec(Exec { args: vec![program.into()], ..Exec::default() })
}

#[test]
fn what_is_shown_is_no_part_of_a_vertex() {
    let mut graph = Graph::default();
    let base = graph.add(image("a"), vec![], None, false, named("one")).unwrap();
    assert_eq!(graph.add(image("a"), vec![], None, false, named("two")).unwrap(), base);
    assert_eq!(graph.get(base).shown.name, "one");
    let other = graph.add(image("b"), vec![], None, false, named("one")).unwrap();
    assert_ne!(graph.get(base).digest, graph.get(other).digest);
}

#[test]
fn a_vertex_is_its_operation_its_inputs_and_its_platform() {
    let mut graph = Graph::default();
    let a = graph.add(image("a"), vec![], None, false, named("a")).unwrap();
    let b = graph.add(image("b"), vec![], None, false, named("b")).unwrap();
    let mut digests = std::collections::HashSet::new();
    let arm = Some("linux/arm64".parse().unwrap());
    for (op, inputs, platform, ignore) in [
        (run("x"), vec![a], None, false),
        (run("x"), vec![b], None, false),
        (run("y"), vec![a], None, false),
        (run("x"), vec![a], arm, false),
        (run("x"), vec![a], None, true),
    ] {
        let idx = graph.add(op, inputs, platform, ignore, named("run")).unwrap();
        assert!(digests.insert(graph.get(idx).digest.clone()));
    }
}

#[test]
fn proxies_make_no_difference() {
    let mut graph = Graph::default();
    let proxied = Exec { proxy_env: vec!["HTTP_PROXY=p".into()], ..Exec::default() };
    let one = graph.add(Op::Exec(proxied), vec![], None, false, named("a")).unwrap();
    let two = graph.add(Op::Exec(Exec::default()), vec![], None, false, named("a")).unwrap();
    assert_eq!(one, two);
}

#[test]
fn nothing_is_named_that_is_not_there() {
    let mut graph = Graph::default();
    let error = graph.add(run("x"), vec![VertexIdx(3)], None, false, named("run")).unwrap_err();
    assert_eq!(error.to_string(), "vertex \"run\" has no input 3: the graph has 0 vertices");
    let kind = MountKind::Bind { input: 7, source: "/".into() };
    let mounts = vec![Mount { target: "/m".into(), readonly: true, kind }];
    let exec = Op::Exec(Exec { mounts, ..Exec::default() });
    let error = graph.add(exec, vec![], None, false, named("run")).unwrap_err();
    assert_eq!(error.to_string(), "vertex \"run\" uses its input 7, and has 0");
    let error = graph.add(Op::Diff, vec![], None, false, named("diff")).unwrap_err();
    assert_eq!(error.to_string(), "vertex \"diff\" has 0 inputs, where its operation has two");
    assert!(graph.is_empty());
}

#[test]
fn only_what_is_needed_is_needed() {
    let mut graph = Graph::default();
    let first = graph.add(image("a"), vec![], None, false, named("a")).unwrap();
    let second = graph.add(image("b"), vec![], None, false, named("b")).unwrap();
    let x = graph.add(run("x"), vec![first], None, false, named("x")).unwrap();
    let y = graph.add(run("y"), vec![second], None, false, named("y")).unwrap();
    assert_eq!(graph.needed(&[x]).into_iter().collect::<Vec<_>>(), [first, x]);
    let mut other = Graph::default();
    let shifted = other.add(image("b"), vec![], None, false, named("b")).unwrap();
    let z = other.add(run("z"), vec![shifted], None, false, named("z")).unwrap();
    let places = graph.append(&other);
    assert_eq!((places[&shifted], places[&z].0), (second, graph.len() - 1));
    assert_eq!(graph.get(places[&z]).inputs, [second]);
    assert!(graph.needed(&[y, places[&z]]).contains(&second));
}

#[test]
fn of_several_results_of_a_program_each_has_a_number() {
    let mut graph = Graph::default();
    let a = graph.add(image("a"), vec![], None, false, named("a")).unwrap();
    let kind = MountKind::Bind { input: 1, source: "/".into() };
    let mounts = vec![Mount { target: "/out".into(), readonly: false, kind }];
    let one = Exec { mounts, keeps: vec![Kept::Mount(0)], ..Exec::default() };
    let both = Exec { keeps: vec![Kept::Root, Kept::Mount(0)], ..one.clone() };
    let none = Exec { keeps: vec![Kept::Mount(1)], ..one.clone() };
    let mut add = |exec| graph.add(Op::Exec(exec), vec![a, a], None, false, named("run"));
    let (one, both, none) = (add(one).unwrap(), add(both).unwrap(), add(none));
    assert_eq!(none.unwrap_err().to_string(), "vertex \"run\" keeps a mount that holds no result");
    assert_ne!(graph.get(one).digest, graph.get(both).digest);
    let mut part = |of, at| graph.add(Op::Part(at), vec![of], None, false, named("part"));
    assert!(part(both, 0).is_ok() && part(both, 1).is_ok());
    let error = part(both, 2).unwrap_err().to_string();
    assert_eq!(error, "vertex \"part\" wants result 2 of a program that has 2 of its own");
    assert!(part(one, 0).is_err() && part(a, 0).is_err());
}
