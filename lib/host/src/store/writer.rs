// SPDX-License-Identifier: GPL-3.0-or-later
//! Write transactions of one database, away from the hot thread: a commit waits for the disk, and for clients'
//! locks.

use super::store_error;
use crate::hot::background::{Background, Notifier};
use crossbeam_channel::{Receiver, Sender};
use ctdb_engine::ports::{Decide, Decision, RecordWrite, StoreError, WriteOutcome};
use ctdb_tdb::{Error, OpenOptions, StoreMode, Tdb};
use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;

struct Job {
    ticket: u64,
    records: Vec<RecordWrite>,
    decide: Decide,
}

/// A thread with a handle of its own on the file. Dropping it lets the thread end after its current job.
pub struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// Starts the thread. `in_transaction`: all records of a job in one TDB transaction; otherwise one by one.
    pub fn start(
        path: PathBuf,
        options: OpenOptions,
        in_transaction: bool,
        notifier: Notifier,
    ) -> std::io::Result<Writer> {
        let (jobs, receiver) = crossbeam_channel::unbounded();
        thread::Builder::new()
            .name("ctdb-write".into())
            .spawn(move || run(&path, &options, in_transaction, &receiver, &notifier))?;
        Ok(Writer { jobs })
    }

    /// Queues a job. False: the thread has ended.
    pub fn write(&self, ticket: u64, records: Vec<RecordWrite>, decide: Decide) -> bool {
        self.jobs.send(Job { ticket, records, decide }).is_ok()
    }
}

fn run(
    path: &std::path::Path,
    options: &OpenOptions,
    in_transaction: bool,
    jobs: &Receiver<Job>,
    notifier: &Notifier,
) {
    let mut handle: Option<Tdb> = None;
    while let Ok(mut job) = jobs.recv() {
        let opened = match handle.take() {
            Some(tdb) => Ok(tdb),
            None => Tdb::open(path, options),
        };
        let outcome = match opened {
            Ok(mut tdb) => {
                let outcome = match in_transaction {
                    true => transaction(&mut tdb, &mut job),
                    false => one_by_one(&mut tdb, &mut job),
                };
                handle = Some(tdb);
                outcome.unwrap_or_else(|e| WriteOutcome::Failed(store_error(&e)))
            }
            Err(e) => WriteOutcome::Failed(store_error(&e)),
        };
        notifier.send(Background::WriteDone { ticket: job.ticket, outcome });
    }
}

fn transaction(tdb: &mut Tdb, job: &mut Job) -> ctdb_tdb::Result<WriteOutcome> {
    tdb.transaction_start()?;
    for write in &job.records {
        match apply(tdb, write, &mut job.decide) {
            Ok(true) => {}
            Ok(false) => {
                tdb.transaction_cancel()?;
                return Ok(WriteOutcome::Aborted);
            }
            Err(e) => {
                if let Err(cancel) = tdb.transaction_cancel() {
                    log::error!("cancel of a failed transaction: {cancel}");
                }
                return Err(e);
            }
        }
    }
    tdb.transaction_commit()?;
    Ok(WriteOutcome::Committed)
}

fn one_by_one(tdb: &mut Tdb, job: &mut Job) -> ctdb_tdb::Result<WriteOutcome> {
    for write in &job.records {
        let chain = tdb.chain_of(&write.key);
        tdb.lock_chain(chain, ctdb_tdb::LockMode::Exclusive)?;
        let result = apply(tdb, write, &mut job.decide);
        tdb.unlock_chain(chain)?;
        if !result? {
            return Ok(WriteOutcome::Aborted);
        }
    }
    Ok(WriteOutcome::Committed)
}

/// False: the decision was to give up.
fn apply(tdb: &mut Tdb, write: &RecordWrite, decide: &mut Decide) -> ctdb_tdb::Result<bool> {
    let old = tdb.fetch(&write.key)?;
    match decide(write, old.as_deref()) {
        Decision::Store(value) => tdb.store(&write.key, &[&value], StoreMode::Replace)?,
        Decision::Delete => match tdb.delete(&write.key) {
            Ok(()) | Err(Error::NotFound) => {}
            Err(e) => return Err(e),
        },
        Decision::Skip => {}
        Decision::Abort => return Ok(false),
    }
    Ok(true)
}

/// Replaces the content of a database whose handle is adopted by a freeze.
pub fn replace_all(tdb: &mut Tdb, records: &[RecordWrite], in_transaction: bool) -> WriteOutcome {
    let result = match in_transaction {
        true => replace_in_transaction(tdb, records),
        false => fill(tdb, records),
    };
    match result {
        Ok(()) => WriteOutcome::Committed,
        Err(e) => WriteOutcome::Failed(store_error(&e)),
    }
}

/// Writes only what differs: a node that already has the content, as most have, writes nothing, waits for no disk and
/// needs no room.
fn replace_in_transaction(tdb: &mut Tdb, records: &[RecordWrite]) -> ctdb_tdb::Result<()> {
    let mut missing: HashMap<&[u8], &RecordWrite> =
        records.iter().map(|r| (&r.key[..], r)).collect();
    let mut surplus: Vec<Vec<u8>> = Vec::new();
    tdb.traverse(|key, value| {
        match missing.get(key) {
            Some(wanted) if wanted.value == value => {
                missing.remove(key);
            }
            Some(_) => {}
            None => surplus.push(key.to_vec()),
        }
        true
    })?;
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    tdb.transaction_start()?;
    let change = |tdb: &mut Tdb| -> ctdb_tdb::Result<()> {
        for key in &surplus {
            tdb.delete(key)?;
        }
        for r in missing.values() {
            tdb.store(&r.key, &[&r.value], StoreMode::Replace)?;
        }
        Ok(())
    };
    if let Err(e) = change(tdb) {
        if let Err(cancel) = tdb.transaction_cancel() {
            log::error!("cancel of a failed transaction: {cancel}");
        }
        return Err(e);
    }
    tdb.transaction_commit()
}

fn fill(tdb: &mut Tdb, records: &[RecordWrite]) -> ctdb_tdb::Result<()> {
    tdb.wipe_all()?;
    for r in records {
        tdb.store(&r.key, &[&r.value], StoreMode::Replace)?;
    }
    Ok(())
}

/// The error of a writer that is not there.
pub fn gone(path: &std::path::Path) -> StoreError {
    StoreError {
        message: format!("{}: the writer thread has ended", path.display()),
        corrupt: false,
    }
}
