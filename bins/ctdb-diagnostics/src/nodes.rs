// SPDX-License-Identifier: GPL-3.0-or-later
//! Which nodes, and commands on them: through `onnode`, or here.

use crate::options::Options;
use crate::report::Report;
use ctdb_command_line::Ending;
use std::fmt;
use std::process::{Command, Stdio};

/// Seconds that ssh may take to connect, unless the environment has another limit.
const CONNECT_TIMEOUT: &str = "ConnectTimeout=5";

/// The nodes that are looked at.
#[derive(Debug)]
pub(crate) struct Nodes {
    reachable: Vec<String>,
    unreachable: Vec<String>,
    through_onnode: bool,
    ssh_options: String,
}

impl Nodes {
    /// Those that the options name, or all; of these the ones that can be reached.
    pub fn find(options: &Options) -> Result<Nodes, Ending> {
        let mut nodes = Nodes {
            reachable: Vec::new(),
            unreachable: Vec::new(),
            through_onnode: false,
            ssh_options: ssh_options(std::env::var("EXTRA_SSH_OPTS").unwrap_or_default()),
        };
        if options.local {
            nodes.reachable.push("0".to_owned());
            return Ok(nodes);
        }
        nodes.through_onnode = true;
        let wanted = match &options.nodes {
            Some(list) => list.split(',').map(str::to_owned).collect(),
            None => listed()?,
        };
        let reached =
            |node: &String| nodes.command(node, "true").status().is_ok_and(|s| s.success());
        (nodes.reachable, nodes.unreachable) = wanted.into_iter().partition(reached);
        Ok(nodes)
    }

    /// Tells which they are.
    pub fn introduce(&self, report: &mut Report) {
        if !self.through_onnode {
            report.line("Diagnosis started on the local node");
            return;
        }
        report.line(&format!("Diagnosis started on these nodes:\n{}", self.reachable.join(",")));
        if !self.unreachable.is_empty() {
            let list = self.unreachable.join(",");
            report
                .line(&format!("\nNOT RUNNING DIAGNOSTICS on these uncontactable nodes:\n{list}"));
        }
    }

    /// The first node, and the others.
    pub fn split(&self) -> Option<(&str, Vec<&str>)> {
        let (first, others) = self.reachable.split_first()?;
        Some((first, others.iter().map(String::as_str).collect()))
    }

    /// Runs a command on all of them; what it prints is part of the report.
    pub fn show(&self, report: &mut Report, line: &str) {
        if self.reachable.is_empty() {
            return;
        }
        report.line(&format!("running {line} on {self}"));
        let shown = format!("hostname; date; {{ {line}; }} 2>&1 | sed 's/^/  /'");
        let mut command = self.command(&self.reachable.join(","), &shown);
        if let Err(e) = command.stdout(Report::stream()).stderr(Report::stream()).status() {
            report.error(&format!("cannot run commands: {e}"));
        }
    }

    /// What a command prints on one of them.
    pub fn output(&self, node: &str, line: &str) -> String {
        self.result(node, line).unwrap_or_default()
    }

    /// The same, if it succeeds.
    pub fn result(&self, node: &str, line: &str) -> Option<String> {
        let output = self.command(node, line).stdout(Stdio::piped()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, nodes: &str, line: &str) -> Command {
        let mut command = Command::new(if self.through_onnode { "onnode" } else { "sh" });
        if self.through_onnode {
            command.args([nodes, line]).env("EXTRA_SSH_OPTS", &self.ssh_options);
            if std::env::var_os("ONNODE_SSH").is_none() {
                command.env("ONNODE_SSH", format!("ssh {}", self.ssh_options));
            }
        } else {
            command.args(["-c", line]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.through_onnode {
            write!(f, "nodes {}", self.reachable.join(","))
        } else {
            f.write_str("local node")
        }
    }
}

fn ssh_options(given: String) -> String {
    if given.contains("ConnectTimeout=") {
        return given;
    }
    format!("{given} -o {CONNECT_TIMEOUT}").trim_start().to_owned()
}

/// The numbers of all nodes.
fn listed() -> Result<Vec<String>, Ending> {
    let failed = || Ending::complaint("ctdb_diagnostics: no nodes known; name them with -n\n", 1);
    let mut command = Command::new("ctdb");
    let output = command.args(["listnodes", "-X"]).stderr(Stdio::inherit()).output();
    let output = output.map_err(|_| failed())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number =
        |line: &str| line.split('|').nth(1).filter(|n| n.parse::<u32>().is_ok()).map(str::to_owned);
    let numbers: Vec<String> = text.lines().filter_map(number).collect();
    if numbers.is_empty() {
        return Err(failed());
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_set_stays() {
        assert_eq!(ssh_options(String::new()), "-o ConnectTimeout=5");
        assert_eq!(ssh_options("-v".into()), "-v -o ConnectTimeout=5");
        assert_eq!(ssh_options("-o ConnectTimeout=9".into()), "-o ConnectTimeout=9");
    }
}
