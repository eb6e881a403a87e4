// SPDX-License-Identifier: GPL-3.0-or-later
//! A cluster of ctdbd processes on loopback addresses, optionally with a smbd on each node.
//!
//! Layout of its directory, after spec/samba-client.md 20.1:
//!
//! ```text
//! nodes           node list, shared by all nodes
//! lock/           cluster lock
//! share, share2.. directories that every smbd exports under these names
//! node.I/         CTDB_BASE of node I: ctdb.conf, nodes, run/, db/, events/, ctdbd.out
//! node.I/smb/     smb.conf and all of that smbd's private directories
//! client/         directories of the SMB clients; client.conf is their configuration
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::command::{run, Outcome};
use crate::daemon::Daemon;
use crate::netns::Netns;
use crate::side::{Side, DEBIAN_CTDB};
use crate::wait::{wait_for, wait_until};
use crate::workdir::Workdir;

/// How long a cluster may take to settle. The C daemon takes 8 to 15 seconds.
const SETTLE: Duration = Duration::from_secs(60);
/// How long the tool may take; its own limit for a command is 120 seconds.
const TOOL: Duration = Duration::from_secs(60);
const TERM_WAIT: Duration = Duration::from_secs(10);

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon and tool of each node.
    pub side: Side,
    /// Number of nodes, 1 to 32.
    pub nodes: usize,
    /// Run smbd on each node.
    pub smbd: bool,
    /// Configure a cluster lock.
    pub cluster_lock: bool,
    /// `[logging] log level`.
    pub log_level: &'static str,
    /// Lines added to each node's ctdb.conf.
    pub extra_conf: String,
    /// `NAME=VALUE` lines of each node's ctdb.tunables.
    pub tunables: String,
    /// Each node's public_addresses.
    pub public_addresses: String,
}

impl Options {
    /// `nodes` nodes of `side` with a cluster lock and without smbd.
    pub fn new(side: Side, nodes: usize) -> Options {
        Options {
            side,
            nodes,
            smbd: false,
            cluster_lock: true,
            log_level: "INFO",
            extra_conf: String::new(),
            tunables: String::new(),
            public_addresses: String::new(),
        }
    }

    /// The same with smbd on each node.
    pub fn with_smbd(self) -> Options {
        Options { smbd: true, ..self }
    }
}

/// One node: its directories, its ctdbd and its smbd.
#[derive(Debug)]
pub struct Node {
    /// Its number in the nodes file.
    pub pnn: usize,
    /// `CTDB_BASE`.
    pub base: PathBuf,
    /// The running daemon.
    pub ctdbd: Option<Daemon>,
    /// The running smbd.
    pub smbd: Option<Daemon>,
    /// Whose programs it runs.
    pub side: Side,
}

impl Node {
    /// Its address: 127.0.0.1 for node 0.
    pub fn address(&self) -> String {
        format!("127.0.0.{}", self.pnn + 1)
    }

    /// The client socket.
    pub fn socket(&self) -> PathBuf {
        self.base.join("run/ctdbd.socket")
    }

    /// Volatile databases of this node; files are named `DB.PNN`.
    pub fn volatile(&self) -> PathBuf {
        self.base.join("db/volatile")
    }

    /// Persistent databases of this node.
    pub fn persistent(&self) -> PathBuf {
        self.base.join("db/persistent")
    }

    /// What the daemon logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.base.join("ctdbd.out")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The environment of this node's daemon, tools and Samba programs.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |p: &Path| p.to_string_lossy().into_owned();
        vec![
            ("CTDB_TEST_MODE".into(), "yes".into()),
            ("CTDB_BASE".into(), text(&self.base)),
            ("CTDB_SOCKET".into(), text(&self.socket())),
            ("CTDB_TEST_HELPER_BINDIR".into(), text(&self.side.helpers)),
        ]
    }

    /// Any command with this node's environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env()).current_dir(&self.base);
        command
    }

    /// Starts ctdbd; does not wait for anything.
    pub fn start(&mut self) -> Result<()> {
        let program = self.side.ctdbd.clone();
        self.start_program(&program)
    }

    /// The same with another daemon program, for mixed clusters.
    pub fn start_program(&mut self, program: &Path) -> Result<()> {
        if self.ctdbd.is_some() {
            bail!("node {} is running", self.pnn);
        }
        let log = self.base.join("ctdbd.out");
        self.ctdbd = Some(Daemon::start(program, &["-i"], &self.env(), &self.base, &log)?);
        Ok(())
    }

    /// SIGKILL to ctdbd and its helpers. Its smbd has to notice by itself, within a second.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut ctdbd) = self.ctdbd.take() {
            ctdbd.kill_tree()?;
        }
        if let Some(mut smbd) = self.smbd.take() {
            smbd.wait(Duration::from_secs(5)).context("smbd after the death of its ctdbd")?;
        }
        Ok(())
    }

    /// `ctdb ARGS` of this node's side.
    pub fn ctdb(&self, args: &[&str]) -> Result<Outcome> {
        run(self.command(&self.side.ctdb).args(args), TOOL)
    }

    /// `ctdb ARGS` with Debian's tool.
    pub fn debian_ctdb(&self, args: &[&str]) -> Result<Outcome> {
        run(self.command(DEBIAN_CTDB).args(args), TOOL)
    }

    /// What the daemon says of the cluster; `None` while it does not answer.
    pub fn view(&self) -> Option<View> {
        let got = self.ctdb(&["status"]).ok()?;
        got.success().then(|| View::parse(&got.stdout))?
    }
}

/// A node's view of the cluster, from `ctdb status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `OK`, or flags such as `DISCONNECTED|UNHEALTHY|INACTIVE`, of each node.
    pub flags: Vec<String>,
    /// Generation, as printed.
    pub generation: String,
    /// Number of nodes in the VNN map.
    pub size: usize,
    /// `NORMAL` or `RECOVERY`.
    pub recovery_mode: String,
    /// The leader's number, as printed.
    pub leader: String,
}

impl View {
    /// Reads the output of `ctdb status`.
    pub fn parse(text: &str) -> Option<View> {
        let value = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name))?;
            Some(line[name.len()..].split_whitespace().next().unwrap_or("").to_string())
        };
        let nodes = text.lines().filter(|l| l.starts_with("pnn:"));
        let flags = nodes.filter_map(|l| Some(l.split_whitespace().nth(2)?.to_string()));
        Some(View {
            flags: flags.collect(),
            generation: value("Generation:")?,
            size: value("Size:").and_then(|s| s.parse().ok()).unwrap_or(0),
            recovery_mode: value("Recovery mode:")?,
            leader: value("Leader:").or_else(|| value("Recovery master:"))?,
        })
    }
}

/// A running cluster. Everything it started ends with it.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes in order.
    pub nodes: Vec<Node>,
    /// What was asked for.
    pub options: Options,
    pub(crate) netns: Netns,
    pub(crate) workdir: Workdir,
}

impl Cluster {
    /// Makes the directories and the network namespace of a cluster, which from now on is the
    /// calling thread's; starts nothing.
    pub fn prepare(options: Options) -> Result<Cluster> {
        let workdir = Workdir::new()?;
        let netns = Netns::private()?;
        let dir = workdir.path();
        let addresses: Vec<String> =
            (1..=options.nodes).map(|n| format!("127.0.0.{n}\n")).collect();
        fs::write(dir.join("nodes"), addresses.concat())?;
        fs::create_dir(dir.join("lock"))?;
        let mut nodes = Vec::new();
        for pnn in 0..options.nodes {
            let base = dir.join(format!("node.{pnn}"));
            let node = Node { pnn, base, ctdbd: None, smbd: None, side: options.side.clone() };
            write_ctdb_files(&node, &options, dir)?;
            nodes.push(node);
        }
        let cluster = Cluster { nodes, options, netns, workdir };
        if cluster.options.smbd {
            cluster.write_samba_files()?;
        }
        Ok(cluster)
    }

    /// [`Cluster::prepare`], then all nodes up, in one cluster, with a smbd each if asked for.
    pub fn start(options: Options) -> Result<Cluster> {
        let mut cluster = Cluster::prepare(options)?;
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.settled(&(0..cluster.nodes.len()).collect::<Vec<_>>())?;
        if cluster.options.smbd {
            cluster.add_smb_user()?;
            for pnn in 0..cluster.nodes.len() {
                cluster.start_smbd(pnn)?;
            }
        }
        Ok(cluster)
    }

    /// The network namespace; other threads have to enter it before they start clients.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The cluster's directory.
    pub fn path(&self) -> &Path {
        self.workdir.path()
    }

    /// Waits until each of `members` says the same: these are all there is, they are OK, recovery
    /// is done. Gives that view.
    pub fn settled(&mut self, members: &[usize]) -> Result<View> {
        let mut last = String::new();
        let all = self.nodes.len();
        let waited = wait_for("the cluster settles", SETTLE, || {
            for &pnn in members {
                if let Some(ctdbd) = &mut self.nodes[pnn].ctdbd {
                    ctdbd.check().with_context(|| format!("ctdbd of node {pnn}"))?;
                }
            }
            let views: Option<Vec<View>> =
                members.iter().map(|&pnn| self.nodes[pnn].view()).collect();
            last = format!("{views:?}");
            Ok(views.filter(|v| all_agree(v, members, all)).and_then(|v| v.into_iter().next()))
        });
        waited.with_context(|| {
            let tails = self.nodes.iter().filter_map(|node| {
                let tail = node.ctdbd.as_ref()?.log_tail();
                Some(format!("\nlog of node {}:\n{tail}", node.pnn))
            });
            format!("last views of {members:?}: {last}{}", tails.collect::<String>())
        })
    }

    /// `ctdb shutdown` on each running node; true if all ended by themselves.
    pub fn shutdown(&mut self) -> Result<bool> {
        self.stop_smbds()?;
        let mut clean = true;
        for node in &mut self.nodes {
            if node.ctdbd.is_none() {
                continue;
            }
            clean &= node.ctdb(&["shutdown"])?.success();
            if let Some(mut ctdbd) = node.ctdbd.take() {
                clean &= ctdbd.wait(TERM_WAIT).is_ok_and(|status| status.success());
            }
        }
        Ok(clean)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.stop_smbds();
        for node in &mut self.nodes {
            node.ctdbd = None;
        }
        // what they left behind: event daemons, smbd children, a client that hangs
        let gone = wait_until("nothing runs in the network namespace", TERM_WAIT, || {
            let left = self.netns.processes();
            for &pid in &left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            left.is_empty()
        });
        if let Err(e) = gone {
            eprintln!("{e}: {:?}", self.netns.processes());
        }
    }
}

fn all_agree(views: &[View], members: &[usize], all: usize) -> bool {
    let Some(first) = views.first() else { return false };
    let flags_right = |v: &View| {
        v.flags.len() == all
            && v.flags.iter().enumerate().all(|(pnn, flags)| {
                if members.contains(&pnn) {
                    flags == "OK"
                } else {
                    flags.contains("DISCONNECTED")
                }
            })
    };
    views.iter().all(|v| {
        v.recovery_mode == "NORMAL"
            && v.generation == first.generation
            && v.leader == first.leader
            && v.size == members.len()
            && flags_right(v)
    })
}

fn write_ctdb_files(node: &Node, options: &Options, dir: &Path) -> Result<()> {
    let base = &node.base;
    for sub in [
        "run",
        "var",
        "events/legacy",
        "events/notification",
        "share/events/legacy",
        "db/volatile",
        "db/persistent",
        "db/state",
    ] {
        fs::create_dir_all(base.join(sub))?;
    }
    fs::copy(dir.join("nodes"), base.join("nodes"))?;
    fs::write(base.join("public_addresses"), &options.public_addresses)?;
    for script in ["notify.sh", "events/legacy/50.nothing.script"] {
        let path = base.join(script);
        fs::write(&path, "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    if !options.tunables.is_empty() {
        fs::write(base.join("ctdb.tunables"), &options.tunables)?;
    }
    let lock = match options.cluster_lock {
        true => format!("\tcluster lock = {}\n", dir.join("lock/cluster.lock").display()),
        false => String::new(),
    };
    let conf = format!(
        "[logging]\n\tlocation = file:{base}/log.ctdb\n\tlog level = {level}\n\
         [cluster]\n{lock}\tnode address = {address}\n\
         [database]\n\
         \tvolatile database directory = {base}/db/volatile\n\
         \tpersistent database directory = {base}/db/persistent\n\
         \tstate database directory = {base}/db/state\n{extra}",
        base = base.display(),
        level = options.log_level,
        address = node.address(),
        extra = options.extra_conf,
    );
    Ok(fs::write(base.join("ctdb.conf"), conf)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Number of nodes:2\n\
        pnn:0 127.0.0.1        OK (THIS NODE)\n\
        pnn:1 127.0.0.2        DISCONNECTED|UNHEALTHY|INACTIVE\n\
        Generation:1234\nSize:1\nhash:0 lmaster:0\nRecovery mode:NORMAL (0)\nLeader:0\n";

    #[test]
    fn reads_status_and_sees_who_is_in() {
        let view = View::parse(STATUS).unwrap();
        assert_eq!(view.flags, ["OK", "DISCONNECTED|UNHEALTHY|INACTIVE"]);
        assert_eq!((view.generation.as_str(), view.size, view.leader.as_str()), ("1234", 1, "0"));
        assert!(all_agree(std::slice::from_ref(&view), &[0], 2));
        assert!(!all_agree(std::slice::from_ref(&view), &[0, 1], 2));
        let recovering = View { recovery_mode: "RECOVERY".into(), ..view };
        assert!(!all_agree(&[recovering], &[0], 2));
    }
}
