// SPDX-License-Identifier: GPL-3.0-or-later
//! The links between simulated nodes: FIFO in each direction, seeded delays, packets lost only when a link is
//! reset. A blocked direction stalls, as TCP does: what was sent arrives when it opens again, unless one
//! side gave up before. So one side may be down while the other still believes it is up.

use crate::packet::{Packet, Pnn};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One ordered direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    pub last_arrival: Time,
    pub stalled: VecDeque<Packet>,
}

/// The connection of a pair of nodes.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// Counts connections; packets of an earlier one are lost.
    pub epoch: u64,
    /// Whether the lower, and the higher, node believes it is up.
    pub up: [bool; 2],
    pub directions: [Direction; 2],
    pub connecting: bool,
}

/// All links.
#[derive(Debug, Default)]
pub(super) struct Network {
    pairs: BTreeMap<(Pnn, Pnn), Pair>,
    blocked: BTreeSet<(Pnn, Pnn)>,
}

fn index(from: Pnn, to: Pnn) -> usize {
    usize::from(from > to)
}

impl Network {
    pub fn pair(&mut self, a: Pnn, b: Pnn) -> &mut Pair {
        self.pairs.entry((a.min(b), a.max(b))).or_default()
    }

    pub fn direction(&mut self, from: Pnn, to: Pnn) -> &mut Direction {
        &mut self.pair(from, to).directions[index(from, to)]
    }

    pub fn is_up(&self, node: Pnn, peer: Pnn) -> bool {
        self.pairs.get(&(node.min(peer), node.max(peer))).is_some_and(|p| p.up[index(node, peer)])
    }

    pub fn set_up(&mut self, node: Pnn, peer: Pnn, up: bool) {
        self.pair(node, peer).up[index(node, peer)] = up;
    }

    pub fn is_blocked(&self, from: Pnn, to: Pnn) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub fn block(&mut self, from: Pnn, to: Pnn) {
        self.blocked.insert((from, to));
    }

    /// Opens a direction; what had stalled in it.
    pub fn unblock(&mut self, from: Pnn, to: Pnn) -> VecDeque<Packet> {
        self.blocked.remove(&(from, to));
        std::mem::take(&mut self.direction(from, to).stalled)
    }

    pub fn blocked(&self) -> Vec<(Pnn, Pnn)> {
        self.blocked.iter().copied().collect()
    }

    /// The connection ends: nothing of it arrives any more.
    pub fn new_epoch(&mut self, a: Pnn, b: Pnn) -> u64 {
        let pair = self.pair(a, b);
        pair.epoch += 1;
        pair.directions.iter_mut().for_each(|d| d.stalled.clear());
        pair.epoch
    }
}
