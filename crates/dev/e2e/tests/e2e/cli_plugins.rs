//! Plugins of Docker's client as commands of dhow's.

use std::path::PathBuf;
use std::process::Stdio;

use crate::busybox;
use crate::docker_client::Daemon;
use testkit::{Sandbox, needs, wait_until};

/// A plugin with the ways of Docker's own: what comes before its name is flags, the rest is its business.
const HELLO: &str = r#"#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '{"SchemaVersion":"0.1.0","Vendor":"tests","Version":"v1","ShortDescription":"Say hello"}'
    exit
fi
all=$*
while [ "$1" != hello ]; do last=$1; shift; done
shift
case "$1" in
    say) shift; for word; do echo "[$word]"; done ;;
    all) echo "$all" ;;
    host) echo "$DOCKER_HOST" ;;
    read) cat ;;
    end) exit "$2" ;;
    again) shift; exec "$DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND" "$@" ;;
    docker) shift; exec docker "$@" ;;
    docker-cli-plugin-hooks) printf '%s\n' "$2" >> "$HOME/told"
        printf '%s\n' '{"Type":0,"Template":"{{command}} of {{argValue 0}}\nand again"}' ;;
    wait) trap 'echo ended; exit 7' TERM; echo up; while :; do sleep 0.05; done ;;
    *) echo "usage: hello, asked by $last" ;;
esac
"#;

/// Puts a program where a user's plugins are.
fn install(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    let directory = sandbox.work().join(".docker/cli-plugins");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("new"), text).unwrap();
    // A copy that no process of ours had open for writing, which could not be run.
    let place = directory.display();
    sandbox.sh(&format!("cd {place} && cp new {name} && chmod 755 {name} && rm new")).success();
    directory.join(name)
}

#[test]
fn a_program_with_the_right_name_is_a_command() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("plugins");
    install(&sandbox, "docker-hello", HELLO);
    install(&sandbox, "docker-ps", "#!/bin/sh\necho never\n");
    install(&sandbox, "docker-broken", "#!/bin/sh\nexit 3\n");
    assert_eq!(sandbox.ok(&["hello", "say", "a b", "--rm", "-x"]), "[a b]\n[--rm]\n[-x]");
    assert_eq!(sandbox.dhow(&["hello", "end", "42"]).code, 42);
    let mut reads = sandbox.dhow_command(&["hello", "read"]);
    reads.stdin(Stdio::from(std::fs::File::open("/etc/hostname").unwrap()));
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap();
    assert_eq!(testkit::capture(&mut reads).success(), hostname);
    // Flags that Docker's client has go with it, and only those.
    assert_eq!(
        sandbox.ok(&["-D", "--storage-driver", "", "hello", "all"]),
        "--debug=true hello all"
    );
    assert_eq!(sandbox.ok(&["hello", "all", "-H", "x"]), "hello all -H x");
    // It is asked for help, and told of where all commands are.
    assert_eq!(sandbox.ok(&["help", "hello"]), "usage: hello, asked by help");
    assert_eq!(sandbox.ok(&["hello", "--help"]), "usage: hello, asked by ");
    let help = sandbox.ok(&["--help"]);
    assert!(help.contains("\nPlugins:\n  hello*   Say hello\n"), "{help}");
    assert!(help.contains("  broken   failed to fetch metadata: exit status: 3"), "{help}");
    assert!(help.contains("  ps       plugin \"ps\" duplicates builtin command"), "{help}");
    assert!(!sandbox.ok(&["ps", "--help"]).contains("Plugins:"));
    let found = sandbox.ok(&["info", "-f", "{{range .ClientInfo.Plugins}}{{.Name}} {{end}}"]);
    assert_eq!(found, "broken hello ps ");
    // What is ours stays ours, and what is nobody's is not known.
    assert_eq!(sandbox.ok(&["ps", "-q"]), "");
    let broken = sandbox.dhow(&["broken"]);
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.stderr.contains("docker-broken: failed to fetch metadata"), "{broken:?}");
    assert!(broken.stderr.contains("unrecognized subcommand 'broken'"), "{broken:?}");
    let unknown = sandbox.dhow(&["psx"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("'ps'"), "{unknown:?}");
    // A directory of one's own, and a program of dhow's own, come first.
    let extra = sandbox.work().join("extra");
    std::fs::create_dir_all(&extra).unwrap();
    std::fs::rename(
        install(&sandbox, "dhow-hello", &HELLO.replace("\"[$word]\"", "\"<$word>\"")),
        extra.join("dhow-hello"),
    )
    .unwrap();
    let config = format!(r#"{{"cliPluginsExtraDirs": ["{}"]}}"#, extra.display());
    std::fs::write(sandbox.work().join(".docker/config.json"), config).unwrap();
    assert_eq!(sandbox.ok(&["hello", "say", "a"]), "<a>");
    sandbox.finish();
}

#[test]
fn a_plugin_finds_the_engine_of_this_process() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("plugins-engine");
    install(&sandbox, "docker-hello", HELLO);
    // Where another engine was is no matter where this one is asked for.
    sandbox.set_env("DOCKER_TLS_VERIFY", "1");
    let host = sandbox.ok(&["hello", "host"]);
    let socket = PathBuf::from(host.strip_prefix("unix://").unwrap());
    assert!(socket.is_absolute() && !socket.parent().unwrap().exists(), "{socket:?}");
    let again = ["hello", "again", "run", "--name", "made", "busybox", "echo", "inside"];
    assert_eq!(sandbox.ok(&again), "inside");
    assert_eq!(sandbox.dhow(&["hello", "again", "run", "--rm", "busybox", "false"]).code, 1);
    sandbox.unset_env("DOCKER_TLS_VERIFY");
    assert_eq!(sandbox.ok(&["rm", "made"]), "made");
    sandbox.finish();
}

/// On a terminal, and where it is switched on.
#[test]
fn a_plugin_is_told_of_commands_that_have_ended() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("plugins-hooks");
    install(&sandbox, "docker-hello", HELLO);
    let hooks = r#"{"plugins": {"hello": {"hooks": "image inspect,hello end", "error-hooks": "rmi"},
        "none": {"hooks": "rmi"}}}"#;
    std::fs::write(sandbox.work().join(".docker/config.json"), hooks).unwrap();
    let dhow = testkit::dhow_program();
    let run = |line: &str| {
        let script = format!("script -qec '{} {line}' /dev/null", dhow.display());
        sandbox.sh(&script).stdout.replace('\r', "")
    };
    let told = || std::fs::read_to_string(sandbox.work().join("told")).unwrap_or_default();
    let inspect = "image inspect --format {{.Os}} busybox";
    assert_eq!((run(inspect).as_str(), told().as_str()), ("linux\n", ""));
    sandbox.set_env("DOCKER_CLI_HOOKS", "1");
    let hint = "\n\u{1b}[1mWhat's next:\u{1b}[0m\n    inspect of busybox\n    and again\n";
    assert_eq!(run(inspect), format!("linux\n{hint}"));
    let last =
        || serde_json::from_str::<serde_json::Value>(told().lines().last().unwrap()).unwrap();
    let want = serde_json::json!({
        "RootCmd": "image inspect", "Flags": {"format": ""}, "CommandError": ""
    });
    assert_eq!(last(), want);
    // Without a terminal, and of what nobody wants to know, nobody is told.
    sandbox.ok(&["image", "inspect", "--format", "{{.Os}}", "busybox"]);
    assert!(!run("ps -q").contains("next"));
    assert_eq!(told().lines().count(), 1);
    // What failed, and a plugin's own command.
    assert!(run("rmi nothing").ends_with("rmi of nothing\n    and again\n"));
    assert_eq!(last()["RootCmd"], "rmi");
    assert_ne!(last()["CommandError"], "");
    assert!(
        !run("hello end 3 --flag").contains("next"),
        "it has no such argument as the hint asks for"
    );
    assert_eq!(last()["CommandError"], "exited with code 3");
    assert_eq!(last()["Flags"], serde_json::json!({"flag": ""}));
    sandbox.unset_env("DOCKER_CLI_HOOKS");
    sandbox.finish();
}

#[test]
fn a_plugin_finds_the_engine_that_is_named() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("plugins-docker");
    install(&sandbox, "docker-hello", HELLO);
    let daemon = Daemon::start(&sandbox);
    let host = format!("unix://{}", daemon.socket());
    // Both clients give a plugin the same words, and have its exit codes.
    for line in [&["hello", "say", "a b", "-x"][..], &["hello", "end", "3"], &["help", "hello"]] {
        let (theirs, ours) = (daemon.docker(line), sandbox.dhow(&[&["-H", &host], line].concat()));
        assert_eq!((ours.code, ours.stdout), (theirs.code, theirs.stdout), "{line:?}");
    }
    let all = sandbox.ok(&["-H", &host, "hello", "all"]);
    assert_eq!(all, format!("--host={host} hello all"));
    assert_eq!(sandbox.ok(&["-H", &host, "hello", "host"]), "");
    sandbox.set_env("DOCKER_HOST", &host);
    assert_eq!(sandbox.ok(&["hello", "host"]), host);
    sandbox.unset_env("DOCKER_HOST");
    // Docker's client as what a plugin is: without a daemon's help, it asks the engine of this process.
    drop(daemon);
    let asked = sandbox.ok(&["hello", "docker", "run", "--rm", "-i", "busybox", "echo", "hi"]);
    assert_eq!(asked, "hi");
    sandbox.finish();
}

#[test]
fn who_ends_the_command_ends_the_plugin() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("plugins-signal");
    install(&sandbox, "docker-hello", HELLO);
    let out = sandbox.work().join("out");
    let mut command = sandbox.dhow_command(&["hello", "wait"]);
    let mut child = command.stdout(std::fs::File::create(&out).unwrap()).spawn().unwrap();
    let said = || std::fs::read_to_string(&out).unwrap();
    wait_until("it is up", || said() == "up\n");
    sandbox.sh(&format!("kill -TERM {}", child.id())).success();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(said(), "up\nended\n");
    sandbox.finish();
}
