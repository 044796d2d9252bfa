use expect_test::{Expect, expect};

use super::*;

#[track_caller]
fn check(got: Result<Mounting, Error>, want: &Expect) {
    let got = match got {
        Ok(m) => format!(
            "{} {}{} -> {} {}{}",
            m.point.kind,
            m.point.source,
            m.point.name,
            m.point.destination,
            m.options.join(","),
            if m.copy_up { " copy" } else { "" }
        ),
        Err(err) => err.to_string(),
    };
    want.assert_eq(&got);
}

#[test]
fn the_short_form() {
    check(from_bind("/a:/b"), &expect!["bind /a -> /b rbind,rw,rprivate"]);
    check(from_bind("/a/../c:/b/:ro,rslave"), &expect!["bind /c -> /b rbind,rro,rslave"]);
    check(from_bind("data:/b"), &expect!["volume data -> /b rbind,rw,rprivate copy"]);
    check(from_bind("data:/b:nocopy"), &expect!["volume data -> /b rbind,rw,rprivate"]);
    check(from_bind("/b"), &expect!["volume  -> /b rbind,rw,rprivate copy"]);
    check(from_bind("/a:/b:bogus"), &expect!["invalid mode: bogus"]);
    check(from_bind("a:b:c:d"), &expect!["invalid volume specification: 'a:b:c:d'"]);
    check(from_bind("/a:"), &expect!["invalid volume specification: '/a:'"]);
    check(
        from_bind("/a:b"),
        &expect![[
            r#"invalid volume specification: '/a:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute"#
        ]],
    );
    check(
        from_bind("/a:/"),
        &expect![[
            r#"invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'"#
        ]],
    );
    check(
        from_bind("/a:/x/../proc/self"),
        &expect![[
            r#"invalid volume specification: '/a:/x/../proc/self': invalid mount config for type "bind": "/proc/self" cannot be mounted because it is inside /proc"#
        ]],
    );
    check(
        from_bind("../x:/b"),
        &expect![[
            r#"create ../x: "../x" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path"#
        ]],
    );
}

#[track_caller]
fn long(json: &str, want: &Expect) {
    let mount: Mount = serde_json::from_str(json).unwrap();
    check(from_mount(&mount, |path| path == "/a"), want);
}

#[test]
fn the_long_form() {
    long(
        r#"{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}"#,
        &expect!["bind /a -> /b rbind,rro,rprivate"],
    );
    long(
        r#"{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"NonRecursive":true,"Propagation":"shared"}}"#,
        &expect!["bind /a -> /b bind,rw,shared"],
    );
    long(
        r#"{"Type":"bind","Source":"/nope","Target":"/b"}"#,
        &expect![[
            r#"invalid mount config for type "bind": bind source path does not exist: /nope"#
        ]],
    );
    long(
        r#"{"Type":"volume","Source":"data","Target":"/b","VolumeOptions":{"NoCopy":true,"Subpath":"x/y"}}"#,
        &expect!["volume data -> /b rbind,rw,rprivate"],
    );
    long(
        r#"{"Type":"volume","Target":"/b","VolumeOptions":{"Subpath":"../y"}}"#,
        &expect![[
            r#"invalid mount config for type "volume": subpath must be a relative path within the volume"#
        ]],
    );
    long(
        r#"{"Type":"volume","Target":"/b","VolumeOptions":{"Subpath":"y"}}"#,
        &expect![[
            r#"invalid mount config for type "volume": must not set Subpath when using anonymous volumes"#
        ]],
    );
    long(
        r#"{"Type":"volume","Source":"x","Target":"/b"}"#,
        &expect![
            "create x: volume name is too short, names should be at least two alphanumeric characters"
        ],
    );
    long(
        r#"{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"Options":[["a","b","c"]]}}"#,
        &expect![[r#"invalid mount config for type "tmpfs": invalid option array length"#]],
    );
    long(
        r#"{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"SizeBytes":1024,"Mode":448}}"#,
        &expect!["tmpfs  -> /b noexec,nosuid,nodev,rprivate,rw,size=1024,mode=700"],
    );
    long(
        r#"{"Type":"tmpfs","Source":"x","Target":"/b"}"#,
        &expect![[r#"invalid mount config for type "tmpfs": field Source must not be specified"#]],
    );
    long(
        r#"{"Type":"tmpfs","Target":"/b","BindOptions":{}}"#,
        &expect![[r#"BindOptions must not be specified on mount type "tmpfs""#]],
    );
    long(
        r#"{"Type":"bind"}"#,
        &expect![[r#"invalid mount config for type "bind": field Target must not be empty"#]],
    );
    long(
        r#"{"Type":"what","Target":"/b"}"#,
        &expect![[r#"invalid mount config for type "what": mount type unknown: "what""#]],
    );
    long(
        r#"{"Type":"image","Target":"/b"}"#,
        &expect![[r#"invalid mount config for type "image": field Source must not be empty"#]],
    );
}

#[test]
fn tmpfs_options() {
    check(from_tmpfs("/b", ""), &expect!["tmpfs  -> /b noexec,nosuid,nodev,rprivate"]);
    check(
        from_tmpfs("/b", "rw,exec,size=64m,mode=1777"),
        &expect!["tmpfs  -> /b nosuid,nodev,rprivate,rw,exec,size=64m,mode=1777"],
    );
    check(from_tmpfs("/b", "bogus"), &expect![[r#"invalid tmpfs option ["bogus"]"#]]);
    check(from_tmpfs("b", ""), &expect!["invalid mount path: 'b' mount path must be absolute"]);
}

#[test]
fn labels_are_asked_for_by_a_letter_and_volumes_are_shared() {
    let relabel = |text: &str| from_bind(text).unwrap().relabel;
    assert_eq!(relabel("/a:/b"), None);
    assert_eq!(relabel("/a:/b:ro,z"), Some(Relabel::Shared));
    assert_eq!(relabel("/a:/b:Z"), Some(Relabel::Private));
    assert_eq!(relabel("data:/b"), Some(Relabel::Shared));
    assert_eq!(relabel("data:/b:Z"), Some(Relabel::Private));
    assert!(from_bind("/a:/b:z,Z").is_err());
    let mount: Mount = serde_json::from_str(r#"{"Type":"volume","Target":"/b"}"#).unwrap();
    assert_eq!(from_mount(&mount, |_| true).unwrap().relabel, Some(Relabel::Shared));
    let mount = Mount { kind: BIND.into(), source: "/a".into(), ..mount };
    assert_eq!(from_mount(&mount, |_| true).unwrap().relabel, None);
}
