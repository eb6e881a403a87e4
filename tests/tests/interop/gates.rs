// SPDX-License-Identifier: GPL-3.0-or-later
//! The three gates on the way to a cluster: one node serves, two share records, three survive.

use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::{like, skip, wait_for, Needs, OpenResult, ShareMode};

use super::{cluster, samba_cluster};

#[test]
fn a_one_node_serves_files() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let mut cluster = samba_cluster(1)?;
    cluster.smb_write(0, "one.txt", "content\n")?;
    ensure!(cluster.smb_read(0, "one.txt")? == "content\n");
    cluster.smbclient(0, "rename one.txt two.txt; mkdir d; rename two.txt d/two.txt")?.ok()?;
    ensure!(cluster.smb_read(0, "d/two.txt")? == "content\n");
    cluster.smbclient(0, "del d/two.txt; rmdir d")?.ok()?;
    ensure!(!cluster.smbclient(0, "cd d")?.success(), "the directory is still there");
    ensure!(cluster.shutdown()?, "the node did not end cleanly");
    Ok(())
}

#[test]
fn b_records_migrate_between_two_nodes() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let [first, second] = [&cluster.nodes[0], &cluster.nodes[1]];
    first.debian_ctdb(&["attach", "ring.tdb"])?.ok()?;
    for round in 0..10 {
        for node in [first, second] {
            let value = format!("v{round}-{}", node.pnn);
            node.debian_ctdb(&["writekey", "ring.tdb", "key", &value])?.ok()?;
            let other = if node.pnn == 0 { second } else { first };
            let got = other.debian_ctdb(&["readkey", "ring.tdb", "key"])?.ok()?;
            like(&got.stdout, &format!("Data: size:{} ptr:[{value}]", value.len()))?;
            // the reader fetched it with the lock, so the record is there now
            let dump = node.debian_ctdb(&["catdb", "ring.tdb"])?.ok()?;
            like(
                &dump.stdout,
                &format!(
                    "key(3) = \"key\"\ndmaster: {}\nrsn: #\nflags: *\ndata({}) = \"{value}\"\n\
                     Dumped 1 records",
                    other.pnn,
                    value.len()
                ),
            )?;
        }
    }
    let calls = |node: &ctdb_tests::Node| -> Result<u64> {
        let text = node.debian_ctdb(&["statistics"])?.ok()?.stdout;
        let line = text.lines().find(|l| l.trim_start().starts_with("total_calls"));
        Ok(line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0))
    };
    ensure!(calls(first)? >= 10 && calls(second)? >= 10, "migrations are not counted");
    Ok(())
}

#[test]
fn b_share_modes_hold_between_two_nodes() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let cluster = samba_cluster(2)?;
    cluster.smb_write(0, "f", "x")?;
    for (holder, other) in [(0, 1), (1, 0)] {
        let held = cluster.smb_hold_open(holder, "f", ShareMode::DenyAll)?;
        let refused = cluster.smb_open(other, "f", ShareMode::DenyNone)?;
        ensure!(refused == OpenResult::Refused("NT_STATUS_SHARING_VIOLATION".into()));
        // both clients' opens are in one record of locking.tdb, wherever it is
        let dump = cluster.nodes[other].debian_ctdb(&["catdb", "locking.tdb"])?.ok()?;
        like(&dump.stdout, "key(24) = *\n...\nDumped 1 records")?;
        held.close()?;
        ensure!(cluster.smb_open(other, "f", ShareMode::DenyNone)? == OpenResult::Opened);
    }
    Ok(())
}

#[test]
fn c_three_nodes_lose_one_and_take_it_back() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let mut cluster = samba_cluster(3)?;
    cluster.smb_write(0, "before.txt", "before\n")?;
    let mut generation = cluster.settled(&[0, 1, 2])?.generation;
    // each node once, so the leader and a node that is not
    for victim in [1, 0, 2] {
        let survivors: Vec<usize> = (0..3).filter(|&pnn| pnn != victim).collect();
        cluster.nodes[victim].kill()?;
        let view = cluster.settled(&survivors)?;
        ensure!(view.generation != generation, "no recovery after the death of node {victim}");
        let name = format!("without{victim}.txt");
        wait_for("a survivor serves", Duration::from_secs(30), || {
            Ok(cluster.smb_write(survivors[0], &name, &name).ok())
        })?;
        ensure!(cluster.smb_read(survivors[1], &name)? == name);
        ensure!(cluster.smb_read(survivors[1], "before.txt")? == "before\n");

        cluster.nodes[victim].start()?;
        generation = cluster.settled(&[0, 1, 2])?.generation;
        cluster.start_smbd(victim)?;
        ensure!(cluster.smb_read(victim, &name)? == name);
    }
    ensure!(cluster.shutdown()?, "a node did not end cleanly");
    Ok(())
}
