// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tool says of the nodes: `ctdb nodestatus all`.

use crate::settings::Settings;
use std::io::Write;
use std::process::{Command, Stdio};

/// What may be wrong with a node; the values are columns of the machine-readable output, the one before the first
/// separator being 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Disconnected = 3,
    Unknown = 4,
    Banned = 5,
    Disabled = 6,
    Unhealthy = 7,
    Stopped = 8,
    Inactive = 9,
}

const FLAGS: [Flag; 7] = [
    Flag::Disconnected,
    Flag::Unknown,
    Flag::Banned,
    Flag::Disabled,
    Flag::Unhealthy,
    Flag::Stopped,
    Flag::Inactive,
];

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub pnn: String,
    pub address: String,
    pub flags: Vec<Flag>,
}

impl Node {
    /// Whether none of the flags is set.
    pub fn has_none(&self, flags: &[Flag]) -> bool {
        !self.flags.iter().any(|flag| flags.contains(flag))
    }
}

/// All nodes, in the order of their numbers; none if the tool cannot tell.
pub(crate) fn all(settings: &Settings) -> Option<Vec<Node>> {
    let text = ask(settings, &["-X", "nodestatus", "all"])?;
    Some(text.lines().filter_map(parse).collect())
}

/// The same in words.
pub(crate) fn status_lines(settings: &Settings) -> Option<String> {
    ask(settings, &["nodestatus", "all"])
}

/// The exit code says how the nodes are: only what was printed says whether there is an answer. Complaints are
/// passed on.
fn ask(settings: &Settings, args: &[&str]) -> Option<String> {
    let mut command = Command::new(&settings.ctdb);
    let output = match command.args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output() {
        Ok(output) => output,
        Err(error) => {
            let ctdb = settings.ctdb.to_string_lossy();
            let _ = writeln!(std::io::stderr(), "{ctdb}: {error}");
            return None;
        }
    };
    let failed = output.stdout.is_empty() || output.status.code() == Some(255);
    (!failed).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(line: &str) -> Option<Node> {
    let columns: Vec<&str> = line.split('|').collect();
    let (pnn, address) = (*columns.get(1)?, *columns.get(2)?);
    pnn.parse::<u32>().ok()?;
    let is_set = |flag: &Flag| columns.get(*flag as usize).is_none_or(|column| *column != "0");
    let flags = FLAGS.into_iter().filter(is_set).collect();
    Some(Node { pnn: pnn.to_owned(), address: address.to_owned(), flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let node = parse("|2|127.0.0.3|1|0|0|0|1|0|1|0|N|").unwrap();
        assert_eq!((node.pnn.as_str(), node.address.as_str()), ("2", "127.0.0.3"));
        assert_eq!(node.flags, [Flag::Disconnected, Flag::Unhealthy, Flag::Inactive]);
        assert_eq!(parse("|Node|IP|Disconnected|"), None);
        assert_eq!(parse("nonsense"), None);
        // What is missing is not known to be well.
        assert_eq!(parse("|1|a|0|").unwrap().flags.len(), 6);
    }
}
