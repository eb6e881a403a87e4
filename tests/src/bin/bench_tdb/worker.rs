// SPDX-License-Identifier: GPL-3.0-or-later
//! Our side of `make bench-tdb`: does what it is told, as tests/bench/tdb_worker.c does on libtdb,
//! loop for loop. That file says what the arguments and the output are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tdb::{Error, LockMode, OpenOptions, StoreMode, Tdb};
use nix::time::{clock_gettime, ClockId};
use serde_json::{json, Value};

const KEY_BYTES: usize = 16;
const TRANSACTION_STORES: u32 = 10;
const MAX_VALUE: usize = 65536;

struct Worker {
    tdb: Tdb,
    order: Vec<u32>,
    key: [u8; KEY_BYTES],
    value: Vec<u8>,
    value_bytes: usize,
    step: u32,
    sum: u64,
}

/// `ops`, processor time, time and the sum of what was read, of all work with one label.
#[derive(Default)]
struct Figure {
    ops: u64,
    ns: u64,
    wall_ns: u64,
    sum: u64,
}

/// What the program does when it is started as `bench-tdb worker ...`.
pub fn run(args: &[String]) -> Result<()> {
    let [path, flags, hash_size, order, value_bytes, work @ ..] = args else {
        bail!("usage: worker FILE TDB_FLAGS HASH_SIZE ORDER_FILE VALUE_BYTES WORK...");
    };
    let options = OpenOptions {
        tdb_flags: flags.parse()?,
        hash_size: hash_size.parse()?,
        create: true,
        ..OpenOptions::default()
    };
    let order = fs::read(order)?;
    let mut worker = Worker {
        tdb: Tdb::open(path, &options)?,
        order: words(&order),
        key: *b"key-000000000000",
        value: vec![7; MAX_VALUE],
        value_bytes: value_bytes.parse()?,
        step: 0,
        sum: 0,
    };
    ensure!(!worker.order.is_empty() && worker.value_bytes <= MAX_VALUE, "no keys, or too long");
    let mut figures = BTreeMap::new();
    for word in work {
        worker.phase(word, &mut figures).with_context(|| word.clone())?;
    }
    let object = figures.into_iter().map(|(label, f)| {
        let Figure { ops, ns, wall_ns, sum } = f;
        (label, json!({"ops": ops, "ns": ns, "wall_ns": wall_ns, "sum": sum}))
    });
    println!("{}", Value::Object(object.collect()));
    Ok(())
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
    bytes.chunks_exact(4).map(word).collect()
}

fn now(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn key_of(key: &mut [u8; KEY_BYTES], number: u32) -> &[u8] {
    key[8..12].copy_from_slice(&number.to_ne_bytes());
    key
}

/// Never the same twice, or a store over itself would write nothing.
fn next_value<'a>(value: &'a mut [u8], step: &mut u32, bytes: usize) -> &'a [u8] {
    *step = step.wrapping_add(1);
    value[..4].copy_from_slice(&step.to_ne_bytes());
    &value[..bytes]
}

fn look(data: &[u8]) -> u64 {
    u64::from(data[0]) + data.len() as u64
}

/// What a read found; the record has to be there.
fn there<T>(found: Option<T>) -> Result<T> {
    found.context("no such record")
}

impl Worker {
    fn phase(&mut self, word: &str, figures: &mut BTreeMap<String, Figure>) -> Result<()> {
        let (label, work) = word.split_once('=').map_or((None, word), |(l, w)| (Some(l), w));
        let (name, count) = work.split_once(':').unwrap_or((work, "1"));
        let count = count.parse()?;
        let sum = self.sum;
        let ns = now(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
        let wall_ns = now(ClockId::CLOCK_MONOTONIC)?;
        let ops = self.work(name, count)?;
        let wall_ns = now(ClockId::CLOCK_MONOTONIC)? - wall_ns;
        let ns = now(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - ns;
        if let Some(label) = label {
            let figure = figures.entry(label.to_string()).or_default();
            figure.ops += ops;
            figure.ns += ns;
            figure.wall_ns += wall_ns;
            figure.sum += self.sum - sum;
        }
        Ok(())
    }

    fn work(&mut self, name: &str, count: u64) -> Result<u64> {
        match name {
            "insert" => self.store(count, StoreMode::Insert),
            "replace" => self.store(count, StoreMode::Replace),
            "delete" => self.delete(count),
            "read" => self.read(count),
            "lock-read" => self.lock_read(count),
            "record-read" => self.record_read(count),
            "lock-read-store" => self.lock_read_store(count),
            "record-read-store" => self.record_read_store(count),
            "traverse" => self.traverse(count),
            "transactions" => self.transactions(count),
            "churn" => self.churn(count),
            "contend" => self.contend(count),
            "step" => {
                self.step = count as u32;
                Ok(0)
            }
            "wait" => wait_for_word().map(|()| 0),
            "lock-all" => Ok(self.tdb.lock_all(LockMode::Exclusive).map(|()| 1)?),
            "unlock-all" => Ok(self.tdb.unlock_all().map(|()| 1)?),
            "check" => Ok(self.tdb.check().map(|_| 1)?),
            _ => bail!("no such work"),
        }
    }

    // Each does `count` passes, unless its comment says otherwise, and returns how many operations
    // that were.

    fn operations(&self, count: u64) -> u64 {
        count * self.order.len() as u64
    }

    fn store(&mut self, count: u64, mode: StoreMode) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                let key = key_of(&mut self.key, number);
                let value = next_value(&mut self.value, &mut self.step, self.value_bytes);
                self.tdb.store(key, &[value], mode)?;
            }
        }
        Ok(self.operations(count))
    }

    fn delete(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                self.tdb.delete(key_of(&mut self.key, number))?;
            }
        }
        Ok(self.operations(count))
    }

    fn read(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                self.sum += there(self.tdb.parse(key_of(&mut self.key, number), look)?)?;
            }
        }
        Ok(self.operations(count))
    }

    fn lock_read(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                let key = key_of(&mut self.key, number);
                let mut guard = self.tdb.chain_lock(key)?;
                self.sum += look(there(guard.fetch(key)?)?);
            }
        }
        Ok(self.operations(count))
    }

    fn record_read(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                let mut record = self.tdb.lock_record(key_of(&mut self.key, number))?;
                self.sum += look(there(record.value()?)?);
            }
        }
        Ok(self.operations(count))
    }

    fn lock_read_store(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &number in &self.order {
                let key = key_of(&mut self.key, number);
                let mut guard = self.tdb.chain_lock(key)?;
                self.sum += look(there(guard.fetch(key)?)?);
                let value = next_value(&mut self.value, &mut self.step, self.value_bytes);
                guard.store(key, &[value], StoreMode::Replace)?;
            }
        }
        Ok(self.operations(count))
    }

    fn record_read_store_one(&mut self, number: u32) -> Result<()> {
        let mut record = self.tdb.lock_record(key_of(&mut self.key, number))?;
        self.sum += look(there(record.value()?)?);
        let value = next_value(&mut self.value, &mut self.step, self.value_bytes);
        Ok(record.store(&[value], StoreMode::Replace)?)
    }

    fn record_read_store(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for at in 0..self.order.len() {
                self.record_read_store_one(self.order[at])?;
            }
        }
        Ok(self.operations(count))
    }

    fn traverse(&mut self, count: u64) -> Result<u64> {
        let mut visited = 0;
        for _ in 0..count {
            visited += self.tdb.traverse(|_, data| {
                self.sum += look(data);
                true
            })?;
        }
        Ok(visited)
    }

    /// `count` transactions of ten stores each.
    fn transactions(&mut self, count: u64) -> Result<u64> {
        let mut at = 0;
        for _ in 0..count {
            self.tdb.transaction_start()?;
            for _ in 0..TRANSACTION_STORES {
                let key = key_of(&mut self.key, self.order[at]);
                at = if at + 1 == self.order.len() { 0 } else { at + 1 };
                let value = next_value(&mut self.value, &mut self.step, self.value_bytes);
                self.tdb.store(key, &[value], StoreMode::Replace)?;
            }
            self.tdb.transaction_commit()?;
        }
        Ok(count)
    }

    /// Here each word of the order is a key (low half) and the size of its new value (high half, 0
    /// to delete it).
    fn churn(&mut self, count: u64) -> Result<u64> {
        for _ in 0..count {
            for &word in &self.order {
                let key = key_of(&mut self.key, word & 0xFFFF);
                let size = (word >> 16) as usize;
                if size == 0 {
                    match self.tdb.delete(key) {
                        Ok(()) | Err(Error::NotFound) => {}
                        Err(error) => return Err(error.into()),
                    }
                } else {
                    let value = next_value(&mut self.value, &mut self.step, size);
                    self.tdb.store(key, &[value], StoreMode::Replace)?;
                }
            }
        }
        Ok(self.operations(count))
    }

    /// As `record_read_store`, for `count` milliseconds.
    fn contend(&mut self, count: u64) -> Result<u64> {
        let end = now(ClockId::CLOCK_MONOTONIC)? + count * 1_000_000;
        let mut at = self.step as usize % self.order.len();
        let mut done = 0;
        while now(ClockId::CLOCK_MONOTONIC)? < end {
            for _ in 0..16 {
                self.record_read_store_one(self.order[at])?;
                at = if at + 1 == self.order.len() { 0 } else { at + 1 };
                done += 1;
            }
        }
        Ok(done)
    }
}

/// Says that it is ready and waits until it is told to go on.
fn wait_for_word() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    let mut line = String::new();
    ensure!(std::io::stdin().read_line(&mut line)? > 0, "nobody says go");
    Ok(())
}
