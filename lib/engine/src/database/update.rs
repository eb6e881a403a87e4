// SPDX-License-Identifier: GPL-3.0-or-later
//! UPDATE_RECORD and PUSH_RECORD (`spec/database.md 14.1, 14.6`): records that another node has written.
//!
//! One record of a volatile database is stored under its chain lock, in order with other packets for that
//! chain. Everything else is a TDB transaction, one at a time for each database; the answer comes when it is
//! durable.

use super::record::{apply_rule, join, split, store, Place};
use super::{AfterWrite, Database, Timer, Work, Write};
use crate::env::{Env, ReplyTo};
use crate::packet::{Control, ControlReply, DbId, Packet};
use crate::ports::{Access, ChainRecord, DbKind, Decision, RecordWrite, StoreError, WriteOutcome};
use crate::time::Time;
use crate::view::RecoveryMode;
use bytes::Bytes;
use ctdb_wire::flags::record as flag;
use ctdb_wire::flags::SEQNUM_KEY;
use ctdb_wire::types::{PushRecordData, RecBuffer};
use ctdb_wire::Decode;
use std::time::Duration;

/// Write transactions that may wait for one database. More are refused.
pub const UPDATES_MAX: usize = 1000;

const TIMED_OUT: &str = "timeout in ctdb_persistent_lock";

/// An UPDATE_RECORD that waits for its turn.
pub(super) struct Update {
    reply: ReplyTo,
    records: Vec<RecordWrite>,
    since: Time,
}

impl Database {
    /// UPDATE_RECORD. It belongs to the epoch it was sent in, as record packets do: one that a slow link delivers after
    /// a recovery would bring back what the recovery has undone.
    pub(super) fn update_request(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let reply = ReplyTo::of(packet);
        if packet.generation != env.view().generation {
            // Delayed beyond a recovery, which has decided otherwise.
            return refused;
        }
        let Some((id, mut records)) = record_writes(&control.data) else { return refused };
        let Some(db) = self.dbs.get_mut(&id) else { return refused };
        let normal = env.view().recovery_mode == RecoveryMode::Normal;
        if !normal || db.unhealthy.is_some() || db.is_held(env.view()) {
            return refused;
        }
        if db.is_volatile() && records.len() == 1 {
            let RecordWrite { key, value } = records.pop()?;
            let work = Work::Update { db: id, key, value, pushed: false, reply };
            self.work(env, work, false);
            return None;
        }
        if db.updates.len() >= UPDATES_MAX {
            return refused;
        }
        db.updates.push_back(Update { reply, records, since: env.now });
        self.start_update(env, id);
        None
    }

    /// Begins the next transaction if none runs.
    fn start_update(&mut self, env: &mut Env<'_>, id: DbId) {
        let limit = control_timeout(env);
        let own = env.pnn();
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if db.writing.is_some() {
            return;
        }
        let Some(update) = db.updates.pop_front() else { return };
        let lmasters = update.records.iter().map(|r| env.view().lmaster(&r.key).unwrap_or(own));
        let decide = decide_update(own, db.kind, lmasters.collect());
        self.counter += 1;
        let ticket = self.counter;
        db.writing = Some(ticket);
        let then = AfterWrite::Update(Some(update.reply));
        self.writes.insert(ticket, Write { db: id, since: update.since, then });
        let stats = env.stats();
        stats.childwrite_calls = stats.childwrite_calls.wrapping_add(1);
        stats.pending_childwrite_calls = stats.pending_childwrite_calls.saturating_add(1);
        let left = limit.saturating_sub(env.now.since(update.since));
        env.set_timer(Timer::Update(id).token(), left);
        env.store().write(ticket, id, update.records, decide);
    }

    pub(super) fn update_done(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        since: Time,
        reply: Option<ReplyTo>,
        outcome: WriteOutcome,
    ) {
        let took = env.now.since(since);
        let stats = env.stats();
        stats.pending_childwrite_calls = stats.pending_childwrite_calls.saturating_sub(1);
        stats.childwrite_latency.add(took);
        let status = match outcome {
            WriteOutcome::Committed => 0,
            WriteOutcome::Aborted => 1,
            WriteOutcome::Failed(error) => {
                log::error!("UPDATE_RECORD failed: {error}");
                1
            }
        };
        if let Some(to) = reply {
            env.reply(&to, ControlReply::status(status));
        }
        self.start_update(env, id);
        self.continue_freeze(env, id);
    }

    /// A recovery begins: what has not begun is refused.
    pub(super) fn refuse_updates(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        for update in std::mem::take(&mut db.updates) {
            env.reply(&update.reply, ControlReply::status(-1));
        }
    }

    /// Answers what took longer than ControlTimeout. The outcome of one that runs stays unknown.
    pub(super) fn expire_updates(&mut self, env: &mut Env<'_>, id: DbId) {
        let (limit, now) = (control_timeout(env), env.now);
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let mut late = Vec::new();
        let running = db.writing.and_then(|ticket| self.writes.get_mut(&ticket));
        if let Some(Write { since, then: AfterWrite::Update(reply), .. }) = running {
            if now.since(*since) >= limit {
                late.extend(reply.take());
            }
        }
        let expired = db.updates.iter().take_while(|u| now.since(u.since) >= limit).count();
        late.extend(db.updates.drain(..expired).map(|u| u.reply));
        if let Some(next) = db.updates.front() {
            let left = limit.saturating_sub(now.since(next.since));
            env.set_timer(Timer::Update(id).token(), left);
        }
        for to in late {
            env.reply(&to, ControlReply::error(TIMED_OUT));
        }
    }

    /// PUSH_RECORD: one record that a client of another node has just stored as its dmaster.
    pub(super) fn push_record(
        &mut self,
        env: &mut Env<'_>,
        reply: ReplyTo,
        control: &Control,
    ) -> Option<ControlReply> {
        let status = |status| Some(ControlReply::status(status));
        let Ok(push) = PushRecordData::from_prefix(&control.data) else { return status(-1) };
        if push.generation != env.view().generation || push.hdr.dmaster == env.pnn() {
            return status(0);
        }
        let Some(db) = self.dbs.get(&push.db_id) else { return status(-1) };
        if db.is_held(env.view()) || !db.is_volatile() {
            return status(-1);
        }
        let mut header = push.hdr;
        header.flags |= flag::MIGRATED_WITH_DATA;
        let key = control.data.slice_ref(push.key);
        let value = join(&header, push.value).into();
        self.work(env, Work::Update { db: push.db_id, key, value, pushed: true, reply }, false);
        None
    }

    /// One record under its chain lock.
    pub(super) fn update_one(&mut self, env: &mut Env<'_>, work: Work, granted: bool) {
        let Work::Update { db: id, key, .. } = &work else { return };
        let (id, key) = (*id, key.clone());
        let Some(work) = self.enter(env, id, &key, work, granted) else { return };
        let Work::Update { value, pushed, reply, .. } = &work else { return };
        let (pushed, reply) = (*pushed, *reply);
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(place) = db.place(&key, env.view()) else { return };
        let mut outcome = Ok(0);
        let access = env.store().with_record(id, &key, &mut |record| {
            outcome = decide_one(record, &place, value, pushed);
        });
        match access {
            Access::Busy => return self.wait_for_chain(env, id, &key, work, granted),
            Access::Failed(error) => outcome = Err(error),
            Access::Done => {}
        }
        if pushed && outcome.is_ok() {
            outcome = env.store().sync(id).map(|()| 0);
        }
        let status = outcome.unwrap_or_else(|error| {
            log::error!("cannot store a record of another node: {error}");
            if pushed {
                -1
            } else {
                1
            }
        });
        env.reply(&reply, ControlReply::status(status));
    }
}

fn control_timeout(env: &Env<'_>) -> Duration {
    Duration::from_secs(env.tunables().control_timeout.into())
}

/// The records of an UPDATE_RECORD. None: malformed, or without headers.
fn record_writes(data: &Bytes) -> Option<(DbId, Vec<RecordWrite>)> {
    let buffer = RecBuffer::from_prefix(data).ok()?;
    let mut reader = ctdb_wire::Reader::new(data.get(8..)?);
    let mut records = Vec::with_capacity(buffer.count() as usize);
    for _ in 0..buffer.count() {
        let record = ctdb_wire::types::RecData::decode(&mut reader).ok()?;
        split(record.data)?;
        let (key, value) = (data.slice_ref(record.key), data.slice_ref(record.data));
        records.push(RecordWrite { key, value });
    }
    Some((buffer.db_id(), records))
}

/// UPDATE_RECORD or PUSH_RECORD of one record of a volatile database: the status.
fn decide_one(
    record: &mut dyn ChainRecord,
    place: &Place,
    value: &[u8],
    pushed: bool,
) -> Result<i32, StoreError> {
    let Some((mut header, data)) = split(value) else { return Ok(1) };
    match (record.value().and_then(split), pushed) {
        (None, false) => return Ok(0),
        (Some((old, old_data)), false) if old.rsn >= header.rsn && old_data != data => {
            return Ok(1)
        }
        // A newer copy stays.
        (Some((old, _)), true) if old.rsn > header.rsn => return Ok(0),
        _ => {}
    }
    store(record, place, &mut header, data)?;
    Ok(0)
}

/// The rule of 14.1 for each record of a transaction, in order.
fn decide_update(own: u32, kind: DbKind, lmasters: Vec<u32>) -> crate::ports::Decide {
    let mut lmasters = lmasters.into_iter();
    Box::new(move |write: &RecordWrite, old: Option<&[u8]>| {
        let lmaster = lmasters.next().unwrap_or(own);
        let Some((mut header, data)) = split(&write.value) else { return Decision::Abort };
        let old = old.and_then(split);
        if old.is_none() && kind == DbKind::Volatile {
            return Decision::Skip;
        }
        // An absent record counts as one with RSN 0 and no value.
        let (old_rsn, old_data) = old.map_or((0, &[][..]), |(h, d)| (h.rsn, d));
        if old_rsn >= header.rsn && old_data != data {
            return Decision::Abort;
        }
        if kind != DbKind::Volatile {
            if write.key[..] == *SEQNUM_KEY && !follows(old_data, data) {
                return Decision::Abort;
            }
            return Decision::Store(write.value.to_vec());
        }
        let plan = apply_rule(&mut header, data.is_empty(), &Place { own, lmaster, kind });
        match plan.keep {
            true => Decision::Store(join(&header, data)),
            false => Decision::Delete,
        }
    })
}

/// Whether a transaction that leaves the sequence number `new` was made on a database that has `old`. On a node
/// that lacks the transaction before it must not be applied: its copy would be torn, and yet have the highest
/// number in the recovery to come. Refusing makes the coordinator ask for that recovery.
fn follows(old: &[u8], new: &[u8]) -> bool {
    let number = |data: &[u8]| data.try_into().map(u64::from_le_bytes);
    match (number(old), number(new)) {
        (Ok(old), Ok(new)) => new == old || new == old.wrapping_add(1),
        (Err(_), Ok(new)) => new <= 1,
        // Not the number that clients keep: nothing to compare.
        (_, Err(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_wire::types::LtdbHeader;

    #[test]
    fn a_transaction_follows_the_one_before() {
        let n = |n: u64| n.to_le_bytes();
        assert!(follows(&n(4), &n(5)) && follows(&n(4), &n(4)) && follows(b"", &n(1)));
        assert!(!follows(&n(4), &n(6)) && !follows(&n(4), &n(3)) && !follows(b"", &n(2)));
        assert!(follows(b"", b"text"));
        let write = |number: u64| RecordWrite {
            key: SEQNUM_KEY.into(),
            value: value(number + 1, &n(number)).into(),
        };
        let decide = |number, old: u64| {
            decide_update(1, DbKind::Persistent, vec![1])(&write(number), Some(&value(1, &n(old))))
        };
        assert!(matches!(decide(5, 4), Decision::Store(_)));
        assert_eq!(decide(6, 4), Decision::Abort);
    }

    fn value(rsn: u64, data: &[u8]) -> Vec<u8> {
        join(&LtdbHeader { rsn, dmaster: 0, reserved1: 0, flags: 0 }, data)
    }

    fn decided(kind: DbKind, new: (u64, &[u8]), old: Option<(u64, &[u8])>) -> Decision {
        let write = RecordWrite { key: "k".into(), value: value(new.0, new.1).into() };
        let old = old.map(|(rsn, data)| value(rsn, data));
        decide_update(1, kind, vec![1])(&write, old.as_deref())
    }

    #[test]
    fn an_update_needs_a_higher_rsn_unless_the_value_is_the_same() {
        let kind = DbKind::Persistent;
        let stored = |rsn, data| Decision::Store(value(rsn, data));
        assert_eq!(decided(kind, (2, b"b"), Some((1, b"a"))), stored(2, b"b"));
        assert_eq!(decided(kind, (1, b"b"), Some((1, b"a"))), Decision::Abort);
        assert_eq!(decided(kind, (0, b"a"), Some((1, b"a"))), stored(0, b"a"));
        assert_eq!(decided(kind, (1, b"a"), None), stored(1, b"a"));
        assert_eq!(decided(kind, (0, b"a"), None), Decision::Abort);
        assert_eq!(decided(DbKind::Volatile, (1, b"a"), None), Decision::Skip);
        assert_eq!(decided(DbKind::Volatile, (2, b"b"), Some((1, b"a"))), stored(2, b"b"));
    }

    #[test]
    fn buffers_without_headers_are_refused() {
        let mut buffer = RecBuffer::new(7);
        buffer.push(&ctdb_wire::types::RecData { reqid: 0, key: b"k", data: b"short" });
        assert!(record_writes(&ctdb_wire::Encode::to_vec(&buffer).into()).is_none());
        assert!(record_writes(&Bytes::from_static(b"1234")).is_none());
    }
}
