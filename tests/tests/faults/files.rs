// SPDX-License-Identifier: GPL-3.0-or-later
//! Damaged database files and full disks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::{like, private_mounts, run_ok, skip, Needs, Node};

use super::{c_daemon_fails, cluster, prepared, serves};

/// A file that starts like a TDB file and is none. The C library takes it for a file to be made.
fn garbage() -> Vec<u8> {
    let mut bytes = b"TDB file\n".to_vec();
    bytes.resize(8192, 0x5a);
    bytes
}

/// A TDB file with a good header whose chains lead past its end.
fn damaged() -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("x.tdb");
    let mut tool = Command::new("tdbtool");
    tool.arg(&path).args(["create", path.to_str().unwrap_or_default()]);
    run_ok(&mut tool, Duration::from_secs(20))?;
    let mut tool = Command::new("tdbtool");
    tool.arg(&path).args(["insert", "key", "value"]);
    run_ok(&mut tool, Duration::from_secs(20))?;
    let mut bytes = fs::read(&path)?;
    // spec/tdb.md 2: a header of 168 bytes, the head of the free list, the heads of the chains
    for head in bytes[HEADER + 4..].chunks_exact_mut(4).take(100) {
        head.copy_from_slice(&0x7fff_ff00_u32.to_le_bytes());
    }
    Ok(bytes)
}

const HEADER: usize = 168;

/// Whether `bytes` are still there, under the file's own name or one that begins with it.
fn kept(directory: &Path, name: &str, bytes: &[u8]) -> Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let candidate = entry.file_name().to_string_lossy().starts_with(name);
        if candidate && fs::read(entry.path())? == bytes {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_damaged_persistent_file_at_start() -> Result<()> {
    refused_at_start(&damaged()?)
}

#[test]
fn a_persistent_file_of_garbage_at_start() -> Result<()> {
    if c_daemon_fails("it makes a new database in place of the file")? {
        return Ok(());
    }
    refused_at_start(&garbage())
}

fn refused_at_start(content: &[u8]) -> Result<()> {
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    let directory = cluster.nodes[0].persistent();
    fs::write(directory.join("bad.tdb.0"), content)?;
    cluster.nodes[0].start()?;
    super::logs(&cluster.nodes[0], "bad.tdb", Duration::from_secs(20))?;
    let node = &mut cluster.nodes[0];
    // it may refuse to start, as the C daemon does, or go on without that database
    let ended = node.ctdbd.as_mut().map(|d| d.wait(Duration::from_secs(5)));
    match ended {
        Some(Ok(status)) => ensure!(!status.success(), "it ended successfully"),
        _ => {
            cluster.settled(&[0])?;
            let map = cluster.nodes[0].debian_ctdb(&["getdbmap"])?.ok()?;
            ensure!(!map.stdout.contains("bad.tdb"), "it is attached: {map}");
        }
    }
    ensure!(kept(&directory, "bad.tdb.0", content)?, "the damaged file was not kept");
    Ok(())
}

#[test]
fn a_damaged_persistent_file_at_attach() -> Result<()> {
    refused_at_attach(&damaged()?)
}

#[test]
fn a_persistent_file_of_garbage_at_attach() -> Result<()> {
    if c_daemon_fails("it makes a new database in place of the file")? {
        return Ok(());
    }
    refused_at_attach(&garbage())
}

fn refused_at_attach(content: &[u8]) -> Result<()> {
    let Some(mut cluster) = cluster(1)? else { return Ok(()) };
    let directory = cluster.nodes[0].persistent();
    fs::write(directory.join("late.tdb.0"), content)?;
    let got = cluster.nodes[0].debian_ctdb(&["attach", "late.tdb", "persistent"])?;
    ensure!(!got.success(), "a damaged file was attached");
    super::logs(&cluster.nodes[0], "late.tdb", Duration::from_secs(5))?;
    ensure!(kept(&directory, "late.tdb.0", content)?, "the damaged file was not kept");
    cluster.settled(&[0])?;
    serves(&cluster.nodes[0])
}

#[test]
fn a_damaged_volatile_file_is_made_anew() -> Result<()> {
    let Some(cluster) = cluster(1)? else { return Ok(()) };
    let node = &cluster.nodes[0];
    for (db, content) in [("v.tdb", garbage()), ("w.tdb", damaged()?)] {
        fs::write(node.volatile().join(format!("{db}.0")), content)?;
        node.debian_ctdb(&["attach", db])?.ok()?;
        super::logs(node, db, Duration::from_secs(5))?;
        node.debian_ctdb(&["writekey", db, "k", "v"])?.ok()?;
        let got = node.debian_ctdb(&["readkey", db, "k"])?.ok()?;
        like(&got.stdout, "Data: size:1 ptr:[v]")?;
    }
    Ok(())
}

/// A small file system for `directory`; what was in it is gone.
fn mount_small(directory: &Path, megabytes: usize) -> Result<()> {
    let size = format!("size={megabytes}m");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory);
    run_ok(&mut mount, Duration::from_secs(10))?;
    Ok(())
}

/// Writes until nothing more fits.
fn fill(directory: &Path) -> Result<()> {
    let filler = directory.join("filler");
    let mut dd = Command::new("dd");
    dd.arg("if=/dev/zero").arg(format!("of={}", filler.display())).args(["bs=4k", "count=65536"]);
    let got = ctdb_tests::run(&mut dd, Duration::from_secs(30))?;
    ensure!(!got.success(), "the file system is larger than expected");
    Ok(())
}

/// Stores values until one is refused, which the tool answers by trying again and again; an error
/// if all are taken.
fn store_until_refused(node: &Node, command: &str, db: &str) -> Result<()> {
    for turn in 0..200 {
        let (key, value) = (format!("key{turn}"), "x".repeat(100_000));
        let mut store = node.command("/usr/bin/ctdb");
        store.args([command, db, &key, &value]);
        if !ctdb_tests::run(&mut store, Duration::from_secs(5))?.success() {
            return Ok(());
        }
    }
    anyhow::bail!("20 MB were stored on a full disk")
}

#[test]
fn a_full_disk_under_volatile_databases() -> Result<()> {
    if c_daemon_fails("`ctdb recover` does not end")? {
        return Ok(());
    }
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    private_mounts()?;
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    let directory = cluster.nodes[0].volatile();
    mount_small(&directory, 16)?;
    cluster.nodes[0].start()?;
    cluster.settled(&[0])?;
    let node = &cluster.nodes[0];
    node.debian_ctdb(&["attach", "full.tdb"])?.ok()?;
    node.debian_ctdb(&["writekey", "full.tdb", "small", "value"])?.ok()?;
    fill(&directory)?;

    ensure!(!node.debian_ctdb(&["attach", "new.tdb"])?.success(), "attached on a full disk");
    // what is there can be read, and what fits is still taken
    let got = node.debian_ctdb(&["readkey", "full.tdb", "small"])?.ok()?;
    like(&got.stdout, "Data: size:5 ptr:[value]")?;
    node.debian_ctdb(&["recover"])?.ok()?;
    cluster.settled(&[0])?;

    fs::remove_file(directory.join("filler"))?;
    serves(&cluster.nodes[0])?;
    cluster.nodes[0].debian_ctdb(&["attach", "new.tdb"])?.ok()?;
    Ok(())
}

#[test]
fn a_full_disk_under_persistent_databases() -> Result<()> {
    if c_daemon_fails("it recovers again and again")? {
        return Ok(());
    }
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    private_mounts()?;
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    let directory = cluster.nodes[0].persistent();
    mount_small(&directory, 4)?;
    cluster.nodes[0].start()?;
    cluster.settled(&[0])?;
    let node = &cluster.nodes[0];
    node.debian_ctdb(&["attach", "full.tdb", "persistent"])?.ok()?;
    node.debian_ctdb(&["pstore", "full.tdb", "small", "value"])?.ok()?;
    store_until_refused(node, "pstore", "full.tdb")?;
    // a refused transaction leaves what was there
    cluster.settled(&[0])?;
    let node = &cluster.nodes[0];
    let got = node.debian_ctdb(&["pfetch", "full.tdb", "small"])?.ok()?;
    like(&got.stdout, "value")?;
    let mut check = Command::new("tdbtool");
    check.arg(directory.join("full.tdb.0")).arg("check");
    let checked = run_ok(&mut check, Duration::from_secs(20))?;
    ensure!(checked.stdout.contains("is OK"), "{checked}");
    Ok(())
}
