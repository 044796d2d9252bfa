use std::os::fd::BorrowedFd;

use nlmsg::{Message, Writer, flag};
use rustix::io::Errno;

use crate::parse::{Address, Link, Route, parse_address, parse_link, parse_route};
use crate::request::{
    AF_INET, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, Requests, Step, ifla, link_header,
};
use crate::socket::{Outcome, Socket, outcome};
use crate::{Error, inside};

/// `RTEXT_FILTER_SKIP_STATS`: counters are most of what a link's answer is made of.
const SKIP_STATISTICS: u32 = 8;
/// How often a dump is started again because something changed meanwhile.
const DUMP_ATTEMPTS: u32 = 16;

/// A socket for links, addresses and routes of one network namespace.
#[derive(Debug)]
pub struct RouteSocket {
    pub(crate) socket: Socket,
    seq: u32,
}

impl RouteSocket {
    /// One of this thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(None)?, seq: 0 })
    }

    /// One of the network namespace `netns`, see [`inside`].
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self, Error> {
        inside(netns, Self::open)?
    }

    /// Makes all of `requests`, in one call. After a failure the rest was tried all the same.
    pub fn execute(&mut self, requests: &Requests) -> Result<(), Error> {
        let Some(last) = requests.steps.len().checked_sub(1) else { return Ok(()) };
        let first_seq = self.seq.wrapping_add(1);
        let mut writer = Writer::new();
        for (at, step) in requests.steps.iter().enumerate() {
            // Failures are always told; success only once, at the end.
            let ack = if at == last { flag::ACK } else { 0 };
            let flags = step.flags | flag::REQUEST | ack;
            self.seq = self.seq.wrapping_add(1);
            writer.message(step.kind, flags, self.seq, &step.body, |_| ());
        }
        let bytes = writer.finish().map_err(|source| Error::TooLong {
            doing: requests.steps[last].doing.clone(),
            source,
        })?;
        self.socket
            .send(&bytes)
            .map_err(|errno| Error::refused(requests.steps[0].doing.clone(), errno))?;
        let result = self.outcome(&requests.steps, first_seq);
        if result.is_err() {
            self.socket.drain();
        }
        result
    }

    /// Reads answers up to the first failure that matters, or the last one's.
    fn outcome(&mut self, steps: &[Step], first_seq: u32) -> Result<(), Error> {
        loop {
            let doing = || steps[0].doing.clone();
            let messages = self.socket.receive().map_err(|errno| Error::refused(doing(), errno))?;
            for message in messages {
                let malformed = |source| Error::Answer { doing: doing(), source };
                let message = message.map_err(malformed)?;
                let answer = outcome(&message).map_err(malformed)?;
                let at = message.seq.wrapping_sub(first_seq);
                let Some(step) = usize::try_from(at).ok().and_then(|at| steps.get(at)) else {
                    continue;
                };
                match answer {
                    Outcome::Failed(source, text) if step.forgiven != Some(source) => {
                        return Err(Error::Refused { doing: step.doing.clone(), text, source });
                    }
                    Outcome::Failed(..) | Outcome::Done
                        if message.seq == first_seq.wrapping_add(steps.len() as u32 - 1) =>
                    {
                        return Ok(());
                    }
                    _ => {}
                }
            }
        }
    }

    /// The link of this name, or `None`. Where its number and whether it is up are enough, [`RouteSocket::glance`]
    /// waits for nobody.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        let doing = || format!("look up link {name}");
        let result = self.ask(RTM_GETLINK, 0, &link_header(0, 0), doing, parse_link, |w| {
            w.attr_str(ifla::IFNAME, name);
            w.attr_u32(ifla::EXT_MASK, SKIP_STATISTICS);
        });
        match result {
            Ok(links) => Ok(links.into_iter().next()),
            Err(err) if err.errno() == Some(Errno::NODEV) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Whether the kernel has links of this kind, of those that are on top of another one (`macvlan`, `ipvlan`,
    /// `vlan`); its module is loaded if there is one.
    pub fn has_kind(&mut self, kind: &str) -> Result<bool, Error> {
        let mut requests = Requests::new();
        requests.probe(kind);
        match self.execute(&requests) {
            Err(err) if err.errno() == Some(Errno::OPNOTSUPP) => Ok(false),
            // It wants to know on top of which link.
            Err(err) if matches!(err.errno(), Some(Errno::INVAL | Errno::NODEV)) => Ok(true),
            result => result.map(|()| true),
        }
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let doing = || "list links".to_owned();
        self.dump(RTM_GETLINK, &link_header(0, 0), doing, parse_link, |w| {
            w.attr_u32(ifla::EXT_MASK, SKIP_STATISTICS);
        })
    }

    /// All addresses, of IPv4 and IPv6.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let doing = || "list addresses".to_owned();
        self.dump(RTM_GETADDR, &[0; 8], doing, parse_address, |_| ())
    }

    /// All IPv4 routes of the main table and others.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let doing = || "list routes".to_owned();
        let header = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.dump(RTM_GETROUTE, &header, doing, parse_route, |_| ())
    }

    /// A dump, made again where it was overtaken by a change.
    fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        doing: impl Fn() -> String + Copy,
        parse: impl Fn(&Message<'_>) -> Option<T> + Copy,
        body: impl Fn(&mut Writer) + Copy,
    ) -> Result<Vec<T>, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.ask(kind, flag::DUMP, header, doing, parse, body) {
                Err(err) if err.errno() == Some(Errno::INTR) && attempts < DUMP_ATTEMPTS => {}
                result => return result,
            }
        }
    }

    /// Asks for things, one ([`flag::ACK`] ends the answer) or all ([`nlmsg::DONE`] ends it).
    fn ask<T>(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        doing: impl Fn() -> String,
        parse: impl Fn(&Message<'_>) -> Option<T>,
        body: impl FnOnce(&mut Writer),
    ) -> Result<Vec<T>, Error> {
        self.seq = self.seq.wrapping_add(1);
        let flags = flags | flag::REQUEST | if flags == flag::DUMP { 0 } else { flag::ACK };
        let mut writer = Writer::new();
        writer.message(kind, flags, self.seq, header, body);
        let bytes = writer.finish().map_err(|source| Error::TooLong { doing: doing(), source })?;
        self.socket.send(&bytes).map_err(|errno| Error::refused(doing(), errno))?;
        let result = self.answers(&doing, parse);
        if result.is_err() {
            self.socket.drain();
        }
        result
    }

    fn answers<T>(
        &mut self,
        doing: &impl Fn() -> String,
        parse: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut overtaken = false;
        loop {
            let messages = self.socket.receive().map_err(|errno| Error::refused(doing(), errno))?;
            for message in messages {
                let malformed = |source| Error::Answer { doing: doing(), source };
                let message = message.map_err(malformed)?;
                if message.seq != self.seq {
                    continue;
                }
                overtaken |= message.flags & flag::DUMP_INTR != 0;
                match outcome(&message).map_err(malformed)? {
                    Outcome::Done if overtaken => return Err(Error::refused(doing(), Errno::INTR)),
                    Outcome::Done => return Ok(found),
                    Outcome::Failed(source, text) => {
                        return Err(Error::Refused { doing: doing(), text, source });
                    }
                    Outcome::Open => found.extend(parse(&message)),
                }
            }
        }
    }
}
