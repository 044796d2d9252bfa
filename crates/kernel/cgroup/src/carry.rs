//! Steps carried out, and taken back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::encode::{Step, Write, unsupported};
use crate::error::Error;
use crate::parse;
use crate::tree::Dir;

/// Writes limits; on request it remembers what was there before.
pub(crate) struct Writer<'a> {
    journal: Option<Vec<Before<'a>>>,
}

/// A value that was written over.
struct Before<'a> {
    dir: &'a Dir,
    file: String,
    /// What was in the file.
    old: String,
    /// What was written.
    new: String,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(remembers: bool) -> Self {
        Self { journal: remembers.then(Vec::new) }
    }

    fn write(&mut self, dir: &'a Dir, write: &Write) -> Result<(), sys::Error> {
        if let Some(journal) = &mut self.journal
            && let Some(old) = dir.read_if_there(&write.file).ok().flatten()
        {
            let (file, new) = (write.file.clone(), write.value.clone());
            journal.push(Before { dir, file, old, new });
        }
        dir.write(&write.file, &write.value)
    }

    pub(crate) fn carry_out(
        &mut self,
        dir: &'a Dir,
        step: &Step,
        limit: &str,
    ) -> Result<(), Error> {
        match step {
            Step::All(writes) => self.all(dir, writes, limit),
            Step::IfThere(write) => match self.write(dir, write) {
                Err(error) if error.errno() == Errno::NOENT => Ok(()),
                other => Ok(other?),
            },
            Step::FirstOf(writes) => {
                for write in writes {
                    if dir.has(&write.file) {
                        return Ok(self.write(dir, write)?);
                    }
                }
                Err(unsupported(writes.last().map_or("", |w| &w.file), limit))
            }
            Step::Exactly(write) => {
                self.all(dir, std::slice::from_ref(write), limit)?;
                let is = parse::number(&dir.read(&write.file)?);
                match (is, parse::number(&write.value)) {
                    (Some(is), Some(wanted)) if is != wanted => {
                        Err(Error::Inexact { file: write.file.clone(), wanted, is })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Writes them in whichever order the kernel takes.
    fn all(&mut self, dir: &'a Dir, writes: &[Write], limit: &str) -> Result<(), Error> {
        let mut left: Vec<&Write> = writes.iter().collect();
        loop {
            let mut refused = Vec::new();
            let mut why = None;
            for write in &left {
                match self.write(dir, write) {
                    Ok(()) => {}
                    Err(error) if error.errno() == Errno::NOENT => {
                        return Err(unsupported(&write.file, limit));
                    }
                    Err(error) if error.errno() == Errno::INVAL => {
                        refused.push(*write);
                        why = why.or(Some(error));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            match why {
                None => return Ok(()),
                Some(error) if refused.len() == left.len() => return Err(error.into()),
                Some(_) => left = refused,
            }
        }
    }

    /// Takes back what was written before `error`, and tells how that went.
    pub(crate) fn undo(&mut self, error: Error) -> Error {
        // Of each value, the first that was seen is what was there at the beginning.
        let mut first: BTreeMap<(PathBuf, String, Option<String>), Before<'_>> = BTreeMap::new();
        for before in self.journal.take().unwrap_or_default() {
            let key = (before.dir.path().to_owned(), before.file.clone(), key_of(&before));
            first.entry(key).or_insert(before);
        }
        let mut left: Vec<Before<'_>> = first.into_values().filter(|b| !is_as_before(b)).collect();
        if left.is_empty() {
            return Error::Unchanged(Box::new(error));
        }
        // They limit each other as they did on the way here.
        loop {
            let before = left.len();
            left.retain(|one| {
                let value = restoring(&one.file, &one.new, &one.old);
                value.is_none_or(|value| one.dir.write(&one.file, &value).is_err())
            });
            if left.is_empty() {
                return Error::Unchanged(Box::new(error));
            }
            if left.len() == before {
                let files = left.iter().map(|b| format!("{} (was `{}`)", b.file, line(&b.old)));
                return Error::Changed { files: files.collect(), source: Box::new(error) };
            }
        }
    }
}

fn line(text: &str) -> String {
    text.trim().replace('\n', ", ")
}

/// In a file with a line for each device or interface, whose line it is.
fn key_of(before: &Before<'_>) -> Option<String> {
    is_keyed(&before.file)
        .then(|| before.new.split(' ').next().map(str::to_owned))
        .flatten()
        .filter(|_| before.new.contains(' '))
}

fn is_as_before(before: &Before<'_>) -> bool {
    let now = before.dir.read_if_there(&before.file).ok().flatten();
    now.is_none_or(|now| match key_of(before) {
        Some(key) => line_of(&now, &key) == line_of(&before.old, &key),
        None => now == before.old,
    })
}

/// Files with a line for each device or interface.
fn is_keyed(file: &str) -> bool {
    file.ends_with("_device")
        || ["io.max", "io.weight", "io.bfq.weight", "rdma.max", "net_prio.ifpriomap"]
            .contains(&file)
}

fn line_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let is_it = |line: &&str| line.split(' ').next() == Some(key);
    text.lines().find(is_it).map(str::trim)
}

/// What to write into `file`, which held `old`, so that what `written` changed is as it was. `None`
/// where no value does that.
fn restoring(file: &str, written: &str, old: &str) -> Option<String> {
    if file == "memory.oom_control" {
        return line_of(old, "oom_kill_disable")?.split(' ').nth(1).map(str::to_owned);
    }
    let (key, limits) = match written.split_once(' ') {
        Some(parts) if is_keyed(file) => parts,
        // The default of a file that also has lines.
        None if is_keyed(file) => {
            let first = old.lines().next()?.trim();
            return Some(first.strip_prefix("default ").unwrap_or(first).to_owned());
        }
        _ => return (old.trim().lines().count() <= 1).then(|| old.trim().to_owned()),
    };
    if let Some(line) = line_of(old, key) {
        return Some(line.to_owned());
    }
    let max = || {
        let names = limits.split(' ').filter_map(|limit| limit.split_once('='));
        names.map(|(name, _)| format!(" {name}=max")).collect::<String>()
    };
    match file {
        "io.max" | "rdma.max" => Some(format!("{key}{}", max())),
        "io.weight" | "io.bfq.weight" => Some(format!("{key} default")),
        "net_prio.ifpriomap" => None,
        _ => Some(format!("{key} 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::restoring;

    #[test]
    fn a_value_is_restored_by_what_was_read() {
        let restores = |file, written, old| restoring(file, written, old).unwrap_or_default();
        assert_eq!(restores("pids.max", "5", "max\n"), "max");
        assert_eq!(restores("cpu.max", "5 10", "max 100000\n"), "max 100000");
        assert_eq!(restores("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\n"), "0");
        let old = "8:0 rbps=5 wbps=max riops=max wiops=max\n";
        assert_eq!(restores("io.max", "8:0 rbps=9", old), old.trim());
        assert_eq!(restores("io.max", "8:16 rbps=9 wiops=1", old), "8:16 rbps=max wiops=max");
        assert_eq!(restores("io.bfq.weight", "7", "default 100\n8:0 5\n"), "100");
        assert_eq!(restores("io.weight", "8:16 7", "default 100\n8:0 5\n"), "8:16 default");
        let file = "blkio.throttle.read_bps_device";
        assert_eq!(restores(file, "8:0 7", "8:0 5\n"), "8:0 5");
        assert_eq!(restores(file, "8:0 7", ""), "8:0 0");
        assert_eq!(restoring("net_prio.ifpriomap", "eth0 5", ""), None);
        assert_eq!(restoring("memory.stat", "5", "a 1\nb 2\n"), None);
    }
}
