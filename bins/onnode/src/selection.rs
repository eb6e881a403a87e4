// SPDX-License-Identifier: GPL-3.0-or-later
//! What NODES means (spec/tool.md 17.4): addresses, in the order asked for and as often.

use crate::nodes_file::Nodes;
use crate::options::{usage, Options};
use ctdb_command_line::Ending;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Node numbers have at most so many digits.
const DIGITS_MAX: usize = 3;

/// The columns of `ctdb -X status` that say that something is wrong with a node, counted from before the first `|`.
const DISCONNECTED: usize = 3;
const PARTIALLY_ONLINE: usize = 10;

/// One of the words between commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item<'a> {
    All,
    Any,
    Healthy,
    Connected,
    Range(usize, usize),
    Name(&'a str),
}

impl<'a> Item<'a> {
    fn parse(word: &'a str, names: bool) -> Option<Item<'a>> {
        Some(match word {
            "all" => Item::All,
            "any" => Item::Any,
            "ok" | "healthy" => Item::Healthy,
            "con" | "connected" => Item::Connected,
            _ => match word.split_once('-') {
                Some((first, last)) => Item::Range(number(first)?, number(last)?),
                None => match number(word) {
                    Some(node) => Item::Range(node, node),
                    None if names && !word.is_empty() => Item::Name(word),
                    None => return None,
                },
            },
        })
    }
}

fn number(text: &str) -> Option<usize> {
    let digits = text.len() <= DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// The addresses that the command line asks for.
pub(crate) fn expand(options: &Options, nodes: &Nodes) -> Result<Vec<String>, Ending> {
    let text = options.nodes().to_string_lossy();
    let mut words: Vec<&str> = text.split(',').collect();
    if words.last() == Some(&"") {
        words.pop();
    }
    let mut addresses = Vec::new();
    for word in words {
        let item =
            Item::parse(word, options.names).ok_or_else(|| usage("Invalid <nodespec>\n\n"))?;
        match item {
            Item::All => addresses.extend(nodes.iter().flatten().cloned()),
            Item::Any => addresses.push(address(nodes, any(options)?)?),
            Item::Healthy => add(&mut addresses, nodes, status()?.healthy())?,
            Item::Connected => add(&mut addresses, nodes, status()?.connected())?,
            Item::Range(first, last) => add(&mut addresses, nodes, first..=last)?,
            Item::Name(name) => addresses.push(name.to_owned()),
        }
    }
    Ok(addresses)
}

fn add(
    addresses: &mut Vec<String>,
    nodes: &Nodes,
    numbers: impl IntoIterator<Item = usize>,
) -> Result<(), Ending> {
    for number in numbers {
        addresses.push(address(nodes, number)?);
    }
    Ok(())
}

fn address(nodes: &Nodes, number: usize) -> Result<String, Ending> {
    nodes
        .get(number)
        .cloned()
        .flatten()
        .ok_or_else(|| Ending::complaint(format!("onnode: \"node {number}\" does not exist\n"), 1))
}

/// The first node whose daemon answers: this program asks all of them, in a process that goes away with its
/// children as soon as one has answered.
fn any(options: &Options) -> Result<usize, Ending> {
    let none = || Ending::code(1);
    let mut command = Command::new(std::env::current_exe().map_err(|_| none())?);
    command.arg("-pq");
    if let Some(file) = &options.nodes_file {
        command.arg("-f").arg(file);
    }
    command.args(["all", "ctdb pnn"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut asking = command.spawn().map_err(|_| none())?;
    let answers = asking.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    let answer = answers.map_while(Result::ok).find_map(|line| line.trim().parse().ok());
    if let Ok(pid) = i32::try_from(asking.id()) {
        // It may have ended by itself; it is not waited for yet, so the number is its own.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let _ = asking.wait();
    answer.ok_or_else(none)
}

/// What the local tool says of the nodes.
struct Status {
    /// Number and columns of each node.
    rows: Vec<(usize, Vec<String>)>,
}

fn status() -> Result<Status, Ending> {
    let failed = |output: &[u8]| {
        let text = String::from_utf8_lossy(output);
        Ending::complaint(format!("onnode: unable to get status of CTDB nodes\n{text}"), 1)
    };
    // One stream for both, in the order in which they are written.
    let output = Command::new("sh")
        .args(["-c", "exec ctdb -X status 2>&1"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("{e}\n").as_bytes()))?;
    if !output.status.success() {
        return Err(failed(&output.stdout));
    }
    Ok(Status::parse(&String::from_utf8_lossy(&output.stdout)))
}

impl Status {
    fn parse(text: &str) -> Status {
        let row = |line: &str| {
            let columns: Vec<String> = line.split('|').map(str::to_owned).collect();
            Some((number(columns.get(1)?)?, columns))
        };
        Status { rows: text.lines().filter_map(row).collect() }
    }

    fn healthy(&self) -> Vec<usize> {
        self.where_zero(DISCONNECTED, PARTIALLY_ONLINE)
    }

    fn connected(&self) -> Vec<usize> {
        self.where_zero(DISCONNECTED, DISCONNECTED)
    }

    fn where_zero(&self, first: usize, last: usize) -> Vec<usize> {
        let good = |columns: &[String]| {
            columns.get(first..=last).is_some_and(|flags| flags.iter().all(|flag| flag == "0"))
        };
        self.rows.iter().filter(|(_, c)| good(c)).map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        let item = |word| Item::parse(word, false);
        assert_eq!(item("healthy"), Some(Item::Healthy));
        assert_eq!(item("007"), Some(Item::Range(7, 7)));
        assert_eq!(item("3-1"), Some(Item::Range(3, 1)));
        for bad in ["", "1234", "0-", "-1", "0-x", "lvs", "+1", "1-2-3"] {
            assert_eq!(item(bad), None, "{bad}");
        }
        assert_eq!(Item::parse("lvs", true), Some(Item::Name("lvs")));
        assert_eq!(Item::parse("a-b", true), None);
    }

    #[test]
    fn healthy_and_connected() {
        let status = Status::parse(
            "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|\n\
             |0|127.0.0.1|0|0|0|0|0|0|0|0|Y|\n\
             |1|127.0.0.2|0|0|0|0|1|0|0|0|N|\n\
             |2|127.0.0.3|1|0|0|0|1|0|1|0|N|\n\
             |4|127.0.0.5|0|0|0|0|0|0|0|1|N|\nnonsense\n|5|\n",
        );
        assert_eq!(status.healthy(), [0]);
        assert_eq!(status.connected(), [0, 1, 4]);
    }
}
