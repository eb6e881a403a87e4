// SPDX-License-Identifier: GPL-3.0-or-later
//! When the leader runs a recovery (docs/decisions/0004-recovery-timing.md).
//!
//! A recovery is needed when the active set or the lmasters differ from those of the last completed recovery, when
//! some node is in recovery mode, or when a node disagrees about the map. Those of the first kind begin at once,
//! unless there were several of late; the last kind waits for RerecoveryTimeout, for a recovery may not help.

use super::leader::Phase;
use super::recovery::{self, End, Run};
use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, Pnn};
use crate::time::Time;
use crate::view::RecoveryMode;
use ctdb_wire::srvid;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// So many recoveries within RerecoveryTimeout are run without a pause.
const UNPAUSED: usize = 3;

/// What this leader knows of its recoveries.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The active set of the last completed one; None: this leader has completed none.
    set: Option<Vec<Pnn>>,
    /// When the last few were completed.
    completed: VecDeque<Time>,
    /// An attempt has failed: not again before this.
    retry_at: Option<Time>,
}

/// Why a recovery is needed, and what holds it back.
#[derive(Debug, PartialEq)]
struct Need {
    why: String,
    pause: Pause,
}

/// What holds a recovery back after completed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Nothing: the cluster is unusable until it is done.
    None,
    /// RerecoveryTimeout from the last but two.
    AfterSeveral,
    /// RerecoveryTimeout from the last.
    AfterOne,
}

fn pause_length(env: &Env<'_>) -> Duration {
    Duration::from_secs(env.tunables().rerecovery_timeout.into())
}

impl History {
    /// A new leader knows nothing of what its predecessors completed.
    pub fn new_leader(&mut self) {
        self.set = None;
        self.retry_at = None;
    }

    pub fn forget_pause(&mut self) {
        self.completed.clear();
    }

    fn completed(&mut self, now: Time, set: Vec<Pnn>) {
        self.set = Some(set);
        self.retry_at = None;
        self.completed.push_back(now);
        if self.completed.len() > UNPAUSED {
            self.completed.pop_front();
        }
    }

    /// Whether a recovery that is not urgent would have to wait.
    pub fn is_pausing(&self, env: &Env<'_>) -> bool {
        self.paused_until(Pause::AfterOne, env.now, pause_length(env)).is_some()
    }

    /// From when on the next may begin; None: now.
    fn paused_until(&self, pause: Pause, now: Time, length: Duration) -> Option<Time> {
        let decisive = match pause {
            Pause::None => None,
            Pause::AfterSeveral if self.completed.len() < UNPAUSED => None,
            Pause::AfterSeveral => self.completed.front(),
            Pause::AfterOne => self.completed.back(),
        };
        [decisive.map(|at| at.plus(length)), self.retry_at]
            .into_iter()
            .flatten()
            .max()
            .filter(|&at| at > now)
    }
}

impl Cluster {
    /// Starts a recovery if one is needed and may begin. Called after every turn.
    pub(super) fn consider_recovery(&mut self, env: &mut Env<'_>) {
        if self.run.is_some() || !self.is_leader() || self.phase != Phase::Settled {
            return;
        }
        let Some(need) = self.need_recovery() else { return };
        if self.suspended {
            log::info!("Unable to begin - recoveries are disabled");
            return;
        }
        if !self.can_lead() {
            return;
        }
        if let Some(at) = self.history.paused_until(need.pause, env.now, pause_length(env)) {
            env.set_timer(Timer::Recovery.token(), at.since(env.now));
            return;
        }
        log::error!("{}", need.why);
        log::error!("Starting do_recovery");
        let culprit = self.credits.last_culprit();
        log::info!("Recovery initiated due to problem with node {culprit}");
        self.ban_culprits(env);
        self.watch_complaint = None;
        self.run = Some(Run::start(env));
        self.run_changed(env);
    }

    fn need_recovery(&self) -> Option<Need> {
        let urgent = |why: String| Some(Need { why, pause: Pause::AfterSeveral });
        let active = self.confirmed_active();
        match &self.history.set {
            None => {
                let why = "No recovery has been completed under this leader".to_string();
                return Some(Need { why, pause: Pause::None });
            }
            Some(set) if *set != active => {
                return urgent(format!("Active nodes are {active:?}, were {set:?}"));
            }
            Some(_) => {}
        }
        if let Some(pnn) = self.node_in_recovery(&active) {
            return urgent(format!("Node:{pnn} was in recovery mode. Start recovery process"));
        }
        if let Some(capabilities) = self.known_capabilities(&active) {
            let map = recovery::vnnmap(&active, &capabilities, self.me);
            if map != self.view.vnnmap {
                let (is, was) = (map.len(), self.view.vnnmap.len());
                return urgent(format!(
                    "The vnnmap count is different from the number of active lmaster nodes: {was} vs {is}"
                ));
            }
        }
        self.watch_complaint.clone().map(|why| Need { why, pause: Pause::AfterOne })
    }

    fn node_in_recovery(&self, active: &[Pnn]) -> Option<Pnn> {
        if self.view.recovery_mode == RecoveryMode::Active {
            return Some(self.me);
        }
        active.iter().copied().find(|pnn| self.watched_in_recovery(*pnn))
    }

    fn known_capabilities(&self, active: &[Pnn]) -> Option<BTreeMap<Pnn, u32>> {
        let known = |&pnn: &Pnn| {
            let node = self.view.nodes.get(pnn as usize)?;
            (node.capabilities != 0).then_some((pnn, node.capabilities))
        };
        active.iter().map(known).collect()
    }

    /// Something happened to the run: sets its timers, or takes its result.
    pub(super) fn run_changed(&mut self, env: &mut Env<'_>) {
        let Some(run) = self.run.as_ref() else { return };
        match run.end().cloned() {
            None => {
                if let Some(deadline) = run.deadline() {
                    env.set_timer(Timer::Run.token(), deadline.since(env.now));
                }
                if run.is_pushing() {
                    env.set_timer(Timer::Push.token(), Duration::ZERO);
                }
            }
            Some(end) => {
                self.run = None;
                env.cancel_timer(Timer::Run.token());
                env.cancel_timer(Timer::Push.token());
                match end {
                    End::Completed { set, capabilities } => {
                        self.recovery_completed(env, set, &capabilities);
                    }
                    End::Failed { lost } => self.recovery_failed(env, lost),
                }
            }
        }
    }

    /// Pushes more records.
    pub(super) fn push_records(&mut self, env: &mut Env<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let again = run.push(env);
        self.run_changed(env);
        if let Some(after) = again.filter(|_| self.run.is_some()) {
            env.set_timer(Timer::Push.token(), after);
        }
    }

    fn recovery_completed(
        &mut self,
        env: &mut Env<'_>,
        set: Vec<Pnn>,
        capabilities: &BTreeMap<Pnn, u32>,
    ) {
        for (pnn, bits) in capabilities {
            self.learn_capabilities(*pnn, *bits);
        }
        self.learn_recovered(&set);
        self.publish(env);
        self.ask_for_takeover_run(env, endpoint::CURRENT_NODE);
        env.message(endpoint::BROADCAST_CONNECTED, srvid::RECONFIGURE, Vec::new());
        log::error!("Recovery complete");
        log::info!("Resetting ban count to 0 for all nodes");
        self.credits.clear();
        self.history.completed(env.now, set);
        if self.history.completed.len() >= UNPAUSED {
            let pause = env.tunables().rerecovery_timeout;
            log::info!("Recoveries will be suppressed for the rerecovery timeout ({pause} seconds) if there are more");
        }
        self.watch_all(env);
    }

    fn recovery_failed(&mut self, env: &mut Env<'_>, lost: bool) {
        if !lost {
            let pause = Duration::from_secs(env.tunables().recover_interval.max(1).into());
            self.history.retry_at = Some(env.now.plus(pause));
        }
        // Whatever was completed before, it has been undone in part.
        self.history.set = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::default().plus(Duration::from_millis(ms))
    }

    #[test]
    fn urgent_recoveries_are_paused_from_the_third_on() {
        let pause = Duration::from_secs(10);
        let mut h = History::default();
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(0), pause), None);
        h.completed(at(1000), vec![0]);
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(1001), pause), None);
        assert_eq!(h.paused_until(Pause::AfterOne, at(1001), pause), Some(at(11_000)));
        h.completed(at(2000), vec![0]);
        h.completed(at(3000), vec![0]);
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(3001), pause), Some(at(11_000)));
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(11_000), pause), None);
        h.completed(at(11_500), vec![0]);
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(11_600), pause), Some(at(12_000)));
        h.forget_pause();
        assert_eq!(h.paused_until(Pause::AfterSeveral, at(11_600), pause), None);
    }

    #[test]
    fn a_failure_delays_the_next_attempt() {
        let mut h = History { retry_at: Some(at(500)), ..History::default() };
        assert_eq!(
            h.paused_until(Pause::AfterSeveral, at(100), Duration::from_secs(10)),
            Some(at(500))
        );
        h.completed(at(600), vec![]);
        assert_eq!(h.retry_at, None);
    }
}
