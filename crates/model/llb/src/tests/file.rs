use buildgraph::{Action, Identity};
use pb::file_action::Action as PbAction;
use pb::user_opt::User;

use super::*;

fn action(input: i64, secondary: i64, output: i64, action: PbAction) -> pb::FileAction {
    pb::FileAction { input, secondary_input: secondary, output, action: Some(action) }
}

fn mkdir(path: &str) -> PbAction {
    let path = path.to_owned();
    let make = pb::FileActionMkDir { path, mode: 0o755, timestamp: -1, ..Default::default() };
    PbAction::Mkdir(make)
}

fn copy(src: &str, dest: &str) -> PbAction {
    let (src, dest) = (src.to_owned(), dest.to_owned());
    PbAction::Copy(pb::FileActionCopy { src, dest, mode: -1, timestamp: -1, ..Default::default() })
}

fn file(definition: &mut Definition, actions: Vec<pb::FileAction>, inputs: &[&At]) -> At {
    definition.add(PbOp::File(pb::FileOp { actions }), inputs)
}

fn actions(vertex: &Vertex) -> &[Action] {
    match &vertex.op {
        Op::File(file) => &file.actions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn actions_in_a_row_are_one_vertex() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let local = definition.source("local://src");
    let all = pb::FileActionCopy {
        src: "a*".into(),
        dest: "/b/".into(),
        mode: 0o4755,
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: true,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        timestamp: 5,
        include_patterns: vec!["i".into()],
        exclude_patterns: vec!["e".into()],
        required_paths: vec!["/r".into()],
        always_replace_existing_dest_paths: true,
        owner: Some(pb::ChownOpt {
            user: Some(pb::UserOpt { user: Some(User::ById(7)) }),
            group: None,
        }),
        ..pb::FileActionCopy::default()
    };
    let rm = pb::FileActionRm { path: "/r*".into(), allow_not_found: true, allow_wildcard: true };
    let data = b"text".to_vec();
    let mkfile = pb::FileActionMkFile {
        path: "/f".into(),
        mode: 0o644,
        data,
        timestamp: 0,
        ..Default::default()
    };
    let link = pb::FileActionSymlink {
        oldpath: "/f".into(),
        newpath: "/l".into(),
        timestamp: -1,
        ..Default::default()
    };
    let list = vec![
        action(0, -1, -1, mkdir("/b")),
        action(2, 1, -1, PbAction::Copy(all)),
        action(3, -1, -1, PbAction::Rm(rm)),
        action(4, -1, -1, PbAction::Mkfile(mkfile)),
        action(5, -1, 0, PbAction::Symlink(link)),
    ];
    let top = file(&mut definition, list.clone(), &[&image, &local]);
    let read = definition.read(&top).unwrap();
    let Op::File(changes) = &read.top().op else { panic!("{:?}", read.top()) };
    assert_eq!(crate::file_op(changes, &[0, 1], 2).actions, list, "and back");
    assert_eq!(read.top().shown.name, "mkdir /b, copy a* /b/, rm /r*, mkfile /f, symlink /l -> /f");
    let [
        Action::MakeDirectory(dir),
        Action::Copy(copy),
        Action::Remove(rm),
        Action::MakeFile(make),
        Action::Symlink(link),
    ] = actions(read.top())
    else {
        panic!("{:?}", read.top())
    };
    assert_eq!((dir.path.as_str(), dir.mode, dir.time), ("/b", 0o755, None));
    assert_eq!((copy.input, copy.mode.as_str(), copy.time), (1, "4755", Some(5)));
    assert!(copy.follow_links && copy.contents_only && copy.unpack && copy.create_destination);
    assert!(copy.wildcards && copy.may_be_empty && copy.replace && !copy.has_to_unpack);
    assert_eq!(
        (&copy.include[..], &copy.exclude[..]),
        (&["i".to_owned()][..], &["e".to_owned()][..])
    );
    assert_eq!(copy.owner.as_ref().unwrap().user, Some(Identity::Id(7)));
    assert!(rm.may_be_missing && rm.wildcards);
    assert_eq!((make.data.as_slice(), make.time), (&b"text"[..], Some(0)));
    assert_eq!((link.target.as_str(), link.path.as_str()), ("/f", "/l"));
    assert!(matches!(read.input(read.top(), 1).op, Op::Source(_)), "it is copied from as it is");
}

#[test]
fn each_result_that_is_wanted_is_a_vertex() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let list = vec![
        action(0, -1, 0, mkdir("/a")),
        action(1, -1, 1, mkdir("/b")),
        action(-1, -1, 2, mkdir("/c")),
    ];
    let at = file(&mut definition, list, &[&image]);
    let inputs = vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }];
    let all = [at.output(1), at.output(2)];
    let top = definition.add(PbOp::Merge(pb::MergeOp { inputs }), &[&all[0], &all[1]]);
    let read = definition.read(&top).unwrap();
    let [second, third] = [0, 1].map(|number| read.input(read.top(), number));
    assert_eq!((actions(second).len(), actions(third).len()), (2, 1));
    assert!(actions(read.input(third, 0)).is_empty(), "it is made in an empty root");
    assert_eq!(second.known_as(), third.known_as());
}

#[test]
fn a_copy_from_what_another_action_has_made() {
    let mut definition = Definition::default();
    let image = definition.source("docker-image://debian");
    let list = vec![
        action(-1, -1, -1, mkdir("/a")),
        action(0, 1, -1, copy("/a", "/x")),
        // From what has been changed so far itself.
        action(2, 2, 0, copy("/x", "/y")),
    ];
    let top = file(&mut definition, list, &[&image]);
    let read = definition.read(&top).unwrap();
    let [Action::Copy(first), Action::Copy(second)] = actions(read.top()) else { panic!() };
    assert_eq!((first.input, second.input), (1, 2));
    let [made, changed] = [1, 2].map(|number| read.input(read.top(), number));
    assert_eq!((actions(made).len(), actions(changed).len()), (1, 1));
    assert!(matches!(&actions(changed)[0], Action::Copy(copy) if copy.destination == "/x"));
}

#[test]
fn names_are_looked_up_where_the_client_says() {
    let owner = |input: i64| {
        let named = pb::NamedUserOpt { name: "me".into(), input };
        let user = Some(pb::UserOpt { user: Some(User::ByName(named)) });
        Some(pb::ChownOpt { user, group: None })
    };
    let of = |input: i64| {
        let mut definition = Definition::default();
        let image = definition.source("docker-image://debian");
        let other = definition.source("local://users");
        let PbAction::Mkdir(make) = mkdir("/x") else { unreachable!() };
        let make = PbAction::Mkdir(pb::FileActionMkDir { owner: owner(input), ..make });
        let list = vec![action(0, -1, -1, mkdir("/a")), action(2, -1, 0, make)];
        let top = file(&mut definition, list, &[&image, &other]);
        definition.read(&top)
    };
    let user = |read: &Read| actions(read.top())[1].owner().unwrap().user.clone().unwrap();
    for input in [0, 2] {
        assert_eq!(user(&of(input).unwrap()), Identity::Name("me".into()), "{input}");
    }
    let read = of(1).unwrap();
    assert_eq!(user(&read), Identity::NameIn { input: 1, name: "me".into() });
    assert_eq!(read.input(read.top(), 1).op, Op::Layers);
    for input in [-1, -2, 3, 99] {
        assert!(of(input).is_err(), "{input}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let error = |list: Vec<pb::FileAction>, output: i64| {
        let mut definition = Definition::default();
        let image = definition.source("docker-image://debian");
        let top = file(&mut definition, list, &[&image]).output(output);
        definition.error(&top)
    };
    assert_eq!(error(vec![], 0), "invalid file op with no actions");
    assert!(error(vec![action(0, -1, 0, mkdir("/a"))], 1).contains("output index 1"));
    let twice = || action(0, -1, 0, mkdir("/a"));
    assert!(error(vec![twice(), twice()], 0).contains("two actions"));
    for input in [-2, 1, 2, i64::MAX, i64::MIN] {
        let text = error(vec![action(input, -1, 0, mkdir("/a"))], 0);
        assert!(text.contains("input index"), "{text}");
        let text = error(vec![action(0, input, 0, copy("/a", "/b"))], 0);
        assert!(text.contains("input index"), "{text}");
    }
    let none = pb::FileAction { input: 0, output: 0, ..pb::FileAction::default() };
    assert!(error(vec![none], 0).contains("nothing of what it does"));
    assert!(error(vec![action(0, -1, 0, mkdir("/a\0"))], 0).contains("invalid path"));
    let PbAction::Mkdir(make) = mkdir("/x") else { unreachable!() };
    let make = PbAction::Mkdir(pb::FileActionMkDir { mode: -5, ..make });
    assert!(error(vec![action(0, -1, 0, make)], 0).contains("invalid mode"));
    let many = (0..5000).map(|n| action(n, -1, n, mkdir("/a"))).collect();
    assert!(error(many, 4999).contains("too large"));
    // Few actions, of which each is made once for every one that copies from it.
    let list = (0..3000).map(|n| action(n, n, n, copy("/a", "/b"))).collect();
    assert!(error(list, 2999).contains("too large"));
}
