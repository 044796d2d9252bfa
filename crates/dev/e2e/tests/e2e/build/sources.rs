//! Which sources a build may use, and what is used in their place.

use std::fs;

use serde_json::json;
use testkit::needs;

use super::{built, context, dhow, tidy};
use crate::busybox;
use crate::docker_client::Daemon;

#[test]
fn rules_say_what_is_used() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-sources");
    let dockerfile = "FROM old\nCOPY a /a\nRUN cat /which > /found; echo $WHO >> /found\n";
    let dir = context(&sandbox, "context", &[("Dockerfile", dockerfile), ("a", "a")]);
    for name in ["old", "new"] {
        let text = format!("FROM busybox\nENV WHO={name}\nRUN echo {name} > /which\n");
        let base = context(&sandbox, name, &[("Dockerfile", &text)]);
        built(&sandbox, &base, &["-t", name]);
    }
    let file = sandbox.work().join("policy.json");
    sandbox.set_env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", file.to_str().unwrap());
    let rules = |rules: serde_json::Value| {
        fs::write(&file, json!({ "version": 1, "rules": rules }).to_string()).unwrap();
    };
    let old = "docker-image://docker.io/library/old:latest";

    rules(json!([{ "action": "DENY", "selector": { "identifier": "docker-image://*/old:*" } }]));
    let denied = dhow(&sandbox, &dir, &["-t", "made"]);
    let why = format!("source \"{old}\" denied by policy");
    assert!(denied.code == 1 && denied.stderr.contains(&why), "{denied:?}");

    // The configuration is the other image's, too, and what is attested names what was used.
    let convert = json!({ "action": "CONVERT", "selector": { "identifier": "docker-image://*/old:*" },
        "updates": { "identifier": "docker-image://${1}/new:${2}" } });
    rules(json!([convert]));
    let attested = ["-t", "made", "--provenance=mode=max", "--metadata-file"];
    let about = sandbox.work().join("about.json");
    built(&sandbox, &dir, &[&attested[..], &[about.to_str().unwrap()]].concat());
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/found"]), "new\nnew");
    let about: serde_json::Value = serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
    let materials =
        about["buildx.build.provenance"]["buildDefinition"]["resolvedDependencies"].to_string();
    assert!(materials.contains("/new@") && !materials.contains("/old@"), "{about}");
    // Through a daemon, too; and without rules it is the other one again: nothing is mixed up in the cache.
    let daemon = Daemon::start(&sandbox);
    let host = format!("unix://{}", daemon.socket());
    let path = dir.to_str().unwrap();
    sandbox.ok(&["-H", &host, "build", "-q", "-t", "made", path]);
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/found"]), "new\nnew");
    drop(daemon);
    rules(json!([]));
    built(&sandbox, &dir, &["-t", "made"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/found"]), "old\nold");

    // What is no image can be in the place of a context, not of any other image.
    let local = json!({ "action": "CONVERT", "selector": { "identifier": "docker-image://*/old:*" },
        "updates": { "identifier": "local://context" } });
    rules(json!([local]));
    let replaced = dir.join("Replaced");
    let dockerfile = "FROM scratch AS there\nFROM scratch\nCOPY --from=there /a /b\n";
    fs::write(&replaced, dockerfile).unwrap();
    let dest = sandbox.work().join("replaced");
    let output = format!("type=local,dest={}", dest.display());
    let named = ["--build-context", "there=docker-image://old", "-o", &output, "-f"];
    built(&sandbox, &dir, &[&named[..], &[replaced.to_str().unwrap()]].concat());
    assert_eq!(fs::read_to_string(dest.join("b")).unwrap(), "a");
    let refused = dhow(&sandbox, &dir, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("old:latest is no image"), "{refused:?}");

    // The client's directory has a name of its own.
    rules(json!([{ "action": "DENY", "selector": { "identifier": "local://context" } }]));
    let denied = dhow(&sandbox, &dir, &["--no-cache"]);
    assert!(denied.stderr.contains("\"local://context\" denied by policy"), "{denied:?}");
    fs::write(&file, "{").unwrap();
    let wrong = dhow(&sandbox, &dir, &[]);
    assert!(wrong.code != 0 && wrong.stderr.contains("policy.json"), "{wrong:?}");
    sandbox.unset_env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY");
    tidy(&sandbox);
    sandbox.finish();
}
