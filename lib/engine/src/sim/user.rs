// SPDX-License-Identifier: GPL-3.0-or-later
//! Simulated processes that use records as smbd and the client library do (`spec/database.md 7`): lock the chain,
//! look whether the record is here, else ask the daemon and try again. They hold locks across calls, hold
//! them long, read without locks, delete, and die at any moment.

use super::check::header;
use super::oracle::{Name, VersionId};
use super::{Sim, What};
use crate::packet::{endpoint, Body, Call, ClientId, Control, Pnn, CTRL_FLAG_NOREPLY};
use crate::ports::ClientPacket;
use crate::time::Time;
use ctdb_wire::flags::call;
use ctdb_wire::flags::record as flag;
use ctdb_wire::types::{KeyData, LtdbHeader};
use ctdb_wire::{Encode, Opcode, StringZ, Text};
use std::time::Duration;

/// How users behave.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Name of the database.
    pub db: String,
    /// It has read-only delegations.
    pub readonly: bool,
    /// Number of keys.
    pub keys: u32,
    /// Longest pause between operations.
    pub pause: Duration,
    /// Of 100 operations, how many only read.
    pub reads_percent: u64,
    /// Of 100 writes, how many delete.
    pub deletes_percent: u64,
    /// Of 1000 locks held, how many are held for up to `long_hold`.
    pub long_permille: u64,
    /// See `long_permille`.
    pub long_hold: Duration,
    /// Of 10000 locks held, in how many the process dies.
    pub deaths_per_10000: u64,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            db: "sim.tdb".to_owned(),
            readonly: false,
            keys: 5,
            pause: Duration::from_millis(5),
            reads_percent: 0,
            deletes_percent: 0,
            long_permille: 20,
            long_hold: Duration::from_millis(300),
            deaths_per_10000: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write,
    Delete,
    Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The reply to the attach control, or to making the database read-only, is awaited.
    Attaching(u32),
    Idle,
    /// The chain lock is awaited.
    Locking,
    /// It is held, until the client wakes.
    Holding,
    /// Held until the reply to SCHEDULE_FOR_DELETION comes.
    Deleting(u32),
    /// The reply to a record call is awaited.
    Calling(u32),
}

/// A simulated process and what it does.
#[derive(Debug)]
pub struct User {
    habits: Habits,
    db: u32,
    phase: Phase,
    operation: Operation,
    name: Name,
    began: Time,
    /// Operations that ended.
    done: u64,
}

impl User {
    /// Operations that ended.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// What it does, for reports.
    pub fn describe(&self) -> String {
        format!("{:?} of {:?} since {:?}: {:?}", self.operation, self.name, self.began, self.phase)
    }
}

/// The version in a value with header. None: empty.
pub(super) fn version_of(value: &[u8]) -> Option<VersionId> {
    value.get(24..32)?.try_into().ok().map(u64::from_le_bytes)
}

/// Half of the users read as the C client library does: they ask for a copy and look into the file again.
/// The others read as smbd does: they take the value from the reply.
fn is_library(client: ClientId) -> bool {
    client % 2 == 0
}

impl Sim {
    /// A process connects to `node` and goes to work.
    pub fn add_user(&mut self, node: Pnn, habits: Habits) -> ClientId {
        let client = self.connect(node);
        let db = crate::hash::database_id(&habits.db);
        let name = StringZ(Text::new(&habits.db)).to_vec();
        let control =
            Control { opcode: Opcode::DbAttach as u32, data: name.into(), ..Control::default() };
        let reqid = self.client_request(client, endpoint::CURRENT_NODE, Body::Control(control));
        let user = User {
            habits,
            db,
            phase: Phase::Attaching(reqid),
            operation: Operation::Read,
            name: (db, Vec::new()),
            began: self.now,
            done: 0,
        };
        self.users.insert(client, user);
        client
    }

    /// The users that are alive, by client.
    pub fn users(&self) -> impl Iterator<Item = (ClientId, Pnn, &User)> {
        self.users.iter().filter_map(|(id, user)| Some((*id, self.clients.get(id)?.node, user)))
    }

    fn wake_user(&mut self, client: ClientId, within: Duration) {
        let delay = self.between((Duration::from_micros(1), within));
        self.after(delay, What::ClientWakes(client));
    }

    pub(super) fn user_receives(&mut self, client: ClientId, packet: &ClientPacket) {
        let Some(user) = self.users.get_mut(&client) else { return };
        match (&packet.body, user.phase) {
            (Body::ControlReply(reply), Phase::Attaching(reqid)) if packet.reqid == reqid => {
                if reply.status != 0 {
                    // The node is inactive, or shuts down: such a process ends.
                    return self.disconnect(client);
                }
                let attached = !reply.data.is_empty();
                if attached && user.habits.readonly {
                    let control = Control {
                        opcode: Opcode::SetDbReadonly as u32,
                        data: user.db.to_vec().into(),
                        ..Control::default()
                    };
                    let to = endpoint::CURRENT_NODE;
                    let reqid = self.client_request(client, to, Body::Control(control));
                    if let Some(user) = self.users.get_mut(&client) {
                        user.phase = Phase::Attaching(reqid);
                    }
                    return;
                }
                user.phase = Phase::Idle;
                self.wake_user(client, Duration::from_millis(1));
            }
            (Body::ControlReply(_), Phase::Deleting(reqid)) if packet.reqid == reqid => {
                self.user_releases(client);
            }
            (Body::CallReply { data, .. }, Phase::Calling(reqid)) if packet.reqid == reqid => {
                let data = data.clone();
                if user.operation == Operation::Read && is_library(client) {
                    self.user_reads(client);
                } else if user.operation == Operation::Read {
                    self.user_fetched(client, &data);
                } else {
                    self.user_locks(client);
                }
            }
            _ => {}
        }
    }

    pub(super) fn client_wakes(&mut self, client: ClientId) {
        let Some(user) = self.users.get(&client) else { return };
        match user.phase {
            Phase::Idle => self.user_begins(client),
            Phase::Holding => self.user_works(client),
            _ => {}
        }
    }

    pub(super) fn client_granted(&mut self, client: ClientId) {
        if self.users.get(&client).is_some_and(|u| u.phase == Phase::Locking) {
            self.user_has_lock(client);
        }
    }

    fn user_begins(&mut self, client: ClientId) {
        let (read, delete) = (self.rng.below(100), self.rng.below(100));
        let pick = self.rng.next_u64();
        let now = self.now;
        let Some(user) = self.users.get_mut(&client) else { return };
        user.operation = if read < user.habits.reads_percent {
            Operation::Read
        } else if delete < user.habits.deletes_percent {
            Operation::Delete
        } else {
            Operation::Write
        };
        let key = pick % u64::from(user.habits.keys.max(1));
        user.name = (user.db, format!("key{key}").into_bytes());
        user.began = now;
        if user.operation == Operation::Read {
            self.user_reads(client);
        } else {
            self.user_locks(client);
        }
    }

    // ---- writing -------------------------------------------------------------------------------

    fn user_locks(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get_mut(&client) else { return };
        user.phase = Phase::Locking;
        let (db, key) = user.name.clone();
        if self.store(node).client_lock(client, db, &key) {
            self.user_has_lock(client);
        }
    }

    fn user_has_lock(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get(&client) else { return };
        let (db, key) = user.name.clone();
        let copy = self.store(node).client_read(db, &key).and_then(header);
        let own = copy.is_some_and(|h| {
            h.dmaster == node
                && h.flags & (flag::RO_HAVE_DELEGATIONS | flag::RO_REVOKING_READONLY) == 0
        });
        if !own {
            self.store(node).client_unlock(client, db, &key);
            self.pump(node);
            return self.user_calls(client, call::NULL, call::IMMEDIATE_MIGRATION);
        }
        let (long, dies) = (self.rng.below(1000), self.rng.below(10_000));
        let Some(user) = self.users.get_mut(&client) else { return };
        user.phase = Phase::Holding;
        let habits = user.habits.clone();
        if dies < habits.deaths_per_10000 {
            self.note(format!("client {client:x} dies holding a chain of node {node}"));
            return self.disconnect(client);
        }
        let within =
            if long < habits.long_permille { habits.long_hold } else { Duration::from_micros(50) };
        self.wake_user(client, within);
    }

    /// The client has the lock and the record: it reads, writes and releases.
    fn user_works(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get(&client) else { return };
        let (name, operation) = (user.name.clone(), user.operation);
        let now = self.now;
        let left_out = self.is_left_out(node);
        let value = self.store(node).client_read(name.0, &name.1).map(<[u8]>::to_vec);
        let Some(value) = value.filter(|v| v.len() >= 24) else {
            // The file is not the one the lock was taken on: its daemon was replaced.
            return self.user_releases(client);
        };
        if !left_out {
            if let Err(why) = self.oracle.sees(&name, version_of(&value), now, now) {
                self.check.violated(format!("client {client:x} of node {node}: {why}"));
                return;
            }
        }
        let deletes = operation == Operation::Delete;
        let version = self.oracle.writes(node, &name, (version_of(&value), deletes), left_out, now);
        let mut new = value[..24].to_vec();
        if !deletes {
            new.extend(version.to_le_bytes());
        }
        let stray = if left_out { " (left out)" } else { "" };
        self.note(format!(
            "client {client:x} of node {node} {operation:?} {} version {version}{stray}",
            String::from_utf8_lossy(&name.1)
        ));
        self.store(node).client_store(client, name.0, &name.1, new.clone());
        self.check_changes(node);
        if deletes {
            return self.user_schedules(client, &name, &new);
        }
        self.user_releases(client);
    }

    /// SCHEDULE_FOR_DELETION, while holding the lock; half of the clients wait for the reply.
    fn user_schedules(&mut self, client: ClientId, name: &Name, value: &[u8]) {
        let Some(h) = header(value) else { return };
        let header = LtdbHeader { rsn: h.rsn, dmaster: h.dmaster, reserved1: 0, flags: h.flags };
        let data = KeyData { db_id: name.0, header, key: &name.1 }.to_vec();
        let waits = self.rng.below(2) == 0;
        let control = Control {
            opcode: Opcode::ScheduleForDeletion as u32,
            flags: if waits { 0 } else { CTRL_FLAG_NOREPLY },
            data: data.into(),
            ..Control::default()
        };
        let reqid = self.client_request(client, endpoint::CURRENT_NODE, Body::Control(control));
        if !waits {
            return self.user_releases(client);
        }
        if let Some(user) = self.users.get_mut(&client) {
            user.phase = Phase::Deleting(reqid);
        }
    }

    fn user_releases(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get(&client) else { return };
        let (db, key) = user.name.clone();
        self.store(node).client_unlock(client, db, &key);
        self.pump(node);
        self.user_done(client);
    }

    fn user_done(&mut self, client: ClientId) {
        let Some(user) = self.users.get_mut(&client) else { return };
        user.done += 1;
        user.phase = Phase::Idle;
        let pause = user.habits.pause;
        self.wake_user(client, pause);
    }

    fn user_calls(&mut self, client: ClientId, callid: u32, flags: u32) {
        let Some(user) = self.users.get(&client) else { return };
        let (db, key) = user.name.clone();
        let call =
            Call { flags, db, callid, hopcount: 0, key: key.into(), data: bytes::Bytes::new() };
        let reqid = self.client_request(client, 0, Body::Call(call));
        if let Some(user) = self.users.get_mut(&client) {
            user.phase = Phase::Calling(reqid);
        }
    }

    // ---- reading -------------------------------------------------------------------------------

    /// Reads the file without a lock if its copy is good, else fetches through the daemon.
    fn user_reads(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get(&client) else { return };
        let name = user.name.clone();
        let value = self.store(node).client_read(name.0, &name.1).map(<[u8]>::to_vec);
        let copy = value.as_deref().and_then(header);
        let good = copy.is_some_and(|h| h.dmaster == node || h.flags & flag::RO_HAVE_READONLY != 0);
        if let (true, Some(value)) = (good, value) {
            return self.user_saw(client, &value);
        }
        if is_library(client) {
            let flags = call::IMMEDIATE_MIGRATION | call::WANT_READONLY;
            return self.user_calls(client, call::NULL, flags);
        }
        let want = if copy.is_some() { call::WANT_READONLY } else { 0 };
        self.user_calls(client, call::FETCH_WITH_HEADER, want);
    }

    fn user_fetched(&mut self, client: ClientId, value: &[u8]) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        // What smbd regards as "no data" (spec/samba-client.md 8.3).
        let good = header(value)
            .is_some_and(|h| h.dmaster == node || h.flags & flag::RO_HAVE_READONLY != 0);
        if good {
            self.user_saw(client, value);
        } else {
            self.user_done(client);
        }
    }

    fn user_saw(&mut self, client: ClientId, value: &[u8]) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let Some(user) = self.users.get(&client) else { return };
        let (name, began) = (user.name.clone(), user.began);
        let now = self.now;
        if !self.is_left_out(node) {
            if let Err(why) = self.oracle.sees(&name, version_of(value), began, now) {
                let what = format!("client {client:x} of node {node} reads: {why}");
                self.check.violated(what);
                return;
            }
        }
        self.user_done(client);
    }
}
