//! The API on TCP: with TLS, by which clients are known, and without.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use testkit::{Output, Sandbox, needs, wait_until};

use crate::busybox;

/// Two authorities, a certificate for 127.0.0.1 and one for a client of the first, one for a stranger of the second.
/// False where there is no openssl.
pub(crate) fn certificates(sandbox: &Sandbox) -> bool {
    let script = "exec 2>&1; set -e; mkdir certs; cd certs
        req() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\"; }
        sign() { openssl x509 -req -CAcreateserial -days 9 \"$@\"; }
        for ca in ca other; do req -x509 -days 9 -subj /CN=$ca -keyout $ca.key -out $ca.crt; done
        echo subjectAltName=IP:127.0.0.1 >server.ext
        echo extendedKeyUsage=clientAuth >client.ext
        cp client.ext stranger.ext
        for one in server client stranger; do
            ca=ca; test $one != stranger || ca=other
            req -subj /CN=$one -keyout $one.key -out $one.csr
            sign -in $one.csr -CA $ca.crt -CAkey $ca.key -extfile $one.ext -out $one.crt
        done";
    let made = sandbox.sh(&format!("cd {}; {script}", sandbox.work().display()));
    if made.code != 0 {
        testkit::skip("Openssl", &made.stdout);
    }
    made.code == 0
}

/// One of those files.
pub(crate) fn file(sandbox: &Sandbox, name: &str) -> String {
    sandbox.work().join("certs").join(name).display().to_string()
}

/// A daemon with these flags that listens on these ports of 127.0.0.1 or of all addresses, until it is dropped.
struct Daemon<'s> {
    sandbox: &'s Sandbox,
    child: Child,
}

impl<'s> Daemon<'s> {
    fn start(sandbox: &'s Sandbox, ports: &[u16], flags: &[&str]) -> Self {
        let mut command = sandbox.dhow_command(&["daemon"]);
        let child = command.args(flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap();
        for port in ports {
            // proc_net_tcp.rst: an address and a port in hexadecimal, and that it listens.
            let listens = format!("grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp");
            wait_until("it listens", || sandbox.sh(&listens).code == 0);
        }
        Self { sandbox, child }
    }

    /// One that clients of `ca.crt` may use on port 2376.
    fn with_tls(sandbox: &'s Sandbox, ports: &[u16], more: &[&str]) -> Self {
        let files = ["ca.crt", "server.crt", "server.key"].map(|name| file(sandbox, name));
        let [ca, cert, key] = &files;
        let flags = ["--tlsverify", "--tlscacert", ca, "--tlscert", cert, "--tlskey", key];
        Self::start(sandbox, ports, &[&flags[..], more].concat())
    }

    fn signal(&self, name: &str) {
        self.sandbox.sh(&format!("kill -{name} {}", self.child.id())).success();
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.sandbox.sh(&format!("kill -TERM {}", self.child.id()));
        let _ = self.child.wait();
    }
}

/// Asks over TLS, as who has the certificate `NAME.crt`, if any.
fn ask(sandbox: &Sandbox, who: Option<&str>, more: &[&str]) -> Output {
    let mut curl = sandbox.command("curl");
    curl.args(["-s", "-g", "-m", "20", "--cacert", &file(sandbox, "ca.crt")]);
    if let Some(who) = who {
        let of = |end: &str| file(sandbox, &format!("{who}.{end}"));
        curl.args(["--cert", &of("crt"), "--key", &of("key")]);
    }
    testkit::capture(curl.args(["-w", " %{http_code}"]).args(more))
}

#[test]
fn clients_are_known_by_their_certificates() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("tcp-tls");
    if !certificates(&sandbox) {
        return sandbox.discard();
    }
    sandbox.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]);
    let limited = "tcp://127.0.0.1:2377,allow=read";
    let more = ["-H", "tcp://0.0.0.0:2376", "--socket", limited];
    let daemon = Daemon::with_tls(&sandbox, &[2376, 2377], &more);
    let at = |port: u16, path: &str| format!("https://127.0.0.1:{port}{path}");
    let ping = at(2376, "/_ping");
    let known = ask(&sandbox, Some("client"), &[&ping]);
    assert_eq!(known.stdout, "OK 200", "{known:?}");
    for who in [None, Some("stranger")] {
        let stranger = ask(&sandbox, who, &[&ping]);
        assert!(stranger.code != 0 && stranger.stdout == " 000", "{who:?}: {stranger:?}");
    }
    // Nothing is said in the clear.
    let clear = ask(&sandbox, None, &["http://127.0.0.1:2376/_ping"]);
    assert!(!clear.stdout.contains("OK"), "{clear:?}");
    // The other port has the same certificates, and allows less.
    for (method, path, status) in [
        ("GET", "/containers/json", " 200"),
        ("POST", "/containers/web/stop", " 403"),
        ("GET", "/containers/web/export", " 403"),
    ] {
        let answer = ask(&sandbox, Some("client"), &["-X", method, &at(2377, path)]);
        assert!(answer.stdout.ends_with(status), "{method} {path}: {answer:?}");
    }
    assert_ne!(ask(&sandbox, None, &[&at(2377, "/_ping")]).code, 0);
    // A stream that is taken over, both ways, and its end.
    let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d"];
    let exec = r#"{"AttachStdin":true,"AttachStdout":true,"Cmd":["head","-n1"],"Tty":false}"#;
    let url = at(2376, "/containers/web/exec");
    let made = ask(&sandbox, Some("client"), &[&json[..], &[exec, &url]].concat());
    let id = made.stdout.split('"').nth(3).unwrap().to_owned();
    let request = format!(
        "POST /exec/{id}/start HTTP/1.1\\r\\nHost: d\\r\\nContent-Type: application/json\\r\\n\
         Content-Length: 2\\r\\nConnection: Upgrade\\r\\nUpgrade: tcp\\r\\n\\r\\n{{}}"
    );
    let script = format!(
        "cd {}; (printf '{request}'; sleep 0.3; echo through; sleep 2) | openssl s_client -quiet -connect \
         127.0.0.1:2376 -CAfile ca.crt -cert client.crt -key client.key 2>/dev/null",
        sandbox.work().join("certs").display()
    );
    let said = sandbox.sh(&script).stdout;
    assert!(said.starts_with("HTTP/1.1 101 UPGRADED") && said.contains("through"), "{said}");

    // Certificates are read again: from now on clients are those of the other authority.
    sandbox.sh(&format!("cp {} {}", file(&sandbox, "ca.crt"), file(&sandbox, "old.crt"))).success();
    let other = std::fs::read(file(&sandbox, "other.crt")).unwrap();
    std::fs::write(file(&sandbox, "ca.crt"), other).unwrap();
    daemon.signal("HUP");
    let by = |who: &str| {
        let mut curl = sandbox.command("curl");
        let of = |end: &str| file(&sandbox, &format!("{who}.{end}"));
        curl.args(["-s", "-m", "20", "--cacert", &file(&sandbox, "old.crt"), "--cert", &of("crt")]);
        testkit::capture(curl.args(["--key", &of("key"), &ping])).stdout
    };
    wait_until("the stranger is known", || by("stranger") == "OK");
    assert_eq!(by("client"), "");
    // What cannot be read changes nothing.
    std::fs::write(file(&sandbox, "ca.crt"), "nothing").unwrap();
    daemon.signal("HUP");
    assert_eq!(by("stranger"), "OK");
    drop(daemon);
    sandbox.ok(&["rm", "-f", "web"]);
    sandbox.finish();
}

/// Whoever connects and says nothing takes no place of those who are known.
#[test]
fn strangers_keep_nobody_out() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("tcp-strangers");
    if !certificates(&sandbox) {
        return sandbox.discard();
    }
    let daemon = Daemon::with_tls(&sandbox, &[2376], &["-H", "tcp://127.0.0.1:2376"]);
    // More than a port has connections.
    let come =
        "for i in $(seq 600); do exec {fd}<>/dev/tcp/127.0.0.1/2376; done; echo there; read line";
    let mut strangers = sandbox.command("bash");
    strangers.args(["-c", come]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut strangers = strangers.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(strangers.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    // Before their time is up.
    let known = ask(&sandbox, Some("client"), &["-m", "8", "https://127.0.0.1:2376/_ping"]);
    assert_eq!(known.stdout, "OK 200", "{known:?}");
    drop(strangers.stdin.take());
    strangers.wait().unwrap();
    drop(daemon);
    sandbox.finish();
}

#[test]
fn our_own_client_speaks_tls() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("tcp-own");
    if !certificates(&sandbox) {
        return sandbox.discard();
    }
    let daemon = Daemon::with_tls(&sandbox, &[2376], &["-H", "tcp://127.0.0.1:2376"]);
    let [ca, cert, key] = &["ca.crt", "client.crt", "client.key"].map(|name| file(&sandbox, name));
    let there = ["-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", ca];
    let known = [&there[..], &["--tlscert", cert, "--tlskey", key]].concat();
    let run = ["run", "--rm", "busybox", "echo", "hi"];
    assert_eq!(sandbox.ok(&[&known[..], &run].concat()), "hi");
    sandbox.ok(&[&known[..], &["run", "-d", "--name", "web", "busybox", "sleep", "600"]].concat());
    assert_eq!(sandbox.ok(&[&known[..], &["exec", "web", "echo", "in"]].concat()), "in");
    // The end of its input is not the end of the output.
    let script = "cat; sleep 0.5; echo out";
    let mut exec = sandbox
        .dhow_command(&[&known[..], &["exec", "-i", "web", "sh", "-c", script]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    exec.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let output = exec.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "through\nout\n");
    sandbox.ok(&[&known[..], &["rm", "-f", "web"]].concat());
    // Without a certificate, and with one of an engine that is another.
    assert_eq!(sandbox.dhow(&[&there[..], &["ps"]].concat()).code, 1);
    let other = file(&sandbox, "other.crt");
    let wrong = ["-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", &other, "ps"];
    let refused = sandbox.dhow(&wrong);
    assert!(refused.code == 1 && refused.stderr.contains("cannot connect"), "{refused:?}");
    drop(daemon);
    sandbox.finish();
}

#[test]
fn dockers_client_speaks_tls() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("tcp-docker");
    if !certificates(&sandbox) {
        return sandbox.discard();
    }
    let daemon = Daemon::with_tls(&sandbox, &[2376], &["--host", "tcp://127.0.0.1"]);
    let docker = |script: &str| {
        let files = ["ca.crt", "client.crt", "client.key"].map(|name| file(&sandbox, name));
        let [ca, cert, key] = &files;
        let flags = format!("--tlsverify --tlscacert {ca} --tlscert {cert} --tlskey {key}");
        let docker = format!("docker -H tcp://127.0.0.1:2376 {flags}");
        sandbox.sh(&script.replace("DOCKER", &docker)).success()
    };
    assert_eq!(docker("DOCKER run --rm busybox echo hi"), "hi\n");
    assert_eq!(docker("echo through | DOCKER run --rm -i busybox cat"), "through\n");
    docker("DOCKER run -d --name web busybox sleep 600");
    assert_eq!(docker("echo in | DOCKER exec -i web sh -c 'cat; echo out'"), "in\nout\n");
    assert!(docker("DOCKER ps").contains("web"));
    docker("DOCKER rm -f web");
    drop(daemon);
    sandbox.finish();
}

#[test]
fn what_others_reach_is_refused_unless_it_is_meant() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("tcp-open");
    for flags in [&["-H", "tcp://0.0.0.0:2375"][..], &["--socket", "tcp://[::]:2375,allow=read"]] {
        let refused = sandbox.dhow(&[&["daemon"][..], flags].concat());
        assert!(refused.code == 1 && refused.stderr.contains("--tlsverify"), "{refused:?}");
    }
    let missing = sandbox.dhow(&["daemon", "-H", "tcp://0.0.0.0:2376", "--tlsverify"]);
    assert!(missing.code == 1 && missing.stderr.contains(".pem"), "{missing:?}");
    let get = |more: &[&str]| ask_plainly(&sandbox, more);
    let daemon = Daemon::start(&sandbox, &[2375], &["--tls=false", "-H", "tcp://0.0.0.0:2375"]);
    assert_eq!(get(&["http://127.0.0.1:2375/_ping"]), "OK 200");
    let prune = "http://127.0.0.1:2375/containers/prune";
    let page = get(&["-X", "POST", "-H", "Origin: http://evil.example", prune]);
    assert!(page.ends_with(" 403"), "{page}");
    drop(daemon);

    // On loopback it is enough to be a program; web pages are kept out. By the file of settings this time.
    let config = sandbox.work().join("daemon.json");
    std::fs::write(&config, r#"{"hosts": ["tcp://127.0.0.1:2375"]}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", config.to_str().unwrap());
    let daemon = Daemon::start(&sandbox, &[2375], &[]);
    assert_eq!(get(&["http://127.0.0.1:2375/_ping"]), "OK 200");
    let info = get(&["http://127.0.0.1:2375/v1.47/info"]);
    assert!(
        info.contains("API is accessible on http://127.0.0.1:2375 without encryption"),
        "{info}"
    );
    for page in ["Host: evil.example", "Origin: http://evil.example"] {
        let answer = get(&["-X", "POST", "-H", page, "http://127.0.0.1:2375/containers/prune"]);
        assert!(answer.ends_with(" 403"), "{page}: {answer}");
    }
    // Who follows events, and leaves, is noticed.
    get(&["-m", "1", "http://127.0.0.1:2375/events"]);
    let ended = "! grep -q ':0947 0100007F:.... 0[18]' /proc/net/tcp";
    wait_until("the connection is closed", || sandbox.sh(ended).code == 0);
    drop(daemon);
    sandbox.unset_env("DHOW_CONFIG");
    sandbox.finish();
}

fn ask_plainly(sandbox: &Sandbox, more: &[&str]) -> String {
    let mut curl = sandbox.command("curl");
    curl.args(["-s", "-m", "20", "-w", " %{http_code}"]).args(more);
    testkit::capture(&mut curl).stdout
}
