//! What a container can have here and with Docker cannot: clocks of its own, rights given up.

use testkit::needs;

use crate::busybox;

#[test]
fn clocks_of_its_own() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("clocks");
    let up = |args: &[&str]| -> f64 {
        let run = [&["run", "--rm"], args, &["busybox", "cat", "/proc/uptime"]].concat();
        sandbox.ok(&run).split(' ').next().unwrap().parse().unwrap()
    };
    let machine: f64 = std::fs::read_to_string("/proc/uptime")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((up(&[]) - machine) < 3600.0);
    let ahead = up(&["--time-offset", "boottime=240h", "--time-offset", "monotonic=1h"]) - machine;
    assert!((864_000.0..867_600.0).contains(&ahead), "{ahead}");
    let day = ["--annotation", "dhow.time-offsets=boottime=24h"];
    assert!((86_400.0..90_000.0).contains(&(up(&day) - machine)), "as Docker's client asks");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "on",
        "--time-offset",
        "boottime=240h",
        "busybox",
        "sleep",
        "600",
    ]);
    let inside: f64 = sandbox
        .ok(&["exec", "on", "cat", "/proc/uptime"])
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(inside - machine >= 864_000.0, "an exec has the container's clocks");
    sandbox.ok(&["rm", "-f", "on"]);
    let refused = sandbox.dhow(&["run", "--rm", "--time-offset", "realtime=1h", "busybox", "true"]);
    assert!(
        refused.code == 125 && refused.stderr.contains("the clocks are monotonic and boottime"),
        "{refused:?}"
    );
    sandbox.finish();
}

#[test]
fn rights_that_are_given_up() {
    needs!(Root, Overlay, Netns, Busybox);
    if sys::landlock_abi().map_or(0, |abi| abi) < 4 {
        return testkit::skip("ours::rights_that_are_given_up", "no Landlock 4 in this kernel");
    }
    let sandbox = busybox("landlock");
    sandbox.ok(&["volume", "create", "data"]);
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.baseline();
    let run = |rules: &[&str], script: &str| {
        let mut args = vec!["run", "--rm", "-v", "data:/data"];
        for rule in rules {
            args.extend(["--landlock", rule]);
        }
        args.extend(["busybox", "sh", "-c", script]);
        let output = sandbox.dhow(&args);
        (output.code, output.stdout, output.stderr)
    };
    let script = "cat /etc/hostname >/dev/null && echo read; echo x >/data/file && echo wrote; \
                  echo x >/tmp/file && echo more; ls /data";
    let (_, free, _) = run(&[], script);
    assert_eq!(free, "read\nwrote\nmore\nfile\n");
    // Root in the container, with its capabilities: it keeps no more than it is told.
    let (_, kept, said) = run(&["rx=/", "rw=/data", "w=/dev/null"], script);
    assert_eq!(kept, "read\nwrote\nfile\n", "{said}");
    let (_, nothing, said) = run(&["rx=/bin", "w=/dev/null"], script);
    assert_eq!(nothing, "", "{said}");
    let (code, _, said) = run(&["r=/"], "true");
    assert_eq!(code, 126, "nothing may be executed: {said}");
    // Asks again only where nobody listens yet.
    let listen = "nc -l -p 8080 & server=$!
        until said=$(nc -w 1 127.0.0.1 8080 </dev/null 2>&1) && echo connected; do
            case $said in *refused) ;; *) echo \"$said\" >&2; break ;; esac
            kill -0 $server 2>/dev/null || break; sleep 0.02
        done
        kill $server 2>/dev/null";
    let (_, free, said) = run(&["rwx=/"], listen);
    assert_eq!(free, "connected\n", "{said}");
    let (_, bound, said) = run(&["rwx=/", "tcp-bind=8080"], listen);
    assert!(bound.is_empty() && said.contains("Permission denied"), "{said}");
    // Who is let in by an exec gives up the same.
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "on",
        "--landlock",
        "rx=/",
        "--landlock",
        "w=/dev/null",
        "busybox",
        "sleep",
        "600",
    ]);
    let entered = sandbox.dhow(&["exec", "on", "sh", "-c", "echo x >/tmp/file"]);
    assert!(entered.code != 0 && entered.stderr.contains("Permission denied"), "{entered:?}");
    sandbox.ok(&["rm", "-f", "on"]);
    let (code, _, said) = run(&["rq=/"], "true");
    assert!(code == 125 && said.contains("is neither RIGHTS=PATH"), "{said}");
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.finish();
}
