// SPDX-License-Identifier: GPL-3.0-or-later
//! Record calls: a function of the local daemon applied to a record, which moves the record here
//! first (spec/wire.md 5.1, 6).

use ctdb_wire::flags::pnn;
use ctdb_wire::legacy::ReqCall;

use crate::client::{CallOutcome, Client, Kind, Ticket};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// A function to be called on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordCall<'a> {
    /// The database.
    pub db_id: u32,
    /// The function, [`ctdb_wire::flags::call`].
    pub function: u32,
    /// [`ctdb_wire::flags::call`] flags.
    pub flags: u32,
    /// The record's key.
    pub key: &'a [u8],
}

impl Client {
    /// Sends a record call; the result is taken later with [`Client::take_call`]. The daemon does
    /// not answer calls on databases it does not know.
    pub fn start_call(&mut self, request: &RecordCall<'_>) -> Result<Ticket> {
        if request.key.is_empty() {
            return Err(Error::Usage("a record needs a key"));
        }
        let body = ReqCall {
            flags: request.flags,
            db_id: request.db_id,
            callid: request.function,
            hopcount: 0,
            key: request.key,
            calldata: &[],
        };
        self.start(pnn::CURRENT_NODE, &body, Kind::Call)
    }

    /// Sends a record call and waits for its result.
    pub fn call(
        &mut self,
        request: &RecordCall<'_>,
        deadline: impl Into<Deadline>,
    ) -> Result<CallOutcome> {
        let ticket = self.start_call(request)?;
        self.await_new_reply(ticket, deadline.into())?;
        self.take_call(ticket).unwrap_or(Err(Error::Timeout { what: "reply" }))
    }
}
