//! What clients of the API compare word by word, and what their version of it meant.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::needs;

use crate::busybox;
use crate::docker_client::Daemon;

/// Asks as a client of a version: the status and the body.
#[track_caller]
pub(crate) fn ask(daemon: &Daemon<'_>, version: &str, request: &str, body: &str) -> (u16, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut curl = daemon.command("curl");
    curl.args(["-s", "-g", "-m", "20", "-w", "\n%{http_code}", "-X", method, "--unix-socket"]);
    curl.args([daemon.socket(), "-H", "Content-Type: application/json"]);
    curl.arg(format!("http://d/v{version}{path}"));
    if !body.is_empty() {
        curl.args(["--data-binary", body]);
    }
    let said = testkit::capture(&mut curl).success();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.trim_end().to_owned())
}

/// The same of what succeeds and answers with JSON.
#[track_caller]
pub(crate) fn value(daemon: &Daemon<'_>, version: &str, request: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, text) = ask(daemon, version, request, &body);
    assert!(status < 300, "{request}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[track_caller]
pub(crate) fn message(answer: &(u16, String)) -> String {
    let body: Value = serde_json::from_str(&answer.1).expect(&answer.1);
    format!("{} {}", answer.0, body["message"].as_str().unwrap())
}

/// A command in a container, as a client without a terminal of its own would run it.
#[track_caller]
fn exec(daemon: &Daemon<'_>, version: &str, container: &str, request: &Value) -> String {
    let made = value(daemon, version, &format!("POST /containers/{container}/exec"), request);
    let start = format!("POST /exec/{}/start", made["Id"].as_str().unwrap());
    ask(daemon, version, &start, &json!({"Tty": request["Tty"]}).to_string()).1
}

/// Who comes to wait while a container is being taken away is told that there is none, and does not wait for ever.
#[test]
fn a_container_that_goes_is_not_waited_for() {
    needs!(Root, Overlay, Netns, Busybox, Curl, Failpoints);
    let sandbox = busybox("api-wait-gone");
    let daemon = Daemon::start(&sandbox);
    let passed = sandbox.work().join("passed");
    for request in
        ["wait?condition=next-exit", "wait?condition=removed", "attach?stream=1&stdout=1"]
    {
        sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
        std::fs::write(&passed, "").unwrap();
        let mut remove = sandbox.dhow_command(&["rm", "one"]);
        remove.env("DHOW_FAILPOINTS", format!("engine.gone=delay:1000@{}", passed.display()));
        let mut remove = remove.stdout(std::process::Stdio::null()).spawn().unwrap();
        let has_passed = || !std::fs::read_to_string(&passed).unwrap().is_empty();
        testkit::wait_until("its folder is gone", has_passed);
        let answer = ask(&daemon, "1.51", &format!("POST /containers/one/{request}"), "");
        // Who asks to be attached is told so in plain text, as by Docker.
        assert_eq!(answer.0, 404, "{request}: {answer:?}");
        assert!(answer.1.contains("No such container: one"), "{request}: {answer:?}");
        assert!(remove.wait().unwrap().success());
    }
    drop(daemon);
    sandbox.finish();
}

#[test]
fn older_clients_get_what_their_version_meant() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-older");
    let daemon = Daemon::start(&sandbox);
    let with =
        |host: Value| json!({"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": host});
    for (version, mode) in [("1.39", "shareable"), ("1.40", "private")] {
        let made =
            value(&daemon, version, "POST /containers/create", &with(json!({"PidsLimit": 32})));
        let id = made["Id"].as_str().unwrap();
        let shown = value(&daemon, version, &format!("GET /containers/{id}/json"), &Value::Null);
        assert_eq!(shown["HostConfig"]["IpcMode"], mode);
        let change = format!("POST /containers/{id}/update");
        value(&daemon, version, &change, &json!({"PidsLimit": 16}));
        let shown = value(&daemon, "1.51", &format!("GET /containers/{id}/json"), &Value::Null);
        let limit = if version == "1.39" { 32 } else { 16 };
        assert_eq!(shown["HostConfig"]["PidsLimit"], limit);
        sandbox.ok(&["rm", id]);
    }
    let two =
        json!({"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"b": {}, "a": {}}}});
    assert_eq!(
        message(&ask(&daemon, "1.43", "POST /containers/create", &two.to_string())),
        "400 Container cannot be created with multiple network endpoints: a, b"
    );
    // What is mounted below something read-only could be written to.
    let tree = sandbox.work().join("tree");
    std::fs::create_dir_all(tree.join("below")).unwrap();
    let below = format!("mount -t tmpfs tmpfs {}", tree.join("below").display());
    assert_eq!(sandbox.sh(&below).code, 0);
    for (version, code) in [("1.43", 0), ("1.44", 1)] {
        let bind = format!("{}:/tree:ro", tree.display());
        let made =
            value(&daemon, version, "POST /containers/create", &with(json!({"Binds": [bind]})));
        let id = made["Id"].as_str().unwrap();
        sandbox.ok(&["start", id]);
        assert_eq!(sandbox.dhow(&["exec", id, "touch", "/tree/below/x"]).code, code, "{version}");
        assert_eq!(sandbox.dhow(&["exec", id, "touch", "/tree/x"]).code, 1, "{version}");
        sandbox.ok(&["rm", "-f", id]);
    }
    drop(daemon);
    assert_eq!(sandbox.sh(&format!("umount {}", tree.join("below").display())).code, 0);
    sandbox.finish();
}

#[test]
fn mistakes_are_named_as_docker_names_them() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-mistakes");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    let told = |request: &str, body: &str| message(&ask(&daemon, "1.51", request, body));
    assert_eq!(
        told("POST /exec/nope/start", "{invalid"),
        "400 invalid JSON: invalid character 'i' looking for beginning of object key string"
    );
    assert_eq!(told("POST /exec/nope/start", "{}"), "404 No such exec instance: nope");
    assert_eq!(
        told("GET /containers/one/archive?path=/etc/passwd/", ""),
        "500 lstat /etc/passwd/: not a directory"
    );
    let create = |host: Value| {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
        told("POST /containers/create", &body.to_string())
    };
    assert_eq!(create(json!({"PidMode": "container:nope"})), "400 No such container: nope");
    assert_eq!(
        create(json!({"NetworkMode": "container"})),
        "400 invalid container format container:<name|id>"
    );
    // Whose network it is may be unknown until the start.
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "container:nope"}});
    let made = value(&daemon, "1.51", "POST /containers/create", &body);
    let id = made["Id"].as_str().unwrap();
    assert_eq!(
        told(&format!("POST /containers/{id}/start"), ""),
        "500 joining network namespace of container: No such container: nope"
    );
    sandbox.ok(&["rm", id]);
    assert_eq!(
        create(json!({"Annotations": {"": "a"}})),
        "400 invalid Annotations: the empty string is not permitted as an annotation key"
    );
    // Who has all rights has no label of SELinux, which is shown also where there is none to have.
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Privileged": true}});
    let made = value(&daemon, "1.51", "POST /containers/create", &body);
    let id = made["Id"].as_str().unwrap();
    let shown = value(&daemon, "1.51", &format!("GET /containers/{id}/json"), &Value::Null);
    assert_eq!(shown["HostConfig"]["SecurityOpt"], json!(["label=disable"]));
    assert_eq!(shown["ProcessLabel"], "");
    sandbox.ok(&["rm", id]);
    assert!(create(json!({"SecurityOpt": ["label=colour:x"]})).contains("bad label option"));
    assert_eq!(
        create(json!({"SecurityOpt": ["writable-cgroups=1"]})),
        "400 invalid --security-opt 2: \"writable-cgroups=1\""
    );
    let made = value(&daemon, "1.51", "POST /containers/one/exec", &json!({"Cmd": ["true"]}));
    let resize = format!("POST /exec/{}/resize?h=40&w=40", made["Id"].as_str().unwrap());
    assert_eq!(
        told(&resize.replace("40&", "4294967296&"), ""),
        "400 invalid resize height \"4294967296\": value out of range"
    );
    // What has no terminal has no size to set.
    let resized = ask(&daemon, "1.51", "POST /containers/one/resize?h=40&w=40", "");
    assert_eq!(resized, (200, String::new()));
    sandbox.ok(&["kill", "one"]);
    assert!(told(&resize, "").ends_with("is not running"), "{}", told(&resize, ""));
    sandbox.ok(&["rm", "one"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_asked_for_is_what_there_is() {
    needs!(Root, Overlay, Netns, Busybox, Curl, PidsCgroup);
    let sandbox = busybox("api-asked");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "db", "busybox", "sleep", "600"]);
    let limits = ["--pids-limit", "32", "--tmpfs", "/t", "--link", "db:/sql"];
    let run = [&["run", "-d", "--name", "app"], &limits[..], &["busybox", "sleep", "600"]].concat();
    sandbox.ok(&run);
    value(&daemon, "1.51", "POST /containers/app/update", &json!({"PidsLimit": -1}));
    let app = value(&daemon, "1.51", "GET /containers/app/json", &Value::Null);
    assert_eq!(app["HostConfig"]["PidsLimit"], 0);
    assert_eq!(app["Mounts"], json!([]));
    let pids = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true";
    assert_eq!(sandbox.ok(&["exec", "app", "sh", "-c", pids]), "max");
    // A link is found by the name that its container has now.
    sandbox.ok(&["rename", "app", "web"]);
    let linked = value(&daemon, "1.51", "GET /containers/web/sql/json", &Value::Null);
    assert_eq!(linked["Name"], "/db");
    // Who joins another one does so whatever that is called.
    sandbox.ok(&["create", "--name", "beside", "--pid", "container:web", "busybox", "ps"]);
    sandbox.ok(&["rename", "web", "site"]);
    let beside = value(&daemon, "1.51", "GET /containers/beside/json", &Value::Null);
    assert_eq!(
        beside["HostConfig"]["PidMode"],
        format!("container:{}", app["Id"].as_str().unwrap())
    );
    assert!(sandbox.ok(&["start", "-a", "beside"]).contains("sleep 600"));
    // The size of a terminal is there before its program looks.
    let size = json!({"Cmd": ["stty", "size"], "Tty": true, "AttachStdout": true,
        "ConsoleSize": [57, 123]});
    assert_eq!(exec(&daemon, "1.42", "db", &size).trim(), "57 123");
    // The names in an archive are those of who asked.
    for (path, first) in [("/", "/"), ("/./", "./"), ("/etc/", "etc/"), ("/etc/.", "./")] {
        let url = format!("http://d/containers/db/archive?path={path}");
        let list = format!("curl -s --unix-socket {} {url} | tar tPf - | head -1", daemon.socket());
        assert_eq!(sandbox.sh(&list).success().trim(), first, "{path}");
    }
    // A file's own header is the first: no other one for fractions of a second comes before it.
    let hosts = "http://d/containers/db/archive?path=/etc/hosts";
    let kind = format!(
        "curl -s --unix-socket {} {hosts} | dd bs=1 skip=156 count=1 2>/dev/null",
        daemon.socket()
    );
    assert_eq!(sandbox.sh(&kind).success(), "0");
    assert_eq!(ask(&daemon, "1.51", "PUT /containers/db/archive?path=/tmp", "").0, 200);
    let hosts = ["run", "--rm", "--network", "host", "--add-host", "a:1.2.3.4", "busybox"];
    let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let read = sandbox.ok(&[&hosts[..], &["cat", "/etc/hosts"]].concat());
    assert_eq!(read, format!("{}\n1.2.3.4\ta", own.trim_end_matches('\n')));
    sandbox.ok(&["rm", "-f", "beside", "site", "db"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_not_there_is_said_as_docker_says_it() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-nothing");
    // The first volume makes the place where they are.
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    let daemon = Daemon::start(&sandbox);
    let told = |request: &str, body: &str| message(&ask(&daemon, "1.51", request, body));
    assert_eq!(told("POST /containers/create", r#"{"Env": ["A=b"]}"#), "400 no command specified");
    // A volume's mode is what Docker asks of SELinux, unless something else was said.
    let volumes = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {
        "Binds": ["one:/one:ro"], "Mounts": [{"Type": "volume", "Source": "two", "Target": "/two"}]}});
    let made = value(&daemon, "1.51", "POST /containers/create", &volumes);
    let id = made["Id"].as_str().unwrap();
    let shown = value(&daemon, "1.51", &format!("GET /containers/{id}/json"), &Value::Null);
    let mut modes: Vec<_> =
        shown["Mounts"].as_array().unwrap().iter().map(|one| &one["Mode"]).collect();
    modes.sort_by_key(ToString::to_string);
    assert_eq!(modes, ["ro", "z"]);
    assert_eq!(shown["ExecIDs"], Value::Null);
    sandbox.ok(&["rm", "-v", id]);
    sandbox.ok(&["volume", "rm", "one", "two"]);
    // An image goes by a digest only under a name that it has.
    let shown = value(&daemon, "1.51", "GET /images/busybox/json", &Value::Null);
    let digest = shown["Descriptor"]["digest"].as_str().unwrap();
    let other = format!("DELETE /images/other@{digest}?force=1");
    assert_eq!(told(&other, ""), format!("404 No such image: other@{digest}"));
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    // What cannot be run here is not imported.
    let import = "POST /images/create?fromSrc=-&platform=";
    assert_eq!(told(&format!("{import}macos"), ""), "400 operating system is not supported");
    assert!(
        told(&format!("{import}%2F"), "")
            .starts_with("400 \"\" is an invalid OS component of \"/\"")
    );
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_container_tells_of_its_images_manifest() {
    needs!(Root, Netns, Busybox, Curl);
    let sandbox = busybox("api-manifest");
    let daemon = Daemon::start(&sandbox);
    let id = sandbox.ok(&["create", "busybox", "true"]);
    let look = |version: &str, request: &str| value(&daemon, version, request, &Value::Null);
    let image = look("1.51", "GET /images/busybox/json");
    for version in ["1.47", "1.51"] {
        let shown = look(version, &format!("GET /containers/{id}/json"));
        let listed = look(version, "GET /containers/json?all=1");
        let told = &shown["ImageManifestDescriptor"];
        assert_eq!(told, &listed[0]["ImageManifestDescriptor"], "{version}");
        let used = look(version, "GET /system/df?type=container");
        assert_eq!(used["Containers"][0]["Id"], id.as_str(), "{used}");
        assert_eq!(used["Containers"][0]["ImageManifestDescriptor"], Value::Null, "{used}");
        if version == "1.47" {
            assert_eq!(told, &Value::Null);
            continue;
        }
        for field in ["mediaType", "digest", "size"] {
            assert_eq!(told[field], image["Descriptor"][field], "{told}");
        }
        let platform = &told["platform"];
        let own = (&image["Os"], &image["Architecture"]);
        assert_eq!((&platform["os"], &platform["architecture"]), own, "{told}");
    }
    sandbox.ok(&["rm", &id]);
    drop(daemon);
    sandbox.finish();
}

/// Clients ask until a container is gone, and list others meanwhile.
#[test]
fn what_goes_in_this_moment_is_no_failure() {
    needs!(Root, Netns, Busybox, Curl);
    let sandbox = busybox("api-going");
    let daemon = Daemon::start(&sandbox);
    let id = sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
    let look = |request: &str| ask(&daemon, "1.51", request, "");
    let shown = value(&daemon, "1.51", "GET /containers/one/json?size=1", &Value::Null);
    assert!(shown["GraphDriver"]["Name"].is_string(), "{shown}");
    // As it is for some milliseconds: its files are gone, and its record is still there.
    let gone = sandbox.root().join("snapshots/active").join(&id);
    std::fs::remove_dir_all(&gone).unwrap();
    let shown = value(&daemon, "1.51", "GET /containers/one/json?size=1", &Value::Null);
    assert_eq!((&shown["GraphDriver"], &shown["SizeRw"]), (&Value::Null, &json!(0)));
    let listed = value(&daemon, "1.51", "GET /containers/json?all=1&size=1", &Value::Null);
    assert_eq!(listed[0]["Id"], id.as_str(), "{listed}");
    for request in ["GET /containers/one/changes", "GET /containers/one/export"] {
        assert_eq!(message(&look(request)), format!("404 no such snapshot: {id}"), "{request}");
    }
    sandbox.ok(&["rm", "one"]);
    assert_eq!(message(&look("GET /containers/one/json")), "404 No such container: one");
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_terminal_has_no_second_stream() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-terminal");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&[
        "run",
        "-dt",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "while sleep 0.1; do echo said; done",
    ]);
    let attached = |streams: &str| {
        let url = format!("http://d/containers/one/attach?stream=1&{streams}");
        let curl = format!("curl -s -X POST -m 2 --unix-socket {} '{url}'; true", daemon.socket());
        sandbox.sh(&curl).success()
    };
    testkit::wait_until("it is heard", || attached("stdout=1").contains("said"));
    assert_eq!(attached("stderr=1"), "");
    // Its size is told of; that of who does not run is not set.
    assert_eq!(ask(&daemon, "1.51", "POST /containers/one/resize?h=80&w=24", "").0, 200);
    sandbox.ok(&["create", "-t", "--name", "two", "busybox", "true"]);
    assert_eq!(ask(&daemon, "1.51", "POST /containers/two/resize?h=80&w=24", "").0, 409);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let all = ["events", "--since", "1", "--until", &until, "--filter", "event=resize"];
    let format =
        "{{.Actor.Attributes.name}} {{.Actor.Attributes.height}} {{.Actor.Attributes.width}}";
    assert_eq!(sandbox.ok(&[&all[..], &["--format", format]].concat()), "one 80 24");
    sandbox.ok(&["rm", "two"]);
    sandbox.ok(&["rm", "-f", "one"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn an_interface_is_called_as_was_asked() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-ifname");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["network", "create", "front"]);
    let request = |name: &str| {
        json!({"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "front"},
            "NetworkingConfig": {"EndpointsConfig": {"front": {"DriverOpts": {
                "com.docker.network.endpoint.ifname": name}}}}})
    };
    let refused = ask(&daemon, "1.51", "POST /containers/create", &request("a/b").to_string());
    assert!(message(&refused).starts_with("400 invalid interface name \"a/b\""), "{refused:?}");
    let made = value(&daemon, "1.51", "POST /containers/create", &request("up0"));
    let id = made["Id"].as_str().unwrap();
    sandbox.ok(&["start", id]);
    assert!(sandbox.ok(&["exec", id, "ls", "/sys/class/net"]).contains("up0"));
    // One that it has already: asked for, or given unasked.
    sandbox.ok(&["network", "create", "back"]);
    let plain = sandbox.ok(&["run", "-d", "--network", "front", "busybox", "sleep", "600"]);
    for (id, name, want) in [
        (id, "up0", "400 two networks ask for the interface name up0"),
        (&plain, "eth0", "\" to \"eth0\": file exists"),
    ] {
        let join = json!({"Container": id, "EndpointConfig": {"DriverOpts": {
            "com.docker.network.endpoint.ifname": name}}});
        let refused = ask(&daemon, "1.51", "POST /networks/back/connect", &join.to_string());
        assert!(message(&refused).contains(want), "{refused:?}");
        assert!(sandbox.ok(&["exec", id, "ls", "/sys/class/net"]).contains(name));
    }
    sandbox.ok(&["rm", "-f", &plain]);
    sandbox.ok(&["network", "rm", "back"]);
    sandbox.ok(&["rm", "-f", id]);
    sandbox.ok(&["network", "rm", "front"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_container_that_switches_ipv6_off_starts_without_it() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("api-ipv6-off");
    sandbox.ok(&["network", "create", "--ipv6", "--subnet", "fd00:abcd::/64", "six"]);
    let run = |off: &str| {
        let sysctl = format!("net.ipv6.conf.all.disable_ipv6={off}");
        let addresses = ["busybox", "ip", "-6", "addr", "show", "eth0"];
        sandbox
            .ok(&[&["run", "--rm", "--network", "six", "--sysctl", &sysctl], &addresses[..]]
                .concat())
    };
    assert_eq!(run("1"), "");
    assert!(run("0").contains("fd00:abcd::"));
    // Nor is one told of to anybody.
    let off = ["--sysctl", "net.ipv6.conf.all.disable_ipv6=1"];
    let start = [&["run", "-d", "--name", "off", "--network", "six"], &off[..]].concat();
    sandbox.ok(&[&start[..], &["busybox", "sleep", "600"]].concat());
    let format = "{{(index .NetworkSettings.Networks \"six\").GlobalIPv6Address}}|{{(index .NetworkSettings.Networks \"six\").IPAddress}}";
    let shown = sandbox.ok(&["inspect", "--format", format, "off"]);
    assert!(shown.starts_with('|') && shown.trim().len() > 7, "{shown}");
    let found = ["run", "--rm", "--network", "six", "busybox", "nslookup", "off"];
    let found = sandbox.ok(&found);
    assert!(!found.contains("fd00:abcd::"), "{found}");
    sandbox.ok(&["rm", "-f", "off"]);
    sandbox.ok(&["network", "rm", "six"]);
    // IPv4 is shown first, in whatever order they were asked for.
    let both = ["--subnet", "fd00:abcd::/64", "--subnet", "10.93.0.0/24"];
    sandbox.ok(&[&["network", "create", "--ipv6"], &both[..], &["both"]].concat());
    let format = "{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 1).Subnet}}";
    let shown = sandbox.ok(&["network", "inspect", "--format", format, "both"]);
    assert_eq!(shown, "10.93.0.0/24 fd00:abcd::/64");
    sandbox.ok(&["network", "rm", "both"]);
    sandbox.finish();
}
