// SPDX-License-Identifier: GPL-3.0-or-later
//! Calls and ownership between daemons (`spec/database.md 9`).
//!
//! ```text
//! requester R --REQ_CALL--> dmaster D (or redirects: lmaster, dmaster, ...)
//!             D --REQ_DMASTER--> lmaster L --REPLY_DMASTER--> R
//! ```
//! Each node stores the record before it sends the packet that carries it on, in the same turn.

use super::chain_queue::hex;
use super::decide::{decide_call, decide_dmaster, CallView, Ownership, Verdict, Waiting};
use super::{Database, Work};
use crate::env::Env;
use crate::packet::{endpoint, Body, Dmaster, Endpoint, Packet, Pnn};
use crate::ports::Access;
use bytes::Bytes;
use ctdb_wire::flags::call as call_flag;
use ctdb_wire::types::LtdbHeader;

impl Database {
    /// REQ_CALL of a daemon (9.2); also calls of this node that came back to it.
    pub(super) fn node_call(&mut self, env: &mut Env<'_>, packet: Packet, granted: bool) {
        env.stats().node.req_call = env.stats().node.req_call.wrapping_add(1);
        let Body::Call(call) = &packet.body else { return };
        let (id, key) = (call.db, call.key.clone());
        let Some(db) = self.dbs.get_mut(&id) else {
            let text = format!("Unknown database in request. db_id==0x{id:08x}");
            return self.send_error(env, &packet, &text);
        };
        if !db.is_volatile() {
            return self.execute_in_place(env, packet);
        }
        let Some(packet) = self.pinned_down(env, id, &key, packet) else { return };
        let work = Work::Packet(packet);
        let Some(Work::Packet(packet)) = self.enter(env, id, &key, work, granted) else { return };
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if !db.is_current(packet.generation, env.view()) {
            return;
        }
        let Body::Call(call) = &packet.body else { return };
        let Some(place) = db.place(&key, env.view()) else { return };
        let want_readonly = db.readonly && call.flags & call_flag::WANT_READONLY != 0;
        let view = CallView { call, requester: packet.src.node, want_readonly };
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
                log::error!("call failed: {error}");
                return self.send_error(env, &packet, "ltdb fetch failed in ctdb_request_call");
            }
        }
        let Some(decision) = decision else { return };
        if decision.revoked {
            self.note_revoked(env, id, &key);
        }
        if let Verdict::Elsewhere { dmaster } = decision.verdict {
            let to = if place.lmaster == place.own { dmaster } else { place.lmaster };
            return self.redirect(env, packet, to);
        }
        self.follow_node_call(env, packet, key, place.lmaster, decision.verdict);
    }

    /// The same packet to another node (9.3). There is no hop limit.
    fn redirect(&mut self, env: &mut Env<'_>, mut packet: Packet, to: Pnn) {
        let Body::Call(call) = &mut packet.body else { return };
        call.hopcount = call.hopcount.saturating_add(1);
        if call.hopcount % 100 > 95 {
            log::warn!("High hopcount {} for key {}", call.hopcount, hex(&call.key));
        }
        packet.dst = Endpoint { node: to, id: endpoint::DATABASE };
        self.send_packet(env, packet);
    }

    fn follow_node_call(
        &mut self,
        env: &mut Env<'_>,
        packet: Packet,
        key: Bytes,
        lmaster: Pnn,
        verdict: Verdict,
    ) {
        let Body::Call(call) = &packet.body else { return };
        let id = call.db;
        match verdict {
            Verdict::Revoking => self.await_revoke(env, packet),
            Verdict::Revoke { header, data } => {
                self.start_revoke(env, id, key, header, data, Some(packet))
            }
            Verdict::Delegated { reply } => self.delegated(env, &packet, key, reply),
            Verdict::Given { sent, data, stored, effect } => {
                self.count_hop(env, id, call.hopcount);
                self.mark_sticky(env, id, &key, call.hopcount);
                let Some(db) = self.dbs.get_mut(&id) else { return };
                db.note_effect(&key, &stored, effect);
                let to = packet.src.node;
                self.send_record(env, packet.reqid, (id, key, lmaster, to), &sent, data);
            }
            Verdict::Executed { reply, header, effect } => {
                self.count_hop(env, id, call.hopcount);
                if let Some(db) = self.dbs.get_mut(&id) {
                    db.note_effect(&key, &header, effect);
                }
                self.complete(env, packet.reqid, 0, reply);
            }
            Verdict::Failed(error) => {
                // Nothing was changed: the record stays here.
                log::error!("call failed: {error}");
                self.send_error(env, &packet, "ltdb fetch failed in ctdb_request_call");
            }
            Verdict::Elsewhere { .. } => {}
        }
    }

    /// REQ_DMASTER to the lmaster, or from the lmaster REPLY_DMASTER to the new dmaster.
    fn send_record(
        &mut self,
        env: &mut Env<'_>,
        reqid: u32,
        (db, key, lmaster, to): (u32, Bytes, Pnn, Pnn),
        header: &LtdbHeader,
        data: Bytes,
    ) {
        let src = self.own_endpoint(env);
        let reply = lmaster == src.node;
        let generation = self.dbs.get(&db).map_or(0, |db| db.generation);
        let node = if reply { to } else { lmaster };
        let packet = Packet {
            dst: Endpoint { node, id: endpoint::DATABASE },
            src,
            reqid,
            generation,
            body: Body::Dmaster(Dmaster {
                reply,
                db,
                rsn: header.rsn,
                dmaster: to,
                record_flags: header.flags,
                key,
                data,
            }),
        };
        self.send_packet(env, packet);
    }

    /// REQ_DMASTER (9.5) and REPLY_DMASTER (9.6).
    pub(super) fn dmaster(&mut self, env: &mut Env<'_>, packet: Packet, granted: bool) {
        let Body::Dmaster(dmaster) = &packet.body else { return };
        let (id, key, is_reply) = (dmaster.db, dmaster.key.clone(), dmaster.reply);
        let node = &mut env.stats().node;
        let count = if is_reply { &mut node.reply_dmaster } else { &mut node.req_dmaster };
        *count = count.wrapping_add(1);
        if !self.dbs.contains_key(&id) {
            log::error!("ownership packet for unknown database 0x{id:08x}");
            if !is_reply {
                let text = format!("Unknown database in request. db_id==0x{id:08x}");
                self.send_error(env, &packet, &text);
            }
            return;
        }
        let work = Work::Packet(packet);
        let Some(Work::Packet(packet)) = self.enter(env, id, &key, work, granted) else { return };
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if !db.is_current(packet.generation, env.view()) || !db.is_volatile() {
            return;
        }
        let Body::Dmaster(dmaster) = &packet.body else { return };
        let Some(place) = db.place(&key, env.view()) else { return };
        if !is_reply && place.lmaster != place.own {
            return self
                .force_recovery(env, "an ownership packet came to a node that is not lmaster");
        }
        let from = packet.src.node;
        let waiting = self
            .pending
            .get(&packet.reqid)
            .filter(|p| p.db == id && p.key == key && dmaster.dmaster_is(place.own))
            .map(|p| Waiting { callid: p.callid, vacuum: p.client.is_none() });
        let mut outcome = None;
        let access = env.store().with_record(id, &key, &mut |record| {
            outcome = Some(decide_dmaster(record, &place, dmaster, from, waiting));
        });
        match (access, outcome) {
            (Access::Busy, _) => self.wait_for_chain(env, id, &key, Work::Packet(packet), granted),
            (Access::Failed(error), _) => {
                // The sender has stored the record with the new dmaster: a recovery finds it there.
                log::error!("cannot take a record over: {error}");
                self.force_recovery(env, "a record could not be taken over");
            }
            (Access::Done, Some(outcome)) => {
                self.follow_dmaster(env, packet, key, waiting.is_some(), outcome)
            }
            (Access::Done, None) => {}
        }
    }

    fn follow_dmaster(
        &mut self,
        env: &mut Env<'_>,
        packet: Packet,
        key: Bytes,
        waiting: bool,
        outcome: Ownership,
    ) {
        let Body::Dmaster(dmaster) = packet.body else { return };
        let id = dmaster.db;
        let Some(db) = self.dbs.get_mut(&id) else { return };
        match outcome {
            Ownership::Passed { stored, effect } => {
                db.note_effect(&key, &stored, effect);
                let sent = LtdbHeader {
                    rsn: dmaster.rsn,
                    dmaster: dmaster.dmaster,
                    reserved1: 0,
                    flags: dmaster.record_flags,
                };
                let own = env.pnn();
                let route = (id, key, own, dmaster.dmaster);
                self.send_record(env, packet.reqid, route, &sent, dmaster.data);
            }
            Ownership::Owned { reply, stored, effect } => {
                db.note_effect(&key, &stored, effect);
                self.pin_down(env, id, &key);
                if waiting {
                    self.count_migration(env, id, &key);
                    self.complete(env, packet.reqid, 0, reply);
                }
            }
            Ownership::NotFrom { dmaster } => {
                log::error!(
                    "node {} gave away a record of {} that belongs to node {dmaster} (key {})",
                    packet.src.node,
                    db.name,
                    hex(&key)
                );
                self.force_recovery(env, "a record came from a node that is not its dmaster");
            }
            Ownership::Failed(error) => {
                log::error!("cannot take a record over: {error}");
                self.force_recovery(env, "a record could not be taken over");
            }
        }
    }

    /// REPLY_ERROR to the originator.
    pub(super) fn send_error(&mut self, env: &mut Env<'_>, to: &Packet, message: &str) {
        let packet = Packet {
            dst: to.src,
            src: self.own_endpoint(env),
            reqid: to.reqid,
            generation: to.generation,
            body: Body::Error { status: -1, message: message.to_owned() },
        };
        self.send_packet(env, packet);
    }
}

impl Dmaster {
    /// Whether the record comes to `own`.
    fn dmaster_is(&self, own: Pnn) -> bool {
        self.reply || self.dmaster == own
    }
}
