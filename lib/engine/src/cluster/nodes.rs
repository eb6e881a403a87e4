// SPDX-License-Identifier: GPL-3.0-or-later
//! The nodes file (`spec/cluster.md 2, 24`). A bad one is an error of whoever asked to read it, never the end of a
//! daemon that runs.

use super::start::fresh_flags;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, ControlReply, Pnn};
use crate::view::flags::DELETED;
use crate::view::NodeView;
use ctdb_wire::srvid;
use ctdb_wire::types::{NodeAndFlags, NodeMap};
use ctdb_wire::Encode;
use std::net::SocketAddr;

impl Cluster {
    /// GET_NODES_FILE: the file as it is now.
    pub(super) fn nodes_file(&self, env: &mut Env<'_>) -> ControlReply {
        let nodes = match env.ports.read_nodes() {
            Ok(nodes) => nodes,
            Err(why) => {
                log::error!("Failed to load nodes: {why}");
                return ControlReply::error(why);
            }
        };
        let entry = |(pnn, node): (usize, &NodeView)| NodeAndFlags {
            pnn: pnn as u32,
            flags: node.flags & DELETED,
            addr: SocketAddr::new(node.address, node.port),
        };
        let map = NodeMap { node: nodes.iter().enumerate().map(entry).collect() };
        ControlReply::data(map.to_vec())
    }

    /// RELOAD_NODES_FILE.
    pub(super) fn reload_nodes(&mut self, env: &mut Env<'_>) -> ControlReply {
        let read = env.ports.read_nodes().and_then(|nodes| self.check_own_place(nodes));
        let nodes = match read {
            Ok(nodes) => nodes,
            Err(why) => {
                log::error!("Nodes file not reloaded: {why}");
                return ControlReply::error(why);
            }
        };
        let dropped = self.replace_nodes(nodes);
        self.dead_counts = vec![0; self.view.nodes.len()];
        self.publish(env);
        env.ports.set_nodes(&self.view.nodes);
        for pnn in dropped {
            self.expire_comparisons(env, Some(pnn));
            self.forget_watched(pnn);
            if let Some(run) = self.run.as_mut() {
                run.link_down(pnn, env);
            }
            if self.view.leader == Some(pnn) {
                self.lose_leader(env);
            }
        }
        env.message(endpoint::CURRENT_NODE, srvid::RELOAD_NODES, Vec::new());
        ControlReply::status(0)
    }

    fn check_own_place(&self, nodes: Vec<NodeView>) -> Result<Vec<NodeView>, String> {
        let own = self.view.nodes.get(self.me as usize);
        match (own, nodes.get(self.me as usize)) {
            (Some(own), Some(new))
                if new.flags & DELETED == 0
                    && (new.address, new.port) == (own.address, own.port) =>
            {
                Ok(nodes)
            }
            _ => Err(format!("this node is no longer listed as node {}", self.me)),
        }
    }

    /// Takes over the new list; nodes at their old place keep their state. Returns connected nodes that have gone.
    fn replace_nodes(&mut self, nodes: Vec<NodeView>) -> Vec<Pnn> {
        let connected = self.view.connected();
        let old = std::mem::take(&mut self.view.nodes);
        for (pnn, mut node) in nodes.into_iter().enumerate() {
            let kept = old.get(pnn).filter(|was| {
                (was.flags | node.flags) & DELETED == 0
                    && (was.address, was.port) == (node.address, node.port)
            });
            node.flags = kept.map_or_else(|| fresh_flags(&node), |was| was.flags);
            node.capabilities = kept.map_or(0, |was| was.capabilities);
            self.view.nodes.push(node);
        }
        connected.into_iter().filter(|&pnn| !self.view.is_connected(pnn)).collect()
    }
}
