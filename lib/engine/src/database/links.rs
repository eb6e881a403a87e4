// SPDX-License-Identifier: GPL-3.0-or-later
//! Record packets and links that are down while their nodes take part (`spec/database.md 26`, I1).
//!
//! A transfer of ownership that is lost leaves a record without owner until the next recovery, and calls for
//! it would be redirected without end. Nodes that die bring a recovery with them; two cases do not:
//!
//! - a recovery includes a node to which this one has no link yet, or no longer: record packets to it wait
//!   here, in order, until the link comes up or the epoch ends;
//! - a link breaks and comes back before anybody takes notice: what was on it is lost, so a recovery is
//!   forced.

use super::Database;
use crate::env::Env;
use crate::packet::{endpoint, Body, Packet, Pnn};
use crate::view::{flags, ClusterView, INVALID_GENERATION};
use std::collections::{BTreeMap, VecDeque};

/// The nodes that take part in this epoch as far as this node can know: the active ones, and all location masters.
/// That one of these has no link yet says nothing, nor do its flags, which may be from before it was last
/// down. What must reach every node has failed if it cannot reach one of these.
pub(super) fn participants(view: &ClusterView) -> Vec<Pnn> {
    let all = 0..view.nodes.len() as Pnn;
    let takes_part = |node: &Pnn| {
        view.is_active(*node)
            || view.vnnmap.contains(node) && view.flags(*node) & flags::DELETED == 0
    };
    all.filter(takes_part).collect()
}

/// Record packets that may wait for one link.
pub const PARKED_MAX: usize = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct Links {
    parked: BTreeMap<Pnn, VecDeque<Packet>>,
    /// Links that broke, and the generation they broke in.
    broken: BTreeMap<Pnn, u32>,
}

impl Links {
    /// Packets that wait for links.
    pub(super) fn parked(&self) -> usize {
        self.parked.values().map(VecDeque::len).sum()
    }
}

impl Database {
    /// Sends a record packet, now or when there is a link.
    pub(super) fn send_packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        let node = packet.dst.node;
        let known = (node as usize) < env.view().nodes.len();
        if node == env.pnn() || !known || env.view().is_connected(node) {
            return env.send(packet);
        }
        if packet.generation != env.view().generation {
            return;
        }
        let queue = self.links.parked.entry(node).or_default();
        if queue.len() < PARKED_MAX {
            queue.push_back(packet);
        } else if matches!(packet.body, Body::Dmaster(_)) {
            self.force_recovery(env, "an ownership packet had to be dropped");
        } else if packet.src.node == env.pnn() && packet.src.id == endpoint::DATABASE {
            self.fail_pending(env, packet.reqid);
        }
    }

    pub(super) fn link_broke(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        let generation = env.view().generation;
        if generation != INVALID_GENERATION {
            self.links.broken.insert(pnn, generation);
        }
    }

    pub(super) fn link_came_up(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        let broke = self.links.broken.remove(&pnn);
        if broke.is_some_and(|generation| generation == env.view().generation) {
            self.force_recovery(env, "records may have been lost on a link that broke");
        }
    }

    /// Nodes may be connected now, or the epoch of what waits for them has ended.
    pub(super) fn links_view_changed(&mut self, env: &mut Env<'_>, old: &ClusterView) {
        if env.view().generation != old.generation {
            self.links.parked.clear();
        }
        let parked = &mut self.links.parked;
        let ready: Vec<Pnn> =
            parked.keys().copied().filter(|node| env.view().is_connected(*node)).collect();
        for node in ready {
            for packet in parked.remove(&node).into_iter().flatten() {
                env.send(packet);
            }
        }
    }
}
