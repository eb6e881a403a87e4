// SPDX-License-Identifier: GPL-3.0-or-later
//! The client socket: local programs that speak the existing protocol (`spec/wire.md 4.1`).

use crate::hot::codec;
use crate::hot::inbuf::{InBuf, ReadState};
use crate::hot::outbuf::OutBuf;
use crate::hot::Ready;
use ctdb_engine::packet::{endpoint, ClientId};
use ctdb_engine::ports::ClientPacket;
use ctdb_wire::frame::Dialect;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::collections::HashMap;
use std::io;

/// Token of the listener. A client's token is its id with this bit.
pub const LISTENER: Token = Token(TOKEN_BIT);
/// Tokens of this module have this bit set.
pub const TOKEN_BIT: usize = 1 << 61;

/// A client that takes nothing until this much is queued is disconnected.
const BACKLOG_LIMIT: usize = 512 << 20;
/// Largest packet accepted from a client.
const MAX_PACKET: usize = 256 << 20;
/// Most connections at a time.
const MAX_CLIENTS: usize = 100_000;

/// What happened on the client socket.
pub enum ClientEvent {
    /// A client connected; its process id.
    Connected(ClientId, u32),
    /// A client sent a packet.
    Packet(ClientId, ClientPacket),
    /// A client has gone.
    Gone(ClientId),
    /// A malformed packet was refused or ended its connection.
    Malformed,
}

struct Client {
    stream: UnixStream,
    input: InBuf,
    out: OutBuf,
    dirty: bool,
    blocked: bool,
}

/// The client socket and its connections.
pub struct Clients {
    registry: Registry,
    listener: UnixListener,
    clients: HashMap<ClientId, Client>,
    next_client: ClientId,
    dirty: Vec<ClientId>,
    /// Readable, not yet read: their last read filled the buffer, or reading is paused.
    unread: Vec<Token>,
    pnn: u32,
}

impl Clients {
    /// Serves `listener`. Connections wait in its backlog until [`Clients::start`].
    pub fn new(
        registry: Registry,
        listener: std::os::unix::net::UnixListener,
        pnn: u32,
    ) -> io::Result<Clients> {
        listener.set_nonblocking(true)?;
        Ok(Clients {
            registry,
            listener: UnixListener::from_std(listener),
            clients: HashMap::new(),
            next_client: endpoint::FIRST_CLIENT,
            dirty: Vec::new(),
            unread: Vec::new(),
            pnn,
        })
    }

    /// Begins to accept.
    pub fn start(&mut self) -> io::Result<()> {
        self.registry.register(&mut self.listener, LISTENER, Interest::READABLE)
    }

    /// Queues a packet; dropped if the client has gone.
    pub fn send(&mut self, client: ClientId, generation: u32, packet: &ClientPacket) {
        let Some(c) = self.clients.get_mut(&client) else { return };
        if let Err(e) = codec::encode_client(c.out.tail(), self.pnn, generation, packet) {
            return log::error!("packet for client {client} cannot be encoded: {e}");
        }
        if !c.dirty {
            c.dirty = true;
            self.dirty.push(client);
        }
    }

    /// Packets queued and not yet taken by a client.
    pub fn backlog(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |c| if c.out.is_empty() { 0 } else { c.out.packets() })
    }

    /// Number of connections.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// Closes a connection.
    pub fn close(&mut self, client: ClientId, events: &mut Vec<ClientEvent>) {
        if let Some(mut c) = self.clients.remove(&client) {
            // What was queued before (an answer, say) is still delivered if the client takes it at once.
            let _ = c.out.flush(&mut c.stream);
            let _ = self.registry.deregister(&mut c.stream);
            events.push(ClientEvent::Gone(client));
        }
    }

    /// Something is ready.
    pub fn ready(
        &mut self,
        token: Token,
        ready: Ready,
        scratch: &mut [u8],
        events: &mut Vec<ClientEvent>,
    ) {
        if token == LISTENER {
            return self.accept(events);
        }
        let client = (token.0 & !TOKEN_BIT) as ClientId;
        if ready.writable {
            self.flush_client(client, events);
        }
        if !ready.readable {
            return;
        }
        let Some(c) = self.clients.get_mut(&client) else { return };
        let state = c.input.read(&mut c.stream, scratch);
        self.take_packets(client, events);
        match state {
            Ok(ReadState::Drained) if !ready.closed => {}
            Ok(ReadState::Drained | ReadState::More) => self.unread.push(token),
            Ok(ReadState::Closed) => self.close(client, events),
            Err(e) => {
                log::debug!("client {client}: {e}");
                self.close(client, events);
            }
        }
    }

    fn take_packets(&mut self, client: ClientId, events: &mut Vec<ClientEvent>) {
        loop {
            let Some(c) = self.clients.get_mut(&client) else { return };
            let buf = match c.input.next_packet() {
                Ok(Some(buf)) => buf,
                Ok(None) => return,
                Err(e) => return self.malformed(client, &e.to_string(), events),
            };
            match codec::decode_client(&buf) {
                Ok(Some(packet)) => events.push(ClientEvent::Packet(client, packet)),
                Ok(None) => {
                    log::debug!("client {client}: ignored an operation not meant for daemons")
                }
                Err(e) => {
                    self.refuse(client, &buf);
                    return self.malformed(client, &e.to_string(), events);
                }
            }
        }
    }

    /// What a client sent makes no sense: nothing that follows it would.
    fn malformed(&mut self, client: ClientId, why: &str, events: &mut Vec<ClientEvent>) {
        log::warn!("malformed packet from client {client}: {why}");
        events.push(ClientEvent::Malformed);
        self.close(client, events);
    }

    /// A control whose inner lengths are wrong is answered with -1 (`spec/wire.md 11.1`).
    fn refuse(&mut self, client: ClientId, buf: &bytes::Bytes) {
        use ctdb_engine::packet::{Body, ControlReply};
        if let Some(reqid) = codec::control_to_refuse(buf) {
            let body = Body::ControlReply(ControlReply::status(-1));
            self.send(client, 0, &ClientPacket { destnode: 0, reqid, body });
        }
    }

    /// Streams to read on before waiting again.
    pub fn take_unread(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.unread)
    }

    /// Remembers a readable stream that is not read now, because a node link is full.
    pub fn postpone(&mut self, token: Token) {
        if !self.unread.contains(&token) {
            self.unread.push(token);
        }
    }

    /// Whether streams wait to be read on.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn accept(&mut self, events: &mut Vec<ClientEvent>) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => return log::error!("accept of a client: {e}"),
            };
            if self.clients.len() >= MAX_CLIENTS {
                log::error!("refused a client: {MAX_CLIENTS} are connected");
                continue;
            }
            let client = self.new_id();
            let token = Token(TOKEN_BIT | client as usize);
            if let Err(e) = self.registry.register(&mut stream, token, Interest::READABLE) {
                log::error!("accept of a client: {e}");
                continue;
            }
            let pid = crate::hot::os::peer_pid(&stream).unwrap_or(0);
            let input = InBuf::new(Dialect::LegacyClient, MAX_PACKET);
            let out = OutBuf::default();
            self.clients
                .insert(client, Client { stream, input, out, dirty: false, blocked: false });
            events.push(ClientEvent::Connected(client, pid));
        }
    }

    fn new_id(&mut self) -> ClientId {
        loop {
            let id = self.next_client;
            self.next_client = if id >= 0x7FFF_FFFF { endpoint::FIRST_CLIENT } else { id + 1 };
            if !self.clients.contains_key(&id) {
                return id;
            }
        }
    }

    /// Writes what was queued.
    pub fn flush(&mut self, events: &mut Vec<ClientEvent>) {
        while let Some(client) = self.dirty.pop() {
            self.flush_client(client, events);
        }
    }

    fn flush_client(&mut self, client: ClientId, events: &mut Vec<ClientEvent>) {
        let Some(c) = self.clients.get_mut(&client) else { return };
        c.dirty = false;
        let failure = match c.out.flush(&mut c.stream) {
            Ok(done) if c.blocked == done => {
                c.blocked = !done;
                let interest = match done {
                    true => Interest::READABLE,
                    false => Interest::READABLE | Interest::WRITABLE,
                };
                let token = Token(TOKEN_BIT | client as usize);
                self.registry.reregister(&mut c.stream, token, interest).err()
            }
            Ok(_) => None,
            Err(e) => Some(e),
        };
        if let Some(e) = failure {
            log::debug!("client {client}: {e}");
            self.close(client, events);
        } else if c.out.backlog() > BACKLOG_LIMIT {
            log::error!("client {client} takes nothing and too much is queued: disconnected");
            self.close(client, events);
        }
    }
}
