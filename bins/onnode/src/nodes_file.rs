// SPDX-License-Identifier: GPL-3.0-or-later
//! The nodes file: each line is a node, from number 0. Unlike in the daemon, a line without an address counts too
//! (spec/tool.md 17.3).

use ctdb_command_line::Ending;
use std::path::Path;

/// The address of each node; none for a dead one.
pub(crate) type Nodes = Vec<Option<String>>;

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Nodes, Ending> {
    let content = std::fs::read(path).map_err(|_| {
        let text = format!("onnode: unable to open nodes file  \"{}\"\n", path.display());
        Ending::complaint(text, 1)
    })?;
    Ok(parse(&String::from_utf8_lossy(&content)))
}

fn parse(content: &str) -> Nodes {
    let address = |line: &str| {
        let kept = line.split('#').next().unwrap_or_default();
        let address: String = kept.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        (!address.is_empty()).then_some(address)
    };
    content.lines().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_node() {
        let nodes = parse("10.0.0.1\n# 10.0.0.2\n\n  fd00::1 # here\n\thost\r\n#\nlast");
        let nodes: Vec<&str> = nodes.iter().map(|n| n.as_deref().unwrap_or("-")).collect();
        assert_eq!(nodes, ["10.0.0.1", "-", "-", "fd00::1", "host", "-", "last"]);
    }
}
