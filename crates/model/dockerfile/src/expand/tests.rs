use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

struct Env(BTreeMap<&'static str, &'static str>);

impl Variables for Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().copied().collect()
    }
}

fn env() -> Env {
    Env(BTreeMap::from([
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("NULL", ""),
        ("KOREAN", "한국어"),
        ("str", "foobarbaz"),
        ("path", "/a/b.tar.gz"),
        ("spaces", "abc  def"),
        ("leading", "  ab c"),
        ("stars", "a*b?c\\d"),
        ("lines", "one\ntwo"),
    ]))
}

fn expand(word: &str) -> Result<String, String> {
    let result = Expander::new('\\').expand(word, &env());
    result.map(|expansion| expansion.text).map_err(|error| error.why.to_string())
}

#[test]
fn quotes_and_escapes() {
    for (word, want) in [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        (r"he\'llo", "he'llo"),
        (r"abc\tdef", "abctdef"),
        (r#""abc\tdef""#, r"abc\tdef"),
        (r#""abc\\tdef""#, r"abc\tdef"),
        (r"'abc\tdef'", r"abc\tdef"),
        (r"hello\", "hello"),
        (r"hello\\", r"hello\"),
        (r#""hel'lo""#, "hel'lo"),
        (r"'hello\'", r"hello\"),
        (r#""''""#, "''"),
        ("$.", "$."),
        ("he$1x", "hex"),
        ("he$pwd.", "he."),
        ("he$PWD", "he/home"),
        (r"he\$PWD", "he$PWD"),
        (r"he\\$PWD", r"he\/home"),
        (r#""he\$PWD""#, "he$PWD"),
        (r#""he\\$PWD""#, r"he\/home"),
        (r"\${}aaa", "${}aaa"),
        ("'$PWD'", "$PWD"),
        (r#"'"hello"'"#, "\"hello\""),
        ("안'녕'하세요$KOREAN", "안녕하세요한국어"),
        ("$@@@ $999aaa $$", "@@ aaa "),
        ("a<b <<c", "a<b <<c"),
        ("say \"a  b\"  c", "say a  b  c"),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(want), "{word}");
    }
}

#[test]
fn operators() {
    for (word, want) in [
        ("he${hi}xx", "hexx"),
        ("he${PWD}", "he/home"),
        ("he${XXX:-000}xx", "he000xx"),
        ("he${XXX:-${YYY:-yyy}}xx", "heyyyxx"),
        ("${NULL:-a}${NULL-b}", "a"),
        ("${PWD:+a}${NULL:+b}${NULL+c}${XXX+d}", "ac"),
        ("he${PWD:+${SHELL}}xx", "hebashxx"),
        ("he${PWD?}${NULL?}", "he/home"),
        (r"he${XXX:-\$PWD:}xx", "he$PWD:xx"),
        (r"he${XXX:-\${PWD}z}xx", "he${PWDz}xx"),
        ("${aaa}}", "}"),
        ("${aaa:-bbb {foo}", "bbb {foo"),
        ("${999:-bbb}aaa", "bbbaaa"),
        ("${@:-bbb}", "bbb"),
    ] {
        assert_eq!(expand(word).as_deref(), Ok(want), "{word}");
    }
}

/// The reference's examples ("Environment replacement"), and more.
#[test]
fn patterns() {
    for (word, want) in [
        ("${str#f*b}", "arbaz"),
        ("${str##f*b}", "az"),
        ("${str%b*}", "foobar"),
        ("${str%%b*}", "foo"),
        ("${str/ba/fo}", "fooforbaz"),
        ("${str//ba/fo}", "fooforfoz"),
        ("${path##*/}", "b.tar.gz"),
        ("${path%.*}", "/a/b.tar"),
        ("${path%%.*}", "/a/b"),
        ("${path#x}${path%x}", "/a/b.tar.gz/a/b.tar.gz"),
        ("${path//\\//_}", "_a_b.tar.gz"),
        ("${str//?/x}", "xxxxxxxxx"),
        ("${str//}", "syntax error: missing '/' in ${}"),
        ("${str///-}", "-f-o-o-b-a-r-b-a-z-"),
        ("${str/*/x}${NULL/*/y}", "xy"),
        ("${str//*/x}", "x"),
        (r"${stars/\*/-}${stars%\?*}", r"a-b?c\da*b"),
        (r"${stars#a\x}", r"invalid pattern (a\x) in substitution: invalid escape '\x'"),
        ("${str#*}${str##*}|${NULL#*}", "foobarbaz|"),
        ("${XXX#a}${XXX/a/b}", ""),
        ("${lines#*o}|${lines##*}", "ne\ntwo|\ntwo"),
        ("${str/b*${none}r/$PWD}", "foo/homebaz"),
        ("${str//a/$1}", "foobrbz"),
    ] {
        assert_eq!(expand(word).unwrap_or_else(|why| why), want, "{word}");
    }
}

#[test]
fn what_cannot_be_expanded() {
    for (word, want) in [
        ("he'llo", "unexpected end of statement while looking for matching single-quote"),
        ("\"hello", "unexpected end of statement while looking for matching double-quote"),
        ("\"hello\\\"", "unexpected end of statement while looking for matching double-quote"),
        ("${}", "syntax error: bad substitution"),
        ("${:-b}", "syntax error: bad substitution"),
        ("${{a}", "syntax error: bad substitution"),
        ("${", "syntax error: missing '}'"),
        ("${PWD", "syntax error: missing '}'"),
        ("${aaa:-bbb ${foo}", "syntax error: missing '}'"),
        ("${XXX:YYY}", "unsupported modifier (:Y) in substitution"),
        ("${PWD:=0}", "unsupported modifier (:=) in substitution"),
        ("${PWD:#a}", "unsupported modifier (:#) in substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        ("${XXX?}", "XXX: is not allowed to be unset"),
        ("${NULL:?}", "NULL: is not allowed to be empty"),
        ("${XXX:?give me one}", "XXX: give me one"),
        ("${XXX:-${YYY?}}", "YYY: is not allowed to be unset"),
        ("${str/a}", "syntax error: missing '/' in ${}"),
    ] {
        assert_eq!(expand(word), Err(want.into()), "{word}");
    }
    let error = Expander::new('\\').expand("a\"b", &NoVariables).unwrap_err();
    let want = "failed to process \"a\\\"b\": unexpected end of statement while looking for matching \
                double-quote";
    assert_eq!(error.to_string(), want);
    let deep = "${a:-".repeat(5000) + &"}".repeat(5000);
    assert_eq!(expand(&deep), Err(Why::Deep.to_string()));
}

#[test]
fn words() {
    let words = |word| Expander::new('\\').expand(word, &env()).unwrap().words;
    for (word, want) in [
        ("hello${hi}bye", vec!["hellobye"]),
        ("hello${spaces}bye", vec!["helloabc", "defbye"]),
        ("hello\"${spaces}\"bye", vec!["helloabc  defbye"]),
        ("hello \"${spaces}\"bye", vec!["hello", "abc  defbye"]),
        ("hello${leading}def", vec!["hello", "ab", "cdef"]),
        ("hello\"${leading}\" def", vec!["hello  ab c", "def"]),
        ("hello there     ", vec!["hello", "there"]),
        (r"hello\ there", vec!["hello there"]),
        (r#"hello\" there"#, vec!["hello\"", "there"]),
        ("80${x:-81}", vec!["8081"]),
        ("a << b", vec!["a", "<< b"]),
        ("", vec![]),
    ] {
        assert_eq!(words(word), want, "{word}");
    }
}

#[test]
fn other_ways() {
    let usual = Expander::new('\\');
    let raw = Expander { raw_quotes: true, keep_unset: true, ..usual };
    let text = |how: Expander, word| how.expand(word, &env()).unwrap().text;
    let kept = r#"echo "$PWD" '$x' $x ${x} ${x:-a} ${x#b} ${x/c/d}"#;
    let want = r#"echo "/home" '$x' $x ${x} ${x:-a} ${x#b} ${x/c/d}"#;
    assert_eq!(text(raw, kept), want);
    assert_eq!(text(Expander { raw_escapes: true, ..raw }, r#"a\ b "\n\"" "#), r#"a\ b "\\n\"" "#);
    let plain = Expander { plain_quotes: true, ..usual };
    assert_eq!(text(plain, r#"it's "$PWD" \$PWD"#), r#"it's "/home" $PWD"#);
    assert_eq!(text(Expander::new('`'), r"c:\$SHELL`$x"), r"c:\bash$x");
}

#[test]
fn what_was_named() {
    let expansion = Expander::new('\\').expand("$PWD ${a:-$b} '$c'", &env()).unwrap();
    assert_eq!(expansion.matched.into_iter().collect::<Vec<_>>(), ["PWD"]);
    assert_eq!(expansion.unmatched.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

/// The plainest matcher there is.
fn matches(pattern: &[pattern::Piece], text: &[char]) -> bool {
    use pattern::Piece::{Any, Character, One};
    match (pattern.first(), text.first()) {
        (None, _) => text.is_empty(),
        (Some(Any), first) => {
            matches(&pattern[1..], text)
                || first.is_some_and(|c| *c != '\n' && matches(pattern, &text[1..]))
        }
        (Some(One), Some(c)) => *c != '\n' && matches(&pattern[1..], &text[1..]),
        (Some(Character(own)), Some(c)) => own == c && matches(&pattern[1..], &text[1..]),
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn trimming_is_as_the_plainest_does(pattern in "[ab*?\n]{0,6}", value in "[ab\n]{0,8}") {
        let pieces = pattern::compile(&pattern).unwrap();
        let text: Vec<char> = value.chars().collect();
        for longest in [false, true] {
            let lengths: Vec<usize> = (0..=text.len()).collect();
            let pick = |is_match: &dyn Fn(usize) -> bool| {
                let mut found = lengths.iter().copied().filter(|length| is_match(*length));
                if longest { found.next_back() } else { found.next() }.unwrap_or(0)
            };
            let front = pick(&|length| matches(&pieces, &text[..length]));
            let want: String = text[front..].iter().collect();
            prop_assert_eq!(pattern::trim(&pieces, &value, false, longest), want);
            let back = pick(&|length| matches(&pieces, &text[text.len() - length..]));
            let want: String = text[..text.len() - back].iter().collect();
            prop_assert_eq!(pattern::trim(&pieces, &value, true, longest), want);
        }
    }

    #[test]
    fn replacing_is_as_the_plainest_does(pattern in "[ab*?]{0,5}", value in "[ab]{0,8}") {
        let pieces = pattern::compile(&pattern).unwrap();
        let text: Vec<char> = value.chars().collect();
        let (mut want, mut at, mut previous) = (String::new(), 0, None);
        while at <= text.len() {
            let found = (at..=text.len()).rev().find(|end| matches(&pieces, &text[at..*end]));
            if let Some(end) = found.filter(|end| *end > at || previous != Some(at)) {
                want.push('-');
                previous = Some(end);
                if end > at {
                    at = end;
                    continue;
                }
            }
            want.extend(text.get(at));
            at += 1;
        }
        let got = pattern::replace(&pieces, &value, "-", true, 1000).unwrap();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn any_word_ends(word in ".{0,40}") {
        let _ = Expander::new('\\').expand(&word, &env());
    }
}

#[test]
fn an_error_is_one_line_whatever_the_word_is() {
    for word in ["${a\n}", "${\r", "${a:\u{1b}x}"] {
        let error = Expander::new('\\').expand(word, &NoVariables).unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
    }
}
