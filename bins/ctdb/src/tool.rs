// SPDX-License-Identifier: GPL-3.0-or-later
//! What commands share: the connection, the addressed node, the node map, the leader, waiting for
//! things to happen (spec/tool.md 2).

use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::{db, node, pnn, recmode, INVALID_GENERATION};
use ctdb_wire::types::{Dbid, NodeMap, SrvidMessage};
use ctdb_wire::{srvid, Control, Encode, Opcode, Text};
use ctdbcore::{AttachOptions, Client, Database, DatabaseKind, Deadline, Error};

use crate::exit::{control_failed, result_of, Done, Exit, FAILED};
use crate::number::number32;
use crate::options::Options;
use crate::runtime::pause;

/// Pause between two looks at something that takes its time.
const PAUSE: Duration = Duration::from_secs(1);

/// Least time between two requests for the same, whatever the limit of a control is.
const MIN_RESEND: Duration = Duration::from_millis(100);

/// A connected tool.
pub(crate) struct Tool<'o> {
    pub client: Client,
    pub options: &'o Options,
    /// The node that the command is about.
    pub target: u32,
    nodemap: Option<NodeMap>,
    replies: u64,
    /// An announcement that came earlier was used.
    leader_asked: bool,
}

/// A database found in the daemon's map.
#[derive(Debug, Clone)]
pub(crate) struct FoundDb {
    pub id: u32,
    pub flags: u8,
    pub name: String,
}

impl FoundDb {
    pub(crate) fn kind(&self) -> DatabaseKind {
        DatabaseKind::from_flags(self.flags)
    }

    pub(crate) fn is_volatile(&self) -> bool {
        self.kind() == DatabaseKind::Volatile
    }
}

impl<'o> Tool<'o> {
    pub(crate) fn new(client: Client, options: &'o Options) -> Tool<'o> {
        let target = client.pnn();
        Tool { client, options, target, nodemap: None, replies: 0, leader_asked: false }
    }

    /// The local node.
    pub(crate) fn pnn(&self) -> u32 {
        self.client.pnn()
    }

    /// The limit of a control that is sent now.
    pub(crate) fn limit(&self) -> Duration {
        match u64::try_from(self.options.timelimit) {
            Ok(seconds) => Duration::from_secs(seconds),
            // below zero it counts as unsigned in the C tool: for ever
            Err(_) => Duration::from_secs(u32::MAX.into()),
        }
    }

    /// The separator of machine-readable output.
    pub(crate) fn sep(&self) -> &'o str {
        &self.options.separator
    }

    /// Sends a control, and says so when it fails.
    pub(crate) fn control<C, T>(&mut self, to: u32, request: &C::Request<'_>) -> Result<T, Exit>
    where
        C: for<'a> Control<Reply<'a> = T>,
    {
        let limit = self.limit();
        self.client.control::<C, T>(to, limit, request).map_err(|e| control_failed(&e))
    }

    /// Sends a control whose result is its status.
    pub(crate) fn status<C: Control>(
        &mut self,
        to: u32,
        request: &C::Request<'_>,
    ) -> Result<i32, Exit> {
        let limit = self.limit();
        self.client.control_status::<C>(to, limit, request).map_err(|e| control_failed(&e))
    }

    /// A control whose result is its status: a negative one is a failure.
    pub(crate) fn value<C: Control>(
        &mut self,
        to: u32,
        request: &C::Request<'_>,
    ) -> Result<i32, Exit> {
        let status = self.status::<C>(to, request)?;
        if status < 0 {
            errln!("Control {} failed, ret={status}", C::OPCODE.name());
            return Err(Exit::Code(status));
        }
        Ok(status)
    }

    /// The nodes as the local node sees them. A banned node's view is stale, so another one is
    /// asked then.
    pub(crate) fn nodemap(&mut self) -> Result<NodeMap, Exit> {
        if let Some(map) = &self.nodemap {
            return Ok(map.clone());
        }
        self.fresh_nodemap()
    }

    pub(crate) fn fresh_nodemap(&mut self) -> Result<NodeMap, Exit> {
        let local = self.pnn();
        let mut asked = local;
        loop {
            let map = self.control::<call::GetNodemap, _>(asked, &()).map_err(|_| {
                errln!("Failed to get nodemap from node {asked}");
                FAILED
            })?;
            let banned = |at: u32| {
                map.node.iter().any(|entry| entry.pnn == at && entry.flags & node::BANNED != 0)
            };
            if !banned(asked) {
                self.nodemap = Some(map.clone());
                return Ok(map);
            }
            asked = next_connected(&map, asked);
            if asked == local {
                errln!("Warning: All nodes are banned.");
                return Err(FAILED);
            }
        }
    }

    /// Nodes of the map without any of `flags`.
    pub(crate) fn nodes_without(&mut self, flags: u32) -> Result<Vec<u32>, Exit> {
        let map = self.nodemap()?;
        let nodes = map.node.iter().filter(|entry| entry.flags & flags == 0);
        Ok(nodes.map(|entry| entry.pnn).collect())
    }

    /// Sends a control that has to succeed on all these nodes; the failure of the first that fails is
    /// the result. Says nothing.
    pub(crate) fn control_all<C: Control>(
        &mut self,
        nodes: &[u32],
        request: &C::Request<'_>,
    ) -> Done {
        let limit = self.limit();
        self.client.control_all::<C>(nodes, limit, request).map_err(|e| result_of(&e))
    }

    /// Sends a control to several nodes, and gives those on which it has failed. Says nothing.
    pub(crate) fn control_each<C: Control>(
        &mut self,
        nodes: &[u32],
        request: &C::Request<'_>,
    ) -> Result<Vec<u32>, Exit> {
        let limit = self.limit();
        let mut failed = Vec::new();
        for (node, answer) in self.client.control_many::<C>(nodes, limit, request) {
            match answer.and_then(|outcome| outcome.success()) {
                Ok(()) => (),
                Err(e) if self.client.is_closed() => return Err(result_of(&e)),
                Err(_) => failed.push(node),
            }
        }
        Ok(failed)
    }

    /// The nodes of a list argument: absent is the target, or `all`, or numbers with commas.
    pub(crate) fn node_list(&mut self, text: Option<&str>) -> Result<Vec<u32>, Exit> {
        let Some(text) = text else { return Ok(vec![self.target]) };
        let map = self.nodemap()?;
        if text == "all" {
            return Ok(map.node.iter().map(|entry| entry.pnn).collect());
        }
        let mut nodes = Vec::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let wanted = number32(word).map_err(|_| {
                errln!("Invalid node {word}");
                FAILED
            })?;
            if !map.node.iter().any(|entry| entry.pnn == wanted) {
                errln!("Node {wanted} does not exist");
                return Err(FAILED);
            }
            nodes.push(wanted);
        }
        Ok(nodes)
    }

    /// Waits for the leader's broadcast; `None` if there is none in time.
    pub(crate) fn leader(&mut self) -> Result<Option<u32>, Exit> {
        // What came since the tool began to listen, a moment ago, is news; our daemons tell whoever begins.
        if std::mem::replace(&mut self.leader_asked, true) {
            self.client.drop_messages_to(srvid::LEADER);
        }
        let deadline = Deadline::after(self.limit());
        loop {
            match self.client.wait_message(srvid::LEADER, deadline) {
                Ok(message) => match message.data.as_slice().try_into().map(u32::from_le_bytes) {
                    Ok(pnn::UNKNOWN) => return Ok(None),
                    Ok(leader) => return Ok(Some(leader)),
                    Err(_) => continue,
                },
                Err(e) if e.is_timeout() => return Ok(None),
                Err(e) => return Err(control_failed(&e)),
            }
        }
    }

    /// The generation of the cluster when no recovery is going on.
    pub(crate) fn generation(&mut self) -> Result<u32, Exit> {
        loop {
            let Some(leader) = self.leader()? else {
                errln!("Failed to find leader");
                return Err(FAILED);
            };
            let mode = self.value::<call::GetRecmode>(leader, &()).inspect_err(|_| {
                errln!("Failed to get recovery mode from node {leader}");
            })?;
            if mode == recmode::NORMAL as i32 {
                let map = self.control::<call::GetVnnMap, _>(leader, &()).inspect_err(|_| {
                    errln!("Failed to get generation from node {leader}");
                })?;
                if map.generation != INVALID_GENERATION {
                    return Ok(map.generation);
                }
            }
            pause(PAUSE);
        }
    }

    /// Whether the target's entry in the node map has a flag.
    pub(crate) fn target_has(&mut self, flag: u32) -> Result<bool, Exit> {
        let map = self.nodemap()?;
        Ok(map.node.get(self.target as usize).is_some_and(|entry| entry.flags & flag != 0))
    }

    /// Waits until the local node sees the target's flag set or clear.
    pub(crate) fn wait_for_flag(&mut self, flag: u32, set: bool) -> Done {
        loop {
            match self.fresh_nodemap() {
                Ok(_) if self.target_has(flag)? == set => return Ok(()),
                Ok(_) => (),
                Err(exit) if self.client.is_closed() => return Err(exit),
                Err(_) => errln!("Failed to get nodemap, trying again"),
            }
            pause(PAUSE);
        }
    }

    /// A fresh address for a reply.
    pub(crate) fn reply_srvid(&mut self) -> u64 {
        self.replies += 1;
        let pid = u64::from(std::process::id() & 0xFFFF);
        (u64::from(srvid::TOOL_RANGE) << srvid::RANGE_SHIFT) | 1 << 48 | pid << 16 | self.replies
    }

    pub(crate) fn register(&mut self, srvid: u64) -> Done {
        self.client.register(srvid, Deadline::NEVER).map_err(|e| control_failed(&e))
    }

    pub(crate) fn deregister(&mut self, srvid: u64) -> Done {
        self.client.deregister(srvid, Deadline::NEVER).map_err(|e| control_failed(&e))
    }

    /// Asks for a takeover run until the leader says that it has run.
    pub(crate) fn ipreallocate(&mut self) -> Done {
        let reply = self.reply_srvid();
        self.register(reply)?;
        let request = SrvidMessage { pnn: self.pnn(), srvid: reply }.to_vec();
        let result = loop {
            self.send(pnn::BROADCAST_CONNECTED, srvid::TAKEOVER_RUN, &request)?;
            match self.client.wait_message(reply, self.limit().max(MIN_RESEND)) {
                Ok(message) => match message.data.as_slice().try_into().map(i32::from_le_bytes) {
                    Ok(status) => break status,
                    Err(_) => continue,
                },
                Err(e) if e.is_timeout() => continue,
                Err(e) => return Err(control_failed(&e)),
            }
        };
        self.deregister(reply)?;
        if result < 0 {
            return Err(Exit::Code(result));
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, node: u32, srvid: u64, data: &[u8]) -> Done {
        self.client.send_message(node, srvid, data).map_err(|e| control_failed(&e))
    }

    /// Finds a database by name or by an id that begins with `0x`. A control that fails is the same as a
    /// database that is not there.
    pub(crate) fn find_db(&mut self, text: &str) -> Result<FoundDb, Exit> {
        let local = self.pnn();
        let map = self.control::<call::GetDbMap, _>(local, &()).map_err(|_| FAILED)?;
        let wanted_id = text.starts_with("0x").then(|| number32(text)).transpose()?;
        for Dbid { db_id, flags } in map.dbs {
            if wanted_id.is_some_and(|id| id != db_id) {
                continue;
            }
            let name = self.db_name(local, db_id).map_err(|_| {
                errln!("No database matching '{text}' found");
                FAILED
            })?;
            if wanted_id.is_some() || name == text {
                return Ok(FoundDb { id: db_id, flags, name });
            }
        }
        errln!("No database matching '{text}' found");
        Err(FAILED)
    }

    pub(crate) fn db_name(&mut self, at: u32, db_id: u32) -> Result<String, Exit> {
        Ok(text_of(self.control::<call::GetDbName, _>(at, &db_id)?))
    }

    /// Attaches a database that was found.
    pub(crate) fn attach(&mut self, found: &FoundDb) -> Result<Database, Exit> {
        self.attach_with(&found.name, found.flags).inspect_err(|_| {
            errln!("Failed to attach to DB {}", found.name);
        })
    }

    /// The attach procedure; all its steps share one limit.
    pub(crate) fn attach_with(&mut self, name: &str, flags: u8) -> Result<Database, Exit> {
        let deadline = Deadline::after(self.limit());
        let options = AttachOptions::from_flags(flags);
        let attached = Database::attach(&mut self.client, name, options, deadline);
        attached.map_err(|e| {
            if let Error::Refused { control, status, .. } = &e {
                if matches!(control, Opcode::SetDbReadonly | Opcode::SetDbSticky) {
                    let id = ctdb_tdb::jenkins_hash(&[name.as_bytes(), b"\0"].concat());
                    errln!("set_db_flags: 0x{id:08x} {} failed, ret={status}", control.name());
                }
            }
            attach_failed(name, &e)
        })
    }
}

/// What is said when a command has no node that it could turn to. So it has always been called.
pub(crate) fn no_nodes() -> Exit {
    errln!("Memory allocation error");
    FAILED
}

/// The next node after `from` that can be asked; wraps round.
fn next_connected(map: &NodeMap, from: u32) -> u32 {
    let count = map.node.len().max(1) as u32;
    let mut at = from;
    loop {
        at = (at + 1) % count;
        let usable = map
            .node
            .get(at as usize)
            .is_some_and(|entry| entry.flags & (node::DELETED | node::DISCONNECTED) == 0);
        if usable || at == from {
            return at;
        }
    }
}

/// Says which step of an attach failed.
fn attach_failed(name: &str, error: &Error) -> Exit {
    let exit = result_of(error);
    let Exit::Code(ret) = exit else { return exit };
    match error {
        e if e.is_closed() => (),
        Error::Refused { control, status, .. } => {
            let step = control.name();
            match *control {
                ctdb_wire::Opcode::DbAttach
                | ctdb_wire::Opcode::DbAttachPersistent
                | ctdb_wire::Opcode::DbAttachReplicated => {
                    errln!("attach: {name} failed to get db_id, ret={status}");
                }
                ctdb_wire::Opcode::SetDbReadonly => {
                    errln!("attach: {name} set db flags 0x{:08x} failed", db::READONLY);
                }
                ctdb_wire::Opcode::SetDbSticky => {
                    errln!("attach: {name} set db flags 0x{:08x} failed", db::STICKY);
                }
                _ => errln!("attach: {name} {step} parse failed, ret={status}"),
            }
        }
        Error::NoReply { control, .. } => {
            errln!("attach: {name} {} failed, ret={ret}", control.name());
        }
        Error::Unhealthy { reason, .. } => {
            errln!("attach: {name} database unhealthy ({reason})");
            return Exit::Code(5);
        }
        Error::Tdb { source, .. } => {
            errln!("attach: {name} tdb_wrap_open failed");
            errln!("{source}");
            return Exit::Code(12);
        }
        other => errln!("attach: {name} {other}"),
    }
    exit
}

/// The text of an optional string, empty if there is none.
pub(crate) fn text_of(text: Option<Text>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}
