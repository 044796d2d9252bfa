//! More than one life.

use serde_json::json;
use shim_protocol::{Attach, Change, Events, Phase, Reply, Request, RestartPolicy};

use crate::Case;
use crate::container::{Container, read_all, unframe};
use crate::fixture::wait_until;

pub(crate) const CASES: &[Case] = &[
    ("what_fails_is_tried_so_often", what_fails_is_tried_so_often),
    ("memory_that_runs_out_is_told_of_and_no_end", memory_that_runs_out_is_told_of_and_no_end),
    ("a_stop_ends_the_waiting", a_stop_ends_the_waiting),
    ("a_stop_wins_over_the_policy", a_stop_wins_over_the_policy),
    ("a_policy_can_change", a_policy_can_change),
    ("a_restart_that_fails_is_the_end", a_restart_that_fails_is_the_end),
    ("a_failure_while_it_waits_leaves_nothing", a_failure_while_it_waits_leaves_nothing),
];

fn with(policy: RestartPolicy, script: &str) -> Container {
    let mut it = Container::new(script);
    it.config.restart = policy;
    it
}

fn what_fails_is_tried_so_often() {
    let mut it =
        with(RestartPolicy::OnFailure { max: 2 }, "echo x >> /lives; wc -l < /lives; exit 3");
    let output = Attach { stdin: false, stdout: true, stderr: true };
    let client = it.launch_attached(output);
    // Who attached, and who waits, hears of the first end.
    assert_eq!(unframe(&read_all(&client)).0, "1\n");
    assert_eq!(it.join(), 3);
    assert_eq!(it.log("stdout"), ["1\n", "2\n", "3\n"]);
    let status = it.status();
    assert_eq!((status.phase, status.restart_count, status.stopped), (Phase::Exited, 2, false));
}

fn memory_that_runs_out_is_told_of_and_no_end() {
    let mut it = with(
        RestartPolicy::OnFailure { max: 1 },
        "test -e /again && { echo fine; exit 0; }; touch /again; \
         x=$(head -c 50000000 /dev/zero | tr '\\0' x); echo survived",
    );
    it.spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    let events = it.config.data_dir.join("events.jsonl");
    let attributes = [("name".to_owned(), "box".to_owned())].into();
    it.config.events =
        Some(Events { path: events.clone(), image: "x".into(), attributes, companions: vec![] });
    it.launch();
    assert_eq!(it.join(), 0);
    assert_eq!(it.log("stdout"), ["fine\n"]);
    // It is that of the last life.
    assert!(!it.status().oom_killed && it.status().restart_count == 1);
    let text = std::fs::read_to_string(events).unwrap();
    let told: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["Action"].as_str().unwrap().to_owned())
        .collect();
    let mut once = told.clone();
    once.dedup();
    assert_eq!(once, ["start", "oom", "die", "start", "die"], "{told:?}");
}

fn a_stop_ends_the_waiting() {
    let mut it = with(RestartPolicy::Always, "exit 4");
    it.launch();
    // Each wait is twice as long as the one before: soon all is seen in one.
    let mut seen = None;
    wait_until("it waits, and for some time", || {
        let before = it.status();
        let (_, reply) = it.request(&Request::Attach(Attach::default()));
        let after = it.status();
        let waits = after.phase == Phase::Restarting && after.restart_count > 3;
        let one = (before.phase, before.restart_count) == (after.phase, after.restart_count);
        seen = (waits && one).then_some((after, reply));
        seen.is_some()
    });
    let (status, reply) = seen.unwrap();
    assert_eq!((status.pid, status.exit_code), (0, 4));
    assert!(matches!(reply, Reply::Error(err) if err.not_running));
    let stop = Request::Kill { signal: 15, stop: true, keep: false };
    assert_eq!(it.request(&stop).1, Reply::Ok);
    assert_eq!(it.join(), 4);
    let status = it.status();
    assert!(status.phase == Phase::Exited && status.stopped && status.shim_pid == 0);
}

fn a_stop_wins_over_the_policy() {
    let mut it = with(RestartPolicy::Always, "while :; do sleep 100; done");
    it.launch();
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    wait_until("it lives again", || {
        let status = it.status();
        status.phase == Phase::Running && status.restart_count == 1
    });
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: true, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
    assert!(it.status().stopped);
}

fn a_policy_can_change() {
    let mut it = with(RestartPolicy::No, "while :; do sleep 100; done");
    it.launch();
    let kill = Request::Kill { signal: 9, stop: false, keep: false };
    let change = |restart| Request::Change(Change { restart: Some(restart), ..Change::default() });
    assert_eq!(it.request(&change(RestartPolicy::UnlessStopped)).1, Reply::Ok);
    assert_eq!(it.request(&kill).1, Reply::Ok);
    wait_until("it lives again", || {
        // Looked at once: two looks may be at two lives.
        let status = it.status();
        status.phase == Phase::Running && status.restart_count == 1
    });
    assert_eq!(it.request(&change(RestartPolicy::No)).1, Reply::Ok);
    assert_eq!(it.request(&kill).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn a_restart_that_fails_is_the_end() {
    let mut it = with(RestartPolicy::Always, "rm /bin/sh; exit 1");
    it.launch();
    assert_eq!(it.join(), 127);
    let status = it.status();
    assert!(status.phase == Phase::Exited && status.error.contains("not found"), "{status:?}");
    assert_eq!(status.restart_count, 1);
}

/// An error at each step between two lives: the end, and nothing is left.
fn a_failure_while_it_waits_leaves_nothing() {
    for point in ["shim.restart", "shim.restarted"] {
        let mut it = with(RestartPolicy::OnFailure { max: 1 }, "exit 1");
        it.failpoints = format!("{point}=error");
        it.launch();
        it.wait_for_shim();
        it.assert_nothing_left();
        let status = it.status();
        assert_eq!((status.phase, status.exit_code), (Phase::Exited, 128), "{point}");
    }
}
