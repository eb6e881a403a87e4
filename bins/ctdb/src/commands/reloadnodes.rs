// SPDX-License-Identifier: GPL-3.0-or-later
//! Making all nodes read the list of nodes again (spec/tool.md 6.3).

use std::net::{IpAddr, Ipv4Addr};

use ctdb_wire::control::call;
use ctdb_wire::flags::node;
use ctdb_wire::types::{NodeAndFlags, NodeMap};

use crate::args::Args;
use crate::commands::listnodes;
use crate::exit::{Done, FAILED};
use crate::pause::Pause;
use crate::tool::Tool;

/// `reloadnodes`
pub(crate) fn reloadnodes(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let map = tool.nodemap()?;
    let file = listnodes::read()?;
    same_everywhere(tool, &map, &file)?;
    let changes = Changes::between(&map.node, &file);
    changes.say();
    if changes.refused {
        errln!("ERROR: Nodes will not be reloaded due to previous error");
        return Err(FAILED);
    }
    if !changes.reload {
        errln!("No change in nodes file, skipping unnecessary reload");
        return Ok(());
    }
    let connected = tool.nodes_without(node::DISCONNECTED)?;
    Pause::Recoveries.begin(tool, &connected)?;
    let mut failed = tool.control_each::<call::ReloadNodesFile>(&connected, &())?;
    failed.sort_unstable();
    for pnn in &failed {
        errln!("Node {pnn} failed to reload nodes");
    }
    if !failed.is_empty() {
        errln!("You MUST fix failed nodes manually!");
    }
    Pause::Recoveries.end(tool, &connected)
}

/// Every node that can be asked has the same list as this one.
fn same_everywhere(tool: &mut Tool<'_>, map: &NodeMap, file: &[Option<IpAddr>]) -> Done {
    let local = tool.pnn();
    for entry in map.node.iter().filter(|entry| entry.flags & node::DISCONNECTED == 0) {
        let pnn = entry.pnn;
        let theirs = tool.control::<call::GetNodesFile, _>(pnn, &()).inspect_err(|_| {
            errln!("ERROR: Failed to get nodes file from node {pnn}");
        })?;
        if !is_list(&theirs.node, file) {
            errln!("ERROR: Nodes file on node {pnn} differs from current node ({local})");
            return Err(FAILED);
        }
    }
    Ok(())
}

/// Whether a node's list is this one; ports do not matter.
fn is_list(theirs: &[NodeAndFlags], file: &[Option<IpAddr>]) -> bool {
    let same = |(at, (theirs, ours)): (usize, (&NodeAndFlags, &Option<IpAddr>))| {
        let flags = if ours.is_none() { node::DELETED } else { 0 };
        theirs.pnn as usize == at
            && theirs.flags == flags
            && theirs.addr.ip() == ours.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    };
    theirs.len() == file.len() && theirs.iter().zip(file).enumerate().all(same)
}

/// What a new list changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// News in order: for standard output, or complaints for standard error.
    said: Vec<Result<String, String>>,
    reload: bool,
    refused: bool,
}

impl Changes {
    fn between(map: &[NodeAndFlags], file: &[Option<IpAddr>]) -> Changes {
        let mut changes = Changes::default();
        for (at, entry) in map.iter().enumerate() {
            match file.get(at) {
                None => changes.refuse(format!(
                    "Node {} ({}) missing from nodes file",
                    entry.pnn,
                    entry.addr.ip()
                )),
                Some(new) => changes.compare(entry, *new),
            }
        }
        for at in map.len()..file.len() {
            changes.announce(format!("Node {at} is NEW"));
        }
        changes
    }

    fn compare(&mut self, entry: &NodeAndFlags, new: Option<IpAddr>) {
        let (pnn, was) = (entry.pnn, entry.addr.ip());
        let is_disconnected = entry.flags & node::DISCONNECTED != 0;
        match (entry.flags & node::DELETED != 0, new) {
            (true, None) => (),
            (true, Some(_)) => self.announce(format!("Node {pnn} is UNDELETED")),
            (false, None) => {
                self.announce(format!("Node {pnn} is DELETED"));
                if !is_disconnected {
                    self.refuse(format!("ERROR: Node {pnn} is still connected"));
                }
            }
            (false, Some(now)) if now != was => {
                self.refuse(format!("Node {pnn} has changed IP address (was {was}, now {now})"))
            }
            (false, Some(_)) if is_disconnected => self.said.push(Err(format!(
                "WARNING: Node {pnn} is disconnected. You MUST fix this node manually!"
            ))),
            (false, Some(_)) => (),
        }
    }

    fn announce(&mut self, text: String) {
        self.said.push(Ok(text));
        self.reload = true;
    }

    fn refuse(&mut self, text: String) {
        self.said.push(Err(text));
        self.refused = true;
    }

    fn say(&self) {
        for line in &self.said {
            match line {
                Ok(news) => outln!("{news}"),
                Err(complaint) => errln!("{complaint}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCONNECTED: u32 = node::DISCONNECTED;
    const DELETED: u32 = node::DELETED | node::DISCONNECTED;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn entry(pnn: u32, flags: u32) -> NodeAndFlags {
        let addr = if flags & node::DELETED != 0 { [0; 4].into() } else { ip(pnn as u8) };
        NodeAndFlags { pnn, flags, addr: (addr, 4379).into() }
    }

    fn changes(flags: &[u32], file: &[Option<u8>]) -> (Vec<String>, bool, bool) {
        let map: Vec<_> = flags.iter().enumerate().map(|(at, f)| entry(at as u32, *f)).collect();
        let file: Vec<_> = file.iter().map(|last| last.map(ip)).collect();
        let Changes { said, reload, refused } = Changes::between(&map, &file);
        let said = said.into_iter().map(|line| match line {
            Ok(news) => news,
            Err(complaint) => format!("! {complaint}"),
        });
        (said.collect(), reload, refused)
    }

    #[test]
    fn nodes_come_and_go() {
        let all = [Some(0), Some(1), Some(2)];
        assert_eq!(changes(&[0, 0, 0], &all), (vec![], false, false));
        let (said, reload, refused) = changes(&[0, DISCONNECTED], &[Some(0), None, Some(9), None]);
        assert_eq!(said, ["Node 1 is DELETED", "Node 2 is NEW", "Node 3 is NEW"]);
        assert!(reload && !refused);
        let (said, reload, refused) = changes(&[0, DELETED], &[Some(0), Some(1)]);
        assert_eq!((said, reload, refused), (vec!["Node 1 is UNDELETED".into()], true, false));
        assert_eq!(changes(&[0, DELETED], &[Some(0), None]), (vec![], false, false));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (said, _, refused) = changes(&[0, 0], &[Some(0), None]);
        assert_eq!(said, ["Node 1 is DELETED", "! ERROR: Node 1 is still connected"]);
        assert!(refused);
        let (said, _, refused) = changes(&[0, 0], &[Some(0)]);
        assert_eq!(said, ["! Node 1 (10.0.0.1) missing from nodes file"]);
        assert!(refused);
        let (said, _, refused) = changes(&[0, 0], &[Some(0), Some(7)]);
        assert_eq!(said, ["! Node 1 has changed IP address (was 10.0.0.1, now 10.0.0.7)"]);
        assert!(refused);
        let (said, reload, refused) = changes(&[0, DISCONNECTED], &[Some(0), Some(1)]);
        let warning = "! WARNING: Node 1 is disconnected. You MUST fix this node manually!";
        assert_eq!((said, reload, refused), (vec![warning.into()], false, false));
    }

    #[test]
    fn lists_are_the_same_but_for_ports() {
        let list = [entry(0, 0), entry(1, node::DELETED)];
        assert!(is_list(&list, &[Some(ip(0)), None]));
        assert!(!is_list(&list, &[Some(ip(0))]));
        assert!(!is_list(&list, &[Some(ip(0)), Some(ip(1))]));
        assert!(!is_list(&list, &[Some(ip(3)), None]));
    }
}
