// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that need no daemon (spec/tool.md 6.1, 6.2, 13).

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ctdb_host::config::{load, Strictness};
use ctdb_host::nodes_file::{NodesError, NodesSource};
use ctdb_host::Paths;
use socket2::{Domain, Socket, Type};

use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{Done, Exit, FAILED};
use crate::json;
use crate::number::atoi;
use crate::options::Options;

/// The list of nodes, a file or what a command prints: one entry for each PNN, `None` for a deleted
/// node.
pub(crate) fn read() -> Result<Vec<Option<IpAddr>>, Exit> {
    let source = source().map_err(|complaint| {
        errln!("{complaint}");
        FAILED
    })?;
    match source.load() {
        Ok(nodes) => {
            Ok(nodes.into_iter().map(|node| node.address.map(|ip| ip.to_canonical())).collect())
        }
        Err(NodesError { source, faults }) => {
            faults.iter().filter(|fault| fault.line.is_some()).for_each(|f| errln!("{}", f.text));
            errln!("Failed to read nodes from \"{source}\"");
            Err(FAILED)
        }
    }
}

fn source() -> Result<NodesSource, String> {
    let paths = Paths::from_env().map_err(|e| e.to_string())?;
    let loaded = load(&paths.config_file(), &paths, Strictness::Lenient);
    Ok(loaded.map_err(|e| e.to_string())?.config.nodes_source)
}

/// `listnodes`
pub(crate) fn listnodes(options: &Options, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let nodes = read()?;
    if options.json {
        let nodes = nodes.iter().enumerate().map(|(pnn, ip)| json::ListedNode {
            pnn,
            address: ip.map(|ip| ip.to_string()),
            deleted: ip.is_none(),
        });
        return json::print(&json::NodeList { nodes: nodes.collect() });
    }
    for (pnn, ip) in nodes.iter().enumerate() {
        let Some(ip) = ip else { continue };
        if options.machine {
            print_row(&options.separator, &[&pnn.to_string(), &ip.to_string()]);
        } else {
            outln!("{ip}");
        }
    }
    Ok(())
}

/// Binds a socket to a port, which may not be in use in any way: so without reusing addresses, as
/// listeners of the standard library do.
fn bind(port: u16) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())
}

/// `checktcpport PORT`: whether nothing is bound to it.
pub(crate) fn checktcpport(options: &Options, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let port = atoi(&args.text(0)) as u16;
    let errno = bind(port).err().map(|e| e.raw_os_error().unwrap_or(1));
    if options.json {
        json::print(&json::Port { port, free: errno.is_none(), errno })?;
    } else if errno.is_some() {
        errln!("Failed to bind to TCP port {port}");
    }
    errno.map_or(Ok(()), |errno| Err(Exit::Code(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_in_use_even_if_its_user_would_share_it() {
        let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        holder.set_reuse_address(true).unwrap();
        holder.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = holder.local_addr().unwrap().as_socket().unwrap().port();
        let errno = bind(port).unwrap_err().raw_os_error();
        assert_eq!(errno, Some(nix::errno::Errno::EADDRINUSE as i32));
        drop(holder);
        assert!(bind(port).is_ok());
    }
}
