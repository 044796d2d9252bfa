//! Devices of steps: those that are for every build, and those that a build has to be given.

use std::fs;

use serde_json::{Value, json};
use testkit::needs;

use super::{context, dhow, tidy};
use crate::busybox;

#[test]
fn what_describes_a_device_may_let_every_build_have_it() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("build-devices");
    let device = |name: &str, notes: Value| {
        let edits = json!({ "env": [format!("{name}=yes")] });
        json!({ "name": name, "annotations": notes, "containerEdits": edits })
    };
    let open = json!({ "org.mobyproject.buildkit.device.autoallow": "true" });
    let devices = [device("open", open), device("shut", json!({}))];
    let all = json!({ "cdiVersion": "0.6.0", "kind": "vendor.com/thing", "devices": devices });
    let folder = sandbox.directory().join("cdi");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("thing.json"), all.to_string()).unwrap();
    let config = sandbox.directory().join("daemon.json");
    fs::write(&config, json!({ "cdi-spec-dirs": [folder] }).to_string()).unwrap();
    sandbox.set_env("DHOW_CONFIG", config.to_str().unwrap());

    let build = |flags: &str, args: &[&str]| {
        let text = format!("FROM busybox\nRUN {flags} echo \"it has: $open $shut\"\n");
        let dir = context(&sandbox, "context", &[("Dockerfile", &text)]);
        let output = dhow(&sandbox, &dir, &[&["--no-cache"], args].concat());
        (output.code, output.stderr)
    };
    let flags = "--device=vendor.com/thing=open,required --device=vendor.com/none=x";
    let (code, told) = build(flags, &[]);
    assert!(code == 0 && told.contains("it has: yes"), "{told}");
    for flags in [
        "--device=vendor.com/thing=shut",
        "--device=vendor.com/thing=*",
        "--device=vendor.com/none=x,required",
    ] {
        let (code, told) = build(flags, &[]);
        assert!(code != 0 && told.contains(" requested by the build but not allowed"), "{told}");
    }
    let (code, told) = build("--device=vendor.com/thing=*", &["--allow", "device"]);
    assert!(code == 0 && told.contains("it has: yes yes"), "{told}");
    let (code, told) = build("--device=vendor.com/none=x,required", &["--allow", "device"]);
    assert!(code != 0 && told.contains("unresolvable CDI devices vendor.com/none=x"), "{told}");
    tidy(&sandbox);
    sandbox.finish();
}
