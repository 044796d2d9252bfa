//! `--exclude` and `--parents`.

use proptest::prelude::*;

use super::*;

const SOURCE: &str = "
    mkdir -p d/e/x d/.h; echo a >d/a; echo b >d/e/b; echo c >d/e/x/c; echo h >d/.h/h; echo t >d/t.txt
    ln d/a d/hard; ln -s a d/sl; chown 3:4 d/e; chmod 711 d/e; touch -d @1000 d/e; touch -d @2000 d
";

/// What comes of it, by names.
fn names(trees: &Trees, copy: Copy) -> String {
    match trees.copy(copy) {
        Ok(()) => sh(
            &trees.to(),
            "find . -mindepth 1 -printf '%P ' | tr ' ' '\\n' | LC_ALL=C sort | paste -sd' '",
        )
        .trim()
        .to_owned(),
        Err(error) => error,
    }
}

/// As buildx 0.29 with dockerd 28.5 has it.
#[test]
fn what_is_left_out() {
    let cases: [(&[&str], &str, &str); 6] = [
        (&["*.txt", "e/x"], "d", "n n/.h n/.h/h n/a n/e n/e/b n/hard n/sl"),
        (&["e", "!e/b"], "d", "n n/.h n/.h/h n/a n/e n/e/b n/hard n/sl n/t.txt"),
        (&["e/**"], "d", "n n/.h n/.h/h n/a n/e n/hard n/sl n/t.txt"),
        (&["*/b"], "d/e", "n n/b n/x n/x/c"),
        (&["a"], "d/a", "n"),
        (&["**"], "d", "n"),
    ];
    for (exclude, source, want) in cases {
        let trees = Trees::with("exclude", SOURCE, "");
        let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        let copy = Copy { exclude, ..like_copy(source, "/n") };
        assert_eq!(names(&trees, copy.clone()), want, "{copy:?}");
    }
    // A directory that is only passed has its own look all the same.
    let trees = Trees::with("exclude-look", SOURCE, "");
    let exclude = vec!["e".into(), "!e/b".into()];
    trees.copy(Copy { exclude, ..like_copy("d", "/n") }).unwrap();
    assert_eq!(sh(&trees.to(), "stat -c '%a %u:%g %Y' n/e n"), "711 3:4 1000\n755 0:0 2000\n");
}

/// As BuildKit's `convert_copy.go` says.
#[test]
fn the_directories_of_the_source_are_kept() {
    for (source, destination, want) in [
        ("d/e/x/c", "/n", "n n/d n/d/e n/d/e/x n/d/e/x/c"),
        ("d/e/x", "/n/", "n n/d n/d/e n/d/e/x n/d/e/x/c"),
        ("d/./e/x", "/n", "n n/e n/e/x n/e/x/c"),
        ("/d/e/../e/b", "/n/", "n n/d n/d/e n/d/e/b"),
        ("./d/e/b", "/n/", "n n/d n/d/e n/d/e/b"),
        ("d/*/b", "/n", "n n/d n/d/e n/d/e/b"),
        ("d/**/c", "/n/", "n n/d n/d/e n/d/e/x n/d/e/x/c"),
        ("d/no*", "/n/", "n"),
        ("d/no", "/n/", "\"/d/no\": not found"),
        ("x/./y", "/n/", "\"/x/y\": not found"),
        ("d/sl", "/n/", "n n/d n/d/sl"),
    ] {
        let trees = Trees::with("parents", SOURCE, "");
        let copy = Copy { parents: true, ..like_copy(source, destination) };
        assert_eq!(names(&trees, copy), want, "{source}");
    }
    let trees = Trees::with("parents-look", SOURCE, "mkdir -p n/d; chmod 700 n n/d; chown 9 n/d");
    let copy = Copy { parents: true, mode: "a=rwx".into(), ..like_copy("d/e/x/c", "/n") };
    let first = trees.digest(&copy).unwrap();
    trees.copy(copy.clone()).unwrap();
    let look = sh(&trees.to(), "stat -c '%a %u:%g %n' n n/d n/d/e n/d/e/x/c");
    assert_eq!(look, "700 0:0 n\n755 9:0 n/d\n777 3:4 n/d/e\n777 0:0 n/d/e/x/c\n");
    // What is not taken is no part of the digest; a directory on the way is.
    sh(&trees.from(), "echo other >d/a");
    assert_eq!(trees.digest(&copy).unwrap(), first);
    sh(&trees.from(), "chmod 700 d/e");
    assert_ne!(trees.digest(&copy).unwrap(), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is copied is what the patterns say of each path by itself, and the directories that it is in; and
    /// the digest is another one exactly where something else is copied.
    #[test]
    fn as_patterns_say_of_each_path(
        patterns in proptest::collection::vec("!?([ab*]|\\*\\*|a/b|[ab]/\\*|\\*/[ab])", 0..4),
        paths in proptest::collection::btree_set("[ab](/[ab]){0,3}", 1..8),
    ) {
        let trees = Trees::new(&format!("random-{}", std::thread::current().name().unwrap_or("").len()));
        for path in &paths {
            let path = trees.from().join(path);
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
                fs::write(path, "x").unwrap();
            }
        }
        let Ok(filter) = dockerfile::ignore::Filter::new(&[], &patterns) else { return Ok(()) };
        let all = sh(&trees.from(), "find . -mindepth 1 -printf '%P %y\\n'");
        let is_wanted = |path: &str| filter.wants(path);
        let files: Vec<&str> = all.lines().filter_map(|line| line.strip_suffix(" f")).collect();
        let dirs: Vec<&str> = all.lines().filter_map(|line| line.strip_suffix(" d")).collect();
        let kept: Vec<&str> = files.into_iter().filter(|path| is_wanted(path)).collect();
        let is_way = |dir: &str| kept.iter().any(|path| path.starts_with(&format!("{dir}/")))
            || dirs.iter().any(|other| other.starts_with(&format!("{dir}/")) && is_wanted(other));
        let mut want: Vec<&str> = dirs.iter().copied().filter(|dir| is_wanted(dir) || is_way(dir)).collect();
        want.extend(&kept);
        want.sort_unstable();
        let copy = Copy { exclude: patterns.clone(), ..like_copy("/", "/") };
        let before = trees.digest(&copy).unwrap();
        trees.copy(copy.clone()).unwrap();
        let got = sh(&trees.to(), "find . -mindepth 1 -printf '%P\\n' | LC_ALL=C sort");
        prop_assert_eq!(got.lines().collect::<Vec<_>>(), want, "{:?}", patterns);
        let first = all.lines().find_map(|line| line.strip_suffix(" f")).map(str::to_owned);
        if let Some(first) = first {
            fs::write(trees.from().join(&first), "y").unwrap();
            prop_assert_eq!(trees.digest(&copy).unwrap() != before, is_wanted(&first));
        }
    }
}
