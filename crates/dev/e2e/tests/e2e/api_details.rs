//! Small things that a client of the API may hold against Docker's (28.5.2, asked the same).

use serde_json::{Value, json};
use testkit::needs;

use crate::api::{ask, message, value};
use crate::busybox;
use crate::docker_client::Daemon;

#[test]
fn what_is_of_another_type_is_named_as_go_names_it() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-types");
    let daemon = Daemon::start(&sandbox);
    for (request, body, want) in [
        ("/containers/create", "[]", "array into Go value of type container.CreateRequest"),
        (
            "/containers/create",
            r#"{"Image":"busybox","hostconfig":{"Memory":"x"}}"#,
            "string into Go struct field .HostConfig.Memory of type int64",
        ),
        ("/containers/create", r#"{"Cmd":[5]}"#, "array into Go value of type string"),
        (
            "/containers/x/update",
            r#"{"CpuShares":1.5}"#,
            "number 1.5 into Go struct field UpdateConfig.CpuShares of type int64",
        ),
        (
            "/containers/x/exec",
            r#"{"Env":["A=b",5]}"#,
            "number into ExecOptions.Env.1 of type string",
        ),
        (
            "/exec/x/start",
            r#"{"Tty":"yes"}"#,
            "string into Go struct field ExecStartOptions.Tty of type bool",
        ),
        (
            "/networks/create",
            r#"{"Name":"n","IPAM":{"Config":{}}}"#,
            "object into Go struct field CreateRequest.IPAM.Config of type []network.IPAMConfig",
        ),
        (
            "/networks/x/connect",
            r#"{"Container":5}"#,
            "number into Go struct field ConnectOptions.Container of type string",
        ),
        (
            "/volumes/create",
            r#"{"Labels":{"a":true}}"#,
            "bool into Go struct field CreateOptions.Labels.a of type string",
        ),
        (
            "/secrets/create",
            r#"{"Name":[]}"#,
            "array into Go struct field SecretSpec.Name of type string",
        ),
    ] {
        let said = message(&ask(&daemon, "1.51", &format!("POST {request}"), body));
        assert_eq!(said, format!("400 invalid JSON: json: cannot unmarshal {want}"), "{body}");
    }
    // What is no JSON is told so first.
    assert_eq!(
        message(&ask(&daemon, "1.51", "POST /containers/create", r#"{"Tty":5,}"#)),
        "400 invalid JSON: invalid character '}' looking for beginning of object key string"
    );
    drop(daemon);
    sandbox.finish();
}

#[test]
fn who_has_joined_no_swarm_is_told_first_what_is_wrong() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-swarm");
    let daemon = Daemon::start(&sandbox);
    let told = |request: &str, body: &str| message(&ask(&daemon, "1.51", request, body));
    let number = "strconv.ParseUint: parsing";
    for (request, body, want) in [
        ("POST /swarm/update?version=1", "{", "400 invalid JSON: unexpected EOF".to_owned()),
        (
            "POST /swarm/update",
            "{}",
            format!("400 invalid swarm version '': {number} \"\": invalid syntax"),
        ),
        (
            "POST /swarm/update?version=1&rotateWorkerToken=x",
            "{}",
            "400 invalid value for rotateWorkerToken: x".into(),
        ),
        (
            "POST /services/x/update?version=99999999999999999999",
            "{}",
            format!(
                "400 invalid service version '99999999999999999999': {number} \
                 \"99999999999999999999\": value out of range"
            ),
        ),
        (
            "POST /services/create",
            "5",
            "400 invalid JSON: json: cannot unmarshal number into Go value of type swarm.ServiceSpec"
                .into(),
        ),
        ("POST /configs/x/update", "{}", "400 invalid config version".into()),
        ("GET /nodes?filters=x", "", "400 invalid filter".into()),
        (
            "GET /services?status=x",
            "",
            "400 invalid value for status: x: strconv.ParseBool: parsing \"x\": invalid syntax".into(),
        ),
        (
            "GET /services/x?insertDefaults=x",
            "",
            "400 invalid value for insertDefaults: x: strconv.ParseBool: parsing \"x\": invalid syntax"
                .into(),
        ),
        ("GET /tasks/x/logs", "", "400 Bad parameters: you must choose at least one stream".into()),
        ("POST /swarm/init", "x", "400 invalid JSON: invalid character 'x' looking for beginning of value".into()),
        ("POST /swarm/leave", "", "503 This node is not part of a swarm".into()),
        ("POST /swarm/nope", "", "404 page not found".into()),
    ] {
        assert_eq!(told(request, body), want, "{request} {body}");
    }
    for (request, body) in [
        ("POST /swarm/update?version=1", "{}"),
        ("POST /swarm/unlock", "{}"),
        ("POST /services/create", "{}"),
        ("POST /services/x/update?version=1", "{}"),
        ("GET /services?status=true", ""),
        ("GET /tasks/x/logs?stdout=1", ""),
        ("DELETE /nodes/x", ""),
    ] {
        let said = told(request, body);
        assert!(said.starts_with("503 This node is not a swarm manager."), "{request}: {said}");
    }
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_network_without_settings_is_refused() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-no-settings");
    let daemon = Daemon::start(&sandbox);
    let with = |endpoints: Value| {
        let networks = json!({"EndpointsConfig": endpoints});
        json!({"Image": "busybox", "Cmd": ["true"], "NetworkingConfig": networks}).to_string()
    };
    for (name, shown) in [("bridge", "bridge"), ("default", "bridge"), ("none", "none")] {
        assert_eq!(
            message(&ask(&daemon, "1.51", "POST /containers/create", &with(json!({name: null})))),
            format!("400 invalid config for network {shown}: EndpointsConfig is nil")
        );
    }
    for endpoints in [Value::Null, json!({}), json!({"bridge": {}})] {
        let made = ask(&daemon, "1.51", "POST /containers/create?name=one", &with(endpoints));
        assert_eq!(made.0, 201, "{}", made.1);
        sandbox.ok(&["rm", "one"]);
    }
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_commit_of_nothing_adds_no_layer() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-commit");
    let daemon = Daemon::start(&sandbox);
    let layers = |image: &str| {
        let request = format!("GET /images/{image}/json");
        value(&daemon, "1.51", &request, &Value::Null)["RootFS"]["Layers"].clone()
    };
    sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
    value(&daemon, "1.51", "POST /commit?container=one&repo=same", &json!({}));
    assert_eq!(layers("same"), layers("busybox"));
    let history = value(&daemon, "1.51", "GET /images/same/history", &Value::Null);
    assert_eq!((&history[0]["CreatedBy"], &history[0]["Size"]), (&json!("true"), &json!(0)));
    assert_eq!(sandbox.ok(&["run", "--rm", "same", "echo", "runs"]), "runs");
    // Also of one that has run, and changed nothing.
    sandbox.ok(&["run", "--name", "two", "busybox", "true"]);
    value(&daemon, "1.51", "POST /commit?container=two&repo=ran", &json!({}));
    assert_eq!(layers("ran"), layers("busybox"));
    sandbox.ok(&["run", "--name", "three", "same", "touch", "/new"]);
    value(&daemon, "1.51", "POST /commit?container=three&repo=more", &json!({}));
    let more = layers("more").as_array().unwrap().len();
    assert_eq!(more, layers("busybox").as_array().unwrap().len() + 1);
    sandbox.ok(&["rm", "one", "two", "three"]);
    sandbox.ok(&["rmi", "more", "same", "ran"]);
    sandbox.ok(&["system", "check"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn archives_of_proc() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-proc");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
    sandbox.ok(&["exec", "runs", "ln", "-s", "/loop", "/loop"]);
    sandbox.ok(&["create", "--name", "rests", "busybox", "true"]);
    let archive = |method: &str, container: &str, path: &str| {
        let request = format!("{method} /containers/{container}/archive?path={path}");
        message(&ask(&daemon, "1.51", &request, if method == "PUT" { "x" } else { "" }))
    };
    let gone = |container: &str, path: &str| {
        format!("404 Could not find the file {path} in container {container}")
    };
    for container in ["runs", "rests"] {
        for path in ["/proc/self", "/proc/thread-self", "/proc/self/status", "/proc/1/root/etc"] {
            assert_eq!(archive("GET", container, path), gone(container, path));
        }
        for path in ["/proc/self", "/proc/1/root"] {
            assert_eq!(archive("PUT", container, path), gone(container, path));
        }
    }
    // What leads nowhere in it is left out, and what there is of it is whole.
    let request = "GET /containers/runs/archive?path=/proc/1/ns";
    assert_eq!(ask(&daemon, "1.51", request, "").0, 200);
    for path in ["/proc", "/proc/1"] {
        assert_eq!(archive("PUT", "runs", path), "403 mounted volume is marked read-only");
    }
    assert_eq!(
        archive("GET", "runs", "/loop/x"),
        "500 lstat /loop/x: too many levels of symbolic links"
    );
    sandbox.ok(&["rm", "-f", "runs", "rests"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn names_of_a_container_that_does_not_run() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl);
    let sandbox = busybox("api-names");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["network", "create", "other"]);
    let request = json!({
        "Image": "busybox",
        "Cmd": ["sleep", "600"],
        "Hostname": "host",
        "HostConfig": {"NetworkMode": "net"},
        "NetworkingConfig": {"EndpointsConfig": {"net": {"Aliases": ["a"]}}},
    });
    let made = value(&daemon, "1.51", "POST /containers/create?name=one", &request);
    let short = &made["Id"].as_str().unwrap()[..12];
    let names = |network: &str| {
        let shown = value(&daemon, "1.51", "GET /containers/one/json", &Value::Null);
        shown["NetworkSettings"]["Networks"][network]["DNSNames"].clone()
    };
    assert_eq!(names("net"), Value::Null);
    sandbox.ok(&["start", "one"]);
    assert_eq!(names("net"), json!(["one", "a", short, "host"]));
    sandbox.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(names("net"), json!(["one", "a", short, "host"]));
    sandbox.ok(&["network", "connect", "--alias", "b", "other", "one"]);
    assert_eq!(names("other"), json!(["one", "b", short, "host"]));
    sandbox.ok(&["rm", "one"]);
    sandbox.ok(&["network", "rm", "net", "other"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn labels_that_somebody_said_there_are_none_of() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = crate::volumes::with_volumes("api-volumes");
    let daemon = Daemon::start(&sandbox);
    let none = json!({"Name": "none"});
    let empty = json!({"Name": "empty", "Labels": {}, "DriverOpts": {}});
    let null = json!({"Name": "null", "Labels": null, "DriverOpts": null});
    for (request, want) in [(&none, Value::Null), (&empty, json!({})), (&null, Value::Null)] {
        let made = value(&daemon, "1.51", "POST /volumes/create", request);
        let name = request["Name"].as_str().unwrap();
        let shown = value(&daemon, "1.51", &format!("GET /volumes/{name}"), &Value::Null);
        for one in [made, shown] {
            assert_eq!((&one["Labels"], &one["Options"]), (&want, &want), "{one}");
        }
    }
    let list = value(&daemon, "1.51", "GET /volumes", &Value::Null);
    let all = list["Volumes"].as_array().unwrap();
    let one = all.iter().find(|one| one["Name"] == "empty").unwrap();
    assert_eq!((&one["Labels"], &one["Options"]), (&json!({}), &json!({})));
    sandbox.ok(&["volume", "rm", "none", "empty", "null"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn networks_were_listed_with_those_who_are_in_them() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl);
    let sandbox = busybox("api-networks");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["network", "create", "net"]);
    let id =
        sandbox.ok(&["run", "-d", "--name", "one", "--network", "net", "busybox", "sleep", "600"]);
    let members = |version: &str| {
        let list = value(&daemon, version, "GET /networks", &Value::Null);
        let net = list.as_array().unwrap().iter().find(|one| one["Name"] == "net").unwrap();
        net["Containers"].clone()
    };
    assert_eq!(members("1.27")[&id]["Name"], "one");
    assert_eq!(members("1.28"), json!({}));
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.ok(&["network", "rm", "net"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_executed_says_how_to_leave_it() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-exec");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    let exec = |request: &Value| {
        let made = value(&daemon, "1.51", "POST /containers/one/exec", request);
        made["Id"].as_str().unwrap().to_owned()
    };
    let keys = |keys: &str| {
        let id = exec(&json!({"Cmd": ["true"], "DetachKeys": keys}));
        let shown = value(&daemon, "1.51", &format!("GET /exec/{id}/json"), &Value::Null);
        shown["DetachKeys"].as_str().unwrap().to_owned()
    };
    // Bytes, in base64.
    assert_eq!(
        (keys("ctrl-p,ctrl-q"), keys("a,b"), keys("")),
        ("EBE=".into(), "YWI=".into(), String::new())
    );
    let wrong = json!({"Cmd": ["true"], "DetachKeys": "zz"}).to_string();
    assert_eq!(
        message(&ask(&daemon, "1.51", "POST /containers/one/exec", &wrong)),
        "400 Invalid escape keys (zz) provided"
    );
    let resize =
        |id: &str| message(&ask(&daemon, "1.51", &format!("POST /exec/{id}/resize?h=40&w=40"), ""));
    let id = exec(&json!({"Cmd": ["true"]}));
    assert_eq!(resize(&id), "400 exec process is not started");
    value(&daemon, "1.51", &format!("POST /exec/{id}/start"), &json!({"Detach": true}));
    let ended = || {
        let shown = value(&daemon, "1.51", &format!("GET /exec/{id}/json"), &Value::Null);
        shown["ExitCode"] == 0
    };
    testkit::wait_until("it has ended", ended);
    assert_eq!(resize(&id), format!("404 NotFound: process does not exist {id}"));
    sandbox.ok(&["rm", "-f", "one"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_told_first_of_several_mistakes() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-first");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["create", "--name", "one", "--cpus", "0.5", "busybox", "true"]);
    let told = |request: &str, body: &str| message(&ask(&daemon, "1.51", request, body));
    for (body, want) in [
        (
            r#"{"CpuPeriod":1}"#,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            r#"{"NanoCpus":1,"CpuQuota":5000}"#,
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            r#"{"MemorySwappiness":200}"#,
            "Invalid value: 200, valid memory swappiness range is 0-100",
        ),
        (r#"{"CpusetCpus":"a"}"#, "Invalid value a for cpuset cpus: invalid format: a"),
    ] {
        assert_eq!(told("POST /containers/one/update", body), format!("400 {want}"));
    }
    assert_eq!(
        told("POST /containers/one/update", r#"{"CpuQuota":5000}"#),
        "409 Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
    );
    assert_eq!(told("POST /containers/nope/rename?name=%21", ""), "404 No such container: nope");
    for name in ["nope", "nope:1"] {
        let want = format!("404 No such image: {name}");
        assert_eq!(told(&format!("GET /images/{name}/get"), ""), want);
        assert_eq!(told(&format!("GET /images/get?names={name}"), ""), want);
    }
    let prune = |filters: &Value| {
        let filters = filters.to_string().replace('"', "%22");
        told(&format!("POST /build/prune?filters={filters}"), "")
    };
    let prefix = "400 failed to prune build cache:";
    assert_eq!(prune(&json!({"zz": ["1"]})), format!("{prefix} invalid filter 'zz'"));
    assert_eq!(
        prune(&json!({"until": ["24h"], "unused-for": ["1h"]})),
        format!("{prefix} conflicting filters: \"until\" and \"unused-for\"")
    );
    assert_eq!(
        prune(&json!({"unused-for": ["zz"]})),
        format!(
            "{prefix} \"unused-for\" filter expects a duration (e.g., '24h') or a timestamp: failed to \
             parse value as time or duration: \"zz\""
        )
    );
    sandbox.ok(&["rm", "one"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_shown_of_what_nobody_set() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Curl);
    let sandbox = busybox("api-unset");
    let daemon = Daemon::start(&sandbox);
    let get =
        |version: &str, path: &str| value(&daemon, version, &format!("GET {path}"), &Value::Null);
    // No container is made of it yet.
    let manifests = get("1.51", "/images/busybox/json?manifests=1")["Manifests"].clone();
    assert_eq!(manifests[0]["ImageData"]["Containers"], Value::Null, "{manifests}");
    // The image has no variables.
    sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
    assert_eq!(get("1.51", "/images/busybox/json")["Config"]["Env"], Value::Null);
    assert_eq!(get("1.51", "/containers/one/json")["Config"]["Env"], Value::Null);
    let driver = get("1.51", "/info")["Driver"].clone();
    let shown = get("1.51", "/images/busybox/json");
    assert_eq!(shown["GraphDriver"], json!({"Data": null, "Name": driver}));
    assert_eq!(get("1.52", "/images/busybox/json").get("GraphDriver"), None);
    let options = get("1.24", "/info")["SecurityOptions"].clone();
    assert!(options.as_array().unwrap().contains(&json!("seccomp")), "{options}");
    // Nothing leads out of an internal network.
    sandbox.ok(&["network", "create", "--internal", "net"]);
    sandbox.ok(&["run", "-d", "--name", "two", "--network", "net", "busybox", "sleep", "600"]);
    let shown = get("1.51", "/containers/two/json");
    assert_eq!(shown["NetworkSettings"]["Networks"]["net"]["Gateway"], "");
    sandbox.ok(&["rm", "-f", "one", "two"]);
    sandbox.ok(&["network", "rm", "net"]);
    drop(daemon);
    sandbox.finish();
}
