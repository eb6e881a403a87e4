// SPDX-License-Identifier: GPL-3.0-or-later
//! The own recovery mode, generation and VNN map (`spec/cluster.md 18`), and the recovery events.
//!
//! Leaving recovery takes three answers: the database service's, that every database has the generation of the
//! map; then the cluster lock's, that somebody holds it; only then the mode becomes NORMAL.

use super::asking::bare;
use super::Cluster;
use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, ControlReply, Local, Pnn};
use crate::ports::{LockEvent, LockRequest};
use crate::time::Time;
use crate::view::{RecoveryMode, INVALID_GENERATION};
use ctdb_wire::types::VnnMap;
use ctdb_wire::{Decode, Opcode, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests to leave recovery that wait for the same answer.
const WAITERS_MAX: usize = 64;

const LOCK_NOT_HELD: &str = "Took recovery lock from daemon during recovery - probably a cluster \
    filesystem lock coherence problem";

/// SET_RECMODE NORMAL in progress.
#[derive(Debug)]
struct Leaving {
    stage: Stage,
    waiters: Vec<ReplyTo>,
}

#[derive(Debug, PartialEq)]
enum Stage {
    /// The database service was asked, with this reqid.
    Databases(u32),
    /// The cluster lock is being tested.
    Lock,
}

/// State of the own recovery mode.
#[derive(Debug, Default)]
pub(super) struct Recmode {
    leaving: Option<Leaving>,
    /// A lock test is on its way, since when.
    testing: Option<Time>,
    /// START_RECOVERY waiting for its sender's lock configuration, by reqid.
    comparing: BTreeMap<u32, Comparing>,
}

impl Recmode {
    /// Whether a lock test is on its way.
    #[cfg(test)]
    pub fn is_testing_lock(&self) -> bool {
        self.testing.is_some()
    }
}

#[derive(Debug)]
struct Comparing {
    reply_to: ReplyTo,
    deadline: Time,
}

impl Cluster {
    /// Sets the own mode ACTIVE, so that the leader runs a recovery.
    pub(super) fn activate_recovery_mode(&mut self, env: &mut Env<'_>, why: &str) {
        if self.view.recovery_mode == RecoveryMode::Active {
            // It may have been about to become normal.
            if self.recmode.leaving.is_some() {
                log::error!("{why}");
                self.stay_in_recovery(env, why);
            }
            return;
        }
        if !why.is_empty() {
            log::error!("{why}");
        }
        log::error!("Recovery mode set to ACTIVE");
        self.view.recovery_mode = RecoveryMode::Active;
        self.publish(env);
        self.hint_leader(env);
    }

    /// SET_RECMODE.
    pub(super) fn set_recmode(&mut self, env: &mut Env<'_>, to: ReplyTo, mode: u32) {
        match (mode, self.view.recovery_mode) {
            (ctdb_wire::flags::recmode::NORMAL, RecoveryMode::Active) => {
                self.leave_recovery(env, to);
            }
            (ctdb_wire::flags::recmode::NORMAL, RecoveryMode::Normal) => {
                env.reply(&to, ControlReply::status(0));
            }
            (ctdb_wire::flags::recmode::ACTIVE, RecoveryMode::Normal) => {
                self.activate_recovery_mode(env, "");
                env.reply(&to, ControlReply::status(0));
            }
            (ctdb_wire::flags::recmode::ACTIVE, RecoveryMode::Active) => {
                log::info!("Recovery mode already set to ACTIVE");
                self.stay_in_recovery(env, "recovery mode was set to ACTIVE again");
                env.reply(&to, ControlReply::status(0));
            }
            _ => env.reply(&to, ControlReply::status(-1)),
        }
    }

    fn leave_recovery(&mut self, env: &mut Env<'_>, to: ReplyTo) {
        if self.is_inactive() {
            // A recovery that has not noticed must fail and choose its nodes anew.
            return env.reply(&to, ControlReply::error("node is inactive"));
        }
        if self.view.generation == INVALID_GENERATION {
            return env.reply(&to, ControlReply::error("no valid generation"));
        }
        if let Some(leaving) = &mut self.recmode.leaving {
            if leaving.waiters.len() < WAITERS_MAX {
                leaving.waiters.push(to);
            } else {
                env.reply(&to, ControlReply::status(-1));
            }
            return;
        }
        let generation = self.view.generation;
        let reqid = env.local(endpoint::DATABASE, Local::LeaveRecovery { generation });
        self.recmode.leaving = Some(Leaving { stage: Stage::Databases(reqid), waiters: vec![to] });
    }

    /// The database service's answer to LeaveRecovery; false if `reqid` is something else.
    pub(super) fn databases_left(&mut self, env: &mut Env<'_>, reqid: u32, ok: bool) -> bool {
        match &mut self.recmode.leaving {
            Some(leaving) if leaving.stage == Stage::Databases(reqid) => {
                if !ok {
                    self.stay_in_recovery(env, "");
                } else if env.config().cluster_lock.is_none() {
                    self.enter_normal_mode(env);
                } else {
                    leaving.stage = Stage::Lock;
                    self.test_lock(env);
                }
                true
            }
            _ => false,
        }
    }

    fn test_lock(&mut self, env: &mut Env<'_>) {
        // The answer to a test that nobody waits for any more must not be taken for this one's.
        if self.recmode.testing.is_none() {
            self.recmode.testing = Some(env.now);
            env.ports.cluster_lock(LockRequest::Test);
        }
    }

    /// The lock test's result (`spec/cluster.md 15.5`).
    pub(super) fn lock_tested(&mut self, env: &mut Env<'_>, event: LockEvent) {
        let Some(since) = self.recmode.testing.take() else { return };
        let waited_for = matches!(&self.recmode.leaving, Some(l) if l.stage == Stage::Lock);
        if !waited_for {
            return;
        }
        match event {
            LockEvent::Contended { .. } => {
                let took = env.now.since(since);
                env.stats().reclock_ctdbd.add(took);
                self.warn_latency(env, took, "daemon reclock");
                self.enter_normal_mode(env);
            }
            LockEvent::Failed { timeout: true, .. } => {
                log::warn!("Timeout when testing recovery lock");
                self.enter_normal_mode(env);
            }
            LockEvent::TestTaken => {
                let lock = env.config().cluster_lock.clone().unwrap_or_default();
                log::error!(
                    "ERROR: Daemon able to take recovery lock on \"{lock}\" during recovery"
                );
                self.stay_in_recovery(env, LOCK_NOT_HELD);
            }
            _ => self.stay_in_recovery(env, "Unexpected error when testing recovery lock"),
        }
    }

    fn enter_normal_mode(&mut self, env: &mut Env<'_>) {
        let Some(leaving) = self.recmode.leaving.take() else { return };
        log::error!("Recovery mode set to NORMAL");
        self.view.recovery_mode = RecoveryMode::Normal;
        self.publish(env);
        for to in leaving.waiters {
            env.reply(&to, ControlReply::status(0));
        }
    }

    /// Whoever wanted the mode to become NORMAL is told no.
    pub(super) fn stay_in_recovery(&mut self, env: &mut Env<'_>, why: &str) {
        if let Some(leaving) = self.recmode.leaving.take() {
            for to in leaving.waiters {
                env.reply(&to, ControlReply::error(why));
            }
        }
    }

    /// SETVNNMAP.
    pub(super) fn set_vnnmap(&mut self, env: &mut Env<'_>, map: VnnMap) -> ControlReply {
        if self.view.recovery_mode != RecoveryMode::Active {
            log::error!("Attempt to set vnnmap when not in recovery");
            return ControlReply::status(-1);
        }
        if self.is_inactive() {
            // Its databases must stay out of use, whatever a leader believes that has not yet noticed.
            return ControlReply::error("node is inactive");
        }
        self.stay_in_recovery(env, "the VNN map changed");
        self.view.generation = map.generation;
        self.view.vnnmap = map.map;
        self.publish(env);
        ControlReply::status(0)
    }

    /// START_RECOVERY: the sender's lock must be configured as here.
    pub(super) fn start_recovery(&mut self, env: &mut Env<'_>, to: ReplyTo) {
        let source = to.endpoint.node;
        if source != self.me && self.lock.is_held() {
            // Only a node that is configured differently can believe that it leads.
            log::error!("Node {source} starts a recovery while this node holds the cluster lock");
            return env.reply(&to, ControlReply::error("another node holds the cluster lock"));
        }
        log::error!("Recovery has started");
        self.last_started = Some(env.wall);
        if source == self.me || !self.view.is_connected(source) {
            return env.reply(&to, ControlReply::status(0));
        }
        let limit = Duration::from_secs(env.tunables().recover_timeout.max(1).into());
        let reqid = env.request(source, bare(Opcode::GetReclockFile));
        // One for each node: a repeated request replaces the one before.
        self.recmode.comparing.retain(|_, c| c.reply_to.endpoint.node != source);
        let deadline = env.now.plus(limit);
        self.recmode.comparing.insert(reqid, Comparing { reply_to: to, deadline });
    }

    /// The sender's lock configuration; false if `reqid` is something else.
    pub(super) fn lock_compared(
        &mut self,
        env: &mut Env<'_>,
        reqid: u32,
        reply: &ControlReply,
    ) -> bool {
        let Some(Comparing { reply_to, .. }) = self.recmode.comparing.remove(&reqid) else {
            return false;
        };
        if reply.status != 0 {
            env.reply(&reply_to, ControlReply::error("lock configuration of the leader unknown"));
            return true;
        }
        let theirs = Option::<Text>::from_exact(&reply.data).ok().flatten();
        let ours = env.config().cluster_lock.clone().map(Text::from);
        if theirs == ours {
            env.reply(&reply_to, ControlReply::status(0));
            return true;
        }
        if theirs.is_none() {
            // Without a lock anybody may believe that it leads: not a reason to leave the cluster. Whoever gets the
            // lock recovers, and then it is the other that leaves.
            return self.refuse_lockless(env, &reply_to);
        }
        let show = |lock: Option<Text>| lock.map_or("NULL".to_string(), |text| text.to_string());
        let reason = format!(
            "Recovery lock configuration inconsistent: recmaster has {}, this node has {}, shutting down",
            show(theirs),
            show(ours)
        );
        log::error!("{reason}");
        env.reply(&reply_to, ControlReply::status(-1));
        env.local(endpoint::RUNTIME, Local::Shutdown { code: 1, reason });
        true
    }

    /// A leader without a cluster lock, while one is configured here.
    fn refuse_lockless(&mut self, env: &mut Env<'_>, to: &ReplyTo) -> bool {
        let source = to.endpoint.node;
        log::error!("Node {source} leads without a cluster lock");
        env.reply(to, ControlReply::error("a cluster lock is configured here"));
        if self.view.leader == Some(source) {
            self.lose_leader(env);
        }
        true
    }

    /// Comparisons whose other end has gone or does not answer fail.
    pub(super) fn expire_comparisons(&mut self, env: &mut Env<'_>, lost: Option<Pnn>) {
        let now = env.now;
        let over = |c: &Comparing| now >= c.deadline || Some(c.reply_to.endpoint.node) == lost;
        let mut expired = Vec::new();
        self.recmode.comparing.retain(|_, c| {
            let over = over(c);
            if over {
                expired.push(c.reply_to);
            }
            !over
        });
        for to in expired {
            env.reply(&to, ControlReply::status(-1));
        }
    }

    /// END_RECOVERY.
    pub(super) fn end_recovery(&mut self, env: &mut Env<'_>, to: ReplyTo) {
        log::error!("Recovery has finished");
        env.local(endpoint::DATABASE, Local::RecoveryEnded);
        let recoveries = &mut env.stats().num_recoveries;
        *recoveries = recoveries.saturating_add(1);
        self.last_finished = Some(env.wall);
        self.first_recovery_finished(env);
        env.reply(&to, ControlReply::status(0));
    }
}
