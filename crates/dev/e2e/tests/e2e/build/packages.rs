//! Programs with packages from a registry, on an image made from Debian's packages: what the packages are
//! is copied first, so that a change of the program does not install them again.

use std::fs;
use std::path::Path;

use testkit::{Sandbox, needs, wait_until};

use super::{built, carried_out, context, tidy, write};
use crate::busybox;

const TOOLS: &str = "\
FROM debian:base
COPY npm /usr/local/lib/npm
COPY --chmod=755 uv /usr/local/bin/uv
COPY --chmod=755 <<-\"END\" /usr/local/bin/npm
\t#!/bin/sh
\texec node /usr/local/lib/npm/bin/npm-cli.js \"$@\"
\tEND
";

const NODE: &str = "\
FROM debian:tools
WORKDIR /app
COPY package.json ./
RUN --mount=type=cache,target=/root/.npm npm install --no-audit --no-fund --registry http://127.0.0.1:8123/
COPY . .
CMD [\"node\", \"server.js\"]
";
const SERVER: &str = "\
const left = require('left');
require('http').createServer((_, answer) => answer.end(left('us'))).listen(3000);
";
const ASK: &str =
    "require('http').get('http://127.0.0.1:3000', a => a.on('data', d => console.log('' + d)))";

const PYTHON: &str = "\
FROM debian:tools
WORKDIR /app
ENV UV_LINK_MODE=copy UV_PYTHON=/usr/bin/python3 UV_DEFAULT_INDEX=http://127.0.0.1:8123/simple
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-install-project
COPY . .
CMD [\".venv/bin/python\", \"main.py\"]
";
const PROJECT: &str = "\
[project]
name = \"app\"
version = \"1\"
requires-python = \">=3.9\"
dependencies = [\"greet==1.0\"]
";

/// A registry of npm's kind and one of Python's, as files, with a package each.
const REGISTRIES: &str = r#"
import hashlib, io, json, os, tarfile, zipfile
os.makedirs("/registry/left"); os.makedirs("/registry/simple/greet")
files = {"package.json": '{"name": "left", "version": "1.0.0", "main": "index.js"}',
         "index.js": 'module.exports = (text) => "left of " + text;'}
with tarfile.open("/registry/left/left-1.0.0.tgz", "w:gz") as archive:
    for name, text in files.items():
        member = tarfile.TarInfo("package/" + name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
digest = hashlib.sha1(open("/registry/left/left-1.0.0.tgz", "rb").read()).hexdigest()
dist = {"tarball": "http://127.0.0.1:8123/left/left-1.0.0.tgz", "shasum": digest}
version = {"name": "left", "version": "1.0.0", "dist": dist}
about = {"name": "left", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
json.dump(about, open("/registry/left/index.html", "w"))
info = "greet-1.0.dist-info/"
files = {"greet.py": "def greet(name):\n    return 'hello, ' + name\n",
         info + "METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n",
         info + "WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
files[info + "RECORD"] = "".join(name + ",,\n" for name in files) + info + "RECORD,,\n"
with zipfile.ZipFile("/registry/simple/greet/greet-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

/// The image with npm and uv, and the registries, at 127.0.0.1:8123 of this network.
fn prepared(name: &str) -> Sandbox {
    let archive = crate::debian::archive();
    let sandbox = busybox(name);
    sandbox.ok(&["import", archive.to_str().unwrap(), "debian:base"]);
    let tools = context(&sandbox, "tools", &[("Dockerfile", TOOLS)]);
    let copied = format!(
        "cp -r \"$(dirname \"$(command -v npm-for-builds)\")/../lib/npm\" {0}/npm && \
         cp \"$(command -v uv-for-builds)\" {0}/uv",
        tools.display()
    );
    sandbox.sh(&copied).success();
    built(&sandbox, &tools, &["-t", "debian:tools"]);
    let registry = sandbox.work().join("registry");
    fs::create_dir(&registry).unwrap();
    let mount = format!("{}:/registry", registry.display());
    sandbox.ok(&["run", "--rm", "-v", &mount, "debian:base", "python3", "-c", REGISTRIES]);
    let serve = ["python3", "-m", "http.server", "8123", "--bind", "127.0.0.1", "-d", "/registry"];
    let run = ["run", "-d", "--name", "registry", "--network", "host", "-v", &mount, "debian:base"];
    sandbox.ok(&[&run[..], &serve].concat());
    wait_until("the registry serves", || {
        sandbox.sh("curl -sf -m 2 http://127.0.0.1:8123/simple/").code == 0
    });
    sandbox
}

fn finish(sandbox: Sandbox) {
    sandbox.ok(&["rm", "-f", "registry"]);
    tidy(&sandbox);
    sandbox.finish();
}

/// Which steps of a build of `dir` were carried out.
fn steps(sandbox: &Sandbox, dir: &Path) -> Vec<String> {
    let told = built(sandbox, dir, &["--network", "host", "-t", "app"]);
    let steps = carried_out(&told);
    steps.iter().map(|step| step.split("] ").nth(1).unwrap_or(step).to_owned()).collect()
}

/// The whole builds; then nothing; then what lies above a change of the program, and of its packages.
fn built_again(sandbox: &Sandbox, dir: &Path, program: &str, packages: (&str, &str)) {
    assert_eq!(steps(sandbox, dir).len(), 4);
    assert_eq!(steps(sandbox, dir), [""; 0]);
    let path = dir.join(program);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n")).unwrap();
    assert_eq!(steps(sandbox, dir), ["COPY . ."]);
    write(dir, &[packages]);
    let args = ["--network", "host", "-t", "app", "--explain"];
    let output = super::dhow(sandbox, dir, &args);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(told.contains(&format!("{} changed", packages.0)), "{told}");
    assert!(told.contains("RAN     [stage-0 4/5] RUN"), "{told}");
}

#[test]
fn a_node_server() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Mmdebstrap, Curl, PackageManagers);
    let sandbox = prepared("build-node");
    let package = r#"{"name": "app", "version": "1.0.0", "dependencies": {"left": "^1.0.0"}}"#;
    let files = [("Dockerfile", NODE), ("package.json", package), ("server.js", SERVER)];
    let dir = context(&sandbox, "node", &files);
    let newer = package.replace("\"1.0.0\", \"dep", "\"1.0.1\", \"dep");
    built_again(&sandbox, &dir, "server.js", ("package.json", &newer));
    sandbox.ok(&["run", "-d", "--name", "web", "app"]);
    wait_until("the server answers", || {
        sandbox.dhow(&["exec", "web", "node", "-e", ASK]).stdout.trim() == "left of us"
    });
    sandbox.ok(&["rm", "-f", "web"]);
    finish(sandbox);
}

#[test]
fn a_python_program_with_uv() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Mmdebstrap, Curl, PackageManagers);
    let sandbox = prepared("build-uv");
    let program = "from greet import greet\nprint(greet('us'))\n";
    let files = [("Dockerfile", PYTHON), ("pyproject.toml", PROJECT), ("main.py", program)];
    let dir = context(&sandbox, "python", &files);
    let newer = PROJECT.replace("version = \"1\"", "version = \"2\"");
    built_again(&sandbox, &dir, "main.py", ("pyproject.toml", &newer));
    assert_eq!(sandbox.ok(&["run", "--rm", "app"]), "hello, us");
    finish(sandbox);
}
