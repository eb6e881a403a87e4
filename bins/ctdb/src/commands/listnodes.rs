// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that need no daemon (spec/tool.md 6.1, 6.2, 13).

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener};

use ctdb_wire::canonical_addr;
use ctdbcore::Environment;

use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{Done, Exit, FAILED};
use crate::json;
use crate::number::atoi;
use crate::options::Options;

/// The nodes file: one entry for each PNN, `None` for a deleted node.
pub(crate) fn read(environment: &Environment) -> Result<Vec<Option<IpAddr>>, Exit> {
    let path = environment.nodes_path().map_err(|e| {
        errln!("{e}");
        FAILED
    })?;
    let nodes = std::fs::read_to_string(&path).ok().and_then(|text| parse(&text));
    nodes.ok_or_else(|| {
        errln!("Failed to read nodes file \"{}\"", path.display());
        FAILED
    })
}

/// An empty line is no node; a comment is a deleted one.
fn parse(text: &str) -> Option<Vec<Option<IpAddr>>> {
    let lines = text.lines().map(|line| line.trim_matches([' ', '\t']));
    let mut nodes = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            nodes.push(None);
            continue;
        }
        let Ok(ip) = line.parse::<IpAddr>() else {
            errln!("Invalid IP address {line}");
            return None;
        };
        nodes.push(Some(canonical_addr((ip, 0).into()).ip()));
    }
    Some(nodes)
}

/// `listnodes`
pub(crate) fn listnodes(options: &Options, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let nodes = read(&Environment::from_process())?;
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

/// `checktcpport PORT`: whether nothing is bound to it.
pub(crate) fn checktcpport(options: &Options, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let port = atoi(&args.text(0)) as u16;
    let bound = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let errno = bound.err().map(|e| e.raw_os_error().unwrap_or(1));
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
    fn comments_keep_their_number_and_empty_lines_have_none() {
        let nodes = parse(" 10.0.0.1\n\n#10.0.0.2\n::ffff:10.0.0.3\t\nfd00::1\n\n").unwrap();
        let want = [Some("10.0.0.1"), None, Some("10.0.0.3"), Some("fd00::1")];
        assert_eq!(nodes, want.map(|ip| ip.map(|ip| ip.parse().unwrap())));
        assert!(parse("10.0.0.1\nhost\n").is_none());
    }
}
