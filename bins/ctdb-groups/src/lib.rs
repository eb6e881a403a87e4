// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb_natgw` and `ctdb_lvs`: which nodes of a group of nodes are usable, and which one leads it
//! (spec/tool.md 21). `ctdb natgw`, `ctdb lvs` and event scripts run them.
//!
//! - `group`: the file that names the nodes of the group
//! - `nodes`: what `ctdb nodestatus` says of them
//! - `settings`: where the file and the tool are
//!
//! Where the scripts of that name stumble these do not: comments and blank lines of the file are no nodes, and a
//! status that cannot be had is a failure.
#![forbid(unsafe_code)]

mod group;
mod nodes;
mod settings;

use ctdb_command_line::Ending;
use group::Group;
use nodes::{Flag, Node};
use settings::Settings;
use std::ffi::OsString;

/// A kind of group.
#[derive(Debug)]
pub struct Kind {
    /// The program.
    name: &'static str,
    /// What the group is called.
    title: &'static str,
    about: &'static str,
    /// The variable that names the group's file, and the default name.
    variable: &'static str,
    file: &'static str,
    /// The event script whose options count too.
    script: &'static str,
    /// The commands.
    options: [(&'static str, &'static str); 3],
    /// Flags that make a node unusable; later ones count when earlier ones leave no node.
    unusable: &'static [&'static [Flag]],
    /// Exit code without a leader.
    no_leader: i32,
    /// Exit code without the status of the nodes.
    no_status: i32,
    /// Whether the leader is told with its address, and the list is of the whole group.
    with_address: bool,
}

/// The nodes that share a NAT gateway.
pub static NATGW: Kind = Kind {
    name: "ctdb_natgw",
    title: "NAT gateway",
    about: "Show the nodes that share a NAT gateway",
    variable: "CTDB_NATGW_NODES",
    file: "natgw_nodes",
    script: "11.natgw",
    options: [
        ("leader", "Display node number and private IP address of leader node"),
        ("list", "List private IP addresses of nodes in group, annotate leader"),
        ("status", "Show status of nodes in NAT gateway group"),
    ],
    unusable: &[
        &[Flag::Unknown, Flag::Disabled, Flag::Unhealthy, Flag::Inactive],
        &[Flag::Disconnected, Flag::Disabled, Flag::Stopped],
        &[Flag::Disconnected, Flag::Disabled],
    ],
    no_leader: 2,
    no_status: 1,
    with_address: true,
};

/// The nodes that share a load.
pub static LVS: Kind = Kind {
    name: "ctdb_lvs",
    title: "LVS",
    about: "Show the nodes of the LVS group",
    variable: "CTDB_LVS_NODES",
    file: "lvs_nodes",
    script: "91.lvs",
    options: [
        ("leader", "Display node number of leader node"),
        ("list", "List node number and private IP address of usable nodes in group"),
        ("status", "Show status of all nodes in LVS group"),
    ],
    unusable: &[
        &[Flag::Unknown, Flag::Disabled, Flag::Unhealthy, Flag::Inactive],
        &[Flag::Disabled, Flag::Inactive],
    ],
    no_leader: 255,
    no_status: 10,
    with_address: false,
};

/// The definitions of both command lines.
pub fn commands() -> [clap::Command; 2] {
    [&NATGW, &LVS].map(|kind| {
        let command = |(name, about)| clap::Command::new(name).about(about);
        clap::Command::new(kind.name)
            .about(kind.about)
            .subcommand_required(true)
            .subcommands(kind.options.map(command))
    })
}

/// Runs one of the programs with all of its words, its name first.
pub fn run(kind: &'static Kind, words: impl IntoIterator<Item = OsString>) -> Ending {
    answer(kind, &words.into_iter().collect::<Vec<_>>()).unwrap_or_else(|ending| ending)
}

fn answer(kind: &'static Kind, words: &[OsString]) -> Result<Ending, Ending> {
    let program = words.first().map_or(kind.name.into(), |word| word.to_string_lossy());
    let wanted = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    if !kind.options.iter().any(|(name, _)| *name == wanted) {
        return Err(Ending::output(kind.usage(&program), 1));
    }
    let settings = Settings::read(kind)?;
    let group = Group::read(kind, &settings.group_file)?;
    match wanted {
        "leader" => leader(kind, &settings, &group),
        "list" if kind.with_address => Ok(whole_list(kind, &settings, &group)),
        "list" => usable_list(kind, &settings, &group),
        _ => status(kind, &settings, &group),
    }
}

impl Kind {
    fn usage(&self, program: &str) -> String {
        let row = |(name, about): &(&str, &str)| format!("  {name:10} {about}\n");
        let rows: String = self.options.iter().map(row).collect();
        format!("{program} <option>\n\n<option> is one of:\n{rows}")
    }

    /// The group's nodes that are usable, if need be under weaker conditions.
    fn usable(&self, nodes: &[Node]) -> Vec<Node> {
        let without = |flags: &&[Flag]| -> Vec<Node> {
            nodes.iter().filter(|node| node.has_none(flags)).cloned().collect()
        };
        self.unusable.iter().map(without).find(|found| !found.is_empty()).unwrap_or_default()
    }

    fn unavailable(&self) -> Ending {
        let text = format!("{}: Unable to get status of nodes\n", self.name);
        Ending::complaint(text, self.no_status)
    }
}

/// The node that leads: the first usable one that may. Without a status nobody is known to.
fn find_leader(kind: &Kind, group: &Group, mut nodes: Vec<Node>) -> Option<Node> {
    if kind.with_address {
        // Those that only follow do not keep the conditions strong.
        nodes.retain(|node| group.may_lead(&node.address));
    }
    kind.usable(&nodes).into_iter().find(|node| group.may_lead(&node.address))
}

fn members(settings: &Settings, group: &Group) -> Option<Vec<Node>> {
    let mut nodes = nodes::all(settings)?;
    nodes.retain(|node| group.contains(&node.address));
    Some(nodes)
}

fn leader(kind: &Kind, settings: &Settings, group: &Group) -> Result<Ending, Ending> {
    let nodes = members(settings, group).ok_or_else(|| match kind.with_address {
        true => Ending::code(kind.no_leader),
        false => Ending::code(kind.no_status),
    })?;
    let leader = find_leader(kind, group, nodes).ok_or(Ending::code(kind.no_leader))?;
    let text = match kind.with_address {
        true => format!("{} {}\n", leader.pnn, leader.address),
        false => format!("{}\n", leader.pnn),
    };
    Ok(Ending::output(text, 0))
}

/// Every line of the group's file, with who leads.
fn whole_list(kind: &Kind, settings: &Settings, group: &Group) -> Ending {
    let nodes = members(settings, group).unwrap_or_default();
    let leader = find_leader(kind, group, nodes);
    let row = |(address, follows): (&str, bool)| {
        let leads = leader.as_ref().is_some_and(|leader| leader.address == address);
        match (leads, follows) {
            (true, _) => format!("{address}\tLEADER\n"),
            (false, true) => format!("{address}\t{}\n", group::FOLLOWER_ONLY),
            (false, false) => format!("{address}\n"),
        }
    };
    Ending::output(group.lines().map(row).collect::<String>(), 0)
}

fn usable_list(kind: &Kind, settings: &Settings, group: &Group) -> Result<Ending, Ending> {
    let nodes = members(settings, group).ok_or(Ending::code(kind.no_status))?;
    let row = |node: Node| format!("{} {}\n", node.pnn, node.address);
    Ok(Ending::output(kind.usable(&nodes).into_iter().map(row).collect::<String>(), 0))
}

fn status(kind: &Kind, settings: &Settings, group: &Group) -> Result<Ending, Ending> {
    let text = nodes::status_lines(settings).ok_or_else(|| kind.unavailable())?;
    let of_group = |line: &&str| line.split_whitespace().nth(1).is_some_and(|a| group.contains(a));
    let lines = text.lines().filter(of_group).map(|line| format!("{line}\n"));
    Ok(Ending::output(lines.collect::<String>(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(flags: &[&[Flag]]) -> Vec<Node> {
        let node = |(pnn, flags): (usize, &&[Flag])| Node {
            pnn: pnn.to_string(),
            address: format!("10.0.0.{pnn}"),
            flags: flags.to_vec(),
        };
        flags.iter().enumerate().map(node).collect()
    }

    fn usable(kind: &Kind, flags: &[&[Flag]]) -> String {
        kind.usable(&nodes(flags)).into_iter().map(|node| node.pnn).collect()
    }

    #[test]
    fn conditions_weaken_until_a_node_is_left() {
        use Flag::*;
        assert_eq!(usable(&NATGW, &[&[Unhealthy], &[], &[Inactive]]), "1");
        assert_eq!(
            usable(&NATGW, &[&[Unhealthy], &[Stopped, Inactive], &[Banned, Inactive]]),
            "02"
        );
        assert_eq!(
            usable(&NATGW, &[&[Disabled], &[Stopped, Inactive], &[Disconnected, Inactive]]),
            "1"
        );
        assert_eq!(usable(&NATGW, &[&[Disabled], &[Disconnected, Inactive]]), "");
        assert_eq!(usable(&LVS, &[&[Unhealthy], &[Disabled], &[Unknown]]), "02");
        assert_eq!(usable(&LVS, &[&[Stopped, Inactive], &[Disabled]]), "");
    }
}
