// SPDX-License-Identifier: GPL-3.0-or-later
//! Public addresses and interfaces (spec/tool.md 7.1-7.4, 7.9).

use std::net::{IpAddr, SocketAddr};

use ctdb_wire::control::call;
use ctdb_wire::flags::{node, pnn};
use ctdb_wire::types::{AddrInfo, Iface, PublicIp, PublicIpInfo};
use ctdb_wire::{CharArray, StringN};

use crate::address;
use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{Done, Exit, FAILED};
use crate::json;
use crate::paint::{judge, paint, Sense};
use crate::tool::{no_nodes, Tool};

/// Longest interface name that is accepted.
const MAX_IFACE: usize = 16;

/// IPv4 before IPv6, then by address, then by port.
fn order(addr: &SocketAddr) -> (bool, Vec<u8>, u16) {
    let bytes = match addr.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    (addr.is_ipv6(), bytes, addr.port())
}

/// The addresses of all active nodes; an address is where its node says that it is.
fn all_ips(tool: &mut Tool<'_>) -> Result<Vec<PublicIp>, Exit> {
    let nodes = tool.nodes_without(node::INACTIVE)?;
    if nodes.is_empty() {
        return Err(no_nodes());
    }
    let mut merged: Vec<PublicIp> = Vec::new();
    for asked in nodes {
        let list = tool.control::<call::GetPublicIps, _>(asked, &()).map_err(|_| FAILED)?;
        for ip in list.ip {
            let claimed = ip.pnn == asked;
            match merged.iter_mut().find(|known| known.addr == ip.addr) {
                Some(known) if claimed => known.pnn = asked,
                Some(_) => (),
                None => {
                    let pnn = if claimed { asked } else { pnn::UNKNOWN };
                    merged.push(PublicIp { pnn, addr: ip.addr });
                }
            }
        }
    }
    Ok(merged)
}

/// Interface names of an address: active, available, configured.
fn interfaces(info: &PublicIpInfo) -> [String; 3] {
    let names = |wanted: &dyn Fn(usize, &Iface) -> bool| {
        let chosen = info.ifaces.iface.iter().enumerate().filter(|(at, i)| wanted(*at, i));
        chosen.map(|(_, iface)| iface.name.to_string()).collect::<Vec<_>>().join(",")
    };
    [
        names(&|at, _| u32::try_from(at) == Ok(info.active_idx)),
        names(&|_, iface| iface.link_state != 0),
        names(&|_, _| true),
    ]
}

/// `ip [all]`
pub(crate) fn ip(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let all = match args.get(0).as_deref() {
        None => false,
        Some("all") => true,
        Some(_) => return Err(Exit::Usage),
    };
    let target = tool.target;
    let mut ips =
        if all { all_ips(tool)? } else { tool.control::<call::GetPublicIps, _>(target, &())?.ip };
    ips.sort_by_key(|ip| order(&ip.addr));
    let mut details = Vec::new();
    for ip in &ips {
        let asked = if all { ip.pnn } else { target };
        let info = match asked {
            pnn::UNKNOWN => None,
            _ => Some(tool.control::<call::GetPublicIpInfo, _>(asked, &ip.addr)?),
        };
        details.push(info.as_ref().map(interfaces).unwrap_or_default());
    }
    if tool.options.json {
        return ips_json(tool, all, &ips, &details);
    }
    print_ips(tool, all, &ips, &details);
    Ok(())
}

/// The node that hosts an address, if one does.
fn host(pnn: u32) -> Option<u32> {
    (pnn != pnn::UNKNOWN).then_some(pnn)
}

fn ips_json(tool: &Tool<'_>, all: bool, ips: &[PublicIp], details: &[[String; 3]]) -> Done {
    let list = |names: &String| {
        names.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
    };
    let addresses =
        ips.iter().zip(details).map(|(ip, [active, available, configured])| json::Address {
            address: ip.addr.ip().to_string(),
            node: host(ip.pnn),
            active_interfaces: list(active),
            available_interfaces: list(available),
            configured_interfaces: list(configured),
        });
    let node = (!all).then_some(tool.target);
    json::print(&json::Addresses { node, addresses: addresses.collect() })
}

fn iface_json(iface: &Iface, active: Option<bool>) -> json::Interface {
    json::Interface {
        name: iface.name.to_string(),
        link_up: iface.link_state != 0,
        references: iface.references,
        active,
    }
}

fn print_ips(tool: &Tool<'_>, all: bool, ips: &[PublicIp], details: &[[String; 3]]) {
    let (machine, verbose, sep) = (tool.options.machine, tool.options.verbose, tool.sep());
    match (machine, verbose) {
        (false, _) if all => outln!("Public IPs on ALL nodes"),
        (false, _) => outln!("Public IPs on node {}", tool.target),
        (true, false) => print_row(sep, &["Public IP", "Node"]),
        (true, true) => {
            let columns = [
                "Public IP",
                "Node",
                "ActiveInterfaces",
                "AvailableInterfaces",
                "ConfiguredInterfaces",
            ];
            print_row(sep, &columns);
        }
    }
    for (ip, [active, available, configured]) in ips.iter().zip(details) {
        let addr = ip.addr.ip().to_string();
        let pnn = (ip.pnn as i32).to_string();
        let shown = match host(ip.pnn) {
            None => paint(Sense::Bad, &pnn),
            Some(_) => pnn.as_str().into(),
        };
        match (machine, verbose) {
            (false, false) => outln!("{addr} {shown}"),
            (false, true) => outln!(
                "{addr} node[{shown}] active[{active}] available[{available}] configured[{configured}]"
            ),
            (true, false) => print_row(sep, &[&addr, &pnn]),
            (true, true) => print_row(sep, &[&addr, &pnn, active, available, configured]),
        }
    }
}

fn link(iface: &Iface) -> &'static str {
    if iface.link_state != 0 {
        "up"
    } else {
        "down"
    }
}

/// `ipinfo IP`
pub(crate) fn ipinfo(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let addr = address::ip(&args.text(0))?;
    let (target, json) = (tool.target, tool.options.json);
    let info = tool.control::<call::GetPublicIpInfo, _>(target, &addr).inspect_err(|exit| {
        // where JSON is expected, what standard error says is enough
        if *exit == Exit::Code(-1) && !json {
            outln!("Node {target} does not know about IP {}", addr.ip());
        }
    })?;
    if tool.options.json {
        let ifaces = info.ifaces.iface.iter().enumerate();
        let active = |at: usize| Some(u32::try_from(at) == Ok(info.active_idx));
        return json::print(&json::AddressInfo {
            node: target,
            address: info.ip.addr.ip().to_string(),
            current_node: host(info.ip.pnn),
            interfaces: ifaces.map(|(at, iface)| iface_json(iface, active(at))).collect(),
        });
    }
    outln!("Public IP[{}] info on node {target}", info.ip.addr.ip());
    outln!("IP:{}", info.ip.addr.ip());
    outln!("CurrentNode:{}", info.ip.pnn);
    outln!("NumInterfaces:{}", info.ifaces.iface.len());
    for (at, iface) in info.ifaces.iface.iter().enumerate() {
        let active = if u32::try_from(at) == Ok(info.active_idx) { " (active)" } else { "" };
        outln!(
            "Interface[{}]: Name:{} Link:{} References:{}{active}",
            at + 1,
            iface.name,
            judge(iface.link_state != 0, link(iface)),
            iface.references
        );
    }
    Ok(())
}

/// `ifaces`
pub(crate) fn ifaces(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let list = tool.control::<call::GetIfaces, _>(target, &())?.iface;
    if tool.options.json {
        let interfaces = list.iter().map(|iface| iface_json(iface, None)).collect();
        return json::print(&json::Interfaces { node: target, interfaces });
    }
    if list.is_empty() {
        outln!("No interfaces configured on node {target}");
        return Ok(());
    }
    if tool.options.machine {
        print_row(tool.sep(), &["Name", "LinkStatus", "References"]);
    } else {
        outln!("Interfaces on node {target}");
    }
    for iface in &list {
        let Iface { name, link_state, references } = iface;
        if tool.options.machine {
            let fields = [name.to_string(), link_state.to_string(), references.to_string()];
            print_row(tool.sep(), &fields.each_ref().map(String::as_str));
        } else {
            let link = judge(*link_state != 0, link(iface));
            outln!("name:{name} link:{link} references:{references}");
        }
    }
    Ok(())
}

/// `setifacelink IFACE up|down`
pub(crate) fn setifacelink(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let name = args.text(0);
    if name.len() > MAX_IFACE {
        errln!("Interface name '{name}' too long");
        return Err(FAILED);
    }
    let target = tool.target;
    let list = tool.control::<call::GetIfaces, _>(target, &()).inspect_err(|_| {
        errln!("Failed to get interface information from node {target}");
    })?;
    if !list.iface.iter().any(|iface| iface.name.as_bytes() == name.as_bytes()) {
        outln!("Interface {name} not configured on node {target}");
        return Err(FAILED);
    }
    let link_state = match args.text(1).as_ref() {
        "up" => 1,
        "down" => 0,
        _ => return Err(Exit::Usage),
    };
    let request = Iface { name: CharArray::new(name.as_ref()), link_state, references: 0 };
    tool.control::<call::SetIfaceLinkState, ()>(target, &request)
}

/// `gratarp IP IFACE`
pub(crate) fn gratarp(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let addr = address::ip(&args.text(0))?;
    let target = tool.target;
    let request = AddrInfo { addr, mask: 0, iface: StringN::new(args.text(1).as_ref()) };
    tool.control::<call::SendGratuitousArp, ()>(target, &request).inspect_err(|_| {
        errln!("Unable to send gratuitous arp from node {target}");
    })
}
