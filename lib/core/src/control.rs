// SPDX-License-Identifier: GPL-3.0-or-later
//! Controls: remote procedure calls to the daemon of any node (spec/wire.md 8).
//!
//! Which control is meant is said with a type of [`ctdb_wire::control::call`]; request and reply
//! have the types of the table there.
//!
//! ```no_run
//! use std::time::Duration;
//! use ctdb_wire::control::call;
//! # fn example(client: &mut ctdbcore::Client) -> ctdbcore::Result<()> {
//! let limit = Duration::from_secs(10);
//! let map = client.control::<call::GetNodemap, _>(client.pnn(), limit, &())?;
//! let clients = client.control_status::<call::Ping>(1, limit, &())?;
//! # Ok(()) }
//! ```

use ctdb_wire::control::call;
use ctdb_wire::legacy::ReqControl;
use ctdb_wire::types::PidSrvid;
use ctdb_wire::{Control, ControlReply, Encode, Opcode};

use crate::client::{Client, Kind, Ticket};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// Where a control goes, and its arguments outside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlAddress {
    /// PNN, or a special node number.
    pub node: u32,
    /// The address that some controls are about; else 0.
    pub srvid: u64,
    /// [`ctdb_wire::flags::control`] flags.
    pub flags: u32,
}

impl From<u32> for ControlAddress {
    fn from(node: u32) -> ControlAddress {
        ControlAddress { node, srvid: 0, flags: 0 }
    }
}

impl ControlAddress {
    /// The same with a message address.
    pub fn about(self, srvid: u64) -> ControlAddress {
        ControlAddress { srvid, ..self }
    }

    /// The same with more flags.
    pub fn with_flags(self, flags: u32) -> ControlAddress {
        ControlAddress { flags: self.flags | flags, ..self }
    }
}

/// What a daemon answered to a control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlOutcome {
    /// The node that was asked.
    pub node: u32,
    /// The control.
    pub opcode: Opcode,
    /// 0 is success; some controls return a value here.
    pub status: i32,
    /// Payload of a successful reply.
    pub payload: Vec<u8>,
    /// The daemon's words about a failure, if it had any.
    pub message: Option<String>,
}

impl ControlOutcome {
    /// The decoded payload; a status that is not 0 is an error.
    pub fn reply<C: Control>(&self) -> Result<C::Reply<'_>> {
        self.success()?;
        C::decode_reply(&self.payload).map_err(|source| self.not_understood(source))
    }

    /// The decoded payload of whichever control it was.
    pub fn any_reply(&self) -> Result<ControlReply<'_>> {
        self.success()?;
        ControlReply::decode(self.opcode, &self.payload)
            .map_err(|source| self.not_understood(source))
    }

    /// An answer that is none: as useful as no answer.
    fn not_understood(&self, source: ctdb_wire::Error) -> Error {
        no_reply(self.opcode, self.node, Error::Malformed { what: "reply", source })
    }

    /// Fails unless the status is 0.
    pub fn success(&self) -> Result<()> {
        match self.status {
            0 => Ok(()),
            status => Err(Error::Refused {
                control: self.opcode,
                node: self.node,
                status,
                message: self.message.clone(),
            }),
        }
    }
}

impl Client {
    /// Sends a control; the reply is taken later with [`Client::take_outcome`].
    pub fn start_control<C: Control>(
        &mut self,
        to: impl Into<ControlAddress>,
        request: &C::Request<'_>,
    ) -> Result<Ticket> {
        let to = to.into();
        let payload = request.to_vec();
        self.start(to.node, &body(&to, C::OPCODE, &payload), Kind::Control(to, C::OPCODE))
    }

    /// Sends a control that is not answered.
    pub fn post_control<C: Control>(
        &mut self,
        to: impl Into<ControlAddress>,
        request: &C::Request<'_>,
    ) -> Result<()> {
        let to = to.into().with_flags(ctdb_wire::flags::control::NOREPLY);
        let payload = request.to_vec();
        let reqid = self.take_reqid();
        self.post(to.node, &body(&to, C::OPCODE, &payload), reqid)
    }

    /// Takes the answer of a control, if it has arrived.
    pub fn take_outcome(&mut self, ticket: Ticket) -> Option<Result<ControlOutcome>> {
        Some(self.take_control(ticket)?.map(|(_, outcome)| outcome))
    }

    /// Waits for the answer of a control that was started. At the deadline it is forgotten.
    pub fn finish_control(
        &mut self,
        ticket: Ticket,
        deadline: impl Into<Deadline>,
    ) -> Result<ControlOutcome> {
        let Some(Kind::Control(to, opcode)) = self.kind_of(ticket) else {
            return Err(Error::Usage("no such control is under way"));
        };
        let waited = self.await_reply(ticket, deadline.into());
        let outcome = waited.and_then(|()| {
            self.take_outcome(ticket).unwrap_or(Err(Error::Timeout { what: "reply" }))
        });
        outcome.map_err(|e| no_reply(opcode, to.node, e))
    }

    /// Sends a control and waits for the answer, whatever its status.
    pub fn control_outcome<C: Control>(
        &mut self,
        to: impl Into<ControlAddress>,
        deadline: impl Into<Deadline>,
        request: &C::Request<'_>,
    ) -> Result<ControlOutcome> {
        let (to, deadline) = (to.into(), deadline.into());
        let asked = self.start_control::<C>(to, request);
        let outcome = asked.and_then(|ticket| {
            self.await_new_reply(ticket, deadline)?;
            self.take_outcome(ticket).unwrap_or(Err(Error::Timeout { what: "reply" }))
        });
        outcome.map_err(|e| no_reply(C::OPCODE, to.node, e))
    }

    /// Sends a control and waits for its reply; a status that is not 0 is an error.
    pub fn control<C, T>(
        &mut self,
        to: impl Into<ControlAddress>,
        deadline: impl Into<Deadline>,
        request: &C::Request<'_>,
    ) -> Result<T>
    where
        C: for<'a> Control<Reply<'a> = T>,
    {
        self.control_outcome::<C>(to, deadline, request)?.reply::<C>()
    }

    /// Sends a control whose result is its status.
    pub fn control_status<C: Control>(
        &mut self,
        to: impl Into<ControlAddress>,
        deadline: impl Into<Deadline>,
        request: &C::Request<'_>,
    ) -> Result<i32> {
        Ok(self.control_outcome::<C>(to, deadline, request)?.status)
    }
}

fn body<'a>(to: &ControlAddress, opcode: Opcode, payload: &'a [u8]) -> ReqControl<'a> {
    ReqControl {
        opcode: opcode.into(),
        srvid: to.srvid,
        client_id: 0,
        flags: to.flags,
        data: payload,
    }
}

impl Client {
    /// Whether a process of some node is connected to that node's daemon, and has registered `srvid` if
    /// one is given. No answer is an error, any answer a definite one.
    pub fn process_exists(
        &mut self,
        node: u32,
        pid: u32,
        srvid: Option<u64>,
        deadline: impl Into<Deadline>,
    ) -> Result<bool> {
        let Ok(pid) = i32::try_from(pid) else { return Ok(false) };
        let status = match srvid {
            None => self.control_status::<call::ProcessExists>(node, deadline, &pid)?,
            Some(srvid) => {
                let request = PidSrvid { pid, srvid };
                self.control_status::<call::CheckPidSrvid>(node, deadline, &request)?
            }
        };
        Ok(status == 0)
    }
}

pub(crate) fn no_reply(control: Opcode, node: u32, source: Error) -> Error {
    Error::NoReply { control, node, source: Box::new(source) }
}
