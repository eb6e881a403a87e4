// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets on links, and what becomes of links: see [`network`].

use super::*;

impl Sim {
    pub(super) fn send(&mut self, from: Pnn, to: Pnn, packet: Packet) {
        if to >= self.len() || !self.network.is_up(from, to) {
            return;
        }
        *self.nodes[from as usize].ports.link_bytes.entry(to).or_default() +=
            ports::size_of(&packet);
        let delay = self.between(self.options.link_delay);
        let at = self.now.plus(delay);
        let epoch = self.network.pair(from, to).epoch;
        let direction = self.network.direction(from, to);
        let at = at.max(direction.last_arrival);
        direction.last_arrival = at;
        self.at(at, What::Arrive { from, to, epoch, packet });
    }

    pub(super) fn arrive(&mut self, from: Pnn, to: Pnn, epoch: u64, packet: Packet) {
        let lost = self.network.pair(from, to).epoch != epoch;
        if !lost && self.network.is_blocked(from, to) {
            self.network.direction(from, to).stalled.push_back(packet);
            return;
        }
        let size = ports::size_of(&packet);
        if let Some(bytes) = self.nodes[from as usize].ports.link_bytes.get_mut(&to) {
            *bytes = bytes.saturating_sub(size);
        }
        if !lost && self.network.is_up(to, from) {
            self.give(to, Input::Packet(packet));
        }
    }

    /// One side closes: what is on the way is lost. The other hears of it if it can.
    pub(super) fn reset_link(&mut self, node: Pnn, peer: Pnn) {
        if peer >= self.len() || peer == node || !self.network.is_up(node, peer) {
            return;
        }
        self.network.new_epoch(node, peer);
        self.link_ends(node, peer);
        if !self.network.is_blocked(node, peer) && self.network.is_up(peer, node) {
            self.link_ends(peer, node);
        }
    }

    pub(super) fn link_ends(&mut self, node: Pnn, peer: Pnn) {
        self.network.set_up(node, peer, false);
        self.nodes[node as usize].ports.link_bytes.remove(&peer);
        let delay = self.between(self.options.link_delay);
        self.link_input(node, peer, false, delay);
        self.reconnect(node, peer);
    }

    pub(super) fn link_input(&mut self, node: Pnn, peer: Pnn, up: bool, delay: Duration) {
        // Never before what arrived earlier on this link.
        let last = self.network.direction(peer, node).last_arrival;
        let at = self.now.plus(delay).max(last);
        self.network.direction(peer, node).last_arrival = at;
        self.at(at, What::Link { node, peer, up });
    }

    pub(super) fn reconnect(&mut self, a: Pnn, b: Pnn) {
        let pair = self.network.pair(a, b);
        if !pair.connecting {
            pair.connecting = true;
            let delay = self.between((Duration::from_millis(1), Duration::from_millis(1000)));
            self.after(delay, What::Connect(a, b));
        }
    }

    pub(super) fn connect_link(&mut self, a: Pnn, b: Pnn) {
        self.network.pair(a, b).connecting = false;
        let (a_up, b_up) = (self.network.is_up(a, b), self.network.is_up(b, a));
        if a_up && b_up {
            return;
        }
        let possible = [a, b].iter().all(|&n| {
            let node = &self.nodes[n as usize];
            node.daemon.is_some() && !node.stopped
        }) && !self.network.is_blocked(a, b)
            && !self.network.is_blocked(b, a);
        if !possible {
            if self.daemon(a).is_some() || self.daemon(b).is_some() {
                self.reconnect(a, b);
            }
            return;
        }
        if a_up || b_up {
            // The side that still believed in the old connection learns that it has ended.
            let (node, peer) = if a_up { (a, b) } else { (b, a) };
            return self.link_ends(node, peer);
        }
        self.network.new_epoch(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            self.network.set_up(node, peer, true);
            let delay = self.between(self.options.link_delay);
            self.link_input(node, peer, true, delay);
        }
    }

    /// Resets the link between two nodes: what is on the way is lost.
    pub fn break_link(&mut self, a: Pnn, b: Pnn) {
        self.note(format!("link {a}-{b} breaks"));
        self.reset_link(a, b);
    }

    /// Stalls the direction from one node to another.
    pub fn block(&mut self, from: Pnn, to: Pnn) {
        self.note(format!("{from} -> {to} blocked"));
        self.network.block(from, to);
    }

    /// No packet passes between the two groups.
    pub fn partition(&mut self, some: &[Pnn], others: &[Pnn]) {
        for &a in some {
            for &b in others {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Opens every blocked direction.
    pub fn heal(&mut self) {
        for (from, to) in self.network.blocked() {
            self.note(format!("{from} -> {to} opens"));
            let epoch = self.network.pair(from, to).epoch;
            for packet in self.network.unblock(from, to) {
                let delay = self.between(self.options.link_delay);
                let direction = self.network.direction(from, to);
                let at = self.now.plus(delay).max(direction.last_arrival);
                direction.last_arrival = at;
                self.at(at, What::Arrive { from, to, epoch, packet });
            }
        }
    }

    /// Whether `node` believes its link to `peer` is up.
    pub fn link_is_up(&self, node: Pnn, peer: Pnn) -> bool {
        self.network.is_up(node, peer)
    }
}
