// SPDX-License-Identifier: GPL-3.0-or-later
//! A cluster as data.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ctdb_wire::flags::{capability, node, pnn, recmode, runstate};
use ctdb_wire::types::{
    Connection, DbStatistics, Iface, LtdbHeader, NodeAndFlags, PublicIp, PublicIpInfo, Statistics,
    Timeval, Uptime,
};
use ctdb_wire::CharArray;

use super::fault::Fault;

/// The moment at which a scripted cluster stands still: Sun Nov 22 06:58:51 2026 UTC.
pub(crate) const NOW: i64 = 1_795_330_731;

/// A cluster, as the daemon of node [`State::local`] tells it.
#[derive(Clone, Debug)]
pub struct State {
    /// The node whose daemon is served.
    pub local: u32,
    /// All nodes in PNN order.
    pub nodes: Vec<FakeNode>,
    /// Who announces itself as leader; nobody does if `None`.
    pub leader: Option<u32>,
    /// The databases in the order of the map.
    pub databases: Vec<Db>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Nodes that refuse to stop takeover runs and recoveries for a while.
    pub refusing: Vec<u32>,
    /// Nodes that do not answer such a request.
    pub deaf: Vec<u32>,
    /// What a takeover run gives; the leader's PNN if `None`.
    pub takeover_result: Option<i32>,
    /// Whether nodes take flags that they are told to.
    pub flags_change: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub struct FakeNode {
    /// Its number.
    pub pnn: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its flags as the local daemon has them.
    pub flags: u32,
    /// The flags of all nodes as this one has them, if it sees something else.
    pub view: Option<Vec<u32>>,
    /// Its run state.
    pub runstate: u32,
    /// What it can do.
    pub capabilities: u32,
    /// Its recovery mode.
    pub recmode: u32,
    /// Generation of its VNN map.
    pub generation: u32,
    /// Its VNN map.
    pub vnnmap: Vec<u32>,
    /// Its interfaces: name, up, number of addresses.
    pub ifaces: Vec<(&'static str, bool, u32)>,
    /// The public addresses it knows.
    pub public: Vec<FakeIp>,
    /// Tunables in order.
    pub tunables: Vec<(&'static str, u32)>,
    /// Its log level.
    pub debug: i32,
    /// Its process.
    pub pid: i32,
    /// Number of its clients.
    pub clients: i32,
    /// Its clients' processes and what they have registered.
    pub processes: Vec<(i32, Vec<u64>)>,
    /// Its times.
    pub uptime: Uptime,
    /// Its counters.
    pub statistics: Statistics,
    /// Its former counters.
    pub history: Vec<Statistics>,
    /// Its cluster lock.
    pub reclock: Option<&'static str>,
    /// The client connections it tracks.
    pub connections: Vec<Connection>,
    /// Its nodes file: an address, or a deleted node.
    pub nodes_file: Vec<Option<IpAddr>>,
}

/// A public address as one node sees it.
#[derive(Clone, Debug)]
pub struct FakeIp {
    /// The address.
    pub addr: IpAddr,
    /// The node that hosts it, or [`pnn::UNKNOWN`].
    pub pnn: u32,
    /// Index of the interface that it is on, if it is here.
    pub active: Option<u32>,
    /// The interfaces it may be on.
    pub ifaces: Vec<(&'static str, bool, u32)>,
}

/// A database.
#[derive(Clone, Debug)]
pub struct Db {
    /// Its name.
    pub name: String,
    /// [`ctdb_wire::flags::db`] flags.
    pub flags: u8,
    /// Why it is unhealthy.
    pub health: Option<&'static str>,
    /// Its counters.
    pub statistics: DbStatistics,
    /// What is in the local file: key, header, data.
    pub records: Vec<(&'static [u8], LtdbHeader, &'static [u8])>,
    /// The file cannot be opened.
    pub missing: bool,
}

impl State {
    /// `count` healthy nodes in one cluster, without addresses and databases; node 0 is the local
    /// one and the leader.
    pub fn healthy(count: u32) -> State {
        let file: Vec<_> = (0..count).map(|pnn| Some(node_address(pnn))).collect();
        let node = |pnn| FakeNode {
            pnn,
            address: node_address(pnn),
            flags: 0,
            view: None,
            runstate: runstate::RUNNING,
            capabilities: capability::DEFAULT,
            recmode: recmode::NORMAL,
            generation: 50_844_233,
            vnnmap: (0..count).collect(),
            ifaces: Vec::new(),
            public: Vec::new(),
            tunables: tunables(),
            debug: 3,
            pid: 4711 + pnn as i32,
            clients: 2,
            processes: vec![(14728, vec![0xABCD])],
            uptime: Uptime {
                current_time: at(0),
                ctdbd_start_time: at(-27),
                last_recovery_started: at(-22),
                last_recovery_finished: Timeval { sec: NOW - 22, usec: 36_388 },
            },
            statistics: Statistics::default(),
            history: Vec::new(),
            reclock: None,
            connections: Vec::new(),
            nodes_file: file.clone(),
        };
        State {
            local: 0,
            nodes: (0..count).map(node).collect(),
            leader: Some(0),
            databases: Vec::new(),
            faults: Vec::new(),
            refusing: Vec::new(),
            deaf: Vec::new(),
            takeover_result: None,
            flags_change: true,
        }
    }

    /// The same with these flags on a node.
    pub fn flag(mut self, pnn: u32, flags: u32) -> State {
        self.node(pnn).flags = flags;
        self
    }

    /// The same with another database at the end of the map.
    pub fn database(mut self, db: Db) -> State {
        self.databases.push(db);
        self
    }

    /// The same with something wrong.
    pub fn fault(mut self, fault: Fault) -> State {
        self.faults.push(fault);
        self
    }

    /// A node, to be changed. It has to be there: states are written by hand.
    pub fn node(&mut self, pnn: u32) -> &mut FakeNode {
        self.nodes.iter_mut().find(|node| node.pnn == pnn).expect("a node of the state")
    }

    /// The flags of `of` as `asked` has them.
    pub(crate) fn flags_seen(&self, asked: &FakeNode, of: &FakeNode) -> u32 {
        let seen = asked.view.as_ref().and_then(|view| view.get(of.pnn as usize));
        seen.copied().unwrap_or(of.flags)
    }

    /// Whether packets reach a node.
    pub(crate) fn reachable(&self, pnn: u32) -> bool {
        let gone = node::DISCONNECTED | node::DELETED;
        self.nodes.iter().any(|node| node.pnn == pnn && node.flags & gone == 0)
    }

    /// The nodes that a destination stands for.
    pub(crate) fn destinations(&self, destination: u32) -> Vec<u32> {
        let without = |flags: u32| {
            let nodes = self.nodes.iter().filter(move |node| node.flags & flags == 0);
            nodes.map(|node| node.pnn).collect::<Vec<u32>>()
        };
        match destination {
            pnn::CURRENT_NODE => vec![self.local],
            pnn::BROADCAST_ALL => without(node::DELETED),
            pnn::BROADCAST_ACTIVE => without(node::INACTIVE),
            pnn::BROADCAST_CONNECTED => without(node::DELETED | node::DISCONNECTED),
            one => vec![one],
        }
    }
}

impl FakeNode {
    pub(crate) fn entry(&self, flags: u32) -> NodeAndFlags {
        let deleted = flags & node::DELETED != 0;
        let address = if deleted { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { self.address };
        NodeAndFlags { pnn: self.pnn, flags, addr: SocketAddr::new(address, 4379) }
    }

    pub(crate) fn iface_list(ifaces: &[(&'static str, bool, u32)]) -> Vec<Iface> {
        let iface = |&(name, up, references): &(&'static str, bool, u32)| Iface {
            name: CharArray::new(name),
            link_state: u16::from(up),
            references,
        };
        ifaces.iter().map(iface).collect()
    }
}

impl FakeIp {
    pub(crate) fn public_ip(&self) -> PublicIp {
        PublicIp { pnn: self.pnn, addr: SocketAddr::new(self.addr, 0) }
    }

    pub(crate) fn info(&self) -> PublicIpInfo {
        PublicIpInfo {
            ip: self.public_ip(),
            active_idx: self.active.unwrap_or(u32::MAX),
            ifaces: ctdb_wire::types::IfaceList { iface: FakeNode::iface_list(&self.ifaces) },
        }
    }
}

impl Db {
    /// A healthy database without records.
    pub fn new(name: &str, flags: u8) -> Db {
        Db {
            name: name.into(),
            flags,
            health: None,
            statistics: DbStatistics { num_hot_keys: 10, ..DbStatistics::default() },
            records: Vec::new(),
            missing: false,
        }
    }

    /// The same with a record in the local file.
    pub fn record(
        mut self,
        key: &'static [u8],
        (rsn, dmaster, flags): (u64, u32, u32),
        data: &'static [u8],
    ) -> Db {
        self.records.push((key, LtdbHeader { rsn, dmaster, reserved1: 0, flags }, data));
        self
    }

    /// Its id: the hash of its name with the NUL.
    pub fn id(&self) -> u32 {
        let mut name = self.name.clone().into_bytes();
        name.push(0);
        ctdb_tdb::jenkins_hash(&name)
    }
}

/// `seconds` after [`NOW`].
pub(crate) fn at(seconds: i64) -> Timeval {
    Timeval { sec: NOW + seconds, usec: 0 }
}

/// 127.0.0.1 for node 0: addresses of the machine itself, so that the tool finds it to be a node.
pub(crate) fn node_address(pnn: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, pnn as u8 + 1))
}

/// All tunables that a daemon lists, in its order, with their defaults (spec/wire.md 8.5, 9.9).
fn tunables() -> Vec<(&'static str, u32)> {
    vec![
        ("SeqnumInterval", 1000),
        ("ControlTimeout", 60),
        ("TraverseTimeout", 20),
        ("KeepaliveInterval", 5),
        ("KeepaliveLimit", 5),
        ("RecoverTimeout", 30),
        ("RecoverInterval", 1),
        ("ElectionTimeout", 3),
        ("TakeoverTimeout", 9),
        ("MonitorInterval", 15),
        ("TickleUpdateInterval", 20),
        ("EventScriptTimeout", 30),
        ("MonitorTimeoutCount", 20),
        ("RecoveryGracePeriod", 120),
        ("RecoveryBanPeriod", 300),
        ("DatabaseHashSize", 100_001),
        ("DatabaseMaxDead", 5),
        ("RerecoveryTimeout", 10),
        ("EnableBans", 1),
        ("NoIPFailback", 0),
        ("VerboseMemoryNames", 0),
        ("RecdPingTimeout", 60),
        ("RecdFailCount", 10),
        ("LogLatencyMs", 0),
        ("RecLockLatencyMs", 1000),
        ("RecoveryDropAllIPs", 120),
        ("VacuumInterval", 10),
        ("VacuumMaxRunTime", 120),
        ("RepackLimit", 10_000),
        ("VacuumFastPathCount", 60),
        ("MaxQueueDropMsg", 1_000_000),
        ("AllowUnhealthyDBRead", 0),
        ("StatHistoryInterval", 1),
        ("DeferredAttachTO", 120),
        ("AllowClientDBAttach", 1),
        ("FetchCollapse", 1),
        ("HopcountMakeSticky", 50),
        ("StickyDuration", 600),
        ("StickyPindown", 200),
        ("NoIPTakeover", 0),
        ("DBRecordCountWarn", 100_000),
        ("DBRecordSizeWarn", 10_000_000),
        ("DBSizeWarn", 100_000_000),
        ("PullDBPreallocation", 10_485_760),
        ("LockProcessesPerDB", 200),
        ("RecBufferSizeLimit", 1_000_000),
        ("QueueBufferSize", 1024),
        ("IPAllocAlgorithm", 2),
        ("AllowMixedVersions", 0),
    ]
}
