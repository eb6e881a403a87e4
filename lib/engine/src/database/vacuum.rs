// SPDX-License-Identifier: GPL-3.0-or-later
//! Vacuuming (`spec/database.md 17`): removes tombstones so that no older copy can come back.
//!
//! A tombstone goes from the lmaster's file only after every other active node has confirmed, under its
//! chain lock, that it has no copy; and only if it is still the same tombstone then. A run never spans a
//! recovery. One run at a time on each node, in slices of a turn.
//!
//! ```text
//! Scan (full runs)  own tombstones of the whole file -> the run's list
//! Fetch             keys other nodes want removed: migrate them here, for the next run
//! Sort              the list: delete at once, ask the other nodes, or hand to the key's lmaster
//! Handing, Asking   VACUUM_FETCH, TRY_DELETE_RECORDS and their answers
//! ```

use super::calls::PendingCall;
use super::links::participants;
use super::record::{split, HEADER};
use super::{Database, Request, Timer};
use crate::env::{Env, ReplyTo};
use crate::fanout::Fanout;
use crate::packet::{Call, Control, ControlReply, DbId, Packet, Pnn};
use crate::ports::{Access, ChainRecord, ScanCursor};
use crate::stats::Latency;
use crate::time::Time;
use crate::view::RecoveryMode;
use bytes::Bytes;
use ctdb_wire::control::Opcode;
use ctdb_wire::flags::{call as call_flag, record as flag};
use ctdb_wire::types::{DbVacuum, KeyData, LtdbHeader, RecBuffer, RecData};
use ctdb_wire::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Keys on the fetch queue of a database; more are dropped, a later run of the other node sends them again.
pub const FETCH_QUEUE_MAX: usize = 100_000;
/// Keys that one run works on.
const RUN_MAX: usize = 10_000;
/// Migrations of a run that are outstanding at a time.
const FETCHING_MAX: usize = 100;

const SLICE: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);
const BUSY_RETRY: Duration = Duration::from_millis(500);

/// The schedule and the run.
#[derive(Default)]
pub(super) struct Vacuum {
    schedule: BTreeMap<DbId, Schedule>,
    run: Option<Run>,
}

struct Schedule {
    due: Time,
    /// Runs since the last full one.
    fast_runs: u32,
}

struct Run {
    db: DbId,
    generation: u32,
    started: Time,
    reply: Option<ReplyTo>,
    step: Step,
    list: Vec<(Bytes, LtdbHeader)>,
    /// Keys to migrate here, and those that are on their way.
    fetch: BTreeSet<Bytes>,
    fetching: usize,
    /// By lmaster: keys for its fetch queue.
    foreign: BTreeMap<Pnn, Vec<Bytes>>,
    /// To be confirmed by the other nodes.
    confirm: BTreeMap<Bytes, LtdbHeader>,
    asked: Option<Fanout>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Scan(ScanCursor),
    Fetch,
    Sort,
    Handing,
    Asking,
}

/// What the record under the chain lock still is.
fn is_tombstone(record: &dyn ChainRecord, own: Pnn, rsn: u64) -> Option<LtdbHeader> {
    let (header, data) = record.value().and_then(split)?;
    (data.is_empty() && header.dmaster == own && header.rsn == rsn).then_some(header)
}

impl Database {
    /// SCHEDULE_FOR_DELETION (14.2). Whether the record is empty is looked at when its turn comes.
    pub(super) fn schedule_for_deletion(&mut self, key: &KeyData<'_>) -> bool {
        let Some(db) = self.dbs.get_mut(&key.db_id) else { return false };
        db.schedule(&Bytes::copy_from_slice(key.key), &key.header);
        true
    }

    /// VACUUM_FETCH (14.4).
    pub(super) fn vacuum_fetch(&mut self, _env: &mut Env<'_>, records: &RecBuffer<'_>) -> bool {
        let Some(db) = self.dbs.get_mut(&records.db_id()) else { return false };
        for record in records.iter() {
            if db.fetch_queue.len() < FETCH_QUEUE_MAX {
                db.fetch_queue.insert(Bytes::copy_from_slice(record.key));
            }
        }
        true
    }

    /// TRY_DELETE_RECORDS (14.3): answers those that could not be deleted here.
    pub(super) fn try_delete(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        records: &RecBuffer<'_>,
    ) -> Option<ControlReply> {
        let id = records.db_id();
        let refused = Some(ControlReply::status(-1));
        let Some(db) = self.dbs.get(&id) else { return refused };
        if records.iter().any(|r| r.data.len() < HEADER) {
            return refused;
        }
        let current = db.is_current(packet.generation, env.view());
        let held = !current || db.is_held(env.view()) || !db.is_volatile();
        let own = env.pnn();
        let mut left = RecBuffer::new(id);
        for record in records.iter() {
            let at_lmaster = env.view().lmaster(record.key).is_none_or(|lmaster| lmaster == own);
            let given = split(record.data).filter(|(_, rest)| rest.is_empty());
            let deleted = match given {
                Some((given, _)) if !held && !at_lmaster => {
                    let mut deleted = false;
                    let access = env.store().with_record(id, record.key, &mut |local| {
                        deleted = try_delete_one(local, own, &given);
                    });
                    deleted && access == Access::Done
                }
                _ => false,
            };
            if !deleted {
                left.push(&record);
            }
        }
        Some(ControlReply::data(left.to_vec()))
    }

    /// DB_VACUUM (14.5).
    pub(super) fn vacuum_request(
        &mut self,
        env: &mut Env<'_>,
        to: ReplyTo,
        request: &DbVacuum,
    ) -> Option<ControlReply> {
        if !self.start_vacuum(env, request.db_id, request.full_vacuum_run, Some(to)) {
            return Some(ControlReply::status(-1));
        }
        None
    }

    /// A volatile database was attached: its first run comes after an interval.
    pub(super) fn schedule_vacuum(&mut self, env: &mut Env<'_>, id: DbId) {
        if self.dbs.get(&id).is_some_and(|db| db.is_volatile()) {
            let due = env.now.plus(interval(env));
            self.vacuum.schedule.insert(id, Schedule { due, fast_runs: 0 });
            self.set_vacuum_timer(env);
        }
    }

    fn set_vacuum_timer(&self, env: &mut Env<'_>) {
        if let Some(next) = self.vacuum.schedule.values().map(|s| s.due).min() {
            env.set_timer(Timer::Vacuum.token(), next.since(env.now));
        }
    }

    pub(super) fn vacuum_tick(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        self.check_vacuum_time(env);
        let full_after = env.tunables().vacuum_fast_path_count;
        let due = self.vacuum.schedule.iter().filter(|(_, s)| s.due <= now);
        let due: Vec<(DbId, bool)> =
            due.map(|(id, s)| (*id, full_after > 0 && s.fast_runs >= full_after)).collect();
        for (id, full) in due {
            let busy = self.vacuum.run.is_some();
            let idle = self
                .dbs
                .get(&id)
                .is_some_and(|db| db.delete_queue.is_empty() && db.fetch_queue.is_empty());
            if !busy && idle && !full {
                self.vacuum_over(env, id, Some(false));
            } else if !busy {
                if !self.start_vacuum(env, id, full, None) {
                    self.vacuum_over(env, id, None);
                }
            } else if let Some(schedule) = self.vacuum.schedule.get_mut(&id) {
                schedule.due = now.plus(BUSY_RETRY);
            }
        }
        self.set_vacuum_timer(env);
    }

    /// A run that takes too long is given up.
    fn check_vacuum_time(&mut self, env: &mut Env<'_>) {
        let limit = Duration::from_secs(env.tunables().vacuum_max_run_time.into());
        let Some(run) = &self.vacuum.run else { return };
        if env.now.since(run.started) >= limit {
            let name = self.dbs.get(&run.db).map_or("", |db| &db.name);
            log::error!("Vacuuming timed out for db {name}");
            self.finish_vacuum(env, false);
        }
    }

    /// The next run of `id` is an interval away. `finished`: whether the run that ended was a full one.
    fn vacuum_over(&mut self, env: &mut Env<'_>, id: DbId, finished: Option<bool>) {
        let due = env.now.plus(interval(env));
        let Some(schedule) = self.vacuum.schedule.get_mut(&id) else { return };
        schedule.due = due;
        match finished {
            Some(true) => schedule.fast_runs = 0,
            Some(false) => schedule.fast_runs = schedule.fast_runs.saturating_add(1),
            None => {}
        }
    }

    fn start_vacuum(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        full: bool,
        reply: Option<ReplyTo>,
    ) -> bool {
        let normal = env.view().recovery_mode == RecoveryMode::Normal;
        let Some(db) = self.dbs.get_mut(&id) else { return false };
        if self.vacuum.run.is_some() || !normal || !db.is_volatile() || db.is_held(env.view()) {
            return false;
        }
        let mut list = Vec::new();
        while list.len() < RUN_MAX {
            let Some(entry) = db.delete_queue.pop_first() else { break };
            list.push(entry);
        }
        self.vacuum.run = Some(Run {
            db: id,
            generation: db.generation,
            started: env.now,
            reply,
            step: if full { Step::Scan(ScanCursor::default()) } else { Step::Fetch },
            list,
            fetch: std::mem::take(&mut db.fetch_queue),
            fetching: 0,
            foreign: BTreeMap::new(),
            confirm: BTreeMap::new(),
            asked: None,
        });
        if full {
            if let Some(schedule) = self.vacuum.schedule.get_mut(&id) {
                schedule.fast_runs = u32::MAX;
            }
        }
        env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
        true
    }

    /// A freeze begins, or the database goes: the run ends. What it had taken is found again by a full run.
    pub(super) fn stop_vacuum(&mut self, env: &mut Env<'_>) {
        if self.vacuum.run.is_some() {
            self.finish_vacuum(env, false);
        }
    }

    pub(super) fn detach_vacuum(&mut self, env: &mut Env<'_>, id: DbId) {
        self.vacuum.schedule.remove(&id);
        if self.vacuum.run.as_ref().is_some_and(|run| run.db == id) {
            self.finish_vacuum(env, false);
        }
    }

    fn finish_vacuum(&mut self, env: &mut Env<'_>, ok: bool) {
        let Some(run) = self.vacuum.run.take() else { return };
        env.cancel_timer(Timer::VacuumWork.token());
        self.requests.retain(|_, r| !matches!(r, Request::Vacuum));
        let took = env.now.since(run.started);
        if let Some(db) = self.dbs.get_mut(&run.db) {
            Latency::add(&mut db.counters.vacuum, took);
        }
        let was_full = self.vacuum.schedule.get(&run.db).is_some_and(|s| s.fast_runs == u32::MAX);
        self.vacuum_over(env, run.db, ok.then_some(was_full));
        self.set_vacuum_timer(env);
        if let Some(to) = run.reply {
            env.reply(&to, ControlReply::status(if ok { 0 } else { -1 }));
        }
    }

    /// One slice of the run.
    pub(super) fn vacuum_work(&mut self, env: &mut Env<'_>) {
        let Some(run) = &self.vacuum.run else { return };
        let Some(db) = self.dbs.get(&run.db) else { return self.finish_vacuum(env, false) };
        if db.generation != run.generation || db.is_held(env.view()) {
            return self.finish_vacuum(env, false);
        }
        match run.step {
            Step::Scan(_) => self.vacuum_scan(env),
            Step::Fetch => self.vacuum_migrate(env),
            Step::Sort => self.vacuum_sort(env),
            Step::Handing | Step::Asking => self.vacuum_answers(env),
        }
    }

    fn vacuum_scan(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let Some(run) = &mut self.vacuum.run else { return };
        let Step::Scan(cursor) = &mut run.step else { return };
        let list = &mut run.list;
        let before = cursor.clone();
        let result = env.store().scan(run.db, cursor, SLICE, &mut |key, value| {
            let tombstone = split(value).filter(|(h, data)| data.is_empty() && h.dmaster == own);
            if let Some((header, _)) = tombstone.filter(|_| list.len() < RUN_MAX) {
                list.push((Bytes::copy_from_slice(key), header));
            }
        });
        if let Err(error) = result {
            log::error!("vacuuming failed: {error}");
            return self.finish_vacuum(env, false);
        }
        // No progress: a client holds the next chain.
        let wait = if *cursor == before { PAUSE } else { Duration::ZERO };
        if cursor.done {
            run.step = Step::Fetch;
        }
        env.set_timer(Timer::VacuumWork.token(), wait);
    }

    /// Asks for records whose owners want them deleted. They go on the delete queue when they arrive.
    fn vacuum_migrate(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let mut wanted = Vec::new();
        let Some(run) = &mut self.vacuum.run else { return };
        while run.fetching + wanted.len() < FETCHING_MAX {
            let Some(key) = run.fetch.pop_first() else { break };
            let value = env.store().read(run.db, &key).ok().flatten().unwrap_or_default();
            if let Some((header, _)) = split(&value).filter(|(h, _)| h.dmaster != own) {
                wanted.push((key, header.dmaster));
            }
        }
        run.fetching += wanted.len();
        let (db, done) = (run.db, run.fetching == 0);
        if done {
            run.step = Step::Sort;
            return env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
        }
        for (key, dmaster) in wanted {
            let request = Call {
                flags: call_flag::IMMEDIATE_MIGRATION | call_flag::VACUUM_MIGRATION,
                db,
                callid: call_flag::NULL,
                hopcount: 0,
                key: key.clone(),
                data: Bytes::new(),
            };
            let pending = PendingCall {
                db,
                key,
                client: None,
                callid: call_flag::NULL,
                want_readonly: false,
                collapse: false,
                since: env.now,
            };
            self.send_call(env, dmaster, request, pending);
        }
    }

    /// A migration for vacuuming has ended.
    pub(super) fn vacuum_fetched(&mut self, env: &mut Env<'_>, id: DbId, _key: &Bytes, _ok: bool) {
        let Some(run) = self.vacuum.run.as_mut().filter(|run| run.db == id) else { return };
        run.fetching = run.fetching.saturating_sub(1);
        if run.fetching == 0 {
            env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
        }
    }

    /// Phase 2: what has to happen to each tombstone.
    fn vacuum_sort(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let Some(run) = &mut self.vacuum.run else { return };
        for _ in 0..SLICE {
            let Some((key, queued)) = run.list.pop() else { break };
            let Some(lmaster) = env.view().lmaster(&key) else { continue };
            let mut found = None;
            let access = env.store().with_record(run.db, &key, &mut |record| {
                found = is_tombstone(record, own, queued.rsn);
                let direct = |h: &LtdbHeader| {
                    let flags = h.flags | queued.flags;
                    lmaster == own && flags & (flag::MIGRATED_WITH_DATA | flag::RO_FLAGS) == 0
                };
                if found.as_ref().is_some_and(direct) {
                    // Nobody ever got a copy with data (V5).
                    if let Err(error) = record.delete() {
                        log::warn!("cannot delete a record: {error}");
                    }
                    found = None;
                }
            });
            match (access, found) {
                (Access::Busy, _) => {
                    if let Some(db) = self.dbs.get_mut(&run.db) {
                        db.schedule(&key, &queued);
                    }
                }
                (Access::Done, Some(header)) if lmaster == own => {
                    run.confirm.insert(key, header);
                }
                (Access::Done, Some(_)) => run.foreign.entry(lmaster).or_default().push(key),
                _ => {}
            }
        }
        if run.list.is_empty() {
            self.vacuum_hand_over(env);
        } else {
            env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
        }
    }

    /// Phase 3: the lmasters fetch what is theirs to delete.
    fn vacuum_hand_over(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let Some(run) = &mut self.vacuum.run else { return };
        let mut requests = Vec::new();
        for (lmaster, keys) in std::mem::take(&mut run.foreign) {
            let mut records = RecBuffer::new(run.db);
            for key in &keys {
                records.push(&RecData { reqid: own, key, data: &[] });
            }
            requests.push((lmaster, control(Opcode::VacuumFetch, &records)));
        }
        run.step = Step::Handing;
        self.vacuum_ask(env, requests);
    }

    /// Phase 4: do the other nodes hold copies?
    fn vacuum_confirm(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let Some(run) = &mut self.vacuum.run else { return };
        run.step = Step::Asking;
        let mut requests = Vec::new();
        if !run.confirm.is_empty() {
            let mut records = RecBuffer::new(run.db);
            for (key, header) in &run.confirm {
                records.push_with_header(run.db, key, header, &[]);
            }
            let ask = control(Opcode::TryDeleteRecords, &records);
            let others = participants(env.view()).into_iter().filter(|&node| node != own);
            requests.extend(others.map(|node| (node, ask.clone())));
        }
        self.vacuum_ask(env, requests);
    }

    fn vacuum_ask(&mut self, env: &mut Env<'_>, requests: Vec<(Pnn, Control)>) {
        let limit = Duration::from_secs(env.tunables().control_timeout.into());
        let fanout = Fanout::start_each(env, limit, requests);
        for (reqid, _) in fanout.waiting() {
            self.requests.insert(reqid, Request::Vacuum);
        }
        let wait = if fanout.is_done() { Duration::ZERO } else { limit };
        env.set_timer(Timer::VacuumWork.token(), wait);
        if let Some(run) = &mut self.vacuum.run {
            run.asked = Some(fanout);
        }
    }

    pub(super) fn vacuum_reply(&mut self, env: &mut Env<'_>, packet: &Packet) {
        let asked = self.vacuum.run.as_mut().and_then(|run| run.asked.as_mut());
        if asked.is_some_and(|fanout| fanout.reply(packet) && fanout.is_done()) {
            env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
        }
    }

    pub(super) fn vacuum_link_down(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        if let Some(fanout) = self.vacuum.run.as_mut().and_then(|run| run.asked.as_mut()) {
            fanout.link_down(pnn);
            if fanout.is_done() {
                env.set_timer(Timer::VacuumWork.token(), Duration::ZERO);
            }
        }
    }

    /// The answers of a step are in, or their time is over.
    fn vacuum_answers(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let Some(run) = &mut self.vacuum.run else { return };
        let Some(mut fanout) = run.asked.take() else { return };
        fanout.tick(now);
        if !fanout.is_done() {
            let left = fanout.deadline().since(now);
            run.asked = Some(fanout);
            return env.set_timer(Timer::VacuumWork.token(), left);
        }
        if let Some((node, outcome)) = fanout.first_failure() {
            log::warn!("vacuuming: node {node} failed: {outcome:?}");
        }
        if run.step == Step::Handing {
            return self.vacuum_confirm(env);
        }
        let mut ok = fanout.first_failure().is_none();
        for reply in fanout.results().values().filter_map(|outcome| outcome.ok()) {
            match RecBuffer::from_prefix(&reply.data) {
                Ok(left) => left.iter().for_each(|r| {
                    run.confirm.remove(r.key);
                }),
                Err(_) => ok = false,
            }
        }
        if ok {
            self.vacuum_delete(env);
        }
        self.finish_vacuum(env, ok);
    }

    /// The final deletions: still the same tombstones, still ours (V4).
    fn vacuum_delete(&mut self, env: &mut Env<'_>) {
        let own = env.pnn();
        let Some(run) = &mut self.vacuum.run else { return };
        for (key, header) in std::mem::take(&mut run.confirm) {
            if env.view().lmaster(&key) != Some(own) {
                continue;
            }
            let access = env.store().with_record(run.db, &key, &mut |record| {
                let same = is_tombstone(record, own, header.rsn);
                if same.is_some_and(|h| h.flags & flag::RO_FLAGS == 0) {
                    if let Err(error) = record.delete() {
                        log::warn!("cannot delete a record: {error}");
                    }
                }
            });
            if access == Access::Busy {
                // The next run asks again.
                if let Some(db) = self.dbs.get_mut(&run.db) {
                    db.schedule(&key, &header);
                }
            }
        }
    }
}

fn try_delete_one(record: &mut dyn ChainRecord, own: Pnn, given: &LtdbHeader) -> bool {
    let Some(value) = record.value() else { return true };
    let stays = split(value).is_some_and(|(local, _)| {
        local.rsn > given.rsn
            || (local.flags | given.flags) & flag::RO_FLAGS != 0
            || local.dmaster == own
    });
    !stays && record.delete().is_ok()
}

fn control(opcode: Opcode, records: &RecBuffer<'_>) -> Control {
    Control { opcode: opcode as u32, data: records.to_vec().into(), ..Control::default() }
}

fn interval(env: &Env<'_>) -> Duration {
    Duration::from_secs(env.tunables().vacuum_interval.max(1).into())
}
