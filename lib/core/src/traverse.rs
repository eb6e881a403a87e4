// SPDX-License-Identifier: GPL-3.0-or-later
//! Traverse of a database over all nodes, driven by the daemon (spec/database.md 18).
//!
//! Records arrive as messages to an address of this client's; one without key and data is the end.

use ctdb_wire::control::call;
use ctdb_wire::srvid::{CLIENT_RANGE, RANGE_SHIFT};
use ctdb_wire::types::{LtdbHeader, RecData, TraverseStartExt};
use ctdb_wire::Decode;

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::message::Message;

/// A traverse under way. Its records wait in the connection's inbox until [`Traverse::next`] or
/// [`Traverse::try_next`] takes them; [`Traverse::end`] drops what is left.
#[derive(Debug)]
#[must_use = "a traverse that is not ended keeps its address registered"]
pub struct Traverse {
    srvid: u64,
    finished: bool,
}

/// A record that a traverse delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visited {
    message: Message,
    header: LtdbHeader,
    key: (usize, usize),
    value: (usize, usize),
}

impl Visited {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        self.message.data.get(self.key.0..self.key.1).unwrap_or_default()
    }

    /// Its header.
    pub fn header(&self) -> LtdbHeader {
        self.header
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        self.message.data.get(self.value.0..self.value.1).unwrap_or_default()
    }

    /// The record of a message; `None` is the end.
    fn from_message(message: Message) -> Result<Option<Visited>> {
        let malformed = |source| Error::Malformed { what: "traverse record", source };
        let record = RecData::from_prefix(&message.data).map_err(malformed)?;
        if record.is_end_of_traverse() {
            return Ok(None);
        }
        let header = LtdbHeader::from_prefix(record.data).map_err(malformed)?;
        // behind the lengths come the key, the header and the value
        let key = (RecData::MIN_SIZE, RecData::MIN_SIZE + record.key.len());
        let value = (key.1 + LtdbHeader::SIZE, key.1 + record.data.len());
        Ok(Some(Visited { message, header, key, value }))
    }
}

impl Traverse {
    /// The next record; `None` after the last one.
    pub fn next(
        &mut self,
        client: &mut Client,
        deadline: impl Into<Deadline>,
    ) -> Result<Option<Visited>> {
        if self.finished {
            return Ok(None);
        }
        let message = client.wait_message(self.srvid, deadline)?;
        self.visited(message)
    }

    /// The next record if it has arrived; [`Traverse::is_finished`] tells the end from a pause.
    pub fn try_next(&mut self, client: &mut Client) -> Result<Option<Visited>> {
        match client.take_message_to(self.srvid) {
            Some(message) if !self.finished => self.visited(message),
            _ => Ok(None),
        }
    }

    fn visited(&mut self, message: Message) -> Result<Option<Visited>> {
        let visited = Visited::from_message(message)?;
        self.finished = visited.is_none();
        Ok(visited)
    }

    /// Whether the last record was taken.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Gives the address up, and with it the records that are still to come.
    pub fn end(self, client: &mut Client, deadline: impl Into<Deadline>) -> Result<()> {
        client.deregister(self.srvid, deadline)
    }
}

impl Client {
    /// Begins a traverse of a database: of a volatile one over the records that some active node is data
    /// master of, of others over those of one full copy. Records without a value come only if asked for.
    ///
    /// A record that moves meanwhile may come twice or not at all. The daemon ends a traverse that takes
    /// too long for it, and then nothing tells that records are missing.
    pub fn start_traverse(
        &mut self,
        db_id: u32,
        with_empty: bool,
        deadline: impl Into<Deadline>,
    ) -> Result<Traverse> {
        let deadline = deadline.into();
        let number = u64::from(self.take_reqid() & 0xFFFF) << 32;
        let srvid = u64::from(CLIENT_RANGE) << RANGE_SHIFT | number | u64::from(std::process::id());
        self.register(srvid, deadline)?;
        let request = TraverseStartExt { db_id, reqid: 0, srvid, withemptyrecords: with_empty };
        let own = self.pnn();
        let started = self.control::<call::TraverseStartExt, ()>(own, deadline, &request);
        if let Err(e) = started {
            // The first failure is the one to report.
            let _ = self.deregister(srvid, deadline);
            return Err(e);
        }
        Ok(Traverse { srvid, finished: false })
    }

    /// [`Client::start_traverse`], and visits its records until `visit` returns `false`. Returns how many
    /// were visited. The daemons must agree to start by `start`; the records have until `deadline`.
    pub fn traverse(
        &mut self,
        db_id: u32,
        with_empty: bool,
        start: impl Into<Deadline>,
        deadline: impl Into<Deadline>,
        mut visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> bool,
    ) -> Result<u64> {
        let (start, deadline) = (start.into(), deadline.into());
        let mut traverse = self.start_traverse(db_id, with_empty, start)?;
        let mut visited = 0;
        let result = loop {
            match traverse.next(self, deadline) {
                Ok(Some(record)) => {
                    visited += 1;
                    if !visit(record.key(), record.header(), record.value()) {
                        break Ok(visited);
                    }
                }
                Ok(None) => break Ok(visited),
                Err(e) => break Err(e),
            }
        };
        // A connection that has failed has nothing registered any more.
        let ended = traverse.end(self, start);
        let visited = result?;
        ended.map(|()| visited)
    }
}
