// SPDX-License-Identifier: GPL-3.0-or-later
//! The service abstraction: a daemon of the cluster as a table of operations.

use crate::env::Env;
use crate::packet::{endpoint, Body, ClientId, DbId, Packet, Pnn};
use crate::ports::{ClientPacket, LockEvent, WriteOutcome};
use crate::view::ClusterView;
use std::sync::Arc;

/// Index of a service within its daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// What routing looks at: the command of a request or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A control with this opcode.
    Control(u32),
    /// A message to this srvid. Several services and clients may want it.
    Message(u64),
    /// REQ_CALL, REQ_DMASTER, REPLY_DMASTER.
    Record,
    /// REQ_KEEPALIVE.
    Keepalive,
    /// REQ_TUNNEL.
    Tunnel,
}

/// One thing that happened. A service handles it in one turn, without waiting.
#[derive(Debug)]
pub enum Event {
    /// A request, reply or message for this service.
    Packet(Packet),
    /// A timer of this service fired.
    Timer(u64),
    /// Both directions of the link to a node are up.
    LinkUp(Pnn),
    /// The link to a node is down.
    LinkDown(Pnn),
    /// The cluster view was replaced; `Env::view` is the new one.
    ViewChanged {
        /// The view before.
        old: Arc<ClusterView>,
    },
    /// News for this service alone.
    News(News),
}

/// What happened outside and concerns one service: clients the proxy, locks and writes the databases, the cluster
/// lock the cluster.
#[derive(Debug)]
pub enum News {
    /// A client connected.
    ClientConnected {
        /// Its id.
        client: ClientId,
        /// Process id of the peer as the socket reports it.
        pid: u32,
    },
    /// A client sent a packet.
    ClientPacket {
        /// Its id.
        client: ClientId,
        /// The packet.
        packet: ClientPacket,
    },
    /// A client has gone.
    ClientGone {
        /// Its id.
        client: ClientId,
    },
    /// A chain lock that was waited for is granted (or, `ok` false, could not be had).
    ChainGranted {
        /// The database.
        db: DbId,
        /// The chain.
        chain: u32,
        /// Whether it is held.
        ok: bool,
    },
    /// A freeze was decided.
    Frozen {
        /// The database.
        db: DbId,
        /// Whether the whole-database lock is held.
        ok: bool,
    },
    /// A write transaction or replacement ended.
    WriteDone {
        /// Given at its start.
        ticket: u64,
        /// How.
        outcome: WriteOutcome,
    },
    /// News of the cluster lock.
    ClusterLock(LockEvent),
}

/// A daemon's decisions. See the module for the life of a service.
///
/// `init` is called once before anything else, `activate` when all services have been initialised and links and
/// clients are about to begin, `deactivate` when shutdown begins, `reconfigure` after tunables changed.
pub trait Service {
    /// The name, as the log and the tools show it.
    fn name(&self) -> &'static str;
    /// The well-known endpoint id.
    fn endpoint(&self) -> u32;
    /// Whether it handles this command. For controls, records, keepalives and tunnels the answer must not
    /// change; for messages it is asked each time.
    fn matches(&self, command: Command) -> bool;
    /// Prepares; may fail the start of the daemon.
    fn init(&mut self, _env: &mut Env<'_>) -> Result<(), String> {
        Ok(())
    }
    /// Tunables changed.
    fn reconfigure(&mut self, _env: &mut Env<'_>) {}
    /// Work may begin.
    fn activate(&mut self, _env: &mut Env<'_>) {}
    /// Shutdown begins.
    fn deactivate(&mut self, _env: &mut Env<'_>) {}
    /// One turn.
    fn handle(&mut self, event: Event, env: &mut Env<'_>);
    /// For the invariant checks of the simulator and tests.
    fn as_any(&self) -> &dyn std::any::Any;
}

impl News {
    /// The well-known endpoint of the service that hears of it.
    pub fn owner(&self) -> u32 {
        match self {
            News::ClientConnected { .. } | News::ClientPacket { .. } | News::ClientGone { .. } => {
                endpoint::PROXY
            }
            News::ChainGranted { .. } | News::Frozen { .. } | News::WriteDone { .. } => {
                endpoint::DATABASE
            }
            News::ClusterLock(_) => endpoint::CLUSTER,
        }
    }
}

impl Command {
    /// The command of a packet that is not a reply.
    pub fn of(body: &Body) -> Option<Command> {
        match body {
            Body::Call(_) | Body::Dmaster(_) => Some(Command::Record),
            Body::Message { srvid, .. } => Some(Command::Message(*srvid)),
            Body::Control(c) => Some(Command::Control(c.opcode)),
            Body::Keepalive { .. } => Some(Command::Keepalive),
            Body::Tunnel { .. } => Some(Command::Tunnel),
            Body::CallReply { .. }
            | Body::Error { .. }
            | Body::ControlReply(_)
            | Body::Local(_) => None,
        }
    }
}
