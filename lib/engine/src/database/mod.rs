// SPDX-License-Identifier: GPL-3.0-or-later
//! The database service: attached databases, record migration, freeze, recovery work, transactions, traverse
//! (`spec/database.md`).
//!
//! - `attach`: attach, detach, properties; `query`: what may be asked; `db`: one database
//! - `calls`: calls of local clients (8); `migrate`: calls and ownership between daemons (9)
//! - `record`: header, store and fetch rule; `decide`: what happens to a record under its chain lock
//! - `links`: record packets to nodes without a link
//! - `chain_queue`: waiting for chain locks and thaws (10, 11); `sticky` (12); `delegation` (13)
//! - `update`: UPDATE_RECORD, PUSH_RECORD (14); `trans3`: TRANS3_COMMIT (15); `seqnum` (16)
//! - `vacuum`: deletion (17); `traverse` (18)
//! - `freeze`: freeze, thaw, generations (19, 21); `pull`, `push`: recovery's copies (20)
//!
//! One turn handles one event. A store and the packets that follow from it are in the same turn, the store
//! first.

mod attach;
mod calls;
mod chain_queue;
mod db;
mod decide;
mod delegation;
mod freeze;
mod links;
mod migrate;
mod pull;
mod push;
mod query;
mod record;
mod seqnum;
mod statistics;
mod sticky;
mod timer;
mod trans3;
mod traverse;
mod update;
mod vacuum;

#[cfg(test)]
mod tests;

pub use db::{Db, FreezeState};

use crate::env::{Env, ReplyTo};
use crate::packet::{
    endpoint, Body, ClientId, Control, ControlReply, DbId, Endpoint, Local, Packet,
};
use crate::ports::WriteOutcome;
use crate::service::{Command, Event, News, Service};
use crate::time::Time;
use bytes::Bytes;
use ctdb_wire::control::{ControlRequest, Opcode};
use db::Work;
use std::collections::BTreeMap;
use timer::Timer;

/// The database service.
#[derive(Default)]
pub struct Database {
    dbs: BTreeMap<DbId, Db>,
    /// In order of attaching.
    order: Vec<DbId>,
    /// Calls sent to other nodes, by reqid.
    pending: BTreeMap<u32, calls::PendingCall>,
    /// Packets that are looked at, or sent, later.
    late: BTreeMap<(Time, u64), Packet>,
    /// What an answered control of ours belongs to, by reqid.
    requests: BTreeMap<u32, Request>,
    /// Write transactions that run, by ticket.
    writes: BTreeMap<u64, Write>,
    deferred: Vec<attach::Deferred>,
    /// Every database is frozen, and new ones are, until the node is active again.
    frozen_all: bool,
    freeze_all_waiters: Vec<ReplyTo>,
    /// Databases with an open push, by the srvid of its messages.
    pushes: BTreeMap<u64, Vec<DbId>>,
    pulls: BTreeMap<u32, pull::Pull>,
    commits: BTreeMap<DbId, trans3::Commit>,
    /// START_PERSISTENT_UPDATE counters.
    persistent_updates: BTreeMap<ClientId, u32>,
    traverses: BTreeMap<u32, traverse::Traverse>,
    walks: BTreeMap<u32, traverse::Walk>,
    vacuum: vacuum::Vacuum,
    watching_locks: bool,
    links: links::Links,
    counter: u64,
}

/// Owner of a control's answer.
enum Request {
    Commit(DbId),
    Revoke { db: DbId, key: Bytes },
    Vacuum,
}

/// A write transaction that runs.
struct Write {
    db: DbId,
    since: Time,
    then: AfterWrite,
}

enum AfterWrite {
    /// UPDATE_RECORD. No reply is wanted any more once it has timed out.
    Update(Option<ReplyTo>),
    /// DB_TRANSACTION_COMMIT.
    Commit { tid: u32, reply: ReplyTo },
}

/// The controls of this service.
pub const CONTROLS: &[u32] = &[
    4, 9, 18, 20, 21, 22, 25, 26, 27, 33, 61, 63, 67, 74, 81, 82, 97, 119, 120, 121, 122, 128, 129,
    131, 132, 133, 135, 139, 141, 142, 143, 144, 145, 146, 147, 148, 149, 150, 154, 155, 162,
];

impl Service for Database {
    fn name(&self) -> &'static str {
        "database"
    }

    fn endpoint(&self) -> u32 {
        endpoint::DATABASE
    }

    fn matches(&self, command: Command) -> bool {
        match command {
            Command::Record => true,
            Command::Control(opcode) => CONTROLS.contains(&opcode),
            Command::Message(srvid) => self.pushes.contains_key(&srvid),
            Command::Keepalive | Command::Tunnel => false,
        }
    }

    fn init(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        self.attach_persistent(env)
    }

    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::Packet(packet) => self.packet(env, packet),
            Event::Timer(token) => {
                if let Some(timer) = Timer::of(token) {
                    self.timer(env, timer);
                }
            }
            Event::News(News::ChainGranted { db, chain, ok }) => {
                self.chain_granted(env, db, chain, ok)
            }
            Event::News(News::Frozen { db, ok }) => self.frozen(env, db, ok),
            Event::News(News::WriteDone { ticket, outcome }) => {
                self.write_done(env, ticket, outcome)
            }
            Event::LinkUp(pnn) => self.link_came_up(env, pnn),
            Event::LinkDown(pnn) => {
                self.link_broke(env, pnn);
                self.commits_link_down(env, pnn);
                self.revokes_link_down(env, pnn);
                self.traverses_link_down(env, pnn);
                self.vacuum_link_down(env, pnn);
            }
            Event::ViewChanged { old } => {
                self.links_view_changed(env, &old);
                self.attach_view_changed(env, &old);
            }
            _ => {}
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Database {
    /// The attached databases.
    pub fn databases(&self) -> impl Iterator<Item = &Db> {
        self.dbs.values()
    }

    /// The attached database of this id.
    pub fn database(&self, id: DbId) -> Option<&Db> {
        self.dbs.get(&id)
    }

    /// Calls sent to other nodes and not yet answered.
    pub fn pending_calls(&self) -> usize {
        self.pending.len()
    }

    /// Record packets that wait for links to nodes that take part.
    pub fn parked_packets(&self) -> usize {
        self.links.parked()
    }

    /// Transaction commits of local clients that are under way.
    pub fn pending_commits(&self) -> usize {
        self.commits.len()
    }

    /// Traverses of local clients that are under way.
    pub fn traverses(&self) -> usize {
        self.traverses.len()
    }

    fn packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        match &packet.body {
            Body::Call(_) | Body::Dmaster(_) => self.work(env, Work::Packet(packet), false),
            Body::CallReply { .. } => self.call_reply(env, packet),
            Body::Error { status, message } => {
                log::debug!("call failed with status {status}: {message}");
                env.stats().node.reply_error += 1;
                self.fail_pending(env, packet.reqid);
            }
            Body::Control(_) => self.control(env, packet),
            Body::ControlReply(_) => self.control_reply(env, &packet),
            Body::Message { srvid, .. } => self.push_message(env, *srvid, &packet),
            Body::Local(_) => self.local(env, packet),
            Body::Keepalive { .. } | Body::Tunnel { .. } => {}
        }
    }

    /// Work on a record, new or after a wait. `granted`: its chain is held.
    fn work(&mut self, env: &mut Env<'_>, work: Work, granted: bool) {
        match work {
            Work::Packet(packet) => match &packet.body {
                Body::Call(_) if self.is_client(env, &packet) => {
                    self.client_call(env, packet, granted)
                }
                Body::Call(_) => self.node_call(env, packet, granted),
                _ => self.dmaster(env, packet, granted),
            },
            Work::Copy { db, key, reqid, generation, data } => {
                self.read_only_copy(env, (db, key), reqid, generation, data, granted)
            }
            Work::Update { .. } => self.update_one(env, work, granted),
            Work::RevokeDone { db, key, ok } => self.revoke_done(env, db, key, ok, granted),
        }
    }

    fn timer(&mut self, env: &mut Env<'_>, timer: Timer) {
        match timer {
            Timer::Late => self.send_late(env),
            Timer::ChainRetry => self.retry_chains(env),
            Timer::LockWatch => self.watch_locks(env),
            Timer::Collapse => self.expire_fetches(env),
            Timer::Sticky => self.expire_sticky(env),
            Timer::Deferred => self.retry_deferred(env),
            Timer::HotKeys => self.purge_hot_keys(env),
            Timer::Pull(id) => self.continue_pull(env, id),
            Timer::Walk(id) => self.continue_walk(env, id),
            Timer::Traverse(id) => self.traverse_timed_out(env, id),
            Timer::Update(db) => self.expire_updates(env, db),
            Timer::Commit(db) => self.commit_tick(env, db),
            Timer::Revokes => self.revokes_tick(env),
            Timer::Seqnum(db) => self.broadcast_seqnum(env, db),
            Timer::Vacuum => self.vacuum_tick(env),
            Timer::VacuumWork => self.vacuum_work(env),
        }
    }

    fn local(&mut self, env: &mut Env<'_>, packet: Packet) {
        let reply = ReplyTo::of(&packet);
        let Body::Local(command) = packet.body else { return };
        match command {
            Local::BecomeInactive => self.become_inactive(env, reply),
            Local::LeaveRecovery { generation } => self.leave_recovery(env, generation, reply),
            Local::RecoveryEnded => self.recovery_ended(env),
            Local::ClientGone { client } => self.client_gone(env, client),
            _ => {}
        }
    }

    fn client_gone(&mut self, env: &mut Env<'_>, client: ClientId) {
        let own = env.pnn();
        for db in self.dbs.values_mut() {
            db.forget_client(own, client);
        }
        self.forget_calls(env, client);
        self.forget_deferred(client);
        self.forget_commits(env, client);
        self.forget_traverses(env, client);
    }

    fn control_reply(&mut self, env: &mut Env<'_>, packet: &Packet) {
        match self.requests.remove(&packet.reqid) {
            Some(Request::Commit(db)) => self.commit_reply(env, db, packet),
            Some(Request::Revoke { db, key }) => self.revoke_reply(env, db, &key, packet),
            Some(Request::Vacuum) => self.vacuum_reply(env, packet),
            None => {}
        }
    }

    fn control(&mut self, env: &mut Env<'_>, packet: Packet) {
        let to = ReplyTo::of(&packet);
        let Body::Control(control) = &packet.body else { return };
        let control = control.clone();
        let answer = match control.opcode {
            81 => self.persistent_update(&packet, &control, 1),
            82 => self.persistent_update(&packet, &control, -1),
            opcode => match Opcode::from_u32(opcode) {
                Some(opcode) => match ControlRequest::decode(opcode, &control.data) {
                    Ok(request) => self.request(env, &packet, &control, to, request),
                    Err(error) => {
                        log::warn!("malformed control from node {}: {error}", packet.src.node);
                        Some(ControlReply::status(-1))
                    }
                },
                None => Some(ControlReply::status(-1)),
            },
        };
        if let Some(answer) = answer {
            env.reply(&to, answer);
        }
    }

    /// Executes a control. None: the answer comes later.
    fn request(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
        to: ReplyTo,
        request: ControlRequest<'_>,
    ) -> Option<ControlReply> {
        use ControlRequest as R;
        let status = |ok: bool| Some(ControlReply::status(if ok { 0 } else { -1 }));
        match request {
            R::GetDbPath(db) => self.db_path(env, db),
            R::GetDbMap => self.db_map(),
            R::GetDbName(db) => self.db_name(db),
            R::DbOpenFlags(db) => self.open_flags(env, db),
            R::DbGetHealth(db) => self.db_health(db),
            R::DbSetHealthy(db) => self.set_healthy(env, db),
            R::GetDbStatistics(db) => self.db_statistics(env, db),
            R::GetDbSeqnum(db) => self.db_seqnum(env, db.db_id),
            R::DbAttach(_) | R::DbAttachPersistent(_) | R::DbAttachReplicated(_) => {
                self.attach_request(env, packet, control)
            }
            R::DbDetach(db) => status(self.detach_request(env, packet, control, db)),
            R::SetDbReadonly(db) => status(self.set_readonly(db)),
            R::SetDbSticky(db) => status(self.set_sticky(db)),
            R::EnableSeqnum(db) => status(self.enable_seqnum(env, db)),
            R::UpdateSeqnum(db) => status(self.update_seqnum(env, packet, db)),
            R::UpdateRecord(_) => self.update_request(env, packet, control),
            R::PushRecord(_) => self.push_record(env, to, control),
            R::Trans3Commit(records) => self.trans3_commit(env, packet, control, records.db_id()),
            R::ScheduleForDeletion(key) => status(self.schedule_for_deletion(&key)),
            R::TryDeleteRecords(records) => self.try_delete(env, packet, &records),
            R::VacuumFetch(records) => status(self.vacuum_fetch(env, &records)),
            R::DbVacuum(request) => self.vacuum_request(env, to, &request),
            R::TraverseStart(t) => {
                self.traverse_start(env, packet, control, (t.db_id, t.reqid, t.srvid), false)
            }
            R::TraverseStartExt(t) => self.traverse_start(
                env,
                packet,
                control,
                (t.db_id, t.reqid, t.srvid),
                t.withemptyrecords,
            ),
            R::TraverseAll(t) => status(self.traverse_all(env, packet, &t, false)),
            R::TraverseAllExt(t) => status(self.traverse_all_ext(env, packet, &t)),
            R::TraverseData(record) => status(self.traverse_data(env, packet, &record)),
            R::TraverseKill(t) => status(self.traverse_kill(&t)),
            R::Freeze => self.freeze_all(env, to),
            R::DbFreeze(db) => self.freeze_request(env, db, to),
            R::DbThaw(db) => self.thaw_request(env, db, to),
            R::DbTransactionStart(t) => status(self.transaction_start(&t)),
            R::DbTransactionCommit(t) => self.transaction_commit(env, &t, to),
            R::DbTransactionCancel(db) => status(self.transaction_cancel(db)),
            R::WipeDatabase(t) => status(self.wipe(&t)),
            R::DbPull(p) => self.pull_request(env, packet, &p, to),
            R::DbPushStart(p) => status(self.push_start(&p)),
            R::DbPushConfirm(db) => self.push_confirm(db),
            _ => Some(ControlReply::status(-1)),
        }
    }

    fn write_done(&mut self, env: &mut Env<'_>, ticket: u64, outcome: WriteOutcome) {
        let Some(write) = self.writes.remove(&ticket) else { return };
        if let Some(db) = self.dbs.get_mut(&write.db) {
            if db.writing == Some(ticket) {
                db.writing = None;
            }
        }
        match write.then {
            AfterWrite::Update(reply) => {
                self.update_done(env, write.db, write.since, reply, outcome)
            }
            AfterWrite::Commit { tid, reply } => {
                self.commit_done(env, write.db, tid, reply, outcome)
            }
        }
    }

    fn own_endpoint(&self, env: &Env<'_>) -> Endpoint {
        Endpoint { node: env.pnn(), id: endpoint::DATABASE }
    }

    fn is_client(&self, env: &Env<'_>, packet: &Packet) -> bool {
        packet.src.node == env.pnn() && packet.src.id >= endpoint::FIRST_CLIENT
    }

    fn force_recovery(&self, env: &mut Env<'_>, reason: &str) {
        log::error!("{reason}: forcing a recovery");
        env.local(endpoint::CLUSTER, Local::ForceRecovery { reason: reason.to_owned() });
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// An id for a job: 32 bits, not in use for a long time.
    fn next_job(&mut self) -> u32 {
        (self.next_number() & 0x7FFF_FFFF) as u32
    }
}
