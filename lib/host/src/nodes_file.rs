// SPDX-License-Identifier: GPL-3.0-or-later
//! The list of nodes (`spec/cluster.md 2`): one address a line, the line's position is the PNN, and a line that
//! starts with `#` is a deleted node that keeps its PNN.

use crate::bounded_file;
use crate::diagnostic::{keep, Diagnostic};
use crate::sys::signal::poll;
use ctdb_engine::view::{flags, NodeView};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take to print the list.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10);

/// The node port where the services database does not name one.
pub const DEFAULT_PORT: u16 = 4379;

/// Where the list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodesSource {
    /// A file.
    File(PathBuf),
    /// The output of a program, with its arguments (without the `!`).
    Command(String),
}

/// One node of the list; its index is the PNN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEntry {
    /// The address; none for a deleted node.
    pub address: Option<IpAddr>,
}

/// The list could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodesError {
    /// The source as configured.
    pub source: String,
    /// Every reason.
    pub faults: Vec<Diagnostic>,
}

impl fmt::Display for NodesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        write!(f, "Failed to load nodes \"{}\"", self.source)
    }
}

impl std::error::Error for NodesError {}

impl fmt::Display for NodesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodesSource::File(path) => write!(f, "{}", path.display()),
            NodesSource::Command(command) => write!(f, "!{command}"),
        }
    }
}

impl NodesSource {
    /// Reads the text of `[cluster] nodes list`.
    pub fn parse(text: &str) -> NodesSource {
        match text.strip_prefix('!') {
            Some(command) => NodesSource::Command(command.to_owned()),
            None => NodesSource::File(text.into()),
        }
    }

    /// Reads and parses the list. A command is given ten seconds.
    pub fn load(&self) -> Result<Vec<NodeEntry>, NodesError> {
        let name = self.to_string();
        let fail = |faults| NodesError { source: name.clone(), faults };
        let content = match self {
            NodesSource::File(path) => bounded_file::read(path),
            NodesSource::Command(command) => output_of(command),
        };
        let content =
            content.map_err(|e| fail(vec![Diagnostic::whole(Path::new(&name), e.to_string())]))?;
        parse(&content, Path::new(&name)).map_err(fail)
    }
}

/// Parses a list; `name` is what complaints call it.
pub fn parse(content: &[u8], name: &Path) -> Result<Vec<NodeEntry>, Vec<Diagnostic>> {
    let mut nodes = Vec::new();
    let mut faults = Vec::new();
    let mut lines_of = BTreeMap::new();
    for (n, line) in content.split(|&b| b == b'\n').enumerate() {
        let text = line.split(|&b| b == b'\r').next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            continue;
        }
        if text.starts_with('#') {
            nodes.push(NodeEntry { address: None });
            continue;
        }
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => {
                if let Some(first) = lines_of.insert(address.to_canonical(), n + 1) {
                    let text = format!("Duplicate node address {text}, first on line {first}");
                    keep(&mut faults, Diagnostic::at(name, n + 1, text));
                }
                nodes.push(NodeEntry { address: Some(address) });
            }
            _ => {
                let text = format!("Invalid node address {text}");
                keep(&mut faults, Diagnostic::at(name, n + 1, text));
            }
        }
    }
    if faults.is_empty() {
        Ok(nodes)
    } else {
        Err(faults)
    }
}

/// The list as the engine sees it before it has heard of any node.
pub fn to_views(nodes: &[NodeEntry], port: u16) -> Vec<NodeView> {
    nodes
        .iter()
        .map(|node| NodeView {
            address: node.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port,
            flags: match node.address {
                Some(_) => flags::UNHEALTHY | flags::DISCONNECTED,
                None => flags::DELETED | flags::DISCONNECTED,
            },
            capabilities: 0,
        })
        .collect()
}

/// The node port: `ctdb`/tcp of the services database, else 4379. It must be the same on all nodes.
pub fn port() -> u16 {
    match bounded_file::read(Path::new("/etc/services")) {
        Ok(content) => port_in(&String::from_utf8_lossy(&content)).unwrap_or(DEFAULT_PORT),
        Err(_) => DEFAULT_PORT,
    }
}

fn port_in(services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let named = name == "ctdb" || words.any(|alias| alias == "ctdb");
        (named && protocol == "tcp").then(|| port.parse().ok())?
    })
}

/// Splits at blanks and tabs; nothing is quoted. Shared with the cluster lock setting.
pub(crate) fn split_command(command: &str) -> Option<(&str, Vec<&str>)> {
    let mut words = command.split([' ', '\t']).filter(|w| !w.is_empty());
    let program = words.next()?;
    Some((program, words.collect()))
}

/// What a program prints. Its exit status does not matter; printing nothing is a failure.
fn output_of(command: &str) -> io::Result<Vec<u8>> {
    let (program, arguments) =
        split_command(command).ok_or_else(|| io::Error::other("no command after \"!\""))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = read_all(&mut child, Instant::now() + COMMAND_TIME_MAX);
    // The output counts, not how the program ends; one that closed it and lives on is not waited for.
    let _ = child.kill();
    let _ = child.wait();
    let output = output?;
    if output.is_empty() {
        return Err(io::Error::other("the command printed nothing"));
    }
    Ok(output)
}

fn read_all(child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    let Some(mut pipe) = child.stdout.take() else {
        return Ok(Vec::new());
    };
    let mut output = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the command takes too long"));
        }
        if poll([pipe.as_fd()], Some(left))? == [false] {
            continue;
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(output),
            length => output.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
        if output.len() > bounded_file::SIZE_MAX_BYTES {
            return Err(io::Error::other("the command prints too much"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        parse(text.as_bytes(), Path::new("nodes"))
            .unwrap()
            .iter()
            .map(|n| n.address.map_or("deleted".into(), |a| a.to_string()))
            .collect()
    }

    fn faults(text: &[u8]) -> Vec<String> {
        parse(text, Path::new("nodes")).unwrap_err().iter().map(|f| f.to_string()).collect()
    }

    #[test]
    fn addresses_comments_and_blank_lines() {
        assert_eq!(
            addresses("10.0.0.1\n\n \t\n  10.0.0.2\t\r\n#10.0.0.3\n # any comment\nfd00::4\n\n"),
            ["10.0.0.1", "10.0.0.2", "deleted", "deleted", "fd00::4"]
        );
        assert_eq!(addresses(""), [""; 0]);
        assert_eq!(addresses("10.0.0.1"), ["10.0.0.1"]);
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        assert_eq!(
            faults(
                b"10.0.0.1\nnode2\n127.0.0.1:4379\n[::1]\n10.0.0.2 # x\n10.0.0.0/8\n010.0.0.1\n\
                  0.0.0.0\n\xff\n"
            ),
            [
                "nodes:2: Invalid node address node2",
                "nodes:3: Invalid node address 127.0.0.1:4379",
                "nodes:4: Invalid node address [::1]",
                "nodes:5: Invalid node address 10.0.0.2 # x",
                "nodes:6: Invalid node address 10.0.0.0/8",
                "nodes:7: Invalid node address 010.0.0.1",
                "nodes:8: Invalid node address 0.0.0.0",
                "nodes:9: Invalid node address \u{fffd}",
            ]
        );
    }

    #[test]
    fn duplicates_are_refused_with_both_lines() {
        assert_eq!(
            faults(b"10.0.0.1\n#10.0.0.2\n\n10.0.0.1\n::ffff:10.0.0.1\n"),
            [
                "nodes:4: Duplicate node address 10.0.0.1, first on line 1",
                "nodes:5: Duplicate node address ::ffff:10.0.0.1, first on line 4",
            ]
        );
        assert_eq!(addresses("#10.0.0.1\n#10.0.0.1\n10.0.0.1\n").len(), 3);
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let error = NodesSource::File(path.clone()).load().unwrap_err().to_string();
        assert_eq!(
            error.replace(&path.display().to_string(), "F"),
            "F: No such file or directory (os error 2)\nFailed to load nodes \"F\""
        );
        std::fs::write(&path, "x\n").unwrap();
        let error = NodesSource::File(path.clone()).load().unwrap_err().to_string();
        assert_eq!(
            error.replace(&path.display().to_string(), "F"),
            "F:1: Invalid node address x\nFailed to load nodes \"F\""
        );
    }

    #[test]
    fn commands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        std::fs::write(&path, "10.0.0.1\n10.0.0.2\n").unwrap();
        let source = NodesSource::parse(&format!("! /bin/cat  {}", path.display()));
        assert_eq!(source.load().unwrap().len(), 2);
        let fault = |text: &str| NodesSource::parse(text).load().unwrap_err().to_string();
        assert_eq!(
            fault("!/bin/false"),
            "!/bin/false: the command printed nothing\nFailed to load nodes \"!/bin/false\""
        );
        assert_eq!(fault("! "), "! : no command after \"!\"\nFailed to load nodes \"! \"");
        assert!(fault("!/nonexistent").starts_with("!/nonexistent: No such file"));
        assert!(fault("!/bin/yes 10.0.0.1").contains("prints too much"));
        assert!(fault("!/bin/echo x").starts_with("!/bin/echo x:1: Invalid node address x"));
    }

    #[test]
    fn ports() {
        let services = "# ctdb 1/tcp\nsmb 445/tcp\nctdb 9/udp\nx 4380/tcp y ctdb # z\n";
        assert_eq!(port_in(services), Some(4380));
        assert_eq!(port_in("ctdb\n\nctdb 99999/tcp\n"), None);
    }

    #[test]
    fn views() {
        let nodes = parse(b"10.0.0.1\n#\n", Path::new("nodes")).unwrap();
        let views = to_views(&nodes, 4379);
        assert_eq!(views[0].flags, 0x03);
        assert_eq!((views[1].flags, views[1].address.to_string()), (0x11, "0.0.0.0".into()));
    }
}
