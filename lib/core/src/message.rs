// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages: packets addressed by a 64-bit id that clients register (spec/wire.md 7).

use std::collections::VecDeque;

use ctdb_wire::control::call;
use ctdb_wire::srvid::ALL;

use crate::client::Client;
use crate::control::ControlAddress;
use crate::deadline::Deadline;
use crate::error::Result;

/// Most messages, and most bytes of them, that wait to be taken. Beyond that nothing is received
/// until some are taken, which makes the daemon queue them.
const MAX_MESSAGES: usize = 1 << 20;
const MAX_BYTES: usize = 1 << 30;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The address it was sent to.
    pub srvid: u64,
    /// Its payload.
    pub data: Vec<u8>,
}

/// Received messages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: VecDeque<Message>,
    bytes: usize,
    registered: Vec<u64>,
}

impl Inbox {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    pub(crate) fn push(&mut self, srvid: u64, data: &[u8]) {
        // Messages that were under way when their address was given up belong to nobody.
        if self.registered.iter().any(|wanted| *wanted == srvid || *wanted == ALL) {
            self.bytes += data.len();
            self.waiting.push_back(Message { srvid, data: data.to_vec() });
        }
    }

    fn take_first(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.data.len();
        Some(message)
    }

    fn take(&mut self, srvid: u64) -> Option<Message> {
        let at = self.waiting.iter().position(|message| message.srvid == srvid)?;
        let message = self.waiting.remove(at)?;
        self.bytes -= message.data.len();
        Some(message)
    }

    fn forget(&mut self, srvid: u64) {
        self.waiting.retain(|message| message.srvid != srvid);
        self.bytes = self.waiting.iter().map(|message| message.data.len()).sum();
    }
}

impl Client {
    /// Asks the daemon for messages to `srvid`. Registered twice, each message comes twice.
    pub fn register(&mut self, srvid: u64, deadline: impl Into<Deadline>) -> Result<()> {
        let to = ControlAddress::from(self.pnn()).about(srvid);
        self.inbox.registered.push(srvid);
        let result = self
            .control_outcome::<call::RegisterSrvid>(to, deadline, &())
            .and_then(|outcome| outcome.success());
        if result.is_err() {
            self.unregister(srvid);
        }
        result
    }

    /// Takes one registration back. With the last one, messages to `srvid` that were not yet taken
    /// are dropped.
    pub fn deregister(&mut self, srvid: u64, deadline: impl Into<Deadline>) -> Result<()> {
        let to = ControlAddress::from(self.pnn()).about(srvid);
        self.unregister(srvid);
        self.control_outcome::<call::DeregisterSrvid>(to, deadline, &())?.success()
    }

    fn unregister(&mut self, srvid: u64) {
        let registered = &mut self.inbox.registered;
        if let Some(at) = registered.iter().position(|wanted| *wanted == srvid) {
            registered.swap_remove(at);
        }
        if !registered.contains(&srvid) && !registered.contains(&ALL) {
            self.inbox.forget(srvid);
        }
    }

    /// The oldest message that was received, whatever its address.
    pub fn take_message(&mut self) -> Option<Message> {
        self.inbox.take_first()
    }

    /// The oldest message to `srvid` that was received.
    pub fn take_message_to(&mut self, srvid: u64) -> Option<Message> {
        self.inbox.take(srvid)
    }

    /// Waits for a message to `srvid`. Other messages stay for whoever waits for them.
    pub fn wait_message(&mut self, srvid: u64, deadline: impl Into<Deadline>) -> Result<Message> {
        let deadline = deadline.into();
        loop {
            if let Some(message) = self.inbox.take(srvid) {
                return Ok(message);
            }
            self.turn(deadline, "message")?;
        }
    }

    /// Drops what was received for `srvid` so far.
    pub fn drop_messages_to(&mut self, srvid: u64) {
        self.inbox.forget(srvid);
    }
}
