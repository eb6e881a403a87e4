// SPDX-License-Identifier: GPL-3.0-or-later
//! Traverse (`spec/database.md 18`): a client sees the records of all nodes.
//!
//! The node of the client asks the nodes that hold records; each walks its file in slices and sends record
//! by record; the first node passes them on. The traverse ends when every node that was asked has sent its
//! end mark or has gone.

use super::pull::BACKLOG_MAX;
use super::record::{split, HEADER};
use super::{Database, FreezeState, Timer};
use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, ClientId, Control, ControlReply, DbId, Local, Packet, Pnn};
use crate::ports::ScanCursor;
use crate::time::Time;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{RecData, TraverseAll, TraverseAllExt, TraverseStart};
use ctdb_wire::Encode;
use std::collections::BTreeSet;
use std::time::Duration;

/// Traverses of local clients that may run at a time.
pub const TRAVERSES_MAX: usize = 1000;
/// Walks for traverses, of any node, that may run at a time.
pub const WALKS_MAX: usize = 10_000;
/// Packets that may wait for the client before a walk pauses.
const CLIENT_BACKLOG_MAX: usize = 10_000;

const SLICE: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// A traverse of a local client.
pub(super) struct Traverse {
    db: DbId,
    client: ClientId,
    client_reqid: u32,
    srvid: u64,
    /// Nodes whose end mark is missing.
    awaiting: BTreeSet<Pnn>,
}

/// A walk through the local file for a traverse of some node.
pub(super) struct Walk {
    db: DbId,
    to: Pnn,
    reqid: u32,
    client_reqid: u32,
    srvid: u64,
    with_empty: bool,
    cursor: ScanCursor,
    /// Nobody waits any longer.
    deadline: Time,
}

impl Walk {
    fn selects(&self, own: Pnn, volatile: bool, value: &[u8]) -> bool {
        if !volatile {
            return true;
        }
        let owned = split(value).is_some_and(|(header, _)| header.dmaster == own);
        owned && (self.with_empty || value.len() > HEADER)
    }
}

fn send_record(env: &mut Env<'_>, to: Pnn, record: &RecData<'_>) {
    let control = Control {
        opcode: Opcode::TraverseData as u32,
        data: record.to_vec().into(),
        ..Control::default()
    };
    env.notify(to, control);
}

impl Database {
    /// TRAVERSE_START and TRAVERSE_START_EXT.
    pub(super) fn traverse_start(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
        (db_id, client_reqid, srvid): (DbId, u32, u64),
        with_empty: bool,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let own = env.pnn();
        if control.client_id == 0 || packet.src.node != own || !self.may_traverse(env, db_id) {
            return refused;
        }
        let Some(db) = self.dbs.get(&db_id) else { return refused };
        let nodes = if db.is_volatile() {
            env.view().active()
        } else if env.view().vnnmap.contains(&own) {
            vec![own]
        } else {
            env.view().vnnmap.first().copied().into_iter().collect()
        };
        if nodes.is_empty() || self.traverses.len() >= TRAVERSES_MAX {
            return refused;
        }
        let limit = Duration::from_secs(env.tunables().traverse_timeout.into());
        let reqid = self.next_job();
        let traverse = Traverse {
            db: db_id,
            client: control.client_id,
            client_reqid,
            srvid,
            awaiting: nodes.iter().copied().collect(),
        };
        self.traverses.insert(reqid, traverse);
        env.set_timer(Timer::Traverse(reqid).token(), limit);
        // The reply precedes the first record.
        env.reply(&ReplyTo::of(packet), ControlReply::status(0));
        let (opcode, data) = if with_empty {
            let all = TraverseAllExt {
                db_id,
                reqid,
                pnn: own,
                client_reqid,
                srvid,
                withemptyrecords: true,
            };
            (Opcode::TraverseAllExt, all.to_vec())
        } else {
            let all = TraverseAll { db_id, reqid, pnn: own, client_reqid, srvid };
            (Opcode::TraverseAll, all.to_vec())
        };
        let ask = Control { opcode: opcode as u32, data: data.into(), ..Control::default() };
        for node in nodes {
            env.notify(node, ask.clone());
        }
        None
    }

    fn may_traverse(&self, env: &Env<'_>, id: DbId) -> bool {
        let Some(db) = self.dbs.get(&id) else { return false };
        match &db.unhealthy {
            Some(reason) if env.tunables().allow_unhealthy_db_read == 0 => {
                log::error!("refusing to traverse unhealthy database {}: {reason}", db.name);
                false
            }
            Some(reason) => {
                log::warn!("traverse of unhealthy database {}: {reason}", db.name);
                true
            }
            None => true,
        }
    }

    /// TRAVERSE_ALL_EXT.
    pub(super) fn traverse_all_ext(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        t: &TraverseAllExt,
    ) -> bool {
        let all = TraverseAll {
            db_id: t.db_id,
            reqid: t.reqid,
            pnn: t.pnn,
            client_reqid: t.client_reqid,
            srvid: t.srvid,
        };
        self.traverse_all(env, packet, &all, t.withemptyrecords)
    }

    /// TRAVERSE_ALL: walk the local file and send what belongs to the traverse.
    pub(super) fn traverse_all(
        &mut self,
        env: &mut Env<'_>,
        _packet: &Packet,
        t: &TraverseAll,
        with_empty: bool,
    ) -> bool {
        if !self.may_traverse(env, t.db_id) || self.walks.len() >= WALKS_MAX {
            return false;
        }
        let limit = Duration::from_secs(env.tunables().traverse_timeout.into());
        let walk = Walk {
            db: t.db_id,
            to: t.pnn,
            reqid: t.reqid,
            client_reqid: t.client_reqid,
            srvid: t.srvid,
            with_empty,
            cursor: ScanCursor::default(),
            // The other side ends it earlier, unless it is lost.
            deadline: env.now.plus(limit * 2),
        };
        let id = self.next_job();
        self.walks.insert(id, walk);
        env.set_timer(Timer::Walk(id).token(), Duration::ZERO);
        true
    }

    pub(super) fn continue_walk(&mut self, env: &mut Env<'_>, id: u32) {
        let own = env.pnn();
        let Some(walk) = self.walks.get_mut(&id) else { return };
        let Some(db) = self.dbs.get(&walk.db) else {
            self.walks.remove(&id);
            return;
        };
        if env.now >= walk.deadline {
            self.walks.remove(&id);
            return;
        }
        let client = self.traverses.get(&walk.reqid).filter(|_| walk.to == own).map(|t| t.client);
        let slow = client.is_some_and(|c| env.ports.client_backlog(c) > CLIENT_BACKLOG_MAX);
        if db.freeze != FreezeState::None || slow || env.ports.link_backlog(walk.to) > BACKLOG_MAX {
            return env.set_timer(Timer::Walk(id).token(), PAUSE);
        }
        let volatile = db.is_volatile();
        let mut cursor = std::mem::take(&mut walk.cursor);
        let before = cursor.clone();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let walk = &*walk;
        let result = env.store().scan(walk.db, &mut cursor, SLICE, &mut |key, data| {
            if walk.selects(own, volatile, data) {
                records.push(RecData { reqid: walk.reqid, key, data }.to_vec());
            }
        });
        let (to, reqid) = (walk.to, walk.reqid);
        for record in records {
            let control = Control {
                opcode: Opcode::TraverseData as u32,
                data: record.into(),
                ..Control::default()
            };
            env.notify(to, control);
        }
        if let Err(error) = &result {
            log::error!("traverse failed: {error}");
        }
        if result.is_err() || cursor.done {
            self.walks.remove(&id);
            send_record(env, to, &RecData { reqid, key: &[], data: &[] });
        } else {
            // No progress: a client holds the next chain.
            let wait = if cursor == before { PAUSE } else { Duration::ZERO };
            if let Some(walk) = self.walks.get_mut(&id) {
                walk.cursor = cursor;
            }
            env.set_timer(Timer::Walk(id).token(), wait);
        }
    }

    /// TRAVERSE_DATA: a record of another node, or its end mark.
    pub(super) fn traverse_data(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        record: &RecData<'_>,
    ) -> bool {
        let id = record.reqid;
        let Some(traverse) = self.traverses.get_mut(&id) else { return false };
        let node = packet.src.node;
        if !traverse.awaiting.contains(&node) {
            return false;
        }
        if record.is_end_of_traverse() {
            self.traverse_ended_on(env, id, node);
        } else {
            let record = RecData { reqid: traverse.client_reqid, ..*record };
            let deliver = Local::Deliver { srvid: traverse.srvid, data: record.to_vec().into() };
            env.local(endpoint::PROXY, deliver);
        }
        true
    }

    /// Nothing more comes from this node.
    fn traverse_ended_on(&mut self, env: &mut Env<'_>, id: u32, node: Pnn) {
        let Some(traverse) = self.traverses.get_mut(&id) else { return };
        traverse.awaiting.remove(&node);
        if traverse.awaiting.is_empty() {
            self.end_traverse(env, id, true);
        }
    }

    fn end_traverse(&mut self, env: &mut Env<'_>, id: u32, mark: bool) -> Option<Traverse> {
        env.cancel_timer(Timer::Traverse(id).token());
        let traverse = self.traverses.remove(&id)?;
        if mark {
            let end = RecData { reqid: traverse.client_reqid, key: &[], data: &[] };
            let deliver = Local::Deliver { srvid: traverse.srvid, data: end.to_vec().into() };
            env.local(endpoint::PROXY, deliver);
        }
        Some(traverse)
    }

    /// Ends a traverse before all nodes have: they are told to stop.
    fn abort_traverse(&mut self, env: &mut Env<'_>, id: u32, mark: bool) {
        let Some(traverse) = self.end_traverse(env, id, mark) else { return };
        let kill = TraverseStart {
            db_id: traverse.db,
            reqid: traverse.client_reqid,
            srvid: traverse.srvid,
        };
        let control = Control {
            opcode: Opcode::TraverseKill as u32,
            data: kill.to_vec().into(),
            ..Control::default()
        };
        env.notify(endpoint::BROADCAST_CONNECTED, control);
    }

    pub(super) fn traverse_timed_out(&mut self, env: &mut Env<'_>, id: u32) {
        env.stats().timeouts_traverse = env.stats().timeouts_traverse.wrapping_add(1);
        self.abort_traverse(env, id, true);
    }

    /// TRAVERSE_KILL: the first walk of this traverse ends.
    pub(super) fn traverse_kill(&mut self, t: &TraverseStart) -> bool {
        let walk = self
            .walks
            .iter()
            .find(|(_, w)| w.db == t.db_id && w.client_reqid == t.reqid && w.srvid == t.srvid);
        if let Some(id) = walk.map(|(id, _)| *id) {
            self.walks.remove(&id);
        }
        true
    }

    pub(super) fn forget_traverses(&mut self, env: &mut Env<'_>, client: ClientId) {
        let ids: Vec<u32> =
            self.traverses.iter().filter(|(_, t)| t.client == client).map(|(id, _)| *id).collect();
        for id in ids {
            self.abort_traverse(env, id, false);
        }
    }

    pub(super) fn traverses_link_down(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        self.walks.retain(|_, walk| walk.to != pnn);
        let ids: Vec<u32> = self.traverses.keys().copied().collect();
        for id in ids {
            self.traverse_ended_on(env, id, pnn);
        }
    }

    /// The database goes: traverses of it are over.
    pub(super) fn detach_traverses(&mut self, env: &mut Env<'_>, db: DbId) {
        let walks: Vec<u32> =
            self.walks.iter().filter(|(_, w)| w.db == db).map(|(id, _)| *id).collect();
        for id in walks {
            if let Some(walk) = self.walks.remove(&id) {
                send_record(env, walk.to, &RecData { reqid: walk.reqid, key: &[], data: &[] });
            }
        }
        let ids: Vec<u32> =
            self.traverses.iter().filter(|(_, t)| t.db == db).map(|(id, _)| *id).collect();
        for id in ids {
            self.abort_traverse(env, id, true);
        }
    }
}
