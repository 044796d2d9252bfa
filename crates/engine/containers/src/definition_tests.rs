use super::*;

fn merged(request: &str, image: &str) -> ContainerConfig {
    let mut config = serde_json::from_str(request).unwrap();
    merge(&mut config, &serde_json::from_str(image).unwrap());
    config
}

#[test]
fn the_image_fills_what_is_open() {
    let image = r#"{"User":"web","Entrypoint":["/e"],"Cmd":["a","b"],"Env":["A=1","B=2"],
        "WorkingDir":"/w","Labels":{"x":"image","y":"image"},"StopSignal":"SIGINT"}"#;
    let words = |config: &ContainerConfig| {
        let all = config.entrypoint.iter().chain(config.cmd.iter());
        all.cloned().collect::<Vec<_>>().join(" ")
    };
    let config = merged(r#"{"Labels":{"x":"own"},"Env":["B=3"]}"#, image);
    assert_eq!(words(&config), "/e a b");
    assert_eq!(config.labels["x"], "own");
    assert_eq!(config.labels["y"], "image");
    assert_eq!(&*config.env, ["B=3", "A=1"]);
    assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("web", "SIGINT"));
    for (request, want) in [
        (r#"{"Cmd":["c"]}"#, "/e c"),
        (r#"{"Entrypoint":["/x"]}"#, "/x"),
        (r#"{"Entrypoint":["/x"],"Cmd":["c"]}"#, "/x c"),
        (r#"{"Entrypoint":[""],"Cmd":["c"]}"#, "c"),
        (r#"{"Entrypoint":[],"Cmd":["c"]}"#, "c"),
    ] {
        assert_eq!(words(&merged(request, image)), want, "{request}");
    }
}

fn verdict(config: &str, host: &str) -> String {
    let machine = Machine {
        cgroup_v2: false,
        cpus: 2,
        cpu_list: "0-1".into(),
        mem_list: "0".into(),
        cgroups: true,
        swap_limit: true,
        blkio_weight: true,
    };
    let config: ContainerConfig = serde_json::from_str(config).unwrap();
    let mut host: HostConfig = serde_json::from_str(host).unwrap();
    match check(&config, &mut host, &machine) {
        Ok(warnings) => warnings.join("\n"),
        Err(err) => err.to_string(),
    }
}

#[test]
fn nonsense_and_what_is_missing_are_told_apart() {
    let sh = r#"{"Cmd":["sh"]}"#;
    for (config, host, want) in [
        (sh, "{}", ""),
        ("{}", "{}", "no command specified"),
        (
            r#"{"Cmd":["sh"],"WorkingDir":"x"}"#,
            "{}",
            "the working directory 'x' is invalid, it needs to be an absolute path",
        ),
        (r#"{"Cmd":["sh"],"StopSignal":"NOPE"}"#, "{}", "invalid signal: NOPE"),
        (r#"{"Cmd":["sh"],"Env":["=x"]}"#, "{}", "invalid environment variable: =x"),
        (
            r#"{"Cmd":["sh"],"Hostname":"h"}"#,
            r#"{"NetworkMode":"container:a"}"#,
            "conflicting options: hostname and the network mode",
        ),
        (
            sh,
            r#"{"NetworkMode":"host","PortBindings":{"80/tcp":[]}}"#,
            "Published ports are discarded when using host network mode",
        ),
        (
            sh,
            r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":1}}"#,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            sh,
            r#"{"RestartPolicy":{"Name":"always"},"AutoRemove":true}"#,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            sh,
            r#"{"LogConfig":{"Type":"json-file","Config":{"max-sizes":"1"}}}"#,
            "unknown log opt 'max-sizes' for json-file log driver",
        ),
        (
            sh,
            r#"{"LogConfig":{"Type":"gelf"}}"#,
            "failed to initialize logging driver: the log driver \"gelf\" is not there yet",
        ),
        (
            sh,
            r#"{"Annotations":{"org.systemd.property.ExecStartPre":"x"}}"#,
            "annotation org.systemd.property.ExecStartPre is reserved",
        ),
        (
            r#"{"Cmd":["sh"],"Healthcheck":{"Test":["CMD","x"],"Interval":10}}"#,
            "{}",
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            sh,
            r#"{"Annotations":{"dhow.restart-on":"unhealthy"}}"#,
            "--restart-on unhealthy needs a health check: give --health-cmd",
        ),
    ] {
        assert_eq!(verdict(config, host), want, "{config} {host}");
    }
}

#[test]
fn one_mount_for_each_place() {
    let config = serde_json::from_str(r#"{"Volumes":{"/a":{},"/b/":{}}}"#).unwrap();
    let host = serde_json::from_str(r#"{"Binds":["/x:/a"],"Tmpfs":{"/t":""}}"#).unwrap();
    let others = vec![mounting::from_bind("v1:/a").unwrap(), mounting::from_bind("v2:/c").unwrap()];
    let mounts = mounts(&config, &host, others).unwrap();
    let places: Vec<_> =
        mounts.iter().map(|m| format!("{} {}", m.point.kind, m.point.destination)).collect();
    assert_eq!(places, ["bind /a", "tmpfs /t", "volume /c", "volume /b"]);
    let host = serde_json::from_str(r#"{"Binds":["/x:/a"],"Tmpfs":{"/a/":""}}"#).unwrap();
    let err = super::mounts(&config, &host, Vec::new()).unwrap_err();
    assert_eq!(err.to_string(), "Duplicate mount point: /a");
}
