// SPDX-License-Identifier: GPL-3.0-or-later
//! Who leads (`spec/cluster.md 12`): announcements, the leader timeout, taking and giving up the role.
//!
//! ```text
//! Starting --waited long enough--> Racing or Electing
//! Racing   --lock taken--> Settled (leader: self)          with a cluster lock
//! Electing --gone quiet--> Settled (leader: the winner)    without one
//! any      --announcement--> Settled (leader: its sender)
//! Settled  --leader lost, resigned or silent--> Racing or Electing
//! ```
//!
//! Every node finds out for itself that the leader has gone and acts at once; no node acts upon another's word
//! that there should be an election, except the leader's own. An inactive node, and one without the capability,
//! only forgets its leader.

use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, Pnn};
use crate::time::Time;
use crate::view::flags::DELETED;
use crate::view::RunState;
use ctdb_wire::flags::capability::RECMASTER;
use ctdb_wire::{srvid, Encode};
use std::time::Duration;

/// Where this node stands with regard to the leadership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// Just started: listens for a leader.
    #[default]
    Starting,
    /// Wants the cluster lock.
    Racing {
        /// How long to wait after the next failure.
        pause: Duration,
    },
    /// Takes part in an election without lock.
    Electing {
        /// The best candidate so far.
        candidate: Option<Pnn>,
    },
    /// Has a leader, is leader, or cannot be.
    Settled,
}

/// A cluster without a lock, some of whose nodes are not connected to its leader: they may have another.
#[derive(Debug)]
pub(super) struct Incomplete {
    since: Time,
    /// Minutes after which it was reported last.
    reported: u64,
}

/// Whether it is time to report: each minute for ten minutes, each ten minutes for an hour, each hour.
fn is_report_due(minutes: u64) -> bool {
    minutes >= 1 && (minutes <= 10 || minutes <= 60 && minutes % 10 == 0 || minutes % 60 == 0)
}

impl Cluster {
    /// Warns of a split that nothing prevents (`spec/cluster.md 13`).
    pub(super) fn report_incomplete(&mut self, env: &Env<'_>) {
        if self.has_lock_configured(env) || !self.is_leader() {
            self.incomplete = None;
            return;
        }
        let listed =
            (0..self.view.nodes.len() as Pnn).filter(|p| self.view.flags(*p) & DELETED == 0);
        let connected = self.view.connected().len();
        if listed.count() == connected {
            if self.incomplete.take().is_some_and(|i| i.reported > 0) {
                log::error!("Cluster complete with leader={}", self.me);
            }
            return;
        }
        let new = Incomplete { since: env.now, reported: 0 };
        let incomplete = self.incomplete.get_or_insert(new);
        let minutes = env.now.since(incomplete.since).as_secs() / 60;
        if minutes > incomplete.reported && is_report_due(minutes) {
            incomplete.reported = minutes;
            log::error!(
                "Cluster incomplete with leader={}, elapsed={minutes} minutes, connected={connected}",
                self.me
            );
        }
    }

    /// Whether this node may lead.
    pub(super) fn can_lead(&self) -> bool {
        let capabilities = self.view.nodes.get(self.me as usize).map_or(0, |n| n.capabilities);
        !self.stopping
            && !self.is_inactive()
            && capabilities & RECMASTER != 0
            && self.view.run_state >= RunState::FirstRecovery
    }

    pub(super) fn is_leader(&self) -> bool {
        self.view.leader == Some(self.me)
    }

    /// Begins to listen; what is heard or not heard decides what follows.
    pub(super) fn start_listening(&mut self, env: &mut Env<'_>) {
        self.phase = Phase::Starting;
        let wait = if self.has_lock_configured(env) {
            self.timing.start_wait.min(env.config().leader_timeout)
        } else {
            env.config().leader_timeout
        };
        env.set_timer(Timer::Start.token(), wait);
        self.hurry_start(env);
    }

    /// A starting node that is connected to all nodes need not wait for missing ones.
    pub(super) fn hurry_start(&mut self, env: &mut Env<'_>) {
        let all = (0..self.view.nodes.len() as Pnn)
            .all(|p| self.view.flags(p) & DELETED != 0 || self.view.is_connected(p));
        if self.phase == Phase::Starting && all {
            env.set_timer(Timer::Start.token(), self.timing.start_grace);
        }
    }

    /// Changes the leader and lets go of what belonged to the one before.
    pub(super) fn set_leader(&mut self, env: &mut Env<'_>, leader: Option<Pnn>) {
        if self.view.leader == leader {
            return;
        }
        if self.is_leader() {
            if self.run.take().is_some() {
                let name = leader.unwrap_or(endpoint::UNKNOWN_PNN);
                log::error!("Leader changed to {name}, aborting recovery");
            }
            self.stop_watching();
            env.cancel_timer(Timer::Announce.token());
        }
        self.view.leader = leader;
        self.publish(env);
    }

    /// This node leads now.
    pub(super) fn become_leader(&mut self, env: &mut Env<'_>) {
        self.settle_phase(env);
        env.cancel_timer(Timer::Leader.token());
        self.set_leader(env, Some(self.me));
        self.history.new_leader();
        self.announce(env);
        self.watch_all(env);
    }

    /// The phase ends, and with it what it waited for.
    fn settle_phase(&mut self, env: &mut Env<'_>) {
        self.phase = Phase::Settled;
        for timer in [Timer::Start, Timer::LockRetry, Timer::Election, Timer::Candidacy] {
            env.cancel_timer(timer.token());
        }
    }

    /// Announces this node to all, and again in a second.
    pub(super) fn announce(&mut self, env: &mut Env<'_>) {
        if self.is_leader() {
            env.message(endpoint::BROADCAST_CONNECTED, srvid::LEADER, self.me.to_vec());
            env.set_timer(Timer::Announce.token(), self.timing.announcement);
        }
    }

    /// Announces this node to a newcomer.
    pub(super) fn announce_to(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        if self.is_leader() {
            env.message(pnn, srvid::LEADER, self.me.to_vec());
        }
    }

    /// A LEADER message.
    pub(super) fn leader_message(&mut self, env: &mut Env<'_>, source: Pnn, said: Pnn) {
        if source == self.me {
            return;
        }
        if said == endpoint::UNKNOWN_PNN {
            return self.heard_unknown(env, source);
        }
        if said != source {
            log::warn!("Node {source} announces node {said} as leader, ignored");
            return;
        }
        if self.lock.is_held() {
            // Whoever says so has not heard of it yet, or has lost the lock to us.
            return self.announce_to(env, source);
        }
        if self.is_leader() {
            // Two leaders without a lock: an election decides between them.
            log::error!("Node {source} is leader too");
            return self.start_election(env);
        }
        if self.view.leader != Some(said) {
            log::error!("Received leader broadcast, leader={said}");
        }
        self.settle_phase(env);
        let is_new = self.view.leader != Some(said);
        self.set_leader(env, Some(said));
        env.set_timer(Timer::Leader.token(), env.config().leader_timeout);
        if is_new {
            self.hint_leader(env);
        }
    }

    /// Someone says that there is no leader.
    fn heard_unknown(&mut self, env: &mut Env<'_>, source: Pnn) {
        if self.is_leader() {
            self.announce_to(env, source);
        } else if self.view.leader == Some(source) {
            log::error!("Node {source} resigned as leader");
            self.lose_leader(env);
        } else if let Phase::Racing { pause } = &mut self.phase {
            // Perhaps the lock has become free.
            *pause = self.timing.lock_retry;
            self.take_lock(env);
        }
        // In any other case our leader is alive, as far as we know, and the other will hear of it.
    }

    /// The leader is gone, or silent: find another.
    pub(super) fn lose_leader(&mut self, env: &mut Env<'_>) {
        self.set_leader(env, None);
        // No database traffic while the leadership is unclear; whoever leads next runs a recovery.
        self.activate_recovery_mode(env, "");
        self.start_election(env);
    }

    /// No announcement for too long.
    pub(super) fn leader_timeout(&mut self, env: &mut Env<'_>) {
        if !self.is_leader() && self.phase == Phase::Settled {
            log::error!("Leader broadcast timeout");
            self.lose_leader(env);
        }
    }

    /// Wants to lead, if it may.
    pub(super) fn start_election(&mut self, env: &mut Env<'_>) {
        env.cancel_timer(Timer::Leader.token());
        env.cancel_timer(Timer::Start.token());
        if !self.can_lead() {
            self.release_lock(env);
            return self.settle_phase(env);
        }
        if self.lock.is_held() {
            return self.become_leader(env);
        }
        log::error!("Start election");
        if self.has_lock_configured(env) {
            env.cancel_timer(Timer::LockRetry.token());
            self.phase = Phase::Racing { pause: self.timing.lock_retry };
            self.take_lock(env);
        } else {
            self.elect(env);
        }
    }

    /// Another attempt to take the lock.
    pub(super) fn retry_lock(&mut self, env: &mut Env<'_>) {
        if matches!(self.phase, Phase::Racing { .. }) {
            if self.can_lead() {
                self.take_lock(env);
            } else {
                self.settle_phase(env);
            }
        }
    }

    /// What this node may be has changed: gives up the role if it may not lead, seeks it if it may and nobody does.
    pub(super) fn review_leadership(&mut self, env: &mut Env<'_>) {
        if self.can_lead() {
            if self.phase == Phase::Settled && self.view.leader.is_none() {
                self.start_listening(env);
            }
            return;
        }
        let was_leader = self.is_leader();
        self.release_lock(env);
        if self.phase != Phase::Starting {
            self.settle_phase(env);
        }
        if was_leader {
            self.set_leader(env, None);
            self.resign(env);
        }
    }

    /// Tells the others that they need a new leader. With C nodes and no lock an ELECTION message must follow.
    fn resign(&mut self, env: &mut Env<'_>) {
        let unknown = endpoint::UNKNOWN_PNN.to_vec();
        env.message(endpoint::BROADCAST_CONNECTED, srvid::LEADER, unknown);
        if !self.has_lock_configured(env) {
            self.send_election_message(env);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_get_rarer() {
        let due: Vec<u64> = (0..200).filter(|m| is_report_due(*m)).collect();
        assert_eq!(due, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 120, 180]);
    }
}
