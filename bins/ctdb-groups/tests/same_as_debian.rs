// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb_natgw` and `ctdb_lvs` and Debian's, with a `ctdb` that answers as we like.

use anyhow::{ensure, Result};
use ctdb_tests::{skip, write_program, Needs, Twins};
use std::fs;
use std::process::Command;

const PROGRAMS: [(&str, &str); 2] = [
    (env!("CARGO_BIN_EXE_ctdb_natgw"), "/usr/libexec/ctdb/ctdb_natgw"),
    (env!("CARGO_BIN_EXE_ctdb_lvs"), "/usr/libexec/ctdb/ctdb_lvs"),
];

const CTDB: &str = r#"#!/bin/sh
[ -e "$CTDB_BASE/status" ] || { echo "connect failed" >&2; exit 1; }
[ "$1" = -X ] || { cat "$CTDB_BASE/words"; exit 3; }
cat "$CTDB_BASE/status"; exit 3
"#;

const HEADER: &str =
    "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|";

/// Flags of three nodes, in the order of the header.
const STATES: &[[&str; 3]] = &[
    ["00000000", "00000000", "00000000"],
    ["00001000", "00000000", "00000000"],
    ["00001000", "00001000", "10001010"],
    ["01000000", "01000000", "10000010"],
    ["00010000", "00001110", "00010000"],
    ["00100010", "00000110", "00010000"],
    ["00101010", "00001000", "10001010"],
    ["10000010", "00000001", "00001000"],
    ["10001010", "10000011", "10001010"],
    ["00000001", "00010000", "00100010"],
    ["01001000", "00011000", "00000100"],
    ["00000100", "00011000", "00001110"],
    ["00010000", "00010000", "00010000"],
];

const GROUPS: &[&str] = &[
    "127.0.0.1\n127.0.0.2\n127.0.0.3\n",
    "127.0.0.3\n127.0.0.1 follower-only\n127.0.0.2\n",
    "127.0.0.1 follower-only\n127.0.0.3\tfollower-only\n",
    "127.0.0.2\n10.0.0.9\n",
    "127.0.0.1 slave-only\n",
    "127.0.0.2\n127.0.0.1 # trailing\n",
];

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Result<World> {
        let world = World { dir: tempfile::tempdir()? };
        write_program(&world.dir.path().join("ctdb"), CTDB, 0o755)?;
        world.write("script.options", "")?;
        if let Ok(functions) = fs::read("/etc/ctdb/functions") {
            fs::write(world.dir.path().join("functions"), functions)?;
        }
        world.set_nodes(&STATES[0])?;
        Ok(world)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.dir.path().join(name), text)?)
    }

    fn set_nodes(&self, states: &[&str; 3]) -> Result<()> {
        let mut status = format!("{HEADER}\n");
        let mut words = "Number of nodes:3\n".to_string();
        for (pnn, flags) in states.iter().enumerate() {
            let columns: Vec<String> = flags.chars().map(String::from).collect();
            let address = format!("127.0.0.{}", pnn + 1);
            status += &format!("|{pnn}|{address}|{}|N|\n", columns.join("|"));
            words += &format!("pnn:{pnn} {address:16} FLAGS {flags}\n");
        }
        self.write("status", &status)?;
        self.write("words", &words)
    }

    fn set_group(&self, text: &str) -> Result<()> {
        self.write("natgw_nodes", text)?;
        self.write("lvs_nodes", text)
    }

    fn twins(&self) -> [Twins; 2] {
        PROGRAMS.map(|(ours, theirs)| {
            let base = self.dir.path().to_path_buf();
            Twins::new(ours, theirs, move |command: &mut Command| {
                command.env("CTDB_BASE", &base).env("CTDB", base.join("ctdb"));
                command.env_remove("CTDB_TEST_MODE");
            })
        })
    }
}

#[test]
fn finds_the_same_leaders_and_lists() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    let mut twins = world.twins();
    for (n, group) in GROUPS.iter().enumerate() {
        world.set_group(group)?;
        // The states matter for the groups that can have a leader.
        for state in STATES.iter().take(if n < 3 { STATES.len() } else { 1 }) {
            world.set_nodes(state)?;
            for twins in &mut twins {
                twins.compare(&["leader"])?;
                twins.compare(&["list"])?;
            }
        }
        for twins in &mut twins {
            twins.compare(&["status"])?;
        }
    }
    twins.into_iter().try_for_each(Twins::finish)
}

#[test]
fn usage_and_missing_files_are_the_same() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    for mut twins in world.twins() {
        for words in [&[][..], &["foo"], &["-h"], &["list"], &["leader"], &["status", "extra"]] {
            twins.compare(words)?;
        }
        twins.finish()?;
    }
    Ok(())
}

#[test]
fn options_are_read_by_a_shell() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    world.set_group("127.0.0.1\n")?;
    world.write("other", "127.0.0.2\n")?;
    let options = "CTDB_NATGW_NODES=\"${CTDB_BASE}/other\"\nCTDB_LVS_NODES=$CTDB_NATGW_NODES\n";
    world.write("script.options", options)?;
    let mut twins = world.twins();
    twins.iter_mut().try_for_each(|twins| twins.compare(&["leader"]))?;
    fs::create_dir_all(world.dir.path().join("events/legacy"))?;
    for name in ["11.natgw", "91.lvs"] {
        let options = "CTDB_NATGW_NODES=/nonexistent; CTDB_LVS_NODES=/nonexistent\n";
        world.write(&format!("events/legacy/{name}.options"), options)?;
    }
    twins.iter_mut().try_for_each(|twins| twins.compare(&["leader"]))?;
    twins.into_iter().try_for_each(Twins::finish)
}

#[test]
fn without_a_daemon_there_is_no_leader() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    world.set_group("127.0.0.1\n")?;
    fs::remove_file(world.dir.path().join("status"))?;
    let [mut natgw, mut lvs] = world.twins();
    natgw.compare(&["leader"])?;
    natgw.finish()?;
    for words in ["leader", "list"] {
        lvs.compare(&[words])?;
    }
    lvs.finish()?;
    let [natgw, _] = world.twins();
    let status = natgw.run(true, &["status"], "")?;
    ensure!(status.code == Some(1) && status.stderr.contains("Unable to get status"), "{status}");
    Ok(())
}

#[test]
fn comments_and_blank_lines_are_no_nodes() -> Result<()> {
    let world = World::new()?;
    world.set_group("# the group\n127.0.0.1\n\n")?;
    let [natgw, _] = world.twins();
    let list = natgw.run(true, &["list"], "")?;
    ensure!(list.stdout == "127.0.0.1\tLEADER\n", "{list}");
    Ok(())
}

#[test]
fn the_definitions_hold() {
    ctdb_groups::commands().into_iter().for_each(clap::Command::debug_assert);
}
