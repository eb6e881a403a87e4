// SPDX-License-Identifier: GPL-3.0-or-later
//! Status and information commands (spec/tool.md 4, 9.2).

use std::collections::BTreeMap;
use std::time::Instant;

use ctdb_wire::control::call;
use ctdb_wire::flags::{capability, node, recmode, runstate, INVALID_GENERATION};
use ctdb_wire::types::{NodeAndFlags, PidSrvid, Timeval};

use crate::args::Args;
use crate::exit::{Done, Exit, FAILED};
use crate::flags::{node_text, UNKNOWN};
use crate::json;
use crate::number::{atoi, level, level_name, number};
use crate::options::Options;
use crate::paint::{paint, Sense};
use crate::tool::{text_of, Tool};

/// `version`
pub(crate) fn version(options: &Options, _args: Args<'_>) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    if options.json {
        return json::print_bare(&json::Version { version: version.into() });
    }
    outln!("{version}");
    Ok(())
}

/// A node as status commands show it.
struct Shown {
    entry: NodeAndFlags,
    partially_online: bool,
    this_node: bool,
}

/// Replaces what a starting daemon cannot know yet, and asks nodes without flags for their
/// interfaces. A node that does not answer is as it is in the map; a daemon that has gone ends it.
fn shown(tool: &mut Tool<'_>, mut entry: NodeAndFlags, starting: bool) -> Result<Shown, Exit> {
    let this_node = entry.pnn == tool.target;
    if starting && !this_node && entry.flags & node::DISCONNECTED == 0 {
        entry.flags = UNKNOWN;
    }
    let partially_online = entry.flags == 0
        && match tool.control::<call::GetIfaces, _>(entry.pnn, &()) {
            Ok(ifaces) => ifaces.iface.iter().any(|iface| iface.link_state == 0),
            Err(exit) if tool.client.is_closed() => return Err(exit),
            Err(_) => false,
        };
    Ok(Shown { entry, partially_online, this_node })
}

impl Shown {
    fn sense(&self) -> Sense {
        match self.entry.flags {
            0 if !self.partially_online => Sense::Good,
            0 | UNKNOWN | node::PERMANENTLY_DISABLED => Sense::Doubtful,
            _ => Sense::Bad,
        }
    }

    fn print(&self) {
        let NodeAndFlags { pnn, flags, addr } = self.entry;
        let state = if self.partially_online { "PARTIALLYONLINE".into() } else { node_text(flags) };
        let state = paint(self.sense(), &state);
        let this = if self.this_node { " (THIS NODE)" } else { "" };
        outln!("pnn:{pnn} {:<16} {state}{this}", addr.ip().to_string());
    }

    fn json(&self) -> json::Node {
        let NodeAndFlags { pnn, flags, addr } = self.entry;
        let has = |bits: u32| flags & bits != 0;
        json::Node {
            pnn,
            address: addr.ip().to_string(),
            partially_online: self.partially_online,
            flags_raw: flags,
            flags_ok: flags == 0,
            flags: json::NodeFlags {
                disconnected: has(node::DISCONNECTED),
                unknown: has(UNKNOWN),
                disabled: has(node::PERMANENTLY_DISABLED),
                banned: has(node::BANNED),
                unhealthy: has(node::UNHEALTHY),
                deleted: has(node::DELETED),
                stopped: has(node::STOPPED),
                inactive: has(node::INACTIVE),
            },
            this_node: self.this_node,
        }
    }

    fn print_machine(&self, sep: &str) {
        let NodeAndFlags { pnn, flags, addr } = self.entry;
        let bit = |bits: u32| if flags & bits != 0 { "1" } else { "0" };
        let (pnn, ip) = (pnn.to_string(), addr.ip().to_string());
        let fields = [
            pnn.as_str(),
            ip.as_str(),
            bit(node::DISCONNECTED),
            bit(UNKNOWN),
            bit(node::BANNED),
            bit(node::PERMANENTLY_DISABLED),
            bit(node::UNHEALTHY),
            bit(node::STOPPED),
            bit(node::INACTIVE),
            if self.partially_online { "1" } else { "0" },
            if self.this_node { "Y" } else { "N" },
        ];
        print_row(sep, &fields);
    }
}

/// One line of machine-readable output.
pub(crate) fn print_row(sep: &str, fields: &[&str]) {
    outln!("{sep}{}{sep}", fields.join(sep));
}

const NODE_COLUMNS: [&str; 11] = [
    "Node",
    "IP",
    "Disconnected",
    "Unknown",
    "Banned",
    "Disabled",
    "Unhealthy",
    "Stopped",
    "Inactive",
    "PartiallyOnline",
    "ThisNode",
];

/// Whether the target has yet to hear of the other nodes' state.
fn is_starting(tool: &mut Tool<'_>) -> Result<bool, Exit> {
    let target = tool.target;
    let state = tool.control::<call::GetRunstate, _>(target, &()).map_err(|_| {
        errln!("Unable to get runstate");
        FAILED
    })?;
    Ok(state <= runstate::FIRST_RECOVERY)
}

fn print_nodes(tool: &mut Tool<'_>, nodes: &[NodeAndFlags], starting: bool) -> Result<u32, Exit> {
    let machine = tool.options.machine;
    let sep = tool.sep();
    if machine {
        print_row(sep, &NODE_COLUMNS);
    }
    let mut flags = 0;
    for entry in nodes.iter().filter(|entry| entry.flags & node::DELETED == 0) {
        let shown = shown(tool, *entry, starting)?;
        flags |= shown.entry.flags;
        if machine {
            shown.print_machine(sep);
        } else {
            shown.print();
        }
    }
    Ok(flags)
}

fn print_count(nodes: &[NodeAndFlags]) {
    let deleted = nodes.iter().filter(|entry| entry.flags & node::DELETED != 0).count();
    match deleted {
        0 => outln!("Number of nodes:{}", nodes.len()),
        n => outln!("Number of nodes:{} (including {n} deleted nodes)", nodes.len()),
    }
}

/// `status`
pub(crate) fn status(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let map = tool.nodemap()?;
    let starting = is_starting(tool)?;
    if tool.options.json {
        return status_json(tool, &map.node, starting);
    }
    if tool.options.machine {
        return print_nodes(tool, &map.node, starting).map(drop);
    }
    let target = tool.target;
    let vnnmap = tool.control::<call::GetVnnMap, _>(target, &())?;
    let mode = tool.value::<call::GetRecmode>(target, &())?;
    let leader = tool.leader()?;
    print_count(&map.node);
    print_nodes(tool, &map.node, starting)?;
    match vnnmap.generation {
        INVALID_GENERATION => outln!("Generation:{}", paint(Sense::Doubtful, "INVALID")),
        generation => outln!("Generation:{generation}"),
    }
    outln!("Size:{}", vnnmap.map.len());
    for (hash, lmaster) in vnnmap.map.iter().enumerate() {
        outln!("hash:{hash} lmaster:{lmaster}");
    }
    let normal = mode == recmode::NORMAL as i32;
    let sense = if normal { Sense::Good } else { Sense::Doubtful };
    outln!("Recovery mode:{} ({mode})", paint(sense, mode_name(mode)));
    outln!("Leader:{}", leader_text(leader));
    Ok(())
}

fn mode_name(mode: i32) -> &'static str {
    if mode == recmode::NORMAL as i32 {
        "NORMAL"
    } else {
        "RECOVERY"
    }
}

fn leader_text(leader: Option<u32>) -> String {
    leader.map_or("UNKNOWN".into(), |pnn| pnn.to_string())
}

fn status_json(tool: &mut Tool<'_>, nodes: &[NodeAndFlags], starting: bool) -> Done {
    let target = tool.target;
    let vnnmap = tool.control::<call::GetVnnMap, _>(target, &())?;
    let mode = tool.value::<call::GetRecmode>(target, &())?;
    let leader = tool.leader()?;
    let deleted = nodes.iter().filter(|entry| entry.flags & node::DELETED != 0).count();
    let slots = vnnmap.map.iter().enumerate();
    let generation = vnnmap.generation;
    json::print_bare(&json::Status {
        node_status: json::NodeStatus {
            node_count: nodes.len(),
            deleted_node_count: deleted,
            nodes: nodes_json(tool, nodes, starting)?,
        },
        vnn_status: json::VnnStatus {
            generation: (generation != INVALID_GENERATION).then_some(generation),
            size: vnnmap.map.len(),
            vnn_map: slots.map(|(hash, lmaster)| json::Slot { hash, lmaster: *lmaster }).collect(),
        },
        recovery_mode: mode_name(mode).into(),
        recovery_mode_raw: mode,
        leader: leader.unwrap_or(u32::MAX),
    })
}

/// The nodes that are not deleted, by number.
fn nodes_json(
    tool: &mut Tool<'_>,
    nodes: &[NodeAndFlags],
    starting: bool,
) -> Result<BTreeMap<u32, json::Node>, Exit> {
    let present = nodes.iter().filter(|entry| entry.flags & node::DELETED == 0);
    present.map(|entry| Ok((entry.pnn, shown(tool, *entry, starting)?.json()))).collect()
}

/// `nodestatus [PNN-LIST]`; the exit status is what the nodes' flags are together.
pub(crate) fn nodestatus(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let list = args.get(0);
    let wanted = tool.node_list(list.as_deref())?;
    let map = tool.nodemap()?;
    let starting = is_starting(tool)?;
    let entries = wanted.iter().filter_map(|pnn| map.node.iter().find(|e| e.pnn == *pnn));
    let entries: Vec<NodeAndFlags> = entries.copied().collect();
    let flags = if tool.options.json {
        let nodes = nodes_json(tool, &entries, starting)?;
        let flags_raw = nodes.values().fold(0, |flags, node| flags | node.flags_raw);
        json::print(&json::Nodes { nodes, flags_raw })?;
        flags_raw
    } else {
        if list.as_deref() == Some("all") && !tool.options.machine {
            print_count(&map.node);
        }
        print_nodes(tool, &entries, starting)?
    };
    match flags {
        0 => Ok(()),
        flags => Err(Exit::Code(flags as i32)),
    }
}

/// `uptime`
pub(crate) fn uptime(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let target = tool.target;
    let up = tool.control::<call::Uptime, _>(target, &())?;
    let now = up.current_time.sec;
    let (started, finished) = (up.last_recovery_started, up.last_recovery_finished);
    let duration =
        (finished.sec - started.sec) as f64 + (finished.usec - started.usec) as f64 / 1e6;
    if tool.options.json {
        return json::print(&json::Uptime {
            node: target,
            current_time: json::seconds(up.current_time),
            start_time: json::seconds(up.ctdbd_start_time),
            last_recovery_started: json::seconds(started),
            last_recovery_finished: json::seconds(finished),
            last_recovery_duration: duration,
        });
    }
    let ago = |at: Timeval| format!("{} {}", age(now - at.sec), ctime(at.sec));
    outln!("Current time of node {target:<4}     :                {}", ctime(now));
    outln!("Ctdbd start time              : {}", ago(up.ctdbd_start_time));
    outln!("Time of last recovery/failover: {}", ago(finished));
    outln!("Duration of last recovery/failover: {duration:.6} seconds");
    Ok(())
}

/// `(days hours:minutes:seconds)`
pub(crate) fn age(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!("({:03} {:02}:{:02}:{:02})", hours / 24, hours % 24, minutes % 60, seconds % 60)
}

/// Local time as C's `ctime` writes it, without the newline.
pub(crate) fn ctime(seconds: i64) -> String {
    use chrono::TimeZone;
    match chrono::Local.timestamp_opt(seconds, 0).earliest() {
        Some(time) => time.format("%a %b %e %H:%M:%S %Y").to_string(),
        None => seconds.to_string(),
    }
}

/// `ping`
pub(crate) fn ping(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let target = tool.target;
    let start = Instant::now();
    let clients = tool.value::<call::Ping>(target, &())?;
    let time = start.elapsed().as_secs_f64();
    if tool.options.json {
        return json::print(&json::Ping { node: target, time, clients });
    }
    outln!("response from {target} time={time:.6} sec  ({clients} clients)");
    Ok(())
}

const RUN_STATES: [&str; 6] = ["INIT", "SETUP", "FIRST_RECOVERY", "STARTUP", "RUNNING", "SHUTDOWN"];

/// `runstate [STATE ...]`
pub(crate) fn runstate(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let target = tool.target;
    let state = tool.control::<call::GetRunstate, _>(target, &())?;
    let index = usize::try_from(state).ok().and_then(|state| state.checked_sub(1));
    let name = index.and_then(|at| RUN_STATES.get(at)).copied().unwrap_or("UNKNOWN");
    let complaint = not_in_required(name, args);
    if tool.options.json {
        json::print(&json::RunState { node: target, runstate: name.into(), runstate_raw: state })?;
    } else {
        outln!("{}", complaint.as_deref().unwrap_or(name));
    }
    complaint.map_or(Ok(()), |_| Err(FAILED))
}

/// What is said if a state is none of those asked for; the first bad word ends the search.
fn not_in_required(name: &str, args: Args<'_>) -> Option<String> {
    for word in args.texts() {
        if !RUN_STATES.iter().any(|known| known.eq_ignore_ascii_case(&word)) {
            return Some(format!("Invalid run state ({word})"));
        }
        if name.eq_ignore_ascii_case(&word) {
            return None;
        }
    }
    (args.len() != 0).then(|| format!("CTDB not in required run state (got {name})"))
}

/// `pnn`
pub(crate) fn pnn(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    if tool.options.json {
        return json::print(&json::OwnNode { pnn: tool.pnn() });
    }
    outln!("{}", tool.pnn());
    Ok(())
}

/// `leader`
pub(crate) fn leader(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let leader = tool.leader()?;
    if tool.options.json {
        return json::print(&json::LeaderNode { leader });
    }
    outln!("{}", leader_text(leader));
    Ok(())
}

/// `getpid`
pub(crate) fn getpid(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let target = tool.target;
    let pid = tool.value::<call::GetPid>(target, &())?;
    if tool.options.json {
        return json::print(&json::Process { node: target, pid });
    }
    outln!("{pid}");
    Ok(())
}

/// `getcapabilities`
pub(crate) fn getcapabilities(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let bits = tool.control::<call::GetCapabilities, _>(target, &())?;
    let has = |bit: u32| bits & bit != 0;
    if tool.options.json {
        let (leader, lmaster) = (has(capability::RECMASTER), has(capability::LMASTER));
        return json::print(&json::Capabilities { node: target, leader, lmaster });
    }
    if tool.options.machine {
        let digit = |bit| if has(bit) { "1" } else { "0" };
        print_row(tool.sep(), &["LEADER", "LMASTER"]);
        print_row(tool.sep(), &[digit(capability::RECMASTER), digit(capability::LMASTER)]);
    } else {
        let word = |bit| if has(bit) { "YES" } else { "NO" };
        outln!("LEADER: {}", word(capability::RECMASTER));
        outln!("LMASTER: {}", word(capability::LMASTER));
    }
    Ok(())
}

/// `getreclock`
pub(crate) fn getreclock(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let lock = tool.control::<call::GetReclockFile, _>(target, &())?;
    if tool.options.json {
        let cluster_lock = lock.map(|lock| lock.to_string());
        return json::print(&json::ClusterLock { node: target, cluster_lock });
    }
    if let Some(lock) = lock {
        outln!("{}", text_of(Some(lock)));
    }
    Ok(())
}

/// `process-exists PID [SRVID]`: whether a process is a client of the node's daemon.
pub(crate) fn process_exists(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let pid = atoi(&args.text(0));
    let srvid = args.get(1).map_or(Ok(0), |text| number(&text))?;
    let target = tool.target;
    let (status, what) = if srvid == 0 {
        (tool.status::<call::ProcessExists>(target, &pid)?, String::new())
    } else {
        let request = PidSrvid { pid, srvid };
        let status = tool.status::<call::CheckPidSrvid>(target, &request)?;
        (status, format!(" with SRVID 0x{srvid:x}"))
    };
    let exists = status == 0;
    if tool.options.json {
        let srvid = (srvid != 0).then(|| format!("0x{srvid:x}"));
        json::print(&json::ProcessExists { node: target, pid, srvid, exists })?;
    } else {
        outln!("PID {pid}{what} {}", if exists { "exists" } else { "does not exist" });
    }
    if exists {
        Ok(())
    } else {
        Err(Exit::Code(status))
    }
}

/// `setdebug LEVEL`
pub(crate) fn setdebug(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let text = args.text(0);
    let Some(level) = level(&text) else {
        errln!("Invalid debug level '{text}'. Valid levels are:");
        errln!("\tERROR | WARNING | NOTICE | INFO | DEBUG");
        return Err(FAILED);
    };
    let target = tool.target;
    tool.control::<call::SetDebug, ()>(target, &level)
}

/// `getdebug`
pub(crate) fn getdebug(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let level = tool.control::<call::GetDebug, _>(target, &())?;
    if tool.options.json {
        let name = level_name(level).into();
        return json::print(&json::LogLevel { node: target, level: name, level_raw: level });
    }
    outln!("{}", level_name(level));
    Ok(())
}
