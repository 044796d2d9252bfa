use std::ffi::CString;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Resource, WaitIdOptions};

use super::{in_child, on_a_thread};
use crate::{CloneFlags, IoPriorityClass, SchedAttr, SingleThreaded, Spawn, Spawned, unshare};

fn wait(child: &crate::Handle) -> Option<i32> {
    let status = child.wait(WaitIdOptions::EXITED);
    status.unwrap().and_then(|status| status.exit_status())
}

fn namespace(kind: &str) -> String {
    let link = format!("/proc/thread-self/ns/{kind}");
    std::fs::read_link(link).unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_process_with_threads_does_not_fork() {
    let err = on_a_thread(|| SingleThreaded::check().unwrap_err());
    assert_eq!(err.errno(), Errno::BUSY);
}

#[test]
fn what_leads_no_process_is_none() {
    let errno = on_a_thread(|| crate::Handle::open(rustix::thread::gettid()).unwrap_err().errno());
    assert_eq!(errno, Errno::SRCH);
}

#[test]
fn a_thread_leaves_a_namespace_and_comes_back() {
    on_a_thread(|| {
        let before = namespace("uts");
        let old = std::fs::File::open("/proc/thread-self/ns/uts").unwrap();
        unshare(CloneFlags::NEWUTS).unwrap();
        assert_ne!(namespace("uts"), before);
        crate::setns(old.as_fd(), CloneFlags::NEWUTS).unwrap();
        assert_eq!(namespace("uts"), before);
        let wrong = crate::setns(old.as_fd(), CloneFlags::NEWNET).unwrap_err();
        assert_eq!(wrong.errno(), Errno::INVAL);
    });
}

#[test]
fn priorities_are_the_threads_own() {
    on_a_thread(|| {
        let batch = SchedAttr { policy: 3, nice: 5, ..SchedAttr::default() };
        crate::sched_setattr(&batch).unwrap();
        crate::ioprio_set(IoPriorityClass::Idle, 0).unwrap();
        let err = crate::sched_setattr(&SchedAttr { policy: 99, ..batch }).unwrap_err();
        assert_eq!(err.errno(), Errno::INVAL);
        crate::set_mempolicy(0, &[]).unwrap();
        assert_eq!(crate::personality(0x0004_0000).unwrap(), 0);
        assert_eq!(crate::personality(0).unwrap(), 0x0004_0000);
    });
}

#[test]
fn limits_can_be_lowered() {
    if let Some(status) = in_child("process::limits_can_be_lowered") {
        assert!(status.success());
        return;
    }
    crate::prlimit_set(None, Resource::Core, Some(0), Some(4096)).unwrap();
    let limit = rustix::process::getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(4096)));
}

#[test]
fn a_spawned_program_gets_what_was_given() {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let script = "read -r stat < /proc/$$/stat; set -- $stat; \
                  echo \"$$ $6 $A [$(ls /proc/$$/fd | tr '\\n' ' ')]\" >&5; exit 3";
    let argv = ["sh", "-c", script].map(|arg| CString::new(arg).unwrap());
    let env = [c"A=b".to_owned(), c"PATH=/bin:/usr/bin".to_owned()];
    let null = std::fs::File::open("/dev/null").unwrap();
    // The pipe's own number may be among the targets: each must still get what was meant for it.
    let spawn = Spawn {
        program: c"/bin/sh",
        argv: &argv,
        env: &env,
        fds: &[
            (null.as_fd(), 0),
            (null.as_fd(), 1),
            (null.as_fd(), 2),
            (write.as_fd(), 5),
            (null.as_fd(), 6),
        ],
        new_session: true,
    };
    let missing = Spawn { program: c"/nowhere", ..spawn }.spawn().unwrap_err();
    assert_eq!(missing.errno(), Errno::NOENT);
    let Spawned { pid, handle } = spawn.spawn().unwrap();
    drop(write);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut said).unwrap();
    assert_eq!(wait(&handle), Some(3));
    let pid = pid.as_raw_nonzero();
    // 3 is the shell's own, for what it reads from `ls`.
    assert_eq!(said.trim_end(), format!("{pid} {pid} b [0 1 2 3 5 6 ]"));
}

#[test]
fn a_session_keyring_can_be_joined() {
    on_a_thread(|| match crate::keyctl_join_session() {
        Err(err) if matches!(err.errno(), Errno::NOSYS | Errno::PERM) => {
            println!("skipped: a_session_keyring_can_be_joined: no keyrings here");
        }
        other => assert!(other.unwrap() > 0),
    });
}
