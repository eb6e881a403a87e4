// SPDX-License-Identifier: GPL-3.0-or-later
//! Tracked TCP connections (spec/tool.md 8.2).

use std::net::SocketAddr;

use ctdb_wire::control::call;

use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{Done, INVALID};
use crate::json;
use crate::number::address;
use crate::tool::Tool;

/// `gettickles IP [PORT]`
pub(crate) fn gettickles(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let mut addr = address(&args.text(0))?;
    if let Some(port) = args.get(1) {
        addr.set_port(port.parse().map_err(|_| INVALID)?);
    }
    let target = tool.target;
    let list = tool.control::<call::GetTcpTickleList, _>(target, &addr).inspect_err(|_| {
        errln!("Failed to get list of connections");
    })?;
    if tool.options.json {
        let connections = list
            .conn
            .iter()
            .map(|conn| json::Connection { source: conn.src.into(), destination: conn.dst.into() });
        return json::print(&json::Connections {
            node: target,
            address: addr.ip().to_string(),
            connections: connections.collect(),
        });
    }
    if tool.options.machine {
        // spelt like this in 4.17
        print_row(tool.sep(), &["Source IP", "Port", "Destiation IP", "Port"]);
        for conn in list.conn {
            let parts = |addr: SocketAddr| (addr.ip().to_string(), addr.port().to_string());
            let ((src, src_port), (dst, dst_port)) = (parts(conn.src), parts(conn.dst));
            print_row(tool.sep(), &[&src, &src_port, &dst, &dst_port]);
        }
        return Ok(());
    }
    outln!("Connections for IP: {}", addr.ip());
    outln!("Num connections: {}", list.conn.len());
    for conn in list.conn {
        outln!("SRC: {}   DST: {}", conn.src, conn.dst);
    }
    Ok(())
}
