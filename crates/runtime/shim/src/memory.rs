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
    /// Begins to watch; without any effect where the kernel counts no memory for the container.
    pub(crate) fn watch_memory(&mut self) {
        self.memory = None;
        if self.bundle.cgroup.is_empty() {
            return;
        }
        let watch = match self.cgroup().and_then(|cgroup| Ok(cgroup.watch_oom()?)) {
            Ok(watch) => watch,
            Err(Error::Cgroup(cgroup::Error::MissingController { .. })) => return,
            Err(err) => return report("watch the memory", &err),
        };
        let begun = rustix::io::fcntl_dupfd_cloexec(watch.fd(), 0)
            .call(|| "fcntl(F_DUPFD_CLOEXEC)")
            .and_then(|fd: OwnedFd| {
                let mut fd = Watched::new(fd, Token::Memory);
                fd.watch(&self.poller, Interest::READ).map(|()| fd)
            });
        match begun {
            Ok(fd) => self.memory = Some(Memory { watch, fd }),
            Err(err) => report("watch the memory", &err.into()),
        }
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
