// SPDX-License-Identifier: GPL-3.0-or-later
//! Controls of clients that wait for an answer (`spec/wire.md 8.1`): the daemon's request id instead of the
//! client's, and a limit in time.

use crate::packet::{ClientId, Pnn};
use crate::time::Time;
use std::collections::BTreeMap;

/// Controls that may wait. Beyond that, clients are refused.
pub const PENDING_MAX: usize = 1_000_000;

/// A control that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Who asked.
    pub client: ClientId,
    /// With which request id.
    pub reqid: u32,
    /// The node that was asked.
    pub node: Pnn,
    /// When it has taken too long.
    pub deadline: Time,
}

/// The table, by the daemon's request id.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<u32, Pending>);

impl Table {
    /// How many wait.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Adds one; false if the table is full.
    pub fn add(&mut self, reqid: u32, pending: Pending) -> bool {
        if self.0.len() >= PENDING_MAX {
            return false;
        }
        self.0.insert(reqid, pending);
        true
    }

    /// Takes the one a reply is for.
    pub fn take(&mut self, reqid: u32) -> Option<Pending> {
        self.0.remove(&reqid)
    }

    /// Takes those sent to a node.
    pub fn take_of_node(&mut self, node: Pnn) -> Vec<Pending> {
        self.take_if(|p| p.node == node)
    }

    /// Takes those whose time is over.
    pub fn take_expired(&mut self, now: Time) -> Vec<Pending> {
        self.take_if(|p| p.deadline <= now)
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.0.values().map(|p| p.deadline).min()
    }

    fn take_if(&mut self, taken: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let mut out = Vec::new();
        self.0.retain(|_, p| {
            let take = taken(p);
            if take {
                out.push(*p);
            }
            !take
        });
        out
    }
}
