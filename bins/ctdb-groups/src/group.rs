// SPDX-License-Identifier: GPL-3.0-or-later
//! The file that names the nodes of a group: `ADDRESS [follower-only]` in each line.

use crate::Kind;
use ctdb_command_line::Ending;
use std::path::Path;

/// The option of a node that never leads.
pub(crate) const FOLLOWER_ONLY: &str = "follower-only";

/// The nodes of a group, and whether each only follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    lines: Vec<(String, bool)>,
}

impl Group {
    /// Reads the file.
    pub fn read(kind: &Kind, path: &Path) -> Result<Group, Ending> {
        let (name, shown) = (kind.name, path.display());
        let content = std::fs::read(path).map_err(|_| {
            let text = format!("{name}: {} nodes file \"{shown}\" not found\n", kind.title);
            Ending::complaint(text, 1)
        })?;
        Group::parse(&String::from_utf8_lossy(&content)).map_err(|options| {
            Ending::complaint(format!("{name}: Invalid options \"{options}\" in  \"{shown}\"\n"), 1)
        })
    }

    /// The error is what stands behind an address and makes no sense.
    fn parse(content: &str) -> Result<Group, String> {
        let is_node = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let node = |line: &str| match line.split_once([' ', '\t']).map(|(a, o)| (a, o.trim())) {
            None => Ok((line.to_owned(), false)),
            Some((address, FOLLOWER_ONLY)) => Ok((address.to_owned(), true)),
            Some((_, options)) => Err(options.to_owned()),
        };
        let lines = content.lines().map(str::trim).filter(is_node).map(node);
        Ok(Group { lines: lines.collect::<Result<_, _>>()? })
    }

    /// Address of each line, and whether it only follows.
    pub fn lines(&self) -> impl Iterator<Item = (&str, bool)> {
        self.lines.iter().map(|(address, follows)| (address.as_str(), *follows))
    }

    /// Whether the node belongs to the group.
    pub fn contains(&self, address: &str) -> bool {
        self.lines().any(|(member, _)| member == address)
    }

    /// Whether it may lead the group.
    pub fn may_lead(&self, address: &str) -> bool {
        self.lines().any(|(member, follows)| member == address && !follows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let group = Group::parse("# all\n10.0.0.1\n\n 10.0.0.2 \t follower-only \n").unwrap();
        assert_eq!(group.lines().collect::<Vec<_>>(), [("10.0.0.1", false), ("10.0.0.2", true)]);
        assert!(group.may_lead("10.0.0.1") && !group.may_lead("10.0.0.2"));
        assert!(group.contains("10.0.0.2") && !group.contains("10.0.0.3"));
        assert_eq!(Group::parse("10.0.0.1 slave-only"), Err("slave-only".into()));
        assert_eq!(Group::parse("10.0.0.1 # x"), Err("# x".into()));
    }
}
