use buildgraph::{Action, Local, MountKind, Op, Source, Vertex};
use oci::image::{Config, History, ImageConfig};

use super::*;
use crate::problem::Problem;

fn base() -> ImageConfig {
    ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        config: Config {
            env: vec!["PATH=/bin".into(), "BASE=1".into()],
            cmd: Some(vec!["bash".into()]),
            working_dir: "/base".into(),
            ..Config::default()
        },
        history: vec![History { created_by: Some("base".into()), ..History::default() }],
        ..ImageConfig::default()
    }
}

fn options() -> Options {
    Options { build_platforms: vec!["linux/amd64".parse().unwrap()], ..Options::default() }
}

/// Answers whatever is asked: images called `missing` are not there, those called `trigger…` have triggers, and in the
/// place of those called `replaced` is a directory.
fn answer(ask: &Ask) -> Answer {
    match ask {
        Ask::Image { reference, .. } if reference.contains("missing") => {
            Answer::Failed("not found".into())
        }
        Ask::Image { reference, .. } if reference.contains("replaced") => {
            let local = Local { name: "there".into(), ..Local::default() };
            Answer::Other(Box::new(Source::Local(local)))
        }
        Ask::Image { reference, .. } => {
            let mut config = base();
            if reference.contains("trigger") {
                config.config.on_build =
                    vec!["COPY --from=other /a /b".into(), "RUN <<A\necho $BASE\nA".into()];
            }
            Answer::Image { config: Box::new(config), digest: None, id: None }
        }
        Ask::Layout { .. } => Answer::Image { config: Box::new(base()), digest: None, id: None },
        Ask::Ignore { .. } => Answer::Ignore(vec!["*.o".into()]),
        Ask::Input { .. } => Answer::Input { result: "ref".into(), config: None },
        Ask::Time { .. } => Answer::Time(Some(7)),
    }
}

fn convert_with(source: &str, options: Options) -> (Result<Built, Error>, Vec<String>) {
    let mut conversion = Conversion::new(source.as_bytes(), options);
    for _ in 0..10 {
        let round = conversion.round();
        let texts = |warnings: Vec<Warning>| {
            let text =
                |one: Warning| format!("{}:{} {}", one.lines.first, one.rule.name(), one.text);
            warnings.into_iter().map(text).collect()
        };
        match round.next {
            Err(error) => return (Err(error), texts(round.warnings)),
            Ok(Next::Done(built)) => return (Ok(*built), texts(round.warnings)),
            Ok(Next::Ask(asks)) => {
                for ask in asks {
                    let answer = answer(&ask);
                    conversion.give(ask, answer);
                }
            }
        }
    }
    panic!("it asks and asks")
}

fn convert(source: &str) -> Built {
    convert_with(source, options()).0.unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn error(source: &str) -> String {
    convert_with(source, options()).0.unwrap_err().to_string()
}

fn names(built: &Built) -> Vec<&str> {
    built.graph.vertices().map(|(_, vertex)| vertex.shown.name.as_str()).collect()
}

fn history(built: &Built) -> Vec<(&str, bool)> {
    let entry = |one: &'_ History| -> (&str, bool) {
        // The lifetime is the history's.
        let text: &str = one.created_by.as_deref().unwrap_or_default();
        (Box::leak(text.to_owned().into_boxed_str()), one.empty_layer)
    };
    built.image.history.iter().map(entry).collect()
}

fn last(built: &Built) -> &Vertex {
    built.graph.get(built.result.unwrap())
}

/// The same file built by buildx with Docker 28.5.2: names of steps and history are what it showed.
#[test]
fn as_docker_28_does() {
    let source = "\
FROM scratch AS base
COPY busybox /bin/sh
ARG FOO=bar BAZ
ENV A=b C=\"d $FOO\"
WORKDIR /work
RUN echo $A
RUN [\"/bin/sh\", \"-c\", \"echo exec\"]
RUN <<EOF
echo one
echo two
EOF
RUN <<A sh; read x <<B
echo a
A
bee
B
COPY --chown=1:2 --chmod=755 file dir /d/
ADD file /d/$FOO
COPY <<X <<\"Y\" /e/
hello $A
X
raw $A
Y
COPY --link file /l/
LABEL a=b \"c d\"=\"e f\"
EXPOSE 80 443/udp 100-102
VOLUME /v1 /v2
USER 5:6
WORKDIR sub
SHELL [\"/bin/sh\", \"-ec\"]
CMD echo \"x y\" $A
ENTRYPOINT [\"/bin/sh\", \"é\\t\"]
HEALTHCHECK --interval=90s --timeout=1500ms --retries=3 CMD curl x || exit 1
STOPSIGNAL SIGTERM
ONBUILD RUN echo onbuild
MAINTAINER me <x@y>
ENV old value with spaces
";
    let (built, warnings) = convert_with(source, options());
    let built = built.unwrap();
    assert_eq!(
        warnings,
        [
            "36:MaintainerDeprecated Maintainer instruction is deprecated in favor of using label",
            "37:LegacyKeyValueFormat \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ]
    );
    let shown: Vec<&str> =
        names(&built).into_iter().filter(|name| !name.starts_with("[internal]")).collect();
    assert_eq!(
        shown,
        [
            "[ 1/11] COPY busybox /bin/sh",
            "[ 2/11] WORKDIR /work",
            "[ 3/11] RUN echo b",
            "[ 4/11] RUN [\"/bin/sh\", \"-c\", \"echo exec\"]",
            "[ 5/11] RUN <<EOF (echo one...)",
            "[ 6/11] RUN <<A sh; read x <<B",
            "[ 7/11] COPY --chown=1:2 --chmod=755 file dir /d/",
            "[ 8/11] ADD file /d/bar",
            "[ 9/11] COPY <<X <<Y /e/",
            "[10/11] COPY --link file /l/",
            "[10/11] LINK COPY --link file /l/",
            "[11/11] WORKDIR sub",
        ]
    );
    assert_eq!(
        history(&built),
        [
            ("COPY busybox /bin/sh # buildkit", false),
            ("ARG FOO=bar BAZ", true),
            ("ENV A=b C=d bar", true),
            ("WORKDIR /work", false),
            ("RUN |2 FOO=bar BAZ= /bin/sh -c echo $A # buildkit", false),
            ("RUN |2 FOO=bar BAZ= /bin/sh -c echo exec # buildkit", false),
            ("RUN |2 FOO=bar BAZ= /bin/sh -c echo one\necho two\n # buildkit", false),
            (
                "RUN |2 FOO=bar BAZ= /bin/sh -c <<A sh; read x <<B\necho a\nA\nbee\nB # buildkit",
                false
            ),
            ("COPY --chown=1:2 --chmod=755 file dir /d/ # buildkit", false),
            ("ADD file /d/bar # buildkit", false),
            ("COPY <<X <<Y /e/ # buildkit", false),
            ("COPY file /l/ # buildkit", false),
            ("LABEL a=b c d=e f", true),
            ("EXPOSE [100/tcp 101/tcp 102/tcp 443/udp 80/tcp]", true),
            ("VOLUME [/v1 /v2]", true),
            ("USER 5:6", true),
            ("WORKDIR /work/sub", false),
            ("SHELL [/bin/sh -ec]", true),
            ("CMD [\"/bin/sh\" \"-ec\" \"echo \\\"x y\\\" $A\"]", true),
            ("ENTRYPOINT [\"/bin/sh\" \"é\\t\"]", true),
            (
                "HEALTHCHECK &{[\"CMD-SHELL\" \"curl x || exit 1\"] \"1m30s\" \"1.5s\" \"0s\" \"0s\" '\\x03'}",
                true
            ),
            ("STOPSIGNAL SIGTERM", true),
            ("MAINTAINER me <x@y>", true),
            ("ENV old=value with spaces", true),
        ]
    );
    let want = r#"{"author":"me <x@y>","architecture":"amd64","os":"linux","config":{"User":"5:6","ExposedPorts":{"100/tcp":{},"101/tcp":{},"102/tcp":{},"443/udp":{},"80/tcp":{}},"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=b","C=d bar","old=value with spaces"],"Entrypoint":["/bin/sh","é\t"],"Cmd":["/bin/sh","-ec","echo \"x y\" $A"],"Healthcheck":{"Test":["CMD-SHELL","curl x || exit 1"],"Interval":90000000000,"Timeout":1500000000,"Retries":3},"ArgsEscaped":true,"Volumes":{"/v1":{},"/v2":{}},"WorkingDir":"/work/sub","OnBuild":["RUN echo onbuild"],"Labels":{"a":"b","c d":"e f"},"StopSignal":"SIGTERM","Shell":["/bin/sh","-ec"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let image = ImageConfig { history: vec![], ..built.image.clone() };
    assert_eq!(serde_json::to_string(&image).unwrap(), want);
}

#[test]
fn only_what_is_needed_is_built() {
    let source = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM one\nCOPY --from=two /x /y\n\
        FROM c AS three\nRUN 3";
    let with = |target: &str| {
        let options = Options { target: Some(target.into()), ..options() };
        convert_with(source, options).0.unwrap()
    };
    assert_eq!(
        names(&with("three")),
        ["[three 1/2] FROM docker.io/library/c:latest", "[three 2/2] RUN 3"]
    );
    assert_eq!(names(&with("ONE")).len(), 2);
    let error = convert_with(source, Options { target: Some("tow".into()), ..options() }).0;
    let want = "target stage \"tow\" could not be found (did you mean two?)";
    assert_eq!(error.unwrap_err().to_string(), want);
    let both = convert("FROM a AS one\nRUN 1\nFROM b\nCOPY --from=0 x y\nCOPY --from=busybox z w");
    assert_eq!(
        names(&both),
        [
            "[one 1/2] FROM docker.io/library/a:latest",
            "[stage-1 1/3] FROM docker.io/library/b:latest",
            "FROM docker.io/library/busybox:latest",
            "[one 2/2] RUN 1",
            "[stage-1 2/3] COPY --from=0 x y",
            "[stage-1 3/3] COPY --from=busybox z w",
        ]
    );
}

#[test]
fn what_a_base_says_is_inherited() {
    let built = convert("FROM a\nRUN x\nENTRYPOINT [\"e\"]");
    let Op::Exec(exec) = &last(&built).op else { panic!() };
    assert_eq!(
        (exec.cwd.as_str(), exec.args.as_slice()),
        ("/base", ["/bin/sh", "-c", "x"].map(String::from).as_slice())
    );
    assert_eq!(exec.env, ["PATH=/bin", "BASE=1"]);
    // The base's command was for its own entry point.
    assert_eq!(built.image.config.cmd, None);
    let built = convert("FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]");
    assert_eq!(built.image.config.cmd, None);
    assert_eq!(history(&built)[0].0, "base");
    assert_eq!(built.base_image.unwrap(), base());
}

#[test]
fn arguments_and_their_scopes() {
    let source = "ARG V=1\nARG W=$V-w\nFROM a:$W\nARG V\nARG X=$V$BASE\nENV V2=$V\nRUN x";
    let mut options = options();
    options.build_args =
        [("V", "2"), ("HTTP_PROXY", "p")].map(|(k, v)| (k.into(), v.into())).into();
    let built = convert_with(source, options).0.unwrap();
    let Op::Exec(exec) = &last(&built).op else { panic!() };
    assert_eq!(exec.env, ["PATH=/bin", "BASE=1", "V=2", "X=21", "V2=2"]);
    assert_eq!(exec.proxy_env, ["HTTP_PROXY=p", "http_proxy=p"]);
    assert_eq!(names(&built)[0], "[1/2] FROM docker.io/library/a:2-w");
    let args: Vec<(&str, &str)> =
        built.outline.args.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
    assert_eq!(args, [("W", "2-w"), ("V", "2"), ("X", "21")]);
    assert_eq!(history(&built)[1].0, "ARG V=2");
}

#[test]
fn mounts() {
    let source = "FROM a AS s\nFROM b\nWORKDIR /w\nRUN --mount=type=cache,target=c \
        --mount=from=s,src=x,target=/y --mount=target=/ctx,src=sub --mount=type=secret,id=t,env=T \
        --mount=type=ssh --mount=type=tmpfs,target=/tmp,size=1k echo $T";
    let built = convert(source);
    let vertex = last(&built);
    assert_eq!(
        vertex.shown.name,
        "[stage-1 3/3] RUN --mount=type=cache,target=c --mount=from=s,src=x,target=/y \
         --mount=target=/ctx,src=sub --mount=type=secret,id=t,env=T --mount=type=ssh \
         --mount=type=tmpfs,target=/tmp,size=1k echo ****"
    );
    let Op::Exec(exec) = &vertex.op else { panic!() };
    let targets: Vec<_> =
        exec.mounts.iter().map(|one| (one.target.as_str(), one.readonly)).collect();
    let ssh = "/run/buildkit/ssh_agent.0";
    assert_eq!(
        targets,
        [("/w/c", false), ("/y", true), ("/ctx", true), (ssh, true), ("/tmp", false)]
    );
    assert!(exec.env.contains(&format!("SSH_AUTH_SOCK={ssh}")), "{:?}", exec.env);
    let MountKind::Cache { id, from, mode, .. } = &exec.mounts[0].kind else { panic!() };
    assert_eq!((id.as_str(), *from, *mode), ("/c", None, 0o755));
    let MountKind::Bind { input, source } = &exec.mounts[2].kind else { panic!() };
    assert_eq!(source, "/sub");
    let context = built.graph.get(vertex.inputs[*input]);
    let Op::Source(Source::Local(local)) = &context.op else { panic!() };
    assert_eq!(local.follow, ["sub"]);
    assert_eq!(exec.secrets[0].name, "T");
    assert_eq!(built.outline.secrets[0].name, "t");
    // Mounts without a source of their own count as stages, in BuildKit's names and so here.
    let single = convert("FROM b\nRUN --mount=type=cache,target=/c x");
    assert_eq!(names(&single)[1], "[stage-0 2/2] RUN --mount=type=cache,target=/c x");
}

#[test]
fn triggers_of_a_base() {
    let built = convert("FROM trigger\nRUN own");
    let shown = names(&built);
    assert!(shown.contains(&"[2/4] ONBUILD COPY --from=other /a /b"), "{shown:?}");
    assert!(shown.contains(&"[3/4] ONBUILD RUN <<A (echo 1)"), "{shown:?}");
    assert!(shown.contains(&"[4/4] RUN own"), "{shown:?}");
    assert!(built.image.config.on_build.is_empty());
    let built = convert("FROM a AS x\nONBUILD RUN t\nFROM x\nRUN o");
    assert_eq!(names(&built)[1..], ["[stage-1 1/2] ONBUILD RUN t", "[stage-1 2/2] RUN o"]);
}

#[test]
fn copies_of_all_kinds() {
    let source = "FROM scratch\nADD https://h/a/b.tar?x /d/\nADD git@h:o/r.git#v1:sub /g\n\
        COPY --parents ./x/./y/*.c z /p/\nADD --checksum=sha256:\
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 http://h/ /q\nCOPY . .";
    let built = convert(source);
    let sources: Vec<String> = built
        .graph
        .vertices()
        .filter_map(|(_, vertex)| match &vertex.op {
            Op::Source(Source::Http(http)) => Some(format!("{} {}", http.url, http.name)),
            Op::Source(Source::Git(git)) => {
                Some(format!("{} {} {}", git.remote, git.reference, git.subdir))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        sources,
        ["https://h/a/b.tar?x b.tar", "git@h:o/r.git v1 sub", "http://h/ __unnamed__"]
    );
    let copies: Vec<(String, String, bool)> = built
        .graph
        .vertices()
        .filter_map(|(_, vertex)| match &vertex.op {
            Op::File(file) => Some(file.actions.clone()),
            _ => None,
        })
        .flatten()
        .filter_map(|action| match action {
            Action::Copy(copy) => Some((copy.source, copy.destination, copy.may_be_empty)),
            _ => None,
        })
        .collect();
    let copy = |source: &str, to: &str, empty| (source.to_owned(), to.to_owned(), empty);
    assert_eq!(
        copies,
        [
            copy("/b.tar", "/d/", false),
            copy("/", "/g", false),
            copy("/x/./y/*.c", "/p/", true),
            copy("/./z", "/p/", false),
            copy("/__unnamed__", "/q", false),
            copy("/", "/", true),
        ]
    );
}

#[test]
fn contexts_in_place_of_images_and_stages() {
    let with = |source: &str, contexts: &[(&str, &str)]| {
        let contexts = contexts.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        convert_with(source, Options { contexts, ..options() }).0
    };
    let built = with("FROM debian\nRUN x", &[("debian", "docker-image://alpine:3")]).unwrap();
    assert_eq!(names(&built)[0], "[context debian] docker.io/library/alpine:3");
    let built = with("FROM a AS b\nRUN x\nFROM scratch\nCOPY --from=b /f /", &[("b", "local:dir")]);
    let built = built.unwrap();
    let first = &built.graph.vertices().next().unwrap().1.op;
    let Op::Source(Source::Local(local)) = first else { panic!("{first:?}") };
    assert_eq!(
        (local.name.as_str(), local.follow.as_slice()),
        ("dir", ["f".to_owned()].as_slice())
    );
    assert_eq!(local.exclude, ["*.o"]);
    for (spec, want) in [
        ("https://h/r.git#v1", "[internal] load git source https://h/r.git#v1"),
        ("https://h/x.tar", "[context b] https://h/x.tar"),
        ("input:b", "[context b] b"),
    ] {
        let built = with("FROM scratch\nCOPY --from=b /f /", &[("b", spec)]).unwrap();
        assert_eq!(names(&built)[0], want, "{spec}");
    }
    let error = |spec| with("FROM b", &[("b", spec)]).unwrap_err().to_string();
    assert_eq!(error("x"), "invalid context specifier x for b");
    assert_eq!(error("ftp://x"), "unsupported context source ftp for b");
    assert_eq!(error("docker-image://missing"), "missing: not found");
    let digest = format!("sha256:{}", "0".repeat(64));
    let built = with("FROM b", &[("b", &format!("oci-layout://s:t@{digest}"))]).unwrap();
    assert_eq!(names(&built), ["[context b] OCI load from client"]);
    // Rules may put a directory in the place of the image that a context is; not of any other.
    let built = with("FROM scratch\nCOPY --from=b /f /", &[("b", "docker-image://replaced")]);
    let built = built.unwrap();
    let first = &built.graph.vertices().next().unwrap().1.op;
    let Op::Source(Source::Local(local)) = first else { panic!("{first:?}") };
    assert_eq!(
        (local.name.as_str(), local.follow.as_slice()),
        ("there", ["f".to_owned()].as_slice())
    );
    let refused = with("FROM replaced", &[]).unwrap_err().to_string();
    assert!(refused.contains("is no image"), "{refused}");
}

#[test]
fn directories_are_in_the_sessions_that_are_said_to_have_them() {
    let given = [
        ("context:b", "local:dir"),
        ("local-sessionid:context", "one"),
        ("local-sessionid:dir", "part:two"),
    ];
    let given = given.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let (options, _) = Options::of_frontend(&given).unwrap();
    let source = "FROM scratch\nCOPY a /\nCOPY --from=b /f /";
    let built = convert_with(source, options).0.unwrap();
    let locals = built.graph.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Source(Source::Local(local)) => Some((local.name.clone(), local.session.clone())),
        _ => None,
    });
    let mut locals: Vec<_> = locals.collect();
    locals.sort();
    let wanted = [("context", "one"), ("part-dir", "two")];
    assert_eq!(locals, wanted.map(|(name, session)| (name.to_owned(), session.to_owned())));
}

#[test]
fn what_makes_no_sense() {
    for (source, want) in [
        ("FROM a AS x\nCOPY --from=x a b", "circular dependency detected on stage: x"),
        (
            "FROM a AS x\nCOPY --from=y a b\nFROM b AS y\nCOPY --from=x a b",
            "circular dependency detected on stage: x",
        ),
        (
            "FROM a AS x\nCOPY --from=y a b\nFROM b AS y\nFROM x",
            "cannot copy from stage \"y\", it needs to be defined before current stage \"x\"",
        ),
        ("FROM a\nCOPY --from=3 a b", "invalid stage index 3"),
        ("FROM a\nCOPY --from=-1 a b", "invalid stage index -1"),
        (
            "FROM a\nCOPY --from=$x a b",
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
        ),
        ("ARG x\nFROM $x", "base name ($x) should not be blank"),
        ("FROM missing", "missing: not found"),
        ("FROM a AS biuld\nFROM missing AS build", "missing: not found"),
        (
            "FROM A B\n",
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
        ),
        (
            "FROM UPPER",
            "failed to parse stage name \"UPPER\": invalid reference format: repository name (library/UPPER) must be lowercase",
        ),
        (
            "FROM --platform=$BUILDPLATFRM a",
            "empty platform value from expression $BUILDPLATFRM (did you mean BUILDPLATFORM?)",
        ),
        ("FROM a\nRUN --mount=target=/ x", "invalid mount target \"/\""),
        (
            "FROM a\nCOPY --chmod=9 a b",
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
        ("FROM a\nCOPY https://h/x y", "source can't be a URL for COPY"),
        ("FROM a\nCOPY https://h/x.git y", "source can't be a git ref for COPY"),
        ("FROM a\nADD --checksum=sha256:a x y", "checksum requires HTTP(S) or Git sources"),
        ("FROM a\nEXPOSE 1/x", "invalid port: \"1/x\": invalid proto: x"),
        ("FROM a\nSTOPSIGNAL SIGNOT", "invalid signal: SIGNOT"),
        ("FROM a\nENV x=${y:?needed}", "failed to process \"${y:?needed}\": y: needed"),
        (
            "# check=error=true\nFROM a\nMAINTAINER b",
            "lint violation found for rules: MaintainerDeprecated",
        ),
        ("ARG a", "dockerfile contains no stages to build"),
    ] {
        assert_eq!(error(source), want, "{source}");
    }
    let circle = convert_with("FROM a AS x\nCOPY --from=x a b", options()).0.unwrap_err();
    assert_eq!(circle.lines, [crate::Lines::one(2)]);
    let options =
        Options { build_args: [("SOURCE_DATE_EPOCH".into(), "x".into())].into(), ..options() };
    let epoch = convert_with("FROM a", options).0.unwrap_err();
    assert_eq!(epoch.problem, Problem::Epoch("x".into()));
}

#[test]
fn a_time_for_all() {
    let source = "FROM scratch AS src\nARG v=1\nADD https://a/$v.tar /\nFROM scratch\nWORKDIR /a";
    let git = buildgraph::Source::Git(buildgraph::Git::default());
    for (value, want) in [
        ("86400", "1970-01-02T00:00:00Z"),
        ("context", "1970-01-01T00:00:07Z"),
        ("SRC", "1970-01-01T00:00:07Z"),
        ("named", "1970-01-01T00:00:07Z"),
    ] {
        let options = Options {
            build_args: [("SOURCE_DATE_EPOCH".into(), value.into())].into(),
            contexts: [("named".into(), "https://a/b.tar".into())].into(),
            context: Context::Made(git.clone()),
            ..options()
        };
        let built = convert_with(source, options).0.unwrap();
        assert_eq!(built.image.history[0].created.as_deref(), Some(want), "{value}");
    }
    // A directory of the client's has no time, and that is what steps see.
    let build_args = [("SOURCE_DATE_EPOCH".into(), "context".into())].into();
    let source = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV x=a$SOURCE_DATE_EPOCH";
    let built = convert_with(source, Options { build_args, ..options() }).0.unwrap();
    assert!(built.epoch.is_none() && built.image.config.env.contains(&"x=a".to_owned()));
}

#[test]
fn stages_that_say_no_time() {
    for (stage, want) in [
        ("FROM a AS t\nADD https://a/b /", "SOURCE_DATE_EPOCH stage must use FROM scratch"),
        (
            "FROM scratch AS t\nCOPY a /",
            "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported copy instruction",
        ),
        ("FROM scratch AS t\nARG a", "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD"),
        (
            "FROM scratch AS t\nADD a /",
            "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD",
        ),
    ] {
        let source = format!("ARG SOURCE_DATE_EPOCH=t\n{stage}\nFROM scratch");
        assert_eq!(error(&source), want, "{stage}");
    }
}

#[test]
fn platforms() {
    let source = "FROM --platform=$BUILDPLATFORM a AS b\nARG TARGETARCH\nRUN make $TARGETARCH\n\
        FROM c\nCOPY --from=b x y";
    let options = Options {
        target_platform: Some("linux/arm64".parse().unwrap()),
        multi_platform: true,
        ..options()
    };
    let built = convert_with(source, options).0.unwrap();
    assert_eq!(
        names(&built),
        [
            "[linux/amd64 b 1/2] FROM docker.io/library/a:latest",
            "[linux/arm64 stage-1 1/2] FROM docker.io/library/c:latest",
            "[linux/amd64->arm64 b 2/2] RUN make arm64",
            "[linux/arm64 stage-1 2/2] COPY --from=b x y",
        ]
    );
    assert_eq!(built.image.architecture, "arm64");
}
