// SPDX-License-Identifier: GPL-3.0-or-later
//! Election without a cluster lock (`spec/cluster.md 13`): candidates compare their age.
//!
//! Whoever wants to lead sends an ELECTION message; a node that would be the better leader answers with its own.
//! When nothing has been said for a while the best candidate leads.

use super::leader::Phase;
use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, Pnn};
use crate::time::WallTime;
use crate::view::flags::INACTIVE;
use ctdb_wire::types::{ElectionMessage, Timeval};
use ctdb_wire::{srvid, Encode};
use std::time::Duration;

/// A wall-clock time as the protocol has it.
pub(super) fn timeval(time: WallTime) -> Timeval {
    Timeval {
        sec: i64::try_from(time.0.as_secs()).unwrap_or(i64::MAX),
        usec: i64::from(time.0.subsec_micros()),
    }
}

impl Cluster {
    /// Becomes a candidate.
    pub(super) fn elect(&mut self, env: &mut Env<'_>) {
        self.phase = Phase::Electing { candidate: Some(self.me) };
        self.send_election_message(env);
        self.restart_election_timer(env);
    }

    fn restart_election_timer(&mut self, env: &mut Env<'_>) {
        let limit = Duration::from_secs(env.tunables().election_timeout.max(1).into());
        env.set_timer(Timer::Election.token(), limit.min(self.timing.election_settle));
    }

    fn own_candidacy(&self, env: &Env<'_>) -> ElectionMessage {
        let can_lead = self.can_lead();
        ElectionMessage {
            num_connected: if can_lead { self.view.connected().len() as u32 } else { 0 },
            priority_time: timeval(if can_lead { self.priority_time } else { env.wall }),
            pnn: self.me,
            node_flags: self.own_flags(),
        }
    }

    pub(super) fn send_election_message(&mut self, env: &mut Env<'_>) {
        env.cancel_timer(Timer::Candidacy.token());
        let message = self.own_candidacy(env).to_vec();
        env.message(endpoint::BROADCAST_ALL, srvid::ELECTION, message);
    }

    /// Whether this node would be a better leader than the sender.
    fn beats(&self, other: &ElectionMessage, env: &Env<'_>) -> bool {
        let own = self.own_candidacy(env);
        if !self.can_lead() {
            return false;
        }
        if other.node_flags & INACTIVE != 0 {
            return true;
        }
        (own.priority_time, u32::MAX - own.pnn) < (other.priority_time, u32::MAX - other.pnn)
    }

    /// An ELECTION message.
    pub(super) fn election_message(
        &mut self,
        env: &mut Env<'_>,
        source: Pnn,
        message: &ElectionMessage,
    ) {
        if source == self.me || message.pnn != source {
            return;
        }
        if self.has_lock_configured(env) {
            // The lock decides. Whoever sends this has none configured and is found out at the next recovery.
            log::warn!("Election message from node {source} ignored, a cluster lock is configured");
            return;
        }
        env.cancel_timer(Timer::Leader.token());
        env.cancel_timer(Timer::Start.token());
        if self.beats(message, env) {
            // A leader that is challenged in vain stays leader throughout.
            self.phase = Phase::Electing { candidate: Some(self.me) };
            env.set_timer(Timer::Candidacy.token(), self.timing.election_answer);
        } else {
            env.cancel_timer(Timer::Candidacy.token());
            // A candidate that is better than this one will say so.
            let active = message.node_flags & INACTIVE == 0;
            self.phase = Phase::Electing { candidate: active.then_some(source) };
            self.set_leader(env, None);
        }
        self.restart_election_timer(env);
    }

    /// Answers a challenger.
    pub(super) fn answer_challenge(&mut self, env: &mut Env<'_>) {
        if matches!(self.phase, Phase::Electing { .. }) && self.can_lead() {
            self.send_election_message(env);
            self.restart_election_timer(env);
        }
    }

    /// The link to a node is down that may have been the best candidate.
    pub(super) fn candidate_lost(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        if self.phase == (Phase::Electing { candidate: Some(pnn) }) {
            if self.can_lead() {
                self.elect(env);
            } else {
                self.phase = Phase::Electing { candidate: None };
            }
        }
    }

    /// Nothing has been said for a while.
    pub(super) fn election_ended(&mut self, env: &mut Env<'_>) {
        let Phase::Electing { candidate } = self.phase else { return };
        let leader = candidate.filter(|pnn| *pnn == self.me || self.view.is_connected(*pnn));
        log::error!("Election period ended, leader={}", leader.unwrap_or(endpoint::UNKNOWN_PNN));
        self.phase = Phase::Settled;
        match leader {
            Some(pnn) if pnn == self.me => {
                if self.can_lead() && !self.is_leader() {
                    self.become_leader(env);
                } else if self.is_leader() {
                    self.announce(env);
                }
            }
            // Its announcement follows, or the leader timeout.
            other => {
                self.set_leader(env, other);
                env.set_timer(Timer::Leader.token(), env.config().leader_timeout);
            }
        }
    }
}
