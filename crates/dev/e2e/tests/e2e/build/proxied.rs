//! Programs that reach others through a proxy alone (`dhow build --proxy-network`).

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::{Sandbox, needs, wait_until};

use super::{Background, built, carried_out, context, dhow, tidy};
use crate::busybox;

const POLICY: &str = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY";

/// Serves the sandbox's folder `www`, at `address:port` of the machine.
fn serve(sandbox: &Sandbox, address: &str, port: u16) -> Background {
    let folder = sandbox.work().join("www");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("word"), "a word\n").unwrap();
    let mut command = sandbox.command("busybox");
    command.args(["httpd", "-f", "-p", &format!("{address}:{port}"), "-h"]).arg(&folder);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let listens = format!("grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp");
    wait_until("the server listens", || sandbox.sh(&listens).code == 0);
    Background(child)
}

/// The machine's address on the network of steps.
fn gateway(sandbox: &Sandbox) -> String {
    // It is there once somebody was on it.
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    let shown: Value =
        serde_json::from_str(&sandbox.ok(&["network", "inspect", "bridge"])).unwrap();
    shown[0]["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().to_owned()
}

/// What is attested of a build with these arguments.
fn attested(sandbox: &Sandbox, dir: &std::path::Path, args: &[&str]) -> (Value, String) {
    let about = sandbox.work().join("about.json");
    let usual =
        ["--proxy-network", "--provenance=mode=max", "--metadata-file", about.to_str().unwrap()];
    let told = built(sandbox, dir, &[&usual[..], args].concat());
    let about: Value = serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
    (about["buildx.build.provenance"].clone(), told)
}

/// The digest of something that a build was made of.
fn material(says: &Value, uri: &str) -> Option<String> {
    let all = says["buildDefinition"]["resolvedDependencies"].as_array()?;
    let one = all.iter().find(|one| one["uri"] == uri)?;
    Some(one["digest"]["sha256"].as_str()?.to_owned())
}

#[test]
fn what_steps_ask_for_is_judged_and_noted() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-proxied");
    let gateway = gateway(&sandbox);
    let server = serve(&sandbox, "0.0.0.0", 8001);
    let at = format!("http://{gateway}:8001");
    let base = "FROM busybox\nRUN mkdir -p /etc/ssl/certs && cd /etc/ssl/certs && \
        echo mine > ca-certificates.crt && chmod 640 ca-certificates.crt\n";
    built(&sandbox, &context(&sandbox, "base", &[("Dockerfile", base)]), &["-t", "base"]);
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let dockerfile = format!(
        "FROM base
RUN wget -q -O /got {at}/word
RUN env | grep -ci '^https*_proxy=http://127.0.0.1:' > /said; ls /sys/class/net >> /said; \
    grep -c 'buildkit proxy CA begin' {bundle} >> /said; echo yours >> {bundle}
RUN unset http_proxy HTTP_PROXY; wget -O- {at}/word 2>&1 | grep -i unreachable
RUN --network=none ! env | grep -i '^http_proxy=' && ! grep 'buildkit proxy' {bundle}
"
    );
    let dir = context(&sandbox, "context", &[("Dockerfile", &dockerfile)]);
    let (says, told) = attested(&sandbox, &dir, &["-t", "made"]);
    assert!(told.contains(&format!("- GET {at}/word -> 200")), "{told}");
    let show = |what: &str| sandbox.ok(&["run", "--rm", "made", "sh", "-c", what]);
    assert_eq!(show("cat /got"), "a word");
    assert_eq!(show("cat /said"), "4\nlo\n1");
    // Nothing of the authority stays, and all that the step has written does.
    assert_eq!(show(&format!("cat {bundle}; stat -c %a {bundle}")), "mine\nyours\n640");
    let digest = oci::Digest::sha256(b"a word\n").hex().to_owned();
    assert_eq!(material(&says, &format!("{at}/word")), Some(digest.clone()), "{says}");
    let network = &says["runDetails"]["metadata"]["buildkit_metadata"]["network"];
    assert_eq!(network, &json!({ "mode": "proxy" }), "{says}");
    assert_eq!(says["runDetails"]["metadata"]["buildkit_hermetic"], Value::Null, "{says}");

    // What was found again was made of the same.
    let (says, told) = attested(&sandbox, &dir, &["-t", "made"]);
    assert!(carried_out(&told).is_empty(), "{told}");
    assert_eq!(material(&says, &format!("{at}/word")), Some(digest.clone()), "{says}");

    // With a network, it is another step.
    let dockerfile = "FROM base\nRUN env | grep -c '^http_proxy=' > /n || true\n";
    let dir = context(&sandbox, "apart", &[("Dockerfile", dockerfile)]);
    for (args, n) in [(&["-t", "apart", "--proxy-network"][..], "1"), (&["-t", "apart"], "0")] {
        built(&sandbox, &dir, args);
        assert_eq!(sandbox.ok(&["run", "--rm", "apart", "cat", "/n"]), n, "{args:?}");
    }
    // The machine may say that all builds are such.
    let config = sandbox.work().join("daemon.json");
    fs::write(&config, json!({ "builder": { "proxy-network": true } }).to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", config.to_str().unwrap());
    built(&sandbox, &dir, &["-t", "apart"]);
    sandbox.unset_env("DHOW_CONFIG");
    assert_eq!(sandbox.ok(&["run", "--rm", "apart", "cat", "/n"]), "1");

    // Rules for sources are rules for these, too.
    let file = sandbox.work().join("policy.json");
    let rules = json!([
        { "action": "DENY", "selector": { "identifier": format!("{at}/*") } },
        { "action": "ALLOW", "selector": { "identifier": format!("{at}/word") } },
        { "action": "CONVERT", "selector": { "identifier": format!("{at}/old/*") },
          "updates": { "identifier": format!("{at}/${{1}}") } },
    ]);
    fs::write(&file, json!({ "version": 1, "rules": rules }).to_string()).unwrap();
    sandbox.set_env(POLICY, file.to_str().unwrap());
    // also for what was found in the cache until now,
    let dockerfile = format!("FROM base\nRUN wget -q -O /got {at}/other\n");
    fs::copy(sandbox.work().join("www/word"), sandbox.work().join("www/other")).unwrap();
    let other = context(&sandbox, "other", &[("Dockerfile", &dockerfile)]);
    sandbox.unset_env(POLICY);
    built(&sandbox, &other, &["--proxy-network"]);
    assert!(carried_out(&built(&sandbox, &other, &["--proxy-network"])).is_empty());
    sandbox.set_env(POLICY, file.to_str().unwrap());
    // which one that was refused makes nobody forget,
    for _ in 0..2 {
        let denied = dhow(&sandbox, &other, &["--proxy-network"]);
        assert!(denied.code != 0 && denied.stderr.contains("/other -> 403"), "{denied:?}");
    }
    // and what is put in the place of something is what was fetched.
    let dockerfile = format!("FROM base\nRUN wget -q -O /got {at}/old/word\n");
    let dir = context(&sandbox, "converted", &[("Dockerfile", &dockerfile)]);
    let (says, _) = attested(&sandbox, &dir, &["-t", "made"]);
    assert_eq!(show("cat /got"), "a word");
    assert_eq!(material(&says, &format!("{at}/word")), Some(digest), "{says}");
    assert!(!says["buildDefinition"]["resolvedDependencies"].to_string().contains("/old/"));
    let dockerfile = format!("FROM base\nRUN wget -S -O- {at}/denied 2>&1\n");
    let dir = context(&sandbox, "denied", &[("Dockerfile", &dockerfile)]);
    let denied = dhow(&sandbox, &dir, &["--proxy-network"]);
    assert!(denied.code != 0 && denied.stderr.contains("403 Forbidden"), "{denied:?}");
    assert!(denied.stderr.contains(&format!("- GET {at}/denied -> 403")), "{denied:?}");
    // What something came to by rules is not for builds that have others.
    let dockerfile = format!("FROM base\nRUN wget -q -O /got {at}/other || true\n");
    let dir = context(&sandbox, "without", &[("Dockerfile", &dockerfile)]);
    built(&sandbox, &dir, &["--proxy-network"]);
    assert!(carried_out(&built(&sandbox, &dir, &["--proxy-network"])).is_empty());
    sandbox.unset_env(POLICY);
    assert_eq!(carried_out(&built(&sandbox, &dir, &["--proxy-network"])).len(), 1);
    // Nor is what one of those makes meanwhile.
    let dockerfile = format!("FROM base\nRUN wget -q -O /got {at}/other && sleep 5\n");
    let dir = context(&sandbox, "meanwhile", &[("Dockerfile", &dockerfile)]);
    let mut command = sandbox.dhow_command(&["build", "--proxy-network", dir.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = Background(command.spawn().unwrap());
    let steps = sandbox.root().join("build/steps");
    wait_until("a step runs", || fs::read_dir(&steps).is_ok_and(|mut all| all.next().is_some()));
    sandbox.set_env(POLICY, file.to_str().unwrap());
    let denied = dhow(&sandbox, &dir, &["--proxy-network"]);
    assert!(denied.code != 0 && denied.stderr.contains("/other -> 403"), "{denied:?}");
    sandbox.unset_env(POLICY);
    assert!(first.0.wait().unwrap().success());

    // What came, and is not known, is named where all has to be.
    let dockerfile = format!("FROM base\nRUN wget -q -O- {at}/missing || true\n");
    let dir = context(&sandbox, "missing", &[("Dockerfile", &dockerfile)]);
    let (says, _) = attested(&sandbox, &dir, &[]);
    let incomplete =
        &says["runDetails"]["metadata"]["buildkit_metadata"]["network"]["proxy"]["incomplete"][0];
    assert_eq!(incomplete["uri"], format!("{at}/missing"), "{says}");
    assert_eq!(incomplete["reason"], "unsuccessful_response", "{says}");
    let complete = ["--attest", "type=provenance,complete-materials=true", "--proxy-network"];
    let output = format!("type=local,dest={}", sandbox.work().join("out").display());
    let refused = dhow(&sandbox, &dir, &[&complete[..], &["-o", &output]].concat());
    let why = format!("unsuccessful_response: GET {at}/missing");
    assert!(refused.code != 0 && refused.stderr.contains(&why), "{refused:?}");

    drop(server);
    tidy(&sandbox);
    sandbox.finish();
}

/// What is not known any more cannot be judged: a build with rules has it made anew, one without takes it as it is.
#[test]
fn what_is_not_recorded_is_made_anew_where_there_are_rules() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-proxied-forgotten");
    let at = format!("http://{}:8003", gateway(&sandbox));
    let server = serve(&sandbox, "0.0.0.0", 8003);
    // Found by its identity as well as by what it takes of the other.
    let dockerfile = format!(
        "FROM scratch AS other\nCOPY Dockerfile /x\n\
         FROM busybox\nRUN --mount=from=other,target=/o wget -q -O /got {at}/word\n"
    );
    let dir = context(&sandbox, "context", &[("Dockerfile", &dockerfile)]);
    let n_steps = || carried_out(&built(&sandbox, &dir, &["--proxy-network"])).len();
    built(&sandbox, &dir, &["--proxy-network"]);
    let file = sandbox.work().join("policy.json");
    let rules = json!([{ "action": "ALLOW", "selector": { "identifier": format!("{at}/*") } }]);
    fs::write(&file, json!({ "version": 1, "rules": rules }).to_string()).unwrap();
    let policy = file.to_str().unwrap();
    sandbox.set_env(POLICY, policy);
    assert_eq!(n_steps(), 0, "what it asked for is allowed");
    for entry in fs::read_dir(sandbox.root().join("build/made")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "log" {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    sandbox.unset_env(POLICY);
    assert_eq!(n_steps(), 0, "there is nothing to judge it by");
    sandbox.set_env(POLICY, policy);
    assert_eq!(n_steps(), 1, "nobody knows what it asked for");
    assert_eq!(n_steps(), 0, "from then on it is known");
    sandbox.unset_env(POLICY);
    drop(server);
    tidy(&sandbox);
    sandbox.finish();
}

/// The machine's own network is reached with leave alone: the proxy asks from where the step would.
#[test]
fn a_proxy_reaches_what_its_step_may() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-proxied-host");
    let server = serve(&sandbox, "127.0.0.1", 8002);
    let at = "http://127.0.0.1:8002/word";
    let dockerfile = format!("FROM busybox\nRUN unset no_proxy NO_PROXY; ! wget -q -O- {at}\n");
    let dir = context(&sandbox, "usual", &[("Dockerfile", &dockerfile)]);
    let told = built(&sandbox, &dir, &["--proxy-network"]);
    assert!(told.contains(&format!("- GET {at} -> 502")), "{told}");
    let dockerfile =
        format!("FROM busybox\nRUN --network=host unset no_proxy NO_PROXY; wget -q -O /got {at}\n");
    let dir = context(&sandbox, "host", &[("Dockerfile", &dockerfile)]);
    let refused = dhow(&sandbox, &dir, &["--proxy-network"]);
    assert!(refused.code != 0 && refused.stderr.contains("network.host"), "{refused:?}");
    let allowed = ["--proxy-network", "--allow", "network.host", "-t", "made"];
    let told = built(&sandbox, &dir, &allowed);
    assert!(told.contains(&format!("- GET {at} -> 200")), "{told}");
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/got"]), "a word");
    drop(server);
    tidy(&sandbox);
    sandbox.finish();
}

/// What programs trust is in no layer, also where nobody was left to take it away.
#[test]
fn what_a_step_trusted_is_not_kept() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Failpoints);
    let sandbox = busybox("build-proxied-killed");
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let base = format!("FROM busybox\nRUN mkdir -p /etc/ssl/certs && echo mine > {bundle}\n");
    built(&sandbox, &context(&sandbox, "base", &[("Dockerfile", &base)]), &["-t", "base"]);
    let dir = context(&sandbox, "killed", &[("Dockerfile", "FROM base\nRUN echo x > /x\n")]);
    let args = ["--proxy-network", "-t", "made"];
    // The step has ended well, which is written down by then.
    sandbox.set_env("DHOW_FAILPOINTS", "shim.delete=kill");
    let killed = dhow(&sandbox, &dir, &args);
    sandbox.unset_env("DHOW_FAILPOINTS");
    assert!(killed.code != 0 && killed.stderr.contains("what its programs trusted"), "{killed:?}");
    assert_eq!(carried_out(&built(&sandbox, &dir, &args)).len(), 1);
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", bundle, "/x"]), "mine\nx");
    tidy(&sandbox);
    sandbox.discard();
}
