// SPDX-License-Identifier: GPL-3.0-or-later
//! A worker on our engine: random work until the file `stop` appears.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tdb::{Error, LockMode, StoreMode, Tdb};

use super::journal::{Op, Verb};
use super::*;
use crate::Random;

struct Worker {
    tdb: Tdb,
    own_id: u32,
    scene: u32,
    random: Random,
    version: u32,
    journal: File,
    stop: PathBuf,
}

/// What a program does when it is started as a worker:
/// `FILE TDB_FLAGS HASH_SIZE DIRECTORY ID SEED SCENE MAX_DEAD`.
pub fn run(args: &[String]) -> Result<()> {
    let [file, flags, hash_size, directory, id, seed, scene, max_dead] = args else {
        bail!("worker FILE TDB_FLAGS HASH_SIZE DIRECTORY ID SEED SCENE MAX_DEAD");
    };
    let options = ctdb_tdb::OpenOptions {
        tdb_flags: flags.parse()?,
        hash_size: hash_size.parse()?,
        max_dead: Some(max_dead.parse()?),
        ..Default::default()
    };
    let directory = PathBuf::from(directory);
    let journal = directory.join(format!("journal.{id}"));
    let mut worker = Worker {
        tdb: Tdb::open(file, &options)?,
        own_id: id.parse()?,
        scene: scene.parse()?,
        random: Random::new(seed.parse()?),
        version: 0,
        journal: OpenOptions::new().create(true).append(true).open(journal)?,
        stop: directory.join("stop"),
    };
    while !worker.stop.exists() {
        worker.work().with_context(|| format!("our worker {id}"))?;
    }
    Ok(())
}

impl Worker {
    fn below(&mut self, bound: u32) -> u32 {
        self.random.below(bound as usize) as u32
    }

    fn work(&mut self) -> Result<()> {
        let choice = self.below(100);
        let plain = self.scene & PLAIN != 0;
        if self.scene & TRANSACTIONS != 0 && (!plain || choice < 20) {
            let kind = if self.below(5) == 0 { 'c' } else { 't' };
            self.batch(kind)?;
        } else {
            self.batch('p')?;
        }
        match choice {
            0 => self.traverse(),
            1..=3 if self.scene & WHOLE != 0 => self.whole_database(),
            _ => Ok(()),
        }
    }

    fn note(&mut self, line: &str) -> Result<()> {
        Ok(self.journal.write_all(line.as_bytes())?)
    }

    fn batch(&mut self, kind: char) -> Result<()> {
        let count = 1 + self.below(MAX_BATCH);
        let first = self.below(KEYS);
        let ops: Vec<Op> = (0..count).map(|i| self.some_op((first + i) % KEYS)).collect();
        let text: String = ops.iter().map(|op| format!(" {op}")).collect();
        let generation = self.word_at(GENERATION)?;
        self.note(&format!("+ {kind} {generation}{text}\n"))?;
        if kind != 'p' {
            self.tdb.transaction_start()?;
        }
        for op in &ops {
            self.do_one(op, kind == 'p').with_context(|| op.to_string())?;
        }
        match kind {
            't' => self.tdb.transaction_commit()?,
            'c' => self.tdb.transaction_cancel()?,
            _ => {}
        }
        let generation = self.word_at(GENERATION)?;
        self.note(&format!("= {generation}\n"))
    }

    fn some_op(&mut self, number: u32) -> Op {
        let verb = Verb::ALL[self.below(Verb::ALL.len() as u32) as usize];
        let number = if verb == Verb::Increment { self.below(COUNTERS) } else { number };
        self.version += 1;
        Op { verb, number, version: self.version }
    }

    fn do_one(&mut self, op: &Op, locks: bool) -> Result<()> {
        let key = key_of(self.own_id, op.number);
        let value = make_value(op.number, op.version);
        match op.verb {
            // in two parts, as a cluster stores a header and what follows it
            Verb::Store => {
                self.tdb.store(&key, &[&value[..8], &value[8..]], StoreMode::Replace)?;
            }
            Verb::Modify if locks => self.modify(op.number, &key, &value)?,
            Verb::Modify => self.tdb.store(&key, &[&value], StoreMode::Replace)?,
            Verb::Delete => match self.tdb.delete(&key) {
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error.into()),
            },
            Verb::Append => self.tdb.append(&key, &make_chunk(op.number, op.version))?,
            Verb::Increment if locks => {
                let key = key_of(0, op.number);
                let mut record = self.tdb.lock_record(&key)?;
                let count = record.value()?.and_then(word).unwrap_or(0) + 1;
                record.store(&[&count.to_ne_bytes()], StoreMode::Replace)?;
            }
            Verb::Increment => {
                let count = self.word_at(op.number)? + 1;
                self.store_word(op.number, count)?;
            }
        }
        Ok(())
    }

    fn modify(&mut self, number: u32, key: &[u8], value: &[u8]) -> Result<()> {
        let checked = self.scene & CHECKED != 0;
        let mut guard = self.tdb.chain_lock(key)?;
        let found = guard.fetch(key)?.map(|old| !checked || well_formed(number, old));
        ensure!(found != Some(false), "a value that nobody stored");
        let mode = if found.is_some() { StoreMode::Modify } else { StoreMode::Insert };
        Ok(guard.store(key, &[value], mode)?)
    }

    fn word_at(&mut self, number: u32) -> Result<u32> {
        Ok(self.tdb.parse(&key_of(0, number), word)?.flatten().unwrap_or(0))
    }

    fn store_word(&mut self, number: u32, word: u32) -> Result<()> {
        Ok(self.tdb.store(&key_of(0, number), &[&word.to_ne_bytes()], StoreMode::Replace)?)
    }

    fn traverse(&mut self) -> Result<()> {
        let checked = self.scene & CHECKED != 0;
        let mut strange = Vec::new();
        self.tdb.traverse(|key, value| {
            let good = parse_key(key)
                .is_some_and(|(id, number)| id == 0 || !checked || well_formed(number, value));
            if !good {
                strange = key.to_vec();
            }
            good
        })?;
        ensure!(strange.is_empty(), "a record that nobody stored: {strange:?}");
        Ok(())
    }

    fn whole_database(&mut self) -> Result<()> {
        match self.below(300) {
            0 => self.wipe(),
            1..=8 => Ok(self.tdb.repack()?),
            _ => {
                self.tdb.lock_all(LockMode::Exclusive)?;
                Ok(self.tdb.unlock_all()?)
            }
        }
    }

    fn wipe(&mut self) -> Result<()> {
        self.note("+ w\n")?;
        self.tdb.transaction_start()?;
        let generation = self.word_at(GENERATION)?;
        self.tdb.wipe_all()?;
        self.store_word(GENERATION, generation + 1)?;
        self.tdb.transaction_commit()?;
        self.note("= w\n")
    }
}
