// SPDX-License-Identifier: GPL-3.0-or-later
//! Start and end of a node's life in the cluster: run states (`spec/cluster.md 9-11`).
//!
//! There are no event scripts yet, so each event counts as succeeded at once: a node is RUNNING and healthy as
//! soon as its first recovery has finished.

use super::asking::bare;
use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, Local};
use crate::view::flags::{DELETED, DISCONNECTED, PERMANENTLY_DISABLED, STOPPED, UNHEALTHY};
use crate::view::{NodeView, RecoveryMode, RunState, INVALID_GENERATION};
use ctdb_wire::flags::capability::{FRAGMENTED_CONTROLS, LMASTER, PARALLEL_RECOVERY, RECMASTER};
use ctdb_wire::types::SrvidMessage;
use ctdb_wire::{srvid, Encode, Opcode};
use std::time::Duration;

/// Flags of a node that was just read from the nodes file.
pub(super) fn fresh_flags(node: &NodeView) -> u32 {
    if node.flags & DELETED != 0 {
        DELETED | DISCONNECTED
    } else {
        UNHEALTHY | DISCONNECTED
    }
}

impl Cluster {
    /// The view before anything has happened.
    pub(super) fn prepare(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        self.me = env.pnn();
        self.view = env.view().clone();
        for node in &mut self.view.nodes {
            node.flags = fresh_flags(node);
        }
        let config = env.config();
        let mut own = UNHEALTHY;
        if config.start_as_disabled {
            log::error!("This node is configured to start in DISABLED state");
            own |= PERMANENTLY_DISABLED;
        }
        if config.start_as_stopped {
            log::error!("This node is configured to start in STOPPED state");
            own |= STOPPED;
        }
        let may = |yes, bit| if yes { bit } else { 0 };
        let capabilities = may(config.can_be_leader, RECMASTER)
            | may(config.can_be_lmaster, LMASTER)
            | PARALLEL_RECOVERY
            | FRAGMENTED_CONTROLS;
        match self.view.nodes.get_mut(self.me as usize) {
            Some(node) if node.flags & DELETED == 0 => {
                node.flags = own;
                node.capabilities = capabilities;
            }
            _ => return Err("Can not determine PNN - unknown node address".to_string()),
        }
        self.view.recovery_mode = RecoveryMode::Active;
        self.view.generation = INVALID_GENERATION;
        let listed =
            |(pnn, node): (usize, &NodeView)| (node.flags & DELETED == 0).then_some(pnn as u32);
        self.view.vnnmap = self.view.nodes.iter().enumerate().filter_map(listed).collect();
        self.dead_counts = vec![0; self.view.nodes.len()];
        self.started = env.now;
        self.priority_time = env.wall;
        if env.config().cluster_lock.is_none() {
            log::error!("Cluster lock not set");
        }
        self.enter(env, RunState::Init);
        Ok(())
    }

    /// Links and clients are about to begin.
    pub(super) fn begin(&mut self, env: &mut Env<'_>) {
        self.enter(env, RunState::Setup);
        self.enter(env, RunState::FirstRecovery);
        if self.is_inactive() {
            self.freeze_databases(env);
        }
        if env.tunables().allow_mixed_versions == 1 {
            log::warn!("CTDB cluster with mixed versions configured");
        }
        self.schedule_keepalive(env);
        self.schedule_check(env);
        self.start_listening(env);
    }

    /// Run states only ever increase.
    pub(super) fn enter(&mut self, env: &mut Env<'_>, state: RunState) {
        if state > self.view.run_state {
            log::error!("Set runstate to {} ({})", state.name(), state as u32);
            self.view.run_state = state;
            self.publish(env);
        }
    }

    /// The recovered event of a recovery has finished.
    pub(super) fn first_recovery_finished(&mut self, env: &mut Env<'_>) {
        if self.view.run_state == RunState::FirstRecovery {
            self.enter(env, RunState::Startup);
            self.startup_done(env);
        }
    }

    /// The startup event has succeeded.
    pub(super) fn startup_done(&mut self, env: &mut Env<'_>) {
        if self.view.run_state != RunState::Startup {
            return;
        }
        log::error!("startup event OK - enabling monitoring");
        self.enter(env, RunState::Running);
        env.notify(endpoint::BROADCAST_CONNECTED, bare(Opcode::Startup));
        if self.set_own_flags(0, UNHEALTHY) {
            log::error!("monitor event OK - node re-enabled");
            log::error!("Node became HEALTHY. Ask recovery master to reallocate IPs");
            self.tell_flags(env);
            self.ask_for_takeover_run(env, endpoint::BROADCAST_CONNECTED);
        }
    }

    /// TAKEOVER_RUN without a reply.
    pub(super) fn ask_for_takeover_run(&mut self, env: &mut Env<'_>, to: u32) {
        let message = SrvidMessage { pnn: self.me, srvid: 0 };
        env.message(to, srvid::TAKEOVER_RUN, message.to_vec());
    }

    /// Shutdown begins: hands over the leadership and stops what goes on by itself.
    pub(super) fn stop(&mut self, env: &mut Env<'_>) {
        self.enter(env, RunState::Shutdown);
        self.stopping = true;
        self.review_leadership(env);
        for timer in [Timer::Keepalive, Timer::Check, Timer::Start, Timer::Leader] {
            env.cancel_timer(timer.token());
        }
        self.publish(env);
    }

    /// Becomes inactive (`spec/cluster.md 22.1`). The flag has been set.
    pub(super) fn become_inactive(&mut self, env: &mut Env<'_>) {
        log::error!("Making node INACTIVE");
        self.stay_in_recovery(env, "node becomes inactive");
        self.view.generation = INVALID_GENERATION;
        self.view.recovery_mode = RecoveryMode::Active;
        self.publish(env);
        self.freeze_databases(env);
        self.tell_flags(env);
        self.review_leadership(env);
    }

    /// All databases are frozen, and the volatile ones no longer count.
    pub(super) fn freeze_databases(&mut self, env: &mut Env<'_>) {
        self.frozen = false;
        self.freezing = Some(env.local(endpoint::DATABASE, Local::BecomeInactive));
    }

    /// The database service's answer; false if `reqid` is something else.
    pub(super) fn databases_frozen(&mut self, reqid: u32, ok: bool) -> bool {
        if self.freezing != Some(reqid) {
            return false;
        }
        self.freezing = None;
        self.frozen = ok;
        true
    }

    /// Says that this node waits for its first recovery; after a minute only now and then.
    fn report_waiting(&mut self) {
        if self.view.run_state != RunState::FirstRecovery {
            return;
        }
        if self.waited_checks < 59 || self.waited_checks % 600 == 0 {
            log::error!("CTDB_WAIT_UNTIL_RECOVERED");
            if self.own_flags() & STOPPED != 0 {
                log::error!("Node is STOPPED. Node will NOT recover.");
            }
        }
        self.waited_checks = self.waited_checks.saturating_add(1);
    }

    pub(super) fn schedule_check(&mut self, env: &mut Env<'_>) {
        let interval = Duration::from_secs(env.tunables().recover_interval.max(1).into());
        env.set_timer(Timer::Check.token(), interval);
    }

    /// The periodic check of every node: a safety net, for what happens is acted upon when it happens.
    pub(super) fn check(&mut self, env: &mut Env<'_>) {
        self.schedule_check(env);
        if self.is_inactive() {
            self.priority_time = env.wall;
            if self.view.recovery_mode == RecoveryMode::Normal {
                let why = "Node is stopped or banned but recovery mode is not active. \
                    Activate recovery mode and lock databases";
                self.activate_recovery_mode(env, why);
            }
            if self.freezing.is_none() && !(self.frozen && env.stats().frozen) {
                self.freeze_databases(env);
            }
        }
        self.report_waiting();
        self.report_incomplete(env);
        self.review_leadership(env);
        self.expire_comparisons(env, None);
        if self.is_leader() {
            self.watch_overdue(env);
            self.ban_culprits(env);
            self.watch_all(env);
        }
    }
}
