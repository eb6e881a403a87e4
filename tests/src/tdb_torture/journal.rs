// SPDX-License-Identifier: GPL-3.0-or-later
//! What a worker wrote about its batches, before and after.

use std::fmt;

use anyhow::{Context, Result};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Store,
    /// Read, then store, with the chain locked.
    Modify,
    Delete,
    Append,
    Increment,
}

impl Verb {
    /// Stores as often as workers choose them.
    pub const ALL: [Verb; 7] = [
        Verb::Store,
        Verb::Store,
        Verb::Modify,
        Verb::Modify,
        Verb::Delete,
        Verb::Append,
        Verb::Increment,
    ];

    fn letter(self) -> char {
        match self {
            Verb::Store => 's',
            Verb::Modify => 'm',
            Verb::Delete => 'd',
            Verb::Append => 'a',
            Verb::Increment => 'i',
        }
    }
}

/// One operation on a key of the worker, or on a shared counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    pub verb: Verb,
    pub number: u32,
    pub version: u32,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.verb.letter(), self.number, self.version)
    }
}

impl Op {
    fn parse(text: &str) -> Option<Op> {
        let letter = text.chars().next()?;
        let verb = Verb::ALL.into_iter().find(|verb| verb.letter() == letter)?;
        let (number, version) = text.get(1..)?.split_once(':')?;
        Some(Op { verb, number: number.parse().ok()?, version: version.parse().ok()? })
    }
}

/// How the operations of a batch belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Transaction,
    Cancelled,
}

/// A batch of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub kind: Kind,
    /// Before it began.
    pub generation: u32,
    /// After it was done; `None` if the worker was killed before it could say so.
    pub acknowledged: Option<u32>,
    pub ops: Vec<Op>,
}

/// All that a worker did.
#[derive(Debug, Default)]
pub struct Journal {
    pub batches: Vec<Batch>,
    pub wipes: u32,
    /// Killed in a wipe.
    pub wipe_pending: bool,
}

impl Journal {
    pub fn parse(text: &str) -> Result<Journal> {
        let mut journal = Journal::default();
        for line in text.lines() {
            journal.line(line).with_context(|| format!("journal: {line:?}"))?;
        }
        Ok(journal)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match (words.next()?, words.next()?) {
            ("+", "w") => self.wipe_pending = true,
            ("=", "w") => {
                self.wipe_pending = false;
                self.wipes += 1;
            }
            ("+", kind) => {
                let kind = match kind {
                    "p" => Kind::Plain,
                    "t" => Kind::Transaction,
                    "c" => Kind::Cancelled,
                    _ => return None,
                };
                let generation = words.next()?.parse().ok()?;
                let ops = words.map(Op::parse).collect::<Option<_>>()?;
                self.batches.push(Batch { kind, generation, acknowledged: None, ops });
            }
            ("=", generation) => {
                self.batches.last_mut()?.acknowledged = Some(generation.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_and_wipes() {
        let text = "+ p 0 s1:2 i3:4\n= 1\n+ w\n= w\n+ t 2 d5:6\n";
        let journal = Journal::parse(text).unwrap();
        let op = |verb, number, version| Op { verb, number, version };
        let first = &journal.batches[0];
        assert_eq!(first.ops, [op(Verb::Store, 1, 2), op(Verb::Increment, 3, 4)]);
        assert_eq!((first.generation, first.acknowledged), (0, Some(1)));
        let last = &journal.batches[1];
        assert_eq!((last.kind, last.acknowledged), (Kind::Transaction, None));
        assert_eq!((journal.wipes, journal.wipe_pending), (1, false));
        assert!(Journal::parse("+ x 0\n").is_err());
        assert!(Journal::parse("= 0\n").is_err());
    }
}
