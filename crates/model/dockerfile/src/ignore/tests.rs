use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn one(pattern: &str, path: &str) -> bool {
    Patterns::new(&[pattern]).unwrap().matches(path)
}

#[test]
fn files_of_patterns() {
    let file = b"\xef\xbb\xbftest1\n/test2\n/a/file/here\n\nlastfile\n# this is a comment\n\
        ! /inverted/abs/path\n!\n! \n  b//./c/ \r\n/\n";
    let want =
        ["test1", "test2", "a/file/here", "lastfile", "!inverted/abs/path", "!", "!", "b/c", "/"];
    assert_eq!(read(file), want);
}

/// As `moby/patternmatcher` does.
#[test]
fn patterns() {
    for (pattern, path, want) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "file", false),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/afile", true),
        ("**file", "file/x", true),
        ("**file*", "dir/afile", false),
        ("**file*", "dir/file1", true),
        ("**/file", "dir/afile", false),
        ("**/file", "file", true),
        ("**/*.txt", "a.txt", true),
        ("**/*.txt", "a/b.txt/c", true),
        ("*.txt", "a/b.txt", false),
        ("a*b", "a/b", false),
        ("a**b", "a/x/b", true),
        ("a**b", "ab", true),
        ("a**b", "axb", false),
        ("a**/*.go", "a/b/c.go", true),
        ("abc", "abcd", false),
        ("a.b", "axb", false),
        ("a?", "a/", false),
        ("a?", "aé", true),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a]b", "/b", true),
        (r"[\-\]]x", "]x", true),
        (r"\*a", "*a", true),
        (r"\*a", "ba", false),
        (r"a\d", "ad", true),
        ("a(b)+|{c}$^", "a(b)+|{c}$^", true),
        ("vendor", "vendor/x/y", true),
        ("./a/../b", "b", true),
        ("a*?**b", "axxb", true),
        (".*", ".git/config", true),
        ("foo/../**/x", "a/b/x", true),
    ] {
        assert_eq!(one(pattern, path), want, "{pattern} {path}");
    }
    for bad in ["[", "[]a]", "[a-]", "a\\", "[^]", "!", "[a\\"] {
        let error = Patterns::new(&[bad]).unwrap_err().to_string();
        assert_eq!(error, format!("syntax error in pattern \"{bad}\""));
    }
    let long = "a".repeat(200) + "*" + &"b".repeat(200);
    assert!(one(&long, &("a".repeat(200) + "xx" + &"b".repeat(200))));
    assert!(!one(&long, &("a".repeat(200) + "xx" + &"b".repeat(199))));
}

#[test]
fn the_last_pattern_counts() {
    for (patterns, path, want) in [
        (vec!["*", "!a"], "a", false),
        (vec!["*", "!a"], "b", true),
        (vec!["!a", "*"], "a", true),
        (vec!["docs", "!docs/README.md"], "docs/README.md", false),
        (vec!["docs", "!docs/README.md"], "docs/x", true),
        (vec!["docs/*", "!docs/a"], "docs/a/b", false),
        (vec!["d", "!d/e", "d/e/f"], "d/e/f/g", true),
        (vec!["d", "!d/e", "d/e/f"], "d/e/g", false),
        (vec!["d", "!d/e", "d"], "d/e", true),
        (vec!["**/*.md", "!README.md"], "README.md", false),
        (vec!["", " "], "a", false),
    ] {
        assert_eq!(Patterns::new(&patterns).unwrap().matches(path), want, "{patterns:?} {path}");
    }
    let patterns = Patterns::new(&["a", "!b"]).unwrap();
    assert!(patterns.has_exceptions());
    assert_eq!(patterns.each().collect::<Vec<_>>(), [("a", false), ("b", true)]);
}

#[test]
fn directories_that_need_not_be_entered() {
    let may_differ = |patterns: &[&str], name: &str| {
        let patterns = Patterns::new(patterns).unwrap();
        let (matched, dir) = patterns.root().child(name.as_bytes(), true);
        (matched, dir.unwrap().may_differ(matched))
    };
    assert_eq!(may_differ(&["node_modules"], "node_modules"), (true, false));
    assert_eq!(may_differ(&["node_modules", "!src"], "node_modules"), (true, false));
    assert_eq!(may_differ(&["*", "!src/*.c"], "src"), (true, true));
    assert_eq!(may_differ(&["*", "!src/*.c"], "lib"), (true, false));
    assert_eq!(may_differ(&["*", "!**/*.c"], "lib"), (true, true));
    assert_eq!(may_differ(&["a/b"], "a"), (false, true));
    assert_eq!(may_differ(&["a/b"], "c"), (false, false));
}

#[test]
fn wildcards_of_sources() {
    let wildcard = Wildcard::new("/src/./l*b/[ab].?/").unwrap().unwrap();
    assert_eq!(wildcard.base, "/src");
    assert!(wildcard.matches(b"lib/a.c") && !wildcard.matches(b"l/b/a.c"));
    assert!(wildcard.may_match_below(b"lib") && !wildcard.may_match_below(b"bin"));
    assert!(!wildcard.may_match_below(b"lib/a.c"));
    assert_eq!(Wildcard::new("*").unwrap().unwrap().base, "/");
    assert!(!Wildcard::new("a**c").unwrap().unwrap().matches(b"a/c"));
    assert!(Wildcard::new(r"a\*").unwrap().is_none());
    assert!(Wildcard::new("a[").is_err());
}

/// All of a tree that a filter wants, and the directories that were entered.
fn walk(filter: &Filter, tree: &[&str]) -> (Vec<String>, Vec<String>) {
    fn go(dir: &FilterDir<'_>, at: &str, tree: &[&str], out: &mut (Vec<String>, Vec<String>)) {
        let mut names: BTreeMap<&str, bool> = BTreeMap::new();
        for path in tree {
            let Some(rest) = path.strip_prefix(at) else { continue };
            let (name, is_dir) =
                rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            *names.entry(name).or_default() |= is_dir;
        }
        for (name, is_dir) in names {
            let full = format!("{at}{name}");
            let found = dir.child(name.as_bytes(), is_dir);
            if found.wanted {
                out.0.push(full.clone());
            }
            if let Some(below) = found.enter {
                out.1.push(full.clone());
                go(&below, &format!("{full}/"), tree, out);
            }
        }
    }
    let mut out = (Vec::new(), Vec::new());
    go(&filter.root(), "", tree, &mut out);
    out
}

#[test]
fn filters() {
    let tree = ["a/b/c", "a/b/d", "a/e", "f", "g/h/i"];
    let filter = |include: &[&str], exclude: &[&str]| Filter::new(include, exclude).unwrap();
    let (wanted, entered) = walk(&filter(&["a/b"], &["**/d"]), &tree);
    assert_eq!(wanted, ["a/b", "a/b/c"]);
    assert_eq!(entered, ["a", "a/b"]);
    let (wanted, entered) = walk(&filter(&[], &["*", "!a/e"]), &tree);
    assert_eq!((wanted, entered), (vec!["a/e".into()], vec!["a".into()]));
    let (wanted, entered) = walk(&filter(&[], &[]), &tree);
    assert_eq!((wanted.len(), entered.len()), (9, 4));
    assert!(filter(&["a"], &["a/b"]).wants("a/e") && !filter(&["a"], &["a/b"]).wants("a/b/c"));
}

struct Tree(BTreeMap<&'static str, &'static str>);

impl Links for Tree {
    type Error = std::convert::Infallible;

    fn target(&mut self, path: &str) -> Result<Option<String>, Self::Error> {
        Ok(self.0.get(path).filter(|link| !link.is_empty()).map(|&link| link.into()))
    }

    fn names(&mut self, directory: &str) -> Result<Vec<String>, Self::Error> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let name = |path: &&str| path.strip_prefix(&prefix)?.split('/').next().map(str::to_owned);
        Ok(self.0.keys().filter_map(name).collect())
    }
}

#[test]
fn links_are_followed() {
    let mut tree = Tree(BTreeMap::from([
        ("link", "dir/file"),
        ("abs", "/dir"),
        ("dir/file", ""),
        ("dir/up", "../../../other"),
        ("loop", "loop"),
        ("one", "two/x"),
        ("two", "one"),
        ("other/a", ""),
        ("w1", "other/a"),
        ("w2", "dir/up"),
    ]));
    let mut followed = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|&path| path.into()).collect();
        follow(&mut tree, &paths).unwrap()
    };
    assert_eq!(followed(&["link"]), ["dir/file", "link"]);
    assert_eq!(followed(&["abs/file"]), ["abs", "dir/file"]);
    assert_eq!(followed(&["dir/up/a"]), ["dir/up", "other/a"]);
    assert_eq!(followed(&["loop"]), ["loop"]);
    assert_eq!(followed(&["one"]), ["one", "two"]);
    assert_eq!(followed(&["dir/up/a", "dir/up/b"]), ["dir/up", "other/a", "other/b"]);
    assert_eq!(followed(&["w*"]), ["dir/up", "other", "w*"]);
    assert_eq!(followed(&["missing/x", "dir", "dir/file"]), ["dir", "missing/x"]);
    assert_eq!(followed(&["a", "/"]), [] as [&str; 0]);
}

/// The plainest matcher there is, of one pattern and one path, from the words of the documentation.
fn plain(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] | ['*', '*', '/'] => true,
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            plain(rest, path)
                || (0..path.len()).any(|at| path[at] == '/' && plain(rest, &path[at + 1..]))
        }
        ['*', rest @ ..] => {
            plain(rest, path)
                || path.first().is_some_and(|c| *c != '/' && plain(pattern, &path[1..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/' && plain(rest, &path[1..])),
        ['\\', c, rest @ ..] | [c, rest @ ..] => path.first() == Some(c) && plain(rest, &path[1..]),
    }
}

/// A pattern matches a path or a directory that it is in; the last one that does counts.
fn plainly(patterns: &[String], path: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        let (exception, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        let pattern: Vec<char> = pattern.chars().collect();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let path: Vec<char> = path[..end].chars().collect();
            let is_suffix = pattern.starts_with(&['*', '*'])
                && pattern.get(2).is_some_and(|c| *c != '/')
                && !pattern[2..].iter().any(|c| "*?[]\\".contains(*c));
            let matches =
                if is_suffix { path.ends_with(&pattern[2..]) } else { plain(&pattern, &path) };
            if matches {
                matched = !exception;
            }
        }
    }
    matched
}

proptest! {
    #[test]
    fn matching_is_as_the_plainest_does(
        patterns in proptest::collection::vec("!?[ab*?]{1,3}(/[ab*?]{1,3}){0,2}", 1..4),
        path in "[ab]{1,3}(/[ab]{1,2}){0,3}",
    ) {
        let compiled = Patterns::new(&patterns).unwrap();
        prop_assert_eq!(compiled.matches(&path), plainly(&patterns, &path), "{:?} {}", patterns, path);
    }

    /// What is not entered has nothing in it that would be wanted.
    #[test]
    fn a_walk_finds_what_is_wanted(
        include in proptest::collection::vec("!?[ab*]{1,3}(/[ab*]{1,3}){0,2}", 0..3),
        exclude in proptest::collection::vec("!?[ab*]{1,3}(/[ab*]{1,3}){0,2}", 0..3),
        tree in proptest::collection::vec("[ab]{1,2}(/[ab]{1,2}){0,3}", 1..6),
    ) {
        let filter = Filter::new(&include, &exclude).unwrap();
        let tree: Vec<&str> = tree.iter().map(String::as_str).collect();
        let (wanted, _) = walk(&filter, &tree);
        for path in &tree {
            prop_assert_eq!(wanted.iter().any(|one| one == path), filter.wants(path));
        }
    }

    #[test]
    fn any_pattern_is_read_or_refused(pattern in ".{0,20}", path in ".{0,20}") {
        if let Ok(patterns) = Patterns::new(&[pattern]) {
            patterns.matches(&path);
        }
    }
}
