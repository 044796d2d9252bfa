//! What is wrong is said with its line, its cause and what the step said last; Docker's exit code; no
//! half image.

use testkit::{Sandbox, needs};

use super::{Docker, context, dhow, tidy};
use crate::busybox;

struct Case {
    name: &'static str,
    file: &'static str,
    args: &'static [&'static str],
    /// The number of the line that is shown with `>>>`; 0: none is.
    line: u32,
    says: &'static [&'static str],
}

const fn case(
    name: &'static str,
    file: &'static str,
    args: &'static [&'static str],
    line: u32,
    says: &'static [&'static str],
) -> Case {
    Case { name, file, args, line, says }
}

const CASES: &[Case] = &[
    case("unknown", "FROM busybox\nRUNN echo\n", &[], 2, &["unknown instruction: RUNN", "RUN"]),
    case("empty", "", &[], 0, &["the Dockerfile cannot be empty"]),
    case("no-from", "RUN true\n", &[], 1, &["no build stage in current context"]),
    case("flag", "FROM busybox\nCOPY --frob=1 a b\n", &[], 2, &["unknown flag: --frob"]),
    case("mount", "FROM busybox\nRUN --mount=type=bind,frob=1 true\n", &[], 2, &["frob"]),
    case("few", "FROM busybox\nCOPY one\n", &[], 2, &["COPY requires at least two arguments"]),
    case("heredoc", "FROM busybox\nRUN <<EOF\necho\n", &[], 2, &["unterminated heredoc"]),
    case("json", "FROM busybox\nSHELL [\"a\"\n", &[], 2, &["SHELL requires the arguments"]),
    case("file", "FROM busybox\nCOPY missing /x\n", &[], 2, &["\"/missing\": not found"]),
    case("up", "FROM busybox\nCOPY ../../etc/shadow /x\n", &[], 2, &["not found"]),
    case("link", "FROM busybox\nCOPY link/shadow /x\n", &[], 2, &["not found"]),
    case("stage", "FROM busybox\nCOPY --from=5 /a /b\n", &[], 2, &["5"]),
    case("self", "FROM busybox AS a\nCOPY --from=a /a /b\n", &[], 2, &["circular"]),
    case("target", "FROM busybox AS a\n", &["--target", "b"], 0, &["target stage \"b\" could not"]),
    case("arg", "ARG X\nFROM ${X}\n", &[], 2, &["base name (${X}) should not be blank"]),
    case("expand", "FROM busybox\nENV A=${B:?it is needed}\n", &[], 2, &["it is needed"]),
    case("bad-var", "FROM busybox\nENV A=${B\n", &[], 2, &["missing"]),
    case(
        "secret",
        "FROM busybox\nRUN --mount=type=secret,id=s,required=true true\n",
        &[],
        2,
        &["secret s: not found"],
    ),
    case(
        "command",
        "FROM busybox\nRUN echo the last words; exit 3\nRUN true\n",
        &[],
        2,
        &["the last words", "did not complete successfully: exit code: 3"],
    ),
    case("program", "FROM busybox\nRUN [\"/no-such\"]\n", &[], 2, &["/no-such"]),
    case("user", "FROM busybox\nUSER nobody-here\nRUN true\n", &[], 3, &["nobody-here"]),
    case("chmod", "FROM busybox\nCOPY --chmod=9z Dockerfile /\n", &[], 2, &["chmod"]),
    case("expose", "FROM busybox\nEXPOSE 99999\n", &[], 2, &["99999"]),
    case("signal", "FROM busybox\nHEALTHCHECK --interval=x CMD true\n", &[], 2, &["x"]),
    case(
        "onbuild",
        "FROM busybox\nONBUILD FROM x\n",
        &[],
        2,
        &["FROM isn't allowed as an ONBUILD"],
    ),
    case(
        "insecure",
        "FROM busybox\nRUN --security=insecure true\n",
        &[],
        2,
        &["security.insecure"],
    ),
    case("host", "FROM busybox\nRUN --network=host true\n", &[], 2, &["network.host"]),
];

fn a_case(sandbox: &Sandbox, case: &Case) -> std::path::PathBuf {
    let dir = context(sandbox, &format!("bad-{}", case.name), &[("Dockerfile", case.file)]);
    if case.name == "link" {
        std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
    }
    dir
}

/// What is said has the line, and every word.
#[track_caller]
fn check(who: &str, case: &Case, code: i32, said: &str) {
    assert_eq!(code, 1, "{who}, {}: {said}", case.name);
    for word in case.says {
        assert!(said.contains(word), "{who}, {}: no {word:?} in\n{said}", case.name);
    }
    let marked = said.lines().find(|line| line.contains("| >>>"));
    let marked = marked.and_then(|line| line.split('|').next()?.trim().parse().ok());
    assert_eq!(marked.unwrap_or(0), case.line, "{who}, {}:\n{said}", case.name);
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-bad");
    for case in CASES {
        let dir = a_case(&sandbox, case);
        let output = dhow(&sandbox, &dir, &[&["-t", "half"], case.args].concat());
        check("dhow build", case, output.code, &output.stderr);
    }
    assert_eq!(sandbox.ok(&["images", "-q", "half"]), "", "no half image");
    tidy(&sandbox);
    sandbox.finish();
}

#[test]
fn and_docker_is_told_the_same() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("build-bad-docker");
    let docker = Docker::start(&sandbox);
    for case in CASES {
        let dir = a_case(&sandbox, case);
        let args = [&["build", "--progress=plain", "-t", "half"], case.args, &["."]].concat();
        let output = docker.run(&dir, &args);
        check("docker build", case, output.code, &output.stderr);
    }
    drop(docker);
    assert_eq!(sandbox.ok(&["images", "-q", "half"]), "", "no half image");
    tidy(&sandbox);
    sandbox.finish();
}
