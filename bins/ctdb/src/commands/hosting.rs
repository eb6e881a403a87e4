// SPDX-License-Identifier: GPL-3.0-or-later
//! Changing public addresses: where they are, which there are (spec/tool.md 7.5-7.8).

use std::net::SocketAddr;
use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::{node, pnn};
use ctdb_wire::srvid::REBALANCE_NODE;
use ctdb_wire::types::{AddrInfo, PublicIp};
use ctdb_wire::{Encode, StringN};

use crate::address;
use crate::args::Args;
use crate::exit::{Done, Exit, FAILED};
use crate::number::decimal;
use crate::pause::Pause;
use crate::runtime::pause;
use crate::tool::{no_nodes, Tool};

/// How often something is tried that a busy cluster may refuse.
const ATTEMPTS: u32 = 5;
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(3);

/// Tries until it succeeds or has failed often enough, or nobody is left to ask.
fn with_retries(tool: &mut Tool<'_>, attempt: impl Fn(&mut Tool<'_>) -> Done) -> Done {
    for _ in 1..ATTEMPTS {
        match attempt(tool) {
            Err(_) if !tool.client.is_closed() => pause(RETRY_PAUSE),
            ended => return ended,
        }
    }
    attempt(tool)
}

/// The public addresses that a node knows.
fn addresses_of(tool: &mut Tool<'_>, node: u32) -> Result<Vec<PublicIp>, Exit> {
    let list = tool.control::<call::GetPublicIps, _>(node, &()).inspect_err(|_| {
        errln!("Failed to get Public IPs from node {node}");
    })?;
    Ok(list.ip)
}

fn knows(list: &[PublicIp], addr: &SocketAddr) -> bool {
    list.iter().any(|known| known.addr.ip() == addr.ip())
}

/// `moveip IP PNN`
pub(crate) fn moveip(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let addr = address::ip(&args.text(0))?;
    let text = args.text(1);
    let to = decimal(&text).filter(|to| *to != pnn::UNKNOWN).ok_or_else(|| {
        errln!("Invalid PNN {text}");
        FAILED
    })?;
    with_retries(tool, |tool| move_once(tool, addr, to)).inspect_err(|_| {
        errln!("Failed to move IP {} to node {to}", addr.ip());
    })
}

/// One attempt. Whatever comes of it, takeover runs are possible again afterwards.
fn move_once(tool: &mut Tool<'_>, addr: SocketAddr, to: u32) -> Done {
    if !knows(&addresses_of(tool, to)?, &addr) {
        errln!("Node {to} CANNOT host IP address {}", addr.ip());
        return Err(FAILED);
    }
    let connected = tool.nodes_without(node::DISCONNECTED)?;
    Pause::TakeoverRuns.begin(tool, &connected)?;
    let moved = hand_over(tool, addr, to);
    let ended = Pause::TakeoverRuns.end(tool, &connected);
    moved.and(ended)?;
    tool.control_all::<call::Ipreallocated>(&connected, &())
        .inspect_err(|_| errln!("Failed to send ipreallocated"))
}

fn hand_over(tool: &mut Tool<'_>, addr: SocketAddr, to: u32) -> Done {
    let request = PublicIp { pnn: to, addr };
    let mut others = tool.nodes_without(node::INACTIVE)?;
    others.retain(|node| *node != to);
    tool.control_all::<call::ReleaseIp>(&others, &request)
        .inspect_err(|_| errln!("Failed to release IP on nodes"))?;
    tool.control::<call::TakeoverIp, ()>(to, &request)
        .inspect_err(|_| errln!("Failed to takeover IP on node {to}"))
}

/// `addip IP/MASK IFACE`
pub(crate) fn addip(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let (addr, mask) = address::with_mask(&args.text(0))?;
    let target = tool.target;
    let known = addresses_of(tool, target).map_err(|_| FAILED)?;
    if knows(&known, &addr) {
        errln!("Node already knows about IP {}", addr.ip());
        return Ok(());
    }
    let request = AddrInfo { addr, mask, iface: StringN::new(args.text(1).as_ref()) };
    with_retries(tool, |tool| tool.control::<call::AddPublicIp, ()>(target, &request))
        .inspect_err(|_| errln!("Failed to add public IP to node {target}. Giving up"))?;
    tool.send(pnn::BROADCAST_CONNECTED, REBALANCE_NODE, &target.to_vec())
        .inspect_err(|_| errln!("Failed to ask leader to distribute IPs"))
}

/// `delip IP`
pub(crate) fn delip(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let addr = address::ip(&args.text(0))?;
    let target = tool.target;
    let known = addresses_of(tool, target).map_err(|_| FAILED)?;
    if !knows(&known, &addr) {
        errln!("Node does not know about IP address {}", addr.ip());
        return Ok(());
    }
    let request = AddrInfo { addr, mask: 0, iface: StringN::default() };
    tool.control::<call::DelPublicIp, ()>(target, &request)
        .inspect_err(|_| errln!("Failed to delete public IP from node {target}"))
}

/// `reloadips [PNN-LIST]`
pub(crate) fn reloadips(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let wanted = tool.node_list(args.get(0).as_deref())?;
    let mut chosen = tool.nodes_without(node::INACTIVE)?;
    chosen.retain(|node| wanted.contains(node));
    if chosen.is_empty() {
        return Err(no_nodes());
    }
    let connected = tool.nodes_without(node::DISCONNECTED)?;
    Pause::TakeoverRuns.begin(tool, &connected)?;
    if !tool.control_each::<call::ReloadPublicIps>(&chosen, &())?.is_empty() {
        errln!("Failed to reload IPs on some nodes.");
    }
    Pause::TakeoverRuns.end(tool, &connected)?;
    tool.ipreallocate()
}
