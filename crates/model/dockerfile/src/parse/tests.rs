use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::instruction::{Command, Copy, Run};
use crate::position::Lines;

fn error(source: &str) -> String {
    parse(source.as_bytes()).unwrap_err().to_string()
}

fn bodies(source: &str) -> Vec<Body> {
    let source = format!("FROM x\n{source}");
    let file = parse(source.as_bytes()).unwrap_or_else(|error| panic!("{source}: {error}"));
    file.stages[0].instructions.iter().map(|one| one.body.clone()).collect()
}

fn body(source: &str) -> Body {
    bodies(source).remove(0)
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn pair(key: &str, value: &str, legacy: bool) -> Pair {
    Pair { key: key.into(), value: value.into(), legacy }
}

#[test]
fn stages_and_globals() {
    let source =
        b"# syntax=a\nARG V=1\n# base the base\nFROM --platform=$BUILDPLATFORM d:$V AS Base\n\
        RUN a\nfrom base\nCMD b";
    let file = parse(source).unwrap();
    assert_eq!(file.globals.len(), 1);
    let [base, last] = file.stages.as_slice() else { panic!("{file:?}") };
    assert_eq!((base.name().as_deref(), last.name()), (Some("base"), None));
    assert_eq!(base.description().as_deref(), Some("the base"));
    assert_eq!(base.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!((base.base.as_str(), base.lines), ("d:$V", Lines::one(4)));
    assert_eq!((last.keyword.as_str(), last.instructions[0].lines), ("from", Lines::one(7)));
    assert_eq!(file.directives[0].value, "a");
}

#[test]
fn errors_in_buildkits_words() {
    for (source, want) in [
        ("", "the Dockerfile cannot be empty"),
        (
            "FRMO x",
            "dockerfile parse error on line 1: unknown instruction: FRMO (did you mean FROM?)",
        ),
        (
            "FROM x\n\nfrmo y\\\nz",
            "dockerfile parse error on line 3: unknown instruction: frmo (did you mean from?)",
        ),
        ("FROM x\nHOWDY", "dockerfile parse error on line 2: unknown instruction: HOWDY"),
        ("RUN a\nFROM x", "no build stage in current context"),
        ("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a b",
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
        ),
        (
            "FROM a is b",
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
        ),
        (
            "FROM a AS 1b",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", \
             name can't start with a number or contain symbols",
        ),
        (
            "FROM --platfrm=a b",
            "dockerfile parse error on line 1: unknown flag: --platfrm (did you mean platform?)",
        ),
        ("FROM x\nENV a", "ENV must have two arguments"),
        (
            "FROM x\nBAD\nENV a=b c",
            "Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("FROM x\nENV", "dockerfile parse error on line 2: ENV requires at least one argument"),
        ("FROM x\nLABEL =a", "dockerfile parse error on line 2: LABEL names can not be blank"),
        ("FROM x\nARG", "dockerfile parse error on line 2: ARG requires at least one argument"),
        ("FROM x\nARG =a", "dockerfile parse error on line 2: ARG names can not be blank"),
        (
            "FROM x\nCOPY a",
            "dockerfile parse error on line 2: COPY requires at least two arguments, but only one \
             was provided. Destination could not be determined",
        ),
        (
            "FROM x\nADD a <<EOF\nEOF",
            "dockerfile parse error on line 2: ADD cannot accept a heredoc as a destination",
        ),
        (
            "FROM x\nCOPY --frm=a b c",
            "dockerfile parse error on line 2: unknown flag: --frm (did you mean from?)",
        ),
        (
            "FROM x\nCOPY --checksum=a b c",
            "dockerfile parse error on line 2: unknown flag: --checksum",
        ),
        (
            "FROM x\nWORKDIR",
            "dockerfile parse error on line 2: WORKDIR requires exactly one argument",
        ),
        ("FROM x\nUSER", "dockerfile parse error on line 2: USER requires exactly one argument"),
        (
            "FROM x\nEXPOSE",
            "dockerfile parse error on line 2: EXPOSE requires at least one argument",
        ),
        (
            "FROM x\nVOLUME",
            "dockerfile parse error on line 2: VOLUME requires at least one argument",
        ),
        (
            "FROM x\nVOLUME [\" \"]",
            "dockerfile parse error on line 2: VOLUME specified can not be an empty string",
        ),
        (
            "FROM x\nSHELL []",
            "dockerfile parse error on line 2: SHELL requires at least one argument",
        ),
        (
            "FROM x\nSHELL sh -c",
            "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form",
        ),
        (
            "FROM x\nCMD [1]",
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM x\nCMD --a", "dockerfile parse error on line 2: unknown flag: --a"),
        (
            "FROM x\nONBUILD",
            "dockerfile parse error on line 2: ONBUILD requires at least one argument",
        ),
        (
            "FROM x\nONBUILD ONBUILD RUN a",
            "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        (
            "FROM x\nONBUILD from a",
            "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger",
        ),
        (
            "FROM x\nHEALTHCHECK",
            "dockerfile parse error on line 2: HEALTHCHECK requires at least one argument",
        ),
        (
            "FROM x\nHEALTHCHECK NONE a",
            "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments",
        ),
        (
            "FROM x\nHEALTHCHECK CMD",
            "dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD",
        ),
        (
            "FROM x\nHEALTHCHECK curl",
            "dockerfile parse error on line 2: Unknown type \"CURL\" in HEALTHCHECK (try CMD)",
        ),
        (
            "FROM x\nHEALTHCHECK --interval=1us CMD a",
            "dockerfile parse error on line 2: Interval \"interval\" cannot be less than 1ms",
        ),
        (
            "FROM x\nHEALTHCHECK --timeout=1 CMD a",
            "dockerfile parse error on line 2: time: missing unit in duration \"1\"",
        ),
        (
            "FROM x\nHEALTHCHECK --retries=a CMD a",
            "dockerfile parse error on line 2: strconv.ParseInt: parsing \"a\": invalid syntax",
        ),
        (
            "FROM x\nHEALTHCHECK --retries=-1 CMD a",
            "dockerfile parse error on line 2: --retries cannot be negative (-1)",
        ),
        (
            "FROM x\nRUN --network=x a",
            "dockerfile parse error on line 2: invalid network mode \"x\"",
        ),
        (
            "FROM x\nRUN --security=x a",
            "dockerfile parse error on line 2: security \"x\" is not valid",
        ),
        (
            "FROM x\nRUN --mount=from=$a b",
            "dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead",
        ),
    ] {
        assert_eq!(error(source), want, "{source:?}");
    }
}

#[test]
fn what_was_read_before_an_error_is_there() {
    let parsed = parse_some(b"FROM x\nMAINTAINER a\nFOO\nRUN b");
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 1);
    assert_eq!(parsed.error.unwrap().lines, [Lines::one(3)]);
}

#[test]
fn simple_instructions() {
    assert_eq!(
        body("ENV a=b c=\"d e\""),
        Body::Env(vec![pair("a", "b", false), pair("c", "\"d e\"", false)])
    );
    assert_eq!(body("env a b c"), Body::Env(vec![pair("a", "b c", true)]));
    assert_eq!(body("LABEL a b"), Body::Label(vec![pair("a", "b", true)]));
    assert_eq!(body("EXPOSE 80 443/tcp 1"), Body::Expose(strings(&["1", "443/tcp", "80"])));
    assert_eq!(body("VOLUME [\"/a b\", \"/c\"]"), Body::Volume(strings(&["/a b", "/c"])));
    assert_eq!(body("VOLUME /a /b"), Body::Volume(strings(&["/a", "/b"])));
    assert_eq!(body("WORKDIR /a b "), Body::Workdir("/a b".into()));
    assert_eq!(body("USER  a:b"), Body::User("a:b".into()));
    assert_eq!(body("STOPSIGNAL 9"), Body::Stopsignal("9".into()));
    assert_eq!(body("MAINTAINER A <b>"), Body::Maintainer("A <b>".into()));
    assert_eq!(body("SHELL [\"a\", \"-b\"]"), Body::Shell(strings(&["a", "-b"])));
    assert_eq!(body("CMD"), Body::Cmd(Command::Shell(String::new())));
    assert_eq!(body("CMD []"), Body::Cmd(Command::Exec(vec![])));
    assert_eq!(body("ENTRYPOINT [\"a\"] x"), Body::Entrypoint(Command::Shell("[\"a\"] x".into())));
    assert_eq!(body("ONBUILD\tCOPY . /a"), Body::Onbuild("COPY . /a".into()));
    assert_eq!(body("onbuild RUN <<A\nx\nA"), Body::Onbuild("RUN <<A\nx\nA".into()));
}

#[test]
fn arguments_with_their_descriptions() {
    let Body::Arg(arguments) = body("# a says a\n# b says b\nARG a b=1 c=") else { panic!() };
    let seen: Vec<_> = arguments
        .iter()
        .map(|one| (one.key.as_str(), one.value.as_deref(), one.description.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [("a", None, Some("says a")), ("b", Some("1"), Some("says b")), ("c", Some(""), None)]
    );
}

#[test]
fn health_checks() {
    let Body::Healthcheck(check) = body(
        "HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s \
              --retries=4 CMD curl -f x || exit 1",
    ) else {
        panic!()
    };
    assert_eq!(check.test, Some(strings(&["CMD-SHELL", "curl -f x || exit 1"])));
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    assert_eq!(times, [300, 3, 1, 2].map(|seconds| seconds * 1_000_000_000));
    assert_eq!(check.retries, 4);
    let test = |source| match body(source) {
        Body::Healthcheck(check) => check.test.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(test("HEALTHCHECK cmd [\"a\", \"b\"]"), ["CMD", "a", "b"]);
    assert_eq!(test("HEALTHCHECK none"), ["NONE"]);
}

#[test]
fn copies() {
    let Body::Copy(copy) = body(
        "COPY --from=a --chown=b:c --chmod=755 --link --parents --exclude=*.x --exclude=y d e/ /f/",
    ) else {
        panic!()
    };
    let Copy { sources, flags, from, parents } = *copy;
    assert_eq!((sources.paths, sources.destination.as_str()), (strings(&["d", "e/"]), "/f/"));
    assert_eq!((from.as_str(), parents, flags.link), ("a", true, true));
    assert_eq!((flags.chown.as_str(), flags.chmod.as_str()), ("b:c", "755"));
    assert_eq!(flags.exclude, ["*.x", "y"]);
    let Body::Add(add) =
        body("ADD --checksum=sha256:a --keep-git-dir=false --unpack [\"a b\", \"c\"]")
    else {
        panic!()
    };
    assert_eq!((add.keep_git_dir, add.unpack), (Some(false), Some(true)));
    assert_eq!((add.checksum.as_str(), add.sources.paths), ("sha256:a", strings(&["a b"])));
    let Body::Copy(copy) = body("COPY <<-\"a\" x <<b /d/\n\tone $x\na\n\ttwo\nb") else { panic!() };
    assert_eq!(copy.sources.paths, ["x"]);
    let [a, b] = copy.sources.files.as_slice() else { panic!() };
    assert_eq!((a.name.as_str(), a.expand, a.text()), ("a", false, "one $x\n".into()));
    assert_eq!((b.name.as_str(), b.expand, b.text()), ("b", true, "\ttwo\n".into()));
}

#[test]
fn runs() {
    let Body::Run(run) = body(
        "RUN --mount=type=cache,target=/c --mount=from=a,target=/b --network=none \
         --security=insecure --device=v/c=d echo $x && b",
    ) else {
        panic!()
    };
    let Run { command, mounts, network, insecure, devices, .. } = *run;
    assert_eq!(command, Command::Shell("echo $x && b".into()));
    assert_eq!(mounts.iter().map(|one| one.from.as_deref()).collect::<Vec<_>>(), [None, Some("a")]);
    assert_eq!((network, insecure), (crate::instruction::Network::None, true));
    assert_eq!(devices[0].name, "v/c=d");
    let Body::Run(run) = body("RUN [\"a\", \"<<b\"]") else { panic!() };
    assert_eq!((run.command, run.heredocs.len()), (Command::Exec(strings(&["a", "<<b"])), 0));
}

fn check(source: &str, want: &Expect) {
    let file = parse(source.as_bytes()).unwrap();
    let mut out = String::new();
    for stage in &file.stages {
        out += &format!("{}-{} {}\n", stage.lines.first, stage.lines.last, stage.text);
        for one in &stage.instructions {
            out += &format!("{}-{} {}\n", one.lines.first, one.lines.last, one.text);
        }
    }
    want.assert_eq(&out);
}

/// As people write them.
#[test]
fn a_whole_file() {
    check(
        "# syntax=docker/dockerfile:1\r\n\r\nFROM debian:12 AS build\r\n\
         RUN apt-get update \\\r\n    # what we need\r\n && apt-get install -y \\\r\n    gcc\r\n\r\n\
         WORKDIR /src\r\nCOPY <<EOF main.c\r\nint main() {}\r\nEOF\r\n\
         RUN gcc -o /x main.c\r\n\r\nFROM scratch\r\nCOPY --from=build /x /x\r\n\
         ENTRYPOINT [\"/x\"]\r\n",
        &expect![[r#"
            3-3 FROM debian:12 AS build
            4-7 RUN apt-get update  && apt-get install -y     gcc
            9-9 WORKDIR /src
            10-12 COPY <<EOF main.c
            13-13 RUN gcc -o /x main.c
            15-15 FROM scratch
            16-16 COPY --from=build /x /x
            17-17 ENTRYPOINT ["/x"]
        "#]],
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(source in "(?s).{0,200}") {
        let _ = parse(source.as_bytes());
    }

    #[test]
    fn near_misses_are_read_or_refused(
        lines in proptest::collection::vec(
            "(FROM|RUN|COPY|ADD|ENV|ARG|HEALTHCHECK|ONBUILD|LABEL|SHELL|#) [-a-z=<>\\\\\"'$\\[\\], \t]{0,20}",
            0..8,
        ),
    ) {
        let source = lines.join("\n");
        if let Ok(file) = parse(source.as_bytes()) {
            let last = source.lines().count() as u32;
            let all = file.stages.iter().flat_map(|stage| &stage.instructions);
            prop_assert!(all.into_iter().all(|one| one.lines.last <= last));
        }
    }
}
