//! Networks: addresses, names, published ports, the way out.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::{busybox, inspect};
use testkit::{Sandbox, needs, wait_until};

/// A container that answers each connection to port 80 with its host name.
fn server(sandbox: &Sandbox, args: &[&str]) {
    let script = "while :; do hostname | nc -l -p 80; done";
    sandbox.ok(&[&["run", "-d"], args, &["busybox", "sh", "-c", script]].concat());
}

fn address(sandbox: &Sandbox, name: &str, network: &str) -> String {
    let info = inspect(sandbox, name);
    let address = info["NetworkSettings"]["Networks"][network]["IPAddress"].as_str();
    address.unwrap_or_else(|| panic!("{name} has no address on {network}: {info}")).to_owned()
}

#[test]
fn the_host_reaches_a_container_by_address_and_by_published_port() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-publish");
    server(&sandbox, &["--name", "web", "--hostname", "web", "-p", "8080:80"]);
    let address = address(&sandbox, "web", "bridge");
    for target in
        [format!("{address} 80"), "127.0.0.1 8080".to_owned(), "localhost 8080".to_owned()]
    {
        wait_until(&format!("{target} answers"), || {
            sandbox.sh(&format!("busybox nc -w 1 {target} </dev/null")).stdout == "web\n"
        });
    }
    assert_eq!(sandbox.ok(&["port", "web", "80"]).lines().next(), Some("0.0.0.0:8080"));
    let shown = sandbox.ok(&["ps", "--format", "{{.Ports}}"]);
    assert!(shown.contains("0.0.0.0:8080->80/tcp"), "{shown}");
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.finish();
}

#[test]
fn the_default_bridge_is_the_machine_for_who_is_elsewhere() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-default-bridge");
    let text = sandbox.ok(&["network", "inspect", "bridge"]);
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bridge = shown[0]["Options"]["com.docker.network.bridge.name"].as_str().unwrap();
    let gateway = shown[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap();
    // As at the first start of the machine.
    sandbox.sh(&format!("ip link del {bridge}")).success();
    sandbox.ok(&["network", "create", "net"]);
    let asks =
        ["run", "--rm", "--network", "net", "busybox", "ping", "-c", "1", "-W", "2", gateway];
    sandbox.ok(&asks);
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn a_port_is_given_out_once() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-taken");
    server(&sandbox, &["--name", "one", "-p", "8080:80"]);
    let refused = sandbox.dhow(&["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("port is already allocated"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "one"]);
    sandbox.ok(&["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    sandbox.finish();
}

#[test]
fn containers_reach_each_other() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-each-other");
    server(&sandbox, &["--name", "web"]);
    let address = address(&sandbox, "web", "bridge");
    assert_eq!(
        sandbox.dhow(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "2", &address]).code,
        0
    );

    sandbox.ok(&["network", "create", "backend"]);
    server(
        &sandbox,
        &["--name", "db", "--hostname", "db", "--network", "backend", "--network-alias", "store"],
    );
    for name in ["db", "store", "db.backend", "Store.Backend"] {
        let script = format!(
            "for i in $(seq 100); do nc -w 1 {name} 80 </dev/null && exit 0; sleep 0.1; done; exit 1"
        );
        let said =
            sandbox.dhow(&["run", "--rm", "--network", "backend", "busybox", "sh", "-c", &script]);
        assert_eq!((said.code, said.stdout.as_str()), (0, "db\n"), "{name}: {said:?}");
    }
    // Who joins one that has joined another has the last one's files.
    for (name, of) in [("beside", "db"), ("behind", "beside")] {
        let joined = format!("container:{of}");
        sandbox.ok(&["run", "-d", "--name", name, "--network", &joined, "busybox", "sleep", "600"]);
    }
    let hosts = |name: &str| sandbox.ok(&["exec", name, "cat", "/etc/hosts"]);
    assert_eq!(hosts("behind"), hosts("db"));
    // What an image exposes was not asked for; what a person exposes has no place there.
    sandbox.ok(&["commit", "--change", "EXPOSE 80", "db", "exposing"]);
    let join = ["run", "--rm", "--network", "container:db"];
    assert_eq!(sandbox.ok(&[&join[..], &["exposing", "echo", "up"]].concat()), "up");
    let refused = sandbox.dhow(&[&join[..], &["--expose", "80", "busybox", "true"]].concat());
    let why = "port exposing and the container type network mode";
    assert!(refused.stderr.contains(why), "{refused:?}");
    sandbox.ok(&["rmi", "exposing"]);
    sandbox.ok(&["rm", "-f", "beside", "behind"]);
    let full = [
        "run",
        "--rm",
        "--hostname",
        "one.example.org",
        "busybox",
        "grep",
        "example",
        "/etc/hosts",
    ];
    assert!(sandbox.ok(&full).ends_with("\tone.example.org one"));
    // Two networks do not see each other, and the default one has no names.
    let db = self::address(&sandbox, "db", "backend");
    assert_ne!(
        sandbox.dhow(&["run", "--rm", "busybox", "ping", "-c", "1", "-W", "1", &db]).code,
        0
    );
    assert_ne!(sandbox.dhow(&["run", "--rm", "busybox", "nslookup", "db"]).code, 0);

    let refused = sandbox.dhow(&["network", "rm", "backend"]);
    assert!(refused.code == 1 && refused.stderr.contains("active endpoints"), "{refused:?}");
    sandbox.ok(&["rm", "-f", "web", "db"]);
    sandbox.ok(&["network", "rm", "backend"]);
    sandbox.finish();
}

#[test]
fn rules_that_another_version_has_made_are_made_anew() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-ruled");
    sandbox.ok(&["network", "create", "net"]);
    let rules = || sandbox.sh("nft list ruleset").stdout;
    let before = rules();
    let spoil = r"for table in $(nft list tables | sed -n 's/^table ip \(.*-net-.*\)/\1/p'); do
        chain=$(nft list table ip $table | sed -n 's/.*chain \(rules-[^ ]*\) .*/\1/p')
        nft delete chain ip $table $chain && nft flush chain ip $table forward || exit 1
    done";
    sandbox.sh(spoil).success();
    let spoilt = rules();
    assert_ne!(spoilt, before);
    // The same program takes its own for what they were.
    sandbox.ok(&["ps"]);
    assert_eq!(rules(), spoilt);
    std::fs::write(sandbox.state().join("networks.ruled"), "another one").unwrap();
    sandbox.ok(&["ps"]);
    assert_eq!(rules(), before);
    // But not for those of a network that a container is to be in.
    sandbox.sh(spoil).success();
    for network in ["bridge", "net"] {
        sandbox.ok(&["run", "--rm", "--network", network, "busybox", "true"]);
    }
    assert_eq!(rules(), before);
    // Nor is anybody kept from anything where it cannot be noted.
    let noted = sandbox.state().join("networks.ruled");
    std::fs::remove_file(&noted).unwrap();
    std::fs::create_dir(&noted).unwrap();
    sandbox.sh(spoil).success();
    sandbox.ok(&["ps"]);
    assert_eq!(rules(), before);
    std::fs::remove_dir(&noted).unwrap();
    sandbox.ok(&["network", "rm", "net"]);
    sandbox.finish();
}

#[test]
fn what_goes_out_bears_the_hosts_address() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-out");
    // A neighbour of the host: a namespace of its own behind a link, without a way back to the
    // container's network. Only a translated packet gets an answer.
    let script = "unshare -n sleep 30 >/dev/null 2>&1 </dev/null & outside=$!; \
        while [ $(readlink /proc/$outside/ns/net) = $(readlink /proc/$$/ns/net) ]; do sleep 0.01; done; \
        inside() { nsenter --net=/proc/$outside/ns/net -- \"$@\"; }; \
        ip link add out0 type veth peer name out1 netns $outside; \
        ip addr add 198.51.100.1/24 dev out0; ip link set out0 up; \
        inside ip link set lo up; inside ip addr add 198.51.100.2/24 dev out1; inside ip link set out1 up; \
        echo $outside";
    let outside = sandbox.sh(script).success();
    let ping = ["run", "--rm", "busybox", "ping", "-c", "1", "-W", "2", "198.51.100.2"];
    assert_eq!(sandbox.dhow(&ping).code, 0);
    sandbox.sh(&format!("ip link del out0; kill {outside}"));
    sandbox.finish();
}

#[test]
fn none_and_host() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-none-host");
    let links = "ls /sys/class/net | tr '\\n' ' '; ip -o addr | grep -c 'inet '";
    assert_eq!(
        sandbox.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", links]),
        "lo 1"
    );
    let inside = sandbox.ok(&[
        "run",
        "--rm",
        "--network",
        "host",
        "busybox",
        "readlink",
        "/proc/self/ns/net",
    ]);
    let outside = std::fs::read_link(format!("/proc/{}/ns/net", sandbox.host_pid())).unwrap();
    assert_eq!(inside, outside.to_string_lossy());
    sandbox.finish();
}

#[test]
fn a_program_of_the_machine_that_holds_the_port_is_respected() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-held");
    sandbox.sh("busybox nc -l -p 8080 >/dev/null 2>&1 </dev/null &").success();
    // proc_net_tcp.rst: an address and a port in hexadecimal, and that it listens.
    let listens = "cat /proc/net/tcp /proc/net/tcp6 | grep -q ':1F90 0*:0000 0A'";
    wait_until("it listens", || sandbox.sh(listens).code == 0);
    let refused = sandbox.dhow(&["run", "--rm", "-p", "8080:80", "busybox", "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.stderr.contains("8080"), "{refused:?}");
    // Let it go: it waits for one connection.
    sandbox.sh("echo x | busybox nc -w 1 127.0.0.1 8080");
    sandbox.finish();
}

#[test]
fn host_networking_serves_on_the_hosts_own_ports() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("network-host-serves");
    server(&sandbox, &["--name", "web", "--network", "host"]);
    wait_until("the host's port answers", || {
        !sandbox.sh("busybox nc -w 1 127.0.0.1 80 </dev/null").stdout.is_empty()
    });
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.finish();
}

#[test]
fn the_machines_own_ports_are_not_the_sandboxs() {
    // What holds all of these tests: the sandbox is no part of the machine's network.
    needs!(Root, Netns);
    let sandbox = Sandbox::new("network-apart");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"machine");
            let _ = stream.read(&mut [0]);
        }
    });
    let said = sandbox.sh(&format!("timeout 1 bash -c 'cat < /dev/tcp/127.0.0.1/{port}'"));
    assert_eq!(said.stdout, "");
    sandbox.finish();
}
