// SPDX-License-Identifier: GPL-3.0-or-later
//! Node links: for each peer two one-way TCP streams (`spec/cluster.md 5`, docs/protocol.md).
//!
//! The own stream to a peer is only written, the stream accepted from it only read; a link is up when both
//! are. Each stream begins with HELLO. Whatever ends one stream ends both, so nothing of a peer's earlier
//! incarnation is handled after a later one has appeared.

use crate::hot::codec;
use crate::hot::inbuf::{InBuf, ReadState};
use crate::hot::outbuf::OutBuf;
use crate::hot::Ready;
use bytes::Bytes;
use ctdb_engine::packet::{Packet, Pnn};
use ctdb_engine::view::{flags, NodeView};
use ctdb_wire::frame::Dialect;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Tokens of this module have this bit set; the rest is an ever growing stream number.
pub const TOKEN_BIT: usize = 1 << 62;
/// Token of the listener.
pub const LISTENER: Token = Token(TOKEN_BIT);

/// A peer that takes nothing for this long in bytes is reset (design: never stop reading one link because
/// another is full).
const BACKLOG_LIMIT: usize = 512 << 20;
/// Largest packet accepted from a peer.
const MAX_PACKET: usize = 256 << 20;
/// Streams accepted that have not said HELLO yet.
const MAX_STRANGERS: usize = 64;
/// Between attempts to connect, and the limit of one attempt (`spec/cluster.md 5.3`).
const RETRY: Duration = Duration::from_secs(1);
/// A peer that refuses is probably starting: try again sooner at first.
const RETRY_SOON: Duration = Duration::from_millis(50);
/// How many attempts in a row are retried soon.
const SOON_ATTEMPTS: u32 = 40;

/// What happened on the links.
pub enum LinkEvent {
    /// Both streams are up.
    Up(Pnn),
    /// The link was up and is not any more.
    Down(Pnn),
    /// A packet came.
    Packet(Packet),
    /// A malformed packet or greeting closed a stream.
    Malformed,
}

enum Outgoing {
    Idle { retry_at: Instant },
    Connecting { stream: TcpStream, token: Token, deadline: Instant },
    Up { stream: TcpStream, token: Token, blocked: bool },
}

struct Peer {
    address: SocketAddr,
    deleted: bool,
    outgoing: Outgoing,
    attempts: u32,
    out: OutBuf,
    incoming: Option<Token>,
    boot: u64,
    reported_up: bool,
    dirty: bool,
}

struct Incoming {
    stream: TcpStream,
    input: InBuf,
    address: IpAddr,
    peer: Option<Pnn>,
}

/// The links of a node.
pub struct Links {
    registry: Registry,
    listener: TcpListener,
    own: Pnn,
    own_address: IpAddr,
    boot: u64,
    peers: Vec<Peer>,
    incoming: BTreeMap<usize, Incoming>,
    outgoing_by_token: BTreeMap<usize, Pnn>,
    next_stream: usize,
    dirty: Vec<Pnn>,
    unread: Vec<Token>,
    started: bool,
}

impl Links {
    /// Links of the node `own`, over the listening socket `listener`. `boot` names this instance of the daemon.
    pub fn new(
        registry: Registry,
        listener: std::net::TcpListener,
        own: Pnn,
        nodes: &[NodeView],
        boot: u64,
    ) -> io::Result<Links> {
        listener.set_nonblocking(true)?;
        let own_address = listener.local_addr()?.ip();
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut links = Links {
            registry,
            listener,
            own,
            own_address,
            boot,
            peers: Vec::new(),
            incoming: BTreeMap::new(),
            outgoing_by_token: BTreeMap::new(),
            next_stream: 1,
            dirty: Vec::new(),
            unread: Vec::new(),
            started: false,
        };
        links.set_nodes(nodes, &mut Vec::new());
        Ok(links)
    }

    /// Adopts the nodes file: an entry with the same address keeps its link.
    pub fn set_nodes(&mut self, nodes: &[NodeView], events: &mut Vec<LinkEvent>) {
        let now = Instant::now();
        for (pnn, node) in nodes.iter().enumerate() {
            let address = SocketAddr::new(node.address, node.port);
            let deleted = node.flags & flags::DELETED != 0;
            let fresh = Peer {
                address,
                deleted,
                outgoing: Outgoing::Idle { retry_at: now },
                attempts: 0,
                out: OutBuf::default(),
                incoming: None,
                boot: 0,
                reported_up: false,
                dirty: false,
            };
            match self.peers.get(pnn) {
                Some(old) if old.address == address && old.deleted == deleted => {}
                Some(_) => {
                    self.reset(pnn as Pnn, "node list changed", events);
                    if let Some(slot) = self.peers.get_mut(pnn) {
                        *slot = fresh;
                    }
                }
                None => self.peers.push(fresh),
            }
        }
        while self.peers.len() > nodes.len() {
            let last = self.peers.len() - 1;
            self.reset(last as Pnn, "node list changed", events);
            self.peers.pop();
        }
    }

    /// Begins to connect.
    pub fn start(&mut self) {
        self.started = true;
    }

    /// Queues a packet; dropped if the own stream to `to` is not up.
    pub fn send(&mut self, to: Pnn, packet: &Packet) {
        self.put(to, |out| codec::encode_native(out, packet));
    }

    fn refuse_unknown(&mut self, to: Pnn, packet: &[u8]) {
        log::debug!("node {to} sent a packet with an unknown command");
        self.put(to, |out| codec::refuse_unknown(out, packet));
    }

    fn put(&mut self, to: Pnn, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), ctdb_wire::Error>) {
        let Some(peer) = self.peers.get_mut(to as usize) else { return };
        if !matches!(peer.outgoing, Outgoing::Up { .. }) {
            return;
        }
        if let Err(e) = encode(peer.out.tail()) {
            return log::error!("packet for node {to} cannot be encoded: {e}");
        }
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(to);
        }
    }

    /// Bytes queued for `to`.
    pub fn backlog(&self, to: Pnn) -> usize {
        self.peers.get(to as usize).map_or(0, |p| p.out.backlog())
    }

    /// The largest backlog of any link.
    pub fn worst_backlog(&self) -> usize {
        self.peers.iter().map(|p| p.out.backlog()).max().unwrap_or(0)
    }

    /// When [`Links::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.started {
            return None;
        }
        let of = |(pnn, peer): (usize, &Peer)| match &peer.outgoing {
            _ if pnn == self.own as usize || peer.deleted => None,
            Outgoing::Idle { retry_at } => Some(*retry_at),
            Outgoing::Connecting { deadline, .. } => Some(*deadline),
            Outgoing::Up { .. } => None,
        };
        self.peers.iter().enumerate().filter_map(of).min()
    }

    /// Starts and abandons attempts to connect.
    pub fn tick(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        for pnn in 0..self.peers.len() as Pnn {
            let Some(peer) = self.peers.get(pnn as usize) else { continue };
            if pnn == self.own || peer.deleted {
                continue;
            }
            match &peer.outgoing {
                Outgoing::Idle { retry_at } if *retry_at <= now => self.connect(pnn, now),
                Outgoing::Connecting { deadline, .. } if *deadline <= now => {
                    self.drop_outgoing(pnn, now);
                    self.connect(pnn, now);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, pnn: Pnn, now: Instant) {
        let token = self.new_token();
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        peer.attempts = peer.attempts.saturating_add(1);
        let attempt = connect_from(self.own_address, peer.address).and_then(|mut stream| {
            self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match attempt {
            Ok(stream) => {
                peer.outgoing = Outgoing::Connecting { stream, token, deadline: now + RETRY };
                self.outgoing_by_token.insert(token.0, pnn);
            }
            Err(e) => {
                log::debug!("connect to node {pnn} ({}): {e}", peer.address);
                peer.outgoing = Outgoing::Idle { retry_at: now + retry_after(peer.attempts) };
            }
        }
    }

    fn new_token(&mut self) -> Token {
        self.next_stream += 1;
        Token(TOKEN_BIT | self.next_stream)
    }

    /// Something is ready.
    pub fn ready(
        &mut self,
        token: Token,
        ready: Ready,
        scratch: &mut [u8],
        events: &mut Vec<LinkEvent>,
    ) {
        if token == LISTENER {
            self.accept();
        } else if let Some(&pnn) = self.outgoing_by_token.get(&token.0) {
            self.outgoing_ready(pnn, ready, events);
        } else {
            self.incoming_ready(token, ready, scratch, events);
        }
    }

    fn accept(&mut self) {
        loop {
            let (mut stream, from) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => return log::warn!("accept of a node connection: {e}"),
            };
            let address = from.ip();
            let known = self.peers.iter().enumerate().any(|(pnn, p)| {
                p.address.ip() == address && !p.deleted && pnn != self.own as usize
            });
            if !known {
                log::warn!("Refused connection from unknown node {address}:{}", from.port());
                continue;
            }
            self.make_room_for_stranger();
            let token = self.new_token();
            if let Err(e) = self.registry.register(&mut stream, token, Interest::READABLE) {
                log::warn!("accept of a connection from {from}: {e}");
                continue;
            }
            keepalive(&stream);
            let input = InBuf::new(Dialect::Native, MAX_PACKET);
            self.incoming.insert(token.0, Incoming { stream, input, address, peer: None });
        }
    }

    /// Ends the oldest stream without greeting if there are many: connections that stay silent must not keep nodes out.
    fn make_room_for_stranger(&mut self) {
        let mut strangers = self.incoming.iter().filter(|(_, i)| i.peer.is_none());
        let oldest = strangers.next().map(|(token, i)| (*token, i.address));
        if let Some((token, address)) = oldest.filter(|_| strangers.count() + 1 >= MAX_STRANGERS) {
            log::warn!("closed a connection from {address} that never greeted: there are too many");
            self.drop_incoming(Token(token));
        }
    }

    fn outgoing_ready(&mut self, pnn: Pnn, ready: Ready, events: &mut Vec<LinkEvent>) {
        let now = Instant::now();
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        let failure: io::Result<()> = match &mut peer.outgoing {
            Outgoing::Idle { .. } => Ok(()),
            Outgoing::Connecting { stream, .. } => match connect_result(stream) {
                Ok(false) => Ok(()),
                Ok(true) => return self.outgoing_up(pnn, events),
                Err(e) => {
                    log::debug!("connect to node {pnn} ({}): {e}", peer.address);
                    return self.drop_outgoing(pnn, now);
                }
            },
            Outgoing::Up { stream, .. } => {
                if ready.writable && !ready.readable {
                    return self.flush_peer(pnn, events);
                }
                // Nothing may be sent backwards (spec/cluster.md 5.5): any byte or end ends the link.
                match std::io::Read::read(stream, &mut [0u8; 1]) {
                    Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => Err(io::Error::other("data on a one-way connection")),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(e) => Err(e),
                }
            }
        };
        match failure {
            Err(e) => self.reset(pnn, &format!("own connection: {e}"), events),
            Ok(()) if ready.writable => self.flush_peer(pnn, events),
            Ok(()) => {}
        }
    }

    fn outgoing_up(&mut self, pnn: Pnn, events: &mut Vec<LinkEvent>) {
        let (own, boot) = (self.own, self.boot);
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        let old =
            std::mem::replace(&mut peer.outgoing, Outgoing::Idle { retry_at: Instant::now() });
        let Outgoing::Connecting { mut stream, token, .. } = old else {
            peer.outgoing = old;
            return;
        };
        if let Err(e) = stream.set_nodelay(true) {
            log::debug!("node {pnn}: TCP_NODELAY: {e}");
        }
        keepalive(&stream);
        // From now on writability is only asked for while the stream is full.
        if let Err(e) = self.registry.reregister(&mut stream, token, Interest::READABLE) {
            log::warn!("node {pnn}: {e}");
        }
        peer.attempts = 0;
        peer.outgoing = Outgoing::Up { stream, token, blocked: false };
        peer.out.clear();
        codec::encode_hello(peer.out.tail(), own, pnn, boot);
        self.flush_peer(pnn, events);
        self.report(pnn, events);
    }

    fn incoming_ready(
        &mut self,
        token: Token,
        ready: Ready,
        scratch: &mut [u8],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(incoming) = self.incoming.get_mut(&token.0) else { return };
        let state = incoming.input.read(&mut incoming.stream, scratch);
        loop {
            let Some(incoming) = self.incoming.get_mut(&token.0) else { return };
            let packet = match incoming.input.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(e) => return self.malformed(token, &e.to_string(), events),
            };
            match incoming.peer {
                None => self.greet(token, &packet, events),
                Some(pnn) => match codec::decode_native(&packet) {
                    Ok(Some(packet)) => events.push(LinkEvent::Packet(packet)),
                    Ok(None) => self.refuse_unknown(pnn, &packet),
                    Err(e) => return self.malformed(token, &e.to_string(), events),
                },
            }
        }
        match state {
            Ok(ReadState::Drained) if !ready.closed => {}
            Ok(ReadState::Drained | ReadState::More) => self.unread.push(token),
            Ok(ReadState::Closed) => self.end_incoming(token, "peer closed the connection", events),
            Err(e) => self.end_incoming(token, &format!("peer's connection: {e}"), events),
        }
    }

    /// Streams whose last read filled the buffer: read on before waiting again.
    pub fn take_unread(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.unread)
    }

    /// Whether streams wait to be read on.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    fn greet(&mut self, token: Token, packet: &Bytes, events: &mut Vec<LinkEvent>) {
        let hello = match codec::decode_hello(packet) {
            Ok(Some(hello)) => hello,
            Ok(None) => return self.malformed(token, "first packet is not HELLO", events),
            Err(e) => return self.malformed(token, &e.to_string(), events),
        };
        let pnn = hello.pnn;
        let Some(address) = self.incoming.get(&token.0).map(|i| i.address) else { return };
        let matches = self
            .peers
            .get(pnn as usize)
            .is_some_and(|p| p.address.ip() == address && !p.deleted && pnn != self.own);
        if !matches {
            let why = format!("{address} greets as node {pnn}, which has another address");
            return self.malformed(token, &why, events);
        }
        // A second stream from the same node: the peer has given up the first one, or is a new instance. All of
        // the old link ends here, before the first packet of the new one.
        if self.peers.get(pnn as usize).is_some_and(|p| p.incoming.is_some()) {
            self.reset(pnn, "the peer connected anew", events);
        }
        if let Some(peer) = self.peers.get_mut(pnn as usize) {
            peer.incoming = Some(token);
            // The peer is there: connect to it at once.
            if let Outgoing::Idle { retry_at } = &mut peer.outgoing {
                *retry_at = Instant::now();
            }
            peer.boot = hello.boot;
        }
        if let Some(incoming) = self.incoming.get_mut(&token.0) {
            incoming.peer = Some(pnn);
        }
        self.report(pnn, events);
    }

    fn malformed(&mut self, token: Token, why: &str, events: &mut Vec<LinkEvent>) {
        if let Some(incoming) = self.incoming.get(&token.0) {
            log::error!("malformed packet from {}: {why}", incoming.address);
        }
        events.push(LinkEvent::Malformed);
        self.end_incoming(token, why, events);
    }

    /// An incoming stream ended: with it ends the link it belongs to.
    fn end_incoming(&mut self, token: Token, why: &str, events: &mut Vec<LinkEvent>) {
        let peer = self.incoming.get(&token.0).and_then(|i| i.peer);
        match peer {
            Some(pnn) => self.reset(pnn, why, events),
            None => self.drop_incoming(token),
        }
    }

    fn drop_incoming(&mut self, token: Token) {
        if let Some(mut incoming) = self.incoming.remove(&token.0) {
            let _ = self.registry.deregister(&mut incoming.stream);
        }
    }

    fn drop_outgoing(&mut self, pnn: Pnn, now: Instant) {
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        let retry_at = now + retry_after(peer.attempts);
        let old = std::mem::replace(&mut peer.outgoing, Outgoing::Idle { retry_at });
        if let Outgoing::Connecting { mut stream, token, .. }
        | Outgoing::Up { mut stream, token, .. } = old
        {
            self.outgoing_by_token.remove(&token.0);
            let _ = self.registry.deregister(&mut stream);
        }
        peer.out.clear();
    }

    /// Closes both streams to `pnn`, whatever their state, and begins to connect anew.
    pub fn reset(&mut self, pnn: Pnn, why: &str, events: &mut Vec<LinkEvent>) {
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        log::info!("Tearing down connection to dead node :{pnn} ({why})");
        let incoming = peer.incoming.take();
        let was_up = std::mem::take(&mut peer.reported_up);
        if let Some(token) = incoming {
            self.drop_incoming(token);
        }
        let now = Instant::now();
        self.drop_outgoing(pnn, now);
        if let Some(peer) = self.peers.get_mut(pnn as usize) {
            peer.outgoing = Outgoing::Idle { retry_at: now };
        }
        if was_up {
            events.push(LinkEvent::Down(pnn));
        }
    }

    fn report(&mut self, pnn: Pnn, events: &mut Vec<LinkEvent>) {
        if let Some(peer) = self.peers.get_mut(pnn as usize) {
            let up = peer.incoming.is_some() && matches!(peer.outgoing, Outgoing::Up { .. });
            if up && !peer.reported_up {
                peer.reported_up = true;
                events.push(LinkEvent::Up(pnn));
            }
        }
    }

    /// Writes what was queued.
    pub fn flush(&mut self, events: &mut Vec<LinkEvent>) {
        while let Some(pnn) = self.dirty.pop() {
            self.flush_peer(pnn, events);
        }
    }

    fn flush_peer(&mut self, pnn: Pnn, events: &mut Vec<LinkEvent>) {
        let Some(peer) = self.peers.get_mut(pnn as usize) else { return };
        peer.dirty = false;
        let Outgoing::Up { stream, token, blocked } = &mut peer.outgoing else {
            peer.out.clear();
            return;
        };
        let failure = match peer.out.flush(stream) {
            Ok(done) => {
                if *blocked == done {
                    let interest = match done {
                        true => Interest::READABLE,
                        false => Interest::READABLE | Interest::WRITABLE,
                    };
                    *blocked = !done;
                    self.registry.reregister(stream, *token, interest).err()
                } else {
                    None
                }
            }
            Err(e) => Some(e),
        };
        if let Some(e) = failure {
            self.reset(pnn, &format!("write: {e}"), events);
        } else if peer.out.backlog() > BACKLOG_LIMIT {
            self.reset(pnn, "it takes nothing and too much is queued", events);
        }
    }

    /// Writes what can be written before the process ends.
    pub fn close(&mut self) {
        for peer in &mut self.peers {
            if let Outgoing::Up { stream, .. } = &mut peer.outgoing {
                if peer.out.flush(stream).is_ok() {
                    let _ = stream.flush();
                }
            }
        }
    }
}

fn retry_after(attempts: u32) -> Duration {
    if attempts < SOON_ATTEMPTS {
        RETRY_SOON
    } else {
        RETRY
    }
}

/// Starts to connect with the own node address as source, by which the peer recognises us.
fn connect_from(own: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(to);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(own, 0).into())?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(e) => return Err(e),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Whether a connecting stream is connected (true), still connecting (false), or failed.
fn connect_result(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

fn keepalive(stream: &TcpStream) {
    if let Err(e) = socket2::SockRef::from(stream).set_keepalive(true) {
        log::debug!("SO_KEEPALIVE: {e}");
    }
}
