// SPDX-License-Identifier: GPL-3.0-or-later
//! Replacing the whole content of a database on all nodes (spec/tool.md 10.9, 10.11, spec/database.md
//! 19, 20.5, 24.3): what a recovery does with its merged records, done with records of the caller's.
//!
//! ```text
//! begin    DB_FREEZE, DB_TRANSACTION_START, WIPE_DATABASE   nobody sees any of it yet
//! fill     DB_PUSH_START, messages, DB_PUSH_CONFIRM
//! commit   DB_SET_HEALTHY, DB_TRANSACTION_COMMIT, DB_THAW
//! ```
//!
//! Each step goes to all nodes at once, and is taken when all of them have answered the one before with
//! success. Whatever goes wrong, be it that the value is dropped half-way, ends in a recovery: it drops the
//! transactions, so that the old content is back, and thaws.

use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::recmode;
use ctdb_wire::types::{PulldbExt, RecBuffer, Transdb};
use ctdb_wire::{srvid, Control, Encode};

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// Address of the messages that carry records, as the C tool has it.
const PUSH_SRVID: u64 = (srvid::TOOL_RANGE as u64) << srvid::RANGE_SHIFT | 2 << 48;
/// So many bytes may be under way to the nodes before they are asked how far they are.
const WINDOW: usize = 16 << 20;

/// A replacement under way. [`Replacement::commit`] completes it; dropped before that, it is undone by a
/// recovery.
#[must_use = "dropped, it undoes what was done and forces a recovery"]
pub struct Replacement<'c> {
    client: &'c mut Client,
    nodes: Vec<u32>,
    db_id: u32,
    generation: u32,
    /// For each step of all nodes.
    limit: Duration,
    sent: u64,
    /// Bytes sent since the nodes were last asked.
    unconfirmed: usize,
    filling: bool,
    committed: bool,
}

impl<'c> Replacement<'c> {
    /// Freezes a database on `nodes`, which have to be the active ones, and empties it there. `generation`
    /// is the cluster's; if a recovery makes a new one meanwhile, the steps after it fail.
    pub fn begin(
        client: &'c mut Client,
        db_id: u32,
        generation: u32,
        nodes: &[u32],
        limit: Duration,
    ) -> Result<Replacement<'c>> {
        let mut new = Replacement {
            client,
            nodes: nodes.to_vec(),
            db_id,
            generation,
            limit,
            sent: 0,
            unconfirmed: 0,
            filling: false,
            committed: false,
        };
        let transaction = new.transaction();
        new.step::<call::DbFreeze>(&db_id)?;
        new.step::<call::DbTransactionStart>(&transaction)?;
        new.step::<call::WipeDatabase>(&transaction)?;
        Ok(new)
    }

    fn transaction(&self) -> Transdb {
        Transdb { db_id: self.db_id, tid: self.generation }
    }

    fn step<C: Control>(&mut self, request: &C::Request<'_>) -> Result<()> {
        self.client.control_all::<C>(&self.nodes, self.limit, request)
    }

    /// Makes the nodes ready to take records.
    pub fn fill(&mut self) -> Result<()> {
        let start = PulldbExt { db_id: self.db_id, lmaster: 0, srvid: PUSH_SRVID };
        self.step::<call::DbPushStart>(&start)?;
        self.filling = true;
        Ok(())
    }

    /// Adds records. Their headers are stored as they are, the id in the buffer is of no account.
    pub fn push(&mut self, records: &RecBuffer<'_>) -> Result<()> {
        if !self.filling {
            return Err(Error::Usage("records are pushed after fill()"));
        }
        let message = records.to_vec();
        for node in self.nodes.clone() {
            self.client.send_message(node, PUSH_SRVID, &message)?;
        }
        self.sent += u64::from(records.count());
        self.unconfirmed += message.len() * self.nodes.len();
        if self.unconfirmed >= WINDOW {
            self.catch_up()?;
        }
        Ok(())
    }

    /// Waits until every node has what was sent: an answer comes behind the messages before its question.
    /// Without this a large database would pile up in the daemons.
    fn catch_up(&mut self) -> Result<()> {
        self.client.drain(self.limit)?;
        let answers = self.client.control_many::<call::Ping>(&self.nodes, self.limit, &());
        self.unconfirmed = 0;
        answers.into_iter().try_for_each(|(_, answer)| answer.map(|_| ()))
    }

    /// Makes the new content visible and lets clients work again.
    pub fn commit(mut self) -> Result<()> {
        if self.filling {
            self.confirm()?;
        }
        let (id, transaction) = (self.db_id, self.transaction());
        self.step::<call::DbSetHealthy>(&id)?;
        self.step::<call::DbTransactionCommit>(&transaction)?;
        self.step::<call::DbThaw>(&id)?;
        self.committed = true;
        Ok(())
    }

    /// Every node must have all records.
    fn confirm(&mut self) -> Result<()> {
        let id = self.db_id;
        let answers = self.client.control_many::<call::DbPushConfirm>(&self.nodes, self.limit, &id);
        let (mut first, sent) = (Ok(()), self.sent);
        for (node, answer) in answers {
            let received = answer.and_then(|outcome| outcome.reply::<call::DbPushConfirm>());
            let checked = received.and_then(|received| match u64::from(received) == sent {
                true => Ok(()),
                false => Err(Error::PushIncomplete { node, received, sent }),
            });
            first = first.and(checked);
        }
        first
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if self.committed || self.client.is_closed() {
            return;
        }
        let own = self.client.pnn();
        let undone = self.client.control::<call::SetRecmode, ()>(
            own,
            Deadline::after(self.limit),
            &recmode::ACTIVE,
        );
        if let Err(e) = undone {
            log::error!(
                "no recovery after a failed replacement of database 0x{:08x}: {e}",
                self.db_id
            );
        }
    }
}
