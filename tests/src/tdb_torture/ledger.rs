// SPDX-License-Identifier: GPL-3.0-or-later
//! What the file has to contain, from what the workers acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{Batch, Journal, Kind, Op, Verb};
use super::*;

/// Worker and number; worker 0 is what is shared.
pub type Key = (u32, u32);
pub type Content = BTreeMap<Key, Vec<u8>>;

/// What is known to be in the file: the content when nobody worked on it, and since then what
/// workers acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    content: Content,
    /// Keys whose state a wipe beside their batch left open.
    open: BTreeSet<Key>,
    /// The least and most that each counter may have counted.
    counters: BTreeMap<u32, (u32, u32)>,
    wipes: u32,
    possible_wipes: u32,
    interrupted: Vec<(u32, Batch)>,
}

fn generation_of(content: &Content) -> u32 {
    content.get(&(0, GENERATION)).and_then(|value| word(value)).unwrap_or(0)
}

fn apply(content: &mut Content, id: u32, op: &Op) {
    let key = (id, op.number);
    match op.verb {
        Verb::Store | Verb::Modify => {
            content.insert(key, make_value(op.number, op.version));
        }
        Verb::Delete => {
            content.remove(&key);
        }
        Verb::Append => {
            let chunk = make_chunk(op.number, op.version);
            content.entry(key).or_default().extend_from_slice(&chunk);
        }
        Verb::Increment => {}
    }
}

impl Ledger {
    /// Begins anew with what the file contains.
    pub fn settle(&mut self, content: Content) {
        *self = Ledger { content, ..Ledger::default() };
    }

    /// Adds what workers say, given that the file is now in this generation.
    pub fn add(&mut self, journals: &[(u32, Journal)], generation: u32) {
        let began = generation_of(&self.content);
        if began != generation {
            self.content.clear();
        }
        for counter in 0..COUNTERS {
            let value = self.content.remove(&(0, counter)).and_then(|v| word(&v)).unwrap_or(0);
            self.counters.insert(counter, (value, value));
        }
        self.wipes = began;
        self.possible_wipes = began;
        for (id, journal) in journals {
            self.wipes += journal.wipes;
            self.possible_wipes += journal.wipes + u32::from(journal.wipe_pending);
            for batch in &journal.batches {
                self.batch(*id, batch, generation);
            }
        }
        if generation > 0 {
            self.content.insert((0, GENERATION), generation.to_ne_bytes().to_vec());
        }
    }

    fn batch(&mut self, id: u32, batch: &Batch, generation: u32) {
        let certain = batch.acknowledged == Some(batch.generation);
        if batch.acknowledged.is_some_and(|last| last < generation) || batch.kind == Kind::Cancelled
        {
            return;
        }
        for op in batch.ops.iter().filter(|op| op.verb == Verb::Increment) {
            let (least, most) = self.counters.entry(op.number).or_default();
            *least += u32::from(certain);
            *most += 1;
        }
        if certain {
            for op in &batch.ops {
                let key = (id, op.number);
                // what an append adds to is not known then
                let open = op.verb == Verb::Append && self.open.contains(&key);
                if !open && op.verb != Verb::Increment {
                    self.open.remove(&key);
                    apply(&mut self.content, id, op);
                }
            }
        } else if batch.generation == generation {
            self.interrupted.push((id, batch.clone()));
        } else {
            let keys = batch.ops.iter().filter(|op| op.verb != Verb::Increment);
            self.open.extend(keys.map(|op| (id, op.number)));
        }
    }

    /// What is wrong with the content of the file, in words.
    pub fn violations(&self, actual: &Content) -> Vec<String> {
        let mut wrong = Vec::new();
        let generation = generation_of(actual);
        if !(self.wipes..=self.possible_wipes).contains(&generation) {
            let (least, most) = (self.wipes, self.possible_wipes);
            wrong.push(format!("{generation} wipes, acknowledged {least} to {most}"));
        }
        for (&counter, &(least, most)) in &self.counters {
            let value = actual.get(&(0, counter)).map_or(Some(0), |value| word(value));
            if !value.is_some_and(|value| (least..=most).contains(&value)) {
                wrong.push(format!("counter {counter}: {value:?}, acknowledged {least} to {most}"));
            }
        }
        let mut excused = self.open.clone();
        for (id, batch) in &self.interrupted {
            let keys = batch.ops.iter().map(|op| (*id, op.number));
            excused.extend(keys);
            if !self.interrupted_well(*id, batch, actual) {
                wrong.push(format!(
                    "worker {id}, interrupted in {batch:?}: neither before nor after"
                ));
            }
        }
        let keys: BTreeSet<&Key> = self.content.keys().chain(actual.keys()).collect();
        for key in keys {
            let counter = key.0 == 0 && key.1 < COUNTERS;
            let (want, got) = (self.content.get(key), actual.get(key));
            if want != got && !counter && !excused.contains(key) {
                wrong.push(format!("key {key:?}: {}, acknowledged {}", show(got), show(want)));
            }
        }
        wrong
    }

    /// Whether the content may be what a worker leaves that was killed in this batch.
    fn interrupted_well(&self, id: u32, batch: &Batch, actual: &Content) -> bool {
        let ops: Vec<&Op> = batch.ops.iter().filter(|op| op.verb != Verb::Increment).collect();
        let before = |op: &&Op| {
            let key = (id, op.number);
            self.open.contains(&key) || self.content.get(&key) == actual.get(&key)
        };
        let after = |op: &&Op| {
            let key = (id, op.number);
            let mut one = Content::new();
            if let Some(old) = self.content.get(&key) {
                one.insert(key, old.clone());
            }
            apply(&mut one, id, op);
            self.open.contains(&key) || one.get(&key) == actual.get(&key)
        };
        match batch.kind {
            Kind::Cancelled => ops.iter().all(before),
            Kind::Transaction => ops.iter().all(before) || ops.iter().all(after),
            Kind::Plain => {
                let done = ops.iter().take_while(|op| after(op)).count();
                ops.iter().skip(done + 1).all(before)
            }
        }
    }
}

fn show(value: Option<&Vec<u8>>) -> String {
    match value {
        None => "nothing".into(),
        Some(value) => {
            let words: Vec<_> = value.chunks(4).take(3).map(word).collect();
            format!("{} bytes {words:?}", value.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(text: &str, generation: u32) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add(&[(1, Journal::parse(text).unwrap())], generation);
        ledger
    }

    fn content(generation: u32, versions: &[(u32, u32)]) -> Content {
        let mut content: Content =
            versions.iter().map(|&(n, v)| ((1, n), make_value(n, v))).collect();
        if generation > 0 {
            content.insert((0, GENERATION), generation.to_ne_bytes().to_vec());
        }
        content
    }

    #[test]
    fn acknowledged_writes_must_be_there() {
        let ledger = ledger("+ p 0 s1:10 s2:11\n= 0\n+ p 0 d2:12\n= 0\n", 0);
        assert!(ledger.violations(&content(0, &[(1, 10)])).is_empty());
        assert_eq!(ledger.violations(&content(0, &[])).len(), 1);
        assert_eq!(ledger.violations(&content(0, &[(1, 9)])).len(), 1);
        assert_eq!(ledger.violations(&content(0, &[(1, 10), (2, 11)])).len(), 1);
    }

    #[test]
    fn an_interrupted_transaction_is_all_or_nothing() {
        let ledger = ledger("+ p 0 s1:1\n= 0\n+ t 0 s1:2 s2:3\n", 0);
        assert!(ledger.violations(&content(0, &[(1, 1)])).is_empty());
        assert!(ledger.violations(&content(0, &[(1, 2), (2, 3)])).is_empty());
        assert_eq!(ledger.violations(&content(0, &[(1, 2)])).len(), 1);
    }

    #[test]
    fn interrupted_operations_are_done_in_their_order() {
        let ledger = ledger("+ p 0 s1:1 s2:2 s3:3\n", 0);
        for good in [&[][..], &[(1, 1)], &[(1, 9)], &[(1, 1), (2, 9)], &[(1, 1), (2, 2), (3, 3)]] {
            assert!(ledger.violations(&content(0, good)).is_empty(), "{good:?}");
        }
        for bad in [&[(3, 3)][..], &[(1, 9), (2, 2)], &[(2, 2), (3, 3)]] {
            assert_eq!(ledger.violations(&content(0, bad)).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_wipe_ends_what_was_acknowledged_before() {
        let text = "+ p 0 s1:1\n= 0\n+ w\n= w\n+ p 1 s2:2 i0:3\n= 1\n";
        let ledger = ledger(text, 1);
        let mut actual = content(1, &[(2, 2)]);
        assert_eq!(ledger.violations(&actual).len(), 1, "the increment is missing");
        actual.insert((0, 0), 1u32.to_ne_bytes().to_vec());
        assert!(ledger.violations(&actual).is_empty());
        actual.insert((1, 1), make_value(1, 1));
        assert_eq!(ledger.violations(&actual).len(), 1, "wiped, and there again");
        assert_eq!(ledger.violations(&content(0, &[(2, 2)])).len(), 3);
    }
}
