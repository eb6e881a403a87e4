// SPDX-License-Identifier: GPL-3.0-or-later
//! One control to many nodes at once: one deadline, one answer for each node.

use ctdb_wire::{Control, Opcode};

use crate::client::{Client, Ticket};
use crate::control::{no_reply, ControlOutcome};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// A control that is under way to several nodes.
#[derive(Debug)]
#[must_use = "the answers are taken with Client::gather"]
pub struct FanOut {
    opcode: Opcode,
    asked: Vec<(u32, Ticket)>,
    /// Nodes to which it could not even be sent.
    failed: Vec<(u32, Error)>,
}

impl Client {
    /// Sends a control to several nodes; the answers are taken with [`Client::gather`].
    pub fn start_many<C: Control>(&mut self, nodes: &[u32], request: &C::Request<'_>) -> FanOut {
        let mut fan = FanOut {
            opcode: C::OPCODE,
            asked: Vec::with_capacity(nodes.len()),
            failed: Vec::new(),
        };
        for &node in nodes {
            match self.start_control::<C>(node, request) {
                Ok(ticket) => fan.asked.push((node, ticket)),
                Err(e) => fan.failed.push((node, e)),
            }
        }
        fan
    }

    /// Whether all nodes have answered: [`Client::gather`] will not wait.
    pub fn all_answered(&self, fan: &FanOut) -> bool {
        fan.asked.iter().all(|(_, ticket)| self.is_answered(*ticket))
    }

    /// Waits for all answers: in the order in which they arrived, then the nodes that did not answer
    /// by the deadline.
    pub fn gather(
        &mut self,
        fan: FanOut,
        deadline: impl Into<Deadline>,
    ) -> Vec<(u32, Result<ControlOutcome>)> {
        let deadline = deadline.into();
        let FanOut { opcode, asked, failed } = fan;
        let mut answered = Vec::with_capacity(asked.len());
        let mut silent = failed;
        for (node, ticket) in asked {
            let waited = self.await_reply(ticket, deadline);
            let taken = waited.and_then(|()| {
                self.take_control(ticket).unwrap_or(Err(Error::Timeout { what: "reply" }))
            });
            match taken {
                Ok((order, outcome)) => answered.push((order, node, outcome)),
                Err(e) => silent.push((node, e)),
            }
        }
        answered.sort_by_key(|(order, ..)| *order);
        let answered = answered.into_iter().map(|(_, node, outcome)| (node, Ok(outcome)));
        let silent = silent.into_iter().map(|(node, e)| (node, Err(no_reply(opcode, node, e))));
        answered.chain(silent).collect()
    }

    /// [`Client::start_many`] and [`Client::gather`]. A deadline that has passed already is a timeout,
    /// however fast the daemons are.
    pub fn control_many<C: Control>(
        &mut self,
        nodes: &[u32],
        deadline: impl Into<Deadline>,
        request: &C::Request<'_>,
    ) -> Vec<(u32, Result<ControlOutcome>)> {
        let deadline = deadline.into();
        let mut fan = self.start_many::<C>(nodes, request);
        if deadline.has_passed() {
            for (node, ticket) in std::mem::take(&mut fan.asked) {
                self.forget(ticket);
                fan.failed.push((node, Error::Timeout { what: "reply" }));
            }
        }
        self.gather(fan, deadline)
    }

    /// Sends a control that has to succeed on every one of `nodes`. The error is that of the first
    /// node that failed.
    pub fn control_all<C: Control>(
        &mut self,
        nodes: &[u32],
        deadline: impl Into<Deadline>,
        request: &C::Request<'_>,
    ) -> Result<()> {
        let answers = self.control_many::<C>(nodes, deadline, request);
        answers.into_iter().try_for_each(|(_, answer)| answer?.success())
    }
}
