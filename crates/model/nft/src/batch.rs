use nlmsg::{Message, TooLong, Writer, flag};

use crate::{Chain, Family, Policy, Rule, Table};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;

const NEW_TABLE: u16 = message_type(0);
const GET_TABLE: u16 = message_type(1);
const DELETE_TABLE: u16 = message_type(2);
const NEW_CHAIN: u16 = message_type(3);
const GET_CHAIN: u16 = message_type(4);
const NEW_RULE: u16 = message_type(6);

/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// The size of `struct nfgenmsg`, in bytes.
const FAMILY_HEADER_BYTES: usize = 4;

const fn message_type(number: u8) -> u16 {
    (SUBSYSTEM as u16) << 8 | number as u16
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    writer: Writer,
    steps: Vec<String>,
}

/// A batch, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What goes into one `sendmsg(2)`.
    pub bytes: Vec<u8>,
    /// What each message does, for errors: `steps[N]` is the one with sequence number N.
    pub steps: Vec<String>,
    /// The sequence number of the last step, which alone is acknowledged: a thousand answers do not
    /// fit into a socket. 0 when there is nothing to do.
    pub last: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        let mut batch = Self { writer: Writer::new(), steps: Vec::new() };
        batch.frame(BATCH_BEGIN, "begin a batch");
        batch
    }

    /// Makes `table` be exactly as given, whether it exists or not.
    pub fn replace(&mut self, table: &Table) {
        self.delete(table.family, &table.name);
        self.add(table);
    }

    /// Makes a table that exists be exactly as given; fails with ENOENT where there is none.
    pub fn rewrite(&mut self, table: &Table) {
        self.table(DELETE_TABLE, 0, table.family, &table.name, "delete");
        self.add(table);
    }

    /// Makes a table that does not exist; fails with EEXIST where it does.
    pub fn add(&mut self, table: &Table) {
        let flags = flag::CREATE | flag::EXCL;
        self.table(NEW_TABLE, flags, table.family, &table.name, "add");
        for chain in &table.chains {
            self.chain(table, chain);
            for rule in &chain.rules {
                self.rule(table, chain, rule);
            }
        }
    }

    /// Deletes a table and all in it, if it exists.
    ///
    /// Adding it first makes deleting succeed, also on kernels before 6.3, which cannot "destroy".
    pub fn delete(&mut self, family: Family, name: &str) {
        self.table(NEW_TABLE, flag::CREATE, family, name, "find");
        self.table(DELETE_TABLE, 0, family, name, "delete");
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<Encoded, TooLong> {
        let last = self.steps.len() - 1;
        if last > 0 {
            self.writer.flag_last(flag::ACK);
        }
        self.frame(BATCH_END, "commit a batch");
        Ok(Encoded { bytes: self.writer.finish()?, steps: self.steps, last })
    }

    fn frame(&mut self, kind: u16, doing: &str) {
        let seq = self.step(doing.to_owned());
        // Both carry the subsystem's number where other messages have a resource's.
        self.writer.message(kind, flag::REQUEST, seq, &[0, 0, 0, SUBSYSTEM], |_| ());
    }

    fn table(&mut self, kind: u16, flags: u16, family: Family, name: &str, doing: &str) {
        let seq = self.step(format!("{doing} table {} {name}", family.name()));
        self.message(kind, flags, seq, family, |w| w.attr_str(TABLE_NAME, name));
    }

    fn chain(&mut self, table: &Table, chain: &Chain) {
        let seq = self.step(format!("add chain {} {}", table.name, chain.name));
        self.message(NEW_CHAIN, flag::CREATE, seq, table.family, |w| {
            w.attr_str(1, &table.name);
            w.attr_str(3, &chain.name);
            if let Some(base) = &chain.base {
                w.nest(4, |w| {
                    w.attr_be32(1, base.hook.number());
                    w.attr_be32(2, base.priority.cast_unsigned());
                });
                // NAT chains refuse any policy but this one, also where it is spelled out.
                if base.policy != Policy::Accept {
                    w.attr_be32(5, base.policy.number());
                }
                w.attr_str(7, base.kind.name());
            }
        });
    }

    fn rule(&mut self, table: &Table, chain: &Chain, rule: &Rule) {
        let seq = self.step(format!("add rule to chain {} {}", table.name, chain.name));
        self.message(NEW_RULE, flag::CREATE | flag::APPEND, seq, table.family, |w| {
            w.attr_str(1, &table.name);
            w.attr_str(2, &chain.name);
            w.nest(4, |w| rule.write(w));
        });
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        family: Family,
        body: impl FnOnce(&mut Writer),
    ) {
        let flags = flags | flag::REQUEST;
        self.writer.message(kind, flags, seq, &[family.number(), 0, 0, 0], body);
    }

    fn step(&mut self, doing: String) -> u32 {
        let seq = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.steps.push(doing);
        seq
    }
}

/// A request for the names of all tables of one family.
pub fn list_tables(family: Family, seq: u32) -> Result<Vec<u8>, TooLong> {
    let mut writer = Writer::new();
    let flags = flag::REQUEST | flag::DUMP;
    writer.message(GET_TABLE, flags, seq, &[family.number(), 0, 0, 0], |_| ());
    writer.finish()
}

/// A request for one chain of a table, which fails with ENOENT where there is none.
pub fn get_chain(family: Family, table: &str, name: &str, seq: u32) -> Result<Vec<u8>, TooLong> {
    let mut writer = Writer::new();
    let flags = flag::REQUEST | flag::ACK;
    writer.message(GET_CHAIN, flags, seq, &[family.number(), 0, 0, 0], |w| {
        w.attr_str(1, table);
        w.attr_str(3, name);
    });
    writer.finish()
}

/// The name in one answer to [`list_tables`].
pub fn table_name<'a>(message: &Message<'a>) -> Option<&'a str> {
    if message.kind != NEW_TABLE {
        return None;
    }
    let mut attributes = message.attributes(FAMILY_HEADER_BYTES).flatten();
    attributes.find(|attribute| attribute.kind == TABLE_NAME)?.text()
}
