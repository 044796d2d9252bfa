//! What COPY and ADD do.

use buildgraph::{Identity, Owner};

use super::*;

/// A source tree that most cases share.
const SOURCE: &str = "
    mkdir -p d/e; echo a >d/a; echo b >d/e/b; chmod 4751 d/a; chmod 700 d/e; chmod 751 d
    echo f >f; chmod 640 f; chown 3:4 f; ln -s f link; ln -s d dlink; ln -s nowhere dangling
    mkdir many; touch many/1.txt many/2.txt many/3.md
";

#[track_caller]
fn check(to: &str, source: &str, destination: &str, want: &str) {
    check_with(to, like_copy(source, destination), want);
}

#[track_caller]
fn check_with(to: &str, copy: Copy, want: &str) {
    let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
    let trees = Trees::with(&name, SOURCE, to);
    let shown = format!("{} to {}", copy.source, copy.destination);
    let got = match trees.copy(copy) {
        Ok(()) => trees.list(),
        Err(error) => error,
    };
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let want: Vec<_> = lines(want).into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(&got), want, "{shown}");
}

#[test]
fn a_file_to_a_name_or_into_a_directory() {
    check("", "/f", "/g", "f 640 3:4 g");
    check("", "f", "/new/", "d 755 0:0 new\nf 640 3:4 new/f");
    check("", "f", "/x/y/g", "d 755 0:0 x\nd 755 0:0 x/y\nf 640 3:4 x/y/g");
    check("mkdir -m 700 there", "f", "/there", "d 700 0:0 there\nf 640 3:4 there/f");
    check("echo old >g; chmod 600 g", "f", "/g", "f 640 3:4 g");
    check("mkdir g; ln -s g h", "f", "h", "d 755 0:0 g\nf 640 3:4 g/f\nl 777 0:0 h g");
    check("echo old >g; ln -s g h", "f", "h", "f 640 3:4 g\nl 777 0:0 h g");
    check("ln -s g h", "f", "h", "f 640 3:4 g\nl 777 0:0 h g");
    check("ln -s a/g h", "f", "h", "d 755 0:0 a\nf 640 3:4 a/g\nl 777 0:0 h a/g");
    check("ln -s /../../g h", "f", "h/", "d 755 0:0 g\nf 640 3:4 g/f\nl 777 0:0 h /../../g");
}

#[test]
fn a_directorys_inside() {
    let all = "f 4751 0:0 a\nd 700 0:0 e\nf 644 0:0 e/b";
    let below = |top: &str| {
        all.lines()
            .map(|line| {
                let (look, name) = line.rsplit_once(' ').unwrap();
                format!("{look} {top}{name}\n")
            })
            .collect::<String>()
    };
    check("", "d", "/", all);
    check("", "d/.", "/", all);
    check("", "d", "/new", &format!("d 755 0:0 new\n{}", below("new/")));
    check("", "d/", "/new/", &format!("d 755 0:0 new\n{}", below("new/")));
    check("", "dlink", "/new/", &format!("d 755 0:0 new\n{}", below("new/")));
    check("mkdir -m 711 n", "d", "/n", &format!("d 711 0:0 n\n{}", below("n/")));
    check(
        "mkdir -p n/e; touch n/e/x; chmod 711 n",
        "d",
        "/n",
        "d 711 0:0 n\nf 4751 0:0 n/a\nd 700 0:0 n/e\nf 644 0:0 n/e/b\nf 644 0:0 n/e/x",
    );
    let whole = Copy { contents_only: false, ..like_copy("d", "/n") };
    check_with("mkdir n", whole.clone(), &format!("d 755 0:0 n\nd 751 0:0 n/d\n{}", below("n/d/")));
    check_with("", whole, &format!("d 751 0:0 n\n{}", below("n/")));
}

#[test]
fn links_of_the_source() {
    check("", "link", "/g", "f 640 3:4 g");
    check("", "link", "/g/", "d 755 0:0 g\nf 640 3:4 g/link");
    let plain = |source: &str| Copy { follow_links: false, ..like_copy(source, "/g") };
    check_with("", plain("link"), "l 777 0:0 g f");
    check_with("", plain("dlink"), "l 777 0:0 g d");
    check_with("", plain("dlink/a"), "f 4751 0:0 g");
    check("", "dangling", "/g", "lstat /dangling: No such file or directory (os error 2)");
}

#[test]
fn patterns_match_names() {
    check("", "many/*.txt", "/n/", "d 755 0:0 n\nf 644 0:0 n/1.txt\nf 644 0:0 n/2.txt");
    check("", "m?ny/[^13]*", "/n/", "d 755 0:0 n\nf 644 0:0 n/2.txt");
    check("", "*/b", "/n/", "");
    check("", "d/*", "/n/", "d 755 0:0 n\nf 4751 0:0 n/a\nf 644 0:0 n/b");
    check("", "f*", "/g", "f 640 3:4 g");
    let strict = Copy { may_be_empty: false, ..like_copy("x*", "/g") };
    check_with("", strict, "/x* not found");
    check("", "[", "/g", "syntax error in pattern \"[\"");
    check("", "x/*", "/g", "lstat /x: No such file or directory (os error 2)");
}

#[test]
fn what_is_in_the_way() {
    check("mkdir n", "d/a", "/n/a", "d 755 0:0 n\nf 4751 0:0 n/a");
    check("mkdir -p n/a", "d", "/n", "cannot replace to directory /n/a with file");
    check("mkdir n; touch n/e", "d", "/n", "cannot copy to non-directory: /n/e");
    check("mkdir n x; ln -s ../x n/e", "d", "/n", "cannot copy to non-directory: /n/e");
    check("touch n", "d", "/n", "cannot copy to non-directory: /n");
    check("touch n", "f", "/n/", "mkdir /n: Not a directory (os error 20)");
    let replace =
        |source: &str, destination: &str| Copy { replace: true, ..like_copy(source, destination) };
    let want = "d 755 0:0 n\nf 4751 0:0 n/a\nd 700 0:0 n/e\nf 644 0:0 n/e/b";
    check_with("mkdir -p n/a/x; touch n/e", replace("d", "/n"), want);
    check_with("mkdir n x; ln -s ../x n/e", replace("d", "/n"), &format!("{want}\nd 755 0:0 x"));
}

#[test]
fn owners_and_modes_that_are_said() {
    let owner = |user: &str, group: Option<&str>| {
        let group = group.map(|group| Identity::Name(group.into()));
        Some(Owner { user: Some(Identity::Name(user.into())), group })
    };
    let users = "mkdir etc; echo 'me:x:7:8::/:/bin/sh' >etc/passwd; echo 'us:x:9:' >etc/group\n";
    let with = |owner| Copy { owner, ..like_copy("d", "/a/n") };
    let want = |owner: &str| {
        format!(
            "d {owner} a\nd {owner} a/n\nf 4751 {owner} a/n/a\nd 700 {owner} a/n/e\nf 644 {owner} a/n/e/b"
        )
        .replace("d 7:", "d 755 7:")
        .replace("d 0:", "d 755 0:")
        .replace("d 5:", "d 755 5:")
            + "\nd 755 0:0 etc\nf 644 0:0 etc/group\nf 644 0:0 etc/passwd"
    };
    check_with(users, with(owner("me", None)), &want("7:8"));
    check_with(users, with(owner("me", Some("us"))), &want("7:9"));
    check_with(users, with(owner("nobody-here", Some("nor-here"))), &want("0:0"));
    let number = Some(Owner { user: Some(Identity::Id(5)), group: None });
    check_with(users, with(number), &want("5:5"));
    let mode = |mode: &str| Copy { mode: mode.into(), ..like_copy("d", "/a/n") };
    check_with(
        "",
        mode("0710"),
        "d 710 0:0 a\nd 710 0:0 a/n\nf 710 0:0 a/n/a\nd 710 0:0 a/n/e\nf 710 0:0 a/n/e/b",
    );
    check_with(
        "",
        mode("go=u"),
        "d 755 0:0 a\nd 755 0:0 a/n\nf 4777 0:0 a/n/a\nd 777 0:0 a/n/e\nf 666 0:0 a/n/e/b",
    );
    check_with(
        "",
        mode("9"),
        "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777, or symbolic",
    );
}

#[test]
fn names_of_users_need_a_base() {
    let trees = Trees::with("no-base", "touch f", "");
    let owner = Some(Owner { user: Some(Identity::Name("me".into())), group: None });
    let copy = Copy { owner, ..like_copy("f", "/") };
    let file = File { actions: vec![Action::Copy(copy)] };
    let (from, to) = (Root::open(&trees.from()).unwrap(), Root::open(&trees.to()).unwrap());
    let error = apply(&[None, Some(&from)], &to, &file, NOW).unwrap_err();
    assert_eq!(error.to_string(), "invalid user index: -1: names of users need a base");
}

#[test]
fn times_attributes_holes_and_names_of_one_file() {
    let trees = Trees::with(
        "everything",
        "mkdir d; echo x >d/f; ln d/f d/g; truncate -s 5M d/hole; mkfifo d/p; mknod d/c c 1 3
         ln -s f d/l; touch -h -d @5.000000007 d/l; mkdir d/s; touch d/s/x
         setfattr -n user.k -v v d/f
         setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 d/hole
         touch -d @3.000000001 d/f; touch -d @4 d/s; touch -d @6 d",
        "mkdir n",
    );
    trees.copy(like_copy("d", "/n/new")).unwrap();
    let see = |tree: &Path| {
        sh(
            tree,
            "find . -mindepth 1 -printf '%P %y %n %s %T@ %D\n' | sed 's/ [^ ]*$//' | LC_ALL=C sort
                  getfattr -hR -m - -d -e hex . | sort; stat -c %b hole",
        )
    };
    assert_eq!(see(&trees.from().join("d")), see(&trees.to().join("n/new")));
    let stat = |path: &str| sh(&trees.to(), &format!("stat -c '%Y' {path}"));
    assert_eq!((stat("n/new").as_str(), stat("n/new/s").as_str()), ("6\n", "4\n"));
    // What is made on the way has the time of the build.
    trees.copy(like_copy("d/f", "/p/q/f")).unwrap();
    assert_eq!((stat("p").as_str(), stat("p/q").as_str()), ("1700000000\n", "1700000000\n"));
    let time = Copy { time: Some(1_500_000_000), ..like_copy("d", "/t/u") };
    trees.copy(time).unwrap();
    let all = sh(&trees.to(), "find t -printf '%T@\n' | sort -u");
    assert_eq!(all, "1.5000000000\n");
}
