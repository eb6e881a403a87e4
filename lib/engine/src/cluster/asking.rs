// SPDX-License-Identifier: GPL-3.0-or-later
//! Several questions asked at the same time: one step of a recovery.

use crate::env::Env;
use crate::fanout::{Fanout, Outcome};
use crate::packet::{Control, ControlReply, Packet, Pnn};
use crate::time::Time;
use bytes::Bytes;
use ctdb_wire::{Encode, Opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// A control with this payload.
pub(super) fn control(opcode: Opcode, payload: &impl Encode) -> Control {
    Control { opcode: opcode.into(), data: payload.to_vec().into(), ..Control::default() }
}

/// A control without payload.
pub(super) fn bare(opcode: Opcode) -> Control {
    control(opcode, &())
}

/// Controls on their way, each to several nodes.
#[derive(Debug, Default)]
pub(super) struct Asking {
    questions: Vec<(Opcode, Fanout)>,
}

/// How a node failed to do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub opcode: Opcode,
    pub node: Pnn,
    pub outcome: Outcome,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "control {} failed on node {}: ", self.opcode, self.node)?;
        match &self.outcome {
            Outcome::Reply(r) if r.error.is_empty() => write!(f, "status {}", r.status),
            Outcome::Reply(r) => write!(f, "status {}, {}", r.status, r.error),
            Outcome::Disconnected => f.write_str("disconnected"),
            Outcome::TimedOut => f.write_str("timed out"),
        }
    }
}

impl Asking {
    /// Sends `control` to all of `nodes`.
    pub fn one(
        env: &mut Env<'_>,
        nodes: &[Pnn],
        limit: Duration,
        opcode: Opcode,
        payload: &impl Encode,
    ) -> Asking {
        let mut asking = Asking::default();
        asking.also(env, nodes, limit, opcode, payload);
        asking
    }

    /// Sends one more control, behind the others.
    pub fn also(
        &mut self,
        env: &mut Env<'_>,
        nodes: &[Pnn],
        limit: Duration,
        opcode: Opcode,
        payload: &impl Encode,
    ) {
        let fanout = Fanout::start(env, nodes, limit, &control(opcode, payload));
        self.questions.push((opcode, fanout));
    }

    /// Sends each node its own control with the same opcode.
    pub fn each(
        env: &mut Env<'_>,
        limit: Duration,
        opcode: Opcode,
        requests: Vec<(Pnn, Control)>,
    ) -> Asking {
        Asking { questions: vec![(opcode, Fanout::start_each(env, limit, requests))] }
    }

    /// Takes a reply; false if it belongs to something else.
    pub fn reply(&mut self, packet: &Packet) -> bool {
        self.questions.iter_mut().any(|(_, fanout)| fanout.reply(packet))
    }

    /// The link to `pnn` went down.
    pub fn link_down(&mut self, pnn: Pnn) {
        self.questions.iter_mut().for_each(|(_, fanout)| fanout.link_down(pnn));
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        self.questions.iter_mut().for_each(|(_, fanout)| fanout.tick(now));
    }

    /// Whether every question has been answered or given up.
    pub fn is_done(&self) -> bool {
        self.questions.iter().all(|(_, fanout)| fanout.is_done())
    }

    /// When the first unanswered question is given up.
    pub fn deadline(&self) -> Option<Time> {
        self.questions.iter().filter(|(_, f)| !f.is_done()).map(|(_, f)| f.deadline()).min()
    }

    /// What each node said to `opcode`.
    pub fn results(&self, opcode: Opcode) -> impl Iterator<Item = (Pnn, &Outcome)> {
        self.questions
            .iter()
            .filter(move |(asked, _)| *asked == opcode)
            .flat_map(|(_, fanout)| fanout.results().iter().map(|(node, o)| (*node, o)))
    }

    /// The payloads of the successful replies to `opcode`.
    pub fn payloads(&self, opcode: Opcode) -> BTreeMap<Pnn, Bytes> {
        let reply = |(node, outcome): (Pnn, &Outcome)| {
            outcome.ok().map(|ControlReply { data, .. }| (node, data.clone()))
        };
        self.results(opcode).filter_map(reply).collect()
    }

    /// All failures, in the order of the questions and of the nodes.
    pub fn failures(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (opcode, fanout) in &self.questions {
            for (node, outcome) in fanout.results() {
                if outcome.ok().is_none() {
                    let outcome = outcome.clone();
                    failures.push(Failure { opcode: *opcode, node: *node, outcome });
                }
            }
        }
        failures
    }
}
