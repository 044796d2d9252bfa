use oci::runtime::{Mount as OciMount, Process, Spec};
use proptest::prelude::*;

use super::*;

/// A file as NVIDIA's toolkit writes it: the shape, not the content.
const GPU: &str = r#"---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  deviceNodes:
  - path: /dev/nvidia-uvm
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/bin/nvidia-smi
    hostPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, rbind, rprivate]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/dri/renderD128
- name: GPU-955ef018-3bd9-5f27-80b3-fa20ee8d19c5
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: "1:0"
  containerEdits:
    deviceNodes:
    - {path: /dev/nvidia1, hostPath: /dev/other1, permissions: r}
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/nvidia1
"#;

fn gpus() -> Document {
    Document::parse(GPU, Syntax::Yaml).unwrap()
}

fn catalog(files: &[(&str, usize, &str)]) -> Catalog {
    Catalog::new(
        files
            .iter()
            .map(|(path, rank, text)| File {
                path: (*path).into(),
                rank: *rank,
                document: Document::parse(text, Syntax::Json).unwrap(),
            })
            .collect(),
    )
}

/// A file with one device for each of `names`, which sets `ME` to `mark`.
fn simple(kind: &str, names: &[&str], mark: &str) -> String {
    let devices: Vec<_> = names
        .iter()
        .map(|name| {
            serde_json::json!({"name": name,
                               "containerEdits": {"env": [format!("D_{name}={mark}")]}})
        })
        .collect();
    serde_json::json!({"cdiVersion": "1.1.0", "kind": kind, "devices": devices,
                       "containerEdits": {"env": [format!("ALL={mark}")]}})
    .to_string()
}

/// Every path is a character device of number 195; what is below `/none` is not there.
fn numbers(path: &str) -> Result<DeviceFile, String> {
    if path.starts_with("/none") {
        return Err("no such file or directory".into());
    }
    let minor = path.bytes().next_back().map_or(0, |byte| u32::from(byte.wrapping_sub(b'0')));
    Ok(DeviceFile { kind: FileKind::Char, major: 195, minor })
}

fn applied(edits: &Edits, spec: &mut Spec) {
    edits.apply(spec, &mut numbers).unwrap();
}

#[test]
fn a_vendors_file_is_read_and_a_device_brings_what_all_need() {
    let catalog = Catalog::new(vec![File { path: "gpu".into(), rank: 0, document: gpus() }]);
    let names: Vec<_> = catalog.entries().map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        names,
        [
            "nvidia.com/gpu=0",
            "nvidia.com/gpu=1:0",
            "nvidia.com/gpu=GPU-955ef018-3bd9-5f27-80b3-fa20ee8d19c5",
            "nvidia.com/gpu=all"
        ]
    );
    let edits = catalog.resolve(&["nvidia.com/gpu=1:0".into(), "nvidia.com/gpu=0".into()]).unwrap();
    let mut spec = Spec { process: Some(Process::default()), ..Spec::default() };
    applied(&edits, &mut spec);
    let linux = spec.linux.unwrap();
    let devices: Vec<_> =
        linux.devices.iter().map(|device| (device.path.as_str(), device.minor)).collect();
    assert_eq!(
        devices,
        [
            ("/dev/nvidia-uvm", Some(61)),
            ("/dev/nvidiactl", Some(60)),
            ("/dev/nvidia1", Some(1)),
            ("/dev/nvidia0", Some(0)),
            ("/dev/dri/renderD128", Some(8)),
        ]
    );
    let rules = linux.resources.unwrap().devices;
    let access: Vec<_> = rules.iter().map(|rule| rule.access.as_str()).collect();
    assert_eq!(access, ["rwm", "rwm", "r", "rwm", "rwm"]);
    assert_eq!(spec.process.unwrap().env, ["NVIDIA_VISIBLE_DEVICES=void"]);
    let hooks = spec.hooks.unwrap();
    assert_eq!(hooks.create_container[0].path, "/usr/bin/nvidia-cdi-hook");
    assert_eq!(spec.mounts[0].options.len(), 5);
}

#[test]
fn what_the_container_has_is_replaced_and_not_doubled() {
    let text = r#"{"cdiVersion": "1.1.0", "kind": "a.b/c", "devices": [{"name": "d", "containerEdits": {
        "env": ["PATH=/vendor", "NEW=1"], "additionalGids": [0, 7, 7, 9],
        "mounts": [{"hostPath": "/h/deep", "containerPath": "/data/deep"}, {"hostPath": "/h", "containerPath": "/data"}],
        "deviceNodes": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 292, "permissions": "none"}],
        "intelRdt": {"closID": "x", "schemata": ["L3:0=f"], "enableMonitoring": true},
        "netDevices": [{"hostInterfaceName": "eth9", "name": "eth0"}],
        "hooks": [{"hookName": "poststop", "path": "/bin/h", "timeout": 3}]}}]}"#;
    let edits = catalog(&[("f", 0, text)]).resolve(&["a.b/c=d".into()]).unwrap();
    let mount =
        |destination: &str| OciMount { destination: destination.into(), ..OciMount::default() };
    let mut process = Process { env: vec!["PATH=/bin".into()], ..Process::default() };
    process.user.uid = 1000;
    process.user.additional_gids = vec![9];
    let mut spec = Spec {
        process: Some(process),
        mounts: vec![mount("/data/"), mount("/dev"), mount("/dev/shm")],
        ..Spec::default()
    };
    for _ in 0..2 {
        applied(&edits, &mut spec);
    }
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["PATH=/vendor", "NEW=1"]);
    assert_eq!(process.user.additional_gids, [9, 7]);
    let mounts: Vec<_> = spec.mounts.iter().map(|mount| mount.destination.as_str()).collect();
    assert_eq!(mounts, ["/dev", "/data", "/dev/shm", "/data/deep"]);
    let linux = spec.linux.unwrap();
    assert_eq!(linux.devices.len(), 1);
    assert_eq!((linux.devices[0].uid, linux.devices[0].gid), (Some(1000), None));
    assert_eq!(linux.devices[0].file_mode, Some(0o444));
    assert_eq!(linux.resources, None, "no permissions, no rule");
    assert_eq!(linux.intel_rdt.unwrap().clos_id, "x");
    assert_eq!(linux.net_devices["eth9"].name, "eth0");
    assert_eq!(spec.hooks.unwrap().poststop[0].timeout, Some(3));
}

#[test]
fn a_later_folder_wins_and_two_files_of_one_folder_conflict() {
    let (etc, run) = (simple("a.b/c", &["x", "y"], "etc"), simple("a.b/c", &["x"], "run"));
    let other = simple("a.b/c", &["y"], "other");
    let all = catalog(&[("run", 1, &run), ("etc", 0, &etc)]);
    let env = |catalog: &Catalog, names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        catalog.resolve(&names).map(|edits| edits.env).map_err(|err| err.to_string())
    };
    assert_eq!(env(&all, &["a.b/c=x"]).unwrap(), ["ALL=run", "D_x=run"]);
    assert_eq!(
        env(&all, &["a.b/c=x", "a.b/c=y", "a.b/c=x"]).unwrap(),
        ["ALL=run", "D_x=run", "ALL=etc", "D_y=etc"]
    );
    assert_eq!(
        env(&all, &["a.b/c=z", "a.b/c=x", "q"]).unwrap_err(),
        "unresolvable CDI devices a.b/c=z, q"
    );
    let both = catalog(&[("one", 0, &etc), ("two", 0, &other)]);
    assert_eq!(env(&both, &["a.b/c=x"]).unwrap(), ["ALL=etc", "D_x=etc"]);
    assert_eq!(
        env(&both, &["a.b/c=y"]).unwrap_err(),
        "conflicting CDI device a.b/c=y: it is in one and in two"
    );
    assert_eq!(both.entries().count(), 1);
    assert_eq!(both.conflicts().count(), 1);
}

#[test]
fn a_device_file_that_is_not_there_or_not_so_is_an_error() {
    for (node, want) in [
        (r#"{"path": "/none/x"}"#, "CDI device file /none/x: no such file or directory"),
        (r#"{"path": "/x", "hostPath": "/none/y"}"#, "/none/y: no such"),
        (r#"{"path": "/x", "type": "b"}"#, "it is of type c, and should be b"),
    ] {
        let text = format!(
            r#"{{"cdiVersion": "1.1.0", "kind": "a.b/c", "devices": [
                {{"name": "d", "containerEdits": {{"deviceNodes": [{node}]}}}}]}}"#
        );
        let edits = catalog(&[("f", 0, &text)]).resolve(&["a.b/c=d".into()]).unwrap();
        let err = edits.apply(&mut Spec::default(), &mut numbers).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }
}

#[test]
fn names() {
    for (text, good) in [
        ("vendor.com/gpu=0", true),
        ("nvidia.com/gpu=GPU-1:2.3_x", true),
        ("a/b=c", true),
        ("vendor.com/gpu=", false),
        ("vendor.com/gpu", false),
        ("/dev/null", false),
        ("/dev/null:/dev/x=1:rwm", false),
        ("vendor.com/gpu=-x", false),
        ("vendor.com/gpu=x-", false),
        ("vendor.com/a/b=c", false),
        ("1vendor.com/gpu=x", false),
        ("vendor..com/gpu=x", false),
        ("vendor.com/1gpu=x", false),
        ("vendor.com/gpu=a b", false),
        ("vendor.com/gpu=é", false),
    ] {
        assert_eq!(Name::is_one(text), good, "{text}");
    }
    let long = "a".repeat(64);
    assert!(format!("v/{long}").parse::<Kind>().is_err());
    assert!(format!("v/{}", &long[1..]).parse::<Kind>().is_ok());
}

/// A file with `device`'s edits, of a version.
fn file(version: &str, kind: &str, device: &str) -> Result<Document, Error> {
    let text = format!(r#"{{"cdiVersion": "{version}", "kind": "{kind}", "devices": [{device}]}}"#);
    Document::parse(&text, Syntax::Json)
}

#[test]
fn a_field_that_its_version_does_not_have_is_an_error() {
    let edits = |edits: &str| format!(r#"{{"name": "d", "containerEdits": {{{edits}}}}}"#);
    let plain = edits(r#""env": ["A=b"]"#);
    for (since, kind, device) in [
        ("0.3.0", "a.b/c", plain.clone()),
        (
            "0.4.0",
            "a.b/c",
            edits(r#""mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "none"}]"#),
        ),
        ("0.5.0", "a.b/c", edits(r#""deviceNodes": [{"path": "/a", "hostPath": "/b"}]"#)),
        ("0.5.0", "a.b/c", plain.replace(r#""d""#, r#""0""#)),
        ("0.6.0", "a.b/c.d", plain.clone()),
        ("0.6.0", "a.b/c", plain.replace("{\"name", r#"{"annotations": {"x": "y"}, "name"#)),
        ("0.7.0", "a.b/c", edits(r#""intelRdt": {"closID": "x"}"#)),
        ("0.7.0", "a.b/c", edits(r#""additionalGids": [1]"#)),
        ("1.1.0", "a.b/c", edits(r#""intelRdt": {"enableMonitoring": true}"#)),
        ("1.1.0", "a.b/c", edits(r#""netDevices": [{"hostInterfaceName": "a", "name": "b"}]"#)),
    ] {
        let mut before = true;
        for version in
            ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0", "v1.1.2"]
        {
            before &= version != since;
            let read = file(version, kind, &device);
            assert_eq!(read.is_err(), before, "{version}, {device}: {read:?}");
        }
    }
    for version in
        ["", "1", "1.1", "1.2.0", "2.0.0", "0.2.0", "1.1.x", "1.1.0.0", "-1.0.0", "+1.0.0"]
    {
        assert!(file(version, "a.b/c", &plain).is_err(), "{version}");
    }
}

#[test]
fn what_a_file_may_not_say() {
    for (bad, why) in [
        (r#""env": ["A"]"#, "not NAME=VALUE"),
        (r#""env": ["=b"]"#, "not NAME=VALUE"),
        (r#""env": ["A=\u0000"]"#, "NUL"),
        (r#""deviceNodes": [{"path": ""}]"#, "path: empty"),
        (r#""deviceNodes": [{"path": "dev/x"}]"#, "absolute"),
        (r#""deviceNodes": [{"path": "/dev/../x"}]"#, ".."),
        (r#""deviceNodes": [{"path": "/x", "type": "d"}]"#, "not one of b, c, u, p"),
        (r#""deviceNodes": [{"path": "/x", "permissions": "rx"}]"#, "not of r, w, m"),
        (r#""deviceNodes": [{"path": "/x", "fileMode": 4096}]"#, "07777"),
        (r#""deviceNodes": [{"path": "/x", "type": "c", "major": -1}]"#, "number of a device"),
        (r#""deviceNodes": [{"path": "/x", "colour": "red"}]"#, "unknown field `colour`"),
        (r#""mounts": [{"hostPath": "/x", "containerPath": "x"}]"#, "absolute"),
        (r#""mounts": [{"hostPath": "", "containerPath": "/x"}]"#, "hostPath: empty"),
        (r#""mounts": [{"containerPath": "/x"}]"#, "missing field `hostPath`"),
        (r#""hooks": [{"hookName": "later", "path": "/x"}]"#, "point of a container's life"),
        (r#""hooks": [{"hookName": "poststop", "path": "x"}]"#, "absolute"),
        (r#""hooks": [{"hookName": "poststop", "path": "/x", "timeout": 0}]"#, "above zero"),
        (r#""hooks": [{"hookName": "poststop", "path": "/x", "env": ["A"]}]"#, "not NAME=VALUE"),
        (r#""intelRdt": {"closID": ".."}"#, "name of a directory"),
        (r#""intelRdt": {"closID": "a/b"}"#, "name of a directory"),
        (
            r#""netDevices": [{"hostInterfaceName": "a", "name": "b"}, {"hostInterfaceName": "a", "name": "c"}]"#,
            "named twice",
        ),
        ("", "containerEdits: empty"),
    ] {
        let device = format!(r#"{{"name": "d", "containerEdits": {{{bad}}}}}"#);
        let err = file("1.1.0", "a.b/c", &device).unwrap_err().to_string();
        assert!(err.contains(why), "{bad}: {err}");
    }
    let twice = r#"{"name": "d", "containerEdits": {"env": ["A=b"]}}"#;
    assert!(file("1.1.0", "a.b/c", &format!("{twice},{twice}")).is_err());
    assert!(file("1.1.0", "a.b/c", "").is_err());
    assert!(file("1.1.0", "ab", twice).is_err());
    // Go writes empty lists as null.
    let null =
        r#"{"name": "d", "annotations": null, "containerEdits": {"env": ["A=b"], "mounts": null}}"#;
    assert!(file("1.1.0", "a.b/c", null).is_ok());
}

#[test]
fn builds_mean_devices_by_kind_and_class() {
    let text = r#"{"cdiVersion": "0.6.0", "kind": "a.b/c", "annotations": {"x": "all", "y": "all"}, "devices": [
        {"name": "d1", "containerEdits": {"env": ["A=1"]}, "annotations": {"x": "own"}},
        {"name": "d2", "containerEdits": {"env": ["A=2"]},
         "annotations": {"org.mobyproject.buildkit.device.class": "fast"}}]}"#;
    let document = Document::parse(text, Syntax::Json).unwrap();
    let catalog = Catalog::new(vec![File { path: "f".into(), rank: 0, document }]);
    for (asked, found) in [
        ("a.b/c=d2", "a.b/c=d2"),
        ("a.b/c", "a.b/c=d1"),
        ("a.b/c=*", "a.b/c=d1 a.b/c=d2"),
        ("fast", "a.b/c=d2"),
        ("a.b/c=d3", ""),
        ("a.b/e", ""),
        ("a.b", ""),
        ("", ""),
    ] {
        let names: Vec<_> = catalog.meant(asked).iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names.join(" "), found, "{asked}");
    }
    let first = catalog.meant("a.b/c")[0].1;
    let noted = ["x", "y", "z"].map(|key| first.annotation(key));
    assert_eq!(noted, [Some("own"), Some("all"), None]);
    // As people write it in YAML.
    let yaml = "{cdiVersion: 0.6.0, kind: a/b, devices: [{name: c, annotations: {open: true}, containerEdits: {env: [A=b]}}]}";
    let read = Document::parse(yaml, Syntax::Yaml).unwrap();
    assert_eq!(read.devices[0].annotations["open"], "true");
}

#[test]
fn what_is_written_is_read_again() {
    let document = gpus();
    assert_eq!(Document::parse(&document.print(), Syntax::Json).unwrap(), document);
}

#[test]
fn a_small_file_that_grows_is_refused() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (last, next) in ('a'..'i').zip('b'..='i') {
        let refs = vec![format!("*{last}"); 9].join(", ");
        bomb.push_str(&format!("{next}: &{next} [{refs}]\n"));
    }
    assert!(Document::parse(&bomb, Syntax::Yaml).is_err());
    let deep = "[".repeat(100_000);
    assert!(Document::parse(&deep, Syntax::Yaml).is_err());
    assert!(Document::parse(&deep, Syntax::Json).is_err());
    assert!(matches!(
        Document::parse(&" ".repeat(9 << 20), Syntax::Json),
        Err(Error::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC*", yaml: bool) {
        let syntax = if yaml { Syntax::Yaml } else { Syntax::Json };
        let _ = Document::parse(&text, syntax);
        let _ = text.parse::<Name>();
    }
}
#[test]
fn an_error_of_syntax_is_one_line_and_says_where() {
    for (text, syntax, want) in [
        (
            "a: [",
            Syntax::Yaml,
            "unknown field `a`, expected one of cdiVersion, kind, annotations, devices, containerEdits at line 1, column 1",
        ),
        ("\u{1b}[31m: x", Syntax::Yaml, "unexpected character: `\\u{1b}' at line 1, column 1"),
        ("- 1\n- 2", Syntax::Yaml, "expected mapping start at line 1, column 1"),
        (
            "{\"a\\n\": 1}",
            Syntax::Json,
            "unknown field `a\\n`, expected one of `cdiVersion`, `kind`, `annotations`, `devices`, `containerEdits` at line 1 column 6",
        ),
    ] {
        assert_eq!(Document::parse(text, syntax).unwrap_err().to_string(), want);
    }
    let octal = "{cdiVersion: 1.1.0, kind: a/b, devices: [{name: 0, containerEdits: {deviceNodes: [{path: /x, fileMode: 0666}]}}]}";
    let read = Document::parse(octal, Syntax::Yaml).unwrap();
    assert_eq!(read.devices[0].container_edits.device_nodes[0].file_mode, Some(0o666));
}
