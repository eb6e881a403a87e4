// SPDX-License-Identifier: GPL-3.0-or-later
//! The TDB files of a simulated machine: in memory, with real chain locks that simulated clients share with the
//! daemon, freezes that wait for holders, transactions that end later, and a disk that forgets what was not
//! synced when the machine dies.

use super::check::header;
use crate::hash::jenkins;
use crate::packet::{ClientId, DbId};
use crate::ports::{
    Access, AttachSpec, ChainRecord, DbKind, Decide, Decision, LocalStore, RecordWrite, ScanCursor,
    StoreError, WriteOutcome,
};
use ctdb_wire::flags::record as flag;
use std::collections::{BTreeMap, BTreeSet};

const MIGRATED: u32 = flag::MIGRATED_WITH_DATA;

/// Content of a file: key to header and data.
pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Who changed a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The daemon, under the chain lock.
    Daemon,
    /// A write transaction or a replacement of the whole content.
    Transaction,
    /// A client, under the chain lock.
    Client(ClientId),
    /// The file was emptied at attach, or fell back to what was on disk.
    Reset,
}

/// One change of a record, for the checks that follow each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The database.
    pub db: DbId,
    /// The key.
    pub key: Vec<u8>,
    /// Header and data before.
    pub old: Option<Vec<u8>>,
    /// Header and data after.
    pub new: Option<Vec<u8>>,
    /// Who did it.
    pub cause: Cause,
}

/// Defects of a daemon, planted in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Stores do not increment the RSN.
    KeepRsn,
    /// The owner that delegates a record does not mark it as migrated with data (`spec/database.md 13.7`).
    ForgetMigrated,
    /// Records are changed without regard to the chain locks of clients.
    IgnoreLocks,
    /// A database counts as frozen while clients hold chains.
    FreezeEarly,
}

/// What the store wants of the simulator: an input for the daemon, later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    ChainGranted { db: DbId, chain: u32, wait: u64 },
    Frozen { db: DbId, wait: u64 },
    ClientGranted { client: ClientId, db: DbId, chain: u32 },
    WriteStarted { ticket: u64, durable: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Client(ClientId),
    Daemon,
}

struct Chain {
    holder: Holder,
    /// The freeze holds it.
    frozen: bool,
    /// The daemon waits; the number tells a wait from earlier ones.
    daemon_waits: Option<u64>,
    clients_wait: Vec<ClientId>,
}

impl Chain {
    fn new() -> Chain {
        Chain {
            holder: Holder::Nobody,
            frozen: false,
            daemon_waits: None,
            clients_wait: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freeze {
    No,
    Waiting(u64),
    Held,
}

struct SimDb {
    spec: AttachSpec,
    attached: bool,
    content: Content,
    durable: Content,
    chains: Vec<Chain>,
    freeze: Freeze,
    /// Number of the last freeze.
    freeze_wait: u64,
    seqnum: Option<u32>,
}

struct PendingWrite {
    db: DbId,
    work: WriteWork,
}

enum WriteWork {
    Transaction(Vec<RecordWrite>, Decide),
    Replace(Vec<RecordWrite>),
}

/// See the module.
pub struct SimStore {
    dbs: BTreeMap<DbId, SimDb>,
    health: BTreeMap<String, String>,
    writes: BTreeMap<u64, PendingWrite>,
    chains_per_db: u32,
    waits: u64,
    pub(super) effects: Vec<Effect>,
    pub(super) changes: Vec<Change>,
    /// The next attaches of these names find a corrupt file.
    pub corrupt: BTreeSet<String>,
    /// A replacement failed half-way since this was last looked at.
    pub(super) damaged: bool,
    /// What the daemon seems to do wrong, to test the checks.
    pub defect: Option<Defect>,
}

fn error(message: impl Into<String>) -> StoreError {
    StoreError { message: message.into(), corrupt: false }
}

struct SimRecord<'a> {
    content: &'a mut Content,
    key: &'a [u8],
    changed: bool,
    defect: Option<Defect>,
}

impl ChainRecord for SimRecord<'_> {
    fn value(&self) -> Option<&[u8]> {
        self.content.get(self.key).map(Vec::as_slice)
    }

    fn store(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        let mut value = parts.concat();
        let old = self.content.get(self.key);
        match self.defect {
            Some(Defect::KeepRsn) => {
                if let (Some(to), Some(from)) =
                    (value.get_mut(..8), old.and_then(|old| old.get(..8)))
                {
                    to.copy_from_slice(from);
                }
            }
            Some(Defect::ForgetMigrated) => {
                let had = old.and_then(|v| header(v)).is_some_and(|h| h.flags & MIGRATED != 0);
                let delegates =
                    header(&value).is_some_and(|h| h.flags & flag::RO_HAVE_DELEGATIONS != 0);
                if let (Some(byte), true) = (value.get_mut(18), delegates && !had) {
                    *byte &= !(MIGRATED >> 16) as u8;
                }
            }
            _ => {}
        }
        self.content.insert(self.key.to_vec(), value);
        self.changed = true;
        Ok(())
    }

    fn delete(&mut self) -> Result<(), StoreError> {
        self.changed |= self.content.remove(self.key).is_some();
        Ok(())
    }
}

impl SimStore {
    /// Files with this many hash chains each.
    pub fn new(chains_per_db: u32) -> SimStore {
        SimStore {
            dbs: BTreeMap::new(),
            health: BTreeMap::new(),
            writes: BTreeMap::new(),
            chains_per_db: chains_per_db.max(1),
            waits: 0,
            effects: Vec::new(),
            changes: Vec::new(),
            corrupt: BTreeSet::new(),
            damaged: false,
            defect: None,
        }
    }

    /// The databases that are attached now.
    pub fn attached(&self) -> Vec<DbId> {
        self.dbs.iter().filter(|(_, d)| d.attached).map(|(id, _)| *id).collect()
    }

    /// The kind of an attached database.
    pub fn kind(&self, db: DbId) -> Option<DbKind> {
        self.dbs.get(&db).filter(|d| d.attached).map(|d| d.spec.kind)
    }

    /// Content of the file, if it exists.
    pub fn content(&self, db: DbId) -> Option<&Content> {
        self.dbs.get(&db).map(|d| &d.content)
    }

    /// All records of the attached databases: database, key, header and data.
    pub(super) fn records(&self) -> impl Iterator<Item = (DbId, &[u8], &[u8])> {
        self.dbs.iter().filter(|(_, d)| d.attached).flat_map(|(id, d)| {
            d.content.iter().map(move |(key, value)| (*id, key.as_slice(), value.as_slice()))
        })
    }

    /// Changes a file behind the daemon's back.
    pub fn content_mut(&mut self, db: DbId) -> Option<&mut Content> {
        self.dbs.get_mut(&db).map(|d| &mut d.content)
    }

    /// Whether the daemon holds, or is taking, the whole file.
    pub fn is_frozen(&self, db: DbId) -> bool {
        self.dbs.get(&db).is_some_and(|d| d.freeze != Freeze::No)
    }

    /// Whether a client holds the chain of `key`.
    pub fn client_holds(&self, db: DbId, key: &[u8]) -> Option<ClientId> {
        let d = self.dbs.get(&db)?;
        match d.chains.get(d.chain(key) as usize)?.holder {
            Holder::Client(client) => Some(client),
            _ => None,
        }
    }

    /// A client takes the chain lock of `key`. False: it waits, and ClientGranted follows.
    pub fn client_lock(&mut self, client: ClientId, db: DbId, key: &[u8]) -> bool {
        let Some(d) = self.dbs.get_mut(&db) else { return true };
        let chain = d.chain(key) as usize;
        let Some(chain) = d.chains.get_mut(chain) else { return true };
        if chain.holder == Holder::Nobody && !chain.frozen {
            chain.holder = Holder::Client(client);
            return true;
        }
        if !chain.clients_wait.contains(&client) {
            chain.clients_wait.push(client);
        }
        false
    }

    /// A client releases the chain lock of `key`.
    pub fn client_unlock(&mut self, client: ClientId, db: DbId, key: &[u8]) {
        let Some(d) = self.dbs.get_mut(&db) else { return };
        let chain = d.chain(key) as usize;
        if let Some(chain) = d.chains.get_mut(chain) {
            if chain.holder == Holder::Client(client) {
                chain.holder = Holder::Nobody;
            }
        }
    }

    /// A client reads a record. Without the chain lock it may be anything between two stores.
    pub fn client_read(&self, db: DbId, key: &[u8]) -> Option<&[u8]> {
        self.dbs.get(&db)?.content.get(key).map(Vec::as_slice)
    }

    /// A client stores a record whose chain lock it holds.
    pub fn client_store(&mut self, client: ClientId, db: DbId, key: &[u8], value: Vec<u8>) {
        let Some(d) = self.dbs.get_mut(&db) else { return };
        let old = d.content.insert(key.to_vec(), value.clone());
        self.changes.push(Change {
            db,
            key: key.to_vec(),
            old,
            new: Some(value),
            cause: Cause::Client(client),
        });
    }

    /// A client process ends: the system releases its locks.
    pub(super) fn client_died(&mut self, client: ClientId) {
        for d in self.dbs.values_mut() {
            for chain in &mut d.chains {
                if chain.holder == Holder::Client(client) {
                    chain.holder = Holder::Nobody;
                }
                chain.clients_wait.retain(|c| *c != client);
            }
        }
    }

    /// Gives free chains to those who wait. `pick` chooses among several.
    pub(super) fn pump(&mut self, pick: &mut dyn FnMut(usize) -> usize) {
        for (&id, d) in &mut self.dbs {
            for (number, chain) in d.chains.iter_mut().enumerate() {
                if chain.holder != Holder::Nobody {
                    continue;
                }
                if chain.frozen {
                    // The daemon's own freeze does not exclude the daemon.
                    if let Some(wait) = chain.daemon_waits {
                        chain.holder = Holder::Daemon;
                        self.effects.push(Effect::ChainGranted {
                            db: id,
                            chain: number as u32,
                            wait,
                        });
                    }
                    continue;
                }
                let freeze = matches!(d.freeze, Freeze::Waiting(_));
                let waiting = chain.clients_wait.len()
                    + usize::from(chain.daemon_waits.is_some())
                    + usize::from(freeze);
                if waiting == 0 {
                    continue;
                }
                let choice = pick(waiting);
                if choice < chain.clients_wait.len() {
                    let client = chain.clients_wait.remove(choice);
                    chain.holder = Holder::Client(client);
                    self.effects.push(Effect::ClientGranted {
                        client,
                        db: id,
                        chain: number as u32,
                    });
                } else if let (Some(wait), true) =
                    (chain.daemon_waits, choice == chain.clients_wait.len())
                {
                    chain.holder = Holder::Daemon;
                    self.effects.push(Effect::ChainGranted { db: id, chain: number as u32, wait });
                } else {
                    chain.frozen = true;
                }
            }
            if let Freeze::Waiting(wait) = d.freeze {
                let early = self.defect == Some(Defect::FreezeEarly);
                if early || d.chains.iter().all(|c| c.frozen) {
                    d.freeze = Freeze::Held;
                    self.effects.push(Effect::Frozen { db: id, wait });
                }
            }
        }
    }

    /// Whether a grant that was on its way still holds.
    pub(super) fn grant_stands(&self, db: DbId, chain: u32, wait: u64) -> bool {
        self.dbs
            .get(&db)
            .and_then(|d| d.chains.get(chain as usize))
            .is_some_and(|c| c.holder == Holder::Daemon && c.daemon_waits == Some(wait))
    }

    pub(super) fn freeze_stands(&self, db: DbId, wait: u64) -> bool {
        self.dbs.get(&db).is_some_and(|d| d.freeze == Freeze::Held && d.freeze_wait == wait)
    }

    /// The daemon's process ends. `lucky` decides for each running transaction whether its thread
    /// still got to commit.
    pub(super) fn process_died(&mut self, lucky: &mut dyn FnMut() -> bool) {
        for ticket in self.writes.keys().copied().collect::<Vec<_>>() {
            if lucky() {
                self.finish_write(ticket, None);
            }
        }
        self.writes.clear();
        self.effects.retain(|e| matches!(e, Effect::ClientGranted { .. }));
        for d in self.dbs.values_mut() {
            d.attached = false;
            d.freeze = Freeze::No;
            for chain in &mut d.chains {
                chain.frozen = false;
                chain.daemon_waits = None;
                if chain.holder == Holder::Daemon {
                    chain.holder = Holder::Nobody;
                }
            }
        }
    }

    /// The machine dies: what was not synced is gone, and so is every lock.
    pub(super) fn machine_died(&mut self) {
        self.effects.clear();
        for (&id, d) in &mut self.dbs {
            let durable =
                if d.spec.kind == DbKind::Persistent { d.durable.clone() } else { Content::new() };
            reset(&mut self.changes, id, &mut d.content, durable);
            d.chains.iter_mut().for_each(|c| *c = Chain::new());
        }
    }

    /// A write ends, with an injected failure or by what it decides. None: a client's lock is in its way.
    pub(super) fn finish_write(
        &mut self,
        ticket: u64,
        failure: Option<&str>,
    ) -> Option<WriteOutcome> {
        let db = self.writes.get(&ticket)?.db;
        let Some(d) = self.dbs.get_mut(&db) else {
            self.writes.remove(&ticket);
            return Some(WriteOutcome::Failed(error("database detached")));
        };
        if d.chains.iter().any(|c| matches!(c.holder, Holder::Client(_))) {
            return None;
        }
        let write = self.writes.remove(&ticket)?;
        if let Some(why) = failure {
            if let (WriteWork::Replace(records), false) =
                (&write.work, d.spec.kind == DbKind::Persistent)
            {
                // Not atomic: some are there, some are not.
                let half = records.iter().step_by(2);
                let content = half.map(|r| (r.key.to_vec(), r.value.to_vec())).collect();
                reset(&mut self.changes, db, &mut d.content, content);
                self.damaged = true;
            }
            return Some(WriteOutcome::Failed(error(why)));
        }
        let mut content = d.content.clone();
        match write.work {
            WriteWork::Replace(records) => {
                content = records.iter().map(|r| (r.key.to_vec(), r.value.to_vec())).collect();
            }
            WriteWork::Transaction(records, mut decide) => {
                for record in &records {
                    let old = content.get(&record.key[..]).map(Vec::as_slice);
                    match decide(record, old) {
                        Decision::Store(value) => {
                            content.insert(record.key.to_vec(), value);
                        }
                        Decision::Delete => {
                            content.remove(&record.key[..]);
                        }
                        Decision::Skip => {}
                        Decision::Abort => return Some(WriteOutcome::Aborted),
                    }
                }
            }
        }
        differences(&mut self.changes, db, &d.content, &content, Cause::Transaction);
        if d.content != content {
            d.seqnum = d.seqnum.map(|n| n.wrapping_add(1));
        }
        d.durable.clone_from(&content);
        d.content = content;
        Some(WriteOutcome::Committed)
    }

    fn next_wait(&mut self) -> u64 {
        self.waits += 1;
        self.waits
    }
}

fn differences(changes: &mut Vec<Change>, db: DbId, old: &Content, new: &Content, cause: Cause) {
    let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        if before != after {
            changes.push(Change {
                db,
                key: key.clone(),
                old: before.cloned(),
                new: after.cloned(),
                cause,
            });
        }
    }
}

fn reset(changes: &mut Vec<Change>, db: DbId, content: &mut Content, to: Content) {
    differences(changes, db, content, &to, Cause::Reset);
    *content = to;
}

impl SimDb {
    fn chain(&self, key: &[u8]) -> u32 {
        jenkins(key) % (self.chains.len().max(1) as u32)
    }
}

impl LocalStore for SimStore {
    fn attach(&mut self, spec: &AttachSpec) -> Result<(), StoreError> {
        let chains = self.chains_per_db.min(spec.hash_size.max(1));
        if self.corrupt.remove(&spec.name) {
            if spec.kind == DbKind::Persistent {
                return Err(StoreError {
                    message: format!("{}: corrupt", spec.name),
                    corrupt: true,
                });
            }
            self.dbs.remove(&spec.db);
        }
        let d = self.dbs.entry(spec.db).or_insert_with(|| SimDb {
            spec: spec.clone(),
            attached: false,
            content: Content::new(),
            durable: Content::new(),
            chains: (0..chains).map(|_| Chain::new()).collect(),
            freeze: Freeze::No,
            freeze_wait: 0,
            seqnum: None,
        });
        d.spec = spec.clone();
        d.attached = true;
        d.seqnum = None;
        if spec.kind != DbKind::Persistent {
            // Recreated in place. Processes that are left from earlier have no locks on the new file.
            reset(&mut self.changes, spec.db, &mut d.content, Content::new());
            d.chains.iter_mut().for_each(|c| *c = Chain::new());
        }
        Ok(())
    }

    fn detach(&mut self, db: DbId) {
        if let Some(d) = self.dbs.get_mut(&db) {
            d.attached = false;
            d.freeze = Freeze::No;
            if d.spec.kind != DbKind::Persistent {
                reset(&mut self.changes, db, &mut d.content, Content::new());
            }
            d.chains.iter_mut().for_each(|c| *c = Chain::new());
        }
    }

    fn persistent_names(&mut self) -> Result<Vec<String>, StoreError> {
        let persistent = self.dbs.values().filter(|d| d.spec.kind == DbKind::Persistent);
        Ok(persistent.map(|d| d.spec.name.clone()).collect())
    }

    fn path(&self, db: DbId) -> Option<String> {
        let d = self.dbs.get(&db).filter(|d| d.attached)?;
        Some(format!("/sim/{}", d.spec.name))
    }

    fn open_flags(&self, db: DbId) -> Option<u32> {
        self.dbs.get(&db).filter(|d| d.attached).map(|_| 0)
    }

    fn chain_of(&self, db: DbId, key: &[u8]) -> u32 {
        self.dbs.get(&db).map_or(0, |d| d.chain(key))
    }

    fn with_record(
        &mut self,
        db: DbId,
        key: &[u8],
        f: &mut dyn FnMut(&mut dyn ChainRecord),
    ) -> Access {
        let defect = self.defect;
        let Some(d) = self.dbs.get_mut(&db).filter(|d| d.attached) else {
            return Access::Failed(error("not attached"));
        };
        let chain = d.chain(key) as usize;
        let held = d.chains.get(chain).is_some_and(|c| matches!(c.holder, Holder::Client(_)));
        if held && defect != Some(Defect::IgnoreLocks) {
            return Access::Busy;
        }
        let old = d.content.get(key).cloned();
        let mut record = SimRecord { content: &mut d.content, key, changed: false, defect };
        f(&mut record);
        if record.changed {
            d.seqnum = d.seqnum.map(|n| n.wrapping_add(1));
            let new = d.content.get(key).cloned();
            self.changes.push(Change { db, key: key.to_vec(), old, new, cause: Cause::Daemon });
        }
        Access::Done
    }

    fn wait_chain(&mut self, db: DbId, chain: u32) {
        let wait = self.next_wait();
        if let Some(c) = self.dbs.get_mut(&db).and_then(|d| d.chains.get_mut(chain as usize)) {
            if c.daemon_waits.is_none() {
                c.daemon_waits = Some(wait);
            }
        }
    }

    fn release_chain(&mut self, db: DbId, chain: u32) {
        if let Some(c) = self.dbs.get_mut(&db).and_then(|d| d.chains.get_mut(chain as usize)) {
            c.daemon_waits = None;
            if c.holder == Holder::Daemon {
                c.holder = Holder::Nobody;
            }
        }
    }

    fn freeze(&mut self, db: DbId) {
        let wait = self.next_wait();
        if let Some(d) = self.dbs.get_mut(&db) {
            if d.freeze == Freeze::No {
                d.freeze = Freeze::Waiting(wait);
                d.freeze_wait = wait;
            }
        }
    }

    fn thaw(&mut self, db: DbId) {
        if let Some(d) = self.dbs.get_mut(&db) {
            d.freeze = Freeze::No;
            d.chains.iter_mut().for_each(|c| c.frozen = false);
        }
    }

    fn read(&mut self, db: DbId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let d = self.dbs.get(&db).filter(|d| d.attached).ok_or_else(|| error("not attached"))?;
        Ok(d.content.get(key).cloned())
    }

    fn scan(
        &mut self,
        db: DbId,
        cursor: &mut ScanCursor,
        max: usize,
        f: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let d = self.dbs.get(&db).filter(|d| d.attached).ok_or_else(|| error("not attached"))?;
        let mut seen = 0;
        while seen < max {
            let Some(chain) = d.chains.get(cursor.chain as usize) else {
                cursor.done = true;
                return Ok(());
            };
            if matches!(chain.holder, Holder::Client(_)) {
                return Ok(());
            }
            for (key, value) in &d.content {
                if d.chain(key) == cursor.chain {
                    f(key, value);
                    seen += 1;
                }
            }
            cursor.chain += 1;
        }
        cursor.done = cursor.chain as usize >= d.chains.len();
        Ok(())
    }

    fn write(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>, decide: Decide) {
        let durable = self.kind(db) == Some(DbKind::Persistent);
        let work = WriteWork::Transaction(records, decide);
        self.writes.insert(ticket, PendingWrite { db, work });
        self.effects.push(Effect::WriteStarted { ticket, durable });
    }

    fn replace_all(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>) {
        let durable = self.kind(db) == Some(DbKind::Persistent);
        self.writes.insert(ticket, PendingWrite { db, work: WriteWork::Replace(records) });
        self.effects.push(Effect::WriteStarted { ticket, durable });
    }

    fn sync(&mut self, db: DbId) -> Result<(), StoreError> {
        let d = self.dbs.get_mut(&db).ok_or_else(|| error("not attached"))?;
        d.durable.clone_from(&d.content);
        Ok(())
    }

    fn tdb_seqnum(&mut self, db: DbId) -> Option<u32> {
        self.dbs.get(&db).filter(|d| d.attached).map(|d| d.seqnum.unwrap_or(0))
    }

    fn enable_seqnum(&mut self, db: DbId) -> Result<(), StoreError> {
        let d = self.dbs.get_mut(&db).ok_or_else(|| error("not attached"))?;
        d.seqnum.get_or_insert(0);
        Ok(())
    }

    fn increment_seqnum(&mut self, db: DbId) -> Result<(), StoreError> {
        let d = self.dbs.get_mut(&db).ok_or_else(|| error("not attached"))?;
        d.seqnum = Some(d.seqnum.unwrap_or(0).wrapping_add(1));
        Ok(())
    }

    fn health(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.health.get(name).cloned())
    }

    fn set_health(&mut self, name: &str, reason: Option<&str>) -> Result<(), StoreError> {
        match reason {
            Some(reason) => self.health.insert(name.to_owned(), reason.to_owned()),
            None => self.health.remove(name),
        };
        Ok(())
    }
}
