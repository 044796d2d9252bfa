//! What a container uses, and what happens to it, for as long as it runs.

use std::time::{Duration, Instant};

use oci::runtime::Status;
use rustix::event::{PollFd, PollFlags, Timespec};
use sys::Call;

use crate::error::{Doing, Error};
use crate::lifecycle::live;
use crate::process;
use crate::record::Record;
use crate::store::Store;

/// What [`watch`] reports.
#[derive(Debug)]
pub enum Event {
    /// What the container uses.
    Stats(Box<Usage>),
    /// The kernel found no memory for a process of the container.
    OutOfMemory,
}

/// What a container uses.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// What its cgroup counts.
    pub cgroup: cgroup::Stats,
    /// What went through its interfaces, the loopback left out; none where it has no network
    /// namespace of its own.
    pub interfaces: Vec<Interface>,
}

/// The counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name, in the container.
    pub name: String,
    /// Bytes, packets, errors and drops that were received.
    pub received: [u64; 4],
    /// The same, of what was sent.
    pub sent: [u64; 4],
}

/// What a container uses at this moment.
pub fn usage(store: &Store, id: &str) -> Result<Usage, Error> {
    let record = store.find(id)?.expect_record()?;
    let (cgroup, _) = running(store, id)?;
    measure(&cgroup, &record)
}

fn running(store: &Store, id: &str) -> Result<(cgroup::Cgroup, Status), Error> {
    match live(store, id, "measure") {
        Err(Error::Status { status: Status::Stopped, .. }) => {
            Err(Error::Refused(format!("container with id {id} is not running")))
        }
        other => other,
    }
}

fn measure(cgroup: &cgroup::Cgroup, record: &Record) -> Result<Usage, Error> {
    let own =
        sys::CloneFlags::from_bits_retain(record.namespaces).contains(sys::CloneFlags::NEWNET);
    let interfaces = if own {
        let path = format!("/proc/{}/net/dev", record.pid);
        interfaces(&std::fs::read_to_string(path).unwrap_or_default())
    } else {
        Vec::new()
    };
    Ok(Usage { cgroup: cgroup.stats()?, interfaces })
}

/// Reports what a container uses each time that `interval` has passed, and each want of memory,
/// until it has stopped or `report` fails.
pub fn watch<E: From<Error>>(
    store: &Store,
    id: &str,
    interval: Duration,
    mut report: impl FnMut(Event) -> Result<(), E>,
) -> Result<(), E> {
    let record = store.find(id)?.expect_record()?;
    let (cgroup, _) = running(store, id)?;
    let Some(first) = process::open(record.pid, record.start_time)? else { return Ok(()) };
    let mut memory = match cgroup.watch_oom() {
        // There is no want of memory to be told then.
        Err(cgroup::Error::MissingController { .. }) => None,
        other => Some(other.map_err(Error::from)?),
    };
    let mut next = Instant::now() + interval;
    loop {
        let told = memory.as_ref().map(|watch| PollFd::from_borrowed_fd(watch.fd(), PollFlags::IN));
        let mut fds: Vec<_> = told.into_iter().chain(first.poll_fd()).collect();
        let timeout = next.saturating_duration_since(Instant::now());
        let timeout = first.patience(Some(timeout));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.call(|| "poll(events)").doing(|| "wait for events")?,
        };
        let is_told = memory.is_some() && !fds[0].revents().is_empty();
        drop(fds);
        let has_ended = first.has_ended().doing(|| "wait for events")?;
        // What killed the first process is told before the end, also where both come at once.
        if let (true, Some(watch)) = (is_told || has_ended, &mut memory) {
            let news = watch.news().map_err(Error::from)?;
            if news.out_of_memory {
                report(Event::OutOfMemory)?;
            }
            if news.ended {
                return Ok(());
            }
        }
        if has_ended {
            return Ok(());
        }
        if Instant::now() >= next {
            match measure(&cgroup, &record) {
                Ok(usage) => report(Event::Stats(Box::new(usage)))?,
                // It is just ending; the next round sees that.
                Err(_) if !process::alive(record.pid, record.start_time) => {}
                Err(error) => return Err(error.into()),
            }
            next += interval;
        }
    }
}

/// The interfaces in a `/proc/PID/net/dev`: `proc_pid_net(5)`.
fn interfaces(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let name = name.trim();
        let numbers: Vec<u64> =
            counters.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
        let four = |from: usize| numbers.get(from..from + 4)?.try_into().ok();
        let (received, sent) = (four(0)?, four(8)?);
        (name != "lo").then(|| Interface { name: name.to_owned(), received, sent })
    };
    text.lines().filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_and_garbage_is_not() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n\
                    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
                    eth0: 2000 20 1 2 0 0 0 0 300 3 4 5 0 0 0 0\n\
                    eth1: 1 2 3\nx: 1 2 3 4 5 6 7 8 9 10 11 -1\n";
        let eth0 =
            Interface { name: "eth0".to_owned(), received: [2000, 20, 1, 2], sent: [300, 3, 4, 5] };
        assert_eq!(interfaces(text), [eth0]);
    }
}
