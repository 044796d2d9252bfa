use nft::{Batch, Family, Table};
use rustix::io::Errno;
use rustix::net::netlink;

use crate::Error;
use crate::socket::{Outcome, Socket, outcome};

/// A socket for the firewall rules of this thread's network namespace.
///
/// Closing one, any one, waits for a grace period (some 10 ms) as long as the kernel has not freed
/// what was deleted lately in its namespace. So who deletes something keeps the socket until nobody
/// waits for it, and what is made is not deleted first ([`FilterSocket::put`]).
#[derive(Debug)]
pub struct FilterSocket {
    socket: Socket,
}

impl FilterSocket {
    /// Opens one.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Some(netlink::NETFILTER))? })
    }

    /// Makes all the changes of a batch, or none. The error is the first step's that failed.
    pub fn execute(&mut self, batch: Batch) -> Result<(), Error> {
        let doing = || "write firewall rules".to_owned();
        let batch = batch.finish().map_err(|source| Error::TooLong { doing: doing(), source })?;
        if batch.last == 0 {
            return Ok(());
        }
        self.socket.send(&batch.bytes).map_err(|errno| Error::refused(doing(), errno))?;
        let result = self.outcome(&batch);
        if result.is_err() {
            self.socket.drain();
        }
        result
    }

    /// Makes tables be exactly as given, all or none.
    pub fn put(&mut self, tables: &[Table]) -> Result<(), Error> {
        let batch = |write: fn(&mut Batch, &Table)| {
            let mut batch = Batch::new();
            for table in tables {
                write(&mut batch, table);
            }
            batch
        };
        match self.execute(batch(Batch::add)) {
            Err(err) if err.errno() == Some(Errno::EXIST) => self.execute(batch(Batch::replace)),
            result => result,
        }
    }

    fn outcome(&mut self, batch: &nft::Encoded) -> Result<(), Error> {
        let last = |seq: u32| usize::try_from(seq) == Ok(batch.last);
        loop {
            let doing = |seq: u32| {
                let step = usize::try_from(seq).ok().and_then(|seq| batch.steps.get(seq));
                step.map_or("write firewall rules", String::as_str).to_owned()
            };
            let messages =
                self.socket.receive().map_err(|errno| Error::refused(doing(0), errno))?;
            for message in messages {
                let malformed = |source| Error::Answer { doing: doing(0), source };
                let message = message.map_err(malformed)?;
                match outcome(&message).map_err(malformed)? {
                    Outcome::Failed(source, text) => {
                        return Err(Error::Refused { doing: doing(message.seq), text, source });
                    }
                    Outcome::Done if last(message.seq) => return Ok(()),
                    _ => {}
                }
            }
        }
    }

    /// The names of all tables of a family. Nobody's rules are read.
    pub fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        self.ask(nft::list_tables(family, 0), || format!("list {} tables", family.name()))
    }

    /// Whether there is a table of this name with a chain of that name. No rule is read.
    pub fn has_chain(&mut self, family: Family, table: &str, name: &str) -> Result<bool, Error> {
        let doing = || format!("look up chain {} {table} {name}", family.name());
        match self.ask(nft::get_chain(family, table, name, 0), doing) {
            Ok(_) => Ok(true),
            Err(err) if err.errno() == Some(Errno::NOENT) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Sends a question, and returns the names of tables in the answer.
    fn ask(
        &mut self,
        request: Result<Vec<u8>, nlmsg::TooLong>,
        doing: impl Fn() -> String,
    ) -> Result<Vec<String>, Error> {
        let request = request.map_err(|source| Error::TooLong { doing: doing(), source })?;
        self.socket.send(&request).map_err(|errno| Error::refused(doing(), errno))?;
        let result = self.names(doing);
        if result.is_err() {
            self.socket.drain();
        }
        result
    }

    fn names(&mut self, doing: impl Fn() -> String) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        loop {
            let messages = self.socket.receive().map_err(|errno| Error::refused(doing(), errno))?;
            for message in messages {
                let malformed = |source| Error::Answer { doing: doing(), source };
                let message = message.map_err(malformed)?;
                match outcome(&message).map_err(malformed)? {
                    Outcome::Done => return Ok(names),
                    Outcome::Failed(source, text) => {
                        return Err(Error::Refused { doing: doing(), text, source });
                    }
                    Outcome::Open => names.extend(nft::table_name(&message).map(str::to_owned)),
                }
            }
        }
    }
}
