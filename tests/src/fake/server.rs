// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket of a scripted daemon.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use bytes::BytesMut;
use ctdb_wire::flags::{control, pnn};
use ctdb_wire::frame::{Dialect, Framer};
use ctdb_wire::legacy::{
    encode_to_vec, Packet, ReplyCall, ReplyControl, ReqCall, ReqControl, ReqMessage, Rounding,
    Route,
};
use ctdb_wire::types::{DisableMessage, RecBuffer, RecData, SrvidMessage};
use ctdb_wire::{srvid, ControlRequest, Decode, Encode, Inspect, MessagePayload, Opcode};

use super::answer::{answer, only_asks, Answer, Asked};
use super::fault::{spoil, Action};
use super::files;
use super::state::State;
use crate::wait::wait_until;

/// How often a leader announces itself here; the real one does so each second.
const ANNOUNCEMENT: Duration = Duration::from_millis(30);
/// How long a client that has ended may take to be noticed.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest packet of a client.
const MAX_PACKET: usize = 16 << 20;
/// Most requests that are noted.
const MAX_NOTES: usize = 10_000;

/// A scripted daemon that runs. It ends with the value.
#[derive(Debug)]
pub struct FakeDaemon {
    base: PathBuf,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    base: PathBuf,
    state: Mutex<State>,
    notes: Mutex<Vec<String>>,
    /// Records that came so far for a node at an address.
    pushed: Mutex<HashMap<(u32, u64), u32>>,
    ending: AtomicBool,
    /// Controls that have arrived.
    controls: AtomicU32,
    /// Clients that are connected.
    clients: AtomicU32,
}

impl FakeDaemon {
    /// Writes the files of `state` into `base` and serves its socket there, `run/ctdbd.socket`.
    pub fn start(base: &Path, state: State) -> Result<FakeDaemon> {
        files::write(base, &state)?;
        let socket = base.join("run/ctdbd.socket");
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        let shared = Arc::new(Shared {
            base: base.to_path_buf(),
            state: Mutex::new(state),
            notes: Mutex::default(),
            pushed: Mutex::default(),
            ending: AtomicBool::new(false),
            controls: AtomicU32::new(0),
            clients: AtomicU32::new(0),
        });
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Ok(FakeDaemon { base: base.to_path_buf(), shared, acceptor: Some(acceptor) })
    }

    /// What it was asked to do so far, a line each: the node, the control or message, its content.
    /// Questions are left out, and numbers that are the tool's own choice. Waits until no client is
    /// connected: one that has ended may have sent something just before.
    pub fn take_notes(&self) -> Vec<String> {
        let clients = || self.shared.clients.load(Ordering::Acquire);
        if wait_until("no client is connected", DRAIN, || clients() == 0).is_err() {
            eprintln!("scripted daemon: {} clients are still connected", clients());
        }
        std::mem::take(&mut *lock(&self.shared.notes))
    }

    /// How many controls have arrived.
    pub fn controls(&self) -> u32 {
        self.shared.controls.load(Ordering::Relaxed)
    }

    /// Changes the cluster under the eyes of its clients.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.shared.state));
    }

    /// The environment in which a tool finds this daemon.
    pub fn env(&self) -> Vec<(String, String)> {
        FakeDaemon::env_of(&self.base)
    }

    /// The environment in which a tool finds the daemon of a directory.
    pub fn env_of(base: &Path) -> Vec<(String, String)> {
        let text = |p: PathBuf| p.to_string_lossy().into_owned();
        vec![
            ("CTDB_TEST_MODE".into(), "yes".into()),
            ("CTDB_BASE".into(), text(base.to_path_buf())),
            ("CTDB_SOCKET".into(), text(base.join("run/ctdbd.socket"))),
        ]
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // wakes the acceptor
        let _ = UnixStream::connect(self.base.join("run/ctdbd.socket"));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ending.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { return };
        let shared = shared.clone();
        shared.clients.fetch_add(1, Ordering::AcqRel);
        std::thread::spawn(move || {
            let mut client = Connection { stream, shared, registered: Vec::new() };
            if let Err(e) = client.serve() {
                eprintln!("scripted daemon: {e:#}");
            }
            client.shared.clients.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// What comes after a packet.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    HangUp,
}

/// The connection of one client.
struct Connection {
    stream: UnixStream,
    shared: Arc<Shared>,
    registered: Vec<u64>,
}

impl Connection {
    fn serve(&mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(ANNOUNCEMENT))?;
        let mut framer = Framer::with_max_packet(Dialect::LegacyClient, MAX_PACKET);
        let mut buffer = BytesMut::new();
        let mut chunk = vec![0; 64 << 10];
        let mut announced = Instant::now();
        while !self.shared.ending.load(Ordering::Relaxed) {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => buffer.extend_from_slice(chunk.get(..length).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => (),
                // a client that ended without reading everything
                Err(_) => return Ok(()),
            }
            while let Some(packet) = framer.next_packet(&mut buffer)? {
                if self.packet(&packet)? == Next::HangUp {
                    return Ok(());
                }
            }
            if announced.elapsed() >= ANNOUNCEMENT {
                announced = Instant::now();
                self.announce()?;
            }
        }
        Ok(())
    }

    fn packet(&mut self, bytes: &[u8]) -> Result<Next> {
        let (header, packet) = Packet::decode(bytes)?;
        match packet {
            Packet::ReqControl(control) => self.control(&header.route, &control),
            Packet::ReqMessage(message) => self.message(&header.route, &message),
            Packet::ReqCall(call) => self.call(&header.route, &call),
            other => bail!("a client sent {other:?}"),
        }
    }

    /// Bytes to the client. One that has gone away is noticed by reading.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn announce(&mut self) -> Result<()> {
        let leader = lock(&self.shared.state).leader;
        match leader {
            Some(leader) => self.deliver(srvid::LEADER, &leader.to_vec()),
            None => Ok(()),
        }
    }

    /// A message to the client, if it listens to that address.
    fn deliver(&mut self, srvid: u64, data: &[u8]) -> Result<()> {
        let copies = self.registered.iter().filter(|known| **known == srvid).count();
        let local = lock(&self.shared.state).local;
        let route = Route { destnode: local, srcnode: local, ..Route::default() };
        let message = encode_to_vec(&route, &ReqMessage { srvid, data }, Rounding::Daemon)?;
        for _ in 0..copies {
            self.send(&message);
        }
        Ok(())
    }

    fn note(&self, destination: u32, what: &str) {
        let node = match destination {
            pnn::BROADCAST_ALL => "all".to_string(),
            pnn::BROADCAST_ACTIVE => "active".to_string(),
            pnn::BROADCAST_CONNECTED => "connected".to_string(),
            pnn::CURRENT_NODE => "current".to_string(),
            number => number.to_string(),
        };
        let mut notes = lock(&self.shared.notes);
        if notes.len() < MAX_NOTES {
            notes.push(format!("{node} {}", what.trim_end()));
        }
    }

    fn control(&mut self, route: &Route, asked: &ReqControl<'_>) -> Result<Next> {
        let opcode = Opcode::from_u32(asked.opcode)
            .with_context(|| format!("control {} is not one that the tool sends", asked.opcode))?;
        let request = ControlRequest::decode(opcode, asked.data)?;
        if !only_asks(opcode) {
            self.note(route.destnode, &format!("{opcode} {}", shown(&request)));
        }
        self.shared.controls.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault(opcode, route.destnode);
        let mut good = Answer::default();
        // a control that fails has no effect; one whose answer goes astray has
        let refused = matches!(fault, Some(Action::Status(..)));
        let destinations = lock(&self.shared.state).destinations(route.destnode);
        for pnn in destinations.into_iter().filter(|_| !refused) {
            good = self.answer(pnn, &request)?;
        }
        if asked.flags & control::NOREPLY != 0 {
            let ends = opcode == Opcode::Shutdown && self.is_local(route.destnode);
            return Ok(if ends || fault == Some(Action::Close) {
                Next::HangUp
            } else {
                Next::GoOn
            });
        }
        let back = Route { destnode: route.srcnode, srcnode: route.destnode, ..*route };
        if let Some(action) = fault {
            let (bytes, hang_up) = spoil(&action, &back, &good.data)?;
            self.send(&bytes);
            return Ok(if hang_up { Next::HangUp } else { Next::GoOn });
        }
        match opcode {
            Opcode::RegisterSrvid => self.registered.push(asked.srvid),
            Opcode::DeregisterSrvid => {
                let at = self.registered.iter().position(|known| *known == asked.srvid);
                at.map(|at| self.registered.remove(at));
            }
            _ => (),
        }
        let reply = ReplyControl {
            status: good.status,
            data: &good.data,
            errormsg: good.message.as_bytes(),
        };
        self.send(&encode_to_vec(&back, &reply, Rounding::Daemon)?);
        if opcode == Opcode::RegisterSrvid && asked.srvid == srvid::LEADER {
            self.announce()?;
        }
        if let ControlRequest::TraverseStartExt(start) = request {
            self.traverse(start.db_id, start.reqid, start.srvid)?;
        }
        Ok(Next::GoOn)
    }

    fn answer(&self, pnn: u32, request: &ControlRequest<'_>) -> Result<Answer> {
        if let ControlRequest::DbPushStart(push) = request {
            lock(&self.shared.pushed).insert((pnn, push.srvid), 0);
        }
        if let ControlRequest::DbPushConfirm(_) = request {
            let mut pushed = lock(&self.shared.pushed);
            let transfer = pushed.keys().find(|(node, _)| *node == pnn).copied();
            let count = transfer.and_then(|key| pushed.remove(&key)).unwrap_or(0);
            return Ok(Answer { data: count.to_vec(), ..Answer::default() });
        }
        let asked = Asked { pnn, request: request.clone() };
        answer(&mut lock(&self.shared.state), &self.shared.base, &asked)
    }

    fn is_local(&self, destination: u32) -> bool {
        let local = lock(&self.shared.state).local;
        destination == pnn::CURRENT_NODE || destination == local
    }

    /// What goes wrong at this control, if something does.
    fn fault(&self, opcode: Opcode, destination: u32) -> Option<Action> {
        let mut state = lock(&self.shared.state);
        let local = state.local;
        let node = if destination == pnn::CURRENT_NODE { local } else { destination };
        let found = state.faults.iter_mut().find(|fault| {
            fault.control.is_none_or(|known| known == opcode)
                && fault.node.is_none_or(|known| known == node)
        })?;
        if found.after > 0 {
            found.after -= 1;
            return None;
        }
        Some(found.action.clone())
    }

    fn traverse(&mut self, db_id: u32, reqid: u32, srvid: u64) -> Result<()> {
        let records = {
            let state = lock(&self.shared.state);
            let db = state.databases.iter().find(|db| db.id() == db_id).context("database")?;
            files::records(&files::path(&self.shared.base, state.local, db))?
        };
        for (key, data) in &records {
            self.deliver(srvid, &RecData { reqid, key, data }.to_vec())?;
        }
        self.deliver(srvid, &RecData { reqid, key: b"", data: b"" }.to_vec())
    }

    fn message(&mut self, route: &Route, message: &ReqMessage<'_>) -> Result<Next> {
        let payload = MessagePayload::decode(message.srvid, message.data)?;
        let (to, destinations, leader) = {
            let state = lock(&self.shared.state);
            let leader = state.takeover_result.or(state.leader.map(|pnn| pnn as i32));
            (route.destnode, state.destinations(route.destnode), leader)
        };
        match payload {
            MessagePayload::TakeoverRun(SrvidMessage { pnn, srvid }) => {
                self.note(to, &format!("takeover run, answer to node {pnn}"));
                match leader {
                    Some(result) => self.deliver(srvid, &result.to_vec())?,
                    None => return Ok(Next::GoOn),
                }
            }
            MessagePayload::DisableTakeoverRuns(asked) => {
                self.note(to, &format!("no takeover runs for {} s", asked.timeout));
                self.agree(&destinations, &asked)?;
            }
            MessagePayload::DisableRecoveries(asked) => {
                self.note(to, &format!("no recoveries for {} s", asked.timeout));
                self.agree(&destinations, &asked)?;
            }
            MessagePayload::DisableIpCheck(seconds) => {
                self.note(to, &format!("no address check for {seconds} s"));
            }
            MessagePayload::RebalanceNode(pnn) => {
                self.note(to, &format!("rebalance onto node {pnn}"));
            }
            MessagePayload::MemDump(SrvidMessage { srvid, .. }) => {
                self.note(to, "memory report");
                self.deliver(srvid, b"memory of the recovery daemon\n\0")?;
            }
            _ => self.records_pushed(to, &destinations, message),
        }
        Ok(Next::GoOn)
    }

    /// Records of a database that is restored.
    fn records_pushed(&self, to: u32, destinations: &[u32], message: &ReqMessage<'_>) {
        let Ok(records) = RecBuffer::from_prefix(message.data) else { return };
        self.note(to, &format!("{} records on {:#x}", records.count(), message.srvid));
        let mut pushed = lock(&self.shared.pushed);
        for pnn in destinations {
            if let Some(count) = pushed.get_mut(&(*pnn, message.srvid)) {
                *count += records.count();
            }
        }
    }

    /// Each node answers that it does as asked, or that it does not.
    fn agree(&mut self, destinations: &[u32], asked: &DisableMessage) -> Result<()> {
        let (refusing, deaf) = {
            let state = lock(&self.shared.state);
            (state.refusing.clone(), state.deaf.clone())
        };
        for pnn in destinations.iter().filter(|pnn| !deaf.contains(pnn)) {
            let result = if refusing.contains(pnn) { -11 } else { *pnn as i32 };
            self.deliver(asked.srvid, &result.to_vec())?;
        }
        Ok(())
    }

    /// A record is wanted here: it comes.
    fn call(&mut self, route: &Route, call: &ReqCall<'_>) -> Result<Next> {
        let status = {
            let state = lock(&self.shared.state);
            match state.databases.iter().find(|db| db.id() == call.db_id) {
                Some(db) => {
                    let path = files::path(&self.shared.base, state.local, db);
                    files::migrate(&path, call.key, state.local)?;
                    0
                }
                None => -1,
            }
        };
        let back = Route { destnode: route.srcnode, srcnode: route.destnode, ..*route };
        let reply = ReplyCall { status, data: b"" };
        self.send(&encode_to_vec(&back, &reply, Rounding::Daemon)?);
        Ok(Next::GoOn)
    }
}

/// A request without what differs between runs.
fn shown(request: &ControlRequest<'_>) -> String {
    match request {
        ControlRequest::TraverseStartExt(start) => format!("{{db_id: {:#x}}}", start.db_id),
        // the prefix length is not used, and the C tool sends what is in memory there
        ControlRequest::SendGratuitousArp(info) => {
            format!("{} {}", info.addr.ip(), info.iface.inspect())
        }
        ControlRequest::Trans3Commit(records) | ControlRequest::UpdateRecord(records) => {
            let keys =
                records.iter().map(|record| String::from_utf8_lossy(record.key).into_owned());
            format!("{:?}", keys.collect::<Vec<_>>())
        }
        other => match other.inspect().to_string().as_str() {
            "null" => String::new(),
            text => text.to_string(),
        },
    }
}
