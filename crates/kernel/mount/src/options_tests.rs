use super::*;

/// What the list `options` (with commas) means, in words.
fn words(options: &str) -> String {
    let parsed = parse(&options.split(',').collect::<Vec<_>>());
    let mut words = Vec::new();
    for (word, attrs) in [
        ("set", parsed.set),
        ("clear", parsed.clear),
        ("rec_set", parsed.rec_set),
        ("rec_clear", parsed.rec_clear),
    ] {
        if !attrs.is_empty() {
            let names: Vec<_> = attrs.iter_names().map(|(name, _)| name).collect();
            words.push(format!("{word}({})", names.join(" ")));
        }
    }
    for (propagation, recursive) in parsed.propagation {
        words.push(format!("{propagation}{}", if recursive { " recursive" } else { "" }));
    }
    words.extend(parsed.bind.map(|recursive| format!("bind {recursive}")));
    words.extend(parsed.idmap.map(|recursive| format!("idmap {recursive}")));
    for (word, is_set) in [("remount", parsed.remount), ("tmpcopyup", parsed.tmpcopyup)] {
        words.extend(is_set.then(|| word.to_owned()));
    }
    words.extend((!parsed.data.is_empty()).then(|| format!("data {:?}", parsed.data)));
    words.join("; ")
}

#[test]
fn every_option_of_the_specification() {
    const TIMES: &str = "NOATIME STRICTATIME ATIME_FIELD";
    for (options, meaning) in [
        ("ro", "set(RDONLY)".to_owned()),
        ("rw", "clear(RDONLY)".to_owned()),
        ("rro", "rec_set(RDONLY)".to_owned()),
        ("rrw", "rec_clear(RDONLY)".to_owned()),
        ("nosuid,noexec,nodev", "set(NOSUID NODEV NOEXEC)".to_owned()),
        ("suid,exec,dev", "clear(NOSUID NODEV NOEXEC)".to_owned()),
        ("rnosuid,rnoexec,rnodev", "rec_set(NOSUID NODEV NOEXEC)".to_owned()),
        ("rsuid,rexec,rdev", "rec_clear(NOSUID NODEV NOEXEC)".to_owned()),
        ("nodiratime,nosymfollow", "set(NODIRATIME NOSYMFOLLOW)".to_owned()),
        ("diratime,symfollow", "clear(NODIRATIME NOSYMFOLLOW)".to_owned()),
        ("rnodiratime,rnosymfollow", "rec_set(NODIRATIME NOSYMFOLLOW)".to_owned()),
        ("rdiratime,rsymfollow", "rec_clear(NODIRATIME NOSYMFOLLOW)".to_owned()),
        ("noatime", format!("set(NOATIME); clear({TIMES})")),
        ("strictatime", format!("set(STRICTATIME); clear({TIMES})")),
        ("relatime", format!("clear({TIMES})")),
        ("norelatime", format!("clear({TIMES})")),
        ("nostrictatime", format!("clear({TIMES})")),
        ("atime", format!("clear({TIMES})")),
        ("rnoatime", format!("rec_set(NOATIME); rec_clear({TIMES})")),
        ("rstrictatime", format!("rec_set(STRICTATIME); rec_clear({TIMES})")),
        ("rrelatime", format!("rec_clear({TIMES})")),
        ("rnorelatime", format!("rec_clear({TIMES})")),
        ("rnostrictatime", format!("rec_clear({TIMES})")),
        ("ratime", format!("rec_clear({TIMES})")),
        ("shared", "shared".to_owned()),
        ("rshared", "shared recursive".to_owned()),
        ("slave", "slave".to_owned()),
        ("rslave", "slave recursive".to_owned()),
        ("private", "private".to_owned()),
        ("rprivate", "private recursive".to_owned()),
        ("unbindable", "unbindable".to_owned()),
        ("runbindable", "unbindable recursive".to_owned()),
        ("bind", "bind false".to_owned()),
        ("rbind", "bind true".to_owned()),
        ("remount", "remount".to_owned()),
        ("tmpcopyup", "tmpcopyup".to_owned()),
        ("idmap", "idmap false".to_owned()),
        ("ridmap", "idmap true".to_owned()),
        ("defaults,async,loud,silent,nomand,nolazytime,noiversion", String::new()),
        (
            "sync,dirsync,lazytime,mand",
            r#"data ["sync", "dirsync", "lazytime", "mand"]"#.to_owned(),
        ),
        ("iversion", r#"data ["iversion"]"#.to_owned()),
    ] {
        assert_eq!(words(options), meaning, "{options}");
    }
}

#[test]
fn the_later_option_wins() {
    assert_eq!(words("ro,rw"), "clear(RDONLY)");
    assert_eq!(words("rw,ro"), "set(RDONLY)");
    assert_eq!(words("sync,async"), "");
    assert_eq!(words("bind,rbind"), "bind true");
}

#[test]
fn what_is_not_known_is_the_file_systems() {
    let parsed = parse(&["size=64k", "mode=1777", "newinstance", "rubbish", "x=a=b"]);
    assert_eq!(
        parsed.fs_options().collect::<Vec<_>>(),
        [
            ("size", Some("64k")),
            ("mode", Some("1777")),
            ("newinstance", None),
            ("rubbish", None),
            ("x", Some("a=b")),
        ]
    );
}
