//! The six kinds of hooks.

use serde_json::json;

use crate::bundle::bundle;

#[test]
pub(crate) fn all_are_called_in_order_with_the_state() {
    let Some(mut b) = bundle("all_are_called_in_order_with_the_state") else { return };
    let log = b.dir.join("hooks.log");
    std::fs::write(&log, "").unwrap();
    // Inside the root the same file has another name.
    b.mount(json!({ "destination": "/log", "source": "hooks.log", "options": ["bind"] }));
    let hook = |name: &str, log: &str| {
        let script = format!(
            "state=$(cat); case $state in *'\"id\":\"c\"'*) ;; *) exit 1;; esac; \
             status=${{state#*'\"status\":\"'}}; \
             if [ -d /bin ] && [ \"$(readlink /bin/sh)\" = busybox ]; then in=inside; else in=outside; fi; \
             echo {name} ${{status%%'\"'*}} $in >> {log}"
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 10 }])
    };
    let host = log.to_str().unwrap();
    b.config["hooks"] = json!({
        "prestart": hook("prestart", host),
        "createRuntime": hook("createRuntime", host),
        "createContainer": hook("createContainer", host),
        "startContainer": hook("startContainer", "/log"),
        "poststart": hook("poststart", host),
        "poststop": hook("poststop", host),
    });
    b.args(&["sleep", "1000"]).start();
    b.call(&["kill", "c", "KILL"]).ok();
    b.call(&["delete", "--force", "c"]).ok();
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "prestart creating outside\ncreateRuntime creating outside\n\
         createContainer creating outside\nstartContainer created inside\n\
         poststart running outside\npoststop stopped outside\n"
    );
}

#[test]
pub(crate) fn one_that_fails_ends_the_container() {
    let Some(mut b) = bundle("one_that_fails_ends_the_container") else { return };
    for kind in ["prestart", "createRuntime", "createContainer"] {
        b.config["hooks"] =
            json!({ kind: [{ "path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 3"] }] });
        b.args(&["true"]).write();
        b.call(&["create", "c"])
            .fails("hook #0: error running hook \"/bin/sh\": exit status 3, and said: no");
        b.assert_nothing_left();
    }
    b.config["hooks"] =
        json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "exit 4"] }] });
    b.write();
    b.command(&["create", "c"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    b.call(&["start", "c"]).fails("hook \"/bin/sh\": exit status 4");
    assert_eq!(b.status(), "stopped");
}
