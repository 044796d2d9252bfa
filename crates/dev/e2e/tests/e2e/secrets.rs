//! Secrets: what containers have in memory only.

use std::os::unix::fs::PermissionsExt as _;

use crate::{busybox, inspect};
use testkit::{Sandbox, needs, wait_until};

/// What no file and no answer may hold.
const WORD: &str = "Xyzzy-4711-plugh";

fn create(sandbox: &Sandbox, name: &str, args: &[&str]) {
    let file = sandbox.work().join(name);
    std::fs::write(&file, format!("{WORD}\n")).unwrap();
    let file = file.to_str().unwrap();
    sandbox.ok(&[&["secret", "create"], args, &[name, file]].concat());
    std::fs::remove_file(file).unwrap();
}

/// The files below the engine's folders that hold the word, by their names there.
fn holders(sandbox: &Sandbox) -> String {
    let script = format!(
        "cd {} && grep -rl {WORD} . ; cd {} && grep -rl {WORD} . ; true",
        sandbox.root().display(),
        sandbox.state().display()
    );
    sandbox.sh(&script).stdout
}

#[test]
fn a_secret_is_in_memory_and_nowhere_else() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("secrets");
    create(&sandbox, "key", &["--label", "kind=test"]);
    let at_rest = sandbox.root().join("secrets/key/data");
    assert_eq!(std::fs::metadata(&at_rest).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = sandbox.root().join("secrets");
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

    let run = ["run", "-d", "--name", "web", "--secret", "key"];
    let more = ["--secret", "key,target=/etc/key,uid=7,gid=8,mode=0400", "--restart", "always"];
    let program = ["busybox", "sh", "-c", "sleep 600"];
    sandbox.ok(&[&run[..], &more, &program].concat());
    let script = "cat /run/secrets/key /etc/key; stat -c '%a %u:%g' /run/secrets/key /etc/key; \
                  grep -c 'tmpfs.*/run/secrets/key\\|/run/secrets/key.*tmpfs' /proc/self/mountinfo; \
                  echo x > /run/secrets/key || echo refused";
    let said = sandbox.ok(&["exec", "web", "sh", "-c", script]);
    assert_eq!(said, format!("{WORD}\n{WORD}\n444 0:0\n400 7:8\n1\nrefused"));
    assert_eq!(holders(&sandbox), "./secrets/key/data\n");
    assert!(!inspect(&sandbox, "web").to_string().contains(WORD));
    assert!(!sandbox.ok(&["secret", "inspect", "key"]).contains(WORD));
    assert!(!sandbox.ok(&["commit", "web", "copy"]).contains(WORD));
    let in_image = ["run", "--rm", "copy", "sh", "-c", "wc -c < /run/secrets/key"];
    assert_eq!(sandbox.ok(&in_image).trim(), "0");
    sandbox.ok(&["rmi", "copy"]);

    let refused = sandbox.dhow(&["secret", "rm", "key"]);
    assert!(refused.stderr.contains("in use by the following containers: web"), "{refused:?}");
    // It ends, and its supervisor starts it again with nobody else around.
    let pid = inspect(&sandbox, "web")["State"]["Pid"].to_string();
    sandbox.sh(&format!("kill -9 {pid}")).success();
    wait_until("it runs again", || {
        sandbox.dhow(&["exec", "web", "cat", "/run/secrets/key"]).stdout == format!("{WORD}\n")
    });
    sandbox.ok(&["rm", "-f", "web"]);

    let env = ["run", "--rm", "--secret", "key,type=env,target=PASS", "busybox"];
    let said = sandbox.ok(&[&env[..], &["sh", "-c", "echo \"<$PASS>\""]].concat());
    assert_eq!(said, format!("<{WORD}\n>"));
    // Its log, with the rest of what it was.
    wait_until("its files are gone", || holders(&sandbox) == "./secrets/key/data\n");
    sandbox.ok(&["secret", "rm", "key"]);
    assert_eq!(holders(&sandbox), "");
    sandbox.finish();
}

#[test]
fn secrets_are_listed_changed_and_refused() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("secrets-list");
    sandbox.set_env("TOKEN", WORD);
    sandbox.ok(&["secret", "create", "--env", "TOKEN", "--label", "a=1", "token"]);
    create(&sandbox, "other", &[]);
    let names = |filter: &[&str]| {
        let list = ["secret", "ls", "--format", "{{.Name}} {{.Labels}}"];
        sandbox.ok(&[&list[..], filter].concat())
    };
    assert_eq!(names(&[]), "other \ntoken a=1");
    assert_eq!(names(&["--filter", "label=a"]), "token a=1");
    sandbox.ok(&["secret", "update", "--label", "b=2", "--label-rm", "a", "token"]);
    assert_eq!(names(&["--filter", "name=tok"]), "token b=2");
    for (args, want) in [
        (&["secret", "create", "--env", "TOKEN", "token"][..], "already exists"),
        (&["secret", "create", "--env", "NOSUCH", "x"], "the variable NOSUCH is not set"),
        (&["secret", "create", "--env", "TOKEN", "../x"], "invalid name"),
        (&["secret", "create", "x", "/dev/null"], "must be larger than 0"),
        (&["secret", "create", "x", "/dev/zero"], "less than 512000 bytes"),
        (&["secret", "rm", "nosuch"], "secret nosuch not found"),
        (&["secret", "inspect", "nosuch"], "secret nosuch not found"),
        (&["create", "--secret", "nosuch", "busybox", "true"], "secret nosuch not found"),
        (&["create", "--secret", "token,uid=www", "busybox", "true"], "invalid uid"),
        (
            &["create", "--secret", "token", "--secret", "other,target=token", "busybox", "true"],
            "Duplicate mount point: /run/secrets/token",
        ),
        (&["create", "--secret", "../../dhow.db", "busybox", "true"], "invalid name"),
    ] {
        let refused = sandbox.dhow(args);
        assert!(refused.code != 0 && refused.stderr.contains(want), "{args:?}: {refused:?}");
    }
    sandbox.ok(&["secret", "rm", "token", "other"]);
    sandbox.finish();
}
