// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes that die at bad moments.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{anyhow, ensure, Result};
use ctdb_tests::{run, wait_until, Cluster, Node};
use nix::sys::signal::Signal;

use super::{c_daemon_fails, cluster, prepared, serves};

const DB: &str = "moved.tdb";
const KEYS: usize = 8;

/// Moves records to a node, one after the other, until told to stop; each is written with a value
/// that says who wrote it.
fn move_records(node: &Node, stop: &AtomicBool, done: &AtomicUsize) {
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("key{}", turn % KEYS);
        let value = format!("node{}", node.pnn);
        let mut command = node.command("/usr/bin/ctdb");
        command.args(["writekey", DB, &key, &value]);
        if run(&mut command, Duration::from_secs(60)).is_ok_and(|got| got.success()) {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn all_records_can_be_had(cluster: &Cluster, members: &[usize]) -> Result<()> {
    for key in (0..KEYS).map(|k| format!("key{k}")) {
        for &pnn in members {
            let node = &cluster.nodes[pnn];
            let got = node.debian_ctdb(&["readkey", DB, &key])?.ok()?;
            let text = got.stdout.trim();
            let whole = (0..3).any(|n| text == format!("Data: size:5 ptr:[node{n}]"));
            ensure!(whole || text == "Data: size:0 ptr:[]", "{key} on node {pnn}: {text:?}");
            node.debian_ctdb(&["writekey", DB, &key, &format!("node{pnn}")])?.ok()?;
        }
    }
    Ok(())
}

#[test]
fn a_node_killed_while_records_move_through_it() -> Result<()> {
    let Some(mut cluster) = cluster(3)? else { return Ok(()) };
    cluster.nodes[0].debian_ctdb(&["attach", DB])?.ok()?;
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let netns = cluster.netns().clone();
    let mut victim = cluster.nodes.remove(2);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = cluster
            .nodes
            .iter()
            .chain([&victim])
            .map(|node| {
                // a copy without the daemons: those belong to this thread
                let client = Node {
                    pnn: node.pnn,
                    base: node.base.clone(),
                    ctdbd: None,
                    smbd: None,
                    side: node.side.clone(),
                };
                let (stop, done, netns) = (&stop, &done, netns.clone());
                scope.spawn(move || {
                    if netns.enter().is_ok() {
                        move_records(&client, stop, done);
                    }
                })
            })
            .collect();
        let moved = wait_until("records move", Duration::from_secs(30), || {
            done.load(Ordering::Relaxed) > 100
        });
        let killed = victim.kill();
        let at_death = done.load(Ordering::Relaxed);
        let went_on = wait_until("records move again", Duration::from_secs(60), || {
            done.load(Ordering::Relaxed) > at_death + 50
        });
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a worker panicked"))?;
        }
        moved.and(killed).and(went_on)
    })?;
    cluster.nodes.push(victim);
    cluster.settled(&[0, 1])?;
    all_records_can_be_had(&cluster, &[0, 1])?;
    cluster.nodes[2].start()?;
    cluster.settled(&[0, 1, 2])?;
    all_records_can_be_had(&cluster, &[0, 1, 2])
}

#[test]
fn no_update_of_a_surviving_node_is_lost() -> Result<()> {
    let Some(mut cluster) = cluster(3)? else { return Ok(()) };
    let figures = cluster.check_histories(Duration::from_secs(10), 1)?;
    ensure!(figures.violations.is_empty(), "{figures:#?}");
    ensure!(figures.updates > 1000, "{figures:#?}");
    Ok(())
}

#[test]
fn the_leader_killed_in_the_middle_of_a_recovery() -> Result<()> {
    let Some(mut cluster) = cluster(3)? else { return Ok(()) };
    cluster.nodes[0].debian_ctdb(&["attach", DB])?.ok()?;
    cluster.nodes[0].debian_ctdb(&["attach", "safe.tdb", "persistent"])?.ok()?;
    for round in 0..3 {
        let view = cluster.settled(&[0, 1, 2])?;
        let leader: usize = view.leader.parse()?;
        let survivors: Vec<usize> = (0..3).filter(|&pnn| pnn != leader).collect();
        for key in 0..KEYS {
            let node = &cluster.nodes[survivors[key % 2]];
            let value = format!("node{}", node.pnn);
            node.debian_ctdb(&["writekey", DB, &format!("key{key}"), &value])?.ok()?;
        }
        let value = format!("round{round}");
        cluster.nodes[leader].debian_ctdb(&["pstore", "safe.tdb", "key", &value])?.ok()?;

        let before = cluster.nodes[leader].log().len();
        let mut recover = cluster.nodes[leader].command("/usr/bin/ctdb");
        let mut recover = recover.arg("recover").stderr(std::process::Stdio::null()).spawn()?;
        wait_until("the recovery begins", Duration::from_secs(20), || {
            cluster.nodes[leader].log().len() > before
        })?;
        cluster.nodes[leader].kill()?;
        let _ = recover.kill();
        recover.wait()?;

        cluster.settled(&survivors)?;
        for key in 0..KEYS {
            // written by a survivor: the newest copy is theirs, so it is not lost
            let writer = survivors[key % 2];
            let reader = &cluster.nodes[survivors[(key + 1) % 2]];
            let got = reader.debian_ctdb(&["readkey", DB, &format!("key{key}")])?.ok()?;
            ensure!(got.stdout.contains(&format!("[node{writer}]")), "round {round}: {got}");
        }
        for &pnn in &survivors {
            let got = cluster.nodes[pnn].debian_ctdb(&["pfetch", "safe.tdb", "key"])?.ok()?;
            ensure!(got.stdout.trim() == value, "round {round}, node {pnn}: {got}");
        }
        cluster.nodes[leader].start()?;
    }
    cluster.settled(&[0, 1, 2])?;
    Ok(())
}

#[test]
fn only_the_daemon_of_the_leader_killed() -> Result<()> {
    let Some(mut cluster) = cluster(3)? else { return Ok(()) };
    let leader: usize = cluster.settled(&[0, 1, 2])?.leader.parse()?;
    // its lock helper lives on and has to notice
    if let Some(mut ctdbd) = cluster.nodes[leader].ctdbd.take() {
        ctdbd.signal(Signal::SIGKILL)?;
        ctdbd.wait(Duration::from_secs(5))?;
    }
    let survivors: Vec<usize> = (0..3).filter(|&pnn| pnn != leader).collect();
    cluster.settled(&survivors)?;
    for &pnn in &survivors {
        serves(&cluster.nodes[pnn])?;
    }
    Ok(())
}

#[test]
fn a_node_without_lmaster_capability_dies() -> Result<()> {
    if c_daemon_fails("it never recovers from this")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(3)? else { return Ok(()) };
    let conf = cluster.nodes[2].base.join("ctdb.conf");
    let mut file = OpenOptions::new().append(true).open(conf)?;
    file.write_all(b"[legacy]\n\tlmaster capability = false\n")?;
    for node in &mut cluster.nodes {
        node.start()?;
    }
    wait_until("all nodes are OK", Duration::from_secs(60), || {
        cluster.nodes.iter().all(|node| {
            node.view().is_some_and(|v| {
                v.recovery_mode == "NORMAL" && v.size == 2 && v.flags.iter().all(|f| f == "OK")
            })
        })
    })?;
    // a record that lives on node 2 alone
    cluster.nodes[0].debian_ctdb(&["attach", DB])?.ok()?;
    for key in 0..KEYS {
        let key = format!("key{key}");
        cluster.nodes[0].debian_ctdb(&["writekey", DB, &key, "node0"])?.ok()?;
        cluster.nodes[2].debian_ctdb(&["readkey", DB, &key])?.ok()?;
    }
    cluster.nodes[2].kill()?;
    cluster.settled(&[0, 1])?;
    all_records_can_be_had(&cluster, &[0, 1])
}
