//! Log drivers, from the outside.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::{busybox, inspect};
use testkit::{needs, wait_until};

/// Lines that fill some files, and a while later some more.
const LINES: &str = "for i in $(seq 150); do echo line $i; done; while ! test -e /go; do sleep 0.02; done; \
                     for i in $(seq 151 300); do echo line $i; sleep 0.002; done";

#[test]
fn a_log_is_read_over_all_its_files_while_they_make_place() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("logs");
    for (driver, sizes) in [
        ("json-file", &["max-size=2k", "max-file=100", "compress=true"][..]),
        ("json-file", &["max-size=2k", "max-file=100"]),
        ("local", &["max-size=2k", "max-file=100"]),
        ("local", &["max-size=2k", "max-file=100", "mode=non-blocking"]),
    ] {
        let opts = sizes.iter().flat_map(|opt| ["--log-opt", opt]);
        let run = ["run", "-d", "--name", "box", "--log-driver", driver].into_iter().chain(opts);
        sandbox.ok(&run.chain(["busybox", "sh", "-c", LINES]).collect::<Vec<_>>());
        let wanted = |from: u32, to: u32| {
            (from..=to).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n")
        };
        wait_until("half of it is there", || sandbox.ok(&["logs", "box"]) == wanted(1, 150));
        assert_eq!(
            sandbox.ok(&["logs", "-n", "100", "box"]),
            wanted(51, 150),
            "{driver} {sizes:?}"
        );
        let mut follower = sandbox
            .dhow_command(&["logs", "-f", "-n", "120", "box"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(follower.stdout.take().unwrap());
        let mut seen = String::new();
        output.read_line(&mut seen).unwrap();
        sandbox.ok(&["exec", "box", "touch", "/go"]);
        output.read_to_string(&mut seen).unwrap();
        follower.wait().unwrap();
        assert_eq!(seen.trim_end(), wanted(31, 300), "{driver} {sizes:?}");
        assert_eq!(sandbox.ok(&["logs", "box"]), wanted(1, 300), "{driver} {sizes:?}");
        sandbox.ok(&["rm", "box"]);
    }
    sandbox.finish();
}

#[test]
fn what_is_noted_with_each_line() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("logs-details");
    sandbox.ok(&[
        "run",
        "--name",
        "box",
        "--label",
        "a=1",
        "-e",
        "COLOR=dark blue",
        "--log-opt",
        "labels=a",
        "--log-opt",
        "env-regex=^COL",
        "--log-opt",
        "tag={{.Name}}",
        "busybox",
        "echo",
        "hi",
    ]);
    assert_eq!(sandbox.ok(&["logs", "--details", "box"]), "COLOR=dark+blue,a=1,tag=box hi");
    assert_eq!(sandbox.ok(&["logs", "box"]), "hi");
    sandbox.ok(&["rm", "box"]);
    for (args, why) in [
        (
            &["--log-driver", "syslog", "--log-opt", "syslog-tls-colour=1"][..],
            "unknown log opt 'syslog-tls-colour' for syslog log driver",
        ),
        (&["--log-driver", "gelf"], "the log driver \"gelf\" is not there yet"),
        (&["--log-opt", "colour=1"], "unknown log opt 'colour' for json-file log driver"),
    ] {
        let refused = sandbox.dhow(&[&["run"], args, &["busybox", "true"]].concat());
        assert!(refused.code == 125 && refused.stderr.contains(why), "{refused:?}");
    }
    sandbox.finish();
}

#[test]
fn an_administrator_may_say_where_logs_go() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("logs-setting");
    let file = sandbox.work().join("daemon.json");
    std::fs::write(&file, r#"{"log-driver": "local", "log-opts": {"max-file": "2"}}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", file.to_str().unwrap());
    sandbox.ok(&["run", "--name", "box", "busybox", "echo", "hi"]);
    let log = inspect(&sandbox, "box")["HostConfig"]["LogConfig"].clone();
    assert_eq!((&log["Type"], &log["Config"]["max-file"]), (&"local".into(), &"2".into()));
    assert_eq!(sandbox.ok(&["logs", "box"]), "hi");
    sandbox.ok(&["run", "--name", "other", "--log-driver", "none", "busybox", "echo", "hi"]);
    let none = sandbox.dhow(&["logs", "other"]);
    assert!(none.stderr.contains("does not support reading"), "{none:?}");
    sandbox.ok(&["rm", "box", "other"]);
    sandbox.finish();
}

#[test]
fn a_syslog_server_may_want_tls() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("logs-tls");
    if !crate::tcp::certificates(&sandbox) {
        return sandbox.discard();
    }
    let file = |name: &str| crate::tcp::file(&sandbox, name);
    let said = sandbox.work().join("said");
    let mut command = sandbox.command("openssl");
    command.args(["s_server", "-quiet", "-accept", "127.0.0.1:6514", "-Verify", "1"]);
    command.args(["-verify_return_error", "-CAfile", &file("ca.crt")]);
    command.args(["-cert", &file("server.crt"), "-key", &file("server.key")]);
    let output = std::fs::File::create(&said).unwrap();
    // Its standard input stays open as long as it runs.
    let mut server = command
        .stdin(std::process::Stdio::piped())
        .stdout(output)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let listens = "grep -q ' 0100007F:1972 00000000:0000 0A' /proc/net/tcp";
    wait_until("the server listens", || sandbox.sh(listens).code == 0);
    let run = |ca: &str, who: &str, word: &str| {
        let options = [
            "syslog-address=tcp+tls://127.0.0.1:6514".to_owned(),
            format!("syslog-tls-ca-cert={}", file(ca)),
            format!("syslog-tls-cert={}", file(&format!("{who}.crt"))),
            format!("syslog-tls-key={}", file(&format!("{who}.key"))),
        ];
        let mut args = vec!["run", "--rm", "--log-driver", "syslog"];
        args.extend(options.iter().flat_map(|option| ["--log-opt", option.as_str()]));
        args.extend(["busybox", "echo", word]);
        sandbox.dhow(&args)
    };
    let ran = run("ca.crt", "client", "hello");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\n"), "{ran:?}");
    let has = |word: &str| std::fs::read_to_string(&said).unwrap().contains(word);
    wait_until("the line came", || has("]: hello\n"));
    // A server that somebody else vouches for is none, and nothing is said to it.
    let refused = run("other.crt", "client", "secret");
    assert!(refused.code == 125 && refused.stderr.contains("connect to 127.0.0.1"), "{refused:?}");
    assert!(!has("secret"));
    let missing = run("nowhere.crt", "client", "secret");
    // Clients know this code by the words, and so does Docker's.
    assert!(missing.code == 127 && missing.stderr.contains("nowhere.crt"), "{missing:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    sandbox.finish();
}
