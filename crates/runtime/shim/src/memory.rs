//! Noticing that the container ran out of memory, when it happens.

use std::os::fd::OwnedFd;

use cgroup::OomWatch;
use sys::Call;

use crate::error::{Error, report};
use crate::poll::{Interest, Token, Watched};
use crate::supervisor::Supervisor;

/// The watch over the memory of one life of the container.
#[derive(Debug)]
pub(crate) struct Memory {
    watch: OomWatch,
    /// The watch's descriptor, once more.
    fd: Watched,
}

impl Supervisor {
    /// Begins to watch, unless it has; without any effect where the kernel counts no memory for the container.
    pub(crate) fn watch_memory(&mut self) {
        if self.memory.is_some() || self.bundle.cgroup.is_empty() {
            return;
        }
        match self.memory_watch() {
            Ok(memory) => self.memory = Some(memory),
            Err(Error::Cgroup(cgroup::Error::MissingController { .. })) => {}
            Err(err) => report("watch the memory", &err),
        }
    }

    /// Begins to watch if the runtime, which is at work, has made the cgroup: mostly it has, and who waits for it has
    /// nothing else to do.
    pub(crate) fn watch_memory_early(&mut self) {
        self.memory = None;
        if !self.bundle.cgroup.is_empty() {
            // Why it cannot be watched is told when the container is there.
            self.memory = self.memory_watch().ok();
        }
    }

    fn memory_watch(&self) -> Result<Memory, Error> {
        let watch = self.cgroup()?.watch_oom()?;
        let fd: OwnedFd =
            rustix::io::fcntl_dupfd_cloexec(watch.fd(), 0).call(|| "fcntl(F_DUPFD_CLOEXEC)")?;
        let mut fd = Watched::new(fd, Token::Memory);
        fd.watch(&self.poller, Interest::READ)?;
        Ok(Memory { watch, fd })
    }

    /// Something has happened there.
    pub(crate) fn on_memory(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        let news = memory.watch.news().map_err(Error::from);
        let news = news.and_then(|news| {
            if news.ended {
                memory.fd.unwatch(&self.poller)?;
            }
            Ok(news)
        });
        match news {
            Ok(news) if news.out_of_memory => self.note_out_of_memory(),
            Ok(_) => {}
            Err(err) => {
                report("watch the memory", &err);
                self.memory = None;
            }
        }
    }

    fn note_out_of_memory(&mut self) {
        self.emit("oom", &[]);
        if !self.status.oom_killed {
            self.status.oom_killed = true;
            if let Err(err) = self.save_status() {
                report("save the status", &err);
            }
        }
    }

    /// At the end of the program, with what has not been looked at yet. `kills`: how many processes the
    /// kernel has killed for want of memory.
    pub(crate) fn end_memory(&mut self, kills: u64) {
        self.on_memory();
        self.memory = None;
        if kills > 0 && !self.status.oom_killed {
            self.emit("oom", &[]);
            self.status.oom_killed = true;
        }
    }
}
