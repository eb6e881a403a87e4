// SPDX-License-Identifier: GPL-3.0-or-later
//! Read-only delegations (`spec/database.md 13`).
//!
//! The owner remembers in memory which nodes hold copies; nobody else looks at it, and a daemon that
//! restarts has an empty database. A revoke sends every holder the record once more, as an ordinary copy,
//! with UPDATE_RECORD; calls for the key wait for its end.
//!
//! The race of 13.6 (a revoke that overtakes a copy which still waits for the chain lock) cannot happen
//! here: both wait in the same queue, in order of arrival.

use super::decide::{decide_copy, decide_revoked};
use super::record::split;
use super::{Database, Request, Timer, Work};
use crate::env::Env;
use crate::fanout::Fanout;
use crate::packet::{Body, Control, DbId, Packet, Pnn};
use crate::ports::Access;
use bytes::Bytes;
use ctdb_wire::control::Opcode;
use ctdb_wire::flags::{call as call_flag, record as flag};
use ctdb_wire::types::{LtdbHeader, RecBuffer};
use ctdb_wire::Encode;
use std::collections::VecDeque;
use std::time::Duration;

/// Calls that may wait for one revoke. More are refused.
pub const REVOKE_QUEUE_MAX: usize = 10_000;

const READERS_WAIT: Duration = Duration::from_secs(1);

/// A revoke that runs.
pub(super) struct Revoke {
    /// The record's RSN when it began.
    rsn: u64,
    /// None: the answers are in, the record waits for its chain.
    fanout: Option<Fanout>,
    /// Calls for the key, in order of arrival.
    pub(super) queue: VecDeque<Packet>,
}

impl Database {
    /// A read-only copy was granted: remember who has it, and send it (13.2 steps 2, 3).
    pub(super) fn delegated(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        key: Bytes,
        reply: Bytes,
    ) {
        let Body::Call(call) = &packet.body else { return };
        self.count_hop(env, call.db, call.hopcount);
        let Some(db) = self.dbs.get_mut(&call.db) else { return };
        db.counters.ro_delegations = db.counters.ro_delegations.wrapping_add(1);
        db.tracking.entry(key).or_default().insert(packet.src.node);
        let generation = db.generation;
        env.stats().total_ro_delegations = env.stats().total_ro_delegations.wrapping_add(1);
        let reply = Packet {
            dst: packet.src,
            src: self.own_endpoint(env),
            reqid: packet.reqid,
            generation,
            body: Body::CallReply { status: 0, data: reply },
        };
        self.send_packet(env, reply);
    }

    /// The flags of an ended revoke were cleared (8 step 6).
    pub(super) fn note_revoked(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        db.tracking.remove(key);
        db.counters.ro_revokes = db.counters.ro_revokes.wrapping_add(1);
        env.stats().total_ro_revokes = env.stats().total_ro_revokes.wrapping_add(1);
    }

    /// A read-only copy arrived for a pending call (13.2 step 4).
    pub(super) fn read_only_copy(
        &mut self,
        env: &mut Env<'_>,
        (id, key): (DbId, Bytes),
        reqid: u32,
        generation: u32,
        data: Bytes,
        granted: bool,
    ) {
        let work = Work::Copy { db: id, key: key.clone(), reqid, generation, data };
        let Some(Work::Copy { data, .. }) = self.enter(env, id, &key, work, granted) else {
            return;
        };
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if !db.is_current(generation, env.view()) {
            return;
        }
        let (Some(place), Some((header, value))) = (db.place(&key, env.view()), split(&data))
        else {
            return;
        };
        let mut outcome = Ok(());
        let access = env.store().with_record(id, &key, &mut |record| {
            outcome = decide_copy(record, &place, header, value);
        });
        match access {
            Access::Busy => {
                let work = Work::Copy { db: id, key: key.clone(), reqid, generation, data };
                return self.wait_for_chain(env, id, &key, work, granted);
            }
            Access::Failed(error) => outcome = Err(error),
            Access::Done => {}
        }
        if let Err(error) = outcome {
            // Without a stored copy the client still has its data.
            log::warn!("cannot store a read-only copy: {error}");
        }
        self.complete(env, reqid, 0, data);
    }

    /// A call finds a revoke under way (8 step 7, 9.2 step 7).
    pub(super) fn await_revoke(&mut self, env: &mut Env<'_>, packet: Packet) {
        let Body::Call(call) = &packet.body else { return };
        let (id, key) = (call.db, call.key.clone());
        let Some(db) = self.dbs.get_mut(&id) else { return };
        match db.revokes.get_mut(&key) {
            Some(revoke) if revoke.queue.len() < REVOKE_QUEUE_MAX => revoke.queue.push_back(packet),
            Some(_) if packet.src.id >= crate::packet::endpoint::FIRST_CLIENT => {
                self.fail_later(env, packet)
            }
            Some(_) => self.send_error(env, &packet, "too many requests are waiting"),
            // The flag is left from a revoke that could not finish: begin again.
            None => {
                let value = env.store().read(id, &key).ok().flatten().unwrap_or_default();
                let Some((header, data)) = split(&value) else { return };
                let data = Bytes::copy_from_slice(data);
                self.start_revoke(env, id, key, header, data, Some(packet));
            }
        }
    }

    /// Takes back all read-only copies (13.3). RO_REVOKING_READONLY is stored already.
    pub(super) fn start_revoke(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        key: Bytes,
        header: LtdbHeader,
        data: Bytes,
        packet: Option<Packet>,
    ) {
        let own = env.pnn();
        let limit = Duration::from_secs(env.tunables().control_timeout.into());
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let holders: Vec<Pnn> = db.delegates(&key).filter(|&node| node != own).collect();
        let copy = LtdbHeader {
            rsn: header.rsn.wrapping_sub(1),
            dmaster: own,
            reserved1: 0,
            flags: (header.flags & !flag::RO_FLAGS) | flag::MIGRATED_WITH_DATA,
        };
        let mut records = RecBuffer::new(id);
        records.push_with_header(0, &key, &copy, &data);
        let control = Control {
            opcode: Opcode::UpdateRecord as u32,
            data: records.to_vec().into(),
            ..Control::default()
        };
        let fanout = Fanout::start(env, &holders, limit, &control);
        for (reqid, _) in fanout.waiting() {
            self.requests.insert(reqid, Request::Revoke { db: id, key: key.clone() });
        }
        if db.revokes.is_empty() {
            env.set_timer(Timer::Revokes.token(), limit);
        }
        let revoke =
            Revoke { rsn: header.rsn, fanout: Some(fanout), queue: packet.into_iter().collect() };
        db.revokes.insert(key.clone(), revoke);
        self.check_revoke(env, id, &key);
    }

    pub(super) fn revoke_reply(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        key: &Bytes,
        packet: &Packet,
    ) {
        let revoke = self.dbs.get_mut(&id).and_then(|db| db.revokes.get_mut(key));
        if let Some(fanout) = revoke.and_then(|r| r.fanout.as_mut()) {
            fanout.reply(packet);
        }
        self.check_revoke(env, id, key);
    }

    /// If all answers are in, the record is looked at again under its chain lock.
    fn check_revoke(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes) {
        let revoke = self.dbs.get_mut(&id).and_then(|db| db.revokes.get_mut(key));
        let Some(fanout) = revoke.and_then(|r| r.fanout.take_if(|f| f.is_done())) else { return };
        if let Some((node, outcome)) = fanout.first_failure() {
            log::warn!("node {node} did not give its read-only copy back: {outcome:?}");
        }
        let ok = fanout.first_failure().is_none();
        self.revoke_done(env, id, key.clone(), ok, false);
    }

    pub(super) fn revoke_done(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        key: Bytes,
        ok: bool,
        granted: bool,
    ) {
        let work = Work::RevokeDone { db: id, key: key.clone(), ok };
        if self.enter(env, id, &key, work, granted).is_none() {
            return;
        }
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(rsn) = db.revokes.get(&key).map(|r| r.rsn) else { return };
        let Some(place) = db.place(&key, env.view()) else { return };
        let mut outcome = Ok(false);
        let access = env.store().with_record(id, &key, &mut |record| {
            outcome = decide_revoked(record, &place, rsn, ok);
        });
        match access {
            Access::Busy => {
                let work = Work::RevokeDone { db: id, key: key.clone(), ok };
                return self.wait_for_chain(env, id, &key, work, granted);
            }
            Access::Failed(error) => outcome = Err(error),
            Access::Done => {}
        }
        let stored = match outcome {
            Ok(as_left) => ok || !as_left,
            Err(error) => {
                log::error!("cannot end a revoke: {error}");
                false
            }
        };
        self.end_revoke(env, id, &key, stored);
    }

    /// The calls that waited are looked at again: writers at once, readers a second later so that a writer
    /// gets through; after a failure all of them later (13.4).
    pub(super) fn end_revoke(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes, ok: bool) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(revoke) = db.revokes.remove(key) else { return };
        for packet in revoke.queue {
            let reader = matches!(
                &packet.body,
                Body::Call(c) if c.flags & call_flag::WANT_READONLY != 0
            );
            if ok && !reader {
                env.send(packet);
            } else {
                self.later(env, READERS_WAIT, packet);
            }
        }
    }

    /// A thaw or the end of a push: recovery revokes everything (13.5). The calls that waited are looked at
    /// again.
    pub(super) fn kill_revokes(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let revokes = std::mem::take(&mut db.revokes);
        self.requests.retain(|_, r| !matches!(r, Request::Revoke { db, .. } if *db == id));
        for packet in revokes.into_values().flat_map(|r| r.queue) {
            env.send(packet);
        }
    }

    pub(super) fn revokes_link_down(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        self.each_revoke(env, |fanout, _| fanout.link_down(pnn));
    }

    pub(super) fn revokes_tick(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        self.each_revoke(env, |fanout, _| fanout.tick(now));
        let next = self.dbs.values().flat_map(|db| db.revokes.values());
        let next = next.filter_map(|r| r.fanout.as_ref()).map(|f| f.deadline()).min();
        if let Some(next) = next {
            env.set_timer(Timer::Revokes.token(), next.since(now));
        }
    }

    fn each_revoke(&mut self, env: &mut Env<'_>, mut f: impl FnMut(&mut Fanout, DbId)) {
        let mut done = Vec::new();
        for db in self.dbs.values_mut() {
            for (key, revoke) in &mut db.revokes {
                let Some(fanout) = revoke.fanout.as_mut() else { continue };
                f(fanout, db.id);
                if fanout.is_done() {
                    done.push((db.id, key.clone()));
                }
            }
        }
        for (id, key) in done {
            self.check_revoke(env, id, &key);
        }
    }
}
