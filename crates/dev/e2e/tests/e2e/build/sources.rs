//! Which sources a build may use, and what is used in their place.

use std::fs;
use std::path::Path;

use serde_json::json;
use testkit::needs;

use super::{built, context, dhow, tidy};
use crate::build_contexts::{git_daemon, has_git_daemon};
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

#[test]
fn a_rule_says_who_signs_a_repository() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Ssh);
    let sandbox = busybox("build-signed");
    if !has_git_daemon(&sandbox) {
        return sandbox.finish();
    }
    let work = sandbox.work();
    let make = "cd $0 && for key in one two; do ssh-keygen -q -t ed25519 -N '' -f $key; done
        mkdir -p git/repo && cd git/repo && git init -q -b main && echo signed >f
        printf 'FROM scratch\nCOPY f /\n' >Dockerfile && git add -A && git -c user.name=a \
        -c user.email=a@b -c gpg.format=ssh -c user.signingkey=$0/one commit -q -S -m one";
    sandbox.sh(&make.replace("$0", &work.display().to_string())).success();
    let url = "git://127.0.0.1/repo/.git";
    let server = git_daemon(&sandbox, url);
    let file = work.join("policy.json");
    sandbox.set_env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", file.to_str().unwrap());
    let signed_by = |key: &str| {
        let key = fs::read_to_string(work.join(key)).unwrap();
        let rule = json!({ "action": "CONVERT", "selector": { "identifier": format!("{url}*") },
            "updates": { "identifier": format!("{url}${{1}}"), "attrs": { "git.sig.pubkey": key } } });
        fs::write(&file, json!({ "version": 1, "rules": [rule] }).to_string()).unwrap();
    };
    let dest = work.join("out");
    let output = format!("type=local,dest={}", dest.display());
    let mismatch = "failed to verify ssh signature: public key does not match";
    // The other key, before the checkout is here and after.
    for (key, is_good) in [("two.pub", false), ("one.pub", true), ("two.pub", false)] {
        signed_by(key);
        let made = dhow(&sandbox, Path::new(url), &["-o", &output]);
        assert_eq!(made.code == 0, is_good, "{key}: {made:?}");
        assert!(is_good || made.stderr.contains(mismatch), "{made:?}");
        assert_eq!(dest.join("f").exists(), is_good, "{key}");
        let _ = fs::remove_dir_all(&dest);
    }
    sandbox.unset_env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY");
    drop(server);
    tidy(&sandbox);
    sandbox.finish();
}
