// SPDX-License-Identifier: GPL-3.0-or-later
//! Node flags: whose word counts, and how it spreads (`spec/cluster.md 4`).
//!
//! A node's own copy of its flags is the truth for all bits but DISCONNECTED, which every observer judges for
//! itself. A node that changes tells all connected nodes at once; what gets lost the leader's check repairs.

use super::asking::control;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, ControlReply, Pnn};
use crate::view::flags::{DELETED, DISCONNECTED, INACTIVE, UNHEALTHY};
use crate::view::{RecoveryMode, RunState};
use ctdb_wire::types::{NodeAndFlags, NodeFlagChange, NodeMap};
use ctdb_wire::Opcode;
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(super) use ctdb_wire::types::NodeFlagChange as Change;

/// What a node says of itself in its own map; None if it does not list itself.
pub(super) fn own_word(pnn: Pnn, map: &NodeMap) -> Option<u32> {
    map.node.iter().find(|node| node.pnn == pnn).map(|node| node.flags & !DISCONNECTED)
}

/// What `observer`, whose map this is, has to be told: the nodes' own words where its copy differs. It ignores
/// what it is told of nodes it does not reach, so such a difference is no reason to tell it.
pub(super) fn corrections(
    words: &BTreeMap<Pnn, u32>,
    observer: Pnn,
    map: &NodeMap,
) -> Vec<NodeFlagChange> {
    let correct = |node: &NodeAndFlags| {
        let word = *words.get(&node.pnn)?;
        let reached = node.pnn != observer && node.flags & (DISCONNECTED | DELETED) == 0;
        (reached && node.flags != word).then_some(NodeFlagChange {
            pnn: node.pnn,
            new_flags: word,
            old_flags: node.flags,
        })
    };
    map.node.iter().filter_map(correct).collect()
}

impl Cluster {
    /// The own flags.
    pub(super) fn own_flags(&self) -> u32 {
        self.view.own_flags()
    }

    pub(super) fn is_inactive(&self) -> bool {
        self.view.is_inactive()
    }

    fn node_flags(&mut self, pnn: Pnn) -> Option<&mut u32> {
        self.view.nodes.get_mut(pnn as usize).map(|node| &mut node.flags)
    }

    /// Changes the own flags in the view; what follows from it is the caller's. False if nothing changed.
    pub(super) fn set_own_flags(&mut self, set: u32, clear: u32) -> bool {
        let old = self.own_flags();
        let new = (old | set) & !clear;
        if let Some(flags) = self.node_flags(self.me) {
            *flags = new;
        }
        old != new
    }

    /// Tells all connected nodes the own flags. To the leader it also is a hint to look at this node.
    pub(super) fn tell_flags(&mut self, env: &mut Env<'_>) {
        self.publish(env);
        env.notify(endpoint::BROADCAST_CONNECTED, control(Opcode::ModifyFlags, &self.own_change()));
    }

    /// Tells the leader that something changed here: it looks at this node at once.
    pub(super) fn hint_leader(&mut self, env: &mut Env<'_>) {
        if let Some(leader) = self.view.leader.filter(|leader| *leader != self.me) {
            self.publish(env);
            env.notify(leader, control(Opcode::ModifyFlags, &self.own_change()));
        }
    }

    /// Tells one node the own flags.
    pub(super) fn tell_flags_to(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        env.notify(pnn, control(Opcode::ModifyFlags, &self.own_change()));
    }

    fn own_change(&self) -> NodeFlagChange {
        let flags = self.own_flags();
        NodeFlagChange { pnn: self.me, new_flags: flags, old_flags: flags }
    }

    /// MODIFY_FLAGS from `source`.
    pub(super) fn modify_flags(
        &mut self,
        env: &mut Env<'_>,
        source: Pnn,
        change: &NodeFlagChange,
    ) -> ControlReply {
        let pnn = change.pnn;
        if self.node_flags(pnn).is_none() {
            return ControlReply::status(-1);
        }
        if pnn != self.me && self.view.is_connected(pnn) {
            let old = self.view.flags(pnn);
            self.adopt_flags(env, pnn, change.new_flags);
            if source == pnn {
                self.node_spoke(env, pnn);
            } else {
                self.became_healthy(env, pnn, old);
            }
        }
        ControlReply::status(0)
    }

    /// Replaces the copy of a connected node's flags.
    pub(super) fn adopt_flags(&mut self, env: &mut Env<'_>, pnn: Pnn, new: u32) {
        let Some(flags) = self.node_flags(pnn) else { return };
        let old = *flags;
        *flags = old & DISCONNECTED | new & !DISCONNECTED;
        let new = *flags;
        if old != new {
            log::error!("Node {pnn} has changed flags - {old:#x} -> {new:#x}");
        }
        if new & INACTIVE != 0 {
            if let Some(run) = self.run.as_mut() {
                run.node_left(pnn);
            }
        }
        self.publish(env);
    }

    /// A leader says that a node has become healthy while this one still starts: it wants to be in a recovery. A
    /// node's own word, which may overtake the end of the recovery that made it healthy, is no reason.
    fn became_healthy(&mut self, env: &mut Env<'_>, pnn: Pnn, old: u32) {
        let normal = self.view.recovery_mode == RecoveryMode::Normal;
        if self.view.flags(pnn) == 0
            && old != 0
            && normal
            && self.view.run_state <= RunState::Startup
        {
            let why = format!("Node {pnn} became healthy - force recovery for startup");
            self.activate_recovery_mode(env, &why);
        }
    }

    /// PUSH_NODE_FLAGS: passes the change on to all connected nodes.
    pub(super) fn push_node_flags(&mut self, env: &mut Env<'_>, change: &NodeFlagChange) {
        env.notify(endpoint::BROADCAST_CONNECTED, control(Opcode::ModifyFlags, change));
    }

    /// A link is up.
    pub(super) fn connected(&mut self, pnn: Pnn) {
        if let Some(flags) = self.node_flags(pnn).filter(|flags| **flags & DELETED == 0) {
            *flags &= !DISCONNECTED;
        }
    }

    /// A link is down. False if it was not up.
    pub(super) fn disconnected(&mut self, pnn: Pnn) -> bool {
        let Some(flags) = self.node_flags(pnn) else { return false };
        let was_up = *flags & DISCONNECTED == 0;
        *flags |= DISCONNECTED | UNHEALTHY;
        was_up
    }

    /// GET_NODEMAP.
    pub(super) fn node_map(&self) -> NodeMap {
        let entry = |(pnn, node): (usize, &crate::view::NodeView)| NodeAndFlags {
            pnn: pnn as u32,
            flags: node.flags,
            addr: SocketAddr::new(node.address, node.port),
        };
        NodeMap { node: self.view.nodes.iter().enumerate().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(flags: &[u32]) -> NodeMap {
        let addr = "127.0.0.1:4379".parse().expect("an address");
        let entry =
            |(pnn, flags): (usize, &u32)| NodeAndFlags { pnn: pnn as u32, flags: *flags, addr };
        NodeMap { node: flags.iter().enumerate().map(entry).collect() }
    }

    /// Hazard 15: in a partial mesh nobody is told again and again what it ignores.
    #[test]
    fn a_node_is_not_corrected_about_nodes_it_does_not_reach() {
        let words = BTreeMap::from([(0, 0), (1, 2), (2, 0)]);
        assert!(corrections(&words, 0, &map(&[0, 2, 3])).is_empty());
        assert!(corrections(&words, 0, &map(&[7, 2, 0])).is_empty(), "nor about itself");
        let told = corrections(&words, 0, &map(&[0, 0, 2]));
        assert_eq!(told.iter().map(|c| (c.pnn, c.new_flags)).collect::<Vec<_>>(), [(1, 2), (2, 0)]);
    }

    #[test]
    fn a_nodes_word_says_nothing_of_its_link() {
        assert_eq!(own_word(1, &map(&[0, 3])), Some(2));
        assert_eq!(own_word(2, &map(&[0, 3])), None);
    }
}
