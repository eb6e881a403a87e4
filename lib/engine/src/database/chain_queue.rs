// SPDX-License-Identifier: GPL-3.0-or-later
//! Work that waits for a chain lock that a client holds (`spec/database.md 10`), and work that waits for a
//! thaw.
//!
//! One first-in first-out queue for each (database, chain): a packet that arrives while the chain is waited for
//! goes behind those that came before it. That also gives the ordering guarantee of 11.2: a call that arrives
//! after an ownership packet is evaluated after it. While a database is frozen nothing waits for chains; its
//! work is held in order of arrival until the thaw.

use super::db::{Db, FreezeState, Work};
use super::{Database, Timer};
use crate::env::Env;
use crate::packet::{Body, ControlReply, DbId, Packet};
use crate::time::Time;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Pieces of work that may wait for one chain. More are refused.
pub const CHAIN_QUEUE_MAX: usize = 10_000;
/// Pieces of work that may wait for the thaw of one database. More are refused.
pub const HELD_MAX: usize = 200_000;
/// Ownership packets are refused only above this multiple of a limit: refusing one costs a recovery.
const OWNERSHIP_FACTOR: usize = 4;

const RETRY: Duration = Duration::from_millis(50);
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The chains of a database that are waited for.
#[derive(Default)]
pub(super) struct ChainTable {
    queues: BTreeMap<u32, ChainQueue>,
    /// Chains whose wait has not begun, because too many others are waited for.
    unstarted: VecDeque<u32>,
    active: usize,
}

struct ChainQueue {
    work: VecDeque<Work>,
    since: Time,
    state: Wait,
    /// A key of the chain, for the log.
    key: Bytes,
}

#[derive(PartialEq, Eq)]
enum Wait {
    Unstarted,
    Started,
    /// The attempt failed; it starts again soon.
    Retry,
}

impl ChainTable {
    /// Pieces of work in all queues.
    pub(super) fn len(&self) -> usize {
        self.queues.values().map(|q| q.work.len()).sum()
    }

    /// The work in all queues.
    pub(super) fn work(&self) -> impl Iterator<Item = &Work> {
        self.queues.values().flat_map(|q| &q.work)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Drops work; its chain is still waited for.
    pub(super) fn retain(&mut self, keep: impl Fn(&Work) -> bool) {
        for queue in self.queues.values_mut() {
            queue.work.retain(&keep);
        }
    }

    fn start(&mut self, db: DbId, chain: u32, limit: usize, env: &mut Env<'_>) {
        let Some(queue) = self.queues.get_mut(&chain) else { return };
        if self.active >= limit.max(1) {
            queue.state = Wait::Unstarted;
            self.unstarted.push_back(chain);
        } else {
            queue.state = Wait::Started;
            self.active += 1;
            env.store().wait_chain(db, chain);
        }
    }

    fn start_next(&mut self, db: DbId, limit: usize, env: &mut Env<'_>) {
        while self.active < limit.max(1) {
            let Some(chain) = self.unstarted.pop_front() else { return };
            self.start(db, chain, limit, env);
        }
    }

    /// Takes all work, chain by chain, and gives up waiting.
    fn abandon(&mut self, db: DbId, env: &mut Env<'_>) -> VecDeque<Work> {
        let mut all = VecDeque::new();
        for (chain, queue) in std::mem::take(&mut self.queues) {
            if queue.state == Wait::Started {
                env.store().release_chain(db, chain);
            }
            all.extend(queue.work);
        }
        self.unstarted.clear();
        self.active = 0;
        all
    }
}

impl Database {
    /// Whether work on `key` may proceed now. Otherwise it was queued, or refused.
    pub(super) fn enter(
        &mut self,
        env: &mut Env<'_>,
        db: DbId,
        key: &[u8],
        work: Work,
        granted: bool,
    ) -> Option<Work> {
        let db = self.dbs.get_mut(&db)?;
        if db.is_held(env.view()) {
            self.hold(env, work);
            return None;
        }
        if granted || db.chains.is_empty() {
            return Some(work);
        }
        let chain = env.store().chain_of(db.id, key);
        match db.chains.queues.get_mut(&chain) {
            None => Some(work),
            Some(queue) if has_room(queue.work.len(), CHAIN_QUEUE_MAX, &work) => {
                queue.work.push_back(work);
                None
            }
            Some(_) => {
                self.refuse(env, work);
                None
            }
        }
    }

    /// The chain of `key` is busy: `work` waits for it.
    pub(super) fn wait_for_chain(
        &mut self,
        env: &mut Env<'_>,
        db: DbId,
        key: &[u8],
        work: Work,
        granted: bool,
    ) {
        let limit = env.tunables().lock_processes_per_db as usize;
        let now = env.now;
        let chain = env.store().chain_of(db, key);
        let Some(db) = self.dbs.get_mut(&db) else { return };
        let mut is_new = false;
        let queue = db.chains.queues.entry(chain).or_insert_with(|| {
            is_new = true;
            let key = Bytes::copy_from_slice(key);
            ChainQueue { work: VecDeque::new(), since: now, state: Wait::Retry, key }
        });
        queue.work.push_back(work);
        if is_new && !granted {
            db.chains.start(db.id, chain, limit, env);
            env.stats().locks.num_current += 1;
            db.counters.locks.num_current += 1;
        } else if is_new {
            // Busy although granted: nothing can be waited for before the grant is given back.
            env.set_timer(Timer::ChainRetry.token(), RETRY);
        }
        self.start_lock_watch(env);
    }

    pub(super) fn start_lock_watch(&mut self, env: &mut Env<'_>) {
        if !self.watching_locks {
            self.watching_locks = true;
            env.set_timer(Timer::LockWatch.token(), WARN_INTERVAL);
        }
    }

    /// A wait ended: the chain is held now, or the attempt failed and starts again.
    pub(super) fn chain_granted(&mut self, env: &mut Env<'_>, id: DbId, chain: u32, ok: bool) {
        let limit = env.tunables().lock_processes_per_db as usize;
        let now = env.now;
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let started = db.chains.queues.get(&chain).is_some_and(|q| q.state == Wait::Started);
        if !started {
            // Given up meanwhile.
            if ok {
                env.store().release_chain(id, chain);
            }
            return;
        }
        db.chains.active = db.chains.active.saturating_sub(1);
        let waited =
            db.chains.queues.get(&chain).map_or(Duration::ZERO, |queue| now.since(queue.since));
        for locks in [&mut db.counters.locks, &mut env.stats().locks] {
            locks.num_current = locks.num_current.saturating_sub(1);
            locks.decided(ok, waited);
        }
        if !ok {
            if let Some(queue) = db.chains.queues.get_mut(&chain) {
                queue.state = Wait::Retry;
            }
            env.set_timer(Timer::ChainRetry.token(), RETRY);
            return;
        }
        let queue = db.chains.queues.remove(&chain);
        for work in queue.into_iter().flat_map(|q| q.work) {
            self.work(env, work, true);
        }
        env.store().release_chain(id, chain);
        if let Some(db) = self.dbs.get_mut(&id) {
            db.chains.start_next(id, limit, env);
        }
    }

    /// Begins again what failed to be locked.
    pub(super) fn retry_chains(&mut self, env: &mut Env<'_>) {
        let limit = env.tunables().lock_processes_per_db as usize;
        for db in self.dbs.values_mut() {
            let failed: Vec<u32> = db
                .chains
                .queues
                .iter()
                .filter(|(_, q)| q.state == Wait::Retry)
                .map(|(c, _)| *c)
                .collect();
            for chain in failed {
                db.chains.start(db.id, chain, limit, env);
                env.stats().locks.num_current += 1;
                db.counters.locks.num_current += 1;
            }
        }
    }

    /// Tells the log about locks that take long (10).
    pub(super) fn watch_locks(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let mut any = false;
        for db in self.dbs.values() {
            for queue in db.chains.queues.values() {
                any = true;
                let waited = now.since(queue.since);
                if waited >= WARN_INTERVAL {
                    log::warn!(
                        "Unable to get RECORD lock on database {} for {} seconds (key {})",
                        db.name,
                        waited.as_secs(),
                        hex(&queue.key)
                    );
                }
            }
            if let (FreezeState::Pending, Some(since)) = (db.freeze, db.counters.freeze_since) {
                any = true;
                let waited = now.since(since).as_secs();
                if waited >= WARN_INTERVAL.as_secs() {
                    log::warn!(
                        "Unable to get DB lock on database {} for {} seconds",
                        db.name,
                        waited
                    );
                }
            }
        }
        self.watching_locks = any;
        if any {
            env.set_timer(Timer::LockWatch.token(), WARN_INTERVAL);
        }
    }

    /// Keeps work until the thaw.
    pub(super) fn hold(&mut self, env: &mut Env<'_>, work: Work) {
        let packet = match work {
            Work::Packet(packet) => packet,
            Work::Update { reply, .. } => return env.reply(&reply, ControlReply::status(-1)),
            // The thaw issues the call again.
            Work::Copy { .. } => return,
            // The thaw ends all revokes.
            Work::RevokeDone { .. } => return,
        };
        let db = record_of(&packet.body).and_then(|(id, _)| self.dbs.get_mut(&id));
        let Some(db) = db else { return };
        let work = Work::Packet(packet);
        if has_room(db.held.len(), HELD_MAX, &work) {
            db.held.push_back(work);
        } else {
            self.refuse(env, work);
        }
    }

    /// A freeze begins: what waits for chains waits for the thaw instead.
    pub(super) fn hold_chains(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let ended = u32::try_from(db.chains.queues.len()).unwrap_or(u32::MAX);
        let work = db.chains.abandon(id, env);
        for locks in [&mut db.counters.locks, &mut env.stats().locks] {
            locks.num_current = locks.num_current.saturating_sub(ended);
        }
        for work in work {
            self.hold(env, work);
        }
    }

    /// Does the work that waited for the thaw. Work of daemons from an earlier epoch is dropped: its
    /// origin asks again.
    pub(super) fn release_held(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        for work in std::mem::take(&mut db.held) {
            self.work(env, work, false);
        }
    }

    /// No more room: whoever waits for an answer gets a refusal.
    fn refuse(&mut self, env: &mut Env<'_>, work: Work) {
        log::error!("too much work waits for a record lock; refusing a request");
        let packet = match work {
            Work::Packet(packet) => packet,
            Work::Update { reply, .. } => return env.reply(&reply, ControlReply::status(-1)),
            Work::Copy { reqid, .. } => return self.fail_pending(env, reqid),
            Work::RevokeDone { db, key, .. } => return self.end_revoke(env, db, &key, false),
        };
        match &packet.body {
            Body::Call(_) if self.is_client(env, &packet) => self.fail_later(env, packet),
            Body::Call(_) => self.send_error(env, &packet, "too many requests are waiting"),
            Body::Dmaster(_) => self.force_recovery(env, "an ownership packet had to be dropped"),
            _ => {}
        }
    }
}

fn has_room(len: usize, limit: usize, work: &Work) -> bool {
    let ownership = matches!(work, Work::Packet(Packet { body: Body::Dmaster(_), .. }));
    len < if ownership { limit * OWNERSHIP_FACTOR } else { limit }
}

/// The database and record that a packet is about.
pub(super) fn record_of(body: &Body) -> Option<(DbId, &Bytes)> {
    match body {
        Body::Call(call) => Some((call.db, &call.key)),
        Body::Dmaster(dmaster) => Some((dmaster.db, &dmaster.key)),
        _ => None,
    }
}

/// Keys in the log.
pub(super) fn hex(key: &[u8]) -> String {
    use std::fmt::Write;
    key.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Db {
    /// Number of chains that are waited for.
    pub fn chains_waited_for(&self) -> usize {
        self.chains.queues.len()
    }
}
