// SPDX-License-Identifier: GPL-3.0-or-later
//! The hot thread: receive, decode, decide, send, in one turn of one loop (docs/decisions/0002-hot-thread.md).
//!
//! One thread owns the engine, the sockets and the TDB handles. After traffic it polls for a bounded time
//! before it sleeps, giving the processor to others between polls; with nothing to do it sleeps until the next
//! deadline. What waits (locks, disks, child processes) is done by other threads, which send news.

use crate::cluster_lock::LockNews;
use crate::hot::background::{Background, Notifier};
use crate::hot::busy_poll::BusyPoll;
use crate::hot::clients::{self, ClientEvent, Clients};
use crate::hot::inbuf::SCRATCH;
use crate::hot::links::{self, LinkEvent, Links};
use crate::hot::os;
use crate::hot::Ready;
use crate::signals::Signal;
use crate::store::Store;
use crossbeam_channel::Receiver;
use ctdb_engine::packet::{ClientId, Packet, Pnn};
use ctdb_engine::ports::{ClientPacket, LocalStore, LockEvent, LockRequest, Ports};
use ctdb_engine::time::{Time, WallTime};
use ctdb_engine::view::NodeView;
use ctdb_engine::{Daemon, Input, News};
use mio::{Events, Poll, Token};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// Token of the waker of other threads.
pub const WAKER: Token = Token(0);

/// Packets between services of the node handled before sockets are looked at again.
const LOCAL_BUDGET: usize = 256;
/// While more than this is queued on a node link, clients are not read.
const PUSH_BACK: usize = 64 << 20;
/// Longest sleep, so that a clock that jumps cannot do harm.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// What the process provides to the ports besides sockets and files.
pub trait Process {
    /// See [`Ports::cluster_lock`]; answers come as [`Background::Lock`].
    fn cluster_lock(&mut self, request: LockRequest);
    /// The event in the helper's news, unless the request is no longer current.
    fn lock_news(&mut self, news: LockNews) -> Option<LockEvent>;
    /// See [`Ports::read_nodes`].
    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String>;
    /// See [`Ports::log_level`].
    fn log_level(&self) -> i32;
    /// See [`Ports::set_log_level`].
    fn set_log_level(&mut self, level: i32);
    /// A signal arrived that the engine has no part in (SIGHUP: reopen logs).
    fn signal(&mut self, signal: Signal);
}

struct HostPorts {
    store: Store,
    links: Links,
    clients: Clients,
    process: Box<dyn Process>,
    generation: u32,
    link_events: Vec<LinkEvent>,
    client_events: Vec<ClientEvent>,
    exit: Option<i32>,
}

impl Ports for HostPorts {
    fn store(&mut self) -> &mut dyn LocalStore {
        &mut self.store
    }
    fn send_link(&mut self, to: Pnn, packet: Packet) {
        self.links.send(to, &packet);
    }
    fn link_backlog(&self, to: Pnn) -> usize {
        self.links.backlog(to)
    }
    fn reset_link(&mut self, to: Pnn, reason: &str) {
        self.links.reset(to, reason, &mut self.link_events);
    }
    fn set_nodes(&mut self, nodes: &[NodeView]) {
        self.links.set_nodes(nodes, &mut self.link_events);
    }
    fn send_client(&mut self, client: ClientId, packet: ClientPacket) {
        self.clients.send(client, self.generation, &packet);
    }
    fn client_backlog(&self, client: ClientId) -> usize {
        self.clients.backlog(client)
    }
    fn close_client(&mut self, client: ClientId) {
        self.clients.close(client, &mut self.client_events);
    }
    fn cluster_lock(&mut self, request: LockRequest) {
        self.process.cluster_lock(request);
    }
    fn process_exists(&mut self, pid: u32) -> bool {
        os::process_exists(pid)
    }
    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String> {
        self.process.read_nodes()
    }
    fn daemon_pid(&self) -> u32 {
        std::process::id()
    }
    fn memory_used(&self) -> u64 {
        resident_bytes().unwrap_or(0)
    }
    fn log_level(&self) -> i32 {
        self.process.log_level()
    }
    fn set_log_level(&mut self, level: i32) {
        self.process.set_log_level(level);
    }
    fn exit(&mut self, code: i32) {
        self.exit.get_or_insert(code);
    }
}

/// Resident memory without files (proc(5): statm, in pages).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = statm.split(' ').skip(1).map(|f| f.parse::<u64>().ok());
    let (resident, shared) = (fields.next()??, fields.next()??);
    Some(resident.saturating_sub(shared) * 4096)
}

/// What the hot thread is made of.
pub struct Parts {
    /// The poll that everything is registered with; its waker has [`WAKER`].
    pub poll: Poll,
    /// News from other threads.
    pub news: Receiver<Background>,
    /// The end that other threads send to: kept so that the channel stays open.
    pub notifier: Notifier,
    /// The TDB files.
    pub store: Store,
    /// The node links.
    pub links: Links,
    /// The client socket.
    pub clients: Clients,
    /// The rest.
    pub process: Box<dyn Process>,
    /// How long to poll after traffic before sleeping; zero: never.
    pub busy_poll: Duration,
}

/// The event loop of a daemon.
pub struct HotThread {
    daemon: Daemon,
    ports: HostPorts,
    poll: Poll,
    news: Receiver<Background>,
    _notifier: Notifier,
    busy_poll: BusyPoll,
    epoch: Instant,
    scratch: Vec<u8>,
}

impl HotThread {
    /// A loop that will run `daemon`.
    pub fn new(daemon: Daemon, parts: Parts) -> HotThread {
        let ports = HostPorts {
            store: parts.store,
            links: parts.links,
            clients: parts.clients,
            process: parts.process,
            generation: 0,
            link_events: Vec::new(),
            client_events: Vec::new(),
            exit: None,
        };
        HotThread {
            daemon,
            ports,
            poll: parts.poll,
            news: parts.news,
            _notifier: parts.notifier,
            busy_poll: BusyPoll::new(parts.busy_poll),
            epoch: Instant::now(),
            scratch: vec![0; SCRATCH],
        }
    }

    fn now(&self) -> (Time, WallTime) {
        let since = self.epoch.elapsed();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Time(since.as_nanos() as u64), WallTime(wall))
    }

    fn give(&mut self, input: Input) {
        let (now, wall) = self.now();
        self.daemon.handle(input, now, wall, &mut self.ports);
    }

    /// Runs until the daemon ends. Returns its exit code, or what made the start fail.
    pub fn run(mut self) -> Result<i32, String> {
        let (now, wall) = self.now();
        self.daemon.start(now, wall, &mut self.ports)?;
        self.ports.clients.start().map_err(|e| format!("client socket: {e}"))?;
        self.ports.links.start();
        let mut events = Events::with_capacity(256);
        loop {
            let busy = self.turn(&mut events).map_err(|e| format!("event loop: {e}"))?;
            if let Some(code) = self.ports.exit {
                self.finish();
                return Ok(code);
            }
            let now = Instant::now();
            if busy {
                self.busy_poll.traffic(now);
            }
            let timeout = if self.must_go_on() {
                Duration::ZERO
            } else if self.busy_poll.wanted(now) {
                // Give the processor to whoever we wait for, then look again.
                std::thread::yield_now();
                self.busy_poll.returned(now, Instant::now());
                Duration::ZERO
            } else {
                self.sleep_time(now)
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(e) => return Err(format!("event loop: {e}")),
            }
        }
    }

    /// Handles what is ready. True if there was anything.
    fn turn(&mut self, events: &mut Events) -> io::Result<bool> {
        let mut busy = false;
        self.ports.generation = self.daemon.view().generation;
        for token in self.ports.links.take_unread() {
            busy = true;
            self.link_ready(token, Ready::to_read());
        }
        if !self.is_pushing_back() {
            for token in self.ports.clients.take_unread() {
                busy = true;
                self.client_ready(token, Ready::to_read());
            }
        }
        for event in events.iter() {
            busy = true;
            let token = event.token();
            if token == WAKER {
                self.take_news();
            } else if token.0 & links::TOKEN_BIT != 0 {
                self.link_ready(token, Ready::of(event));
            } else if token.0 & clients::TOKEN_BIT != 0 {
                self.client_ready(token, Ready::of(event));
            }
        }
        events.clear();
        let (now, wall) = self.now();
        self.ports.links.tick(Instant::now());
        self.daemon.fire_timers(now, wall, &mut self.ports);
        self.settle();
        Ok(busy)
    }

    fn link_ready(&mut self, token: Token, ready: Ready) {
        self.ports.links.ready(token, ready, &mut self.scratch, &mut self.ports.link_events);
    }

    fn client_ready(&mut self, token: Token, mut ready: Ready) {
        if ready.readable && token != clients::LISTENER && self.is_pushing_back() {
            self.ports.clients.postpone(token);
            ready.readable = false;
        }
        self.ports.clients.ready(token, ready, &mut self.scratch, &mut self.ports.client_events);
    }

    fn is_pushing_back(&self) -> bool {
        self.ports.links.worst_backlog() > PUSH_BACK
    }

    fn take_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            let input = match news {
                Background::Lock(news) => self
                    .ports
                    .process
                    .lock_news(news)
                    .map(|event| Input::News(News::ClusterLock(event))),
                Background::Signal(Signal::Terminate | Signal::Interrupt) => Some(Input::Terminate),
                Background::Signal(signal) => {
                    self.ports.process.signal(signal);
                    None
                }
                other => self.ports.store.news(other),
            };
            if let Some(input) = input {
                self.give(input);
            }
        }
    }

    /// Lets the engine handle what the sockets brought and what its services sent each other, and writes
    /// what came of it.
    fn settle(&mut self) {
        loop {
            for event in std::mem::take(&mut self.ports.link_events) {
                match event {
                    LinkEvent::Up(pnn) => self.give(Input::LinkUp(pnn)),
                    LinkEvent::Down(pnn) => self.give(Input::LinkDown(pnn)),
                    LinkEvent::Packet(packet) => self.give(Input::Packet(packet)),
                    LinkEvent::Malformed => self.daemon.stats_mut().malformed_packets += 1,
                }
            }
            for event in std::mem::take(&mut self.ports.client_events) {
                match event {
                    ClientEvent::Connected(client, pid) => {
                        self.give(Input::News(News::ClientConnected { client, pid }))
                    }
                    ClientEvent::Packet(client, packet) => {
                        self.give(Input::News(News::ClientPacket { client, packet }))
                    }
                    ClientEvent::Gone(client) => {
                        self.give(Input::News(News::ClientGone { client }))
                    }
                    ClientEvent::Malformed => self.daemon.stats_mut().malformed_packets += 1,
                }
            }
            let (now, wall) = self.now();
            let more = self.daemon.run_local(LOCAL_BUDGET, now, wall, &mut self.ports);
            if more {
                // Answers already there should not wait for the rest.
                self.flush();
                continue;
            }
            self.flush();
            if self.ports.link_events.is_empty() && self.ports.client_events.is_empty() {
                return;
            }
        }
    }

    fn flush(&mut self) {
        self.ports.links.flush(&mut self.ports.link_events);
        self.ports.clients.flush(&mut self.ports.client_events);
    }

    fn must_go_on(&self) -> bool {
        self.ports.clients.has_unread() && !self.is_pushing_back() || self.ports.links.has_unread()
    }

    fn sleep_time(&self, now: Instant) -> Duration {
        let engine = self.daemon.next_deadline().map(|t| self.epoch + Duration::from_nanos(t.0));
        let links = self.ports.links.next_deadline();
        let next = [engine, links].into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now).min(LONGEST_SLEEP))
    }

    /// Tells the peers and clients what is queued and closes.
    fn finish(&mut self) {
        self.settle();
        self.ports.links.close();
    }
}
