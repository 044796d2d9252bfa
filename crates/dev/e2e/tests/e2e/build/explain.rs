//! `build --explain`: why steps, programs among them, were carried out or not.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::{Sandbox, needs};

use super::{context, tidy};
use crate::busybox;

const DOCKERFILE: &str = "\
FROM busybox
ARG MODE=a
WORKDIR /app
COPY package.json .
RUN cp package.json installed
COPY . .
RUN echo $MODE > mode && cat main >> mode
";

/// Of each step, by its instruction without what is before it, whether it was cached, and why.
fn explained(sandbox: &Sandbox, dir: &Path, more: &[&str]) -> Vec<(String, bool, String)> {
    let args = ["build", "-q", "-t", "made", "--explain", "--format", "json"];
    let printed = sandbox.ok(&[&args, more, &[dir.to_str().unwrap()]].concat());
    let at = printed.find('[').expect("a list");
    let mut read = serde_json::Deserializer::from_str(&printed[at..]).into_iter::<Value>();
    let all = read.next().unwrap().unwrap();
    let one = |step: &Value| {
        let name = step["step"].as_str().unwrap();
        let name = name.split_once("] ").map_or(name, |(_, name)| name).to_owned();
        (name, step["cached"].as_bool().unwrap(), step["why"].as_str().unwrap().to_owned())
    };
    all.as_array().unwrap().iter().map(one).collect()
}

#[track_caller]
fn step<'a>(all: &'a [(String, bool, String)], name: &str) -> (bool, &'a str) {
    let found = all.iter().find(|(step, ..)| step.starts_with(name));
    let (_, cached, why) = found.unwrap_or_else(|| panic!("no {name} in {all:?}"));
    (*cached, why)
}

#[test]
fn why_programs_were_run_again() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-explain");
    let files = [("Dockerfile", DOCKERFILE), ("package.json", "{}\n"), ("main", "1\n")];
    let dir = context(&sandbox, "explain", &files);
    let first = explained(&sandbox, &dir, &[]);
    assert_eq!(step(&first, "RUN cp"), (false, "it was never made here"));
    let again = explained(&sandbox, &dir, &[]);
    for name in ["COPY package.json", "RUN cp", "COPY . .", "RUN echo"] {
        let (cached, why) = step(&again, name);
        assert!(cached && why.starts_with("made before, at "), "{name}: {why}");
    }

    // A file of the sources: what was installed stays.
    fs::write(dir.join("main"), "2\n").unwrap();
    let changed = explained(&sandbox, &dir, &[]);
    assert!(step(&changed, "RUN cp").0, "{changed:?}");
    assert_eq!(step(&changed, "COPY . ."), (false, "main changed"));
    let (cached, why) = step(&changed, "RUN echo");
    assert!(!cached && why.contains("COPY . ., which came out different"), "{why}");

    fs::write(dir.join("package.json"), "{ }\n").unwrap();
    let changed = explained(&sandbox, &dir, &[]);
    assert_eq!(step(&changed, "COPY package.json"), (false, "package.json changed"));
    let (cached, why) = step(&changed, "RUN cp");
    assert!(!cached && why.contains("COPY package.json ., which came out different"), "{why}");

    // An argument that one program has.
    let changed = explained(&sandbox, &dir, &["--build-arg", "MODE=b"]);
    let (cached, why) = step(&changed, "RUN echo");
    assert!(!cached && why.contains(r#"argument MODE is "b", was "a""#), "{why}");
    tidy(&sandbox);
    sandbox.finish();
}
