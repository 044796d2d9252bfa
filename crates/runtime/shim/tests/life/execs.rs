//! Other processes in a running container.

use std::collections::BTreeSet;
use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shim_protocol::{Attach, Exec, Reply, Request, receive};

use crate::Case;
use crate::container::{ALL, Container, read_all, read_until, unframe, write};
use crate::fixture::{own_runtime, wait_until};

pub(crate) const CASES: &[Case] = &[
    ("an_execs_code_is_there_when_its_stream_ends", an_execs_code_is_there_when_its_stream_ends),
    ("an_exec_reads_until_the_end", an_exec_reads_until_the_end),
    ("an_exec_on_a_terminal", an_exec_on_a_terminal),
    ("a_detached_exec_goes_on", a_detached_exec_goes_on),
    ("an_exec_that_cannot_run", an_exec_that_cannot_run),
    ("many_execs_at_once", many_execs_at_once),
    ("execs_end_with_the_container", execs_end_with_the_container),
    ("a_runtime_at_an_exec_ends_with_the_container", a_runtime_at_an_exec_ends_with_the_container),
    ("clients_and_execs_leave_no_descriptor", clients_and_execs_leave_no_descriptor),
    ("an_exec_with_a_child_that_stays", an_exec_with_a_child_that_stays),
];

fn running() -> Container {
    let mut it = Container::new("while :; do sleep 100; done");
    it.launch();
    it
}

fn stop(mut it: Container) {
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(it.join(), 137);
}

#[track_caller]
fn pid_of(reply: &Reply) -> i32 {
    let Reply::Started { pid } = reply else { panic!("{reply:?}") };
    *pid
}

fn an_execs_code_is_there_when_its_stream_ends() {
    let it = running();
    for round in 0..20 {
        let id = format!("e{round}");
        let script = format!("echo out; echo err >&2; exit {round}");
        let (client, reply) = it.exec(&id, &["sh", "-c", &script], ALL, false);
        assert!(pid_of(&reply) > 1);
        assert_eq!(unframe(&read_all(&client)), ("out\n".into(), "err\n".into()));
        let status = it.exec_status(&id);
        assert_eq!((status.exit_code, status.running), (Some(round), false));
        assert!(status.pid > 1, "{status:?}");
    }
    stop(it);
}

fn an_exec_reads_until_the_end() {
    let it = running();
    let (client, reply) = it.exec("aa", &["sh", "-c", "cat; exit 9"], ALL, false);
    assert!(pid_of(&reply) > 1 && it.exec_status("aa").running);
    write(&client, "some input\n");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(unframe(&read_all(&client)).0, "some input\n");
    assert_eq!(it.exec_status("aa").exit_code, Some(9));
    stop(it);
}

fn an_exec_on_a_terminal() {
    let it = running();
    let script = "while [ \"$(stty size)\" != '20 70' ]; do sleep 0.01; done; stty size; readlink /proc/self/fd/0; read x; stty size; echo got $x; exit 2";
    let (client, reply) = it.exec("bb", &["sh", "-c", script], ALL, true);
    pid_of(&reply);
    read_until(&client, "20 70\r\n");
    read_until(&client, "/dev/pts/0\r\n");
    let resize = Request::Resize { exec: Some("bb".into()), width: 60, height: 10 };
    assert_eq!(it.request(&resize).1, Reply::Ok);
    write(&client, "x\n");
    read_until(&client, "10 60\r\n");
    read_until(&client, "got x\r\n");
    assert_eq!(read_all(&client), b"");
    assert_eq!(it.exec_status("bb").exit_code, Some(2));
    let Reply::Error(err) = it.request(&resize).1 else { panic!("resized an exec that ended") };
    assert!(err.not_running);
    stop(it);
}

fn a_detached_exec_goes_on() {
    let it = running();
    let script = "echo nobody reads this; sleep 0.2; exit 6";
    let (client, reply) = it.exec("cc", &["sh", "-c", script], Attach::default(), false);
    assert!(pid_of(&reply) > 1);
    assert_eq!(read_all(&client), b"");
    wait_until("it ends", || it.exec_status("cc").exit_code == Some(6));
    stop(it);
}

fn an_exec_that_cannot_run() {
    let it = running();
    let check = |args: &[&str], code: i32| {
        let (client, reply) = it.exec("dd", args, ALL, false);
        let Reply::Error(err) = reply else { panic!("{reply:?}") };
        assert_eq!(err.exit_code, Some(code), "{err}");
        assert_eq!(read_all(&client), b"");
        assert_eq!(it.exec_status("dd").exit_code, Some(code));
    };
    check(&["nosuch"], 127);
    check(&["/proc/self/status"], 126);
    let (_, reply) = it.exec("../dd", &["true"], ALL, false);
    assert!(matches!(reply, Reply::Error(_)));
    stop(it);
}

fn many_execs_at_once() {
    let it = running();
    let clients: Vec<_> = (0..20)
        .map(|n| {
            let script = format!("head -c 100000 /dev/zero; exit {n}");
            let (client, reply) = it.exec(&format!("m{n}"), &["sh", "-c", &script], ALL, false);
            pid_of(&reply);
            client
        })
        .collect();
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(unframe(&read_all(client)).0.len(), 100_000);
        assert_eq!(it.exec_status(&format!("m{n}")).exit_code, Some(n as i32));
    }
    stop(it);
}

fn execs_end_with_the_container() {
    let it = running();
    let (client, reply) = it.exec("ee", &["sh", "-c", "echo here; sleep 100"], ALL, false);
    pid_of(&reply);
    read_until(&client, "here\n");
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    assert_eq!(read_all(&client), b"");
    assert_eq!(it.exec_status("ee").exit_code, Some(137));
    let mut it = it;
    assert_eq!(it.join(), 137);
}

/// One that takes long over an exec could write where the container's directory is being removed, or join
/// the container's next life.
fn a_runtime_at_an_exec_ends_with_the_container() {
    let mut it = Container::new("while :; do sleep 100; done");
    let real = it.config.runtime.program.take().or_else(own_runtime).unwrap();
    let (slow, number) = (it.upper().with_file_name("slow"), it.upper().with_file_name("number"));
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' exec '*) ;; *) exec '{}' \"$@\" ;; esac\n\
         echo $$ > '{}'; exec sleep 100\n",
        real.display(),
        number.display(),
    );
    fs::write(&slow, script).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    it.config.runtime.program = Some(slow);
    it.launch();
    let process = serde_json::from_value(it.spec["process"].clone()).unwrap();
    let (id, attach) = ("gg".to_owned(), Attach::default());
    let client = it.begin(&Request::Exec(Box::new(Exec { id, process, attach, console: None })));
    let number = || fs::read_to_string(&number).ok()?.trim().parse::<u32>().ok();
    wait_until("the runtime is at it", || number().is_some());
    assert_eq!(it.request(&Request::Kill { signal: 9, stop: false, keep: false }).1, Reply::Ok);
    let reply = receive(&client).unwrap().expect("no reply");
    assert!(matches!(reply, Reply::Error(err) if err.not_running));
    assert_eq!(it.join(), 137);
    assert_eq!(it.exec_status("gg").exit_code, Some(137));
    let runtime = Path::new("/proc").join(number().unwrap().to_string());
    assert!(!runtime.exists(), "{}", runtime.display());
}

fn an_exec_with_a_child_that_stays() {
    let it = running();
    let (client, reply) = it.exec("ff", &["sh", "-c", "sleep 100 & echo done"], ALL, false);
    pid_of(&reply);
    assert_eq!(unframe(&read_all(&client)).0, "done\n");
    assert_eq!(it.exec_status("ff").exit_code, Some(0));
    stop(it);
}

fn clients_and_execs_leave_no_descriptor() {
    let it = running();
    // What is open, each with its number: one that is on its way to be closed may be among them.
    let open = || -> BTreeSet<_> {
        let dir = std::fs::read_dir(format!("/proc/{}/fd", it.shim_pid())).unwrap();
        dir.map(|entry| entry.unwrap().path())
            .filter_map(|path| std::fs::read_link(&path).ok().map(|target| (path, target)))
            .collect()
    };
    let before = open();
    for round in 0..300 {
        drop(it.attach(ALL));
        let resize = Request::Resize { exec: Some("none".into()), width: 1, height: 1 };
        assert!(matches!(it.request(&resize).1, Reply::Error(_)));
        if round % 10 == 0 {
            let terminal = round % 20 == 0;
            let (client, reply) = it.exec(&format!("n{round}"), &["true"], ALL, terminal);
            pid_of(&reply);
            drop(client);
        }
    }
    wait_until("all descriptors are closed", || open().is_subset(&before));
    stop(it);
}
