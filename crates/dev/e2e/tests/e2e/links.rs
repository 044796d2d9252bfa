//! Containers that know of each other: links, shared memory, namespaces.

use crate::busybox;
use testkit::{needs, wait_until};

#[test]
fn a_linked_container_is_known_by_name_and_by_variables() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("links");
    let db = ["run", "-d", "--name", "db", "--expose", "80", "-e", "FOO=bar", "busybox"];
    sandbox.ok(&[&db[..], &["sleep", "600"]].concat());
    let show = "env | grep ^STORE; cat /etc/hosts; ping -c1 store";
    let told = sandbox.ok(&["run", "--rm", "--link", "db:store", "busybox", "sh", "-c", show]);
    for wanted in ["STORE_PORT=tcp://", "STORE_ENV_FOO=bar", "store", "1 packets received"] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }

    sandbox.ok(&["run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "600"]);
    let links = ["inspect", "-f", "{{json .HostConfig.Links}}", "web"];
    assert_eq!(sandbox.ok(&links), r#"["/db:/web/store"]"#);
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.Name}}", "/web/store"]), "/db");
    sandbox.ok(&["rm", "--link", "/web/store"]);
    assert_eq!(sandbox.ok(&links), "null");
    let hosts = sandbox.ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("store"), "{hosts}");
    assert_eq!(sandbox.dhow(&["rm", "--link", "web"]).code, 1);

    sandbox.ok(&["rm", "-f", "db", "web"]);
    sandbox.ok(&["create", "--name", "db", "busybox", "true"]);
    let refused = sandbox.dhow(&["run", "--rm", "--link", "db", "busybox", "true"]);
    assert!(refused.stderr.contains("Cannot link to a non running container"), "{refused:?}");
    sandbox.ok(&["rm", "db"]);
    sandbox.finish();
}

#[test]
fn where_neighbours_are_kept_apart_a_link_opens_ports() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("links-apart");
    let file = sandbox.work().join("daemon.json");
    std::fs::write(&file, r#"{"icc": false}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", &file.display().to_string());
    let serve = |port: u16| format!("while :; do echo port {port} | nc -l -p {port}; done");
    let script = format!("{} & {}", serve(80), serve(81));
    let db =
        ["run", "-d", "--name", "db", "--expose", "80", "busybox", "sh", "-c", script.as_str()];
    sandbox.ok(&db);
    let sleep = ["busybox", "sleep", "600"];
    let linked = ["run", "-d", "--name", "web", "--link", "db:store"];
    sandbox.ok(&[&linked[..], &sleep].concat());
    sandbox.ok(&[&["run", "-d", "--name", "other"][..], &sleep].concat());
    let ask = |name: &str, port: u16| {
        let address = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
        let address = sandbox.ok(&["inspect", "-f", address, "db"]);
        let ask = format!("nc -w 1 {address} {port} </dev/null");
        sandbox.dhow(&["exec", name, "sh", "-c", &ask]).stdout
    };
    wait_until("the link leads to a port", || ask("web", 80) == "port 80\n");
    assert_eq!((ask("web", 81), ask("other", 80)), (String::new(), String::new()));
    // Started again, it is who it was, and so it is once the other one was.
    for name in ["db", "web"] {
        sandbox.ok(&["restart", "-t", "0", name]);
        wait_until(&format!("it leads there again, with {name}"), || ask("web", 80) == "port 80\n");
    }
    sandbox.ok(&["rm", "--link", "/web/store"]);
    assert_eq!(ask("web", 80), "");
    sandbox.ok(&["rm", "-f", "db", "web", "other"]);
    // And as it was, where nothing is set any more and nobody is in it.
    sandbox.unset_env("DHOW_CONFIG");
    let icc = "{{index .Options \"com.docker.network.bridge.enable_icc\"}}";
    wait_until("its containers are not kept apart any more", || {
        sandbox.ok(&["run", "--rm", "busybox", "true"]);
        sandbox.ok(&["network", "inspect", "-f", icc, "bridge"]) == "true"
    });
    // The bridge was taken down for it, and is made by who is the next in it.
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.finish();
}

#[test]
fn a_link_on_the_default_network_leads_to_who_is_there() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("links-elsewhere");
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["run", "-d", "--name", "db", "--network", "net", "busybox", "sleep", "600"]);
    let linked = ["run", "--rm", "--link", "db:store", "busybox", "ping", "-c1", "store"];
    let refused = sandbox.dhow(&linked);
    let why = "Cannot link to /db, as it does not belong to the default network";
    assert!(refused.stderr.contains(why), "{refused:?}");
    sandbox.ok(&["network", "connect", "bridge", "db"]);
    sandbox.ok(&linked);
    let itself = ["run", "--name", "me", "--network", "container:me", "busybox", "true"];
    let refused = sandbox.dhow(&itself);
    assert!(refused.stderr.contains("cannot join own network namespace"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "db", "me"]);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn a_link_in_a_network_is_this_containers_alone() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-links");
    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["run", "-d", "--name", "db", "--network", "net", "busybox", "sleep", "600"]);
    let ping = ["busybox", "ping", "-c1", "store"];
    let linked = ["run", "--rm", "--network", "net", "--link", "db:store"];
    sandbox.ok(&[&linked[..], &ping].concat());
    let other = [&["run", "--rm", "--network", "net"][..], &ping].concat();
    assert_eq!(sandbox.dhow(&other).code, 1);
    sandbox.ok(&["rm", "-f", "db"]);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn shared_memory_is_shared_by_who_shares_it() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("ipc");
    let donor = ["run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "1m"];
    sandbox.ok(&[&donor[..], &["busybox", "sleep", "600"]].concat());
    sandbox.ok(&["exec", "donor", "sh", "-c", "echo shared >/dev/shm/file"]);
    let show = "cat /dev/shm/file; readlink /proc/self/ns/ipc";
    let joined = ["run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", show];
    let namespace = sandbox.ok(&["exec", "donor", "readlink", "/proc/self/ns/ipc"]);
    assert_eq!(sandbox.ok(&joined), format!("shared\n{namespace}"));
    sandbox.ok(&["run", "-d", "--name", "private", "busybox", "sleep", "600"]);
    let refused = sandbox.dhow(&["run", "--rm", "--ipc", "container:private", "busybox", "true"]);
    assert!(refused.stderr.contains("non-shareable IPC"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "donor", "private"]);
    sandbox.finish();
}
