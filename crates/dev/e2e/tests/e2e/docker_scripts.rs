//! What scripts count on that were written for Docker's client: its own and dhow's command line are given
//! the same lines, before the same engine, and answer with the same words on standard output and the
//! same exit codes.

use crate::busybox;
use crate::docker_client::Daemon;
use testkit::{Output, Sandbox, needs};

/// The words of a line; what is in single quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

fn dhow(sandbox: &Sandbox, daemon: &Daemon<'_>, line: &str) -> Output {
    let socket = format!("unix://{}", daemon.socket());
    let words = words(line);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    sandbox.dhow(&[&["-H", &socket], &args[..]].concat())
}

fn docker(daemon: &Daemon<'_>, line: &str) -> Output {
    let words = words(line);
    daemon.docker(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Gives both the same line; `before` is done first, each time.
#[track_caller]
pub(crate) fn same(sandbox: &Sandbox, daemon: &Daemon<'_>, before: &[&str], line: &str) {
    let prepared = |done: &dyn Fn() -> Output| {
        for line in before {
            let _ = docker(daemon, line);
        }
        done()
    };
    let both = || (prepared(&|| docker(daemon, line)), prepared(&|| dhow(sandbox, daemon, line)));
    let (mut theirs, mut ours) = both();
    // A second may have passed between the two.
    if ours.stdout != theirs.stdout && ours.stdout.contains(" second") {
        (theirs, ours) = both();
    }
    assert_eq!(
        (ours.code, ours.stdout.as_str()),
        (theirs.code, theirs.stdout.as_str()),
        "{line}\n{}\n{}",
        ours.stderr,
        theirs.stderr
    );
}

const READ: &[&str] = &[
    "ps -aq --no-trunc",
    "ps --all=true -q",
    "ps --all=false --quiet=1 -f name=web",
    "ps -a -a -n 1 -n 2 --format '{{.Names}}'",
    "ps -a --format '{{.Names}} {{.Label \"com.x.a-b\"}} {{.Labels}} {{.State}} {{.Command}}'",
    "ps -a --no-trunc --format 'table {{.Names}}: {{.ID}}\\t{{.Label \"com.x.a-b\"}}\\t{{.Command}}'",
    "ps -a --format '{{.Names}} {{.Size}}'",
    "ps --format '{{upper .Names}} {{printf \"%.2s|%-5s|\" .Names .Image}}{{pad .Names 1 2}}'",
    "ps -f bad",
    "ps -a --format raw -n 2",
    "ps -a -s --format raw",
    "ps -aq --format raw",
    "images --format raw",
    "images --digests --format raw",
    "images -q --format raw",
    "network ls --format raw",
    "network ls -q --format raw",
    "volume ls --format raw",
    "volume ls -q --format raw",
    "system df --format raw",
    "system df -v --format raw",
    "ps -a --format '{{define \"t\"}}<{{.Names}}>{{end}}{{template \"t\" .}}{{block \"b\" .ID}}{{len .}}{{end}}'",
    "inspect -f '{{range .Mounts}}{{.Name}}{{break}}{{end}}' web",
    "inspect -f '{{range $i, $e := .Config.Cmd}}{{if eq $i 1}}{{continue}}{{end}}{{$e}} {{end}}' web",
    "inspect -f '{{with .Config.User}}x{{else with .Name}}{{js .}}{{end}}' web",
    "images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.VirtualSize}}'",
    "network ls --format '{{.Name}} {{.Label \"team\"}} {{.CreatedAt}}'",
    "network ls --format json",
    "volume ls --format json",
    "volume ls --format '{{.Name}} {{.Label \"k\"}} {{.Size}}'",
    "history --human=false --no-trunc busybox",
    "system df",
    "system df --format '{{.Type}} {{.Size}} {{.Reclaimable}}'",
    "inspect -f '{{.ID}} {{.Name}} {{.State.Status}}' web",
    "inspect -f '{{.Id}}' web nothing done",
    "inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}' web",
    "inspect -f '{{index .Config.Labels \"com.x.a-b\"}}|{{index .Config.Labels \"no\"}}|' web",
    "inspect -f '{{.Config.Labels.k}}|{{.Config.Labels.no}}|{{.Config.Labels}}' web",
    "inspect -f '{{index .Config.Labels \"no\"}}|' done",
    "inspect -f '{{.HostConfig.NanoCPUs}} {{.HostConfig.DNS}} {{.HostConfig.Init}}' web",
    "inspect -f '{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}' web",
    "inspect -f '{{range .Mounts}}{{.Type}}:{{.Name}}:{{.Destination}}:{{.RW}} {{end}}' web",
    "inspect -f '{{.NetworkSettings.Ports}} {{.Config.ExposedPorts}}' web",
    "inspect -f '{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}' web",
    "inspect -f '{{len .Mounts}} {{len .HostConfig.Binds}} {{len .Config.ExposedPorts}}' done",
    "inspect -f '{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{(index $c 0).HostPort}}{{end}}' web",
    "inspect -f 'x\\ty' web",
    "inspect -f '{{.Config.StopSignal}}|{{.Config.Healthcheck}}|{{.State}}' done",
    "image inspect -f '{{.ID}} {{.Config.Labels}} {{.Config.Env}} {{.Author}}' busybox",
    "network inspect -v -f '{{.Name}} {{(index .IPAM.Config 0).Subnet}}' net",
    "volume inspect -f '{{.Name}} {{.Options}} {{.Labels}}' data",
    "version -f '{{.Server.APIVersion}} {{.Server.Experimental}} {{.Client.Context}}'",
    "info -f '{{.ServerVersion}} {{.NCPU}} {{.HTTPProxy}}'",
    "events --since 1h --until 0s -f container=done --format '{{.ID}} {{.Status}} {{.From}} {{.TimeNano}}'",
    "events --since 1h --until 0s -f type=network --format '{{.ID}}|{{.Status}}|{{.Action}}'",
    "port web",
    "logs web",
    "wait done nothing done",
    "rm -f nothing",
    "rmi -f nothing",
    "network rm -f nothing",
    "volume rm -f nothing",
    "exec --detach-keys= web echo hi",
    "exec -eA=1 -u0 -w/tmp web sh -c 'echo $A; pwd'",
    "run --rm -eA=1 -e=B=2 -w/tmp -hbox busybox sh -c 'echo $A $B; pwd; hostname'",
    "run --rm -i=false -i --name=x --name=y busybox echo --rm -x",
    "run --rm -v=data:/d -m64m -l x=1 --disable-content-trust busybox ls /d",
    "run --rm --entrypoint=echo busybox -- -e",
    "run --rm -it busybox true",
    "run -d -a stdout busybox true",
    "run --rm -l =x busybox true",
    "create -m x busybox",
    "update web",
    "stop -t x web",
    "stop",
    "ps x",
    "ps --nonsense",
    "nonsense",
    "context show",
    "--config /nowhere ps -q",
    "--tls=false -l error ps -q",
    "volume create --name named",
];

#[test]
fn dhow_answers_as_dockers_client_does() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("scripts");
    // The first volume makes the directory of them all.
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    let daemon = Daemon::start(&sandbox);
    for line in [
        "network create --label team=a --subnet 10.77.0.0/24 --ipam-driver default --scope local net",
        "volume create --label k=v data",
        "run -d --name web --network net -p 127.0.0.1:8080:80 -l com.x.a-b=1,2 -l k=v -v data:/data \
         busybox sh -c 'echo \"up\"; exec sleep 600'",
        "run --name done busybox sh -c 'exit 5'",
    ] {
        let done = dhow(&sandbox, &daemon, line);
        assert!(matches!(done.code, 0 | 5), "{line}: {done:?}");
    }
    for line in READ {
        same(&sandbox, &daemon, &[], line);
    }
    // What cannot be said of a template is an error of both, with one exit code.
    for line in [
        "inspect -f '{{.Foo}}' web",
        "inspect -f '{{.State.Health.Status}}' web",
        "inspect -f '{{(index (index .NetworkSettings.Ports \"99/tcp\") 0).HostPort}}' web",
        "inspect -f '{{.Foo' web",
        "version -f '{{.Foo'",
        "info -f '{{.Foo}}'",
        "ps --format '{{.Foo}}'",
    ] {
        let (theirs, ours) = (docker(&daemon, line), dhow(&sandbox, &daemon, line));
        assert_eq!(ours.code, theirs.code, "{line}: {ours:?} {theirs:?}");
        assert!(ours.stderr.contains("template"), "{line}: {ours:?}");
    }
    let again =
        ["rm -f one two", "create --name one busybox true", "create --name two busybox true"];
    same(&sandbox, &daemon, &again, "rm -f one nothing two");
    same(&sandbox, &daemon, &again, "rm --force=true one");
    // One that could not be started is there, and its id is known.
    let failed = dhow(&sandbox, &daemon, "run -d busybox no-such-program");
    assert_eq!((failed.code, failed.stdout.trim().len()), (127, 64), "{failed:?}");
    assert_eq!(dhow(&sandbox, &daemon, &format!("rm {}", failed.stdout.trim())).code, 0);
    dhow(&sandbox, &daemon, "rm -f web done two").success();
    dhow(&sandbox, &daemon, "network rm net").success();
    dhow(&sandbox, &daemon, "volume rm data named").success();
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_container_asks_the_engine() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("scripts-api-socket");
    let config = sandbox.work().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let text =
        r#"{"auths": {"registry.test": {"username": "u", "password": "p"}}, "psFormat": "x"}"#;
    std::fs::write(config.join("config.json"), text).unwrap();
    let program = format!("{}:/dhow:ro", testkit::dhow_program().display());
    let ask = "/dhow -H unix:///var/run/docker.sock ps --format {{.Names}}; tr -d ' \n' <$DOCKER_CONFIG/config.json";
    let run = ["run", "--rm", "--name", "asks", "--use-api-socket", "-v", &program, "busybox"];
    let run = [&run[..], &["sh", "-c", ask]].concat();
    let refused = sandbox.dhow(&run);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("start `dhow daemon` first"), "{refused:?}");

    let daemon = Daemon::start(&sandbox);
    sandbox.set_env("DOCKER_CONFIG", config.to_str().unwrap());
    let auths = r#"{"auths":{"registry.test":{"auth":"dTpw"}}}"#;
    assert_eq!(sandbox.ok(&run), format!("asks\n{auths}"));
    let socket = format!("unix://{}", daemon.socket());
    assert_eq!(sandbox.ok(&[&["-H", &socket], &run[..]].concat()), format!("asks\n{auths}"));
    // Who is told of another configuration has no use for this one.
    let own = ["run", "--rm", "--use-api-socket", "-e", "DOCKER_CONFIG=/own", "busybox"];
    let own = [&own[..], &["sh", "-c", "echo $DOCKER_CONFIG; ls /run/secrets 2>&1; true"]].concat();
    assert!(sandbox.ok(&own).starts_with("/own\nls: "), "{:?}", sandbox.dhow(&own));
    drop(daemon);
    sandbox.discard();
}

#[test]
fn the_configuration_of_dockers_client_counts() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("scripts-config");
    let config = sandbox.work().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let text = r#"{"psFormat": "{{.Names}} is {{.State}}", "pruneFilters": ["label!=keep"],
        "proxies": {"default": {"httpProxy": "http://proxy:1", "noProxy": "localhost"}}}"#;
    std::fs::write(config.join("config.json"), text).unwrap();
    sandbox.ok(&["create", "--name", "one", "--label", "keep", "busybox", "true"]);
    sandbox.set_env("DOCKER_CONFIG", config.to_str().unwrap());
    assert_eq!(sandbox.ok(&["ps", "-a"]), "one is created");
    assert_eq!(sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]), "one");
    let env = sandbox.ok(&["run", "--rm", "-e", "no_proxy=own", "busybox", "env"]);
    let has = |pair: &str| env.lines().any(|line| line == pair);
    assert!(has("HTTP_PROXY=http://proxy:1") && has("http_proxy=http://proxy:1"), "{env}");
    assert!(has("NO_PROXY=localhost") && has("no_proxy=own"), "{env}");
    assert_eq!(sandbox.ok(&["container", "prune", "-f"]), "Total reclaimed space: 0B");
    sandbox.unset_env("DOCKER_CONFIG");
    let with = ["--config", config.to_str().unwrap(), "ps", "-a"];
    assert_eq!(sandbox.ok(&with), "one is created");
    sandbox.set_env("DOCKER_CONTENT_TRUST", "1");
    let refused = sandbox.dhow(&["run", "--rm", "busybox", "true"]);
    assert!(refused.code == 125 && refused.stderr.contains("DOCKER_CONTENT_TRUST"), "{refused:?}");
    sandbox.ok(&["run", "--rm", "--disable-content-trust", "busybox", "true"]);
    sandbox.unset_env("DOCKER_CONTENT_TRUST");
    sandbox.ok(&["rm", "one"]);
    sandbox.finish();
}

#[test]
fn an_engine_is_found_by_the_name_that_dockers_client_has_for_it() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("scripts-context");
    let daemon = Daemon::start(&sandbox);
    let host = format!("host=unix://{}", daemon.socket());
    let create = ["docker", "context", "create", "here", "--description", "d", "--docker", &host];
    testkit::capture(sandbox.command(create[0]).args(&create[1..])).success();
    let elsewhere = ["-c", "here", "version", "-f", "{{.Client.Context}}"];
    assert_eq!(sandbox.ok(&elsewhere), "here");
    sandbox.set_env("DOCKER_CONTEXT", "here");
    assert_eq!(sandbox.ok(&["context", "show"]), "here");
    assert_eq!(sandbox.ok(&["context", "ls", "-q"]), "default\nhere");
    let format = "{{.Name}} {{.Metadata.Description}} {{.Endpoints.docker.Host}}";
    let shown = sandbox.ok(&["context", "inspect", "-f", format]);
    assert_eq!(shown, format!("here d unix://{}", daemon.socket()));
    // By standard input and output, as Docker's client speaks to an engine behind ssh.
    let ask = "(printf 'GET /_ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1) | \
               $DHOW system dial-stdio";
    sandbox.set_env("DHOW", testkit::dhow_program().to_str().unwrap());
    for variable in ["", "here"] {
        sandbox.set_env("DOCKER_CONTEXT", variable);
        let answer = sandbox.sh(ask).success();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("OK"), "{answer}");
    }
    sandbox.set_env("DOCKER_CONTEXT", "nowhere");
    let missing = sandbox.dhow(&["ps"]);
    assert!(missing.stderr.contains("context \"nowhere\": context not found"), "{missing:?}");
    sandbox.unset_env("DOCKER_CONTEXT");
    drop(daemon);
    sandbox.finish();
}
