// SPDX-License-Identifier: GPL-3.0-or-later
//! How each control is answered (spec/wire.md 8.4, 8.5; what it means to the tool: spec/tool.md).

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use ctdb_wire::flags::{db, node, recmode, runstate};
use ctdb_wire::types::*;
use ctdb_wire::{ControlRequest, Encode, Opcode, StringN, Text};

use super::files;
use super::state::{Db, FakeIp, FakeNode, State};

/// Answer to a control.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: i32,
    pub data: Vec<u8>,
    pub message: &'static str,
}

impl Answer {
    fn status(status: i32) -> Answer {
        Answer { status, ..Answer::default() }
    }

    fn data(value: &impl Encode) -> Answer {
        Answer { data: value.to_vec(), ..Answer::default() }
    }

    fn text(text: Option<&str>) -> Answer {
        Answer::data(&text.map(Text::from))
    }

    pub(crate) fn failed() -> Answer {
        Answer::status(-1)
    }
}

/// A control that has arrived.
pub(crate) struct Asked<'a> {
    pub pnn: u32,
    pub request: ControlRequest<'a>,
}

/// Answers a control to node `asked.pnn`, changing the state as the daemon there would.
pub(crate) fn answer(state: &mut State, base: &Path, asked: &Asked<'_>) -> Result<Answer> {
    if !state.reachable(asked.pnn) {
        let message = "ctdb_control to disconnected node";
        return Ok(Answer { status: -1, message, ..Answer::default() });
    }
    if let Some(answer) = of_database(state, base, asked)? {
        return Ok(answer);
    }
    if let Some(answer) = of_admin(state, asked) {
        return Ok(answer);
    }
    let node = state.node(asked.pnn).clone();
    Ok(of_node(state, &node, asked).unwrap_or_else(Answer::failed))
}

/// Controls that only read.
fn of_node(state: &State, node: &FakeNode, asked: &Asked<'_>) -> Option<Answer> {
    use ControlRequest::*;
    Some(match &asked.request {
        GetPnn => Answer::status(node.pnn as i32),
        GetNodemap => {
            let entries = state.nodes.iter().map(|of| of.entry(state.flags_seen(node, of)));
            Answer::data(&NodeMap { node: entries.collect() })
        }
        RegisterSrvid | DeregisterSrvid => Answer::default(),
        GetRunstate => Answer::data(&node.runstate),
        GetVnnMap => {
            Answer::data(&VnnMap { generation: node.generation, map: node.vnnmap.clone() })
        }
        GetRecmode => Answer::status(node.recmode as i32),
        Uptime => Answer::data(&node.uptime),
        Ping => Answer::status(node.clients),
        GetPid => Answer::status(node.pid),
        GetCapabilities => Answer::data(&node.capabilities),
        GetReclockFile => Answer::text(node.reclock),
        GetDebug => Answer::data(&node.debug),
        ProcessExists(pid) => {
            let there = node.processes.iter().any(|(known, _)| known == pid);
            Answer::status(if there { 0 } else { -1 })
        }
        CheckPidSrvid(PidSrvid { pid, srvid }) => {
            let mut processes = node.processes.iter();
            let there = processes.any(|(known, srvids)| known == pid && srvids.contains(srvid));
            Answer::status(if there { 0 } else { -1 })
        }
        Statistics => Answer::data(&node.statistics),
        GetStatHistory => Answer::data(&StatisticsList { stats: PaddedList(node.history.clone()) }),
        GetIfaces => Answer::data(&IfaceList { iface: FakeNode::iface_list(&node.ifaces) }),
        GetPublicIps => {
            let ip = node.public.iter().map(FakeIp::public_ip).collect();
            Answer::data(&PublicIpList { ip })
        }
        GetPublicIpInfo(addr) => match node.public.iter().find(|ip| ip.addr == addr.ip()) {
            Some(ip) => Answer::data(&ip.info()),
            None => Answer::failed(),
        },
        GetTcpTickleList(addr) => tickles(node, addr),
        ListTunables => {
            let names = node.tunables.iter().map(|(name, _)| format!(":{name}"));
            Answer::data(&VarList(StringN::new(names.collect::<String>())))
        }
        GetTunable(name) => {
            let wanted = name.as_bytes();
            let found =
                node.tunables.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(wanted));
            found.map_or(Answer::failed(), |(_, value)| Answer::data(value))
        }
        GetNodesFile => Answer::data(&nodes_file(node)),
        DumpMemory => Answer {
            data: format!("memory of node {}\n  a line\n", node.pnn).into_bytes(),
            ..Answer::default()
        },
        _ => return None,
    })
}

fn tickles(node: &FakeNode, addr: &SocketAddr) -> Answer {
    if !node.public.iter().any(|ip| ip.addr == addr.ip()) {
        return Answer::failed();
    }
    let matches = |c: &&Connection| {
        c.dst.ip() == addr.ip() && (addr.port() == 0 || c.dst.port() == addr.port())
    };
    let conn = node.connections.iter().filter(matches).copied().collect();
    Answer::data(&TickleList { addr: *addr, conn })
}

fn nodes_file(node: &FakeNode) -> NodeMap {
    let entries = node.nodes_file.iter().enumerate().map(|(pnn, address)| {
        let unspecified = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let flags = if address.is_none() { node::DELETED } else { 0 };
        let addr = SocketAddr::new(address.unwrap_or(unspecified), 4379);
        NodeAndFlags { pnn: pnn as u32, flags, addr }
    });
    NodeMap { node: entries.collect() }
}

/// Controls of the administrator: they change what later controls say.
fn of_admin(state: &mut State, asked: &Asked<'_>) -> Option<Answer> {
    use ControlRequest::*;
    let changes = state.flags_change;
    let pnn = asked.pnn;
    let node = state.node(pnn);
    let mut flags = |set: u32, clear: u32| {
        if changes {
            node.flags = node.flags & !clear | set;
        }
    };
    match &asked.request {
        DisableNode => flags(node::PERMANENTLY_DISABLED, 0),
        EnableNode => flags(0, node::PERMANENTLY_DISABLED),
        StopNode => flags(node::STOPPED, 0),
        ContinueNode => flags(0, node::STOPPED),
        SetBanState(BanState { time: 0, .. }) => flags(0, node::BANNED),
        SetBanState(_) => flags(node::BANNED, 0),
        SetDebug(level) => node.debug = *level,
        SetTunable(tunable) => {
            let wanted = tunable.name.as_bytes();
            let found =
                node.tunables.iter_mut().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(wanted));
            match found {
                Some((_, value)) => *value = tunable.value,
                None => return Some(Answer::failed()),
            }
        }
        StatisticsReset => node.statistics = ctdb_wire::types::Statistics::default(),
        SetLmasterRole(on) => set_capability(node, ctdb_wire::flags::capability::LMASTER, *on),
        SetRecmasterRole(on) => set_capability(node, ctdb_wire::flags::capability::RECMASTER, *on),
        SetIfaceLinkState(iface) => {
            let name = iface.name.as_str().unwrap_or_default();
            match node.ifaces.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, up, _)) => *up = iface.link_state != 0,
                None => return Some(Answer::failed()),
            }
        }
        TcpAddDelayedUpdate(connection) => node.connections.push(*connection),
        TcpRemove(connection) => node.connections.retain(|known| known != connection),
        DelPublicIp(info) => node.public.retain(|ip| ip.addr != info.addr.ip()),
        SetRecmode(mode) if *mode == recmode::ACTIVE => {
            // a whole recovery, at once
            for node in &mut state.nodes {
                node.generation = node.generation.wrapping_add(1);
                node.runstate = runstate::RUNNING;
            }
        }
        AddPublicIp(_) | SendGratuitousArp(_) | ReleaseIp(_) | TakeoverIp(_) | Ipreallocated
        | ReloadPublicIps | ReloadNodesFile | Shutdown | SetRecmode(_) => (),
        _ => return None,
    }
    Some(Answer::default())
}

fn set_capability(node: &mut FakeNode, bit: u32, on: u32) {
    node.capabilities = node.capabilities & !bit | if on != 0 { bit } else { 0 };
}

/// Controls about databases.
fn of_database(state: &mut State, base: &Path, asked: &Asked<'_>) -> Result<Option<Answer>> {
    use ControlRequest::*;
    let local = state.local;
    let found = |id: u32, state: &State| state.databases.iter().position(|db| db.id() == id);
    let id = match &asked.request {
        GetDbMap => {
            let entry = |db: &Db| Dbid { db_id: db.id(), flags: db.flags };
            let dbs = state.databases.iter().map(entry).collect();
            return Ok(Some(Answer::data(&DbidMap { dbs })));
        }
        DbAttach(name) => return attach(state, base, &name.0, 0).map(Some),
        DbAttachPersistent(name) => return attach(state, base, &name.0, db::PERSISTENT).map(Some),
        DbAttachReplicated(name) => return attach(state, base, &name.0, db::REPLICATED).map(Some),
        GetDbName(id) | GetDbPath(id) | DbGetHealth(id) | DbOpenFlags(id) | GetDbStatistics(id)
        | SetDbReadonly(id) | SetDbSticky(id) | DbDetach(id) | DbFreeze(id) | DbThaw(id)
        | DbSetHealthy(id) => *id,
        GetDbSeqnum(DbidPadded { db_id }) => *db_id,
        DbTransactionStart(Transdb { db_id, .. })
        | DbTransactionCommit(Transdb { db_id, .. })
        | WipeDatabase(Transdb { db_id, .. }) => *db_id,
        DbPushStart(PulldbExt { db_id, .. }) => *db_id,
        ScheduleForDeletion(KeyData { db_id, .. }) => *db_id,
        TraverseStartExt(start) => start.db_id,
        Trans3Commit(records) | UpdateRecord(records) => records.db_id(),
        _ => return Ok(None),
    };
    let Some(at) = found(id, state) else { return Ok(Some(Answer::failed())) };
    let db = state.databases.get_mut(at).context("database")?;
    let path = files::path(base, asked.pnn, db);
    let local_path = files::path(base, local, db);
    let answer = match &asked.request {
        GetDbName(_) => Answer::text(Some(&db.name)),
        GetDbPath(_) => Answer::text(path.to_str()),
        DbGetHealth(_) => Answer::text(db.health),
        DbOpenFlags(_) => Answer::data(&(files::TDB_FLAGS as i32)),
        GetDbStatistics(_) => Answer::data(&db.statistics),
        GetDbSeqnum(_) if db.flags & (db::PERSISTENT | db::REPLICATED) == 0 => Answer::data(&0u64),
        GetDbSeqnum(_) => Answer::data(&files::seqnum(&local_path)?),
        SetDbReadonly(_) => {
            db.flags |= db::READONLY;
            Answer::default()
        }
        SetDbSticky(_) => {
            db.flags |= db::STICKY;
            Answer::default()
        }
        DbSetHealthy(_) => {
            db.health = None;
            Answer::default()
        }
        DbDetach(_) => {
            state.databases.remove(at);
            Answer::default()
        }
        Trans3Commit(records) => {
            files::commit(&local_path, records)?;
            Answer::default()
        }
        _ => Answer::default(),
    };
    Ok(Some(answer))
}

fn attach(state: &mut State, base: &Path, name: &Text, flags: u8) -> Result<Answer> {
    let name = name.to_string();
    let local = state.local;
    if let Some(db) = state.databases.iter().find(|db| db.name == name) {
        let fits = db.flags & flags == flags;
        return Ok(if fits { Answer::data(&db.id()) } else { Answer::failed() });
    }
    let db = Db::new(&name, flags);
    files::create(base, local, &db)?;
    let answer = Answer::data(&db.id());
    state.databases.insert(0, db);
    Ok(answer)
}

/// Controls that ask for something and change nothing: not worth noting, since how often they are
/// sent is the tool's business.
pub(crate) fn only_asks(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        GetPnn
            | GetNodemap
            | RegisterSrvid
            | DeregisterSrvid
            | GetRunstate
            | GetVnnMap
            | GetRecmode
            | Uptime
            | Ping
            | GetPid
            | GetCapabilities
            | GetReclockFile
            | GetDebug
            | ProcessExists
            | CheckPidSrvid
            | Statistics
            | GetStatHistory
            | GetIfaces
            | GetPublicIps
            | GetPublicIpInfo
            | GetTcpTickleList
            | ListTunables
            | GetTunable
            | GetNodesFile
            | DumpMemory
            | GetDbMap
            | GetDbName
            | GetDbPath
            | DbGetHealth
            | DbOpenFlags
            | GetDbStatistics
            | GetDbSeqnum
    )
}
