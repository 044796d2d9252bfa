//! Published attacks on how engines copy files and use volumes, tried on ours: the rows D01 to D13 of
//! `docs/security-containers.md`. A canary lies where no container may come, or a file that must not
//! appear; a test passes when all is as it was.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Child;

use crate::volumes::with_volumes;
use testkit::{Sandbox, needs};

/// A directory of the host's that no container has, with a file in it.
struct Canary(PathBuf);

impl Canary {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.work().join("canary");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("secret"), "sings").unwrap();
        std::fs::set_permissions(path.join("secret"), PermissionsExt::from_mode(0o640)).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Nothing has changed, in content, modes or number.
    #[track_caller]
    fn assert_sings(&self) {
        let secret = std::fs::metadata(self.0.join("secret")).unwrap();
        assert_eq!(std::fs::read_to_string(self.0.join("secret")).unwrap(), "sings");
        assert_eq!((secret.mode() & 0o7777, secret.nlink(), secret.uid()), (0o640, 1, 0));
        assert_eq!(std::fs::read_dir(&self.0).unwrap().count(), 1, "something new is there");
    }
}

/// A daemon, for many calls in a row.
struct Daemon<'a> {
    sandbox: &'a Sandbox,
    child: Child,
}

impl<'a> Daemon<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let child = sandbox.dhow_command(&["daemon"]).spawn().unwrap();
        let daemon = Self { sandbox, child };
        testkit::wait_until("the daemon answers", || daemon.curl("-f", "/_ping").code == 0);
        daemon
    }

    fn socket(&self) -> String {
        self.sandbox.state().join("dhow.sock").display().to_string()
    }

    fn curl(&self, flags: &str, path: &str) -> testkit::Output {
        self.sandbox
            .sh(&format!("curl -s {flags} --unix-socket {} 'http://d{path}'", self.socket()))
    }

    fn stop(mut self) {
        self.sandbox.sh(&format!("kill -TERM {}", self.child.id()));
        self.child.wait().unwrap();
    }
}

/// In the container: `/x` is a directory with a file, a link to `canary`, a directory, ... for ever.
fn swapper(canary: &str, place: &str) -> String {
    format!(
        "mkdir -p {place}/x && echo mine >{place}/x/secret && ln -s {canary} {place}/l && echo ready >{place}/ready
         while :; do mv {place}/x {place}/d; mv {place}/l {place}/x; mv {place}/x {place}/l; mv {place}/d {place}/x; done"
    )
}

#[test]
fn d01_a_link_that_comes_and_goes_leads_nowhere() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = with_volumes("d01");
    let canary = Canary::new(&sandbox);
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "evil",
        "busybox",
        "sh",
        "-c",
        &swapper(&canary.path(), ""),
    ]);
    testkit::wait_until("it swaps", || sandbox.dhow(&["exec", "evil", "cat", "/ready"]).code == 0);
    let daemon = Daemon::start(&sandbox);
    let archive = sandbox.work().join("in.tar");
    testkit::archive(&archive, |tar| tar.file("secret", 0o777, b"overwritten"));
    let script = format!(
        "for i in $(seq 150); do
           curl -s --unix-socket {socket} 'http://d/containers/evil/archive?path=/x/secret'
           curl -s --unix-socket {socket} 'http://d/containers/evil/archive?path=/x/'
           curl -s --unix-socket {socket} -T {archive} 'http://d/containers/evil/archive?path=/x'
         done",
        socket = daemon.socket(),
        archive = archive.display()
    );
    let output = sandbox.sh(&script);
    assert!(!output.stdout.contains("sings"), "the canary was read");
    assert!(output.stdout.contains("mine") || output.stdout.contains("overwritten"));
    canary.assert_sings();
    daemon.stop();
    sandbox.ok(&["rm", "-f", "evil"]);
    sandbox.finish();
}

/// D02 and D06: programs and libraries that an image brings are not run, whoever copies, exports or
/// commits, in whatever form an archive comes.
#[test]
fn d02_nothing_of_the_image_is_executed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d02");
    let marker = sandbox.work().join("marker");
    let trojan = format!("#!/bin/sh\ntouch /marker {}\nexit 1\n", marker.display());
    let file = sandbox.work().join("trojan.tar");
    testkit::archive(&file, |tar| {
        for dir in ["bin/", "usr/", "usr/bin/", "lib/", "etc/"] {
            tar.directory(dir, 0o755);
        }
        for name in ["xz", "unpigz", "pigz", "gzip", "gunzip", "zstd", "bzip2", "tar", "sh"] {
            tar.file(&format!("bin/{name}"), 0o755, trojan.as_bytes());
            tar.file(&format!("usr/bin/{name}"), 0o755, trojan.as_bytes());
        }
        for name in ["libnss_files.so.2", "libnss_dns.so.2", "libc.so.6", "ld-linux-x86-64.so.2"] {
            tar.file(&format!("lib/{name}"), 0o755, trojan.as_bytes());
        }
        tar.file("etc/nsswitch.conf", 0o644, b"passwd: evil\n");
        tar.file("etc/ld.so.preload", 0o644, b"/lib/libnss_files.so.2\n");
    });
    sandbox.ok(&["import", file.to_str().unwrap(), "trojan:1"]);
    sandbox.ok(&["create", "--name", "evil", "-u", "nobody:nogroup", "trojan:1", "/bin/sh"]);
    let work = sandbox.work().display().to_string();
    let made = format!(
        "cd {work} && mkdir in && echo x >in/f && tar -cf p.tar in && gzip -k p.tar && (xz -k p.tar; zstd -q p.tar; bzip2 -k p.tar; ls p.tar*)"
    );
    let archives = sandbox.sh(&made).stdout;
    let dhow = testkit::dhow_program().display().to_string();
    let mut n_taken = 0;
    for archive in archives.lines() {
        // What cannot be unpacked is refused, and no program is asked.
        n_taken +=
            u32::from(sandbox.sh(&format!("{dhow} cp - evil:/etc <{work}/{archive}")).code == 0);
    }
    assert!(n_taken >= 2, "{archives}");
    let out = format!("{work}/out");
    sandbox.ok(&["cp", "evil:/etc", &out]);
    sandbox.dhow(&["cp", "-a", &format!("{work}/in"), "evil:/"]);
    sandbox.ok(&["export", "-o", &format!("{work}/exported.tar"), "evil"]);
    sandbox.ok(&["commit", "evil", "trojan:2"]);
    assert!(!marker.exists(), "a program of the image was run");
    assert_eq!(
        sandbox.dhow(&["cp", "evil:/marker", &out]).code,
        1,
        "a program of the image was run"
    );
    sandbox.ok(&["rm", "evil"]);
    sandbox.ok(&["rmi", "trojan:1", "trojan:2"]);
    sandbox.finish();
}

#[test]
fn d03_no_mode_of_the_hosts_is_changed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d03");
    let canary = Canary::new(&sandbox);
    let path = canary.path();
    let script = format!(
        "ln -s {path} /dir; ln -s {path}/secret /file; mkdir /t; ln -s ../../../../../../..{path} /t/up"
    );
    sandbox.ok(&["run", "--name", "evil", "busybox", "sh", "-c", &script]);
    let before = sandbox.sh(&format!("stat -c '%n %a %u %g' / /tmp {path} {path}/secret")).stdout;
    let file = sandbox.work().join("modes.tar");
    for names in [
        &["dir/", "dir/secret"][..],
        &["file"],
        &["t/up/secret"],
        &["t/../../../../../../../../..", "../x/"],
    ] {
        testkit::archive(&file, |tar| {
            for name in names {
                match name.strip_suffix('/') {
                    Some(_) => tar.directory(name, 0o777),
                    None => tar.file(name, 0o777, b"bad"),
                }
            }
        });
        let dhow = testkit::dhow_program().display().to_string();
        // Some are refused, some stay inside: what counts is what is outside.
        sandbox.sh(&format!("{dhow} cp - evil:/ <{}", file.display()));
        let after =
            sandbox.sh(&format!("stat -c '%n %a %u %g' / /tmp {path} {path}/secret")).stdout;
        assert_eq!(before, after, "{names:?}");
        canary.assert_sings();
    }
    sandbox.ok(&["rm", "evil"]);
    sandbox.finish();
}

#[test]
fn d04_a_containers_link_means_what_is_in_the_container() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d04");
    let canary = Canary::new(&sandbox);
    let path = canary.path();
    let file = sandbox.work().join("file");
    std::fs::write(&file, "new").unwrap();
    let file = file.display().to_string();
    for (name, keep) in [("stopped", "true"), ("running", "sleep 600")] {
        let script = format!("mkdir -p {path}; ln -s {path} /test; {keep}");
        sandbox.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", &script]);
        if keep == "true" {
            sandbox.ok(&["wait", name]);
        }
        testkit::wait_until("the link is there", || {
            sandbox.dhow(&["cp", &file, &format!("{name}:/test")]).code == 0
        });
        canary.assert_sings();
        let out = sandbox.work().join(name).display().to_string();
        sandbox.ok(&["cp", &format!("{name}:{path}/file"), &out]);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "new");
    }
    sandbox.ok(&["rm", "-f", "stopped", "running"]);
    sandbox.finish();
}

#[test]
fn d05_odd_names_come_out_as_they_are() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d05");
    let names = ["*", "?", "[a-z]", "a\nb", "-rf", "--help", "$(touch x)", "a b", "~"];
    let make: Vec<String> = names.iter().map(|name| format!("echo x >'/odd/{name}'")).collect();
    let script = format!("mkdir /odd; {}", make.join("; "));
    sandbox.ok(&["run", "--name", "evil", "busybox", "sh", "-c", &script]);
    let out = sandbox.work().join("out");
    sandbox.ok(&["cp", "evil:/odd", out.to_str().unwrap()]);
    let mut got: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    got.sort();
    let mut want: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    want.sort();
    assert_eq!(got, want);
    let one = sandbox.work().join("one");
    std::fs::create_dir(&one).unwrap();
    sandbox.ok(&["cp", "evil:/odd/*", one.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(&one).unwrap().count(), 1);
    sandbox.ok(&["rm", "evil"]);
    sandbox.finish();
}

/// D07 and D08: places for what is mounted are made, and mounted on, inside the container's root, also
/// while somebody swaps them; and nothing of it is seen on the host.
#[test]
fn d07_places_of_volumes_are_inside() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = with_volumes("d07");
    let canary = Canary::new(&sandbox);
    let swap = swapper(&canary.path(), "/vol");
    sandbox.ok(&["run", "-d", "--name", "evil", "-v", "vol:/vol", "busybox", "sh", "-c", &swap]);
    testkit::wait_until("it swaps", || {
        sandbox.dhow(&["exec", "evil", "cat", "/vol/ready"]).code == 0
    });
    // Where this one has the other volume mounted is in the first, under who swaps it.
    sandbox.ok(&[
        "create",
        "--name",
        "one",
        "-v",
        "vol:/vol",
        "-v",
        "in:/vol/x/made",
        "busybox",
        "true",
    ]);
    let daemon = Daemon::start(&sandbox);
    let before = sandbox.sh("cat /proc/self/mountinfo").stdout;
    let archive = sandbox.work().join("in.tar");
    testkit::archive(&archive, |tar| tar.file("secret", 0o777, b"overwritten"));
    let script = format!(
        "for i in $(seq 60); do
           curl -s --unix-socket {socket} -T {archive} 'http://d/containers/one/archive?path=/vol/x/made'
           curl -s --unix-socket {socket} 'http://d/containers/one/archive?path=/vol/x/made/secret'
           curl -s --unix-socket {socket} -T {archive} 'http://d/containers/evil/archive?path=/vol/x'
         done",
        socket = daemon.socket(),
        archive = archive.display()
    );
    let output = sandbox.sh(&script);
    assert!(!output.stdout.contains("sings"), "the canary was read");
    canary.assert_sings();
    assert_eq!(sandbox.sh("cat /proc/self/mountinfo").stdout, before);
    daemon.stop();
    sandbox.ok(&["rm", "-f", "evil", "one"]);
    sandbox.ok(&["volume", "rm", "vol", "in"]);

    // And an ordinary absolute link on the way still works.
    let links = sandbox.work().join("links.tar");
    testkit::archive(&links, |tar| {
        tar.directory("run/", 0o755);
        tar.directory("var/", 0o755);
        tar.symlink("var/run", "/run");
    });
    sandbox.ok(&["import", links.to_str().unwrap(), "links:1"]);
    sandbox.ok(&["create", "--name", "two", "-v", "in:/var/run/data", "links:1", "true"]);
    let file = sandbox.work().join("file");
    std::fs::write(&file, "fine").unwrap();
    sandbox.ok(&["cp", file.to_str().unwrap(), "two:/var/run/data"]);
    let held = sandbox.root().join("volumes/in/_data/file");
    assert_eq!(std::fs::read_to_string(held).unwrap(), "fine");
    sandbox.ok(&["rm", "two"]);
    sandbox.ok(&["volume", "rm", "in"]);
    sandbox.ok(&["rmi", "links:1"]);
    sandbox.finish();
}

/// Puts an attack into an archive.
type Fill<'a> = &'a dyn Fn(&mut testkit::Archive);

/// Answers every request as an engine would that a hostile container has: with this archive.
fn hostile_engine(socket: &Path, archive: Vec<u8>, is_directory: bool) {
    let listener = UnixListener::bind(socket).unwrap();
    let mode: u64 = if is_directory { 1 << 31 | 0o755 } else { 0o644 };
    let stat = format!(
        r#"{{"name":"evil","size":1,"mode":{mode},"mtime":"2026-01-01T00:00:00Z","linkTarget":""}}"#
    );
    let stat = data_encoding::BASE64.encode(stat.as_bytes());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let body: &[u8] =
                if request.starts_with(b"GET") && !request.windows(5).any(|w| w == b"_ping") {
                    &archive
                } else {
                    b""
                };
            let head = format!(
                "HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\nContent-Type: application/x-tar\r\n\
                 X-Docker-Container-Path-Stat: {stat}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
}

#[test]
fn d09_what_a_container_sends_stays_where_it_was_sent() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d09");
    let canary = Canary::new(&sandbox);
    let path = canary.path();
    let attacks: [(&str, bool, Fill<'_>); 9] = [
        ("link-then-file", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.symlink("evil/l", &path);
            tar.file("evil/l/secret", 0o777, b"bad");
            tar.file("evil/l/new", 0o777, b"bad");
        }),
        ("link-at-the-top", true, &|tar| {
            tar.symlink("evil", &path);
            tar.file("evil/secret", 0o777, b"bad");
        }),
        ("relative-link", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.symlink("evil/up", "..");
            tar.file("evil/up/sibling", 0o644, b"bad");
            tar.file("evil/up/canary/secret", 0o644, b"bad");
        }),
        ("hard-link", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.hard_link("evil/h", &format!("{path}/secret"));
            tar.file("evil/h", 0o777, b"bad");
        }),
        ("hard-link-up", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.hard_link("evil/h", "../canary/secret");
            tar.file("evil/h", 0o777, b"bad");
        }),
        ("dots", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.file("evil/../canary/secret", 0o777, b"bad");
            tar.file("../sibling", 0o777, b"bad");
        }),
        ("absolute", true, &|tar| tar.file(&format!("{path}/secret"), 0o777, b"bad")),
        ("another-name", true, &|tar| {
            tar.directory("evil/", 0o755);
            tar.file("sibling", 0o777, b"bad");
            tar.file("canary/secret", 0o777, b"bad");
        }),
        ("two-files", false, &|tar| {
            tar.symlink("evil", &format!("{path}/secret"));
            tar.file("evil", 0o777, b"bad");
        }),
    ];
    for (name, is_directory, fill) in attacks {
        let file = sandbox.work().join("attack.tar");
        testkit::archive(&file, fill);
        let socket = sandbox.work().join(format!("{name}.sock"));
        hostile_engine(&socket, std::fs::read(&file).unwrap(), is_directory);
        let address = format!("unix://{}", socket.display());
        for target in ["dir", "new"] {
            let place = sandbox.work().join(format!("{name}-{target}"));
            std::fs::create_dir(&place).unwrap();
            let beside = || {
                let entries = std::fs::read_dir(&place).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name != "dir" && name != "new").collect::<Vec<_>>()
            };
            let to = place.join(target);
            if target == "dir" {
                std::fs::create_dir(&to).unwrap();
            }
            sandbox.dhow(&["-H", &address, "cp", "web:/evil", to.to_str().unwrap()]);
            canary.assert_sings();
            assert_eq!(beside(), Vec::<String>::new(), "{name} {target}");
            assert!(!sandbox.work().join("sibling").exists(), "{name} {target}");
            if target == "dir" {
                let inside = std::fs::read_dir(&to).unwrap();
                let names: Vec<_> = inside.map(|entry| entry.unwrap().file_name()).collect();
                assert!(names.iter().all(|name| name == "evil"), "{name}: {names:?}");
            }
        }
    }
    sandbox.finish();
}

#[test]
fn d10_a_backup_reads_the_volume_alone() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d10");
    let canary = Canary::new(&sandbox);
    let swap = swapper(&canary.path(), "/vol");
    sandbox.ok(&["run", "-d", "--name", "evil", "-v", "vol:/vol", "busybox", "sh", "-c", &swap]);
    testkit::wait_until("it swaps", || {
        sandbox.dhow(&["exec", "evil", "cat", "/vol/ready"]).code == 0
    });
    let dhow = testkit::dhow_program().display().to_string();
    let script = format!(
        "for i in $(seq 40); do {dhow} volume backup vol; done; \
         for i in $(seq 10); do {dhow} volume clone --no-pause vol copy$i && {dhow} volume backup copy$i; {dhow} volume rm -f copy$i; done"
    );
    let output = sandbox.sh(&script);
    assert!(!output.stdout.contains("sings"), "the canary was read");
    assert!(output.stdout.contains("mine"));
    canary.assert_sings();
    sandbox.ok(&["rm", "-f", "evil"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}

/// What the engine writes into a container's files (here: those of `/etc`) goes through no link that a
/// container left in a volume.
#[test]
fn d11_links_in_a_volume_are_not_written_through() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d11");
    let canary = Canary::new(&sandbox);
    let secret = format!("{}/secret", canary.path());
    let script = format!(
        "for f in hosts hostname resolv.conf; do ln -sf {secret} /v/$f; done; ln -s {} /v/dir",
        canary.path()
    );
    sandbox.ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", &script]);
    for line in [
        &["-v", "vol:/etc"][..],
        &["-v", "vol:/v", "-v", "other:/v/dir/new"],
        &["-v", "vol:/v", "--tmpfs", "/v/dir/new"],
        &["-v", "vol:/v", "--mount", "type=image,src=busybox,dst=/v/dir/new"],
        &["-v", "vol:/etc", "-v", "other:/etc/hosts"],
    ] {
        sandbox.dhow(
            &[
                &["run", "--rm"],
                line,
                &["busybox", "sh", "-c", "echo bad >/etc/hosts; touch /v/dir/new/x"],
            ]
            .concat(),
        );
        canary.assert_sings();
    }
    sandbox.ok(&["volume", "rm", "vol", "other"]);
    sandbox.finish();
}

#[test]
fn d12_no_archive_reaches_the_host() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("d12");
    let canary = Canary::new(&sandbox);
    let path = canary.path();
    sandbox.ok(&["create", "--name", "box", "-v", "vol:/vol", "busybox", "true"]);
    let dhow = testkit::dhow_program().display().to_string();
    let up = format!("../../../../../../../../..{path}");
    let n_attacks = 7;
    for nth in 0..n_attacks {
        let file = sandbox.work().join("attack.tar");
        testkit::archive(&file, |tar| match nth {
            0 => tar.file(&format!("{up}/secret"), 0o777, b"bad"),
            1 => {
                tar.symlink("l", &path);
                tar.file("l/secret", 0o777, b"bad");
                tar.directory("l/new/", 0o777);
            }
            2 => {
                tar.hard_link("h", &format!("{path}/secret"));
                tar.file("h", 0o777, b"bad");
            }
            3 => {
                tar.symlink("a", "b");
                tar.symlink("b", &up);
                tar.file("a/secret", 0o777, b"bad");
            }
            4 => {
                tar.symlink("s", &format!("{path}/secret"));
                tar.hard_link("h", "s");
                tar.file("s", 0o777, b"bad");
            }
            5 => {
                tar.directory("d/", 0o755);
                tar.symlink("d", &path);
                tar.file("d/secret", 0o777, b"bad");
            }
            _ => tar.file(&format!("{path}/secret"), 0o777, b"bad"),
        });
        let file = file.display();
        sandbox.sh(&format!(
            "{dhow} cp - box:/ <{file}; {dhow} cp - box:/vol <{file}; \
             {dhow} volume restore -i {file} restored; {dhow} volume rm -f restored; {dhow} import {file} attack:1"
        ));
        canary.assert_sings();
        if sandbox.dhow(&["image", "inspect", "attack:1"]).code == 0 {
            sandbox.ok(&["rmi", "-f", "attack:1"]);
        }
    }
    sandbox.ok(&["rm", "box"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.ok(&["image", "prune", "-f"]);
    sandbox.finish();
}

#[test]
fn d13_names_are_no_paths() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = with_volumes("d13");
    let daemon = Daemon::start(&sandbox);
    let long = "x".repeat(300);
    let bad: [(&str, &str); 6] = [
        ("../x", "..%2Fx"),
        ("/etc/x", "%2Fetc%2Fx"),
        ("a/../../x", "a%2F..%2F..%2Fx"),
        ("..", ".."),
        ("a\\u0000b", "a%00b"),
        (&long, &long),
    ];
    let status = |flags: &str, path: &str| {
        daemon.curl(&format!("--path-as-is -o /dev/null -w '%{{http_code}}' {flags}"), path).stdout
    };
    let json = "-H 'Content-Type: application/json' -X POST -d";
    let mut answers = BTreeMap::new();
    for (plain, encoded) in bad {
        for (what, flags, path) in [
            (
                "container",
                format!("{json} '{{\"Image\":\"busybox\",\"Cmd\":[\"true\"]}}'"),
                format!("/containers/create?name={encoded}"),
            ),
            ("volume", format!("{json} '{{\"Name\":\"{plain}\"}}'"), "/volumes/create".to_owned()),
            (
                "network",
                format!("{json} '{{\"Name\":\"{plain}\"}}'"),
                "/networks/create".to_owned(),
            ),
            (
                "mount",
                format!(
                    "{json} '{{\"Image\":\"busybox\",\"Cmd\":[\"true\"],\"HostConfig\":{{\"Mounts\":[{{\"Type\":\"volume\",\"Source\":\"{plain}\",\"Target\":\"/v\"}}]}}}}'"
                ),
                "/containers/create".to_owned(),
            ),
            ("restored", "-X POST".to_owned(), format!("/dhow/volumes/{encoded}/archive")),
        ] {
            // An absolute path as a name of a network is a name.
            let code = status(&flags, &path);
            answers.insert(format!("{what} {plain:.20}"), code);
        }
        for path in [
            format!("/containers/{encoded}/json"),
            format!("/exec/{encoded}/json"),
            format!("/volumes/{encoded}"),
            format!("/containers/{encoded}/checkpoints/{encoded}"),
            format!("/dhow/volumes/{encoded}/archive"),
        ] {
            let code = status("", &path);
            // One that is not clean is asked for anew (301), and then is another path.
            assert!(["301", "400", "404", "501"].contains(&code.as_str()), "{path}: {code}");
        }
    }
    let made: Vec<_> = answers
        .iter()
        .filter(|(what, code)| {
            let fine = ["301", "400", "404"].contains(&code.as_str());
            // A network's name is text that becomes no path: Docker takes all but those with nothing in them.
            !fine && !what.starts_with("network")
        })
        .collect();
    assert!(made.is_empty(), "{made:?}");
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "");
    daemon.stop();
    let networks = sandbox.ok(&["network", "ls", "-q", "--filter", "type=custom"]);
    for id in networks.lines() {
        sandbox.ok(&["network", "rm", id]);
    }
    sandbox.finish();
}
