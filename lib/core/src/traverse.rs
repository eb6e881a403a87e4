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

impl Client {
    /// Visits all records of a database until `visit` returns `false`: of a volatile one those that
    /// some active node is data master of, of others those of one full copy. Records without a
    /// value come only if asked for. Returns how many were visited.
    ///
    /// The daemons must agree to start by `start`; the records have until `deadline`. A record that
    /// moves meanwhile may come twice or not at all. The daemon ends a traverse that takes too long
    /// for it, and then nothing tells that records are missing.
    pub fn traverse(
        &mut self,
        db_id: u32,
        with_empty: bool,
        start: impl Into<Deadline>,
        deadline: impl Into<Deadline>,
        visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> bool,
    ) -> Result<u64> {
        let (start, deadline) = (start.into(), deadline.into());
        let number = u64::from(self.take_reqid() & 0xFFFF) << 32;
        let srvid = u64::from(CLIENT_RANGE) << RANGE_SHIFT | number | u64::from(std::process::id());
        self.register(srvid, start)?;
        let request = TraverseStartExt { db_id, reqid: 0, srvid, withemptyrecords: with_empty };
        let own = self.pnn();
        let result = self
            .control::<call::TraverseStartExt, ()>(own, start, &request)
            .and_then(|()| self.receive_records(srvid, deadline, visit));
        // A connection that has failed has nothing registered any more.
        let deregistered = self.deregister(srvid, start);
        let visited = result?;
        deregistered?;
        Ok(visited)
    }

    fn receive_records(
        &mut self,
        srvid: u64,
        deadline: Deadline,
        mut visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> bool,
    ) -> Result<u64> {
        let malformed = |source| Error::Malformed { what: "traverse record", source };
        let mut visited = 0;
        loop {
            let message = self.wait_message(srvid, deadline)?;
            let record = RecData::from_prefix(&message.data).map_err(malformed)?;
            if record.is_end_of_traverse() {
                return Ok(visited);
            }
            let header = LtdbHeader::from_prefix(record.data).map_err(malformed)?;
            let value = record.data.get(LtdbHeader::SIZE..).unwrap_or_default();
            visited += 1;
            if !visit(record.key, header, value) {
                return Ok(visited);
            }
        }
    }
}
