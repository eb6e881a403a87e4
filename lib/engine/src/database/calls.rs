// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls of local clients (`spec/database.md 8`): executed here if this node is dmaster, else sent to the
//! dmaster and kept as pending until the record, or a read-only copy, has arrived.
//!
//! A client is always answered; an error is a REPLY_CALL with a status that is not 0. It comes after a short
//! while, since clients simply ask again.

use super::decide::{decide_call, CallView, Verdict};
use super::record::HEADER;
use super::{Database, Timer, Work};
use crate::env::Env;
use crate::packet::{endpoint, Body, Call, ClientId, DbId, Endpoint, Packet};
use crate::ports::Access;
use crate::time::Time;
use bytes::Bytes;
use ctdb_wire::flags::{call as call_flag, record as flag};
use std::collections::VecDeque;
use std::time::Duration;

/// Calls that may be outstanding. Beyond that, clients are refused.
pub const PENDING_MAX: usize = 200_000;
/// Client calls that may wait behind the outstanding fetch of one key.
pub const COLLAPSE_MAX: usize = 10_000;

/// Packets that may wait for their time. Beyond that they go at once.
const LATE_MAX: usize = 100_000;
const ERROR_DELAY: Duration = Duration::from_millis(100);
const COLLAPSE_LIMIT: Duration = Duration::from_secs(30);

/// A call sent to another node.
pub(super) struct PendingCall {
    pub db: DbId,
    pub key: Bytes,
    /// The client's request. None: a vacuum run wants the record.
    pub client: Option<Packet>,
    /// The call id that was sent.
    pub callid: u32,
    /// Sent with WANT_READONLY.
    pub want_readonly: bool,
    /// A fetch queue waits for it.
    pub collapse: bool,
    pub since: Time,
}

impl Database {
    /// REQ_CALL of a local client.
    pub(super) fn client_call(&mut self, env: &mut Env<'_>, packet: Packet, granted: bool) {
        env.stats().total_calls = env.stats().total_calls.wrapping_add(1);
        let Body::Call(call) = &packet.body else { return };
        let (id, key) = (call.db, call.key.clone());
        if !self.dbs.contains_key(&id) {
            return self.fail_later(env, packet);
        }
        let work = Work::Packet(packet);
        let Some(Work::Packet(packet)) = self.enter(env, id, &key, work, granted) else { return };
        let collapse = env.tunables().fetch_collapse == 1;
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if collapse {
            if let Some(queue) = db.fetches.get_mut(&key) {
                if queue.len() < COLLAPSE_MAX {
                    queue.push_back(packet);
                } else {
                    self.fail_later(env, packet);
                }
                return;
            }
        }
        let Body::Call(call) = &packet.body else { return };
        let Some(place) = db.place(&key, env.view()) else { return };
        let want_readonly = db.readonly && call.flags & call_flag::WANT_READONLY != 0;
        let view = CallView { call, requester: place.own, want_readonly };
        let mut decision = None;
        let access = env.store().with_record(id, &key, &mut |record| {
            decision = Some(decide_call(record, &place, &view));
        });
        match access {
            Access::Done => {}
            Access::Busy => {
                return self.wait_for_chain(env, id, &key, Work::Packet(packet), granted)
            }
            Access::Failed(error) => {
                log::error!("client call failed: {error}");
                return self.fail_later(env, packet);
            }
        }
        let Some(decision) = decision else { return };
        if decision.revoked {
            self.note_revoked(env, id, &key);
        }
        let verdict = match decision.verdict {
            // The local copy only knows whom this node gave the record to. The lmaster knows where it is: asking it
            // first saves the redirect whenever the record has moved on since.
            Verdict::Elsewhere { .. } if place.lmaster != place.own => {
                Verdict::Elsewhere { dmaster: place.lmaster }
            }
            other => other,
        };
        self.follow_client_call(env, packet, key, want_readonly, verdict);
    }

    fn follow_client_call(
        &mut self,
        env: &mut Env<'_>,
        packet: Packet,
        key: Bytes,
        want_readonly: bool,
        verdict: Verdict,
    ) {
        let Body::Call(call) = &packet.body else { return };
        let Some(db) = self.dbs.get_mut(&call.db) else { return };
        match verdict {
            Verdict::Executed { reply, header, effect } => {
                db.note_effect(&key, &header, effect);
                env.stats().call_latency.add(Duration::ZERO);
                self.reply_call(env, packet.src, packet.reqid, 0, reply);
            }
            Verdict::Elsewhere { .. } if !db.is_volatile() => {
                // Every node has a copy: nothing migrates.
                self.execute_in_place(env, packet);
            }
            Verdict::Elsewhere { dmaster } => {
                self.ask(env, dmaster, packet, key, want_readonly);
            }
            Verdict::Revoking => self.await_revoke(env, packet),
            Verdict::Revoke { header, data } => {
                self.start_revoke(env, call.db, key, header, data, Some(packet))
            }
            Verdict::Failed(error) => {
                log::error!("client call failed: {error}");
                self.fail_later(env, packet);
            }
            Verdict::Given { .. } | Verdict::Delegated { .. } => {}
        }
    }

    /// Sends a client's call to `dmaster` (8 step 11).
    fn ask(
        &mut self,
        env: &mut Env<'_>,
        dmaster: u32,
        packet: Packet,
        key: Bytes,
        want_readonly: bool,
    ) {
        let collapse = env.tunables().fetch_collapse == 1;
        let Body::Call(call) = &packet.body else { return };
        if self.pending.len() >= PENDING_MAX {
            return self.fail_later(env, packet);
        }
        let Some(db) = self.dbs.get_mut(&call.db) else { return };
        if collapse {
            if db.fetches.is_empty() {
                env.set_timer(Timer::Collapse.token(), COLLAPSE_LIMIT);
            }
            db.fetches.insert(key.clone(), VecDeque::new());
        }
        let callid = if want_readonly { call_flag::FETCH_WITH_HEADER } else { call.callid };
        let mut flags = call.flags;
        if !want_readonly {
            flags &= !call_flag::WANT_READONLY;
        }
        let request = Call { flags, callid, hopcount: 0, ..call.clone() };
        let pending = PendingCall {
            db: call.db,
            key,
            callid,
            want_readonly,
            collapse,
            since: env.now,
            client: Some(packet),
        };
        env.stats().pending_calls += 1;
        self.send_call(env, dmaster, request, pending);
    }

    /// Sends a call of this node and keeps it as pending.
    pub(super) fn send_call(
        &mut self,
        env: &mut Env<'_>,
        dmaster: u32,
        request: Call,
        pending: PendingCall,
    ) {
        let reqid = env.new_reqid();
        let generation = self.dbs.get(&request.db).map_or(0, |db| db.generation);
        self.pending.insert(reqid, pending);
        let packet = Packet {
            dst: Endpoint { node: dmaster, id: endpoint::DATABASE },
            src: self.own_endpoint(env),
            reqid,
            generation,
            body: Body::Call(request),
        };
        self.send_packet(env, packet);
    }

    /// A call on a database whose records do not migrate: answered from the local copy.
    pub(super) fn execute_in_place(&mut self, env: &mut Env<'_>, packet: Packet) {
        let Body::Call(call) = &packet.body else { return };
        let value = match env.store().read(call.db, &call.key) {
            Ok(value) => Bytes::from(value.unwrap_or_default()),
            Err(error) => {
                log::error!("call failed: {error}");
                return self.fail_later(env, packet);
            }
        };
        let reply = match call.callid {
            call_flag::FETCH if value.len() > HEADER => value.slice(HEADER..),
            call_flag::FETCH_WITH_HEADER => value,
            _ => Bytes::new(),
        };
        self.reply_call(env, packet.src, packet.reqid, 0, reply);
    }

    /// REPLY_CALL (9.7).
    pub(super) fn call_reply(&mut self, env: &mut Env<'_>, packet: Packet) {
        env.stats().node.reply_call += 1;
        let Body::CallReply { status, data } = packet.body else { return };
        let Some(pending) = self.pending.get(&packet.reqid) else { return };
        if pending.want_readonly && pending.callid == call_flag::FETCH_WITH_HEADER {
            let read_only = super::record::split(&data)
                .is_some_and(|(h, _)| h.flags & flag::RO_HAVE_READONLY != 0);
            if read_only {
                let at = (pending.db, pending.key.clone());
                let generation = packet.generation;
                return self.read_only_copy(env, at, packet.reqid, generation, data, false);
            }
            if status == 0 && data.len() < HEADER {
                return self.fail_pending(env, packet.reqid);
            }
        }
        self.complete(env, packet.reqid, status, data);
    }

    /// The pending call ends: its client gets the reply, and those behind it look again.
    pub(super) fn complete(&mut self, env: &mut Env<'_>, reqid: u32, status: i32, data: Bytes) {
        let Some(pending) = self.pending.remove(&reqid) else { return };
        let released = self.take_fetch_queue(&pending);
        match pending.client {
            Some(packet) => {
                let latency = env.now.since(pending.since);
                let stats = env.stats();
                stats.pending_calls = stats.pending_calls.saturating_sub(1);
                stats.call_latency.add(latency);
                let fetch = matches!(&packet.body, Body::Call(c) if c.callid == call_flag::FETCH);
                let data = if pending.want_readonly && fetch && data.len() >= HEADER {
                    data.slice(HEADER..)
                } else {
                    data
                };
                self.reply_call(env, packet.src, packet.reqid, status, data);
            }
            None => self.vacuum_fetched(env, pending.db, &pending.key, status == 0),
        }
        for packet in released {
            env.send(packet);
        }
    }

    fn take_fetch_queue(&mut self, pending: &PendingCall) -> VecDeque<Packet> {
        match self.dbs.get_mut(&pending.db) {
            Some(db) if pending.collapse => db.fetches.remove(&pending.key).unwrap_or_default(),
            _ => VecDeque::new(),
        }
    }

    /// The pending call failed.
    pub(super) fn fail_pending(&mut self, env: &mut Env<'_>, reqid: u32) {
        let Some(pending) = self.pending.remove(&reqid) else { return };
        for packet in self.take_fetch_queue(&pending) {
            env.send(packet);
        }
        match pending.client {
            Some(packet) => {
                env.stats().pending_calls = env.stats().pending_calls.saturating_sub(1);
                self.fail_later(env, packet);
            }
            None => self.vacuum_fetched(env, pending.db, &pending.key, false),
        }
    }

    /// Answers a call.
    pub(super) fn reply_call(
        &mut self,
        env: &mut Env<'_>,
        to: Endpoint,
        reqid: u32,
        status: i32,
        data: Bytes,
    ) {
        let src = self.own_endpoint(env);
        let generation = env.view().generation;
        let body = Body::CallReply { status, data };
        self.send_packet(env, Packet { dst: to, src, reqid, generation, body });
    }

    /// Answers a client's call with an error, after a short while.
    pub(super) fn fail_later(&mut self, env: &mut Env<'_>, packet: Packet) {
        let reply = Packet {
            dst: packet.src,
            src: self.own_endpoint(env),
            reqid: packet.reqid,
            generation: packet.generation,
            body: Body::CallReply { status: -1, data: Bytes::new() },
        };
        self.later(env, ERROR_DELAY, reply);
    }

    /// Sends a packet (to this node: looks at it again) `after` from now.
    pub(super) fn later(&mut self, env: &mut Env<'_>, after: Duration, packet: Packet) {
        if self.late.len() >= LATE_MAX {
            return env.send(packet);
        }
        let due = env.now.plus(after);
        let earliest = self.late.keys().next().is_none_or(|(first, _)| due < *first);
        let number = self.next_number();
        self.late.insert((due, number), packet);
        if earliest {
            env.set_timer(Timer::Late.token(), after);
        }
    }

    pub(super) fn send_late(&mut self, env: &mut Env<'_>) {
        while let Some(entry) = self.late.first_entry() {
            let due = entry.key().0;
            if due > env.now {
                env.set_timer(Timer::Late.token(), due.since(env.now));
                return;
            }
            env.send(entry.remove());
        }
    }

    /// A thaw: what was pending is asked again, in the new epoch (9.9). Replies to the old reqids are
    /// ignored from here on.
    pub(super) fn reissue_calls(&mut self, env: &mut Env<'_>, id: DbId) {
        let reqids: Vec<u32> =
            self.pending.iter().filter(|(_, p)| p.db == id).map(|(r, _)| *r).collect();
        let mut again = Vec::new();
        for reqid in reqids {
            let Some(pending) = self.pending.remove(&reqid) else { continue };
            let behind = self.take_fetch_queue(&pending);
            match pending.client {
                Some(packet) => {
                    env.stats().pending_calls = env.stats().pending_calls.saturating_sub(1);
                    again.push(packet);
                }
                None => self.vacuum_fetched(env, id, &pending.key, false),
            }
            again.extend(behind);
        }
        for packet in again {
            self.work(env, Work::Packet(packet), false);
        }
    }

    /// Fetch queues do not wait for ever (11.1).
    pub(super) fn expire_fetches(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let mut released = Vec::new();
        let mut any = false;
        for pending in self.pending.values_mut().filter(|p| p.collapse) {
            if now.since(pending.since) >= COLLAPSE_LIMIT {
                pending.collapse = false;
                if let Some(db) = self.dbs.get_mut(&pending.db) {
                    released.extend(db.fetches.remove(&pending.key).unwrap_or_default());
                }
            } else {
                any = true;
            }
        }
        if any {
            env.set_timer(Timer::Collapse.token(), COLLAPSE_LIMIT);
        }
        for packet in released {
            env.send(packet);
        }
    }

    /// A client has gone: its calls are forgotten. Ownership that is under way still arrives.
    pub(super) fn forget_calls(&mut self, env: &mut Env<'_>, client: ClientId) {
        let gone = Endpoint { node: env.pnn(), id: client };
        let of_client = |p: &PendingCall| p.client.as_ref().is_some_and(|c| c.src == gone);
        let reqids: Vec<u32> =
            self.pending.iter().filter(|(_, p)| of_client(p)).map(|(r, _)| *r).collect();
        for reqid in reqids {
            let Some(pending) = self.pending.remove(&reqid) else { continue };
            env.stats().pending_calls = env.stats().pending_calls.saturating_sub(1);
            for packet in self.take_fetch_queue(&pending) {
                env.send(packet);
            }
        }
        self.late.retain(|_, packet| packet.src != gone && packet.dst != gone);
    }

    /// A database is detached: its calls fail.
    pub(super) fn fail_calls(&mut self, env: &mut Env<'_>, id: DbId) {
        let reqids: Vec<u32> =
            self.pending.iter().filter(|(_, p)| p.db == id).map(|(r, _)| *r).collect();
        for reqid in reqids {
            self.fail_pending(env, reqid);
        }
    }
}
