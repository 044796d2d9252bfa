//! Health checks.

use std::fs;

use shim_protocol::{
    HealthCheck, HealthLog, HealthStatus, Phase, Reply, Request, RestartPolicy, Unhealthy,
};

use crate::Case;
use crate::container::{ALL, Container, read_all};
use crate::fixture::wait_until;

pub(crate) const CASES: &[Case] = &[
    ("health_follows_the_checks", health_follows_the_checks),
    ("a_frozen_container_is_not_checked", a_frozen_container_is_not_checked),
    ("an_unhealthy_container_is_started_again", an_unhealthy_container_is_started_again),
    ("a_shim_killed_while_it_checks", a_shim_killed_while_it_checks),
    ("a_check_that_fails_to_begin", a_check_that_fails_to_begin),
];

const MS: u64 = 1_000_000;

/// One that sleeps, and is checked by `sh -c SCRIPT` as often as can be.
fn checked(script: &str) -> Container {
    let mut it = Container::new("while :; do sleep 100; done");
    let mut process: oci::runtime::Process =
        serde_json::from_value(it.spec["process"].clone()).unwrap();
    process.args = ["sh", "-c", script].map(str::to_owned).to_vec();
    it.config.health = Some(HealthCheck {
        process,
        interval: 5 * MS,
        timeout: 20_000 * MS,
        start_period: 0,
        start_interval: 5 * MS,
        retries: 2,
        restart: None,
    });
    it
}

fn health(it: &Container) -> Option<HealthStatus> {
    it.status().health.map(|health| health.status)
}

fn stop(mut it: Container) {
    let kill = Request::Kill { signal: 9, stop: true, keep: false };
    assert_eq!(it.request(&kill).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

fn health_follows_the_checks() {
    let mut it = checked("test -e /ok");
    it.launch();
    assert!(health(&it).is_some());
    wait_until("it is unhealthy", || health(&it) == Some(HealthStatus::Unhealthy));
    read_all(&it.exec("aa", &["touch", "/ok"], ALL, false).0);
    wait_until("it is healthy", || health(&it) == Some(HealthStatus::Healthy));
    let log = HealthLog::load(&it.config.data_dir).unwrap();
    assert_eq!(log.0.back().unwrap().exit_code, 0);
    // Nothing of a check is kept but what it came to.
    let left = || {
        fs::read_dir(it.run_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("exec-"))
            .count()
    };
    wait_until("no more than one is there", || left() <= 2);
    stop(it);
}

fn a_frozen_container_is_not_checked() {
    let mut it = checked("exit 1");
    it.launch();
    wait_until("it is unhealthy", || health(&it) == Some(HealthStatus::Unhealthy));
    assert_eq!(it.request(&Request::Pause).1, Reply::Ok);
    let streak = |it: &Container| it.status().health.unwrap().failing_streak;
    let before = streak(&it);
    std::thread::sleep(std::time::Duration::from_millis(50));
    // One may have ended in the moment before.
    assert!(streak(&it) <= before + 1);
    assert_eq!(it.request(&Request::Resume).1, Reply::Ok);
    wait_until("it is checked again", || streak(&it) > before + 1);
    stop(it);
}

fn an_unhealthy_container_is_started_again() {
    let mut it = checked("exit 1");
    let check = it.config.health.as_mut().unwrap();
    // Its program takes no notice of the signal.
    check.restart = Some(Unhealthy { signal: 15, timeout_s: Some(0) });
    it.config.restart = RestartPolicy::OnFailure { max: 2 };
    it.launch();
    wait_until("it was started again twice", || it.status().restart_count == 2);
    wait_until("it is left alone", || {
        let status = it.status();
        status.phase == Phase::Running
            && status.health.is_some_and(|health| health.failing_streak > 3)
    });
    stop(it);
}

fn a_shim_killed_while_it_checks() {
    let mut it = checked("sleep 100");
    it.launch();
    // Written by the runtime as the last that it does: it is not in the way of what follows.
    let is_number = |name: &str| {
        name.strip_prefix("exec-").and_then(|rest| rest.strip_suffix(".pid")).is_some()
    };
    wait_until("a check runs", || {
        let mut names = fs::read_dir(it.run_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| is_number(&name.to_string_lossy()))
    });
    it.kill_shim();
    it.wait_for_shim();
    assert_eq!(it.status().phase, Phase::Running, "recovery finds that nobody watches it");
    it.delete_in_runtime();
    fs::remove_dir_all(it.run_dir()).unwrap();
    it.assert_nothing_left();
}

fn a_check_that_fails_to_begin() {
    let mut it = checked("true");
    it.config.health.as_mut().unwrap().process.args = vec!["/no/such".into()];
    it.launch();
    wait_until("it is unhealthy", || health(&it) == Some(HealthStatus::Unhealthy));
    let log = HealthLog::load(&it.config.data_dir).unwrap();
    let first = log.0.front().unwrap();
    assert_eq!(first.exit_code, -1);
    assert!(first.output.contains("/no/such"), "{first:?}");
    stop(it);
}
