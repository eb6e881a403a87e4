// SPDX-License-Identifier: GPL-3.0-or-later
//! `make demo`: a three-node cluster that Debian's unmodified smbd runs on, step by step.
//!
//! Each step prints what it does and what was seen, and the program ends with an error at the
//! first one that does not hold.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use ctdb_tests::{
    missing, wait_for, Cluster, Needs, OpenResult, Options, ShareMode, Side, SMB_USER,
};

const NODES: usize = 3;
const TEXT: &str = "Written through node 0.\n";
const SERVE_AGAIN: Duration = Duration::from_secs(30);

/// Numbers the steps and times them.
struct Stage {
    step: usize,
    began: Instant,
}

impl Stage {
    fn step(&mut self, what: &str) {
        self.step += 1;
        self.began = Instant::now();
        println!("\n{}. {what}", self.step);
    }

    fn seen(&self, what: &str) {
        println!("   {what}  [{:.2} s]", self.began.elapsed().as_secs_f64());
        let _ = std::io::stdout().flush();
    }
}

fn main() {
    let started = Instant::now();
    match demo() {
        Ok(()) => println!("\nAll steps held, in {:.1} s.", started.elapsed().as_secs_f64()),
        Err(e) => {
            println!("\nFAILED: {e:#}");
            std::process::exit(1);
        }
    }
}

fn demo() -> Result<()> {
    if let Some(why) = missing(Needs::Samba) {
        anyhow::bail!("{why}");
    }
    let side = Side::from_env()?;
    println!("Daemon: {}", side.ctdbd.display());
    println!("Samba:  Debian's smbd, smbclient and python3-samba, unmodified");
    let mut stage = Stage { step: 0, began: Instant::now() };
    let mut cluster = Cluster::prepare(Options::new(side, NODES).with_smbd())?;

    form_cluster(&mut stage, &mut cluster)?;
    start_samba(&mut stage, &mut cluster)?;
    share_a_file(&mut stage, &cluster)?;
    deny_an_open(&mut stage, &cluster)?;
    lose_a_node(&mut stage, &mut cluster)?;
    take_it_back(&mut stage, &mut cluster)?;

    stage.step("Everything is stopped.");
    ensure!(cluster.shutdown()?, "a node did not end cleanly after `ctdb shutdown`");
    stage.seen("each node ended after `ctdb shutdown`; nothing is left behind");
    Ok(())
}

fn form_cluster(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    stage.step("Three nodes start on loopback addresses and become one cluster.");
    for node in &mut cluster.nodes {
        node.start()?;
    }
    let view = cluster.settled(&[0, 1, 2])?;
    stage.seen(&format!(
        "all three say: 3 nodes OK, generation {}, leader node {}",
        view.generation, view.leader
    ));
    for line in cluster.nodes[0].ctdb(&["status"])?.stdout.lines().filter(|l| l.starts_with("pnn"))
    {
        println!("      {line}");
    }
    Ok(())
}

fn start_samba(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    stage.step("Debian's smbd starts on each node, with `clustering = yes`.");
    cluster.add_smb_user()?;
    stage.seen(&format!("account {SMB_USER} added on node 0; passdb is a replicated database"));
    for pnn in 0..NODES {
        cluster.start_smbd(pnn)?;
        stage.seen(&format!("smbd on node {pnn} serves {SMB_USER}"));
    }
    Ok(())
}

fn share_a_file(stage: &mut Stage, cluster: &Cluster) -> Result<()> {
    stage.step("smbclient writes a file through node 0 and reads it through node 2.");
    cluster.smb_write(0, "hello.txt", TEXT)?;
    stage.seen("written through node 0");
    let got = cluster.smb_read(2, "hello.txt")?;
    ensure!(got == TEXT, "node 2 gave {got:?}");
    stage.seen(&format!("read through node 2: {:?}", got.trim_end()));
    Ok(())
}

fn deny_an_open(stage: &mut Stage, cluster: &Cluster) -> Result<()> {
    stage.step("An open with deny-all on node 0 refuses an open of the same file on node 1.");
    let held = cluster.smb_hold_open(0, "hello.txt", ShareMode::DenyAll)?;
    stage.seen("a client of node 0 holds hello.txt open, share mode deny-all");
    match cluster.smb_open(1, "hello.txt", ShareMode::DenyNone)? {
        OpenResult::Refused(status) if status == "NT_STATUS_SHARING_VIOLATION" => {
            stage.seen(&format!("node 1 refuses another client: {status}"));
        }
        other => anyhow::bail!("node 1 answered {other:?} instead of a sharing violation"),
    }
    held.close()?;
    let after = cluster.smb_open(1, "hello.txt", ShareMode::DenyNone)?;
    ensure!(after == OpenResult::Opened, "after the close node 1 answered {after:?}");
    stage.seen("the first client closes the file; now node 1 opens it");
    Ok(())
}

fn lose_a_node(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    stage.step("Node 1 is killed with SIGKILL.");
    let before = cluster.settled(&[0, 1, 2])?;
    cluster.nodes[1].kill()?;
    stage.seen("ctdbd of node 1 is dead, and its smbd ended with it");
    let view = cluster.settled(&[0, 2])?;
    ensure!(view.generation != before.generation, "the generation did not change");
    stage.seen(&format!(
        "nodes 0 and 2 recovered: generation {}, leader node {}",
        view.generation, view.leader
    ));
    for pnn in [0, 2] {
        let name = format!("survivor{pnn}.txt");
        let text = format!("Written through node {pnn} after the death of node 1.\n");
        wait_for(&format!("node {pnn} serves"), SERVE_AGAIN, || {
            Ok(cluster.smb_write(pnn, &name, &text).ok())
        })?;
        let got = cluster.smb_read(2 - pnn, &name)?;
        ensure!(got == text, "node {} gave {got:?}", 2 - pnn);
        stage.seen(&format!("{name} written through node {pnn}, read through node {}", 2 - pnn));
    }
    Ok(())
}

fn take_it_back(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    stage.step("Node 1 returns and joins.");
    cluster.nodes[1].start()?;
    let view = cluster.settled(&[0, 1, 2])?;
    stage.seen(&format!("3 nodes OK again, generation {}", view.generation));
    cluster.start_smbd(1)?;
    let got = cluster.smb_read(1, "survivor0.txt").context("through the returned node")?;
    ensure!(got.contains("after the death"), "node 1 gave {got:?}");
    stage.seen("its smbd serves the file that was written while it was away");
    let held = cluster.smb_hold_open(1, "hello.txt", ShareMode::DenyAll)?;
    let refused = cluster.smb_open(2, "hello.txt", ShareMode::DenyNone)?;
    ensure!(
        refused == OpenResult::Refused("NT_STATUS_SHARING_VIOLATION".into()),
        "node 2 answered {refused:?} to an open that node 1 denies"
    );
    held.close()?;
    stage.seen("a deny-all open on node 1 is respected by node 2");
    Ok(())
}
