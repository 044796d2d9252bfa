//! Definitions of a client's own (LLB), each operation carried out for real.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use buildkit::pb::{self, MountType, op::Op};
use oci::Digest;
use prost::Message as _;
use serde_json::Value;
use testkit::{Output, Sandbox, needs};

use crate::build_contexts::serve;
use crate::busybox;

/// A definition on its way.
#[derive(Default)]
struct Definition(pb::Definition);

/// A result of an operation.
#[derive(Clone)]
struct At(String, i64);

impl Definition {
    fn add(&mut self, op: Op, inputs: &[&At]) -> At {
        let inputs = inputs.iter().map(|at| pb::Input { digest: at.0.clone(), index: at.1 });
        let op = pb::Op { op: Some(op), inputs: inputs.collect(), ..pb::Op::default() };
        let bytes = op.encode_to_vec();
        let digest = Digest::sha256(&bytes).to_string();
        self.0.def.push(bytes);
        At(digest, 0)
    }

    fn source(&mut self, identifier: &str, attributes: &[(&str, &str)]) -> At {
        let attrs = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        let op = pb::SourceOp { identifier: identifier.into(), attrs: attrs.collect() };
        self.add(Op::Source(op), &[])
    }

    fn busybox(&mut self) -> At {
        self.source("docker-image://docker.io/library/busybox:latest", &[])
    }

    /// `sh -c SCRIPT` in the root that is the first input, which is its result 0.
    fn sh(&mut self, script: &str, mounts: Vec<pb::Mount>, inputs: &[&At]) -> At {
        self.program(exec(script, mounts), inputs)
    }

    fn program(&mut self, exec: pb::ExecOp, inputs: &[&At]) -> At {
        self.add(Op::Exec(exec), inputs)
    }

    /// Actions one after the other, on the first input; copies are from the second.
    fn file(&mut self, actions: Vec<pb::file_action::Action>, inputs: &[&At]) -> At {
        let (n_inputs, last) = (inputs.len() as i64, actions.len() as i64 - 1);
        let actions = actions.into_iter().zip(0..).map(|(action, at)| pb::FileAction {
            input: if at == 0 { n_inputs.min(1) - 1 } else { n_inputs + at - 1 },
            secondary_input: if n_inputs > 1 { 1 } else { -1 },
            output: if at == last { 0 } else { -1 },
            action: Some(action),
        });
        self.add(Op::File(pb::FileOp { actions: actions.collect() }), inputs)
    }

    fn merge(&mut self, inputs: &[&At]) -> At {
        let numbers = (0..inputs.len() as i64).map(|input| pb::MergeInput { input });
        self.add(Op::Merge(pb::MergeOp { inputs: numbers.collect() }), inputs)
    }

    fn end(mut self, top: &At) -> Vec<u8> {
        let input = pb::Input { digest: top.0.clone(), index: top.1 };
        self.0.def.push(pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec());
        self.0.encode_to_vec()
    }
}

fn exec(script: &str, mounts: Vec<pb::Mount>) -> pb::ExecOp {
    let args = ["sh", "-ec", script].map(str::to_owned).to_vec();
    let meta = Some(pb::Meta { args, cwd: "/".into(), ..pb::Meta::default() });
    let root = mount("/", 0, 0);
    pb::ExecOp { meta, mounts: [vec![root], mounts].concat(), ..pb::ExecOp::default() }
}

fn mount(dest: &str, input: i64, output: i64) -> pb::Mount {
    pb::Mount { dest: dest.into(), input, output, ..pb::Mount::default() }
}

fn kind(dest: &str, kind: MountType) -> pb::Mount {
    pb::Mount { mount_type: kind.into(), ..mount(dest, -1, -1) }
}

fn mkfile(path: &str, data: &str) -> pb::file_action::Action {
    let (path, data) = (path.to_owned(), data.as_bytes().to_vec());
    let make = pb::FileActionMkFile { path, data, mode: 0o640, timestamp: -1, owner: None };
    pb::file_action::Action::Mkfile(make)
}

/// What the engine of a test is asked to build.
struct Home {
    sandbox: Sandbox,
    n_built: usize,
}

impl Home {
    fn new(name: &str) -> Self {
        let sandbox = busybox(name);
        fs::create_dir_all(sandbox.work().join("context/dir")).unwrap();
        fs::write(sandbox.work().join("context/word"), "a word\n").unwrap();
        fs::write(sandbox.work().join("context/dir/inner"), "inner\n").unwrap();
        Self { sandbox, n_built: 0 }
    }

    fn run(&mut self, definition: Vec<u8>, args: &[&str]) -> Output {
        self.n_built += 1;
        let path = self.sandbox.work().join(format!("{}.llb", self.n_built));
        fs::write(&path, definition).unwrap();
        let context = self.sandbox.work().join("context");
        let all = ["build", "--progress", "plain", "--definition", path.to_str().unwrap()];
        self.sandbox.dhow(&[&all[..], args, &[context.to_str().unwrap()]].concat())
    }

    /// The result as a directory, and what was told.
    #[track_caller]
    fn built(&mut self, definition: Vec<u8>, args: &[&str]) -> (PathBuf, String) {
        let dest = self.sandbox.work().join(format!("out{}", self.n_built));
        let output = format!("type=local,dest={}", dest.display());
        let done = self.run(definition, &[args, &["-o", &output]].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        (dest, done.stderr)
    }

    fn end(self) {
        self.sandbox.discard();
    }
}

#[test]
fn programs_and_what_they_have_mounted() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let mut home = Home::new("llb-exec");
    fs::write(home.sandbox.work().join("secret"), "hidden").unwrap();
    let secret = format!("id=s,src={}", home.sandbox.work().join("secret").display());
    let mut llb = Definition::default();
    let (image, local) = (llb.busybox(), llb.source("local://context", &[]));
    let secret_opt = pb::SecretOpt { id: "s".into(), uid: 7, mode: 0o400, ..Default::default() };
    let cache = pb::CacheOpt { id: "llb".into(), sharing: 0 };
    let mut op = exec(
        "echo $A $HOSTNAME_IS $S $(hostname) $(pwd) $(id -u) > /tmp/said
         cat /in/inner /run/s >> /tmp/said
         stat -c '%u %a' /run/s >> /tmp/said
         grep -c ' /mem tmpfs ' /proc/mounts >> /tmp/said
         grep 1.2.3.4 /etc/hosts >> /tmp/said
         ulimit -n >> /tmp/said
         ls /sys/class/net >> /tmp/said
         echo x >> /cache/n
         ! touch /in/new
         touch /lost/new
         cp /tmp/said /out/
         exit 3",
        vec![
            pb::Mount { selector: "/dir".into(), readonly: true, ..mount("/in", 1, -1) },
            mount("/lost", 1, -1),
            mount("/out", -1, 1),
            pb::Mount { secret_opt: Some(secret_opt), ..kind("/run/s", MountType::Secret) },
            pb::Mount { cache_opt: Some(cache), ..kind("/cache", MountType::Cache) },
            pb::Mount {
                tmpfs_opt: Some(pb::TmpfsOpt { size: 1 << 20 }),
                ..kind("/mem", MountType::Tmpfs)
            },
            mount("/tmp", -1, -1),
        ],
    );
    let meta = op.meta.as_mut().unwrap();
    meta.env = vec!["A=of A".into()];
    meta.cwd = "/work/dir".into();
    meta.hostname = "maker".into();
    meta.valid_exit_codes = vec![0, 3];
    meta.extra_hosts = vec![pb::HostIp { host: "other".into(), ip: "1.2.3.4".into() }];
    meta.ulimit = vec![pb::Ulimit { name: "nofile".into(), soft: 99, hard: 100 }];
    op.network = pb::NetMode::None.into();
    op.secretenv = vec![pb::SecretEnv { id: "s".into(), name: "S".into(), optional: false }];
    let out = At(llb.program(op, &[&image, &local]).0, 1);
    let (dest, told) = home.built(llb.end(&out), &["--secret", &secret]);
    let said = fs::read_to_string(dest.join("said")).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "of A hidden maker /work/dir 0", "{told}");
    assert_eq!(lines[1..5], ["inner", "hidden7 400", "1", "1.2.3.4\tother"]);
    assert_eq!(lines[5..], ["99", "lo"]);
    let names: Vec<_> = fs::read_dir(&dest).unwrap().collect();
    assert_eq!(names.len(), 1, "only what is in the mount is its result");
    home.end();
}

#[test]
fn several_results_of_one_program_are_made_once_and_found_together() {
    needs!(Root, Overlay, Netns, Busybox);
    let mut home = Home::new("llb-outputs");
    let definition = |more: &str| {
        let mut llb = Definition::default();
        let image = llb.busybox();
        let script =
            "cat /proc/sys/kernel/random/uuid | tee /root-id /out/id /own/id; mkdir /own/d";
        let mounts = vec![mount("/out", -1, 1), mount("/own", -1, 2)];
        let all = llb.sh(script, mounts, &[&image]);
        let one = llb.file(vec![mkfile("/more", more)], &[&At(all.0.clone(), 1)]);
        let copy = pb::FileActionCopy {
            src: "/root-id".into(),
            dest: "/root-id".into(),
            mode: -1,
            timestamp: -1,
            ..Default::default()
        };
        let two = llb.file(
            vec![pb::file_action::Action::Copy(copy)],
            &[&At(all.0.clone(), 2), &At(all.0.clone(), 0)],
        );
        let moved = llb.sh(
            "cp /one/id /two/one-id",
            vec![mount("/one", 1, -1), mount("/two", 2, 1)],
            &[&image, &one, &two],
        );
        llb.end(&At(moved.0, 1))
    };
    let ids = |dest: PathBuf| {
        let read = |name: &str| fs::read_to_string(dest.join(name)).unwrap();
        let ids = [read("root-id"), read("id"), read("one-id")];
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert!(dest.join("d").is_dir());
        ids[0].clone()
    };
    let (first, _) = home.built(definition("1"), &[]);
    let (second, told) = home.built(definition("1"), &[]);
    let (third, _) = home.built(definition("2"), &[]);
    let first = ids(first);
    assert_eq!(ids(second), first, "{told}");
    assert_eq!(ids(third), first, "what works on it is made anew, it is not");
    assert!(told.contains("CACHED"), "{told}");
    home.end();
}

#[test]
fn files_are_changed_merged_and_compared() {
    use pb::file_action::Action;

    needs!(Root, Overlay, Netns, Busybox);
    let mut home = Home::new("llb-files");
    let mut llb = Definition::default();
    let (image, local) = (llb.busybox(), llb.source("local://context", &[]));
    let mkdir = |path: &str| {
        let user = pb::user_opt::User::ById(5);
        let owner = pb::ChownOpt { user: Some(pb::UserOpt { user: Some(user) }), group: None };
        Action::Mkdir(pb::FileActionMkDir {
            path: path.into(),
            mode: 0o711,
            make_parents: true,
            owner: Some(owner),
            timestamp: 1_000_000_000,
        })
    };
    let copy = Action::Copy(pb::FileActionCopy {
        src: "/*".into(),
        dest: "/made/deep/".into(),
        mode: -1,
        mode_str: "u=rwX,go=rX".into(),
        allow_wildcard: true,
        create_dest_path: true,
        exclude_patterns: vec!["inner".into()],
        timestamp: -1,
        ..Default::default()
    });
    let link = Action::Symlink(pb::FileActionSymlink {
        oldpath: "word".into(),
        newpath: "/made/deep/link".into(),
        timestamp: -1,
        owner: None,
    });
    let made =
        llb.file(vec![mkdir("/made"), copy, link, mkfile("/file", "text")], &[&image, &local]);
    let remove = Action::Rm(pb::FileActionRm { path: "/file".into(), ..Default::default() });
    let changed = llb.file(vec![remove, mkfile("/new", "new")], &[&made]);
    let diff = |llb: &mut Definition, lower: &At, upper: &At| {
        let lower_input = Some(pb::LowerDiffInput { input: 0 });
        let upper_input = Some(pb::UpperDiffInput { input: 1 });
        llb.add(Op::Diff(pb::DiffOp { lower: lower_input, upper: upper_input }), &[lower, upper])
    };
    let first = diff(&mut llb, &image, &made);
    let second = diff(&mut llb, &made, &changed);
    let alone = llb.file(vec![mkfile("/file", "other"), mkfile("/kept", "kept")], &[]);
    let top = llb.merge(&[&first, &alone, &second]);
    // What comes out as a directory is the client's own.
    let script = "stat -c '%u %a' /in/made > /out/stat && cp -a /in/. /out/";
    let mounts = vec![mount("/in", 1, -1), mount("/out", -1, 1)];
    let top = At(llb.sh(script, mounts, &[&image, &top]).0, 1);
    let (dest, told) = home.built(llb.end(&top), &[]);
    let mut names: Vec<_> =
        fs::read_dir(&dest).unwrap().map(|one| one.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["kept", "made", "new", "stat"], "nothing of the image, and no file: {told}");
    let deep = dest.join("made/deep");
    assert_eq!(fs::read_to_string(deep.join("link")).unwrap(), "a word\n");
    assert_eq!(fs::read_to_string(dest.join("stat")).unwrap(), "5 711\n");
    assert_eq!(fs::metadata(deep.join("word")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!deep.join("inner").exists() && !deep.join("dir/inner").exists());
    for step in ["mkdir /made, copy /* /made/deep/, symlink", "diff ", "merge "] {
        assert!(told.contains(step), "{step}: {told}");
    }
    home.end();
}

/// A directory that took the place of another one hides what was in that, also where its layer lies on something else.
#[test]
fn a_directory_that_was_replaced_is_merged() {
    needs!(Root, Overlay, Netns, Busybox);
    let mut home = Home::new("llb-replaced");
    let mut llb = Definition::default();
    let image = llb.busybox();
    let old = llb.sh("mkdir /d; touch /d/old", vec![], &[&image]);
    let new = llb.sh("rm -rf /d; mkdir /d; touch /d/new", vec![], &[&old]);
    let other = llb.file(vec![mkfile("/other", "x")], &[]);
    let all = llb.merge(&[&other, &new]);
    let (dest, _) = home.built(llb.end(&all), &[]);
    let names = fs::read_dir(dest.join("d")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["new"]);
    assert!(dest.join("other").exists());
    home.end();
}

/// Who says which exit codes are a success says all of them.
#[test]
fn exit_codes_that_are_a_success() {
    needs!(Root, Overlay, Netns, Busybox);
    let mut home = Home::new("llb-codes");
    for (script, valid, is_fine) in
        [("exit 3", vec![2, 3], true), ("exit 0", vec![3], false), ("exit 1", vec![], false)]
    {
        let mut llb = Definition::default();
        let image = llb.busybox();
        let mut op = exec(script, vec![]);
        op.meta.as_mut().unwrap().valid_exit_codes = valid;
        let top = llb.program(op, &[&image]);
        let done = home.run(llb.end(&top), &[]);
        assert_eq!(done.code == 0, is_fine, "{script}: {}", done.stderr);
    }
    home.end();
}

#[test]
fn sources_of_all_kinds_are_results_by_themselves() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let mut home = Home::new("llb-sources");
    let server = serve(&home.sandbox);
    fs::write(home.sandbox.work().join("www/file"), "served").unwrap();
    let mut llb = Definition::default();
    let attributes = [("local.includepattern", r#"["dir"]"#)];
    let local = llb.source("local://context", &attributes);
    let (dest, _) = home.built(llb.end(&local), &[]);
    assert!(dest.join("dir/inner").exists() && !dest.join("word").exists());
    let sum = Digest::sha256(b"served").to_string();
    let http = |sum: &str| {
        let mut llb = Definition::default();
        let attributes = [
            ("http.checksum", sum),
            ("http.filename", "named"),
            ("http.perm", "0751"),
            ("http.uid", "5"),
        ];
        let source = llb.source("http://127.0.0.1:8000/file", &attributes);
        let image = llb.busybox();
        let script = "stat -c '%u %a %s' /in/named > /out/stat";
        let mounts = vec![mount("/in", 1, -1), mount("/out", -1, 1)];
        let top = llb.sh(script, mounts, &[&image, &source]);
        llb.end(&At(top.0, 1))
    };
    let (dest, _) = home.built(http(&sum), &[]);
    assert_eq!(fs::read_to_string(dest.join("stat")).unwrap(), "5 751 6\n");
    let wrong = home.run(http(&Digest::sha256(b"other").to_string()), &[]);
    assert!(wrong.code != 0 && wrong.stderr.contains("digest mismatch"), "{}", wrong.stderr);
    drop(server);
    let mut llb = Definition::default();
    let image = llb.busybox();
    let top = llb.sh("echo made > /made", vec![], &[&image]);
    let made = home.run(llb.end(&top), &["-t", "made"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(home.sandbox.ok(&["run", "--rm", "made", "/bin/cat", "/made"]), "made");
    home.end();
}

#[test]
fn what_fails_is_named() {
    needs!(Root, Overlay, Netns, Busybox);
    let mut home = Home::new("llb-fails");
    let mut llb = Definition::default();
    let image = llb.busybox();
    let top = llb.sh("echo spoken; exit 9", vec![], &[&image]);
    let description = BTreeMap::from([("llb.customname".to_owned(), "the last step".to_owned())]);
    let about = pb::OpMetadata { description, ..pb::OpMetadata::default() };
    llb.0.metadata.insert(top.0.clone(), about);
    let info = pb::SourceInfo {
        filename: "build.own".into(),
        data: b"first line\nthe failing line\n".to_vec(),
        ..pb::SourceInfo::default()
    };
    let at = |line| Some(pb::Position { line, character: 0 });
    let ranges = vec![pb::Range { start: at(2), end: at(2) }];
    let locations = vec![pb::Location { source_index: 0, ranges }];
    let locations = [(top.0.clone(), pb::Locations { locations })].into();
    llb.0.source = Some(pb::Source { locations, infos: vec![info] });
    let failed = home.run(llb.end(&top), &[]);
    let told = &failed.stderr;
    assert_eq!(failed.code, 1, "{told}");
    for part in ["the last step", "spoken", "exit code: 9", "build.own:2", "the failing line"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let mut llb = Definition::default();
    let build = llb.add(Op::Build(pb::BuildOp::default()), &[]);
    let refused = home.run(llb.end(&build), &[]);
    assert!(refused.stderr.contains("BuildOp"), "{}", refused.stderr);
    let mut llb = Definition::default();
    let image = llb.busybox();
    let mut op = exec("true", vec![]);
    op.security = pb::SecurityMode::Insecure.into();
    let top = llb.program(op, &[&image]);
    let refused = home.run(llb.end(&top), &[]);
    assert!(refused.stderr.contains("security.insecure"), "{}", refused.stderr);
    let refused = home.run(Vec::new(), &["--target", "x"]);
    assert!(refused.stderr.contains("--target is for Dockerfiles"), "{}", refused.stderr);
    home.end();
}

/// A front end says with its definition what that was made of: files, and lines in them.
#[test]
fn provenance_says_where_steps_come_from() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let mut home = Home::new("llb-origin");
    let mut own = Definition::default();
    let directory = own.source("local://files", &[]);
    let own = pb::Definition::decode(own.end(&directory).as_slice()).unwrap();
    let mut llb = Definition::default();
    let local = llb.source("local://context", &[]);
    let made = llb.file(vec![mkfile("/made", "")], &[]);
    let top = llb.merge(&[&made, &local]);
    let info = pb::SourceInfo {
        filename: "Makefile".into(),
        data: b"one\ntwo\n".to_vec(),
        definition: Some(own),
        language: "Make".into(),
    };
    let second = Some(pb::Position { line: 2, character: 0 });
    let ranges = vec![pb::Range { start: second, end: second }];
    let lines = pb::Locations { locations: vec![pb::Location { source_index: 0, ranges }] };
    let locations = [(made.0.clone(), lines), (local.0.clone(), pb::Locations::default())].into();
    llb.0.source = Some(pb::Source { locations, infos: vec![info] });
    let (dest, _) = home.built(llb.end(&top), &["--provenance=mode=max"]);
    let says = fs::read(dest.join("provenance.json")).unwrap();
    let says: Value = serde_json::from_slice(&says).unwrap();
    let says = &says["predicate"];
    let source = &says["runDetails"]["metadata"]["buildkit_metadata"]["source"];
    assert_eq!(source["infos"][0]["filename"], "Makefile", "{says}");
    assert_eq!(source["infos"][0]["language"], "Make", "{says}");
    let from = &source["infos"][0]["llbDefinition"][0]["op"]["Op"]["source"]["identifier"];
    assert_eq!(from, "local://files", "{says}");
    let mapping = &says["buildDefinition"]["internalParameters"]["buildConfig"]["digestMapping"];
    let of = |step: &At| &source["locations"][mapping[&step.0].as_str().unwrap()]["locations"];
    assert_eq!(of(&made)[0]["ranges"][0]["start"]["line"], 2, "{says}");
    assert_eq!(of(&local).as_array().map(Vec::len), Some(0), "{says}");
    home.end();
}
