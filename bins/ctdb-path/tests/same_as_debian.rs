// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb-path` and Debian's.

use anyhow::Result;
use ctdb_tests::{skip, Needs, Twins};

const OURS: &str = env!("CARGO_BIN_EXE_ctdb-path");
const DEBIANS: &str = "/usr/libexec/ctdb/ctdb-path";

/// Usage without what one of the two has more: the directories of the newer release, and here it is printed once.
fn once(text: &str) -> String {
    let (first, rest) = text.split_once("\nUsage:").unwrap_or((text, ""));
    let newer = |line: &&str| !["lockdir", "piddir", "socketdir"].iter().any(|d| line.contains(d));
    let kept: Vec<&str> = first.lines().filter(newer).collect();
    let squeeze = |line: &&str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = if rest.is_empty() && !text.contains("Usage:") {
        kept.iter().map(|line| line.to_string()).collect()
    } else {
        kept.iter().map(squeeze).collect()
    };
    lines.join("\n")
}

fn compare(environment: &'static [(&str, &str)], lines: &[&str]) -> Result<()> {
    let setting = move |command: &mut std::process::Command| {
        for name in ["CTDB_TEST_MODE", "CTDB_BASE", "CTDB_SOCKET"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
    };
    let mut twins = Twins::new(OURS, DEBIANS, setting).masked(once);
    for line in lines {
        twins.compare(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())?;
    }
    twins.finish()
}

const PATHS: &[&str] = &[
    "config",
    "pidfile ctdbd",
    "pidfile anything",
    "socket ctdbd",
    "socket eventd",
    "socket other",
    "datadir",
    "datadir append events",
    "etcdir",
    "etcdir append /absolute",
    "rundir",
    "rundir append x",
    "vardir",
    "vardir append a/b",
    "-- vardir",
];

#[test]
fn prints_the_same_paths() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    compare(&[], PATHS)?;
    compare(&[("CTDB_BASE", "/elsewhere"), ("CTDB_SOCKET", "/s")], PATHS)?;
    compare(&[("CTDB_TEST_MODE", ""), ("CTDB_BASE", "/t/node.1")], PATHS)?;
    compare(&[("CTDB_TEST_MODE", "1"), ("CTDB_BASE", "/t"), ("CTDB_SOCKET", "/s")], PATHS)
}

#[test]
fn refuses_the_same_command_lines() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let lines = [
        "",
        "-h",
        "--help",
        "-?",
        "--usage",
        "nosuch",
        "config x",
        "datadir append",
        "datadir x",
        "datadir append a b",
        "socket",
        "pidfile a b",
        "--bad config",
        "-d ERROR config",
        "datadir append -x",
        "config -h",
    ];
    compare(&[], &lines)
}

#[test]
fn without_its_base_a_test_node_has_no_paths() {
    let mut command = std::process::Command::new(OURS);
    let output =
        command.arg("config").env("CTDB_TEST_MODE", "1").env_remove("CTDB_BASE").output().unwrap();
    assert_eq!(output.status.code(), Some(134));
    assert_eq!(output.stderr, b"Broken CTDB setup, CTDB_BASE not set in test mode\n");
}

#[test]
fn the_definition_holds() {
    ctdb_path::command().debug_assert();
}
