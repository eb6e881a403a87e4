// SPDX-License-Identifier: GPL-3.0-or-later
//! One control to several nodes, all answers awaited.

use crate::env::Env;
use crate::packet::{Body, Control, ControlReply, Packet, Pnn};
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// A control on its way to a set of nodes. Feed it replies, lost links and the time; it is done when every
/// node has answered, failed or timed out.
#[derive(Debug)]
pub struct Fanout {
    waiting: BTreeMap<u32, Pnn>,
    results: BTreeMap<Pnn, Outcome>,
    deadline: Time,
}

/// What became of the control on one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It answered.
    Reply(ControlReply),
    /// The link was or went down.
    Disconnected,
    /// No answer within the limit.
    TimedOut,
}

impl Outcome {
    /// The reply, if it has status 0.
    pub fn ok(&self) -> Option<&ControlReply> {
        match self {
            Outcome::Reply(r) if r.status == 0 => Some(r),
            _ => None,
        }
    }
}

impl Fanout {
    /// Sends `control` to each of `nodes`.
    pub fn start(env: &mut Env<'_>, nodes: &[Pnn], limit: Duration, control: &Control) -> Fanout {
        Fanout::start_each(env, limit, nodes.iter().map(|&n| (n, control.clone())).collect())
    }

    /// Sends each node its own control.
    pub fn start_each(env: &mut Env<'_>, limit: Duration, requests: Vec<(Pnn, Control)>) -> Fanout {
        let mut fanout = Fanout {
            waiting: BTreeMap::new(),
            results: BTreeMap::new(),
            deadline: env.now.plus(limit),
        };
        for (node, control) in requests {
            if node == env.pnn() || env.view().is_connected(node) {
                fanout.waiting.insert(env.request(node, control), node);
            } else {
                fanout.results.insert(node, Outcome::Disconnected);
            }
        }
        fanout
    }

    /// The requests that are not answered yet: reqid and node.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, Pnn)> + '_ {
        self.waiting.iter().map(|(reqid, node)| (*reqid, *node))
    }

    /// When it times out: set a timer of yours for this moment.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Takes a reply; false if it belongs to something else.
    pub fn reply(&mut self, packet: &Packet) -> bool {
        let Body::ControlReply(reply) = &packet.body else { return false };
        let Some(node) = self.waiting.remove(&packet.reqid) else { return false };
        self.results.insert(node, Outcome::Reply(reply.clone()));
        true
    }

    /// The link to `pnn` went down.
    pub fn link_down(&mut self, pnn: Pnn) {
        let results = &mut self.results;
        self.waiting.retain(|_, node| {
            let lost = *node == pnn;
            if lost {
                results.insert(pnn, Outcome::Disconnected);
            }
            !lost
        });
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if now >= self.deadline {
            for (_, node) in std::mem::take(&mut self.waiting) {
                self.results.insert(node, Outcome::TimedOut);
            }
        }
    }

    /// Whether every node has an outcome.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The outcomes so far, by node.
    pub fn results(&self) -> &BTreeMap<Pnn, Outcome> {
        &self.results
    }

    /// The first node without status 0 and what it did.
    pub fn first_failure(&self) -> Option<(Pnn, &Outcome)> {
        self.results.iter().find(|(_, o)| o.ok().is_none()).map(|(n, o)| (*n, o))
    }
}
