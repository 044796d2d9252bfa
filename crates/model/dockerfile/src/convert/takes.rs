//! What stages take from each other, by names and numbers.

use std::collections::BTreeSet;

use super::stage::At;
use super::stages::{Converter, SCRATCH};
use crate::error::Error;
use crate::expand::NoVariables;
use crate::instruction::{Body, Instruction};
use crate::position::Lines;
use crate::problem::Problem;

impl Converter<'_> {
    /// Finds what each instruction takes from.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        for at in 0..self.stages.len() {
            for command in 0..self.stages[at].commands.len() {
                let instruction = self.stages[at].commands[command].instruction.clone();
                let lines = instruction.lines;
                let sources = self.sources(&instruction);
                let sources = sources.map_err(|problem| Error::at(lines, problem))?;
                let stage = &mut self.stages[at];
                stage.takes.extend(sources.iter().map(|source| (*source, lines)));
                stage.commands[command].sources = sources;
            }
        }
        self.refuse_circles()?;
        if let [only] = self.stages.as_mut_slice() {
            only.counter.stage.clear();
        }
        Ok(())
    }

    pub(crate) fn sources(&mut self, instruction: &Instruction) -> Result<Vec<At>, Problem> {
        let lines = instruction.lines;
        match &instruction.body {
            Body::Copy(copy) if !copy.from.is_empty() => {
                let found = self.how().expand(&copy.from, &NoVariables)?;
                if found.text != copy.from {
                    return Err(Problem::FromVariable);
                }
                Ok(vec![self.source(&copy.from, lines)?])
            }
            // Each mount has one, though it may make no use of it.
            Body::Run(run) => run
                .mounts
                .iter()
                .map(|mount| match mount.from.as_deref().filter(|from| !from.is_empty()) {
                    Some(from) => self.by_name_or_foreign(from, lines),
                    None => self.add_foreign(SCRATCH, lines),
                })
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// A stage by its number or its name, or an image.
    fn source(&mut self, from: &str, lines: Lines) -> Result<At, Problem> {
        let Ok(number) = from.parse::<i64>() else { return self.by_name_or_foreign(from, lines) };
        let at = usize::try_from(number).ok().filter(|at| *at < self.file.stages.len());
        at.ok_or(Problem::StageIndex(number))
    }

    fn by_name_or_foreign(&mut self, from: &str, lines: Lines) -> Result<At, Problem> {
        match self.by_name.get(&from.to_lowercase()) {
            Some(at) => Ok(*at),
            None => self.add_foreign(from, lines),
        }
    }

    /// A stage takes nothing from itself, on whatever way.
    pub(crate) fn refuse_circles(&self) -> Result<(), Error> {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; self.stages.len()];
        for first in 0..self.stages.len() {
            // A stage, how many of what it takes have been looked at, and where it was named.
            let mut way: Vec<(At, usize, Option<Lines>)> = vec![(first, 0, None)];
            while let Some((at, next, _)) = way.last_mut() {
                let at = *at;
                if state[at] == DONE {
                    way.pop();
                    continue;
                }
                state[at] = OPEN;
                let Some((source, lines)) = self.stages[at].takes.get(*next) else {
                    state[at] = DONE;
                    way.pop();
                    continue;
                };
                *next += 1;
                if state[*source] == OPEN {
                    let mut named: Vec<Lines> = way.iter().filter_map(|step| step.2).collect();
                    named.push(*lines);
                    let name = self.stages[first].counter.stage.clone();
                    let mut error = Error::nowhere(Problem::Circular(name));
                    error.lines = named;
                    return Err(error);
                }
                way.push((*source, 0, Some(*lines)));
            }
        }
        Ok(())
    }

    /// All that a stage needs, itself with it.
    pub(crate) fn needed(&self, target: At) -> BTreeSet<At> {
        let mut needed = BTreeSet::new();
        let mut open = vec![target];
        while let Some(at) = open.pop() {
            if needed.insert(at) {
                open.extend(self.stages[at].base);
                open.extend(self.stages[at].takes.iter().map(|(source, _)| source));
            }
        }
        needed
    }
}
