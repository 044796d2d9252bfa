//! What a client of the API sees of a container, as it sees it of Docker's (28.5.2, asked the same).

use serde_json::{Value, json};
use testkit::needs;

use crate::api::{ask, message, value};
use crate::busybox;
use crate::docker_client::Daemon;
use crate::volumes::with_volumes;

#[test]
fn what_nobody_said_anything_of() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-unsaid");
    let daemon = Daemon::start(&sandbox);
    let request = json!({
        "Image": "busybox",
        "Cmd": ["sleep", "600"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"NetworkMode": "none", "CapAdd": "NET_ADMIN"},
    });
    value(&daemon, "1.51", "POST /containers/create?name=one", &request);
    let look = || value(&daemon, "1.51", "GET /containers/one/json?size=1", &Value::Null);
    let shown = look();
    assert_eq!(shown["Config"]["Entrypoint"], Value::Null);
    assert_eq!(shown["Config"]["Labels"], json!({}));
    assert_eq!(shown["HostConfig"]["LogConfig"]["Config"], json!({}));
    // One word is a list of one.
    assert_eq!(shown["HostConfig"]["CapAdd"], json!(["NET_ADMIN"]));
    // No file is written yet, and directories count for nothing.
    assert_eq!(shown["SizeRw"], 0);
    let list = || value(&daemon, "1.51", "GET /containers/json?all=1&size=1", &Value::Null);
    assert_eq!(list()[0].get("SizeRw"), None);
    sandbox.ok(&["start", "one"]);
    sandbox.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "mkdir /new; printf 12345 >/new/file; ln /new/file /new/name",
    ]);
    assert_eq!((&look()["SizeRw"], &list()[0]["SizeRw"]), (&json!(5), &json!(5)));
    // Nobody reaches its ports.
    assert_eq!(look()["NetworkSettings"]["Ports"], json!({}));
    assert_eq!(list()[0]["Ports"], json!([]));
    sandbox.ok(&["rm", "-f", "one"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_is_done_to_a_container() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-done");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "one", "-u", "65534", "busybox", "sleep", "600"]);
    let state = || {
        let shown = value(&daemon, "1.51", "GET /containers/one/json", &Value::Null);
        shown["State"]["Status"].as_str().unwrap().to_owned()
    };
    let refused = |request: &str| message(&ask(&daemon, "1.51", request, ""));
    // Of another user's process as well.
    let top = value(&daemon, "1.51", "GET /containers/one/top?ps_args=-o%20pid,comm", &Value::Null);
    assert_eq!(top["Processes"][0][1], "sleep", "{top}");
    // Who wants none of the streams has had all of them.
    assert_eq!(ask(&daemon, "1.51", "POST /containers/one/attach?stream=1", "").0, 200);
    // A signal that may end it is to be seen.
    sandbox.ok(&["pause", "one"]);
    assert_eq!(ask(&daemon, "1.51", "POST /containers/one/kill?signal=WINCH", "").0, 204);
    assert_eq!(state(), "running");
    assert_eq!(
        refused("POST /containers/one/stop?signal=FOO"),
        "400 cannot stop container: one: invalid signal: FOO"
    );
    assert_eq!(
        refused("POST /containers/one/restart?signal=FOO"),
        "400 Cannot restart container one: invalid signal: FOO"
    );
    sandbox.ok(&["create", "--name", "two", "busybox", "true"]);
    let said = refused("POST /containers/two/rename?name=one");
    assert!(
        said.starts_with("409 Error when allocating new name: Conflict. The container name"),
        "{said}"
    );
    assert_eq!(
        value(&daemon, "1.51", "POST /containers/one/update", &json!({"CpuShares": 100})),
        json!({"Warnings": null})
    );
    sandbox.ok(&["rm", "-f", "one", "two"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn an_address_is_in_a_range_of_the_network() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-address");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["network", "create", "--subnet", "10.19.0.0/24", "net"]);
    sandbox.ok(&["create", "--name", "one", "busybox", "true"]);
    let refused = |settings: Value| {
        let body = json!({"Container": "one", "EndpointConfig": settings}).to_string();
        message(&ask(&daemon, "1.51", "POST /networks/net/connect", &body))
    };
    assert_eq!(
        refused(json!({"IPAMConfig": {"IPv4Address": "1.2.3.4"}})),
        "400 invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 1.2.3.4"
    );
    assert_eq!(
        refused(json!({"IPAMConfig": {"LinkLocalIPs": ["x"]}})),
        "400 invalid endpoint settings:\ninvalid link-local IP address: x"
    );
    assert_eq!(refused(json!({"MacAddress": "zz"})), "400 invalid MAC address zz");
    // Of what is made anew with other ranges nobody asks for an address; nor for those that are no host's.
    sandbox.ok(&["network", "create", "any"]);
    let any = value(&daemon, "1.51", "GET /networks/any", &Value::Null);
    let gateway = any["IPAM"]["Config"][0]["Gateway"].as_str().unwrap();
    let inside = format!("{}9", gateway.strip_suffix('1').unwrap());
    let body =
        json!({"Container": "one", "EndpointConfig": {"IPAMConfig": {"IPv4Address": inside}}});
    assert_eq!(
        message(&ask(&daemon, "1.51", "POST /networks/any/connect", &body.to_string())),
        "400 invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks \
         with user configured subnets"
    );
    let shown = value(&daemon, "1.51", "GET /containers/one/json", &Value::Null);
    assert_eq!(shown["NetworkSettings"]["Networks"].get("net"), None);
    // A range that nobody gets an address of is one as well.
    sandbox.ok(&["network", "create", "--subnet", "fd00:19::/64", "idle"]);
    sandbox.ok(&["network", "connect", "--ip6", "fd00:19::7", "idle", "one"]);
    sandbox.ok(&["start", "one"]);
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.ok(&["network", "rm", "net", "idle", "any"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_commit_adds_to_the_labels() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("api-labels");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["create", "--name", "one", "-l", "a=b", "busybox", "true"]);
    let with = json!({"Labels": {"c": "d"}});
    value(&daemon, "1.51", "POST /commit?container=one&repo=made:1&tag=2", &with);
    // Of two tags the parameter's.
    let image = value(&daemon, "1.51", "GET /images/made:2/json", &Value::Null);
    assert_eq!(image["Config"]["Labels"], json!({"a": "b", "c": "d"}));
    sandbox.ok(&["rm", "one"]);
    sandbox.ok(&["rmi", "made:2"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn a_start_that_fails_is_somebodys_mistake() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = with_volumes("api-starts");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["network", "create", "--subnet", "10.19.0.0/24", "net"]);
    let up =
        ["run", "-d", "--name", "up", "--network", "net", "--ip", "10.19.0.9", "-p", "5055:80"];
    sandbox.ok(&[&up[..], &["busybox", "sleep", "600"]].concat());
    sandbox.ok(&["create", "--name", "down", "busybox", "true"]);
    let ip = |address: &str| json!({"net": {"IPAMConfig": {"IPv4Address": address}}});
    let sub = |path: &str| json!({"Type": "volume", "Source": "vol", "Target": "/v", "VolumeOptions": {"Subpath": path}});
    for (host, endpoints, code, want) in [
        (
            json!({"NetworkMode": "nope"}),
            json!({}),
            128,
            "404 failed to set up container networking: network nope not found",
        ),
        (
            json!({"NetworkMode": "container:down"}),
            json!({}),
            128,
            "409 cannot join network namespace of a non running container: container down is created",
        ),
        (json!({"IpcMode": "container:down"}), json!({}), 128, "409 failed to join IPC namespace"),
        (json!({"IpcMode": "container:up"}), json!({}), 128, "400 failed to join IPC namespace"),
        (json!({"PidMode": "container:down"}), json!({}), 128, "500 failed to join PID namespace"),
        (
            json!({"NetworkMode": "net"}),
            ip("10.19.0.9"),
            128,
            "403 failed to set up container networking: Address already in use",
        ),
        (
            json!({"NetworkMode": "net"}),
            ip("10.19.0.0"),
            128,
            "403 failed to set up container networking: Address already in use",
        ),
        (
            json!({"PortBindings": {"80/tcp": [{"HostPort": "5055"}]}}),
            json!({}),
            128,
            "500 failed to set up container networking: driver failed programming external connectivity on \
             endpoint one (",
        ),
        (json!({"Mounts": [sub("nope")]}), json!({}), 128, "404 cannot access path nope: "),
        // Docker's words for what it takes for a program that is not there.
        (json!({"Binds": ["/etc/passwd:/bin"]}), json!({}), 127, "400 failed to create task"),
    ] {
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": endpoints}});
        value(&daemon, "1.51", "POST /containers/create?name=one", &body);
        let said = message(&ask(&daemon, "1.51", "POST /containers/one/start", ""));
        assert!(said.starts_with(want), "{body}: {said}");
        let shown = value(&daemon, "1.51", "GET /containers/one/json", &Value::Null);
        assert_eq!(shown["State"]["ExitCode"], code, "{body}");
        sandbox.ok(&["rm", "one"]);
    }
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "net"},
        "NetworkingConfig": {"EndpointsConfig": ip("10.18.0.9")}});
    assert_eq!(
        message(&ask(&daemon, "1.51", "POST /containers/create?name=one", &body.to_string())),
        "400 invalid config for network net: invalid endpoint settings:\n\
         no configured subnet or ip-range contain the IP address 10.18.0.9"
    );
    sandbox.ok(&["rm", "-f", "up", "down"]);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    drop(daemon);
    sandbox.finish();
}
