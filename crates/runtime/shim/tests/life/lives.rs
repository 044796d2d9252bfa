//! A container's own streams, signals and end.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::{fs, thread};

use rustix::process::Signal;
use serde_json::json;
use shim_protocol::{Attach, LogConfig, LogMode, OnExit, Phase, Reply, Request, Rootfs, Rotation};

use crate::Case;
use crate::container::{ALL, Container, read_all, read_until, unframe, write};
use crate::fixture::{base, busybox_layer, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("output_is_delivered_and_logged", output_is_delivered_and_logged),
    ("who_asks_before_the_start_misses_nothing", who_asks_before_the_start_misses_nothing),
    ("who_comes_after_the_end_is_told", who_comes_after_the_end_is_told),
    ("what_only_another_version_knows_is_told", what_only_another_version_knows_is_told),
    ("half_a_close_ends_standard_input", half_a_close_ends_standard_input),
    ("input_without_stdin_once_has_no_end", input_without_stdin_once_has_no_end),
    ("no_input_is_dev_null", no_input_is_dev_null),
    ("a_terminal_is_raw_both_ways", a_terminal_is_raw_both_ways),
    ("signals_reach_init", signals_reach_init),
    ("a_signal_in_the_moment_of_the_end", a_signal_in_the_moment_of_the_end),
    ("a_command_not_found_leaves_nothing", a_command_not_found_leaves_nothing),
    ("a_program_that_cannot_run_ends_every_stream", a_program_that_cannot_run_ends_every_stream),
    ("an_engine_that_dies_leaves_nothing", an_engine_that_dies_leaves_nothing),
    ("a_slow_client_loses_nothing", a_slow_client_loses_nothing),
    ("a_dead_client_holds_nobody_up", a_dead_client_holds_nobody_up),
    ("output_survives_the_shim", output_survives_the_shim),
    ("frozen_and_thawed", frozen_and_thawed),
    ("killed_while_frozen", killed_while_frozen),
    ("what_cannot_be_noted_as_frozen_goes_on", what_cannot_be_noted_as_frozen_goes_on),
    ("another_user_can_reopen_its_output", another_user_can_reopen_its_output),
    ("many_lower_directories", many_lower_directories),
    ("the_hosts_root_stays_as_it_is", the_hosts_root_stays_as_it_is),
    ("a_second_life_keeps_log_and_changes", a_second_life_keeps_log_and_changes),
    ("the_shim_becomes_what_follows", the_shim_becomes_what_follows),
    ("who_waits_removes_the_container", who_waits_removes_the_container),
    ("files_that_are_left_to_it_are_deleted", files_that_are_left_to_it_are_deleted),
    ("who_was_to_remove_it_is_looked_after", who_was_to_remove_it_is_looked_after),
    (
        "a_dead_client_does_not_keep_the_shim_from_what_follows",
        a_dead_client_does_not_keep_the_shim_from_what_follows,
    ),
    ("mounts_end_with_a_killed_shim", mounts_end_with_a_killed_shim),
    ("memory_runs_out", memory_runs_out),
    ("a_shim_is_small", a_shim_is_small),
    ("a_failure_at_any_step_leaves_nothing", a_failure_at_any_step_leaves_nothing),
];

const OUTPUT: Attach = Attach { stdin: false, stdout: true, stderr: true };

fn output_is_delivered_and_logged() {
    let mut it = Container::new("read go; echo out; echo err >&2; printf 'no newline'; exit 7");
    it.config.open_stdin = true;
    let client = it.launch_attached(ALL);
    let waiter = it.begin(&Request::Wait { removes: false });
    // Not before somebody waits for its end.
    write(&client, "go\n");
    let reply = shim_protocol::receive::<Reply>(&waiter).unwrap();
    assert_eq!(reply, Some(Reply::Exited { code: 7, removes: false, heir: None }));
    assert!(!it.run_dir().exists(), "gone before anyone is told");
    drop(waiter);
    let want = ("out\nno newline".to_owned(), "err\n".to_owned());
    assert_eq!(unframe(&read_all(&client)), want);
    assert_eq!(it.join(), 7);
    assert_eq!(it.log("stdout"), ["out\n", "no newline"]);
    assert_eq!(it.log("stderr"), ["err\n"]);
    let status = it.status();
    assert_eq!((status.phase, status.pid, status.shim_pid), (Phase::Exited, 0, 0));
    assert!(
        status.started_at < status.finished_at && !status.oom_killed && status.error.is_empty()
    );
}

fn half_a_close_ends_standard_input() {
    let mut it = Container::new("cat; echo after");
    (it.config.open_stdin, it.config.stdin_once) = (true, true);
    let client = it.launch_attached(ALL);
    let big = "0123456789abcdef\n".repeat(40_000);
    let reader = {
        let client = client.try_clone().unwrap();
        thread::spawn(move || read_all(&client))
    };
    write(&client, &big);
    client.shutdown(Shutdown::Write).unwrap();
    assert!(unframe(&reader.join().unwrap()).0 == big + "after\n");
    assert_eq!(it.join(), 0);
}

fn input_without_stdin_once_has_no_end() {
    let mut it = Container::new("while read line; do echo got $line; done; echo end");
    it.config.open_stdin = true;
    let client = it.launch_attached(ALL);
    write(&client, "a\n");
    read_until(&client, "got a\n");
    drop(client);
    let client = it.attach(ALL);
    write(&client, "b\n");
    read_until(&client, "got b\n");
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn no_input_is_dev_null() {
    let mut it = Container::new("cat; echo end");
    let mut client = it.launch_attached(ALL);
    // It may have ended by now, and the connection with it.
    let _gone = std::io::Write::write_all(&mut client, b"never read\n");
    assert_eq!(unframe(&read_all(&client)).0, "end\n");
    assert_eq!(it.join(), 0);
}

fn a_terminal_is_raw_both_ways() {
    // The trap is set before the test is told to resize; and the shell looks for signals between
    // reads, so that one which comes just before a read is not left until the next line.
    let script = "trap 'stty size' WINCH; stty size; test -t 0 && test -t 2 && echo tty; \
                  while ! read -t 1 line; do :; done; echo got $line; exit 3";
    let mut it = Container::new(script).with_terminal();
    let client = it.launch_attached(ALL);
    read_until(&client, "40 100\r\n");
    read_until(&client, "tty\r\n");
    let (_, reply) = it.request(&Request::Resize { exec: None, width: 90, height: 30 });
    assert_eq!(reply, Reply::Ok);
    read_until(&client, "30 90\r\n");
    write(&client, "input\r");
    read_until(&client, "input\r\n");
    read_until(&client, "got input\r\n");
    assert_eq!(read_all(&client), b"");
    assert_eq!(it.join(), 3);
    assert!(it.log("stdout").concat().starts_with("40 100\r\n"));
}

fn signals_reach_init() {
    let mut it =
        Container::new("trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    let client = it.launch_attached(OUTPUT);
    read_until(&client, "ready\n");
    assert_eq!(it.request(&Request::Kill { signal: 15, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(unframe(&read_all(&client)).0, "term\n");
    assert_eq!(it.join(), 5);

    let mut it = Container::new("sleep 100");
    it.launch();
    assert!(matches!(
        it.request(&Request::Kill { signal: 77, stop: false, keep: false }).1,
        Reply::Error(_)
    ));
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

/// The shim hears of the end and of the request at once: it has waited for what the signal is for.
fn a_signal_in_the_moment_of_the_end() {
    let request = |signal| Request::Kill { signal, stop: false, keep: false };
    let mut it = Container::new("sleep 100");
    it.launch();
    let line = serde_json::to_string(&request(9)).unwrap();
    let (begin, rest) = line.split_at(1);
    let client = it.connect();
    write(&client, begin);
    // Who comes later has an answer: it has taken the connection before, too.
    assert_eq!(it.request(&request(0)).1, Reply::Ok);
    let pid = |number| rustix::process::Pid::from_raw(number).unwrap();
    let tell = |number, signal| rustix::process::kill_process(pid(number), signal).unwrap();
    let init = it.status().pid;
    let is = |number, state: &str| {
        fs::read_to_string(format!("/proc/{number}/stat")).unwrap().contains(state)
    };
    tell(it.shim_pid(), Signal::STOP);
    wait_until("it stands still", || is(it.shim_pid(), ") T "));
    tell(init, Signal::KILL);
    wait_until("it is dead", || is(init, ") Z "));
    write(&client, &format!("{rest}\n"));
    tell(it.shim_pid(), Signal::CONT);
    assert_eq!(shim_protocol::receive::<Reply>(&client).unwrap(), Some(Reply::Ok));
    assert_eq!(it.join(), 137);
}

fn who_asks_before_the_start_misses_nothing() {
    let mut it = Container::new("echo first; exit 4");
    it.listen();
    let client = it.begin(&Request::Attach(OUTPUT));
    let waiter = it.begin(&Request::Wait { removes: false });
    shim_protocol::send(it.control_stream(), &Request::Start).unwrap();
    assert!(matches!(it.control(), Reply::Created { .. }));
    assert!(matches!(it.control(), Reply::Started { .. }));
    assert_eq!(shim_protocol::receive(&client).unwrap(), Some(Reply::Ok));
    assert_eq!(unframe(&read_all(&client)).0, "first\n");
    let reply = shim_protocol::receive::<Reply>(&waiter).unwrap();
    assert_eq!(reply, Some(Reply::Exited { code: 4, removes: false, heir: None }));
    assert_eq!(it.join(), 4);
}

fn who_comes_after_the_end_is_told() {
    let mut it = Container::new("exit 3");
    it.failpoints = "shim.delete=delay:1500".into();
    it.launch();
    wait_until("it has ended", || it.status().phase == Phase::Exited);
    thread::sleep(std::time::Duration::from_millis(300));
    if !it.run_dir().exists() {
        println!("skipped: who_comes_after_the_end_is_told: built without failpoints");
        return;
    }
    // Its streams have gone by the time that this is read.
    let (client, reply) = it.request(&Request::Attach(OUTPUT));
    let Reply::Error(error) = reply else { panic!("it is attached") };
    assert!(error.not_running, "{error}");
    assert_eq!(read_all(&client), b"");
    assert_eq!(it.join(), 3);
}

fn a_command_not_found_leaves_nothing() {
    let mut it = Container::new("");
    it.spec["process"]["args"] = json!(["nosuch"]);
    let mut reply = it.create();
    if let Reply::Created { .. } = reply {
        // A runtime may find out only when it is to start it.
        shim_protocol::send(it.control_stream(), &Request::Start).unwrap();
        reply = it.control();
    }
    let Reply::Error(err) = reply else { panic!("{reply:?}") };
    assert_eq!(err.exit_code, Some(127), "{err}");
    assert!(err.message.contains("nosuch"), "{err}");
    it.wait_for_shim();
    it.assert_nothing_left();
    let status = it.status();
    assert_eq!((status.phase, status.exit_code), (Phase::Created, 127));
    assert!(status.error.contains("nosuch"));
}

fn a_program_that_cannot_run_ends_every_stream() {
    let mut it = Container::new("");
    it.spec["process"]["args"] = json!(["/garbage"]);
    fs::write(it.upper().join("garbage"), "\u{1}\u{2}").unwrap();
    fs::set_permissions(it.upper().join("garbage"), fs::Permissions::from_mode(0o755)).unwrap();
    let reply = it.create();
    assert!(matches!(reply, Reply::Created { .. }), "{reply:?}");
    let client = it.attach(OUTPUT);
    shim_protocol::send(it.control_stream(), &Request::Start).unwrap();
    match it.control() {
        Reply::Error(err) => {
            assert_eq!((err.exit_code, it.status().phase), (Some(126), Phase::Created), "{err}");
        }
        // runc reports that as output of the program.
        Reply::Started { .. } => {}
        other => panic!("{other:?}"),
    }
    read_all(&client);
    it.wait_for_shim();
    it.assert_nothing_left();
}

fn an_engine_that_dies_leaves_nothing() {
    let mut it = Container::new("sleep 100");
    assert!(matches!(it.create(), Reply::Created { .. }));
    it.abandon();
    it.wait_for_shim();
    it.assert_nothing_left();
    assert_eq!(it.status().phase, Phase::Created);

    let mut it = Container::new("sleep 0.2; exit 4");
    it.launch();
    it.abandon();
    assert_eq!(it.join(), 4);
}

/// An engine may be of another version than a supervisor that has been at work for long.
fn what_only_another_version_knows_is_told() {
    let mut it = Container::new("sleep 100");
    it.launch();
    let client = it.begin(&json!({"op": "of-a-later-version"}));
    let reply = shim_protocol::receive::<Reply>(&client).unwrap();
    let Some(Reply::Error(err)) = reply else { panic!("{reply:?}") };
    let (why, which) = ("is of another version", "unknown variant `of-a-later-version`");
    assert!(err.message.contains(why) && err.message.contains(which), "{err}");
    // It is no worse for that.
    let kill = Request::Kill { signal: 9, stop: true, keep: false };
    assert_eq!(it.request(&kill).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn a_slow_client_loses_nothing() {
    let mut it = Container::new("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done");
    let rotation = Rotation { max_bytes: Some(100_000), max_files: 3, compress: false };
    let mode = LogMode::Blocking;
    it.config.log = LogConfig::JsonFile { rotation, attrs: [].into(), mode };
    let slow = it.launch_attached(OUTPUT);
    let fast = it.attach(Attach { stdout: true, ..Attach::default() });
    let fast = thread::spawn(move || unframe(&read_all(&fast)).0);
    // The slow one reads nothing until the pipes are full.
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(!fast.is_finished(), "the container waits for the slow one");
    let all = unframe(&read_all(&slow)).0;
    let lines: Vec<_> = all.lines().collect();
    assert_eq!((lines.len(), lines[59_999]), (60_000, "line 59999"));
    let fast = fast.join().unwrap();
    assert!(all.ends_with(&fast) && !fast.is_empty());
    assert_eq!(it.join(), 0);
    assert_eq!(it.log("stdout").last().unwrap(), "line 59999\n");
}

fn a_dead_client_holds_nobody_up() {
    let mut it = Container::new("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done");
    let slow = it.launch_attached(OUTPUT);
    thread::sleep(std::time::Duration::from_millis(200));
    drop(slow);
    assert_eq!(it.join(), 0);
    assert_eq!(it.log("stdout").len(), 60_000);
}

fn output_survives_the_shim() {
    let mut it = Container::new("head -c 300000 /dev/zero | tr '\\0' x");
    let client = it.launch_attached(OUTPUT);
    // The rest is read when the shim is gone.
    let mut first = vec![0; 150_000];
    (&client).read_exact(&mut first).unwrap();
    assert_eq!(it.join(), 0);
    let rest = read_all(&client);
    assert_eq!(unframe(&[first, rest].concat()).0.len(), 300_000);
}

fn frozen_and_thawed() {
    let mut it = Container::new("while :; do echo tick; sleep 0.02; done");
    let client = it.launch_attached(OUTPUT);
    read_until(&client, "tick\n");
    assert!(matches!(it.request(&Request::Resume).1, Reply::Error(_)));
    assert_eq!(it.request(&Request::Pause).1, Reply::Ok);
    assert_eq!(it.status().phase, Phase::Paused);
    assert!(matches!(it.request(&Request::Pause).1, Reply::Error(_)));
    let (_, refused) = it.exec("aa", &["true"], Attach::default(), false);
    assert!(matches!(refused, Reply::Error(_)));
    let n_ticks = it.log("stdout").len();
    thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(it.log("stdout").len(), n_ticks);
    assert_eq!(it.request(&Request::Resume).1, Reply::Ok);
    assert_eq!(it.status().phase, Phase::Running);
    wait_until("it goes on", || it.log("stdout").len() > n_ticks);
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn killed_while_frozen() {
    let mut it = Container::new("sleep 100");
    it.launch();
    assert_eq!(it.request(&Request::Pause).1, Reply::Ok);
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn what_cannot_be_noted_as_frozen_goes_on() {
    for failpoint in ["shim.frozen", "cgroup.frozen"] {
        let mut it = Container::new("while :; do echo tick; sleep 0.02; done");
        it.failpoints = format!("{failpoint}=error");
        let client = it.launch_attached(OUTPUT);
        read_until(&client, "tick\n");
        if it.request(&Request::Pause).1 == Reply::Ok {
            println!("skipped: what_cannot_be_noted_as_frozen_goes_on: built without failpoints");
            return;
        }
        assert_eq!(it.status().phase, Phase::Running);
        let n_ticks = it.log("stdout").len();
        wait_until("it goes on", || it.log("stdout").len() > n_ticks + 2);
        assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
        assert_eq!(it.join(), 137);
    }
}

fn another_user_can_reopen_its_output() {
    let mut it = Container::new("echo one > /proc/self/fd/1; echo two > /proc/self/fd/2; id -u");
    it.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let client = it.launch_attached(OUTPUT);
    assert_eq!(unframe(&read_all(&client)), ("one\n1000\n".into(), "two\n".into()));
    assert_eq!(it.join(), 0);
}

fn many_lower_directories() {
    let mut it = Container::new("cat /layer0 /layer199; ls / | grep -c layer");
    let Rootfs::Overlay { lower, .. } = &mut it.config.rootfs else { unreachable!() };
    let layers = base().join("a-directory-with-a-long-name-so-that-paths-are-long").join("layers");
    *lower = (0..200).map(|n| layers.join(n.to_string())).collect();
    for (n, layer) in lower.iter().enumerate() {
        fs::create_dir_all(layer).unwrap();
        fs::write(layer.join(format!("layer{n}")), format!("{n}\n")).unwrap();
    }
    lower.push(busybox_layer().to_path_buf());
    let client = it.launch_attached(OUTPUT);
    assert_eq!(unframe(&read_all(&client)).0, "0\n199\n200\n");
    assert_eq!(it.join(), 0);
}

fn the_hosts_root_stays_as_it_is() {
    let secret = base().join("secret");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("file"), "secret").unwrap();
    fs::set_permissions(base(), fs::Permissions::from_mode(0o751)).unwrap();
    let name = format!("dhow-shim-test-{}", std::process::id());
    let script = format!(
        "ls {secret}; busybox stat -c %a {base}; rm -rf /usr/share; echo x > /{name}; \
         ls /{name}; ls /usr/share 2>/dev/null | wc -l; touch {secret}/new; ls {secret}",
        secret = secret.display(),
        base = base().display(),
    );
    let mut it = Container::new(&script);
    it.spec["process"]["env"] = json!(["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]);
    it.config.rootfs =
        Rootfs::Host { hidden: vec![secret.clone(), PathBuf::from("/nonexistent/path")] };
    let client = it.launch_attached(OUTPUT);
    let (out, err) = unframe(&read_all(&client));
    assert_eq!((out, err), (format!("751\n/{name}\n0\nnew\n"), String::new()));
    assert_eq!(it.join(), 0);
    assert!(fs::read_dir("/usr/share").unwrap().count() > 0);
    assert!(!PathBuf::from(format!("/{name}")).exists() && !secret.join("new").exists());
}

fn a_second_life_keeps_log_and_changes() {
    let script = "echo life >> /lives; cat /lives";
    let mut it = Container::new(script);
    it.launch();
    it.join();
    let mut again = Container::new(script);
    again.config.data_dir.clone_from(&it.config.data_dir);
    again.config.id.clone_from(&it.config.id);
    again.config.rootfs = it.config.rootfs.clone();
    again.launch();
    assert_eq!(again.join(), 0);
    assert_eq!(again.log("stdout"), ["life\n"; 3]);
    assert_eq!(fs::read_to_string(it.upper().join("lives")).unwrap(), "life\nlife\n");
}

fn the_shim_becomes_what_follows() {
    let mut it = Container::new("exit 0");
    let witness = base().join("followed");
    let script = format!("echo $#,$1,$FOO > {}", witness.display());
    let argv = ["/bin/sh", "-c", &script, "sh", "argument"].map(str::to_owned);
    it.config.on_exit = OnExit::Exec(argv.to_vec());
    it.launch();
    assert_eq!(it.join_follower(), 0);
    assert_eq!(fs::read_to_string(witness).unwrap(), "1,argument,\n");
}

/// One that is to go when it ends, which it does when it is told to; what follows its end says so in this
/// file.
fn one_that_goes(name: &str) -> (Container, std::path::PathBuf) {
    one_that_leaves(name, None)
}

/// The same, whose files are left to it in this folder.
fn one_that_leaves(
    name: &str,
    trash: Option<std::path::PathBuf>,
) -> (Container, std::path::PathBuf) {
    let mut it = Container::new("read go; exit 4");
    it.config.open_stdin = true;
    it.config.trash = trash;
    let witness = base().join(name);
    let argv = ["/bin/touch", witness.to_str().unwrap()].map(str::to_owned);
    it.config.on_exit = OnExit::Exec(argv.to_vec());
    it.launch();
    (it, witness)
}

/// Tells it to end, and waits for that as who will remove it.
#[track_caller]
fn await_end(it: &Container) -> UnixStream {
    let waiter = it.begin(&Request::Wait { removes: true });
    let input = Attach { stdin: true, ..Attach::default() };
    write(&it.attach(input), "go\n");
    let reply = shim_protocol::receive::<Reply>(&waiter).unwrap();
    assert_eq!(reply, Some(Reply::Exited { code: 4, removes: true, heir: None }));
    waiter
}

fn files_that_are_left_to_it_are_deleted() {
    let trash = base().join("trash");
    fs::create_dir_all(&trash).unwrap();
    let (mut it, witness) = one_that_leaves("left-not-followed", Some(trash.clone()));
    let other = it.begin(&Request::Wait { removes: false });
    let waiter = it.begin(&Request::Wait { removes: true });
    write(&it.attach(Attach { stdin: true, ..Attach::default() }), "go\n");
    let reply = shim_protocol::receive::<Reply>(&waiter).unwrap();
    let Some(Reply::Exited { code: 4, removes: true, heir: Some(heir) }) = reply else {
        panic!("{reply:?}");
    };
    // Not from the status, which goes now.
    let told = shim_protocol::receive::<Reply>(&other).unwrap();
    assert_eq!(told, Some(Reply::Exited { code: 4, removes: false, heir: None }));
    let places = [format!("{heir}-1-a"), format!("{heir}1-1-a")].map(|name| trash.join(name));
    for place in &places {
        fs::create_dir_all(place.join("upper/a")).unwrap();
    }
    fs::rename(&it.config.data_dir, places[0].join("data")).unwrap();
    drop(waiter);
    it.wait_for_shim();
    assert_eq!(places.each_ref().map(|place| place.exists()), [false, true]);
    assert!(!it.run_dir().exists() && !witness.exists());
    fs::remove_dir_all(trash).unwrap();
}

fn who_waits_removes_the_container() {
    let (mut it, witness) = one_that_goes("not-followed");
    let others = it.begin(&Request::Wait { removes: false });
    let waiter = await_end(&it);
    fs::remove_dir_all(&it.config.data_dir).unwrap();
    drop(waiter);
    let other = shim_protocol::receive::<Reply>(&others).unwrap();
    assert_eq!(other, Some(Reply::Exited { code: 4, removes: false, heir: None }));
    it.wait_for_shim();
    assert!(!witness.exists());
}

fn who_was_to_remove_it_is_looked_after() {
    let (mut it, witness) = one_that_goes("followed-after-all");
    let waiter = await_end(&it);
    assert!(!witness.exists());
    // It dies, and the container is still there.
    drop(waiter);
    assert_eq!(it.join_follower(), 4);
    assert!(witness.exists());
    // It does nothing.
    let (mut it, witness) = one_that_goes("followed-in-the-end");
    let _waiter = await_end(&it);
    assert_eq!(it.join_follower(), 4);
    assert!(witness.exists());
}

fn a_dead_client_does_not_keep_the_shim_from_what_follows() {
    let mut it = Container::new("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    let witness = base().join("followed-anyway");
    let argv = ["/bin/touch", witness.to_str().unwrap()].map(str::to_owned);
    it.config.on_exit = OnExit::Exec(argv.to_vec());
    let client = it.launch_attached(OUTPUT);
    read_until(&client, "line 9\n");
    // The next write to it is a SIGPIPE.
    client.shutdown(Shutdown::Read).unwrap();
    assert_eq!(it.join_follower(), 0);
    assert!(witness.exists());
}

fn mounts_end_with_a_killed_shim() {
    let mut it = Container::new("sleep 100");
    let target = it.config.bundle.join("rootfs");
    fs::create_dir(&target).unwrap();
    let target = target.to_str().unwrap();
    it.spec["root"]["path"] = json!("rootfs");
    it.launch();
    let mounts = |pid: i32| fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    // The bundle's own directory, as runc's users have it.
    assert!(mounts(it.shim_pid()).contains(target));
    assert!(!mounts(std::process::id() as i32).contains(target));
    it.kill_shim();
    it.wait_for_shim();
    let lock = fs::File::open(it.run_dir().join("shim.lock")).unwrap();
    rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(it.status().phase, Phase::Running);
}

fn memory_runs_out() {
    let mut it = Container::new("x=$(head -c 50000000 /dev/zero | tr '\\0' x); echo survived");
    it.spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    it.launch();
    assert_eq!(it.join(), 137);
    assert!(it.status().oom_killed);
}

fn a_shim_is_small() {
    let mut it = Container::new("sleep 100");
    it.launch();
    // An answer to this means that it has done all that follows a start.
    let resized = it.request(&Request::Resize { exec: None, width: 1, height: 1 }).1;
    assert_eq!(resized, Reply::Ok);
    let shim = it.shim_pid();
    let field = |name: &str| -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // What is its own counts in full however many shims there are; the program's pages are shared among
    // them. (Where its file has just been written, or lies in memory, those are "dirty", too.)
    let private = field("Anonymous:");
    println!("shim: {private} kB of its own, {} kB proportional", field("Pss:"));
    assert!(private < 1024, "{private} kB");
    // The program's pages go when it has nothing to do for a while.
    let at_first = field("Rss:");
    wait_until("it has become smaller", || field("Rss:") < at_first * 3 / 4);
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    it.join();
}

fn a_failure_at_any_step_leaves_nothing() {
    let live = |failpoint: &str| {
        let mut it = Container::new("exit 3");
        it.failpoints = format!("{failpoint}=error");
        let mut reply = it.create();
        if let Reply::Created { .. } = reply {
            shim_protocol::send(it.control_stream(), &Request::Start).unwrap();
            reply = it.control();
        }
        it.wait_for_shim();
        (it, reply)
    };
    if matches!(live("shim.create").1, Reply::Started { .. }) {
        println!("skipped: a_failure_at_any_step_leaves_nothing: built without failpoints");
        return;
    }
    // Before these there is nothing to take away, and `RUN` is whoever's made it.
    let early = ["shim.lock", "shim.locked", "shim.unshare", "shim.unshared"];
    // After these something may be left, and `RUN` says so to recovery.
    let late =
        ["shim.delete", "shim.deleted", "shim.disconnect", "shim.disconnected", "shim.clean"];
    for name in failpoint::ALL.iter().filter(|name| name.starts_with("shim.")) {
        let (it, reply) = live(name);
        if early.contains(name) || late.contains(name) {
            fs::remove_dir_all(it.run_dir()).unwrap();
        }
        if *name == "shim.delete" {
            it.delete_in_runtime();
        }
        it.assert_nothing_left();
        let status = it.status();
        match reply {
            Reply::Started { .. } => {
                assert_eq!((status.phase, status.exit_code), (Phase::Exited, 3), "{name}");
            }
            Reply::Error(err) => {
                assert!(err.message.starts_with("failpoint: "), "{name}: {err}");
                assert_eq!((status.phase, status.pid), (Phase::Created, 0), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
