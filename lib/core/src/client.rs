// SPDX-License-Identifier: GPL-3.0-or-later
//! A connection to the local daemon: requests under way, messages received (spec/wire.md 3, 12).
//!
//! Everything is built on two steps that never wait: [`Client::start_control`] (and its siblings)
//! send a request and return a [`Ticket`]; [`Client::dispatch`] receives what is there and sorts
//! it. An event loop watches [`Client::fd`] and calls `dispatch`; the blocking calls do the same in
//! a loop until their deadline.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use ctdb_wire::flags::pnn;
use ctdb_wire::legacy::{Body, Header, Packet, ReplyCall, ReplyControl, ReqMessage, Route};
use ctdb_wire::{control::call, Decode, Reader};

use crate::control::{ControlAddress, ControlOutcome};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::message::Inbox;
use crate::stream::Stream;
use crate::sys::{ForkMark, Wait};

/// The first request id; they count up from here within 31 bits.
const FIRST_REQID: u32 = 0x7FFF_FF38;
const MAX_REQID: u32 = 0x7FFF_FFFF;
/// Most requests under way at once.
const MAX_PENDING: usize = 1 << 20;

/// A request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u32);

/// Result of a record call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutcome {
    /// 0 is success.
    pub status: i32,
    /// What the function returned.
    pub data: Vec<u8>,
}

/// What the reply to a request will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Control(ControlAddress, ctdb_wire::Opcode),
    Call,
}

/// The reply to a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Control(ControlOutcome),
    Call(CallOutcome),
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    /// The reply, and how many came before it.
    reply: Option<(u64, Result<Reply>)>,
}

/// A connection to the local daemon.
///
/// One thread uses it at a time. After a fork the child's copy answers every call with
/// [`Error::Forked`]; dropping it there does not disturb the parent's connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    mark: Arc<ForkMark>,
    pnn: u32,
    next_reqid: u32,
    pending: HashMap<u32, Pending>,
    replies_seen: u64,
    pub(crate) inbox: Inbox,
    closed: bool,
}

impl Client {
    /// Connects to the daemon's socket and asks for the number of its node.
    pub fn connect(path: impl AsRef<Path>, deadline: impl Into<Deadline>) -> Result<Client> {
        Client::begin(Stream::connect(path.as_ref())?, deadline.into())
    }

    /// Takes over a socket that is connected to a daemon.
    pub fn from_socket(socket: UnixStream, deadline: impl Into<Deadline>) -> Result<Client> {
        Client::begin(Stream::new(socket)?, deadline.into())
    }

    fn begin(stream: Stream, deadline: Deadline) -> Result<Client> {
        let mut client = Client {
            stream,
            mark: Arc::new(ForkMark::new()),
            pnn: pnn::UNKNOWN,
            next_reqid: FIRST_REQID,
            pending: HashMap::new(),
            replies_seen: 0,
            inbox: Inbox::default(),
            closed: false,
        };
        let own = client.control_status::<call::GetPnn>(pnn::CURRENT_NODE, deadline, &())?;
        client.pnn = u32::try_from(own).map_err(|_| Error::Refused {
            control: ctdb_wire::Opcode::GetPnn,
            node: pnn::CURRENT_NODE,
            status: own,
            message: None,
        })?;
        Ok(client)
    }

    /// The number of the local node.
    pub fn pnn(&self) -> u32 {
        self.pnn
    }

    /// The descriptor to watch: readable, and writable while [`Client::wants_write`] holds.
    pub fn fd(&self) -> RawFd {
        self.stream.fd().as_raw_fd()
    }

    /// Whether packets wait for the socket to take them.
    pub fn wants_write(&self) -> bool {
        self.stream.wants_write()
    }

    /// The mark that tells this process from its children.
    pub(crate) fn mark(&self) -> &Arc<ForkMark> {
        &self.mark
    }

    fn check(&self) -> Result<()> {
        if !self.mark.is_own_process() {
            return Err(Error::Forked);
        }
        if self.closed {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Sends and receives what is possible without waiting, and sorts what arrived: replies to
    /// their requests, messages into the inbox. Returns how many packets arrived.
    pub fn dispatch(&mut self) -> Result<usize> {
        self.check()?;
        let result = self.dispatch_inner(Wait::No);
        self.note(result)
    }

    fn dispatch_inner(&mut self, wait: Wait) -> Result<usize> {
        self.stream.flush()?;
        let mut packets = self.sort_received()?;
        while !self.inbox.is_full() && self.stream.receive(wait)? {
            let sorted = self.sort_received()?;
            packets += sorted;
        }
        Ok(packets)
    }

    /// Remembers that the connection is beyond repair.
    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(Error::Closed | Error::Stream(_) | Error::Io { .. }) = &result {
            self.closed = true;
        }
        result
    }

    /// Whether the connection has failed; only what was received before is left.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits until at least one packet has been sorted; at the deadline [`Error::Timeout`].
    pub fn turn(&mut self, deadline: impl Into<Deadline>, what: &'static str) -> Result<()> {
        self.check()?;
        let result = self.turn_inner(deadline.into(), what);
        self.note(result)
    }

    fn turn_inner(&mut self, deadline: Deadline, what: &'static str) -> Result<()> {
        loop {
            if self.sort_received()? > 0 {
                return Ok(());
            }
            if self.inbox.is_full() {
                return Err(Error::QueueFull("too many messages are waiting to be taken"));
            }
            if !self.stream.wait_receive(deadline)? && deadline.has_passed() {
                return Err(Error::Timeout { what });
            }
        }
    }

    /// Sorts the packets of the input buffer.
    fn sort_received(&mut self) -> Result<usize> {
        let mut packets = 0;
        while !self.inbox.is_full() {
            let Some(range) = self.stream.next_packet()? else { break };
            packets += 1;
            self.sort(range);
        }
        Ok(packets)
    }

    fn sort(&mut self, range: (usize, usize)) {
        let packet = self.stream.packet(range);
        match Packet::decode(packet) {
            Ok((header, Packet::ReplyControl(body))) => {
                let reqid = header.route.reqid;
                if let Some(Kind::Control(to, opcode)) = self.pending_kind(reqid) {
                    let reply = control_outcome(to, opcode, &body);
                    self.complete(reqid, Ok(Reply::Control(reply)));
                }
            }
            Ok((header, Packet::ReplyCall(body))) => {
                let ReplyCall { status, data } = body;
                let reqid = header.route.reqid;
                if self.pending_kind(reqid) == Some(Kind::Call) {
                    let reply = CallOutcome { status, data: data.to_vec() };
                    self.complete(reqid, Ok(Reply::Call(reply)));
                }
            }
            Ok((_, Packet::ReqMessage(ReqMessage { srvid, data }))) => {
                self.inbox.push(srvid, data);
            }
            Ok((header, _)) => {
                log::debug!("packet of operation {} ignored", header.operation);
            }
            Err(source) => {
                log::warn!("packet from the daemon ignored: {source}");
                let reqid = Header::decode(&mut Reader::new(packet)).map(|h| h.route.reqid);
                if let Ok(reqid) = reqid {
                    self.complete(reqid, Err(Error::Malformed { what: "reply", source }));
                }
            }
        }
    }

    fn pending_kind(&self, reqid: u32) -> Option<Kind> {
        // A late reply to a request that was given up, or one of another client library's making.
        let pending = self.pending.get(&reqid)?;
        pending.reply.is_none().then_some(pending.kind)
    }

    fn complete(&mut self, reqid: u32, reply: Result<Reply>) {
        if let Some(pending) = self.pending.get_mut(&reqid) {
            pending.reply = Some((self.replies_seen, reply));
            self.replies_seen += 1;
        }
    }

    /// Sends a request and remembers that its reply is wanted.
    pub(crate) fn start<B: Body>(&mut self, node: u32, body: &B, kind: Kind) -> Result<Ticket> {
        self.check()?;
        if self.pending.len() >= MAX_PENDING {
            return Err(Error::QueueFull("too many requests are under way"));
        }
        let reqid = self.take_reqid();
        self.post(node, body, reqid)?;
        self.pending.insert(reqid, Pending { kind, reply: None });
        Ok(Ticket(reqid))
    }

    /// Sends a packet that is not answered.
    pub(crate) fn post<B: Body>(&mut self, node: u32, body: &B, reqid: u32) -> Result<()> {
        self.check()?;
        let route = Route { generation: 0, destnode: node, srcnode: self.pnn, reqid };
        let result = self.stream.send(&route, body);
        self.note(result)
    }

    pub(crate) fn take_reqid(&mut self) -> u32 {
        loop {
            let reqid = self.next_reqid;
            self.next_reqid = if reqid >= MAX_REQID { 0 } else { reqid + 1 };
            if !self.pending.contains_key(&reqid) {
                return reqid;
            }
        }
    }

    /// Whether a request has been answered (or has failed).
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        self.pending.get(&ticket.0).is_none_or(|pending| pending.reply.is_some())
    }

    /// What a request asked for and of whom, while it is under way or its reply waits.
    pub(crate) fn kind_of(&self, ticket: Ticket) -> Option<Kind> {
        Some(self.pending.get(&ticket.0)?.kind)
    }

    /// Forgets a request; its reply will be dropped.
    pub fn forget(&mut self, ticket: Ticket) {
        self.pending.remove(&ticket.0);
    }

    /// Takes the reply of a request out, if it is there.
    fn take(&mut self, ticket: Ticket) -> Option<Result<(u64, Reply)>> {
        match self.pending.get(&ticket.0) {
            None => Some(Err(Error::Usage("no such request is under way"))),
            Some(pending) if pending.reply.is_none() => None,
            Some(_) => {
                let (order, reply) = self.pending.remove(&ticket.0)?.reply?;
                Some(reply.map(|reply| (order, reply)))
            }
        }
    }

    pub(crate) fn take_control(&mut self, ticket: Ticket) -> Option<Result<(u64, ControlOutcome)>> {
        Some(match self.take(ticket)? {
            Ok((order, Reply::Control(outcome))) => Ok((order, outcome)),
            Ok((_, Reply::Call(_))) => Err(Error::Usage("the request is not a control")),
            Err(e) => Err(e),
        })
    }

    /// Takes the result of a record call, if it has arrived.
    pub fn take_call(&mut self, ticket: Ticket) -> Option<Result<CallOutcome>> {
        Some(match self.take(ticket)? {
            Ok((_, Reply::Call(outcome))) => Ok(outcome),
            Ok((_, Reply::Control(_))) => Err(Error::Usage("the request is not a record call")),
            Err(e) => Err(e),
        })
    }

    /// Waits for the answer of a request that was just sent. A deadline that has passed already is a
    /// timeout, however fast the daemon is; later the answer counts if it is there.
    pub(crate) fn await_new_reply(&mut self, ticket: Ticket, deadline: Deadline) -> Result<()> {
        if deadline.has_passed() {
            self.forget(ticket);
            return Err(Error::Timeout { what: "reply" });
        }
        self.await_reply(ticket, deadline)
    }

    /// Waits until a request has been answered. At the deadline it is forgotten.
    pub(crate) fn await_reply(&mut self, ticket: Ticket, deadline: Deadline) -> Result<()> {
        while !self.is_answered(ticket) {
            if let Err(e) = self.turn(deadline, "reply") {
                self.forget(ticket);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Waits until the daemon has taken everything that was sent. What arrives meanwhile is sorted.
    pub fn drain(&mut self, deadline: impl Into<Deadline>) -> Result<()> {
        self.check()?;
        let result = self.drain_inner(deadline.into());
        self.note(result)
    }

    fn drain_inner(&mut self, deadline: Deadline) -> Result<()> {
        self.stream.flush()?;
        while self.stream.wants_write() {
            self.sort_received()?;
            if self.inbox.is_full() {
                return Err(Error::QueueFull("too many messages are waiting to be taken"));
            }
            if !self.stream.wait_receive(deadline)? && deadline.has_passed() {
                return Err(Error::Timeout { what: "daemon to take what is sent to it" });
            }
        }
        self.sort_received().map(|_| ())
    }

    /// Sends a message. Nothing tells whether anybody received it.
    pub fn send_message(&mut self, node: u32, srvid: u64, data: &[u8]) -> Result<()> {
        let reqid = self.take_reqid();
        self.post(node, &ReqMessage { srvid, data }, reqid)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }
}

fn control_outcome(
    to: ControlAddress,
    opcode: ctdb_wire::Opcode,
    body: &ReplyControl<'_>,
) -> ControlOutcome {
    ControlOutcome {
        node: to.node,
        opcode,
        status: body.status,
        payload: body.data.to_vec(),
        message: if body.status == 0 { None } else { body.error_text() },
    }
}
