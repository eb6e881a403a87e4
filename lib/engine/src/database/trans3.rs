// SPDX-License-Identifier: GPL-3.0-or-later
//! TRANS3_COMMIT (`spec/database.md 15.4`): a client's transaction goes to all active nodes with
//! UPDATE_RECORD.
//!
//! Status 0: every active node has it, durably. If any node refuses, dies or is silent, a recovery settles
//! everywhere which of both contents stays, and the client is told to look (status 2). Until then it gets no
//! answer: it decides by its local file, which must not change any more after the answer.

use super::links::participants;
use super::{Database, Request, Timer};
use crate::env::{Env, ReplyTo};
use crate::fanout::Fanout;
use crate::packet::{ClientId, Control, ControlReply, DbId, Packet, Pnn};
use crate::view::RecoveryMode;
use ctdb_wire::control::Opcode;
use std::time::Duration;

const ENDED: &str = "trans3 commit ended by recovery";

/// A commit of a local client.
pub(super) struct Commit {
    client: ClientId,
    reply: ReplyTo,
    fanout: Fanout,
    /// The epoch it began in: only the end of a later one ends it.
    generation: u32,
    /// Only a recovery ends it now.
    failed: bool,
}

impl Database {
    pub(super) fn trans3_commit(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
        id: DbId,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let client = control.client_id;
        let normal = env.view().recovery_mode == RecoveryMode::Normal;
        if !normal || client == 0 || packet.src.node != env.pnn() || !self.dbs.contains_key(&id) {
            return refused;
        }
        if self.commits.contains_key(&id) || self.commits.values().any(|c| c.client == client) {
            return refused;
        }
        // All nodes that take part, not only lmasters: then 0 means that no reader sees the old content (29.6).
        let nodes = participants(env.view());
        if nodes.is_empty() {
            return Some(ControlReply::status(0));
        }
        let limit = Duration::from_secs(env.tunables().control_timeout.into());
        let update = Control {
            opcode: Opcode::UpdateRecord as u32,
            data: control.data.clone(),
            ..Control::default()
        };
        let fanout = Fanout::start(env, &nodes, limit, &update);
        for (reqid, _) in fanout.waiting() {
            self.requests.insert(reqid, Request::Commit(id));
        }
        env.set_timer(Timer::Commit(id).token(), limit);
        let reply = ReplyTo::of(packet);
        let generation = env.view().generation;
        self.commits.insert(id, Commit { client, reply, fanout, generation, failed: false });
        self.check_commit(env, id);
        None
    }

    pub(super) fn commit_reply(&mut self, env: &mut Env<'_>, id: DbId, packet: &Packet) {
        let Some(commit) = self.commits.get_mut(&id) else { return };
        commit.fanout.reply(packet);
        self.check_commit(env, id);
    }

    pub(super) fn commits_link_down(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        for commit in self.commits.values_mut() {
            commit.fanout.link_down(pnn);
        }
        let ids: Vec<DbId> = self.commits.keys().copied().collect();
        for id in ids {
            self.check_commit(env, id);
        }
    }

    pub(super) fn commit_tick(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(commit) = self.commits.get_mut(&id) else { return };
        commit.fanout.tick(env.now);
        self.check_commit(env, id);
    }

    fn check_commit(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(commit) = self.commits.get_mut(&id) else { return };
        if commit.failed {
            return;
        }
        let failure =
            commit.fanout.first_failure().map(|(node, how)| format!("node {node}: {how:?}"));
        let normal = env.view().recovery_mode == RecoveryMode::Normal;
        if let Some(failure) = failure {
            commit.failed = true;
            log::error!("transaction commit failed on {failure}");
            if normal {
                self.force_recovery(env, "a transaction commit failed on some node");
            }
        } else if !normal {
            // The recovery that runs decides.
            commit.failed = true;
        } else if commit.fanout.is_done() {
            let reply = commit.reply;
            self.end_commit(env, id);
            env.reply(&reply, ControlReply::status(0));
        }
    }

    fn end_commit(&mut self, env: &mut Env<'_>, id: DbId) -> Option<Commit> {
        env.cancel_timer(Timer::Commit(id).token());
        self.requests.retain(|_, r| !matches!(r, Request::Commit(db) if *db == id));
        self.commits.remove(&id)
    }

    /// A recovery has ended: all active nodes have the content they had then. A commit that began after
    /// recovery mode had become NORMAL, while other nodes or this step were still behind, is not settled by it.
    pub(super) fn recovery_ended(&mut self, env: &mut Env<'_>) {
        let now = env.view().generation;
        let settled = self.commits.iter().filter(|(_, c)| c.generation != now);
        let ids: Vec<DbId> = settled.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(commit) = self.end_commit(env, id) {
                let reply =
                    ControlReply { status: 2, error: ENDED.to_owned(), ..Default::default() };
                env.reply(&commit.reply, reply);
            }
        }
    }

    /// A client died with its commit in flight: nodes may differ.
    pub(super) fn forget_commits(&mut self, env: &mut Env<'_>, client: ClientId) {
        let ids: Vec<DbId> =
            self.commits.iter().filter(|(_, c)| c.client == client).map(|(id, _)| *id).collect();
        let updates = self.persistent_updates.remove(&client).unwrap_or(0);
        if !ids.is_empty() || updates > 0 {
            self.force_recovery(env, "a client has gone while its transaction was committed");
        }
        for id in ids {
            self.end_commit(env, id);
        }
    }

    /// START_PERSISTENT_UPDATE and CANCEL_PERSISTENT_UPDATE (15.7): a count for each client.
    pub(super) fn persistent_update(
        &mut self,
        packet: &Packet,
        control: &Control,
        change: i32,
    ) -> Option<ControlReply> {
        if control.client_id == 0 || packet.dst.node != packet.src.node {
            return Some(ControlReply::status(-1));
        }
        let count = self.persistent_updates.get(&control.client_id).copied().unwrap_or(0);
        match count.saturating_add_signed(change) {
            0 => self.persistent_updates.remove(&control.client_id),
            count => self.persistent_updates.insert(control.client_id, count),
        };
        Some(ControlReply::status(0))
    }
}
