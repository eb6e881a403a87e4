// SPDX-License-Identifier: GPL-3.0-or-later
//! Banning credits: what the leader holds against nodes (`spec/cluster.md 21.1-21.3`).

use super::asking::control;
use super::Cluster;
use crate::env::Env;
use crate::packet::Pnn;
use crate::time::Time;
use ctdb_wire::types::BanState;
use ctdb_wire::Opcode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Credits of each node, and when it got the last.
#[derive(Debug, Default)]
pub(super) struct Credits {
    counts: BTreeMap<Pnn, (u32, Time)>,
    last_culprit: Option<Pnn>,
}

impl Credits {
    pub fn clear(&mut self) {
        self.counts.clear();
    }

    /// Who was blamed last; 0 if nobody ever was.
    pub fn last_culprit(&self) -> Pnn {
        self.last_culprit.unwrap_or(0)
    }

    fn add(&mut self, pnn: Pnn, credits: u32, now: Time, grace: Duration) {
        let (count, last) = self.counts.entry(pnn).or_insert((0, now));
        if now.since(*last) > grace {
            *count = 0;
        }
        *count = count.saturating_add(credits);
        *last = now;
        self.last_culprit = Some(pnn);
    }

    fn take_culprits(&mut self, threshold: u32) -> Vec<(Pnn, u32)> {
        let mut culprits = Vec::new();
        for (pnn, (count, _)) in &mut self.counts {
            if *count >= threshold {
                culprits.push((*pnn, std::mem::take(count)));
            }
        }
        culprits
    }
}

impl Cluster {
    /// Holds something against a node. An inactive node has no say.
    pub(super) fn blame(&mut self, env: &Env<'_>, pnn: Pnn, credits: u32) {
        if (pnn as usize) < self.view.nodes.len() && !self.is_inactive() {
            let grace = Duration::from_secs(env.tunables().recovery_grace_period.into());
            self.credits.add(pnn, credits, env.now, grace);
        }
    }

    /// Bans the nodes with too many credits.
    pub(super) fn ban_culprits(&mut self, env: &mut Env<'_>) {
        let threshold = 2 * self.view.nodes.len() as u32;
        let time = env.tunables().recovery_ban_period;
        for (pnn, count) in self.credits.take_culprits(threshold) {
            log::error!("Node {pnn} reached {count} banning credits");
            log::error!("Banning node {pnn} for {time} seconds");
            env.notify(pnn, control(Opcode::SetBanState, &BanState { pnn, time }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_forgotten_after_the_grace_period() {
        let mut c = Credits::default();
        let grace = Duration::from_secs(120);
        let at = |s| Time::default().plus(Duration::from_secs(s));
        c.add(1, 5, at(0), grace);
        c.add(1, 1, at(119), grace);
        assert_eq!(c.take_culprits(6), [(1, 6)]);
        assert!(c.take_culprits(1).is_empty(), "they are gone with the ban");
        c.add(1, 5, at(200), grace);
        c.add(1, 1, at(321), grace);
        assert!(c.take_culprits(6).is_empty());
        assert_eq!(c.last_culprit(), 1);
    }
}
